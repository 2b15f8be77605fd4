//! Making a file, and opening one at the generation that it is at.
//!
//! ```text
//!   read the reserved region ─▶ evidence ─▶ verdict ─▶ state       nothing is written until here (I7)
//!                                              │
//!   write again what the verdict rests on, void what was refused ─▶ barrier ─▶ probe coherence      (I3, I4)
//! ```

use crate::block::{Block, TwinCopy};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, IDENTITY_OFFSET, Identity, METADATA_OFFSETS, RESERVED_LEN, RegularList,
    SLOT_OFFSETS, SlotRecord,
};
use crate::ids::Generation;
use crate::storage::{Barrier, Region, Storage};

use super::entries::{EntryKind, is_page};
use super::geometry::Geometry;
use super::live::Live;
use super::new_file::{NewFile, slot_of};
use super::options::{EngineOptions, Verification};
#[cfg(diptych_planted)]
use super::planted::BeforeStage;
use super::planted::{Mistake, is_planted};
use super::reader::Reader;
use super::recovery::{Candidate, Verdict};
use super::report::Recovery;
use super::reserved::{Found, Reserved};
use super::shown::Shown;
use super::state::State;
use super::zero_pages::ZeroPages;
use super::{AtomicBool, Engine, Mutex, OnceLock, Unsynced};

impl Engine {
    /// Takes over a storage whose content was made from `new` just now.
    pub(crate) fn create(storage: Box<dyn Storage>, new: &NewFile, options: EngineOptions) -> Result<Engine> {
        let geometry = Geometry::new(new.identity.page_size);
        let state = State { generation: 1, ..State::empty(geometry, geometry.whole_pages(new.len)) };
        let verdict = Verdict::first();
        let mut storage = storage;
        let region = match Engine::map(&mut *storage, geometry.offset(state.total_pages), &options) {
            Ok(region) => region,
            Err(error) => {
                // Nobody else has opened it: the lock is held. The first error is the one to report.
                let _ = storage.remove();
                return Err(error);
            }
        };
        let found = new.found(state);
        let mut engine = Engine::around(storage, region, new.identity, options, found, &verdict);
        engine.zero_pages().insert(geometry.first_page()..engine.physical_pages);
        if let Err(error) = engine.probe_coherence(1 - verdict.slot, &new.slot_block(1 - verdict.slot)) {
            let _ = engine.storage.remove();
            return Err(error);
        }
        Ok(engine)
    }

    /// Validates a file, finds its generation, and makes that durable.
    pub(crate) fn open(storage: Box<dyn Storage>, page_size: u32, options: EngineOptions) -> Result<Engine> {
        let (mut engine, reserved, verdict) = Engine::decide(storage, page_size, options)?;
        engine.has_tail = engine.recovery.tail_bytes > 0;
        if is_planted(Mistake::ProbeBeforeTheVerdictIsDurable) {
            engine.probe_coherence(1 - verdict.slot, &reserved.settled(&verdict).0[1 - verdict.slot])?;
        }
        let slots = engine.settle(&reserved, &verdict)?;
        // Not before the verdict is durable: a slot that the cache calls old may be the newest one that the disk has.
        engine.probe_coherence(1 - verdict.slot, &slots[1 - verdict.slot])?;
        if !is_planted(Mistake::NoDirectorySyncAtOpen) {
            engine.storage.sync_directory().map_err(|source| engine.io_error("sync the directory of", source))?;
        }
        engine.recovery.durable = true;
        Ok(engine)
    }

    /// Validates a file and shows its generation. Nothing is written, now or later: no call that takes the engine as `&mut` is
    /// made, and dropping it finds nothing to cut, for a tail belongs to whoever writes.
    pub(crate) fn open_read_only(storage: Box<dyn Storage>, page_size: u32, options: EngineOptions) -> Result<Engine> {
        let (engine, ..) = Engine::decide(storage, page_size, options)?;
        Ok(engine)
    }

    /// The part of opening that writes nothing: the engine at the generation that the evidence names.
    fn decide(
        mut storage: Box<dyn Storage>,
        page_size: u32,
        options: EngineOptions,
    ) -> Result<(Engine, Reserved, Verdict)> {
        let len = storage.len().map_err(|source| Error::io("read the length of", storage.path(), source))?;
        if len == 0 {
            return Err(Error::Empty { expected: RESERVED_LEN });
        }
        if len < RESERVED_LEN {
            return Err(Error::TooShort { expected: RESERVED_LEN, found: len });
        }
        let mut reserved = Reserved::read(&*storage)?;
        let identity = reserved.identity;
        if identity.page_size != page_size {
            return Err(Error::PageSize { expected: page_size.into(), found: identity.page_size.into() });
        }
        let geometry = Geometry::new(page_size);
        let key = ChecksumKey::new(identity.file_id);
        let (verdict, found) =
            reserved.decide(&Reader { storage: &*storage, geometry, key, len, in_flight: None }, options.take_older)?;

        let region = Engine::map(&mut *storage, geometry.offset(found.live.total_pages), &options)?;
        let mut engine = Engine::around(storage, region, identity, options, found, &verdict);
        engine.recovery = Recovery {
            generation: Generation::new(verdict.generation),
            adopted: verdict.is_adopted(),
            identity_rebuilt: reserved.identity_rebuilt,
            voided: verdict.voided(),
            passed_over: verdict.passed_over.map(Generation::new),
            tail_bytes: len - geometry.offset(engine.live.total_pages),
            durable: false,
        };
        Ok((engine, reserved, verdict))
    }

    fn map(storage: &mut dyn Storage, len: u64, options: &EngineOptions) -> Result<Region> {
        storage.map(len, options.reserve).map_err(|source| Error::io("map", storage.path(), source))
    }

    fn around(
        storage: Box<dyn Storage>,
        region: Region,
        identity: Identity,
        options: EngineOptions,
        found: Found,
        verdict: &Verdict,
    ) -> Engine {
        let Found { root, live } = found;
        // Where it cannot be told, space is allocated once more than needed.
        let remembers = options.verification != Verification::Always;
        let may_have_holes = options.sparse || live.may_have_holes || storage.has_holes().unwrap_or(true);
        let shown = |kind| Shown::with_room(remembers, live.directory_end(), live.most_entries(kind));
        Engine {
            options,
            geometry: Geometry::new(identity.page_size),
            identity,
            key: ChecksumKey::new(identity.file_id),
            recovery: Recovery::nothing(verdict.generation),
            region,
            storage,
            physical_pages: live.total_pages,
            has_tail: false,
            zero_pages: Mutex::new(ZeroPages::default()),
            may_have_holes,
            shown: shown(EntryKind::Protected),
            shown_tables: shown(EntryKind::Table),
            live: Live::new(live),
            group: None,
            root,
            live_slot: verdict.slot,
            unsynced: Mutex::new(Unsynced::Nothing),
            poisoned: AtomicBool::new(false),
            under_way: AtomicBool::new(false),
            zero_page: OnceLock::new(),
            #[cfg(diptych_planted)]
            before_stage: Mutex::new(BeforeStage::NOTHING),
        }
    }

    /// Whether what is written shows in the map. It is tried in the unused end of the `block` of a slot that is not live. The
    /// whole block was written before, so that the map can be looked at: a load from a sector that is unreadable is a
    /// signal. A barrier ends it: what is in flight may become unreadable, and a slot that is bad beside an unfinished commit
    /// leaves two stories possible.
    fn probe_coherence(&mut self, slot: usize, block: &BlockBytes) -> Result<()> {
        let mut probe = *block;
        probe[BLOCK_LEN - 8..].iter_mut().for_each(|byte| *byte = !*byte);
        self.write(&[&probe], SLOT_OFFSETS[slot])?;
        let coherent = self.region.bytes(SLOT_OFFSETS[slot], BLOCK_LEN) == probe;
        self.write(&[block], SLOT_OFFSETS[slot])?;
        if !is_planted(Mistake::ProbeLeftInFlight) {
            self.barrier(Barrier::Bytes)?;
        }
        if coherent { Ok(()) } else { Err(Error::Incoherent { path: self.storage.path().to_path_buf() }) }
    }

    /// Writes again what the verdict rests on, byte for byte, whether or not it looks clean: after a failed sync the cache may
    /// show what the disk lacks. Voids what was refused, so that no later commit brings it back by writing the same bytes.
    /// Returns the blocks of the slots as they are now.
    fn settle(&mut self, reserved: &Reserved, verdict: &Verdict) -> Result<[BlockBytes; 2]> {
        let (mut slots, copies) = reserved.settled(verdict);
        if reserved.identity_rebuilt {
            self.write(&[&self.identity.encode()], IDENTITY_OFFSET)?;
        }
        if verdict.is_adopted() {
            // I3: before a slot names the adopted state, everything that it wrote is behind a barrier.
            let metadata = reserved.metadata_of(verdict);
            if !is_planted(Mistake::AdoptionWithoutRewriting) {
                self.write_generation_again(Some(&metadata.regular_list))?;
            }
            let block = &copies[verdict.copy.index()];
            self.write(&[block], METADATA_OFFSETS[verdict.copy.index()])?;
            if !is_planted(Mistake::AdoptionInOneWindow) {
                self.barrier(Barrier::Length)?;
            }
            let slot = slot_of(metadata, verdict.copy, self.key.checksum(block));
            slots[verdict.slot] = SlotRecord::Commit(Box::new(slot)).encode(self.identity.file_id);
            self.write(&[&slots[verdict.slot]], SLOT_OFFSETS[verdict.slot])?;
            self.barrier(Barrier::Bytes)?;
        } else if verdict.proved && !is_planted(Mistake::ProvedCommitNotWrittenAgain) {
            // In one window with its slot: neither counts without the other.
            self.write_generation_again(None)?;
        }
        if !is_planted(Mistake::RecoverySyncsInsteadOfWriting) || !verdict.voided().is_empty() {
            self.write_blocks(&slots, SLOT_OFFSETS)?;
            self.write_blocks(&copies, METADATA_OFFSETS)?;
        }
        if is_planted(Mistake::RecoveryBarrierFailureIgnored) {
            let _ = self.barrier(Barrier::Length);
            self.set_poisoned(false);
        } else if !is_planted(Mistake::RecoveryWithoutABarrier) {
            self.barrier(Barrier::Length)?;
        }
        Ok(slots)
    }

    fn write_blocks(&mut self, blocks: &[BlockBytes; 2], offsets: [u64; 2]) -> Result<()> {
        blocks.iter().zip(offsets).try_for_each(|(block, offset)| self.write(&[block], offset))
    }

    /// Every copy that the live generation wrote, and the regular pages that it listed.
    fn write_generation_again(&mut self, list: Option<&RegularList>) -> Result<()> {
        let mut places: Vec<(u64, usize)> = Vec::new();
        for (block, entry) in self.live.twins().filter(|(_, entry)| entry.generation == self.live.generation) {
            let len = if is_page(block) { self.geometry.page_len() } else { BLOCK_LEN };
            places.push((self.geometry.offset(entry.live_page()), len));
        }
        if let Some(RegularList::Listed(rows)) = list {
            places.extend(rows.iter().map(|(page, _)| (self.geometry.offset(*page), self.geometry.page_len())));
        }
        let mut buffer = vec![0; self.geometry.page_len().max(BLOCK_LEN)];
        for (offset, len) in places {
            self.reader().read(&mut buffer[..len], offset)?;
            self.write(&[&buffer[..len]], offset)?;
        }
        Ok(())
    }
}

impl Verdict {
    /// The verdict on a file that was made just now.
    fn first() -> Verdict {
        Verdict {
            candidate: Candidate::Slot(0),
            copy: TwinCopy::A,
            generation: 1,
            slot: 0,
            proved: false,
            passed_over: None,
            void_slots: [false; 2],
            void_metadata: [false; 2],
        }
    }

    /// The blocks that become void records.
    fn voided(&self) -> Vec<Block> {
        let slots = (0..2u8).filter(|slot| self.void_slots[usize::from(*slot)]).map(Block::Slot);
        let metadata = TwinCopy::BOTH.into_iter().filter(|copy| self.void_metadata[copy.index()]);
        slots.chain(metadata.map(Block::Metadata)).collect()
    }
}
