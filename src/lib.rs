//! A memory-mapped, crash-consistent pager with compile-time page sizes: the page layer beneath a storage engine, or beneath
//! any program that keeps its state in one file.
//!
//! A diptych is a pair of hinged writing tablets. Every page that matters here is kept on two leaves: a commit writes the
//! leaf that is not showing and then turns it over, so one leaf is always whole.
//!
//! ```
//! use diptych::{PageId, Pager};
//!
//! # let directory = tempfile::tempdir()?;
//! # let path = directory.path().join("index.db");
//! let mut pager = Pager::<4096>::create(&path)?; // fails if it exists; open and open_or_create beside it
//! let id: PageId<4096> = pager.alloc()?; // durable when it returns
//! id.get_mut(&mut pager)?.as_bytes_mut()[..5].copy_from_slice(b"hello");
//! pager.sync()?;
//!
//! let root = pager.alloc_protected()?;
//! let mut tx = pager.transaction()?;
//! let leaf = tx.alloc()?;
//! tx.page_mut(leaf)?[..3].copy_from_slice(b"abc");
//! tx.protected_mut(root)?[..8].copy_from_slice(&leaf.to_u64().to_le_bytes());
//! tx.set_header(&root.to_u64().to_le_bytes())?;
//! tx.commit()?; // all of it, or none
//! pager.close()?;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # What it guarantees
//!
//! * **Allocation survives any crash.** Whatever a power cut leaves of what was being written, the file opens in the state
//!   after the last commit that was acknowledged, or after the one that was under way: never between. (A commit with
//!   [`Durability::None`] counts with the next one that is durable.)
//! * **The content of a [protected page](ProtectedPageId) survives any crash.** It is the old one or the new one, and it is
//!   verified by a checksum when it is first read.
//! * **Several changes are durable together or not at all**: a [`Transaction`] takes any number of them, of every kind, into
//!   one commit. Dropped, it leaves no trace.
//! * **A [regular page](PageId) is read and written in place**, without a copy. Written in the transaction that allocates it,
//!   its content appears with the commit or not at all. Later, [`Pager::page_mut`] and [`Transaction::overwrite`] change it in
//!   place: a power cut in that window leaves of each of its sectors the old bytes or the new ones.
//! * **A failure is an error**: a full disk, a damaged or hostile file, a second pager on the same file, an id that names
//!   nothing. After a failed sync nothing is known, and the pager says so until the file is opened again.
//! * **Mistakes do not compile**: ids, pagers and views of different page sizes do not mix, and no page is looked at while the
//!   file grows, shrinks or closes.
//!
//! What it takes the disk for: a sync that succeeded is durable, and bytes outside of a sector that is being written stay as
//! they are. A sector has at most 4096 bytes; on a disk with sectors of 4096 bytes, pages smaller than that share one with
//! their neighbours and are outside the promise. Other programs respect the lock: one that does not can change what is seen
//! through a view, or cut the file from under it.
//!
//! # The map
//!
//! | you want to                                   | look at                                                              |
//! |-----------------------------------------------|----------------------------------------------------------------------|
//! | make or open a file                           | [`Pager`], [`PagerOptions`]                                          |
//! | read                                          | [`PageReader`], [`PageId::get`], [`ProtectedPageId::get`]            |
//! | read alone, beside others who do              | [`ReadOnlyPager`], [`PagerOptions::open_read_only`]                  |
//! | read and change from several threads          | [`SharedPager`], [`ReadGuard`]                                       |
//! | change several things at once                 | [`Transaction`], [`Savepoint`]                                       |
//! | change a protected page                       | [`ProtectedPageWriter`]                                              |
//! | find your root again                          | [`PageReader::header`], [`Transaction::set_header`]                  |
//! | copy a file that is open                      | [`PageReader::snapshot_to`], [`SnapshotOptions`]                     |
//! | copy what changed since an older copy          | [`PageReader::incremental_to`], [`Pager::apply_incremental`], [`PageReader::changed_since`] |
//! | say what will be read                         | [`PageReader::advise`], [`PageReader::prefetch`], [`AccessPattern`]  |
//! | keep something longer than a page             | [`ExtentId`], [`Transaction::alloc_extent`], [`FreeRuns`]            |
//! | keep many small things in a page              | [`SubPageTable`]; in memory alone [`SubPageAllocator`], [`SubPageMap`] |
//! | list what is allocated                        | [`AllocatedPageIter`], [`AllocatedProtectedPageIter`]                |
//! | write code for any kind of page               | [`PageAllocator`], [`PageHandle`], [`PageMut`]                       |
//! | know what opening did, or what is wrong       | [`Recovery`], [`PageReader::check`], [`Finding`], [`Error`]          |
//! | crash your own code at every write            | [`SimDisk`]                                                          |

mod allocator;
mod block;
mod engine;
mod error;
mod format;
mod ids;
mod page;
mod pager;
mod storage;
mod subpage;

pub use allocator::{BulkPageAllocator, PageAllocator, PageHandle, PageMut, ReadHandle};
pub use block::{Block, PageKind, TwinCopy};
pub use engine::{Durability, Finding, Recovery, Verification};
#[cfg(diptych_planted)]
pub use engine::{Mistake, plant};
pub use error::{Error, Result};
pub use ids::{AnyPageId, ExtentId, FileId, Generation, PageId, ProtectedPageId, SubPageId, SubPageTableId};
pub use page::MappedPage;
pub use pager::{
    AllocatedExtentIter, AllocatedPageIter, AllocatedProtectedPageIter, Change, ChangedSince, Compaction, FreeRuns,
    HEADER_LEN, Incremental, PageHint, PageReader, Pager, PagerOptions, ProtectedPageWriter, ReadGuard, ReadOnlyPager,
    RegularPages, Savepoint, SharedPager, Snapshot, SnapshotOptions, SnapshotProgress, Transaction,
};
pub use storage::{
    AccessPattern, Call, CallKind, CrashOptions, CrashPoint, CrashState, CrashStates, Damage, Epoch, EpochEnd,
    FaultPlan, SimDisk, SimImage, Subset, Tail, TornUnit,
};
pub use subpage::{
    SubPageAllocator, SubPageChange, SubPageMap, SubPageRecovery, SubPageTable, SubPageTableIter, SubPageTableView,
};

#[cfg(doctest)]
mod documents {
    //! The documents that contain code, tested through rustdoc.

    #[doc = include_str!("../README.md")]
    struct Readme;

    #[doc = include_str!("../docs/design.md")]
    struct Design;

    #[doc = include_str!("../docs/guide.md")]
    struct Guide;
}
