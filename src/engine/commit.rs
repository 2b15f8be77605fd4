//! The only writer of live state.
//!
//! ```text
//!                window 1                            barrier   window 2     barrier   afterwards
//!   checkpoint   copies that are not live,              │      the slot       │      zeros into recycled pages,
//!                fresh regular pages │ overwrites │     │      that is not    │      live = staged
//!                the metadata that is not live          │      live           │
//!   small        copies, regular pages │ overwrites     │      the slot       │      the same
//!                                                       │
//!                                                       └ left out where recovery can prove all that was written
//! ```
//!
//! A *small commit* says in its slot all that has changed since the metadata, and leaves leaves, nodes and metadata as they
//! are ([`Root`]). What a slot cannot say takes a [checkpoint](super::checkpoint). Where nothing but copies and blocks of the
//! engine was written, they and the slot need no order: a slot does not count if they are not there, and the other one
//! stands. Regular pages cannot be proved, since they may be stored to as soon as the commit returns.
//!
//! A failure leaves the pager as it was until a byte that counts may be on the disk: of a page that is overwritten, of the
//! metadata, of the slot. From there on it poisons (I5).
//!
//! I1: only copies that the live state does not name are written, and pages that it calls free. I3: what a slot names is behind
//! a barrier before it, or proved.

use std::collections::BTreeMap;

use crate::block::PageKind;
use crate::error::{Error, Result};
use crate::format::{ChangeRows, MAX_GENERATION, SLOT_OFFSETS, Slot};
use crate::storage::Barrier;

use super::entries::EntryKind;
use super::geometry::to_index;
use super::group::Group;
use super::options::Durability;
use super::planted::{Mistake, is_planted};
use super::root::Root;
use super::runs::Runs;
use super::stage::{Content, Owned, Stage};
use super::state::State;
use super::twin_table::turned_over;
use super::window::{Bytes, Window};
use super::{Engine, Unsynced};

/// How many zeros are written at once, if pages are not larger.
const ZERO_BYTES: usize = 64 << 10;

/// What the crash tests may have a barrier of a commit do wrong.
#[derive(Clone, Copy)]
pub(super) struct BarrierMistakes {
    dropped: Mistake,
    ignored: Mistake,
    retried: Mistake,
}

pub(super) const FIRST_BARRIER: BarrierMistakes = BarrierMistakes {
    dropped: Mistake::FirstBarrierDropped,
    ignored: Mistake::FirstBarrierFailureIgnored,
    retried: Mistake::FirstBarrierRetried,
};

pub(super) const SECOND_BARRIER: BarrierMistakes = BarrierMistakes {
    dropped: Mistake::SecondBarrierDropped,
    ignored: Mistake::SecondBarrierFailureIgnored,
    retried: Mistake::SecondBarrierRetried,
};

/// A page, and what is written there.
pub(super) type PageWrite<'p> = (u64, &'p [u8]);

/// A copy of a protected page that is to be written.
pub(super) struct CopyWrite<'p> {
    pub(super) index: u64,
    pub(super) page: u64,
    pub(super) bytes: &'p [u8],
}

/// The regular pages, and those of extents, that a commit writes.
#[derive(Default)]
pub(super) struct RegularPages<'p> {
    /// They hold extents too, of which metadata has no list.
    pub(super) unlisted: bool,
    pub(super) fresh: Vec<PageWrite<'p>>,
    /// Pages that the live state owns: writing them cannot be taken back.
    pub(super) overwritten: Vec<PageWrite<'p>>,
}

impl RegularPages<'_> {
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.overwritten.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The copies of protected pages that a commit writes.
#[derive(Default)]
pub(super) struct Copies<'p> {
    pub(super) writes: Vec<CopyWrite<'p>>,
    /// Indexes of the pages whose live copy is written again.
    rewritten: Vec<u64>,
}

impl Copies<'_> {
    /// How many of them the durable state does not know to be written.
    fn turned(&self) -> usize {
        self.writes.len() - self.rewritten.len()
    }
}

/// What a commit left on the disk for the next one to build upon.
pub(super) enum Written {
    /// A slot on the metadata that there was, which says this.
    Changes(ChangeRows),
    /// Metadata.
    Root(Box<Root>),
}

/// Zeros into recycled pages are written behind the barriers of their commit.
fn unsynced_after(recycled: &[Runs]) -> Unsynced {
    if recycled.is_empty() { Unsynced::Nothing } else { Unsynced::Zeros }
}

/// For a planted mistake.
fn is_page_of_zeros(owned: Owned, content: &Content) -> bool {
    let Content::Bytes(buffer) = content else { return false };
    matches!(owned, Owned::Page(_)) && buffer.as_bytes().iter().all(|byte| *byte == 0)
}

impl Engine {
    /// Makes a stage live, durably or to [wait](super::waiting), or leaves everything as it was, or poisons. A stage without
    /// changes is no commit.
    pub(crate) fn commit(&mut self, stage: Stage) -> Result<()> {
        self.check_usable()?;
        #[cfg(diptych_planted)]
        if let Some(live) = self.before_stage.take() {
            self.live = super::live::Live::new(live);
        }
        let changes_nothing = stage.is_empty() && !stage.state().differs_from(self.base());
        if changes_nothing && (stage.durability() == Durability::None || self.group.is_none()) {
            return Ok(());
        }
        let durability = self.durability_of(&stage);
        let keeps_places = stage.keeps_places;
        assert!(
            !keeps_places || durability != Durability::None,
            "what a compaction takes away is the durable state's (I1)"
        );
        let (mut state, freed, mut contents) = stage.into_commit();
        assert_eq!(
            state.generation, self.live.generation,
            "a transaction holds the pager, so no other commits beside it"
        );
        state.generation = self.next_generation()?;
        if is_planted(Mistake::WrittenZerosElided) {
            contents.retain(|owned, content| !is_page_of_zeros(*owned, content));
        }
        let is_zeros = |content: &Content| matches!(content, Content::Zeros);
        let zeros = if contents.values().any(is_zeros) { self.zero_page().to_vec() } else { Vec::new() };
        let mut copies = self.turn_over_pages(&mut state, &contents, &zeros);
        let base = (durability == Durability::None).then(|| state.clone());
        self.release(&mut state, &freed);
        let recycled = self.hand_out(&state, &contents)?;
        if is_planted(Mistake::FreedPagesZeroedByTheirCommit) {
            let recycled = vec![self.live.handed_out_since(&state, PageKind::Regular)];
            self.zero(&recycled, &BTreeMap::new())?;
        }

        // All memory that turning over needs is taken before the slot is written.
        let last =
            contents.keys().rev().find_map(|owned| if let Owned::Protected(at) = owned { Some(*at) } else { None });
        for kind in EntryKind::ALL {
            let (end, most) = (last.map_or(0, |last| last + 1), state.most_entries(kind));
            self.shown_of_mut(kind).make_room(if most == 0 { 0 } else { end }, most);
        }
        let regular = self.regular_pages(&state, &contents);
        if let Some(base) = base {
            // The durable state has these pages free as well, so they need not wait for anything.
            self.zero(&recycled, &contents)?;
            self.begin_rewriting(&copies);
            self.write_waiting(&state, &copies, &regular)?;
            self.group.get_or_insert_with(|| Box::new(Group::on(&self.live))).push(base, freed, copies.turned());
            self.show(state, &contents);
            self.unsynced = self.unsynced.max(unsynced_after(&recycled));
            if !regular.is_empty() && !is_planted(Mistake::WaitingPagesNotOrdered) {
                self.unsynced = Unsynced::Stores;
            }
        } else {
            let written = self.write_durably(&mut state, &mut copies, &regular, durability, keeps_places)?;
            self.zero(&recycled, &contents)?;
            self.turn_over(state, written, &contents);
            self.unsynced = unsynced_after(&recycled);
        }
        Ok(())
    }

    /// Takes the pages that `state` hands out. Returns those that are to read as zeros and may not, staged pages among them.
    fn hand_out(&mut self, state: &State, contents: &BTreeMap<Owned, Content>) -> Result<Vec<Runs>> {
        let regular = state.handed_out_since(&self.live, PageKind::Regular);
        let extents = state.extent_pages_gained_since(&self.live);
        let others = [PageKind::Engine, PageKind::TableOwned].map(|kind| state.handed_out_since(&self.live, kind));
        self.allocate(&regular)?;
        if self.options.sparse {
            extents.iter().try_for_each(|(_, pages)| self.allocate(pages))?;
        } else {
            // A copy without space would be written behind what can no longer fail, or years later by a commit that frees.
            others.iter().try_for_each(|runs| self.allocate(runs))?;
        }
        // What was handed out may hold anything from here on, whatever becomes of this commit.
        let mut recycled = vec![self.zero_pages.remove(&regular)];
        for (index, pages) in extents {
            let unknown = self.zero_pages.remove(&pages);
            if !contents.contains_key(&Owned::Extent(index)) {
                recycled.push(unknown);
            }
        }
        recycled.retain(|pages| !pages.is_empty());
        for runs in &others {
            self.zero_pages.remove(runs);
        }
        Ok(recycled)
    }

    /// Small, or a checkpoint.
    fn write_durably(
        &mut self,
        state: &mut State,
        copies: &mut Copies<'_>,
        regular: &RegularPages<'_>,
        durability: Durability,
        keeps_places: bool,
    ) -> Result<Written> {
        let carries = durability == Durability::OneBarrier;
        // A row says where a copy was placed when it was written; one that moved without being written has none.
        let small = if carries && !keeps_places { self.root.rows(self.durable(), state) } else { None };
        let placed = !keeps_places && self.place_copies(state, &mut copies.writes, small.is_some())?;
        self.begin_rewriting(copies);
        let copies = &copies.writes;
        let Some(rows) = small.filter(|_| !placed) else {
            return Ok(Written::Root(Box::new(self.checkpoint(state, copies, regular, carries)?)));
        };
        let slot = self.small_slot(state, rows, regular);
        self.commit_small(&slot, copies, regular)?;
        Ok(Written::Changes(slot.rows))
    }

    pub(super) fn next_generation(&self) -> Result<u64> {
        let generation = self.durable().generation;
        if generation >= MAX_GENERATION { Err(Error::LastGeneration { generation }) } else { Ok(generation + 1) }
    }

    /// A barrier of a commit, which poisons the pager if it fails. `planted` are the mistakes to make with it.
    pub(super) fn commit_barrier(&mut self, planted: BarrierMistakes) -> Result<()> {
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

    /// Turns the entries of the protected pages that are staged over in `state`, once in a group. Returns the copies to be
    /// written.
    fn turn_over_pages<'p>(
        &self,
        state: &mut State,
        contents: &'p BTreeMap<Owned, Content>,
        zeros: &'p [u8],
    ) -> Copies<'p> {
        let mut checksum_of_zeros = None;
        let mut copies = Copies::default();
        for (owned, content) in contents {
            let Owned::Protected(index) = *owned else { continue };
            let (bytes, checksum) = match content {
                Content::Bytes(buffer) => (buffer.as_bytes(), self.key.checksum(buffer.as_bytes())),
                Content::Zeros => (zeros, *checksum_of_zeros.get_or_insert_with(|| self.key.checksum(zeros))),
                Content::Placed => unreachable!("extents are what is placed without being turned over"),
            };
            let entry = state.directory.get(index);
            let (turned, page) = turned_over(&entry, state.generation, checksum);
            state.directory.set(index, turned);
            let mut push = |page| copies.writes.push(CopyWrite { index, page, bytes });
            push(page);
            if entry.generation == 0 && !self.options.sparse {
                // Space that was allocated and never written costs a commit of the filesystem when it first is. The spare copy
                // mostly lies behind the live one, where it costs next to nothing to write now.
                push(turned.copies[turned.live.other().index()]);
            }
            if page == entry.live_page() && entry.generation != 0 {
                copies.rewritten.push(index);
            }
        }
        copies
    }

    /// The live copy of a protected page that was turned over in the group already is about to be written. Nothing else has the
    /// page as it is live.
    fn begin_rewriting(&mut self, copies: &Copies<'_>) {
        if !copies.rewritten.is_empty() && !is_planted(Mistake::RewritingDoesNotPoison) {
            self.poisoned = true;
            copies.rewritten.iter().for_each(|index| self.forget_shown(*index));
        }
    }

    fn regular_pages<'p>(&self, state: &State, contents: &'p BTreeMap<Owned, Content>) -> RegularPages<'p> {
        let mut regular = RegularPages::default();
        for (owned, content) in contents {
            let Content::Bytes(buffer) = content else { continue };
            let (first, kind) = match owned {
                Owned::Page(page) => (*page, PageKind::Regular),
                Owned::Extent(index) => {
                    let pages = state.extent(*index).expect("what is freed has no content");
                    regular.unlisted = true;
                    (pages.start, PageKind::TableOwned)
                }
                _ => continue,
            };
            for (page, bytes) in (first..).zip(buffer.as_bytes().chunks(self.geometry.page_len())) {
                let is_live = self.live.kind(self.geometry, page) == kind;
                let list = if is_live { &mut regular.overwritten } else { &mut regular.fresh };
                list.push((page, bytes));
            }
        }
        regular
    }

    pub(super) fn write_pages(&mut self, pages: &RegularPages<'_>) -> Result<()> {
        self.write_sorted(pages.fresh.iter().copied())?;
        if pages.overwritten.is_empty() {
            return Ok(());
        }
        // From the first byte on neither the old nor the new content is sure to be there.
        self.poisoned = !is_planted(Mistake::OverwriteDoesNotPoison);
        self.write_sorted(pages.overwritten.iter().copied())
    }

    pub(super) fn write_sorted<'p>(&mut self, mut pages: impl Iterator<Item = PageWrite<'p>>) -> Result<()> {
        let mut window = Window::new(&mut *self.storage, &mut self.region);
        let pushed = pages.try_for_each(|(page, bytes)| window.push(self.geometry.offset(page), Bytes::Page(bytes)));
        pushed.and_then(|()| window.write()).map_err(|source| self.io_error("write", source))
    }

    pub(super) fn small_slot(&self, state: &State, rows: ChangeRows, regular: &RegularPages<'_>) -> Slot {
        // What was stored through the map comes before what names it.
        let stores = self.unsynced == Unsynced::Stores && !is_planted(Mistake::OneBarrierDespiteStores);
        let pages = !regular.is_empty() && !is_planted(Mistake::OneBarrierDespiteRegularPages);
        Slot {
            generation: state.generation,
            copy: self.root.copy,
            metadata_checksum: self.root.checksum,
            metadata_generation: self.root.state.generation,
            behind_barrier: stores || pages,
            total_pages: state.total_pages,
            counts: state.counts,
            header: state.header,
            rows,
        }
    }

    /// Writes a slot that says what changed, and what it rests on.
    fn commit_small(&mut self, slot: &Slot, copies: &[CopyWrite<'_>], regular: &RegularPages<'_>) -> Result<()> {
        self.write_sorted(copies.iter().map(|copy| (copy.page, copy.bytes)))?;
        self.write_pages(regular)?;
        self.poisoned = true;
        if slot.behind_barrier {
            self.commit_barrier(FIRST_BARRIER)?;
        }
        self.write_slot(slot)?;
        self.commit_barrier(SECOND_BARRIER)
    }

    /// The slot that is not live, never "generation modulo two": after a failed attempt that may be the live one.
    pub(super) fn write_slot(&mut self, slot: &Slot) -> Result<()> {
        // From here on the disk may name either state, so whoever leaves the commit early leaves it poisoned. Turning over
        // takes this back.
        self.poisoned = true;
        let to = match () {
            () if is_planted(Mistake::OneSlotOnly) => 0,
            () if is_planted(Mistake::SlotByParity) => usize::from(slot.generation.is_multiple_of(2)),
            () => 1 - self.live_slot,
        };
        self.write(&[&slot.encode(self.identity.file_id)], SLOT_OFFSETS[to])
    }

    /// Cannot fail.
    pub(super) fn turn_over(&mut self, state: State, written: Written, contents: &BTreeMap<Owned, Content>) {
        self.show(state, contents);
        self.group = None;
        self.live_slot = 1 - self.live_slot;
        match written {
            Written::Changes(rows) => self.root.set_changed(&rows),
            Written::Root(root) => self.root = *root,
        }
    }

    /// Makes a state the one that readers see. Cannot fail.
    fn show(&mut self, state: State, contents: &BTreeMap<Owned, Content>) {
        for index in state.directory.entries_changed_since(&self.live.directory) {
            self.forget_shown(index);
        }
        for owned in contents.keys() {
            if let Owned::Protected(index) = *owned {
                let entry = state.directory.get(index);
                self.shown_of(state.kind_of(&entry)).set(index, entry.live_page());
            }
        }
        self.live.turn_over(state);
        self.poisoned = false;
    }

    /// A page that somebody had before reads as zeros to whoever has it now, unless the commit wrote it. Not durable by itself.
    fn zero(&mut self, recycled: &[Runs], contents: &BTreeMap<Owned, Content>) -> Result<()> {
        if is_planted(Mistake::RecycledPagesNotZeroed) {
            return Ok(());
        }
        let zeros = vec![0; ZERO_BYTES.max(self.geometry.page_len())];
        for mut run in recycled.iter().flat_map(Runs::iter) {
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
