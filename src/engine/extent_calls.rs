//! What a transaction does with extents, call by call.
//!
//! What an extent holds is staged as one content, and written with the regular pages, in front of a barrier. A compaction copies
//! it piece by piece instead, to where the durable state has nothing, so that it takes no memory.

use std::io;
use std::ops::Range;

use crate::block::PageKind;
use crate::error::{Error, Result};

use super::extent::Missing;
use super::geometry::to_index;
use super::page_buffer::PageBuffer;
use super::planted::{Mistake, is_planted};
use super::runs::Runs;
use super::stage::{Content, Owned, Stage};
use super::state::State;
use super::{Engine, Geometry, Holder, Unsynced};

/// What one call copies of an extent that is moved, if pages are not larger.
const COPY_BYTES: usize = 64 << 10;

#[cold]
fn no_such_extent(index: u64) -> Error {
    Error::NoSuchExtent { id: index.saturating_add(1) }
}

/// What may have to grow the file, for which it has to be alone.
impl dyn Holder + '_ {
    /// Runs `take` on a clone of the staged state, growing the file until it succeeds; then the clone is staged.
    fn with_run<T>(
        &mut self,
        stage: &mut Stage,
        mut take: impl FnMut(&mut State, Geometry, u64) -> Result<T, Missing>,
    ) -> Result<T> {
        let engine = self.engine();
        let (geometry, generation) = (engine.geometry, engine.next_generation()?);
        loop {
            let mut state = stage.state.clone();
            match take(&mut state, geometry, generation) {
                Ok(taken) => {
                    stage.state = state;
                    return Ok(taken);
                }
                Err(Missing(pages)) => self.grow(stage, pages)?,
            }
        }
    }

    /// Takes an extent of so many pages.
    pub(crate) fn alloc_extent(&mut self, stage: &mut Stage, pages: u64) -> Result<u64> {
        if pages == 0 {
            return Err(Error::EmptyExtent);
        }
        let engine = self.engine();
        engine.check_usable()?;
        let generation = engine.next_generation()?;
        if let Some(index) = stage.state.take_extent_at_hand(engine.geometry, pages, generation) {
            return Ok(index);
        }
        engine.room_for::<()>(stage, 0, pages)?;
        self.with_run(stage, |state, geometry, generation| state.take_extent(geometry, pages, generation))
    }

    /// Makes an extent at least so long where it lies. Says whether it is: the pages behind it may be somebody's.
    pub(crate) fn lengthen_extent(&mut self, stage: &mut Stage, index: u64, pages: u64) -> Result<bool> {
        let engine = self.engine();
        engine.check_usable()?;
        let old = engine.staged_extent_pages(stage, index)?;
        let more = pages.saturating_sub(old.end - old.start);
        if more == 0 {
            return Ok(true);
        }
        let first_behind = old.end..old.end.saturating_add(1).min(stage.state.total_pages());
        if stage.state.first_other(first_behind, PageKind::Free).is_some() {
            return Ok(false);
        }
        engine.room_for::<()>(stage, 0, more)?;
        let owned = Owned::Extent(index);
        if matches!(stage.content(owned), Some(Content::Placed)) {
            engine.staged_extent_mut(stage, index, false)?;
        }
        let len = engine.geometry.page_len().saturating_mul(to_index(pages));
        stage.check_resized(owned, len)?;
        let before = stage.state.clone();
        let is_longer = self
            .with_run(stage, |state, geometry, generation| state.lengthen_extent(geometry, index, pages, generation))?;
        if is_longer {
            stage.resize_content(owned, len);
        } else {
            // Leaves may have been touched that it would have reached into, and the file may be longer.
            stage.state = before;
        }
        Ok(is_longer)
    }
}

impl Engine {
    /// The pages of an extent.
    pub(crate) fn extent_pages(&self, index: u64) -> Result<Range<u64>> {
        self.live.extent(index).ok_or_else(|| no_such_extent(index))
    }

    /// An extent, in place.
    pub(crate) fn extent(&self, index: u64) -> Result<&[u8]> {
        self.extent_pages(index).map(|pages| self.bytes_of(&pages))
    }

    /// An extent, in place, to be stored to. What is stored is durable after the next barrier.
    pub(crate) fn extent_mut(&mut self, index: u64) -> Result<&mut [u8]> {
        self.check_usable()?;
        let pages = self.extent_pages(index)?;
        *self.unsynced() = Unsynced::Stores;
        Ok(self.region.bytes_mut(self.geometry.offset(pages.start), self.len_of(&pages)))
    }

    fn len_of(&self, pages: &Range<u64>) -> usize {
        to_index(self.geometry.offset(pages.end) - self.geometry.offset(pages.start))
    }

    fn bytes_of(&self, pages: &Range<u64>) -> &[u8] {
        self.region.bytes(self.geometry.offset(pages.start), self.len_of(pages))
    }

    /// Calls `visit` with the length of every free run of the live state.
    pub(crate) fn visit_free_runs(&self, mut visit: impl FnMut(u64)) {
        let within = self.geometry.first_page()..self.live.total_pages();
        self.live.free_map.visit_free_runs(within, |run| visit(run.end - run.start));
    }

    /// The pages of an extent as the transaction sees it.
    pub(crate) fn staged_extent_pages(&self, stage: &Stage, index: u64) -> Result<Range<u64>> {
        let pages = stage.state.extent(index).filter(|_| !stage.is_freed(Owned::Extent(index)));
        pages.ok_or_else(|| no_such_extent(index))
    }

    /// Frees an extent.
    pub(crate) fn free_extent(&self, stage: &mut Stage, index: u64) -> Result<()> {
        self.check_usable()?;
        self.staged_extent_pages(stage, index)?;
        stage.free_extent(&self.live, index);
        Ok(())
    }

    /// Frees what an extent has behind so many pages.
    pub(crate) fn shorten_extent(&self, stage: &mut Stage, index: u64, pages: u64) -> Result<()> {
        self.check_usable()?;
        let old = self.staged_extent_pages(stage, index)?;
        if pages == 0 {
            return Err(Error::EmptyExtent);
        }
        let end = old.start.saturating_add(pages);
        if end < old.end {
            let len = self.len_of(&(old.start..end));
            stage.check_resized(Owned::Extent(index), len)?;
            stage.resize_content(Owned::Extent(index), len);
            stage.state.place_extent(index, &(old.start..end), self.next_generation()?);
            stage.leave_run(&self.live, index, end..old.end);
        }
        Ok(())
    }

    /// An extent as the transaction sees it.
    pub(crate) fn staged_extent<'a>(&'a self, stage: &'a Stage, index: u64) -> Result<&'a [u8]> {
        let pages = self.staged_extent_pages(stage, index)?;
        match stage.content(Owned::Extent(index)) {
            Some(Content::Bytes(buffer)) => Ok(buffer.as_bytes()),
            Some(Content::Placed) => Ok(self.bytes_of(&pages)),
            Some(Content::Zeros | Content::Moved(_)) => unreachable!("that is what other pages hold"),
            None if self.live_part(index, &pages) == pages => Ok(self.bytes_of(&pages)),
            None => Err(Error::Unwritten { id: index.saturating_add(1) }),
        }
    }

    /// The pages of an extent that the live state has under its index already: it begins with them.
    fn live_part(&self, index: u64, pages: &Range<u64>) -> Range<u64> {
        match self.live.extent(index) {
            Some(live) if live.start == pages.start => live.start..live.end.min(pages.end),
            _ => pages.start..pages.start,
        }
    }

    /// The staged content of an extent. `fresh_only` refuses one that existed before the transaction.
    pub(crate) fn staged_extent_mut<'a>(
        &self,
        stage: &'a mut Stage,
        index: u64,
        fresh_only: bool,
    ) -> Result<&'a mut [u8]> {
        self.check_usable()?;
        let pages = self.staged_extent_pages(stage, index)?;
        if fresh_only && self.live.extent(index).is_some() {
            return Err(Error::NotFresh { page: pages.start });
        }
        let owned = Owned::Extent(index);
        let there = match stage.content(owned) {
            Some(Content::Placed) => pages.clone(),
            _ => self.live_part(index, &pages),
        };
        let [bytes] = stage.contents_mut([owned], |_| {
            let buffer = PageBuffer::try_zeroed(self.len_of(&pages));
            let mut buffer =
                buffer.map_err(|_| self.io_error("allocate memory for pages of", io::ErrorKind::OutOfMemory.into()))?;
            buffer.as_bytes_mut()[..self.len_of(&there)].copy_from_slice(self.bytes_of(&there));
            Ok(buffer)
        })?;
        Ok(bytes)
    }

    /// Moves an extent to a free run before `end`, if there is one, else to the lowest before it: what cannot lie before `end` shall
    /// not keep the file long. The content is written at once.
    pub(super) fn move_extent(&self, stage: &mut Stage, end: u64, index: u64) -> Result<bool> {
        let from = self.staged_extent_pages(stage, index)?;
        let (first, len) = (self.geometry.first_page(), from.end - from.start);
        let mut run = |end| stage.state.free_map.find_run(first..end, len);
        let Some(start) = run(end.min(from.start)).or_else(|| run(from.start)) else { return Ok(false) };
        let to = start..start + (from.end - from.start);
        let mut runs = Runs::default();
        runs.push(to.start, to.end - to.start);
        // Whatever becomes of this transaction.
        self.zero_pages().remove(&runs);
        if !is_planted(Mistake::MovedExtentNotOrdered) {
            *self.unsynced() = Unsynced::Stores;
        }
        let mut buffer = vec![0; COPY_BYTES.max(self.geometry.page_len())];
        for piece in self.geometry.split(from.clone(), buffer.len()) {
            // A positioned read fails where a load through the map would be a SIGBUS.
            let bytes = &mut buffer[..self.len_of(&piece)];
            let read = self.storage.read_shown(&self.region, bytes, self.geometry.offset(piece.start));
            read.map_err(|source| self.io_error("read", source))?;
            self.write(&[bytes], self.geometry.offset(to.start + (piece.start - from.start)))?;
        }
        stage.move_extent(&self.live, index, &to, self.next_generation()?);
        Ok(true)
    }
}
