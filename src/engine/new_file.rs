//! The bytes with which a new file begins.

use crate::block::TwinCopy;
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, Identity, Metadata, RegularList, Slot, SlotRecord, encode_void,
};
use crate::ids::FileId;

use super::geometry::Geometry;
use super::reader::KNOWN_FEATURES;
use super::state::State;

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
        let metadata = metadata_of(identity, &state, RegularList::Listed(Vec::new())).encode();
        let metadata_checksum = ChecksumKey::new(file_id).checksum(&metadata[..]);
        let slot = SlotRecord::Commit(Slot { generation: 1, copy: TwinCopy::A, metadata_checksum });
        let void = encode_void(0, file_id);
        // Slot 1 and metadata B are void and not zeros: zeros would be damage.
        let blocks: [&[u8]; 5] = [&identity.encode(), &slot.encode(file_id), &void, &metadata[..], &void];
        NewFile { identity, reserved: blocks.concat(), len: geometry.offset(total_pages) }
    }

    /// The block of a slot as the file begins with it.
    pub(super) fn slot_block(&self, slot: usize) -> BlockBytes {
        let blocks = self.reserved.as_chunks::<BLOCK_LEN>().0;
        blocks[slot + 1]
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
