//! Every finding about a file: what is on disk against what the engine holds.
//!
//! Opening stops at the first thing that is wrong; a check goes on and lists all of it. It reads every block and every
//! protected page again, whatever was verified before, and changes nothing.

use std::fmt;

use crate::block::{Block, TwinCopy};
use crate::error::Error;
use crate::format::{
    BLOCK_LEN, BlockBytes, Defect, IDENTITY_OFFSET, Identity, LeafBits, METADATA_OFFSETS, MetadataRecord, Node,
    SLOT_OFFSETS, Slot, SlotRecord, TwinEntry, decode_leaf,
};

use super::Engine;
use super::entries::is_page;
use super::reader::{Parent, os_error};
use super::recovery::slot_block;
use super::reserved::reserved_offset;

/// Something in the file that is not as it must be.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Finding {
    /// What it was found in.
    pub block: Block,
    /// The page in which that begins.
    pub page: u64,
    /// What is wrong: a field of the block, or "read error" with the number of the operating system's error as found.
    pub field: &'static str,
    /// What should be there.
    pub expected: u64,
    /// What is.
    pub found: u64,
}

impl fmt::Display for Finding {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Finding { block, page, field, expected, found } = self;
        write!(f, "page {page} ({block}): {field} is {found:#x}, expected {expected:#x}")
    }
}

#[derive(Default)]
struct Findings(Vec<Finding>);

impl Findings {
    fn push(&mut self, block: Block, page: u64, defect: Defect) {
        let Defect { field, expected, found } = defect;
        self.0.push(Finding { block, page, field, expected, found });
    }

    fn expect(&mut self, block: Block, page: u64, field: &'static str, expected: u64, found: u64) {
        if expected != found {
            self.push(block, page, Defect { field, expected, found });
        }
    }

    fn error(&mut self, block: Block, page: u64, error: Error) {
        let (block, page, defect) = match error {
            Error::Corrupt { block, page, field, expected, found } => (block, page, Defect { field, expected, found }),
            Error::Truncated { expected, found } => (block, page, Defect { field: "file length", expected, found }),
            Error::Io { source, .. } => {
                (block, page, Defect { field: "read error", expected: 0, found: os_error(&source) })
            }
            other => unreachable!("reading a block does not fail with {other}"),
        };
        self.push(block, page, defect);
    }
}

impl Engine {
    /// Reads all that the durable generation names, and what commits that wait have written, and lists what is wrong with it,
    /// in no particular order.
    pub(crate) fn check(&self) -> Vec<Finding> {
        let mut findings = Findings::default();
        self.check_length(&mut findings);
        self.check_identity(&mut findings);
        self.check_slots(&mut findings);
        self.check_metadata(&mut findings);
        let mut page = vec![0; self.geometry.page_len()];
        for (block, entry) in self.durable().twins() {
            self.check_twin(&mut findings, block, &entry, &mut page);
        }
        // What commits that wait have written. Their leaves and nodes are in memory alone.
        let waits = |(_, entry): &(Block, TwinEntry)| entry.generation > self.durable().generation;
        for (block, entry) in self.live.pages().filter(waits) {
            self.check_twin(&mut findings, block, &entry, &mut page);
        }
        let reader = self.reader();
        let metadata = Block::Metadata(self.root.copy);
        let waiting = self.group.is_some().then_some(&*self.live);
        for state in [self.durable()].into_iter().chain(waiting) {
            if let Err(error) = reader.check_counts(state, &state.counted(), metadata) {
                findings.error(metadata, 0, error);
            }
        }
        if let Err(error) = reader.check_owners(self.durable()) {
            findings.error(metadata, 0, error);
        }
        findings.0
    }

    fn check_length(&self, findings: &mut Findings) {
        let metadata = Block::Metadata(self.root.copy);
        let expected = self.geometry.offset(self.live.total_pages);
        match self.storage.len() {
            Ok(found) if found < expected => {
                findings.push(metadata, 0, Defect { field: "file length", expected, found });
            }
            Ok(_) => {}
            Err(source) => findings.error(metadata, 0, self.io_error("read the length of", source)),
        }
    }

    /// Whether opening would have written the block, had it been allowed to: its report says what is wrong with it.
    fn is_left_unsettled(&self, block: Block) -> bool {
        let recovery = &self.recovery;
        let is_to_be_written = match block {
            Block::Identity => recovery.identity_rebuilt,
            _ => recovery.adopted && block == slot_block(self.live_slot),
        };
        !recovery.durable && (is_to_be_written || recovery.voided.contains(&block))
    }

    fn read_reserved(&self, findings: &mut Findings, block: Block) -> Option<(u64, Box<BlockBytes>)> {
        if self.is_left_unsettled(block) {
            return None;
        }
        let offset = reserved_offset(block);
        let page = self.geometry.page_at(offset);
        let mut bytes = Box::new([0; BLOCK_LEN]);
        match self.reader().read(&mut bytes[..], offset) {
            Ok(()) => Some((page, bytes)),
            Err(error) => {
                findings.error(block, page, error);
                None
            }
        }
    }

    fn check_identity(&self, findings: &mut Findings) {
        debug_assert_eq!(reserved_offset(Block::Identity), IDENTITY_OFFSET);
        let Some((page, bytes)) = self.read_reserved(findings, Block::Identity) else { return };
        // An identity has one encoding, so any difference is damage.
        if let Some(at) = (0..64).find(|at| bytes[*at] != self.identity.encode()[*at]) {
            let (expected, found) = (self.identity.encode()[at].into(), bytes[at].into());
            let field = if Identity::decode(&bytes).is_ok() { "identity" } else { "crc" };
            findings.push(Block::Identity, page, Defect { field, expected, found });
        }
    }

    fn check_slots(&self, findings: &mut Findings) {
        for (at, offset) in SLOT_OFFSETS.into_iter().enumerate() {
            let block = slot_block(at);
            debug_assert_eq!(reserved_offset(block), offset);
            let Some((page, bytes)) = self.read_reserved(findings, block) else { continue };
            let (live, durable) = (at == self.live_slot, self.durable().generation);
            match SlotRecord::decode(&bytes, self.identity.file_id) {
                // Beside a commit that is being written.
                _ if !live && self.is_under_way() => {}
                Err(defect) => findings.push(block, page, defect),
                Ok(SlotRecord::Void { .. }) if live => {
                    findings.expect(block, page, "generation", durable, 0);
                }
                Ok(SlotRecord::Void { .. }) => {}
                Ok(SlotRecord::Commit(slot)) if live => {
                    self.check_live_slot(findings, block, page, &slot);
                }
                Ok(SlotRecord::Commit(slot)) if slot.generation >= durable && !self.is_poisoned() => {
                    let expected = durable - 1;
                    findings.push(block, page, Defect { field: "generation", expected, found: slot.generation });
                }
                Ok(SlotRecord::Commit(_)) => {}
            }
        }
    }

    fn check_live_slot(&self, findings: &mut Findings, block: Block, page: u64, slot: &Slot) {
        let (root, live) = (&self.root, self.durable());
        // Between that state and itself there is nothing but what is to be said already.
        let rows = root.rows(live, live).unwrap_or_default();
        let fields = [
            ("generation", live.generation, slot.generation),
            ("metadata copy", root.copy.index() as u64, slot.copy.index() as u64),
            ("metadata checksum", root.checksum, slot.metadata_checksum),
            ("metadata generation", root.state.generation, slot.metadata_generation),
            ("total pages", live.total_pages, slot.total_pages),
            ("regular pages", live.counts.regular, slot.counts.regular),
            ("engine pages", live.counts.engine, slot.counts.engine),
            ("table-owned pages", live.counts.table_owned, slot.counts.table_owned),
            ("protected pages", live.counts.protected, slot.counts.protected),
            ("application header", 1, u64::from(slot.header == live.header)),
            ("rows", 1, u64::from(slot.rows == rows)),
        ];
        for (field, expected, found) in fields {
            findings.expect(block, page, field, expected, found);
        }
    }

    fn check_metadata(&self, findings: &mut Findings) {
        for copy in TwinCopy::BOTH {
            let block = Block::Metadata(copy);
            debug_assert_eq!(reserved_offset(block), METADATA_OFFSETS[copy.index()]);
            let Some((page, bytes)) = self.read_reserved(findings, block) else { continue };
            let live = copy == self.root.copy;
            match MetadataRecord::decode(&bytes) {
                _ if !live && self.is_under_way() => {}
                // The other copy may hold what a failed attempt left; then the pager is poisoned.
                Err(defect) if live || !self.is_poisoned() => findings.push(block, page, defect),
                Ok(MetadataRecord::Commit(metadata))
                    if !live && metadata.generation >= self.root.state.generation && !self.is_poisoned() =>
                {
                    let expected = self.root.state.generation - 1;
                    findings.push(block, page, Defect { field: "generation", expected, found: metadata.generation });
                }
                Ok(MetadataRecord::Commit(metadata)) if live => {
                    let state = &self.root.state;
                    let fields = [
                        ("generation", state.generation, metadata.generation),
                        ("total pages", state.total_pages, metadata.total_pages),
                        ("regular pages", state.counts.regular, metadata.counts.regular),
                        ("engine pages", state.counts.engine, metadata.counts.engine),
                        ("table-owned pages", state.counts.table_owned, metadata.counts.table_owned),
                        ("protected pages", state.counts.protected, metadata.counts.protected),
                        ("free-map table", 1, u64::from(metadata.free_map == state.leaf_table.top())),
                        ("directory", 1, u64::from(metadata.directory == state.directory.top())),
                        ("application header", 1, u64::from(metadata.header == state.header)),
                    ];
                    for (field, expected, found) in fields {
                        findings.expect(block, page, field, expected, found);
                    }
                }
                Ok(MetadataRecord::Void { .. }) if live => {
                    findings.expect(block, page, "generation", self.root.state.generation, 0);
                }
                _ => {}
            }
        }
    }

    /// The live copy of a twin: its checksum, and that it is the twin that its parent means.
    fn check_twin(&self, findings: &mut Findings, block: Block, entry: &TwinEntry, page: &mut [u8]) {
        let at = entry.live_page();
        let reader = self.reader();
        if is_page(block) {
            if let Err(error) = reader.verify_page(block, entry, page) {
                findings.error(block, at, error);
            }
            return;
        }
        let durable = self.durable();
        let parent = Parent { total_pages: durable.total_pages, generation: durable.generation };
        let mut bytes = [0; BLOCK_LEN];
        if let Err(error) = reader.read_block(block, entry, parent, &mut bytes) {
            return findings.error(block, at, error);
        }
        let decoded = match block {
            Block::FreeMapLeaf { .. } => decode_leaf(&bytes, &mut LeafBits::default()).map(|leaf| leaf.generation),
            _ => Node::decode(&bytes).map(|node| node.generation),
        };
        match decoded {
            Ok(generation) => findings.expect(block, at, "generation", entry.generation, generation),
            Err(defect) => findings.push(block, at, defect),
        }
    }
}
