//! What a transaction does, call by call.
//!
//! Every call either changes the stage as it says or leaves it as it was. Only growth touches the storage: a file that
//! grew for a transaction that is then dropped is longer than its metadata says, which is normal.

use std::io;
use std::sync::Arc;

use crate::block::PageKind;
use crate::error::{Error, Result};
use crate::format::HEADER_LEN;
use crate::storage::Barrier;

use super::entries::{EntryKind, no_such_twin};
use super::geometry::to_index;
use super::live::Live;
use super::page_buffer::PageBuffer;
use super::planted::{Mistake, is_planted};
use super::runs::Runs;
use super::stage::{Content, Owned, Stage};
use super::state::State;
use super::{Engine, EngineOptions, Holder, check_distinct, not_regular};

const NO_PAGE: &str = "extents have calls of their own, and what a twin or an extent has left has no content";

/// What may have to grow the file, for which it has to be alone.
impl dyn Holder + '_ {
    /// Takes the lowest free page at or behind `near`, else the lowest of all.
    pub(crate) fn alloc(&mut self, stage: &mut Stage, near: u64) -> Result<u64> {
        let engine = self.engine();
        engine.check_usable()?;
        if near >= stage.state.total_pages {
            // What the file has grown by already may hold the page that is asked for.
            stage.state.total_pages = engine.physical_pages.max(stage.state.total_pages);
        }
        let geometry = engine.geometry;
        loop {
            if let Some(page) = stage.state.take_page(geometry, near, PageKind::Regular) {
                if is_planted(Mistake::LeakedTransactionPersists) {
                    self.with_alone(|engine| {
                        #[cfg(diptych_planted)]
                        super::lock(&engine.before_stage).keep(&engine.live);
                        engine.live = Live::new(stage.state.clone());
                    });
                }
                return Ok(page);
            }
            self.grow(stage, 1)?;
        }
    }

    /// Takes the lowest free pages, all of them or none.
    pub(crate) fn alloc_bulk(&mut self, stage: &mut Stage, count: u64) -> Result<Runs> {
        self.with_growth(stage, count, |state, geometry| state.take_runs(geometry, count, PageKind::Regular))
    }

    /// Takes protected pages, all of them or none. They hold zeros.
    pub(crate) fn alloc_protected(&mut self, stage: &mut Stage, count: u64) -> Result<Vec<u64>> {
        self.alloc_twins(stage, EntryKind::Protected, count)
    }

    /// Takes twins, all of them or none. They hold zeros.
    pub(super) fn alloc_twins(&mut self, stage: &mut Stage, kind: EntryKind, count: u64) -> Result<Vec<u64>> {
        let pages = count.saturating_mul(2);
        let mut indexes = self.engine().room_for(stage, to_index(count), pages)?;
        self.with_growth(stage, pages, |state, geometry| {
            indexes.clear();
            for _ in 0..count {
                indexes.push(state.take_twin(geometry, kind)?);
            }
            Some(())
        })?;
        indexes.iter().for_each(|index| stage.set_zeros(Owned::Protected(*index)));
        Ok(indexes)
    }

    /// Runs `take` on a clone of the staged state, growing the file until it succeeds; then the clone is staged. `pages` is the
    /// least that it takes: nodes, leaves, and the ends of blocks come on top.
    fn with_growth<T>(
        &mut self,
        stage: &mut Stage,
        pages: u64,
        mut take: impl FnMut(&mut State, super::Geometry) -> Option<T>,
    ) -> Result<T> {
        let engine = self.engine();
        engine.check_usable()?;
        let geometry = engine.geometry;
        loop {
            // What cannot fit is refused before memory is spent on it.
            let free = stage.state.free_pages();
            if pages <= free {
                let mut state = stage.state.clone();
                if let Some(taken) = take(&mut state, geometry) {
                    stage.state = state;
                    return Ok(taken);
                }
            }
            self.grow(stage, pages.saturating_sub(free).max(1))?;
        }
    }

    pub(super) fn grow(&mut self, stage: &mut Stage, pages: u64) -> Result<()> {
        self.check_alone()?;
        self.with_alone(|engine| engine.grow(&mut stage.state, pages))
    }
}

impl Engine {
    /// A transaction's stage, equal to the live state; what waits is gone in it and cannot be handed out.
    pub(crate) fn stage(&self) -> Result<Stage> {
        self.check_usable()?;
        // Whatever there was before is over.
        #[cfg(diptych_planted)]
        super::lock(&self.before_stage).take();
        let waiting = self.group.as_ref().map(|group| Arc::clone(&group.waiting));
        let EngineOptions { durability, max_staged_bytes, .. } = self.options;
        Ok(Stage::new(self.base(), waiting, self.geometry, durability, max_staged_bytes))
    }

    /// An empty list with memory for `count` names, which take `pages` at the least. What neither the file nor the disk nor
    /// memory can hold is an error before anything is done.
    pub(crate) fn room_for<T>(&self, stage: &Stage, count: usize, pages: u64) -> Result<Vec<T>> {
        self.check_usable()?;
        let beyond = pages.saturating_sub(stage.state.free_pages());
        let (needed, limit) = (stage.state.total_pages.saturating_add(beyond), self.most_pages());
        if beyond > 0 && needed > limit {
            return Err(Error::Full { needed, limit });
        }
        self.check_space(beyond)?;
        let mut names = Vec::new();
        let reserved = names.try_reserve_exact(count);
        reserved.map_err(|_| self.io_error("allocate memory for pages of", io::ErrorKind::OutOfMemory.into()))?;
        Ok(names)
    }

    /// In a sparse file space is allocated by the commit; growth that the disk cannot hold is refused before.
    fn check_space(&self, pages: u64) -> Result<()> {
        if !self.options.sparse || pages == 0 {
            return Ok(());
        }
        let available = self.storage.available().map_err(|source| self.io_error("look for space for", source))?;
        if pages > self.geometry.whole_pages(available) {
            return Err(self.io_error("grow", io::ErrorKind::StorageFull.into()));
        }
        Ok(())
    }

    fn most_pages(&self) -> u64 {
        self.options.max_pages(self.geometry).min(self.geometry.capacity())
    }

    /// Grows the file so that about `pages` more can be handed out, `pages` themselves at the least. After an error nothing has
    /// changed.
    pub(super) fn grow(&mut self, state: &mut State, pages: u64) -> Result<()> {
        let total = state.total_pages;
        if self.physical_pages > total {
            state.total_pages = self.physical_pages;
            return Ok(());
        }
        let limit = self.most_pages();
        let least = total.saturating_add(pages);
        if least > limit {
            return Err(Error::Full { needed: least, limit });
        }
        let needed = total.saturating_add(state.shortfall(self.geometry, pages)).min(limit);
        let step = self.geometry.offset(total).min(self.options.growth_limit);
        let generous = needed.max(total.saturating_add(self.geometry.whole_pages(step))).min(limit);
        let reached = self.grow_to_any([generous, needed, least]);
        let reached = reached.map_err(|source| {
            // What was gained before the failure may have stayed; nothing names it.
            self.has_tail |= self.storage.len().is_ok_and(|len| len > self.region.len());
            self.io_error("grow", source)
        })?;
        // No metadata may name a page beyond a length that a barrier has covered.
        if !is_planted(Mistake::TotalNamedBeforeTheLengthIsSynced) {
            let bytes_alone = is_planted(Mistake::GrowthSyncedWithoutItsLength);
            self.barrier(if bytes_alone { Barrier::Bytes } else { Barrier::Length })?;
        }
        // The storage has cut the tail off before it grew.
        self.has_tail = false;
        self.zero_pages().insert(self.physical_pages..reached);
        self.physical_pages = reached;
        state.total_pages = reached;
        Ok(())
    }

    /// Grows to the first of these totals, descending, for which there is space.
    fn grow_to_any(&mut self, totals: [u64; 3]) -> io::Result<u64> {
        let mut last = None;
        for total in totals {
            if last == Some(total) {
                continue;
            }
            last = Some(total);
            match self.grow_to(total) {
                Err(source) if is_out_of_space(&source) && total != totals[2] => {}
                grown => return grown.map(|()| total),
            }
        }
        unreachable!("the last total succeeds or fails for good")
    }

    pub(super) fn grow_to(&mut self, pages: u64) -> io::Result<()> {
        let len = self.geometry.offset(pages);
        self.storage.grow(&mut self.region, len, self.options.sparse)
    }

    fn check_staged_regular(&self, stage: &Stage, page: u64) -> Result<()> {
        // Behind the end no page is.
        if stage.kind(page) == PageKind::Regular {
            return Ok(());
        }
        Err(not_regular(page, stage.state.total_pages, |page| stage.kind(page)))
    }

    fn check_staged_protected(&self, stage: &Stage, index: u64) -> Result<()> {
        self.check_staged_twin(stage, EntryKind::Protected, index)
    }

    pub(super) fn check_staged_twin(&self, stage: &Stage, kind: EntryKind, index: u64) -> Result<()> {
        if stage.state.has_entry(kind, index) && !stage.is_freed(Owned::Protected(index)) {
            return Ok(());
        }
        Err(no_such_twin(kind, index))
    }

    /// Frees regular pages, all of them or none.
    pub(crate) fn free(&self, stage: &mut Stage, pages: &[u64]) -> Result<()> {
        self.check_usable()?;
        pages.iter().try_for_each(|page| self.check_staged_regular(stage, *page))?;
        check_no_duplicates(pages, |page| page)?;
        pages.iter().for_each(|page| stage.free_page(&self.live, *page));
        Ok(())
    }

    /// Frees protected pages, all of them or none.
    pub(crate) fn free_protected(&self, stage: &mut Stage, indexes: &[u64]) -> Result<()> {
        self.free_twins(stage, EntryKind::Protected, indexes)
    }

    /// Frees twins of one kind, all of them or none.
    pub(super) fn free_twins(&self, stage: &mut Stage, kind: EntryKind, indexes: &[u64]) -> Result<()> {
        self.check_usable()?;
        indexes.iter().try_for_each(|index| self.check_staged_twin(stage, kind, *index))?;
        check_no_duplicates(indexes, |index| index + 1)?;
        indexes.iter().for_each(|index| stage.free_twin(&self.live, *index));
        Ok(())
    }

    /// A regular page as the transaction sees it.
    pub(crate) fn staged_page<'a>(&'a self, stage: &'a Stage, page: u64) -> Result<&'a [u8]> {
        self.check_staged_regular(stage, page)?;
        match stage.content(Owned::Page(page)) {
            Some(Content::Bytes(buffer)) => Ok(buffer.as_bytes()),
            Some(Content::Zeros) => Ok(self.zero_page()),
            Some(Content::Moved(from)) => Ok(self.page_bytes(*from)),
            None if self.is_fresh(page) => Ok(self.zero_page()),
            Some(Content::Placed) | None => Ok(self.page_bytes(page)),
        }
    }

    /// A protected page as the transaction sees it.
    pub(crate) fn staged_protected<'a>(&'a self, stage: &'a Stage, index: u64) -> Result<&'a [u8]> {
        self.staged_twin(stage, EntryKind::Protected, index)
    }

    /// A twin as the transaction sees it.
    pub(super) fn staged_twin<'a>(&'a self, stage: &'a Stage, kind: EntryKind, index: u64) -> Result<&'a [u8]> {
        self.check_staged_twin(stage, kind, index)?;
        match stage.content(Owned::Protected(index)) {
            Some(Content::Bytes(buffer)) => Ok(buffer.as_bytes()),
            Some(Content::Zeros) => Ok(self.zero_page()),
            Some(Content::Placed | Content::Moved(_)) | None => self.twin_content(kind, index),
        }
    }

    /// Whether a page in use by a transaction was free before it.
    fn is_fresh(&self, page: u64) -> bool {
        page >= self.live.total_pages() || self.live.kind(self.geometry, page) == PageKind::Free
    }

    fn check_writable(&self, stage: &Stage, owned: Owned, fresh_only: bool) -> Result<()> {
        self.check_usable()?;
        match owned {
            Owned::Protected(index) => self.check_staged_protected(stage, index),
            Owned::Page(page) => {
                self.check_staged_regular(stage, page)?;
                if fresh_only && !self.is_fresh(page) { Err(Error::NotFresh { page }) } else { Ok(()) }
            }
            Owned::Copy(_) | Owned::Extent(_) | Owned::Left { .. } => unreachable!("{NO_PAGE}"),
        }
    }

    /// The content that a first change starts from.
    fn first_content(&self, owned: Owned) -> Result<PageBuffer> {
        match owned {
            Owned::Protected(index) => self.protected(index).map(PageBuffer::copy_of),
            Owned::Page(page) if self.is_fresh(page) => Ok(PageBuffer::zeroed(self.geometry.page_len())),
            Owned::Page(page) => Ok(PageBuffer::copy_of(self.page_bytes(page))),
            Owned::Copy(_) | Owned::Extent(_) | Owned::Left { .. } => unreachable!("{NO_PAGE}"),
        }
    }

    /// The staged content of a page. `fresh_only` refuses regular pages that existed before the transaction.
    pub(crate) fn staged_mut<'a>(&self, stage: &'a mut Stage, owned: Owned, fresh_only: bool) -> Result<&'a mut [u8]> {
        self.check_writable(stage, owned, fresh_only)?;
        let [bytes] = stage.contents_mut([owned], |owned| self.first_content(owned))?;
        Ok(bytes)
    }

    /// The staged contents of several pages, no two of them equal.
    pub(crate) fn staged_many_mut<'a, const K: usize>(
        &self,
        stage: &'a mut Stage,
        all: [Owned; K],
    ) -> Result<[&'a mut [u8]; K]> {
        check_distinct(all)?;
        all.into_iter().try_for_each(|owned| self.check_writable(stage, owned, true))?;
        stage.contents_mut(all, |owned| self.first_content(owned))
    }

    /// The staged content of a protected page, zeros to begin with, whatever its live copy holds.
    pub(crate) fn staged_zeroed<'a>(&self, stage: &'a mut Stage, index: u64) -> Result<&'a mut [u8]> {
        let owned = Owned::Protected(index);
        self.check_writable(stage, owned, true)?;
        let [bytes] = stage.contents_mut([owned], |_| Ok(PageBuffer::zeroed(self.geometry.page_len())))?;
        bytes.fill(0);
        Ok(bytes)
    }

    /// Sets the application header; what is shorter is filled with zeros.
    pub(crate) fn set_header(&self, stage: &mut Stage, header: &[u8]) -> Result<()> {
        self.check_usable()?;
        let mut whole = [0; HEADER_LEN];
        let Some(head) = whole.get_mut(..header.len()) else {
            return Err(Error::HeaderTooLong { max: HEADER_LEN, found: header.len() });
        };
        head.copy_from_slice(header);
        stage.state.header = whole;
        Ok(())
    }
}

pub(super) fn is_out_of_space(error: &io::Error) -> bool {
    use io::ErrorKind::{FileTooLarge, QuotaExceeded, StorageFull};
    matches!(error.kind(), StorageFull | QuotaExceeded | FileTooLarge)
}

/// Finds a name that stands twice in a list of any length.
fn check_no_duplicates(names: &[u64], to_raw: impl Fn(u64) -> u64) -> Result<()> {
    if names.len() < 2 {
        return Ok(());
    }
    let mut sorted = Vec::with_capacity(to_index(names.len() as u64));
    sorted.extend_from_slice(names);
    sorted.sort_unstable();
    match sorted.windows(2).find(|pair| pair[0] == pair[1]) {
        Some(pair) => Err(Error::Duplicate { page: to_raw(pair[0]) }),
        None => Ok(()),
    }
}
