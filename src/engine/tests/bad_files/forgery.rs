//! Changing an image as rot would, as a bad writer would, and as somebody hostile would.

use crate::error::Error;
use crate::format::{BlockBytes, Cell, ChecksumKey, TwinEntry};
use crate::ids::FileId;
use crate::storage::SimImage;

use super::outcome::{Expect, Tally};
use super::start::{Parent, Start, block_at};

/// Fields that several structures of the reserved region repeat.
const REPEATED: [&str; 3] = ["format version", "page size", "file id"];

/// How often a refusal is asked what the counts should be.
const ROUNDS: usize = 5;

/// How much of the file agrees with a change.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Mending {
    /// Nothing: rot.
    Stale,
    /// The CRC of the structure, not what its parent holds: a stale copy, or a bad writer.
    Crc,
    /// The CRC, and every keyed checksum and CRC up to the slot.
    Chain,
    /// These, and what other structures say of the same thing: identities, generations, counts.
    Agreed,
}

impl Mending {
    pub(super) const ALL: [Mending; 4] = [Mending::Stale, Mending::Crc, Mending::Chain, Mending::Agreed];
}

/// An image that is being changed.
#[derive(Clone, Debug)]
pub(super) struct Forgery<'s> {
    start: &'s Start,
    pub(super) image: SimImage,
}

impl<'s> Forgery<'s> {
    pub(super) fn of(start: &'s Start) -> Self {
        Forgery { start, image: start.image.clone() }
    }

    pub(super) fn block(&self, site: usize) -> BlockBytes {
        block_at(&self.image, self.start.sites[site].offset)
    }

    /// Changes a block and nothing else.
    pub(super) fn change<R>(&mut self, site: usize, change: impl FnOnce(&mut BlockBytes) -> R) -> R {
        let mut block = self.block(site);
        let result = change(&mut block);
        self.image.write(self.start.sites[site].offset, &block);
        result
    }

    /// Has the file agree with a change of a cell, as far as the mending goes.
    pub(super) fn mend(&mut self, site: usize, cell: Cell, mending: Mending) {
        match mending {
            Mending::Stale => {}
            Mending::Crc => self.mend_crc(site),
            Mending::Chain => self.mend_chain(site),
            Mending::Agreed => {
                self.repeat(site, cell);
                self.mend_chain(site);
            }
        }
    }

    fn mend_crc(&mut self, site: usize) {
        if let Some(structure) = self.start.sites[site].structure {
            self.change(site, |block| structure.mend(block));
        }
    }

    /// The CRC of the structure, and the checksums and CRCs of all that are above it.
    pub(super) fn mend_chain(&mut self, site: usize) {
        self.mend_crc(site);
        let start = self.start;
        if start.sites[site].parents.is_empty() {
            return;
        }
        let mut bytes = vec![0; start.sites[site].len];
        self.image.read(start.sites[site].offset, &mut bytes);
        let checksum = self.key().checksum(&bytes);
        for parent in &start.sites[site].parents {
            self.change(parent.site, |block| parent.checksum.put(block, checksum));
            self.mend_chain(parent.site);
        }
    }

    /// The key of the file id that the identity holds now.
    fn key(&self) -> ChecksumKey {
        let identity = self.start.sites[0].structure.expect("a structure");
        let field = identity.fields.iter().find(|field| field.name == "file id").expect("an identity has a file id");
        let id = *self.block(0)[field.offset..].first_chunk().expect("16 bytes");
        ChecksumKey::new(FileId::new(id))
    }

    /// Says what a cell says wherever else that is said.
    fn repeat(&mut self, site: usize, cell: Cell) {
        let value = cell.get(&self.block(site));
        let start = self.start;
        if cell.name == "generation" {
            for parent in &start.sites[site].parents {
                self.change(parent.site, |block| {
                    let is_entry = parent.generation.name != "generation";
                    let live = if is_entry { parent.generation.get(block) & 1 } else { 0 };
                    let stamp = if is_entry { value << 1 | live } else { value };
                    parent.generation.put(block, stamp);
                });
            }
        }
        if !REPEATED.contains(&cell.name) || !start.sites[site].is_reserved() {
            return;
        }
        let begins = |site: usize| {
            let structure = start.sites[site].structure?;
            structure.fields.iter().find(|field| field.name == cell.name).map(|field| field.offset)
        };
        let within = cell.offset - begins(site).expect("the cell is of that field");
        for other in 0..start.sites.len() {
            if start.sites[other].is_reserved()
                && let Some(offset) = begins(other)
            {
                self.change(other, |block| Cell { offset: offset + within, ..cell }.put(block, value));
            }
        }
        // The file id keys every checksum. Parents stand before their children.
        (0..start.sites.len()).rev().for_each(|site| self.mend_chain(site));
    }

    /// Sets a count of the metadata to what a refusal says that it has to be, if it is about one.
    fn follow(&mut self, refusal: &Error) -> bool {
        let Error::Corrupt { block, field, expected, .. } = refusal else { return false };
        let Some(site) = self.start.sites.iter().position(|site| site.block == *block && site.is_live) else {
            return false;
        };
        let is_count = field.ends_with(" pages");
        let Some(cell) = self.start.sites[site].structure.and_then(|structure| structure.cell(field)) else {
            return false;
        };
        if is_count {
            self.change(site, |block| cell.put(block, *expected));
            self.mend_chain(site);
        }
        is_count
    }

    /// Runs the case, and again with each count that a refusal names mended.
    pub(super) fn run_and_follow(&mut self, tally: &mut Tally, expect: Expect, name: &dyn Fn() -> String) {
        for _ in 0..ROUNDS {
            if self.image == self.start.image {
                return;
            }
            let refusal = tally.run(self.start, &self.image, expect, name);
            if !refusal.is_some_and(|refusal| self.follow(&refusal)) {
                return;
            }
        }
    }

    /// The entry that names a child.
    pub(super) fn entry(&self, parent: &Parent) -> [u8; TwinEntry::LEN] {
        let block = self.block(parent.site);
        let start = entry_offset(parent);
        *block[start..].first_chunk().expect("an entry lies in its block")
    }

    pub(super) fn put_entry(&mut self, parent: &Parent, entry: &[u8; TwinEntry::LEN]) {
        let start = entry_offset(parent);
        self.change(parent.site, |block| block[start..start + TwinEntry::LEN].copy_from_slice(entry));
    }

    /// Moves an entry by some places of its table, over what stands there.
    pub(super) fn move_entry(&mut self, parent: &Parent, places: usize) {
        let entry = self.entry(parent);
        self.put_entry(parent, &TwinEntry::EMPTY.encode());
        let start = entry_offset(parent) + places * TwinEntry::LEN;
        self.change(parent.site, |block| block[start..start + TwinEntry::LEN].copy_from_slice(&entry));
        self.mend_chain(parent.site);
    }
}

/// Where an entry begins; its checksum is its last field.
fn entry_offset(parent: &Parent) -> usize {
    parent.checksum.offset + parent.checksum.len - TwinEntry::LEN
}
