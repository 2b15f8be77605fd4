//! Making a file, and finding out at which generation one is.
//!
//! ```text
//!   read the reserved region ─▶ evidence ─▶ choose ─▶ state      nothing written until here (I7)
//!                                                       │
//!   write again what the verdict rests on, void what was refused ◀┘   barrier, before anything is staged (I4)
//! ```

use std::io;

use crate::block::{Block, TwinCopy};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, Defect, FORMAT_VERSION, IDENTITY_MAGIC, IDENTITY_OFFSET, Identity,
    IdentityDefect, METADATA_OFFSETS, Metadata, MetadataRecord, RESERVED_LEN, RegularList, SLOT_OFFSETS, Slot,
    SlotRecord, encode_void,
};
use crate::ids::{FileId, Generation};
use crate::storage::{Barrier, Storage};

use super::geometry::Geometry;
use super::reader::{KNOWN_FEATURES, Reader};
use super::recovery::{Evidence, MetadataEvidence, Proof, Refusal, SlotEvidence, Verdict, Walk, choose};
use super::report::Recovery;
use super::state::State;
use super::verified::Verified;
use super::zero_pages::ZeroPages;
use super::{Engine, OnceLock};

/// When the content of a protected page is compared with its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Never: rot of the disk is not noticed.
    Never,
    /// Once, when it is first read after the file was opened.
    #[default]
    FirstTouch,
    /// At every read.
    Always,
}

/// What a caller can choose about a pager; none of it is kept in the file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineOptions {
    /// The most bytes by which a file grows at once, if no call needs more.
    pub(crate) growth_limit: u64,
    /// Grow without allocating; the space of a page is allocated when it is handed out.
    pub(crate) sparse: bool,
    pub(crate) verification: Verification,
    /// Bytes of addresses to reserve ahead of the file.
    pub(crate) reserve: u64,
    pub(crate) max_staged_bytes: u64,
    pub(crate) max_file_bytes: u64,
    /// Take the state before a damaged one.
    pub(crate) take_older: bool,
}

impl EngineOptions {
    pub(super) fn max_pages(&self, geometry: Geometry) -> u64 {
        geometry.whole_pages(self.max_file_bytes)
    }
}

/// The bytes with which a new file begins, and how long it is.
pub(crate) struct NewFile {
    identity: Identity,
    pub(crate) reserved: Vec<u8>,
    pub(crate) len: u64,
}

/// Room for pages in a new file, in bytes, where pages are smaller.
const FIRST_ROOM: u64 = 64 * 1024;

impl NewFile {
    pub(crate) fn new(page_size: u32, file_id: FileId) -> Self {
        let geometry = Geometry::new(page_size);
        let identity = Identity { page_size, file_id };
        let total_pages = geometry.first_page() + geometry.whole_pages(FIRST_ROOM);
        let state = State { generation: 1, ..State::empty(geometry, total_pages) };
        let metadata = metadata_of(identity, &state, RegularList::Listed(Vec::new())).encode();
        let metadata_checksum = ChecksumKey::new(file_id).checksum(&metadata[..]);
        let slot = SlotRecord::Commit(Slot { generation: 1, copy: TwinCopy::A, metadata_checksum });
        let void = encode_void(0, file_id);
        // Slot 1 and metadata B are void and not zeros: zeros would be damage.
        let blocks: [&[u8]; 5] = [&identity.encode(), &slot.encode(file_id), &void, &metadata[..], &void];
        NewFile { identity, reserved: blocks.concat(), len: geometry.offset(total_pages) }
    }
}

/// The root of a state.
pub(super) fn metadata_of(identity: Identity, state: &State, regular_list: RegularList) -> Metadata {
    Metadata {
        identity,
        generation: state.generation,
        required_features: KNOWN_FEATURES,
        optional_features: 0,
        total_pages: state.total_pages,
        counts: state.counts,
        header: state.header,
        free_map: state.leaf_table.top(),
        directory: state.directory.top(),
        regular_list,
    }
}

/// The reserved region as it was read.
struct Reserved {
    identity: Identity,
    identity_rebuilt: bool,
    slots: [Result<SlotRecord, Defect>; 2],
    metadata: [Result<Metadata, Option<Defect>>; 2],
    blocks: [BlockBytes; 5],
    /// Why blocks could not be read.
    failures: [Option<io::Error>; 5],
}

const IDENTITY_AT: usize = 0;
const SLOTS_AT: usize = 1;
const METADATA_AT: usize = 3;

impl Engine {
    /// Takes over a storage whose content was made from `new` just now.
    pub(crate) fn create(storage: Box<dyn Storage>, new: &NewFile, options: EngineOptions) -> Result<Engine> {
        let geometry = Geometry::new(new.identity.page_size);
        let state = State { generation: 1, ..State::empty(geometry, geometry.whole_pages(new.len)) };
        let verdict = Verdict {
            copy: TwinCopy::A,
            generation: 1,
            slot: 0,
            adopted: false,
            passed_over: None,
            void_slots: [false; 2],
            void_metadata: [false; 2],
        };
        let mut engine = Engine::around(storage, new.identity, options, state, &verdict)?;
        engine.zero_pages.insert(geometry.first_page()..engine.physical_pages);
        Ok(engine)
    }

    /// Validates a file, finds its generation, and makes that durable.
    pub(crate) fn open(storage: Box<dyn Storage>, page_size: u32, options: EngineOptions) -> Result<Engine> {
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
        let (verdict, state) = {
            let reader = Reader { storage: &*storage, geometry, key, len };
            reserved.decide(&reader, options.take_older)?
        };
        let metadata = reserved.metadata[verdict.copy.index()].clone();
        let metadata = metadata.expect("the verdict names a whole copy of the metadata");

        let mut engine = Engine::around(storage, identity, options, state, &verdict)?;
        engine.recovery = Recovery {
            generation: Generation::new(verdict.generation),
            adopted: verdict.adopted,
            identity_rebuilt: reserved.identity_rebuilt,
            voided: verdict.voided(),
            passed_over: verdict.passed_over.map(Generation::new),
            tail_bytes: len - geometry.offset(engine.live.total_pages),
        };
        engine.has_tail = engine.recovery.tail_bytes > 0;
        engine.probe_coherence(&reserved, &verdict)?;
        engine.settle(&reserved, &verdict, &metadata)?;
        engine.storage.sync_directory().map_err(|source| engine.io_error("sync the directory of", source))?;
        Ok(engine)
    }

    fn around(
        mut storage: Box<dyn Storage>,
        identity: Identity,
        options: EngineOptions,
        state: State,
        verdict: &Verdict,
    ) -> Result<Engine> {
        let geometry = Geometry::new(identity.page_size);
        let failed = |op, storage: &dyn Storage, source| Error::io(op, storage.path(), source);
        let may_have_holes = options.sparse
            || storage.has_holes().map_err(|source| failed("read the metadata of", &*storage, source))?;
        let region = storage.map(geometry.offset(state.total_pages), options.reserve);
        let region = region.map_err(|source| failed("map", &*storage, source))?;
        let mut verified = Verified::default();
        verified.reserve(state.directory.capacity().min(state.total_pages));
        Ok(Engine {
            options,
            geometry,
            identity,
            key: ChecksumKey::new(identity.file_id),
            recovery: Recovery::nothing(verdict.generation),
            region,
            storage,
            physical_pages: state.total_pages,
            has_tail: false,
            zero_pages: ZeroPages::default(),
            may_have_holes,
            live: state,
            live_slot: verdict.slot,
            live_metadata: verdict.copy,
            verified,
            unsynced: false,
            poisoned: false,
            zero_page: OnceLock::new(),
        })
    }

    /// Whether what is written shows in the map. It is tried in the unused end of a slot block that recovery writes again, with
    /// a write of the whole block: a part of one cannot be written where a sector is unreadable.
    fn probe_coherence(&mut self, reserved: &Reserved, verdict: &Verdict) -> Result<()> {
        let slot = if verdict.adopted { verdict.slot } else { 1 - verdict.slot };
        let mut block = reserved.blocks[SLOTS_AT + slot];
        let probe = &mut block[BLOCK_LEN - 8..];
        let offset = SLOT_OFFSETS[slot] + (BLOCK_LEN - 8) as u64;
        // Bytes that the map cannot be showing by chance.
        probe.iter_mut().zip(self.region.bytes(offset, 8)).for_each(|(probe, shown)| *probe = !shown);
        self.write(&[&block], SLOT_OFFSETS[slot])?;
        if self.region.bytes(offset, 8) != &block[BLOCK_LEN - 8..] {
            return Err(Error::Incoherent { path: self.storage.path().to_path_buf() });
        }
        Ok(())
    }

    /// Writes again what the verdict rests on, byte for byte, whether or not it looks clean: after a failed sync the cache may
    /// show what the disk lacks. Voids what was refused, so that no later commit brings it back by writing the same bytes.
    fn settle(&mut self, reserved: &Reserved, verdict: &Verdict, metadata: &Metadata) -> Result<()> {
        let file_id = self.identity.file_id;
        let mut slots: [BlockBytes; 2] = std::array::from_fn(|at| match reserved.slots[at] {
            Ok(record) if !verdict.void_slots[at] => record.encode(file_id),
            Ok(SlotRecord::Commit(slot)) => encode_void(slot.generation, file_id),
            Ok(SlotRecord::Void { generation }) => encode_void(generation, file_id),
            Err(_) => encode_void(0, file_id),
        });
        let mut copies: [BlockBytes; 2] = [reserved.blocks[METADATA_AT], reserved.blocks[METADATA_AT + 1]];
        for copy in TwinCopy::BOTH.map(TwinCopy::index) {
            if verdict.void_metadata[copy] {
                let refused = reserved.metadata[copy].as_ref().map_or(0, |metadata| metadata.generation);
                copies[copy] = encode_void(refused, file_id);
            }
        }
        let write_all = |engine: &mut Engine, blocks: &[BlockBytes; 2], offsets: [u64; 2]| -> Result<()> {
            blocks.iter().zip(offsets).try_for_each(|(block, offset)| engine.write(&[block], offset))
        };
        if reserved.identity_rebuilt {
            self.write(&[&self.identity.encode()], IDENTITY_OFFSET)?;
        }
        if !verdict.adopted {
            write_all(self, &slots, SLOT_OFFSETS)?;
            write_all(self, &copies, METADATA_OFFSETS)?;
            return self.barrier(Barrier::Length);
        }

        // I3: before a slot names the adopted state, everything that it wrote is behind a barrier.
        self.write_generation_again(metadata)?;
        let live = self.live_metadata.index();
        self.write(&[&reserved.blocks[METADATA_AT + live]], METADATA_OFFSETS[live])?;
        self.barrier(Barrier::Length)?;
        let metadata_checksum = self.key.checksum(&reserved.blocks[METADATA_AT + live]);
        let slot = Slot { generation: verdict.generation, copy: verdict.copy, metadata_checksum };
        slots[verdict.slot] = SlotRecord::Commit(slot).encode(file_id);
        self.write(&[&slots[verdict.slot]], SLOT_OFFSETS[verdict.slot])?;
        self.barrier(Barrier::Bytes)?;
        write_all(self, &slots, SLOT_OFFSETS)?;
        write_all(self, &copies, METADATA_OFFSETS)?;
        self.barrier(Barrier::Bytes)
    }

    /// Every copy that the live generation wrote, and the regular pages that it listed.
    fn write_generation_again(&mut self, metadata: &Metadata) -> Result<()> {
        let mut places: Vec<(u64, usize)> = Vec::new();
        for (block, entry) in self.live.twins().filter(|(_, entry)| entry.generation == self.live.generation) {
            let len = if matches!(block, Block::ProtectedPage { .. }) { self.geometry.page_len() } else { BLOCK_LEN };
            places.push((self.geometry.offset(entry.live_page()), len));
        }
        if let RegularList::Listed(rows) = &metadata.regular_list {
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

impl Reserved {
    fn read(storage: &dyn Storage) -> Result<Reserved> {
        let mut blocks = [[0; BLOCK_LEN]; 5];
        let mut failures = [const { None }; 5];
        for (at, block) in blocks.iter_mut().enumerate() {
            // A sector that cannot be read is a bad block like any other: the other copies decide.
            failures[at] = storage.read_at(block, at as u64 * BLOCK_LEN as u64).err();
        }
        let readable = |at: usize| match &failures[at] {
            None => Ok(()),
            Some(error) => Err(Defect { field: "read error", expected: 0, found: os_error(error) }),
        };
        let records =
            [METADATA_AT, METADATA_AT + 1].map(|at| readable(at).and_then(|()| MetadataRecord::decode(&blocks[at])));
        let found = match readable(IDENTITY_AT) {
            Ok(()) => Identity::decode(&blocks[IDENTITY_AT]),
            Err(defect) => Err(IdentityDefect::Damaged(defect)),
        };
        let (identity, identity_rebuilt) = match found {
            Ok(identity) => (identity, false),
            Err(IdentityDefect::Version { found }) => {
                return Err(Error::FormatVersion { expected: FORMAT_VERSION, found });
            }
            Err(defect) => match rebuild_identity(defect, &records) {
                Ok(identity) => (identity, true),
                Err(error) => return Err(first_failure(&mut failures, storage).unwrap_or(error)),
            },
        };
        let slots = [SLOTS_AT, SLOTS_AT + 1]
            .map(|at| readable(at).and_then(|()| SlotRecord::decode(&blocks[at], identity.file_id)));
        let metadata = records.map(|record| match record {
            Err(defect) => Err(Some(defect)),
            Ok(record) if record.file_id() != identity.file_id => Err(Some(other_file(identity, record.file_id()))),
            Ok(MetadataRecord::Void { .. }) => Err(None),
            Ok(MetadataRecord::Commit(metadata)) if metadata.identity != identity => {
                let (expected, found) = (identity.page_size.into(), metadata.identity.page_size.into());
                Err(Some(Defect { field: "page size", expected, found }))
            }
            Ok(MetadataRecord::Commit(metadata)) => Ok(*metadata),
        });
        Ok(Reserved { identity, identity_rebuilt, slots, metadata, blocks, failures })
    }

    fn evidence(&self, key: ChecksumKey) -> Evidence {
        let slots = self.slots.map(|slot| match slot {
            Ok(SlotRecord::Commit(slot)) => SlotEvidence::Commit(slot),
            Ok(SlotRecord::Void { .. }) => SlotEvidence::Void,
            Err(defect) => SlotEvidence::Bad(defect),
        });
        let metadata = TwinCopy::BOTH.map(|copy| match &self.metadata[copy.index()] {
            Ok(metadata) => MetadataEvidence::Commit {
                generation: metadata.generation,
                checksum: key.checksum(&self.blocks[METADATA_AT + copy.index()]),
            },
            Err(None) => MetadataEvidence::Void,
            Err(Some(defect)) => MetadataEvidence::Bad(*defect),
        });
        Evidence { slots, metadata }
    }

    /// The verdict, and the state that it names.
    fn decide(&mut self, reader: &Reader<'_>, take_older: bool) -> Result<(Verdict, State)> {
        let mut states: [Option<State>; 2] = [None, None];
        let mut walk = |copy: TwinCopy, proof: Proof| {
            let Ok(metadata) = &self.metadata[copy.index()] else { unreachable!("only whole copies are walked") };
            let walked = reader.state(metadata, Block::Metadata(copy)).and_then(|state| {
                let differs = if proof == Proof::Unnamed { reader.prove(&state, metadata)? } else { None };
                states[copy.index()] = Some(state);
                Ok(differs)
            });
            match walked {
                Ok(None) => Walk::Verifies,
                Ok(Some(page)) => Walk::PageDiffers { page },
                Err(error) if error.is_io() => Walk::Unreadable(error),
                Err(error) => Walk::Fails(error),
            }
        };
        let chosen = choose(&self.evidence(reader.key), take_older, &mut walk);
        // Where blocks that could not be read are missed, the call that failed is the reason, and it may succeed next time.
        let missed = matches!(chosen, Err(Refusal::Block(..)));
        if missed && let Some(error) = first_failure(&mut self.failures, reader.storage) {
            return Err(error);
        }
        let verdict = chosen.map_err(|refusal| match refusal {
            Refusal::Walk(error) => error,
            Refusal::Block(block, defect) => defect.at(block, reader.geometry.page_at(reserved_offset(block))),
            Refusal::Ambiguous { candidate, stands, page } => Error::Ambiguous { candidate, stands, page },
        })?;
        let state = states[verdict.copy.index()].take();
        Ok((verdict, state.expect("the verdict names a copy that was walked")))
    }
}

impl Verdict {
    /// The blocks that become void records.
    fn voided(&self) -> Vec<Block> {
        let slots = (0..2u8).filter(|slot| self.void_slots[usize::from(*slot)]).map(Block::Slot);
        let metadata = TwinCopy::BOTH.into_iter().filter(|copy| self.void_metadata[copy.index()]);
        slots.chain(metadata.map(Block::Metadata)).collect()
    }
}

fn first_failure(failures: &mut [Option<io::Error>; 5], storage: &dyn Storage) -> Option<Error> {
    let source = failures.iter_mut().find_map(Option::take)?;
    Some(Error::io("read", storage.path(), source))
}

/// The number of an error of the operating system, 0 where it has none.
pub(super) fn os_error(error: &io::Error) -> u64 {
    u64::from(error.raw_os_error().unwrap_or(0).unsigned_abs())
}

/// Where a block of the reserved region begins.
pub(super) fn reserved_offset(block: Block) -> u64 {
    match block {
        Block::Slot(slot) => SLOT_OFFSETS[usize::from(slot)],
        Block::Metadata(copy) => METADATA_OFFSETS[copy.index()],
        _ => IDENTITY_OFFSET,
    }
}

fn other_file(identity: Identity, found: FileId) -> Defect {
    let head = |file_id: FileId| file_id.to_bytes().iter().take(8).fold(0, |head, byte| head << 8 | u64::from(*byte));
    Defect { field: "file id", expected: head(identity.file_id), found: head(found) }
}

/// The identity as the metadata repeats it; its own defect if no metadata is whole.
fn rebuild_identity(defect: IdentityDefect, records: &[Result<MetadataRecord, Defect>; 2]) -> Result<Identity> {
    let mut found: Option<Identity> = None;
    for record in records.iter().flatten() {
        let MetadataRecord::Commit(metadata) = record else { continue };
        if found.is_some_and(|identity| identity != metadata.identity) {
            let Some(identity) = found else { continue };
            return Err(other_file(identity, metadata.identity.file_id).at(Block::Identity, 0));
        }
        found = Some(metadata.identity);
    }
    found.ok_or(match defect {
        IdentityDefect::NotDiptych { found } => Error::NotDiptych { expected: IDENTITY_MAGIC, found },
        IdentityDefect::Version { found } => Error::FormatVersion { expected: FORMAT_VERSION, found },
        IdentityDefect::Damaged(defect) => defect.at(Block::Identity, 0),
    })
}
