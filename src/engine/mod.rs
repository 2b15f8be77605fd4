//! The whole pager with the page size as a value, compiled once.
//!
//! The engine owns the storage, the region and the live state. It hands out pages of the live state, lends a
//! [`Stage`] to every transaction, and makes a stage live by [committing](commit) it. Pages and protected pages have raw
//! numbers here; the pager tier puts types around them.
//!
//! ```text
//!            stage()                 commit(stage)
//!   live ───────────────▶ staged ───────────────────▶ live
//!    ▲                      │ drop                      │ failure after the first byte that counts
//!    └──────────────────────┘                           ▼
//!                                                   poisoned ── open again ──▶ live
//! ```
//!
//! The live state is durable, unless the newest commits [wait](group) for the next durable one.
//!
//! Whoever has `&Engine` reads the live state and views pages. One call at a time may change something, beside them: it
//! writes what nobody can view and passes barriers with `&Engine` too, and what a reader could see it changes as `&mut`, for
//! which it asks its [holder].

mod advice;
mod change;
mod changed;
mod check;
mod checkpoint;
mod commit;
mod compaction;
mod entries;
mod extent;
mod extent_calls;
mod free_map;
mod geometry;
mod group;
mod holder;
mod increment;
mod leaves;
mod live;
mod map_leaf;
mod new_file;
mod open;
mod options;
mod owned;
mod owners;
mod page_buffer;
mod placement;
mod planted;
mod punch;
mod reader;
mod recovery;
mod report;
mod reserved;
mod root;
mod runs;
mod shown;
mod shrink;
mod snapshot;
mod sparse_tree;
mod stage;
mod state;
mod table_pages;
mod twin_table;
mod waiting;
mod walk;
mod window;
mod writes;
mod zero_pages;

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, MutexGuard, OnceLock, PoisonError};

use crate::block::PageKind;
use crate::error::{Error, Result};
use crate::format::{ChecksumKey, Identity};
use crate::storage::{Barrier, Region, Storage};

pub use check::Finding;
pub(crate) use compaction::Round;
pub(crate) use geometry::Geometry;
pub(crate) use holder::Holder;
pub(crate) use increment::apply as apply_increment;
pub(crate) use new_file::NewFile;
pub(crate) use options::EngineOptions;
pub use options::{Durability, Verification};
pub(crate) use page_buffer::PageBuffer;
#[cfg(diptych_planted)]
pub use planted::{Mistake, plant};
pub use report::Recovery;
pub(crate) use stage::{Owned, SavepointToken, Stage};
pub(crate) use state::State;

use change::is_out_of_space;
use entries::{EntryKind, no_such_twin};
use group::Group;
use live::Live;
#[cfg(diptych_planted)]
use planted::BeforeStage;
#[cfg(not(diptych_planted))]
use planted::Mistake;
use planted::is_planted;
use reader::Reader;
use root::Root;
use shown::Shown;
use zero_pages::ZeroPages;

/// What was stored or written outside a commit since the last barrier.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
enum Unsynced {
    Nothing,
    /// Zeros into pages that nobody has written since they were handed out: what they hold after a crash is not promised.
    Zeros,
    /// Bytes of users.
    Stores,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Engine {
    options: EngineOptions,
    geometry: Geometry,
    identity: Identity,
    key: ChecksumKey,
    recovery: Recovery,

    /// Before the storage: its views rely on the lock, which goes with the storage.
    region: Region,
    storage: Box<dyn Storage>,
    /// Pages that the file and the region have room for; at least the live total. The difference was grown for transactions
    /// that did not commit.
    physical_pages: u64,
    /// The file is longer than that: the tail of an earlier failure, which nobody may read.
    has_tail: bool,
    zero_pages: Mutex<ZeroPages>,
    /// Parts of the file may have no space, so that it is allocated before they are handed out.
    may_have_holes: bool,

    live: Live,
    /// The commits that wait, if there are any: without them the live state is the durable one.
    group: Option<Box<Group>>,
    live_slot: usize,
    root: Root,
    /// Protected pages whose live copy was verified or written since the file was opened.
    shown: Shown,
    /// The same of pages of tables: apart, so that no id of a protected page leads to one.
    shown_tables: Shown,
    unsynced: Mutex<Unsynced>,
    /// I5: what is durable is not known. While a call that may fail [is under way](Self::under_way), it is not known yet.
    poisoned: AtomicBool,
    under_way: AtomicBool,
    /// What pages that nobody has written read as.
    zero_page: OnceLock<PageBuffer>,
    #[cfg(diptych_planted)]
    before_stage: Mutex<BeforeStage<State>>,
}

impl Engine {
    pub(crate) fn live(&self) -> &State {
        &self.live
    }

    /// What the slot says: the live state, unless commits wait.
    pub(crate) fn durable(&self) -> &State {
        self.group.as_ref().map_or(&self.live, |group| &group.durable)
    }

    pub(crate) fn geometry(&self) -> Geometry {
        self.geometry
    }

    pub(crate) fn identity(&self) -> Identity {
        self.identity
    }

    pub(crate) fn recovery(&self) -> &Recovery {
        &self.recovery
    }

    /// How a commit becomes durable that does not say how.
    pub(crate) fn default_durability(&self) -> Durability {
        self.options.durability
    }

    fn io_error(&self, op: &'static str, source: std::io::Error) -> Error {
        Error::io(op, self.storage.path(), source)
    }

    fn check_usable(&self) -> Result<()> {
        if self.is_poisoned() { Err(Error::Poisoned) } else { Ok(()) }
    }

    fn is_poisoned(&self) -> bool {
        self.poisoned.load(Ordering::Relaxed)
    }

    /// Only the call that changes something says this, so nothing has to be ordered by it.
    fn set_poisoned(&self, poisoned: bool) {
        self.poisoned.store(poisoned, Ordering::Relaxed);
    }

    /// Whether a commit or a barrier goes on beside a reader: then blocks that nothing live names may be half written, and the
    /// poison is not a verdict.
    fn is_under_way(&self) -> bool {
        self.under_way.load(Ordering::SeqCst)
    }

    fn unsynced(&self) -> MutexGuard<'_, Unsynced> {
        lock(&self.unsynced)
    }

    fn zero_pages(&self) -> MutexGuard<'_, ZeroPages> {
        lock(&self.zero_pages)
    }

    fn reader(&self) -> Reader<'_> {
        let len = self.region.len();
        Reader { storage: &*self.storage, geometry: self.geometry, key: self.key, len, in_flight: None }
    }

    #[inline]
    fn page_bytes(&self, page: u64) -> &[u8] {
        self.region.bytes(self.geometry.offset(page), self.geometry.page_len())
    }

    fn zero_page(&self) -> &[u8] {
        self.zero_page.get_or_init(|| PageBuffer::zeroed(self.geometry.page_len())).as_bytes()
    }

    /// A regular page, in place, whatever the page size.
    #[cfg(test)]
    pub(crate) fn page(&self, page: u64) -> Result<&[u8]> {
        self.check_regular(page)?;
        Ok(self.page_bytes(page))
    }

    /// A regular page, in place, for a caller that knew the page size, `N`, when it was compiled.
    #[inline]
    pub(crate) fn page_array<const N: usize>(&self, page: u64) -> Result<&[u8; N]> {
        debug_assert_eq!(N, self.geometry.page_len(), "a pager is of the page size of its engine");
        self.check_regular(page)?;
        Ok(self.region.array(page))
    }

    #[inline]
    fn check_regular(&self, page: u64) -> Result<()> {
        if self.live.is_regular(page) { Ok(()) } else { Err(self.not_regular(page)) }
    }

    #[cold]
    fn not_regular(&self, page: u64) -> Error {
        not_regular(page, self.live.total_pages(), |page| self.live.kind(self.geometry, page))
    }

    /// A regular page, in place, to be stored to. What is stored is durable after the next barrier.
    pub(crate) fn page_mut(&mut self, page: u64) -> Result<&mut [u8]> {
        self.check_usable()?;
        self.check_regular(page)?;
        if !is_planted(Mistake::StoreThroughTheMapForgotten) {
            self.note_stores();
        }
        Ok(self.region.bytes_mut(self.geometry.offset(page), self.geometry.page_len()))
    }

    fn note_stores(&mut self) {
        *self.unsynced.get_mut().unwrap_or_else(PoisonError::into_inner) = Unsynced::Stores;
    }

    /// Several regular pages to be stored to.
    pub(crate) fn pages_mut<const K: usize>(&mut self, pages: [u64; K]) -> Result<[&mut [u8]; K]> {
        self.check_usable()?;
        check_distinct(pages.map(Owned::Page))?;
        pages.into_iter().try_for_each(|page| self.check_regular(page))?;
        self.note_stores();
        let offsets = pages.map(|page| self.geometry.offset(page));
        Ok(self.region.disjoint_mut(offsets, self.geometry.page_len()))
    }

    /// The live content of a twin, verified as the options say.
    fn twin_content(&self, kind: EntryKind, index: u64) -> Result<&[u8]> {
        Ok(self.page_bytes(self.verified_page(kind, index)?))
    }

    /// The live content of a protected page, verified as the options say.
    pub(crate) fn protected(&self, index: u64) -> Result<&[u8]> {
        self.twin_content(EntryKind::Protected, index)
    }

    /// The same for a caller that knew the page size, `N`, when it was compiled.
    #[inline]
    pub(crate) fn protected_array<const N: usize>(&self, index: u64) -> Result<&[u8; N]> {
        debug_assert_eq!(N, self.geometry.page_len(), "a pager is of the page size of its engine");
        Ok(self.region.array(self.verified_page(EntryKind::Protected, index)?))
    }

    /// The page of the live copy of a twin of this kind.
    #[inline]
    fn verified_page(&self, kind: EntryKind, index: u64) -> Result<u64> {
        match self.shown_of(kind).get(index) {
            Some(page) => Ok(page),
            None => self.verify(kind, index),
        }
    }

    #[inline]
    fn shown_of(&self, kind: EntryKind) -> &Shown {
        match kind {
            EntryKind::Protected => &self.shown,
            EntryKind::Table => &self.shown_tables,
        }
    }

    fn shown_of_mut(&mut self, kind: EntryKind) -> &mut Shown {
        match kind {
            EntryKind::Protected => &mut self.shown,
            EntryKind::Table => &mut self.shown_tables,
        }
    }

    fn forget_shown(&self, index: u64) {
        EntryKind::ALL.into_iter().for_each(|kind| self.shown_of(kind).forget(index));
    }

    /// What the options ask for before a page is looked at that is not known to be good.
    #[cold]
    fn verify(&self, kind: EntryKind, index: u64) -> Result<u64> {
        let Some(entry) = self.live.entry(kind, index) else {
            return Err(no_such_twin(kind, index));
        };
        if self.options.verification != Verification::Never {
            // A positioned read fails where a load through the map would be a SIGBUS.
            let mut scratch = vec![0; self.geometry.page_len()];
            self.reader().verify_page(kind.block(index), &entry, &mut scratch)?;
        }
        self.shown_of(kind).set(index, entry.live_page());
        Ok(entry.live_page())
    }

    /// Makes durable what was stored through the region, and the commits that wait.
    pub(crate) fn sync(&mut self) -> Result<()> {
        <dyn Holder>::sync(self)
    }

    /// I5: after a barrier that failed nothing is known, and another one proves nothing.
    fn barrier(&self, barrier: Barrier) -> Result<()> {
        let poisoned = self.is_poisoned();
        self.set_poisoned(!is_planted(Mistake::FailedSyncLeavesThePagerUsable));
        self.storage.barrier(&self.region, barrier).map_err(|source| self.io_error("sync", source))?;
        self.set_poisoned(poisoned);
        *self.unsynced() = Unsynced::Nothing;
        Ok(())
    }

    /// Writes what nobody can view: the engine's own blocks, and pages that the live state does not name. Whoever writes
    /// something else has the engine as `&mut`.
    fn write(&self, parts: &[&[u8]], offset: u64) -> Result<()> {
        if is_planted(Mistake::WriteElidedWhereTheCacheAgrees) {
            let bytes = parts.concat();
            if self.region.bytes(offset, bytes.len()) == bytes {
                return Ok(());
            }
        }
        let written = self.storage.write_at(&self.region, parts, offset);
        written.map_err(|source| self.io_error("write", source))
    }

    /// Makes everything durable and gives back what growth added for transactions that did not commit.
    pub(crate) fn close(mut self) -> Result<()> {
        if self.group.is_none() {
            self.sync()?;
        }
        match self.seal() {
            // In a file with holes the spare copy of a leaf may have no space yet. All is durable without it.
            Err(Error::Io { source, .. }) if !self.is_poisoned() && is_out_of_space(&source) => self.sync()?,
            sealed => sealed?,
        }
        self.cut_tail()
    }

    fn cut_tail(&mut self) -> Result<()> {
        let total = self.durable().total_pages();
        if self.has_tail || self.physical_pages > total {
            let len = self.geometry.offset(total);
            self.storage.cut(&mut self.region, len).map_err(|source| self.io_error("cut", source))?;
            self.physical_pages = total;
            self.has_tail = false;
        }
        Ok(())
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        // Only tidiness is lost if this fails: a file that is longer than its metadata says is normal.
        if !self.is_poisoned() {
            let _ = self.cut_tail();
        }
    }
}

/// What only the call that changes something looks at. A panic leaves nothing half done in it.
fn lock<T>(mutex: &Mutex<T>) -> MutexGuard<'_, T> {
    mutex.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Why an id names no regular page.
#[cold]
fn not_regular(page: u64, total: u64, kind: impl Fn(u64) -> PageKind) -> Error {
    if page >= total {
        return Error::OutOfRange { page, total };
    }
    Error::WrongKind { page, expected: PageKind::Regular, found: kind(page) }
}

/// No two of the names are equal; K is small.
fn check_distinct<const K: usize>(names: [Owned; K]) -> Result<()> {
    for (at, name) in names.iter().enumerate() {
        if names[..at].contains(name) {
            let page = match *name {
                Owned::Page(page) => page,
                Owned::Protected(index) => index + 1,
                Owned::Copy(page) => page,
                Owned::Extent(index) => index + 1,
                Owned::Left { start, .. } => start,
            };
            return Err(Error::Duplicate { page });
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
