//! The reserved region as it was read: the evidence, and the verdict on it.

use std::io;

use crate::block::{Block, TwinCopy};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, Defect, FORMAT_VERSION, IDENTITY_MAGIC, IDENTITY_OFFSET, Identity,
    IdentityDefect, METADATA_OFFSETS, Metadata, MetadataRecord, SLOT_OFFSETS, SlotRecord, encode_void,
};
use crate::ids::FileId;
use crate::storage::Storage;

use super::planted::{Mistake, is_planted};
use super::reader::{KNOWN_FEATURES, Reader};
use super::recovery::{Evidence, MetadataEvidence, Proof, Refusal, SlotEvidence, Verdict, Walk, choose};
use super::state::State;

/// A call that fails is made so often before what it reads counts as unreadable.
const READ_ATTEMPTS: usize = 3;

/// See the head of this file.
pub(super) struct Reserved {
    pub(super) identity: Identity,
    pub(super) identity_rebuilt: bool,
    slots: [Result<SlotRecord, Defect>; 2],
    metadata: [Result<Metadata, Option<Defect>>; 2],
    blocks: [BlockBytes; 5],
    /// Why blocks could not be read.
    failures: [Option<io::Error>; 5],
}

const IDENTITY_AT: usize = 0;
const SLOTS_AT: usize = 1;
const METADATA_AT: usize = 3;

impl Reserved {
    pub(super) fn read(storage: &dyn Storage) -> Result<Reserved> {
        let mut blocks = [[0; BLOCK_LEN]; 5];
        let mut failures = [const { None }; 5];
        for (at, block) in blocks.iter_mut().enumerate() {
            // A sector that cannot be read is a bad block like any other: the other copies decide.
            for _ in 0..READ_ATTEMPTS {
                failures[at] = storage.read_at(block, at as u64 * BLOCK_LEN as u64).err();
                if failures[at].is_none() {
                    break;
                }
            }
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

    /// What the blocks are to hold once the verdict is carried out: the slots and the metadata copies, those that were refused
    /// or cannot be read as void records. The slot of an adopted state is not among them yet.
    pub(super) fn settled(&self, verdict: &Verdict) -> ([BlockBytes; 2], [BlockBytes; 2]) {
        let file_id = self.identity.file_id;
        let slots = std::array::from_fn(|at| match self.slots[at] {
            _ if !verdict.void_slots[at] || is_planted(Mistake::RefusedSlotLeftStanding) => self.blocks[SLOTS_AT + at],
            Ok(SlotRecord::Commit(slot)) => encode_void(slot.generation, file_id),
            Ok(SlotRecord::Void { generation }) => encode_void(generation, file_id),
            Err(_) => encode_void(0, file_id),
        });
        let copies = std::array::from_fn(|at| match &self.metadata[at] {
            _ if !verdict.void_metadata[at] || is_planted(Mistake::RefusedMetadataLeftStanding) => {
                self.blocks[METADATA_AT + at]
            }
            Ok(metadata) => encode_void(metadata.generation, file_id),
            Err(_) => encode_void(0, file_id),
        });
        (slots, copies)
    }

    /// The metadata that the verdict names.
    pub(super) fn metadata_of(&self, verdict: &Verdict) -> &Metadata {
        self.metadata[verdict.copy.index()].as_ref().expect("the verdict names a whole copy of the metadata")
    }

    /// The verdict, and the state that it names.
    pub(super) fn decide(&mut self, reader: &Reader<'_>, take_older: bool) -> Result<(Verdict, State)> {
        let newest = self.metadata.iter().flatten().max_by_key(|metadata| metadata.generation);
        if let Some(newest) = newest.filter(|newest| newest.required_features & !KNOWN_FEATURES != 0) {
            // Nothing can be said about a commit of a newer version of the crate, and so nothing may be refused.
            return Err(Error::UnknownFeatures { expected: KNOWN_FEATURES, found: newest.required_features });
        }
        let mut states: [Option<State>; 2] = [None, None];
        let mut walk = |copy: TwinCopy, proof: Proof| {
            let Ok(metadata) = &self.metadata[copy.index()] else { unreachable!("only whole copies are walked") };
            let walked = reader.state(metadata, Block::Metadata(copy)).and_then(|state| {
                let proves = proof == Proof::Unnamed && !is_planted(Mistake::AdoptionWithoutProof);
                let differs = if proves { reader.prove(&state, metadata)? } else { None };
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
    let head = |file_id: FileId| u64::from_be_bytes(*file_id.to_bytes().first_chunk().expect("it has sixteen bytes"));
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
