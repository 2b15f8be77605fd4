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
use super::window::{Bytes, Window};
use super::writes::{Copies, CopyWrite, PageWrite, RegularPages};
use super::{Engine, Holder, Unsynced};

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

/// A commit that is ready to be written.
struct Prepared<'p> {
    state: State,
    /// What the next transaction begins with, if this one waits.
    base: Option<State>,
    freed: Vec<Owned>,
    contents: &'p BTreeMap<Owned, Content>,
    copies: Copies<'p>,
    regular: RegularPages<'p>,
    /// Pages that have to be filled with zeros.
    recycled: Vec<Runs>,
    durability: Durability,
    keeps_places: bool,
}

impl dyn Holder + '_ {
    /// Makes a stage live, durably or to [wait](super::waiting), or leaves everything as it was, or poisons. A stage without
    /// changes is no commit.
    pub(crate) fn commit(&mut self, stage: Stage) -> Result<()> {
        self.under_way(|holder| holder.commit_stage(stage))
    }

    fn commit_stage(&mut self, stage: Stage) -> Result<()> {
        self.engine().check_usable()?;
        #[cfg(diptych_planted)]
        self.with_alone(|engine| {
            if let Some(live) = super::lock(&engine.before_stage).take() {
                engine.live = super::live::Live::new(live);
            }
        });
        let engine = self.engine();
        let changes_nothing = stage.is_empty() && !stage.state().differs_from(engine.base());
        if changes_nothing && (stage.durability() == Durability::None || engine.group.is_none()) {
            return Ok(());
        }
        let durability = engine.durability_of(&stage);
        let keeps_places = stage.keeps_places;
        assert!(
            !keeps_places || durability != Durability::None,
            "what a compaction takes away is the durable state's (I1)"
        );
        let (mut state, freed, mut contents) = stage.into_commit();
        assert_eq!(
            state.generation, engine.live.generation,
            "a transaction holds the pager, so no other commits beside it"
        );
        state.generation = engine.next_generation()?;
        if is_planted(Mistake::WrittenZerosElided) {
            contents.retain(|owned, content| !is_page_of_zeros(*owned, content));
        }
        let is_zeros = |content: &Content| matches!(content, Content::Zeros);
        let zeros = if contents.values().any(is_zeros) { engine.zero_page().to_vec() } else { Vec::new() };
        let copies = engine.turn_over_pages(&mut state, &contents, &zeros);
        let base = (durability == Durability::None).then(|| state.clone());
        engine.release(&mut state, &freed);
        let recycled = engine.hand_out(&state, &contents)?;
        if is_planted(Mistake::FreedPagesZeroedByTheirCommit) {
            engine.zero(&[engine.live.handed_out_since(&state, PageKind::Regular)], &BTreeMap::new())?;
        }
        let regular = engine.regular_pages(&state, &contents);
        let rewrites = !copies.rewritten.is_empty();
        let prepared =
            Prepared { state, base, freed, contents: &contents, copies, regular, recycled, durability, keeps_places };
        self.make_room(&prepared);
        if rewrites {
            // A reader would find a page that is not what the live state says, until that is turned over.
            self.with_alone(|engine| <dyn Holder>::write_and_show(engine, prepared))
        } else {
            self.write_and_show(prepared)
        }
    }

    /// All memory that turning over needs is taken before the slot is written.
    fn make_room(&mut self, prepared: &Prepared<'_>) {
        let last = prepared.contents.keys().rev().find_map(|owned| match owned {
            Owned::Protected(index) => Some(*index),
            _ => None,
        });
        for kind in EntryKind::ALL {
            let count = prepared.state.most_entries(kind);
            let end = if count == 0 { 0 } else { last.map_or(0, |last| last + 1) };
            if !self.engine().shown_of(kind).has_room(end, count) {
                self.with_alone(|engine| engine.shown_of_mut(kind).make_room(end, count));
            }
        }
    }

    fn write_and_show(&mut self, prepared: Prepared<'_>) -> Result<()> {
        let Prepared { mut state, base, freed, contents, mut copies, regular, recycled, .. } = prepared;
        if let Some(base) = base {
            // The durable state has these pages free as well, so they need not wait for anything.
            self.engine().zero(&recycled, contents)?;
            self.engine().begin_rewriting(&copies);
            self.write_waiting(&state, &copies, &regular)?;
            self.with_alone(|engine| {
                let group = engine.group.get_or_insert_with(|| Box::new(Group::on(&engine.live)));
                group.push(base, freed, copies.turned());
                engine.show(state, contents);
            });
            let mut unsynced = self.engine().unsynced();
            *unsynced = unsynced_after(&recycled).max(*unsynced);
            if !regular.is_empty() && !is_planted(Mistake::WaitingPagesNotOrdered) {
                *unsynced = Unsynced::Stores;
            }
        } else {
            let written =
                self.write_durably(&mut state, &mut copies, &regular, prepared.durability, prepared.keeps_places)?;
            self.engine().zero(&recycled, contents)?;
            self.with_alone(|engine| engine.turn_over(state, written, contents));
            *self.engine().unsynced() = unsynced_after(&recycled);
        }
        Ok(())
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
        let engine = self.engine();
        let carries = durability == Durability::OneBarrier;
        // A row says where a copy was placed when it was written; one that moved without being written has none.
        let small = if carries && !keeps_places { engine.root.rows(engine.durable(), state) } else { None };
        let placed = !keeps_places && self.place_copies(state, &mut copies.writes, small.is_some())?;
        self.engine().begin_rewriting(copies);
        let copies = &copies.writes;
        let Some(rows) = small.filter(|_| !placed) else {
            return Ok(Written::Root(Box::new(self.checkpoint(state, copies, regular, carries)?)));
        };
        let slot = self.engine().small_slot(state, rows, regular);
        self.commit_small(&slot, copies, regular)?;
        Ok(Written::Changes(slot.rows))
    }

    /// Writes a slot that says what changed, and what it rests on.
    fn commit_small(&mut self, slot: &Slot, copies: &[CopyWrite<'_>], regular: &RegularPages<'_>) -> Result<()> {
        self.engine().write_sorted(copies.iter().map(|copy| (copy.page, copy.bytes)))?;
        self.write_pages(regular)?;
        let engine = self.engine();
        engine.set_poisoned(true);
        if slot.behind_barrier {
            engine.commit_barrier(FIRST_BARRIER)?;
        }
        engine.write_slot(slot)?;
        engine.commit_barrier(SECOND_BARRIER)
    }

    /// Pages that are overwritten can be viewed as soon as nobody is alone.
    pub(super) fn write_pages(&mut self, pages: &RegularPages<'_>) -> Result<()> {
        self.engine().write_regular(&pages.fresh)?;
        if pages.overwritten.is_empty() {
            return Ok(());
        }
        self.with_alone(|engine| {
            // From the first byte on neither the old nor the new content is sure to be there.
            engine.set_poisoned(!is_planted(Mistake::OverwriteDoesNotPoison));
            engine.write_regular(&pages.overwritten)
        })
    }
}

impl Engine {
    /// Takes the pages that `state` hands out. Returns those that are to read as zeros and may not, staged pages among them.
    fn hand_out(&self, state: &State, contents: &BTreeMap<Owned, Content>) -> Result<Vec<Runs>> {
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
        let mut zero_pages = self.zero_pages();
        let mut recycled = vec![zero_pages.remove(&regular)];
        for (index, pages) in extents {
            let unknown = zero_pages.remove(&pages);
            if !contents.contains_key(&Owned::Extent(index)) {
                recycled.push(unknown);
            }
        }
        recycled.retain(|pages| !pages.is_empty());
        for runs in &others {
            zero_pages.remove(runs);
        }
        Ok(recycled)
    }

    pub(super) fn next_generation(&self) -> Result<u64> {
        let generation = self.durable().generation;
        if generation >= MAX_GENERATION { Err(Error::LastGeneration { generation }) } else { Ok(generation + 1) }
    }

    /// A barrier of a commit, which poisons the pager if it fails. `planted` are the mistakes to make with it.
    pub(super) fn commit_barrier(&self, planted: BarrierMistakes) -> Result<()> {
        if is_planted(planted.dropped) {
            return Ok(());
        }
        let mut passed = self.storage.barrier(&self.region, Barrier::Bytes);
        if is_planted(planted.retried) && passed.is_err() {
            passed = self.storage.barrier(&self.region, Barrier::Bytes);
        }
        if is_planted(planted.ignored) {
            passed = Ok(());
        }
        passed.map_err(|source| self.io_error("sync", source))
    }

    /// Space for the pages that this commit hands out, where the file may have holes: a store through the map into a hole
    /// on a full disk would be a SIGBUS.
    fn allocate(&self, handed_out: &Runs) -> Result<()> {
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

    /// The live copy of a protected page that was turned over in the group already is about to be written. Nothing else has the
    /// page as it is live.
    fn begin_rewriting(&self, copies: &Copies<'_>) {
        if !copies.rewritten.is_empty() && !is_planted(Mistake::RewritingDoesNotPoison) {
            self.set_poisoned(true);
            copies.rewritten.iter().for_each(|index| self.forget_shown(*index));
        }
    }

    fn write_regular(&self, pages: &[PageWrite<'_>]) -> Result<()> {
        self.write_sorted(pages.iter().map(|(page, source)| (*page, self.source(*source))))
    }

    pub(super) fn write_sorted<'p>(&self, mut pages: impl Iterator<Item = (u64, &'p [u8])>) -> Result<()> {
        let mut window = Window::new(&*self.storage, &self.region);
        let pushed = pages.try_for_each(|(page, bytes)| window.push(self.geometry.offset(page), Bytes::Page(bytes)));
        pushed.and_then(|()| window.write()).map_err(|source| self.io_error("write", source))
    }

    pub(super) fn small_slot(&self, state: &State, rows: ChangeRows, regular: &RegularPages<'_>) -> Slot {
        // What was stored through the map comes before what names it.
        let stores = *self.unsynced() == Unsynced::Stores && !is_planted(Mistake::OneBarrierDespiteStores);
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

    /// The slot that is not live, never "generation modulo two": after a failed attempt that may be the live one.
    pub(super) fn write_slot(&self, slot: &Slot) -> Result<()> {
        // From here on the disk may name either state, so whoever leaves the commit early leaves it poisoned. Turning over
        // takes this back.
        self.set_poisoned(true);
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
        self.set_poisoned(false);
    }

    /// A page that somebody had before reads as zeros to whoever has it now, unless the commit wrote it. Not durable by itself.
    fn zero(&self, recycled: &[Runs], contents: &BTreeMap<Owned, Content>) -> Result<()> {
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
