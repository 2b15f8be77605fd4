//! Several changes that become durable together or not at all.
//!
//! ```text
//!                  alloc free page_mut overwrite protected_mut set_header ...
//!                                     ┌──┐
//!                 transaction()       ▼  │      commit()
//!   Pager ──────────────────────▶ Transaction ─────────────▶ Pager at the next generation
//!     ▲                               │
//!     └───────────────────────────────┘ drop, forget, or an error of commit before the first byte that counts
//! ```
//!
//! Everything that a transaction changes is in its own memory until the commit, so that dropping it is forgetting it. The
//! calls of a [`Pager`](crate::Pager) that change something are transactions of one operation.

use std::fmt;

use crate::engine::{Durability, Engine, Owned, Round, SavepointToken, Stage};
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::{AnyPageId, PageId, ProtectedPageId};
use crate::page::MappedPage;

use super::held::Held;
use super::reader::{HEADER_LEN, index_of};

/// A change of a pager in the making: made by [`Pager::transaction`](crate::Pager::transaction), or lent by
/// [`SharedPager::transact`](crate::SharedPager::transact), which commits it.
///
/// It takes any number of operations of every kind. [`commit`](Self::commit) makes all of them durable;
/// dropped, or leaked, it leaves no trace in memory or on disk, except that the file may be longer until the pager is closed.
/// Reads through it see its own changes. An operation that fails changes nothing, and the transaction goes on.
///
/// ```
/// # use diptych::{PagerOptions, SimDisk};
/// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
/// # let root = pager.alloc_protected()?;
/// let mut transaction = pager.transaction()?;
/// let leaf = transaction.alloc()?;
/// transaction.page_mut(leaf)?[..3].copy_from_slice(b"abc");
/// transaction.protected_mut(root)?[..8].copy_from_slice(&leaf.to_u64().to_le_bytes());
/// transaction.set_header(&root.to_u64().to_le_bytes())?;
/// transaction.commit()?;
///
/// assert!(leaf.get(&pager)?.starts_with(b"abc"));
/// # Ok::<(), diptych::Error>(())
/// ```
///
/// # Memory
///
/// Every page that was given out to be changed is held in memory until the commit;
/// [`PagerOptions::max_staged_bytes`](crate::PagerOptions::max_staged_bytes) sets a limit. Pages that are allocated and not
/// touched take none.
#[must_use = "a transaction that is not committed changes nothing"]
pub struct Transaction<'p, const P: usize> {
    pub(super) engine: Held<'p, P>,
    pub(super) stage: Stage,
}

/// A point of a transaction to which it can be rolled back: made by [`Transaction::savepoint`].
#[derive(Clone, Debug)]
pub struct Savepoint(SavepointToken);

impl<'p, const P: usize> Transaction<'p, P> {
    pub(super) fn new(engine: &'p mut Engine) -> Result<Self> {
        let stage = engine.stage()?;
        Ok(Transaction { engine: Held::Alone(engine), stage })
    }

    /// A transaction that is a [part](Stage::begin_part) of a stage.
    pub(super) fn part(engine: Held<'p, P>, stage: Stage) -> Self {
        Transaction { engine, stage }
    }

    /// What it was made of, to be committed elsewhere.
    pub(super) fn into_part(self) -> (Held<'p, P>, Stage) {
        (self.engine, self.stage)
    }

    /// A transaction of a compaction.
    pub(super) fn for_moving(engine: &'p mut Engine) -> Result<Self> {
        let stage = engine.stage_for_moving()?;
        Ok(Transaction { engine: Held::Alone(engine), stage })
    }

    /// Commits what was moved, at once, whatever a caller asked for: what it takes away belongs to the durable state.
    pub(super) fn commit_moves(mut self) -> Result<()> {
        self.engine.get().make_durable(&mut self.stage);
        self.commit()
    }

    /// Moves the last regular page of `end..before` to a free page before `end`.
    pub(super) fn move_last_page(&mut self, end: u64, before: u64) -> Result<Option<(PageId<P>, PageId<P>)>> {
        let moved = self.engine.get().move_last_page(&mut self.stage, end, before)?;
        Ok(moved.map(|(from, to)| (page_id(from), page_id(to))))
    }

    /// Moves nodes and extents. Returns how many nodes, and how many pages of extents.
    pub(super) fn move_runs(&mut self, round: &mut Round, most: u64) -> Result<(u64, u64)> {
        self.engine.get().move_runs(&mut self.stage, round, most)
    }

    /// Moves at most `most` protected pages. The last thing that the transaction does.
    pub(super) fn move_protected_pages(&mut self, round: &mut Round, most: u64) -> Result<u64> {
        self.engine.get().move_protected_pages(&mut self.stage, round, most)
    }

    /// Makes all changes durable, or none of them, with as many syncs as [`Durability`] says, and the commits that wait with them;
    /// with [`Durability::None`] it waits itself. A transaction that changed nothing writes nothing, unless commits wait.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] when a call failed before the first byte that counts: the pager is as it was before the transaction.
    /// When it failed later, or an [`overwrite`](Self::overwrite) had begun, what is durable is not known, and every further
    /// change is [`Error::Poisoned`] until the file is opened again; it is then in the state before the transaction or in the
    /// state after. [`Error::LastGeneration`] when the file takes no further commit.
    pub fn commit(self) -> Result<()> {
        let Transaction { mut engine, stage } = self;
        engine.holder().commit(stage)
    }

    /// How the commit becomes durable: as [`PagerOptions::durability`](crate::PagerOptions::durability) says if not said otherwise.
    ///
    /// ```
    /// # use diptych::{Durability, PagerOptions, SimDisk};
    /// # let disk = SimDisk::new();
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&disk)?;
    /// for name in [b"first ", b"second", b"third "] {
    ///     let mut transaction = pager.transaction()?;
    ///     transaction.set_header(name)?;
    ///     transaction.set_durability(Durability::None);
    ///     transaction.commit()?;
    /// }
    /// assert!(pager.header().starts_with(b"third"));
    /// assert!(pager.durable_generation() < pager.generation());
    /// pager.sync()?;
    /// assert_eq!(pager.durable_generation(), pager.generation());
    /// # Ok::<(), diptych::Error>(())
    /// ```
    pub fn set_durability(&mut self, durability: Durability) {
        self.stage.set_durability(durability);
    }

    /// Allocates a regular page, the lowest that is free. It reads as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it cannot.
    pub fn alloc(&mut self) -> Result<PageId<P>> {
        self.take_near(0)
    }

    /// Allocates the lowest free regular page that does not lie before `hint`, a page or a number of a page; where there is
    /// none, the lowest of all. Pages that are used together and lie together are read together.
    ///
    /// # Errors
    ///
    /// Those of [`alloc`](Self::alloc). Any number is a hint.
    pub fn alloc_near(&mut self, hint: impl Into<PageHint<P>>) -> Result<PageId<P>> {
        let PageHint(near) = hint.into();
        self.take_near(near)
    }

    fn take_near(&mut self, near: u64) -> Result<PageId<P>> {
        self.engine.holder().alloc(&mut self.stage, near).map(page_id)
    }

    /// Allocates the `count` lowest free regular pages, ascending, all of them or none. They read as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it cannot; nothing is allocated then.
    pub fn alloc_bulk(&mut self, count: usize) -> Result<Vec<PageId<P>>> {
        let mut ids = self.engine.get().room_for(&self.stage, count, to_count(count))?;
        let runs = self.engine.holder().alloc_bulk(&mut self.stage, to_count(count))?;
        ids.extend(runs.pages().map(page_id));
        Ok(ids)
    }

    /// Frees a regular page. One that this transaction allocated is free at once; an older one can be handed out again after
    /// the commit.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] or [`Error::WrongKind`] when the id names no regular page.
    pub fn free(&mut self, id: PageId<P>) -> Result<()> {
        self.engine.get().free(&mut self.stage, &[id.to_u64()])
    }

    /// Frees regular pages, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] or [`Error::WrongKind`] when an id names no regular page, [`Error::Duplicate`] when one stands
    /// twice; nothing is freed then.
    pub fn free_bulk(&mut self, ids: impl AsRef<[PageId<P>]>) -> Result<()> {
        let pages: Vec<u64> = ids.as_ref().iter().map(|id| id.to_u64()).collect();
        self.engine.get().free(&mut self.stage, &pages)
    }

    /// Allocates a protected page. It reads as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it cannot.
    pub fn alloc_protected(&mut self) -> Result<ProtectedPageId<P>> {
        let indexes = self.engine.holder().alloc_protected(&mut self.stage, 1)?;
        Ok(indexes.into_iter().map(protected_id).next().expect("one page was asked for"))
    }

    /// Allocates `count` protected pages, all of them or none. They read as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it cannot; nothing is allocated then.
    pub fn alloc_protected_bulk(&mut self, count: usize) -> Result<Vec<ProtectedPageId<P>>> {
        let indexes = self.engine.holder().alloc_protected(&mut self.stage, to_count(count))?;
        Ok(indexes.into_iter().map(protected_id).collect())
    }

    /// Frees a protected page. The id of an older one can be handed out again after the commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProtectedPage`].
    pub fn free_protected(&mut self, id: ProtectedPageId<P>) -> Result<()> {
        self.engine.get().free_protected(&mut self.stage, &[index_of(id)])
    }

    /// Frees protected pages, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProtectedPage`], or [`Error::Duplicate`] when an id stands twice; nothing is freed then.
    pub fn free_protected_bulk(&mut self, ids: impl AsRef<[ProtectedPageId<P>]>) -> Result<()> {
        let indexes: Vec<u64> = ids.as_ref().iter().map(|id| index_of(*id)).collect();
        self.engine.get().free_protected(&mut self.stage, &indexes)
    }

    /// A regular page as it will be after the commit.
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] or [`Error::WrongKind`] when the id names no regular page: freed in this transaction, for one.
    pub fn page(&self, id: PageId<P>) -> Result<&MappedPage<P>> {
        self.engine.get().staged_page(&self.stage, id.to_u64()).map(MappedPage::from_bytes)
    }

    /// The content of a regular page that this transaction allocated, to be changed. It appears with the commit, all of it,
    /// or not at all.
    ///
    /// # Errors
    ///
    /// [`Error::NotFresh`] when the page is older: [`overwrite`](Self::overwrite) takes those. [`Error::OutOfRange`] or
    /// [`Error::WrongKind`] when the id names no regular page. [`Error::StageFull`].
    pub fn page_mut(&mut self, id: PageId<P>) -> Result<&mut MappedPage<P>> {
        self.staged_mut(id.into(), true)
    }

    /// The content of a regular page of any age, to be changed. It starts from what the page holds.
    ///
    /// The change of an older page is *ordered* and not atomic: rolled back, it leaves no trace, but the commit writes the page
    /// in place, and when the power fails just then each of its sectors holds the old bytes or the new ones. A page whose
    /// content must be all old or all new is a protected one, or is replaced by a page that is allocated and written with
    /// [`page_mut`](Self::page_mut).
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] or [`Error::WrongKind`] when the id names no regular page. [`Error::StageFull`].
    pub fn overwrite(&mut self, id: PageId<P>) -> Result<&mut MappedPage<P>> {
        self.staged_mut(id.into(), false)
    }

    /// The content of a protected page as it will be after the commit, verified as the options say where it is older.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProtectedPage`]; [`Error::Corrupt`] when the live content is not what was committed; [`Error::Io`] when
    /// it cannot be read.
    pub fn protected(&self, id: ProtectedPageId<P>) -> Result<&MappedPage<P>> {
        self.engine.get().staged_protected(&self.stage, index_of(id)).map(MappedPage::from_bytes)
    }

    /// The content of a protected page, to be changed. It starts from the live content.
    ///
    /// # Errors
    ///
    /// Those of [`protected`](Self::protected), and [`Error::StageFull`].
    pub fn protected_mut(&mut self, id: ProtectedPageId<P>) -> Result<&mut MappedPage<P>> {
        self.staged_mut(id.into(), true)
    }

    /// The content of a protected page, to be written anew: it starts from zeros, whatever the page holds. A page whose live
    /// content is damaged is whole again after the commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProtectedPage`]; [`Error::StageFull`].
    pub fn protected_zeroed(&mut self, id: ProtectedPageId<P>) -> Result<&mut MappedPage<P>> {
        self.engine.get().staged_zeroed(&mut self.stage, index_of(id)).map(MappedPage::from_bytes_mut)
    }

    fn staged_mut(&mut self, id: AnyPageId<P>, fresh_only: bool) -> Result<&mut MappedPage<P>> {
        self.engine.get().staged_mut(&mut self.stage, owned(id), fresh_only).map(MappedPage::from_bytes_mut)
    }

    /// The contents of several pages at once, to be changed: regular pages that this transaction allocated, protected
    /// pages, or [both](AnyPageId).
    ///
    /// ```
    /// # use diptych::{AnyPageId, PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let mut transaction = pager.transaction()?;
    /// let (regular, protected) = (transaction.alloc()?, transaction.alloc_protected()?);
    /// let [left, right] = transaction.get_many_mut([AnyPageId::from(regular), protected.into()])?;
    /// (left[0], right[0]) = (1, 2);
    /// assert_eq!(transaction.protected(protected)?[0], 2);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] when an id stands twice; those of [`page_mut`](Self::page_mut) and
    /// [`protected_mut`](Self::protected_mut).
    pub fn get_many_mut<H: Into<AnyPageId<P>>, const K: usize>(
        &mut self,
        ids: [H; K],
    ) -> Result<[&mut MappedPage<P>; K]> {
        let all = ids.map(|id| owned(id.into()));
        let pages = self.engine.get().staged_many_mut(&mut self.stage, all)?;
        Ok(pages.map(MappedPage::from_bytes_mut))
    }

    /// The application header as it will be after the commit.
    #[must_use]
    pub fn header(&self) -> &[u8; HEADER_LEN] {
        self.stage.state().header()
    }

    /// Changes the application header: at most 128 bytes, filled up with zeros.
    ///
    /// # Errors
    ///
    /// [`Error::HeaderTooLong`].
    pub fn set_header(&mut self, header: &[u8]) -> Result<()> {
        self.engine.get().set_header(&mut self.stage, header)
    }

    /// Marks this point of the transaction, to come back to it. A savepoint lasts as long as the transaction: every page that
    /// is changed after it is kept as it was before, and counts as staged.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let mut transaction = pager.transaction()?;
    /// transaction.set_header(b"kept")?;
    /// let savepoint = transaction.savepoint();
    /// transaction.alloc_bulk(10)?;
    /// transaction.set_header(b"tried")?;
    /// transaction.rollback_to(&savepoint)?;
    /// assert!(transaction.header().starts_with(b"kept"));
    /// # Ok::<(), diptych::Error>(())
    /// ```
    pub fn savepoint(&mut self) -> Savepoint {
        Savepoint(self.stage.savepoint())
    }

    /// Lets go of what a savepoint keeps.
    pub(super) fn release(&mut self, savepoint: &Savepoint) {
        self.stage.release(savepoint.0);
    }

    /// Takes back everything since the savepoint. Savepoints made after it are gone; it can be rolled back to again.
    ///
    /// # Errors
    ///
    /// [`Error::ForeignSavepoint`] when it was made by another transaction, [`Error::StaleSavepoint`] when this one was rolled
    /// back past it; nothing changes then.
    pub fn rollback_to(&mut self, savepoint: &Savepoint) -> Result<()> {
        self.stage.rollback_to(savepoint.0)
    }
}

impl<const P: usize> fmt::Debug for Transaction<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Transaction")
            .field("page_size", &P)
            .field("generation", &self.stage.state().generation())
            .finish_non_exhaustive()
    }
}

/// Where [`alloc_near`](Transaction::alloc_near) looks first: a page, or its number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct PageHint<const P: usize>(u64);

impl<const P: usize> From<u64> for PageHint<P> {
    fn from(page: u64) -> Self {
        PageHint(page)
    }
}

impl<const P: usize> From<PageId<P>> for PageHint<P> {
    fn from(id: PageId<P>) -> Self {
        PageHint(id.to_u64())
    }
}

fn owned<const P: usize>(id: AnyPageId<P>) -> Owned {
    match id {
        AnyPageId::Regular(id) => Owned::Page(id.to_u64()),
        AnyPageId::Protected(id) => Owned::Protected(index_of(id)),
    }
}

fn page_id<const P: usize>(page: u64) -> PageId<P> {
    PageId::from_u64(page).expect("page 0 is reserved")
}

fn protected_id<const P: usize>(index: u64) -> ProtectedPageId<P> {
    ProtectedPageId::from_u64(index + 1).expect("one more than an index is not zero")
}

pub(super) fn to_count(count: usize) -> u64 {
    u64::try_from(count).expect("no supported target has lengths wider than 64 bits")
}
