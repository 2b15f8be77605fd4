//! The reserved region as it was read: the evidence, and the verdict on it.

use std::io;

use crate::block::{Block, TwinCopy};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, Defect, FORMAT_VERSION, IDENTITY_MAGIC, IDENTITY_OFFSET, Identity,
    IdentityDefect, MAX_GENERATION, METADATA_OFFSETS, Metadata, MetadataRecord, RegularList, SLOT_OFFSETS, Slot,
    SlotRecord, encode_void,
};
use crate::ids::FileId;
use crate::storage::Readable;

use super::planted::{Mistake, is_planted};
use super::reader::{READ_ATTEMPTS, Reader, os_error};
use super::recovery::{
    Candidate, Claim, Evidence, MetadataEvidence, Proof, Refusal, SlotEvidence, Verdict, Walk, choose, slot_block,
};
use super::root::Root;
use super::state::State;
use super::walk::{CHANGES_IN_SLOTS, KNOWN_FEATURES};

/// What the verdict names, as it was read.
pub(super) struct Found {
    pub(super) root: Root,
    pub(super) live: State,
}

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
    pub(super) fn read(storage: &dyn Readable) -> Result<Reserved> {
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
        let known = failures.iter().position(Option::is_none);
        let fails = |at: usize| storage.read_at(&mut [0; BLOCK_LEN], at as u64 * BLOCK_LEN as u64).is_err();
        if failures.iter().any(Option::is_some)
            && known.is_none_or(fails)
            && let Some(error) = first_failure(&mut failures, storage)
        {
            // It is not a sector that cannot be read but the disk, which says nothing of what is there.
            return Err(error);
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
        let slots = self.slots.each_ref().map(|record| match record {
            Ok(SlotRecord::Commit(slot)) => {
                SlotEvidence::Commit(Claim::new(slot, key.checksum(&slot.encode(self.identity.file_id))))
            }
            Ok(SlotRecord::Void { generation }) => SlotEvidence::Void { generation: *generation },
            Err(defect) => SlotEvidence::Bad(*defect),
        });
        let metadata = TwinCopy::BOTH.map(|copy| match &self.metadata[copy.index()] {
            Ok(metadata) => MetadataEvidence::Commit {
                generation: metadata.generation,
                checksum: self.metadata_checksum(copy, key),
                carries: carries(metadata),
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
        let slots = std::array::from_fn(|at| match &self.slots[at] {
            _ if !verdict.void_slots[at] || is_planted(Mistake::RefusedSlotLeftStanding) => self.blocks[SLOTS_AT + at],
            Ok(SlotRecord::Commit(slot)) => encode_void(slot.generation, file_id),
            Ok(SlotRecord::Void { generation }) => encode_void(*generation, file_id),
            // A power cut spoils only the slot that was being written, so what the verdict names had been acknowledged: a later
            // generation that is void says so.
            Err(_) => encode_void(MAX_GENERATION.min(verdict.generation + 1), file_id),
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

    /// The verdict, and what it names.
    pub(super) fn decide(&mut self, reader: &Reader<'_>, take_older: bool) -> Result<(Verdict, Found)> {
        let newest = self.metadata.iter().flatten().max_by_key(|metadata| metadata.generation);
        if let Some(newest) = newest.filter(|newest| newest.required_features & !KNOWN_FEATURES != 0) {
            // Nothing can be said about a commit of a newer version of the crate, and so nothing may be refused.
            return Err(Error::UnknownFeatures { expected: KNOWN_FEATURES, found: newest.required_features });
        }
        let key = reader.key;
        let mut walked = Vec::new();
        let mut walk = |candidate: Candidate, proof: Proof| {
            let found = self.walk(reader, candidate, proof);
            found.map_or_else(
                |walk| walk,
                |found| {
                    walked.push((candidate, found));
                    Walk::Verifies
                },
            )
        };
        let chosen = choose(&self.evidence(key), take_older, &mut walk);
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
        let found = walked.into_iter().rev().find(|(candidate, _)| *candidate == verdict.candidate);
        let (_, found) = found.expect("the verdict names a candidate that was walked");
        Ok((verdict, found))
    }

    fn metadata_checksum(&self, copy: TwinCopy, key: ChecksumKey) -> u64 {
        key.checksum(&self.blocks[METADATA_AT + copy.index()])
    }

    /// What a candidate names.
    fn walk(&self, reader: &Reader<'_>, candidate: Candidate, proof: Proof) -> Result<Found, Walk> {
        let copy = match candidate {
            Candidate::Metadata(copy) => copy,
            Candidate::Slot(at) => self.slot(at).copy,
        };
        let Ok(metadata) = &self.metadata[copy.index()] else { unreachable!("only whole copies are walked") };
        let needs_proof = proof == Proof::Needed;
        let in_flight = match candidate {
            Candidate::Slot(at) => Some(self.slot(at).generation),
            // A commit that wrote regular pages passed a barrier before its slot.
            Candidate::Metadata(_) if carries(metadata) && metadata.regular_list == RegularList::Listed(Vec::new()) => {
                Some(metadata.generation)
            }
            Candidate::Metadata(_) => None,
        };
        let reader = &Reader { in_flight: in_flight.filter(|_| needs_proof), ..*reader };
        match candidate {
            Candidate::Metadata(copy) => self.walk_metadata(reader, copy, metadata, needs_proof),
            Candidate::Slot(at) => self.walk_slot(reader, at, metadata, needs_proof),
        }
    }

    fn slot(&self, at: usize) -> &Slot {
        let Ok(SlotRecord::Commit(slot)) = &self.slots[at] else { unreachable!("only commits are walked") };
        slot
    }

    /// What a copy of the metadata says by itself.
    fn walk_metadata(
        &self,
        reader: &Reader<'_>,
        copy: TwinCopy,
        metadata: &Metadata,
        needs_proof: bool,
    ) -> Result<Found, Walk> {
        let root = reader.state(metadata, Block::Metadata(copy)).map_err(failed)?.state;
        reader.check_owners(&root).map_err(failed)?;
        reader.check_list(&root, &metadata.regular_list).map_err(failed)?;
        if needs_proof && !is_planted(Mistake::AdoptionWithoutProof) {
            let written = root.pages().filter(|(_, entry)| entry.generation == root.generation);
            reader.prove_twins(written).map_err(failed)?;
            if let Some(page) = reader.page_that_differs(&root, &metadata.regular_list).map_err(failed)? {
                return Err(Walk::PageDiffers { page });
            }
        }
        let live = root.clone();
        let checksum = self.metadata_checksum(copy, reader.key);
        Ok(Found { root: Root::new(root, copy, checksum, carries(metadata)), live })
    }

    /// What a slot says, on top of the metadata that it names.
    fn walk_slot(&self, reader: &Reader<'_>, at: usize, metadata: &Metadata, needs_proof: bool) -> Result<Found, Walk> {
        let slot = self.slot(at);
        let copy = slot.copy;
        let root = reader.state(metadata, Block::Metadata(copy)).map_err(failed)?;
        let live = reader.state_of_slot(&root, carries(metadata), slot, slot_block(at)).map_err(failed)?;
        reader.check_owners(&live).map_err(failed)?;
        if slot.is_checkpoint() {
            reader.check_list(&live, &metadata.regular_list).map_err(failed)?;
        }
        if needs_proof && !is_planted(Mistake::NewestCommitWithoutProof) {
            let proved = if slot.is_checkpoint() {
                reader.prove_twins(live.pages().filter(|(_, entry)| entry.generation == slot.generation))
            } else {
                let written = slot.rows.entries_at(slot.generation);
                reader.prove_twins(written.filter_map(|index| {
                    let entry = live.twin(index)?;
                    Some((live.kind_of(&entry).block(index), entry))
                }))
            };
            proved.map_err(|error| if error.is_io() { Walk::Unreadable(error) } else { Walk::Unproved(error) })?;
        }
        let root = Root::new(root.state, copy, self.metadata_checksum(copy, reader.key), carries(metadata));
        Ok(Found { root: root.with_rows(&slot.rows), live })
    }
}

/// Whether small commits may stand on metadata.
fn carries(metadata: &Metadata) -> bool {
    metadata.required_features & CHANGES_IN_SLOTS != 0
}

fn failed(error: Error) -> Walk {
    if error.is_io() { Walk::Unreadable(error) } else { Walk::Fails(error) }
}

fn first_failure(failures: &mut [Option<io::Error>; 5], storage: &dyn Readable) -> Option<Error> {
    let source = failures.iter_mut().find_map(Option::take)?;
    Some(Error::io("read", storage.path(), source))
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
