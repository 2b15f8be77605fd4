//! Reads blocks and pages, and believes nothing.
//!
//! Every block is read with a positioned read and compared with what its parent says: place, keyed checksum. What is read one
//! after the other is put together in `walk.rs`.

use std::io;
use std::path::Path;

use crate::block::{Block, PageKind};
use crate::error::{Error, Result};
use crate::format::{
    BLOCK_LEN, BlockBytes, ChecksumKey, Defect, IDENTITY_OFFSET, METADATA_OFFSETS, RegularList, SLOT_OFFSETS, TwinEntry,
};
use crate::storage::Readable;

use super::entries::is_page;
use super::geometry::Geometry;
use super::planted::{Mistake, is_planted};
use super::state::State;

/// A call that fails is made so often before what it reads counts as unreadable.
pub(super) const READ_ATTEMPTS: usize = 3;

/// What it takes to read a file's blocks and pages.
#[derive(Clone, Copy)]
pub(super) struct Reader<'a> {
    pub(super) storage: &'a dyn Readable,
    pub(super) geometry: Geometry,
    pub(super) key: ChecksumKey,
    /// Length of the file in bytes.
    pub(super) len: u64,
    /// A commit that may not be all there: what it wrote is missing where it cannot be read.
    pub(super) in_flight: Option<u64>,
}

/// Where a block hangs: the limits within which its entry has to name pages.
#[derive(Clone, Copy)]
pub(super) struct Parent {
    pub(super) total_pages: u64,
    pub(super) generation: u64,
}

impl<'a> Reader<'a> {
    fn path(&self) -> &'a Path {
        self.storage.path()
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> Result<()> {
        self.storage.read_at(buffer, offset).map_err(|source| Error::io("read", self.path(), source))
    }

    /// Reads the live copy of a twin. A power cut leaves what was in flight unreadable, which is then damage like any other; a
    /// call that fails elsewhere, or a disk that cannot be read at all, says nothing of what is there.
    fn read_copy(&self, block: Block, entry: &TwinEntry, buffer: &mut [u8]) -> Result<()> {
        let mut read = || self.read(buffer, self.geometry.offset(entry.live_page()));
        let Err(error) = read() else { return Ok(()) };
        if self.in_flight != Some(entry.generation) {
            return Err(error);
        }
        let again = (1..READ_ATTEMPTS).any(|_| read().is_ok());
        let Error::Io { source, .. } = &error else { return Err(error) };
        let reserved = [SLOT_OFFSETS, METADATA_OFFSETS].concat();
        match () {
            () if again => Ok(()),
            () if reserved.iter().all(|offset| self.read(&mut [0; BLOCK_LEN], *offset).is_err()) => Err(error),
            () => {
                Err(Defect { field: "read error", expected: 0, found: os_error(source) }.at(block, entry.live_page()))
            }
        }
    }

    /// Reads the live copy of a twin of the engine, and compares it with its entry.
    pub(super) fn read_block(
        &self,
        block: Block,
        entry: &TwinEntry,
        parent: Parent,
        bytes: &mut BlockBytes,
    ) -> Result<()> {
        self.check_entry(block, entry, parent, self.geometry.pages_per_block())?;
        self.read_copy(block, entry, bytes)?;
        self.check_checksum(block, entry, bytes)
    }

    /// Whether an entry names pages that there are, by a commit that there was. `run` is the length of each copy in pages.
    pub(super) fn check_entry(&self, block: Block, entry: &TwinEntry, parent: Parent, run: u64) -> Result<()> {
        let [a, b] = entry.copies;
        for (field, page) in [("page of copy A", a), ("page of copy B", b)] {
            let last = parent.total_pages - run;
            if page > last || page < self.geometry.first_page() {
                return Err(Defect { field, expected: last, found: page }.at(block, page));
            }
            // A run is a power of two, as pages are; a division for each entry would show.
            if page & (run - 1) != 0 {
                return Err(Defect { field, expected: page & !(run - 1), found: page }.at(block, page));
            }
        }
        if a ^ b < self.geometry.pages_per_block() {
            // One torn block would spoil both copies.
            let expected = self.geometry.next_block(a);
            return Err(Defect { field: "page of copy B", expected, found: b }.at(block, b));
        }
        if entry.generation > parent.generation {
            let (expected, found) = (parent.generation, entry.generation);
            return Err(Defect { field: "generation", expected, found }.at(block, entry.live_page()));
        }
        Ok(())
    }

    fn check_checksum(&self, block: Block, entry: &TwinEntry, bytes: &[u8]) -> Result<()> {
        let found = self.key.checksum(bytes);
        let stale = matches!(block, Block::FreeMapLeaf { .. }) && is_planted(Mistake::StaleLeafAccepted)
            || is_page(block) && is_planted(Mistake::StaleProtectedPageAccepted);
        if found == entry.checksum || stale {
            return Ok(());
        }
        Err(Defect { field: "checksum", expected: entry.checksum, found }.at(block, entry.live_page()))
    }

    /// The content of a protected page, or of a page of a table, verified.
    pub(super) fn verify_page(&self, block: Block, entry: &TwinEntry, scratch: &mut [u8]) -> Result<()> {
        self.read_copy(block, entry, scratch)?;
        self.check_checksum(block, entry, scratch)
    }

    /// The page in which a block of the reserved region begins.
    pub(super) fn reserved_page(&self, block: Block) -> u64 {
        self.geometry.page_at(match block {
            Block::Slot(slot) => SLOT_OFFSETS[usize::from(slot)],
            Block::Metadata(copy) => METADATA_OFFSETS[copy.index()],
            _ => IDENTITY_OFFSET,
        })
    }

    /// Whether the live copies of pages are there: those that a commit wrote, to prove it. What extents hold is never written without
    /// a barrier before what names them.
    pub(super) fn prove_twins(&self, written: impl Iterator<Item = (Block, TwinEntry)>) -> Result<()> {
        let mut scratch = vec![0; self.geometry.page_len()];
        for (block, entry) in written {
            self.verify_page(block, &entry, &mut scratch)?;
        }
        Ok(())
    }

    /// A regular page that does not hold what the commit that listed it wrote.
    pub(super) fn page_that_differs(&self, state: &State, list: &RegularList) -> Result<Option<u64>> {
        let skipped = is_planted(Mistake::AdoptionWithoutTheListOfRegularPages)
            || is_planted(Mistake::ChecksumsSkippedWhereACountIsZero) && state.counts.protected == 0;
        let RegularList::Listed(rows) = list else { return Ok(None) };
        if skipped {
            return Ok(None);
        }
        let mut scratch = vec![0; self.geometry.page_len()];
        for (page, checksum) in rows.iter().copied() {
            self.read(&mut scratch, self.geometry.offset(page))?;
            if self.key.checksum(&scratch) != checksum {
                return Ok(Some(page));
            }
        }
        Ok(None)
    }
}

/// The number of an error of the operating system, 0 where it has none.
pub(super) fn os_error(error: &io::Error) -> u64 {
    u64::from(error.raw_os_error().unwrap_or(0).unsigned_abs())
}

pub(super) fn kind_bits(kind: PageKind) -> u64 {
    match kind {
        PageKind::Free => 0,
        PageKind::Regular => 1,
        PageKind::Engine => 2,
        PageKind::TableOwned => 3,
    }
}

pub(super) fn check_all<const K: usize>(
    expectations: [(&'static str, u64, u64); K],
    block: Block,
    page: u64,
) -> Result<()> {
    for (field, expected, found) in expectations {
        if expected != found {
            return Err(Defect { field, expected, found }.at(block, page));
        }
    }
    Ok(())
}
