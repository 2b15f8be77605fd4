//! The pager tier: what users touch, thin, generic and borrow-checked.
//!
//! ```text
//!   PagerOptions ──create, open──▶ Pager ──derefs to──▶ PageReader ──▶ iterators
//!                                    │
//!                                    └─transaction()──▶ Transaction ◀── ProtectedPageWriter, and every call of Pager that
//!                                                                       allocates or frees
//! ```
//!
//! A [`SharedPager`] lends the same two to many threads: a [`ReadGuard`] derefs to [`PageReader`].
//! A [`ReadOnlyPager`] derefs to the same [`PageReader`], and that is all it does.
//!
//! The page size is a type here and a value in the engine: nothing in this folder decides anything, so there is one path for
//! the single and the bulk, for the call of its own and the one in a transaction.

mod advice;
mod changed;
mod compact;
mod extents;
mod free_runs;
mod handles;
mod held;
mod incremental;
mod iter;
mod lock;
mod options;
mod protected;
mod read_only;
mod reader;
mod reentry;
mod shared;
mod snapshot;
mod table_pages;
mod transaction;

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use static_assertions::assert_impl_all;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::{PageId, ProtectedPageId};
use crate::page::MappedPage;

pub use changed::{Change, ChangedSince};
pub use compact::Compaction;
pub use extents::AllocatedExtentIter;
pub use free_runs::FreeRuns;
pub use incremental::{Incremental, RegularPages};
pub use iter::{AllocatedPageIter, AllocatedProtectedPageIter};
pub use options::PagerOptions;
pub use protected::ProtectedPageWriter;
pub use read_only::ReadOnlyPager;
pub use reader::{HEADER_LEN, PageReader};
pub use shared::{ReadGuard, SharedPager};
pub use snapshot::{Snapshot, SnapshotOptions, SnapshotProgress};
pub use transaction::{PageHint, Savepoint, Transaction};

/// A file of pages of `P` bytes, open for reading and writing: a power of two from 1 KiB to 16 MiB.
///
/// It holds the file's exclusive lock. Everything that can be read stands on [`PageReader`], to which it derefs. What changes
/// something borrows it exclusively, so no page can be looked at while the file grows or closes.
///
/// Allocating and freeing are durable when they return, and each call is one commit; a [`Transaction`] takes any number of
/// changes into one. With [`Durability::None`](crate::Durability::None) they wait for the next durable commit. Content stored
/// to a regular page through [`page_mut`](Self::page_mut) is in the file at once (another process sees it, and it outlives
/// this one) and on the disk after [`sync`](Self::sync) or the next commit that changes something.
///
/// Dropping a pager closes it without a last sync: what was durably committed stays. [`close`](Self::close) syncs, seals the last
/// commit against rot (see [`Durability::OneBarrier`](crate::Durability::OneBarrier)), and says whether that worked.
pub struct Pager<const P: usize> {
    reader: PageReader<P>,
}

assert_impl_all!(Pager<4096>: Send, Sync);
assert_impl_all!(Transaction<'static, 4096>: Send, Sync);

impl<const P: usize> Pager<P> {
    /// [Creates](PagerOptions::create) a file with the default options.
    ///
    /// # Errors
    ///
    /// Those of [`PagerOptions::create`]; it never replaces what is there.
    pub fn create(path: impl AsRef<Path>) -> Result<Self> {
        PagerOptions::new().create(path)
    }

    /// [Opens](PagerOptions::open) a file with the default options.
    ///
    /// # Errors
    ///
    /// Those of [`PagerOptions::open`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        PagerOptions::new().open(path)
    }

    /// [Opens a file, or creates it](PagerOptions::open_or_create) where there is none, with the default options.
    ///
    /// # Errors
    ///
    /// Those of [`PagerOptions::open_or_create`].
    pub fn open_or_create(path: impl AsRef<Path>) -> Result<Self> {
        PagerOptions::new().open_or_create(path)
    }

    /// Begins a transaction. It borrows the pager until it is committed or dropped.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`].
    pub fn transaction(&mut self) -> Result<Transaction<'_, P>> {
        Transaction::new(&mut self.reader.engine)
    }

    /// The one path of every change: a transaction.
    fn commit_one<T>(&mut self, operation: impl FnOnce(&mut Transaction<'_, P>) -> Result<T>) -> Result<T> {
        let mut transaction = self.transaction()?;
        let done = operation(&mut transaction)?;
        transaction.commit()?;
        Ok(done)
    }

    /// Allocates a regular page, the lowest that is free, durably. It reads as zeros; until it is written and synced it may
    /// hold old bytes after a power cut.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::alloc`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn alloc(&mut self) -> Result<PageId<P>> {
        self.commit_one(|transaction| transaction.alloc())
    }

    /// Allocates the lowest free regular page that does not lie before `hint`, a page or a number of a page; where there is
    /// none, the lowest of all.
    ///
    /// # Errors
    ///
    /// Those of [`alloc`](Self::alloc).
    pub fn alloc_near(&mut self, hint: impl Into<PageHint<P>>) -> Result<PageId<P>> {
        self.commit_one(|transaction| transaction.alloc_near(hint))
    }

    /// Allocates the `count` lowest free regular pages, ascending, in one commit: all of them or none.
    ///
    /// # Errors
    ///
    /// Those of [`alloc`](Self::alloc); nothing is allocated then.
    pub fn alloc_bulk(&mut self, count: usize) -> Result<Vec<PageId<P>>> {
        self.commit_one(|transaction| transaction.alloc_bulk(count))
    }

    /// Frees a regular page, durably.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::free`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn free(&mut self, id: PageId<P>) -> Result<()> {
        self.commit_one(|transaction| transaction.free(id))
    }

    /// Frees regular pages in one commit: all of them or none.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::free_bulk`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn free_bulk(&mut self, ids: impl AsRef<[PageId<P>]>) -> Result<()> {
        self.commit_one(|transaction| transaction.free_bulk(ids))
    }

    /// Allocates a protected page, durably. It reads as zeros.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::alloc_protected`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn alloc_protected(&mut self) -> Result<ProtectedPageId<P>> {
        self.commit_one(|transaction| transaction.alloc_protected())
    }

    /// Allocates `count` protected pages in one commit: all of them or none.
    ///
    /// # Errors
    ///
    /// Those of [`alloc_protected`](Self::alloc_protected); nothing is allocated then.
    pub fn alloc_protected_bulk(&mut self, count: usize) -> Result<Vec<ProtectedPageId<P>>> {
        self.commit_one(|transaction| transaction.alloc_protected_bulk(count))
    }

    /// Frees a protected page, durably. Its id is not handed out again before that.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::free_protected`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn free_protected(&mut self, id: ProtectedPageId<P>) -> Result<()> {
        self.commit_one(|transaction| transaction.free_protected(id))
    }

    /// Frees protected pages in one commit: all of them or none.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::free_protected_bulk`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn free_protected_bulk(&mut self, ids: impl AsRef<[ProtectedPageId<P>]>) -> Result<()> {
        self.commit_one(|transaction| transaction.free_protected_bulk(ids))
    }

    /// A regular page, in place, to be stored to. [`sync`](Self::sync) makes it durable; a power cut before that leaves of
    /// each of its sectors the old bytes or the new ones.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] or [`Error::WrongKind`] when the id names no regular page; [`Error::Poisoned`].
    #[inline]
    pub fn page_mut(&mut self, id: PageId<P>) -> Result<&mut MappedPage<P>> {
        self.reader.engine.page_mut(id.to_u64()).map(MappedPage::from_bytes_mut)
    }

    /// Several regular pages at once, in place, to be stored to.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let (a, b) = (pager.alloc()?, pager.alloc()?);
    /// pager.page_mut(a)?.fill(1);
    /// let [from, to] = pager.get_many_mut([a, b])?;
    /// to.copy_from_slice(from.as_bytes());
    /// assert_eq!(b.get(&pager)?[1023], 1);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] when an id stands twice; those of [`page_mut`](Self::page_mut).
    pub fn get_many_mut<const K: usize>(&mut self, ids: [PageId<P>; K]) -> Result<[&mut MappedPage<P>; K]> {
        let pages = self.reader.engine.pages_mut(ids.map(PageId::to_u64))?;
        Ok(pages.map(MappedPage::from_bytes_mut))
    }

    /// A writer of a protected page that starts from its live content.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::protected_mut`]; [`Error::Poisoned`].
    pub fn protected_mut(&mut self, id: ProtectedPageId<P>) -> Result<ProtectedPageWriter<'_, P>> {
        ProtectedPageWriter::from_live(self.transaction()?, id)
    }

    /// A writer of a protected page that starts from zeros, whatever the page holds. Committing it heals a page whose live
    /// content is damaged.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::protected_zeroed`]; [`Error::Poisoned`].
    pub fn protected_zeroed(&mut self, id: ProtectedPageId<P>) -> Result<ProtectedPageWriter<'_, P>> {
        ProtectedPageWriter::from_zeros(self.transaction()?, id)
    }

    /// Makes durable what was stored to regular pages, and the commits that [wait](crate::Durability::None). Costs nothing where
    /// nothing was stored since the last commit or sync, and nothing waits.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when the operating system could not: what is durable is then not known, and every further change is
    /// [`Error::Poisoned`] until the file is opened again. Where commits wait, those of [`Transaction::commit`].
    pub fn sync(&mut self) -> Result<()> {
        self.reader.engine.sync()
    }

    /// Syncs, seals, gives back what the file grew by for transactions that were not committed, and lets go of the lock.
    ///
    /// Sealing is a commit of two barriers that changes nothing but the generation. It is made where the last checkpoint was
    /// one of [`Durability::OneBarrier`](crate::Durability::OneBarrier), and left out where a full disk has no space for it.
    /// Commits that [wait](crate::Durability::None) become durable with it.
    ///
    /// # Errors
    ///
    /// Those of [`sync`](Self::sync), and [`Error::Io`] when the sealing commit fails: what was durable before stays, as
    /// without it. The file is closed in any case.
    pub fn close(self) -> Result<()> {
        self.reader.engine.close()
    }
}

impl<const P: usize> Deref for Pager<P> {
    type Target = PageReader<P>;

    #[inline]
    fn deref(&self) -> &PageReader<P> {
        &self.reader
    }
}

impl<const P: usize> fmt::Debug for Pager<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("Pager").field(&self.reader).finish()
    }
}
