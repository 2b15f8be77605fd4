//! The only writer of live state.
//!
//! ```text
//!   window 1                                    barrier   window 2       barrier   afterwards
//!   copies that are not live, fresh regular        │      the slot that     │      zeros into recycled pages,
//!   pages │ overwrites │ the metadata copy         │      is not live       │      live = staged
//!         │              that is not live          │                        │
//!         ▼
//!   until here a failure leaves the pager as it was, from here on it poisons (I5)
//! ```
//!
//! I1: only copies that the live state does not name are written, and pages that it calls free. I3: what the metadata names is
//! behind the first barrier when the slot names the metadata. A commit that writes more regular pages than the metadata can
//! list passes one barrier more before its metadata is written: metadata that recovery finds without a slot then still
//! tells that they are there.

use std::collections::BTreeMap;
use std::io;

use crate::block::PageKind;
use crate::error::{Error, Result};
use crate::format::{
    BlockBytes, MAX_GENERATION, METADATA_OFFSETS, REGULAR_LIST_LEN, RegularList, SLOT_OFFSETS, Slot, SlotRecord,
    encode_leaf,
};
use crate::storage::{Barrier, Region, Storage};

use super::Engine;
use super::free_map::Runs;
use super::geometry::to_index;
use super::new_file::metadata_of;
use super::planted::{Mistake, is_planted};
use super::stage::{Content, Owned, Stage};
use super::state::State;
use super::twin_table::turned_over;

/// What a batch holds before it is written: bounds the memory of a commit that touches many blocks.
const BATCH_BYTES: usize = 4 << 20;

/// How many zeros are written at once, if pages are not larger.
const ZERO_BYTES: usize = 64 << 10;

/// What the crash tests may have a barrier of a commit do wrong.
#[derive(Clone, Copy)]
struct BarrierMistakes {
    dropped: Mistake,
    ignored: Mistake,
    retried: Mistake,
}

const FIRST_BARRIER: BarrierMistakes = BarrierMistakes {
    dropped: Mistake::FirstBarrierDropped,
    ignored: Mistake::FirstBarrierFailureIgnored,
    retried: Mistake::FirstBarrierRetried,
};

const SECOND_BARRIER: BarrierMistakes = BarrierMistakes {
    dropped: Mistake::SecondBarrierDropped,
    ignored: Mistake::SecondBarrierFailureIgnored,
    retried: Mistake::SecondBarrierRetried,
};

enum Bytes<'a> {
    Block(Box<BlockBytes>),
    Page(&'a [u8]),
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Block(block) => &block[..],
            Bytes::Page(page) => page,
        }
    }
}

/// Collects what a window writes, and writes it sorted, neighbours in one call.
struct Window<'a, 'p> {
    storage: &'a mut dyn Storage,
    region: &'a mut Region,
    writes: Vec<(u64, Bytes<'p>)>,
    bytes: usize,
}

impl<'p> Window<'_, 'p> {
    fn push(&mut self, offset: u64, bytes: Bytes<'p>) -> io::Result<()> {
        self.bytes += bytes.as_slice().len();
        self.writes.push((offset, bytes));
        if self.bytes >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    fn write(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let mut writes = std::mem::take(&mut self.writes);
        writes.sort_unstable_by_key(|(offset, _)| *offset);
        let mut rest = &writes[..];
        while let Some((start, _)) = rest.first() {
            let mut end = *start;
            let adjoining = rest.iter().take_while(|(offset, bytes)| {
                let adjoins = *offset == end;
                end += bytes.as_slice().len() as u64;
                adjoins
            });
            let parts: Vec<&[u8]> = adjoining.map(|(_, bytes)| bytes.as_slice()).collect();
            self.storage.write_at(self.region, &parts, *start)?;
            rest = &rest[parts.len()..];
        }
        Ok(())
    }
}

/// The regular pages that a commit writes.
struct RegularPages<'p> {
    fresh: Vec<(u64, &'p [u8])>,
    /// Pages that the live state owns: writing them cannot be taken back.
    overwritten: Vec<(u64, &'p [u8])>,
}

/// For a planted mistake.
fn is_page_of_zeros(owned: Owned, content: &Content) -> bool {
    let Content::Bytes(buffer) = content else { return false };
    matches!(owned, Owned::Page(_)) && buffer.as_bytes().iter().all(|byte| *byte == 0)
}

impl Engine {
    /// Makes a stage live, durably, or leaves everything as it was, or poisons. A stage without changes is no commit.
    pub(crate) fn commit(&mut self, stage: Stage) -> Result<()> {
        self.check_usable()?;
        #[cfg(diptych_planted)]
        if let Some(live) = self.before_stage.take() {
            self.live = super::live::Live::new(live);
        }
        if stage.is_empty() && !stage.state().differs_from(&self.live) {
            return Ok(());
        }
        let (mut state, mut contents) = stage.into_commit();
        assert_eq!(
            state.generation, self.live.generation,
            "a transaction holds the pager, so no other commits beside it"
        );
        if self.live.generation >= MAX_GENERATION {
            return Err(Error::LastGeneration { generation: self.live.generation });
        }
        state.generation = self.live.generation + 1;
        let handed_out = state.handed_out_since(&self.live, PageKind::Regular);
        self.allocate(&handed_out)?;
        // What was handed out may hold anything from here on, whatever becomes of this commit.
        let recycled = self.zero_pages.remove(&handed_out);
        for kind in [PageKind::Engine, PageKind::TableOwned] {
            self.zero_pages.remove(&state.handed_out_since(&self.live, kind));
        }

        if is_planted(Mistake::FreedPagesZeroedByTheirCommit) {
            self.zero(&self.live.handed_out_since(&state, PageKind::Regular), &BTreeMap::new())?;
        }
        if is_planted(Mistake::WrittenZerosElided) {
            contents.retain(|owned, content| !is_page_of_zeros(*owned, content));
        }

        // All memory that turning over needs is taken before the slot is written.
        let last = contents.keys().rev().find_map(|owned| match owned {
            Owned::Protected(index) => Some(*index),
            Owned::Page(_) => None,
        });
        self.verified.make_room(last.map_or(0, |last| last + 1), state.counts.protected);
        let metadata = self.write_window(&mut state, &contents)?;
        if is_planted(Mistake::SlotWrittenBeforeTheBarrier) {
            self.write_slot(&state, &metadata)?;
        }
        self.commit_barrier(FIRST_BARRIER)?;
        self.write_slot(&state, &metadata)?;
        self.commit_barrier(SECOND_BARRIER)?;

        self.zero(&recycled, &contents)?;
        self.turn_over(state, &contents);
        self.unsynced = !recycled.is_empty();
        self.poisoned = false;
        Ok(())
    }

    /// A barrier of a commit, which poisons the pager if it fails. `planted` are the mistakes to make with it.
    fn commit_barrier(&mut self, planted: BarrierMistakes) -> Result<()> {
        if is_planted(planted.dropped) {
            return Ok(());
        }
        let mut passed = self.storage.barrier(&mut self.region, Barrier::Bytes);
        if is_planted(planted.retried) && passed.is_err() {
            passed = self.storage.barrier(&mut self.region, Barrier::Bytes);
        }
        if is_planted(planted.ignored) {
            passed = Ok(());
        }
        passed.map_err(|source| self.io_error("sync", source))
    }

    /// Space for the pages that this commit hands out, where the file may have holes: a store through the map into a hole
    /// on a full disk would be a SIGBUS.
    fn allocate(&mut self, handed_out: &Runs) -> Result<()> {
        if !self.may_have_holes {
            return Ok(());
        }
        for run in handed_out.iter() {
            let (offset, end) = (self.geometry.offset(run.start), self.geometry.offset(run.end));
            let allocated = self.storage.allocate(offset, end - offset);
            allocated.map_err(|source| self.io_error("allocate space in", source))?;
        }
        Ok(())
    }

    /// Window 1. Returns the metadata as it was written.
    fn write_window(&mut self, state: &mut State, contents: &BTreeMap<Owned, Content>) -> Result<Box<BlockBytes>> {
        let regular = self.regular_pages(contents);
        let count = regular.fresh.len() + regular.overwritten.len();
        let regular_list = if count > REGULAR_LIST_LEN {
            self.write_pages(&regular)?;
            if !is_planted(Mistake::ManyRegularPagesWithoutABarrier) {
                self.barrier(Barrier::Bytes)?;
            }
            RegularList::BehindBarrier
        } else {
            let all = regular.fresh.iter().chain(&regular.overwritten);
            let mut rows: Vec<(u64, u64)> = all.map(|(page, bytes)| (*page, self.key.checksum(bytes))).collect();
            rows.sort_unstable();
            RegularList::Listed(rows)
        };
        self.write_twins(state, contents)?;
        if matches!(regular_list, RegularList::Listed(_)) {
            self.write_pages(&regular)?;
        }
        let metadata = metadata_of(self.identity, state, regular_list).encode();
        // Recovery may adopt a commit whose metadata it finds, so whether this one happened is not known from here on.
        self.poisoned = !is_planted(Mistake::PoisonedOnlyFromTheSlotOn);
        self.write(&[&metadata[..]], METADATA_OFFSETS[self.live_metadata.other().index()])?;
        Ok(metadata)
    }

    fn regular_pages<'p>(&self, contents: &'p BTreeMap<Owned, Content>) -> RegularPages<'p> {
        let mut pages = RegularPages { fresh: Vec::new(), overwritten: Vec::new() };
        for (owned, content) in contents {
            let (Owned::Page(page), Content::Bytes(buffer)) = (owned, content) else { continue };
            let is_live = self.live.kind(self.geometry, *page) == PageKind::Regular;
            let list = if is_live { &mut pages.overwritten } else { &mut pages.fresh };
            list.push((*page, buffer.as_bytes()));
        }
        pages
    }

    fn write_pages(&mut self, pages: &RegularPages<'_>) -> Result<()> {
        self.write_sorted(&pages.fresh)?;
        if pages.overwritten.is_empty() {
            return Ok(());
        }
        // From the first byte on neither the old nor the new content is sure to be there.
        self.poisoned = !is_planted(Mistake::OverwriteDoesNotPoison);
        self.write_sorted(&pages.overwritten)
    }

    fn write_sorted(&mut self, pages: &[(u64, &[u8])]) -> Result<()> {
        let mut window = Window { storage: &mut *self.storage, region: &mut self.region, writes: Vec::new(), bytes: 0 };
        let mut pages = pages.iter();
        let pushed = pages.try_for_each(|(page, bytes)| window.push(self.geometry.offset(*page), Bytes::Page(bytes)));
        pushed.and_then(|()| window.write()).map_err(|source| self.io_error("write", source))
    }

    /// Writes every twin that the stage changed, children before parents, and turns their entries over in `state`.
    fn write_twins(&mut self, state: &mut State, contents: &BTreeMap<Owned, Content>) -> Result<()> {
        let (geometry, key, generation) = (self.geometry, self.key, state.generation);
        let zeros =
            contents.values().any(|content| matches!(content, Content::Zeros)).then(|| self.zero_page().to_vec());
        let zeros = zeros.as_deref().map(|zeros| (zeros, key.checksum(zeros)));
        let mut window = Window { storage: &mut *self.storage, region: &mut self.region, writes: Vec::new(), bytes: 0 };
        let live = &self.live;

        let mut write = || -> io::Result<()> {
            for (owned, content) in contents {
                let Owned::Protected(index) = *owned else { continue };
                let (bytes, checksum) = match content {
                    Content::Bytes(buffer) => (buffer.as_bytes(), key.checksum(buffer.as_bytes())),
                    Content::Zeros => zeros.expect("a page of zeros was made for staged zeros"),
                };
                let (turned, page) = turned_over(&state.directory.get(index), generation, checksum);
                state.directory.set(index, turned);
                window.push(geometry.offset(page), Bytes::Page(bytes))?;
            }
            state.directory.turn_over_nodes(&live.directory, generation, key, |page, block| {
                window.push(geometry.offset(page), Bytes::Block(block))
            })?;
            for index in state.free_map.changed_since(&live.free_map) {
                let leaf = state.free_map.leaf(index).expect("a changed leaf is in the map");
                let block = encode_leaf(index, generation, leaf.bits());
                let (turned, page) = turned_over(&state.leaf_table.get(index), generation, key.checksum(&block[..]));
                state.leaf_table.set(index, turned);
                window.push(geometry.offset(page), Bytes::Block(block))?;
            }
            state.leaf_table.turn_over_nodes(&live.leaf_table, generation, key, |page, block| {
                window.push(geometry.offset(page), Bytes::Block(block))
            })?;
            window.write()
        };
        write().map_err(|source| self.io_error("write", source))
    }

    /// Window 2: the slot that is not live, never "generation modulo two": after a failed attempt that may be the live one.
    fn write_slot(&mut self, state: &State, metadata: &BlockBytes) -> Result<()> {
        // From here on the disk may name either state, so whoever leaves the commit early leaves it poisoned. Its end takes
        // this back.
        self.poisoned = true;
        let copy = self.live_metadata.other();
        let slot = Slot { generation: state.generation, copy, metadata_checksum: self.key.checksum(metadata) };
        let block = SlotRecord::Commit(slot).encode(self.identity.file_id);
        let to = match () {
            () if is_planted(Mistake::OneSlotOnly) => 0,
            () if is_planted(Mistake::SlotByParity) => usize::from(state.generation.is_multiple_of(2)),
            () => 1 - self.live_slot,
        };
        self.write(&[&block], SLOT_OFFSETS[to])
    }

    /// Cannot fail.
    fn turn_over(&mut self, state: State, contents: &BTreeMap<Owned, Content>) {
        self.live.turn_over(state);
        self.live_slot = 1 - self.live_slot;
        self.live_metadata = self.live_metadata.other();
        for owned in contents.keys() {
            if let Owned::Protected(index) = *owned {
                self.verified.insert(index);
            }
        }
    }

    /// A page that somebody had before reads as zeros to whoever has it now, unless the commit wrote it. Not durable by itself.
    fn zero(&mut self, recycled: &Runs, contents: &BTreeMap<Owned, Content>) -> Result<()> {
        if is_planted(Mistake::RecycledPagesNotZeroed) {
            return Ok(());
        }
        let zeros = vec![0; ZERO_BYTES.max(self.geometry.page_len())];
        for mut run in recycled.iter() {
            while !run.is_empty() {
                let written = contents.range(Owned::Page(run.start)..Owned::Page(run.end)).next();
                let end = match written {
                    Some((Owned::Page(page), _)) => *page,
                    _ => run.end,
                };
                for pages in self.geometry.split(run.start..end, zeros.len()) {
                    let len = self.geometry.page_len() * to_index(pages.end - pages.start);
                    self.write(&[&zeros[..len]], self.geometry.offset(pages.start))?;
                }
                run.start = run.end.min(end + 1);
            }
        }
        Ok(())
    }
}
