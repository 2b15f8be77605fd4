//! The bytes with which a new file begins.

use crate::block::TwinCopy;
use crate::format::{
    BLOCK_LEN, BlockBytes, ChangeRows, ChecksumKey, Identity, MAY_HAVE_HOLES, METADATA_OFFSETS, Metadata, RegularList,
    Slot, SlotRecord, encode_void,
};
use crate::ids::FileId;

use super::geometry::{Geometry, to_index};
use super::reserved::Found;
use super::root::Root;
use super::state::State;
use super::walk::CHANGES_IN_SLOTS;

/// The bytes with which a new file begins, and how long it is.
pub(crate) struct NewFile {
    pub(super) identity: Identity,
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
        let metadata = metadata_of(identity, &state, false, RegularList::Listed(Vec::new()));
        NewFile { identity, reserved: reserved_of(&metadata), len: geometry.offset(total_pages) }
    }

    /// What an opening of the file would find.
    pub(super) fn found(&self, state: State) -> Found {
        let key = ChecksumKey::new(self.identity.file_id);
        let metadata = &self.reserved[to_index(METADATA_OFFSETS[TwinCopy::A.index()])..][..BLOCK_LEN];
        let root = Root::new(state.clone(), TwinCopy::A, key.checksum(metadata), false);
        Found { root, live: state }
    }

    /// The block of a slot as the file begins with it.
    pub(super) fn slot_block(&self, slot: usize) -> BlockBytes {
        let blocks = self.reserved.as_chunks::<BLOCK_LEN>().0;
        blocks[slot + 1]
    }
}

/// The reserved region of a file that has one generation and never had another: what its metadata says is in copy A, which
/// slot 0 names.
pub(super) fn reserved_of(metadata: &Metadata) -> Vec<u8> {
    let file_id = metadata.identity.file_id;
    let block = metadata.encode();
    let slot = slot_of(metadata, TwinCopy::A, ChecksumKey::new(file_id).checksum(&block[..]));
    let slot = SlotRecord::Commit(Box::new(slot));
    let void = encode_void(0, file_id);
    // Slot 1 and metadata B are void and not zeros: zeros would be damage.
    let blocks: [&[u8]; 5] = [&metadata.identity.encode(), &slot.encode(file_id), &void, &block[..], &void];
    blocks.concat()
}

/// The metadata of a state. Small commits may stand on metadata that `carries` them.
pub(super) fn metadata_of(identity: Identity, state: &State, carries: bool, regular_list: RegularList) -> Metadata {
    Metadata {
        identity,
        generation: state.generation,
        required_features: if carries { CHANGES_IN_SLOTS } else { 0 },
        optional_features: if state.may_have_holes { MAY_HAVE_HOLES } else { 0 },
        total_pages: state.total_pages,
        counts: state.counts,
        header: state.header,
        free_map: state.leaf_table.top(),
        directory: state.directory.top(),
        regular_list,
    }
}

/// The slot of the checkpoint that wrote this metadata.
pub(super) fn slot_of(metadata: &Metadata, copy: TwinCopy, metadata_checksum: u64) -> Slot {
    Slot {
        generation: metadata.generation,
        copy,
        metadata_checksum,
        metadata_generation: metadata.generation,
        behind_barrier: true,
        total_pages: metadata.total_pages,
        counts: metadata.counts,
        header: metadata.header,
        rows: ChangeRows::default(),
    }
}
