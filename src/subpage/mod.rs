//! The sub-page tier: many things of one size in a page.
//!
//! ```text
//!   SubPageAllocator ──┬─▶ Pager                       owns both, for those who have one size and no transactions
//!                      └─▶ SubPageMap ◀─ SubPageChange   what is done in a transaction, kept with it or taken back
//!                            │    ▲
//!                            ▼    └─ recover             from the ids that the caller's records hold
//!                         parents ─▶ page_index, slots   numbers: pages, and bits in words
//! ```
//!
//! A [`SubPageTable`](table) keeps in the file which sub-pages are live; the others keep that in memory alone: the file knows the page that they lie in, and who stores an id somewhere
//! gives it back to [`SubPageMap::recover`] after opening. A map holds no pager: it is told in each call where pages come from,
//! so that one pager has room for any number of maps, and a transaction for what several of them do.

mod allocator;
mod change;
mod map;
mod page_index;
mod parents;
mod recover;
mod slots;
mod table;

use static_assertions::assert_impl_all;

pub use allocator::SubPageAllocator;
pub use change::SubPageChange;
pub use map::SubPageMap;
pub use recover::SubPageRecovery;
pub use table::{SubPageTable, SubPageTableIter, SubPageTableView};

assert_impl_all!(SubPageMap<4096, 64>: Send, Sync);
assert_impl_all!(SubPageAllocator<4096, 64>: Send, Sync);
