//! Every structure of the format, for tests that damage whole files.
//!
//! A test that goes through [`STRUCTURES`] meets every field that is declared: the tables are those that stand in the headers
//! of this folder, and a table that is missing here fails a test. A long field is many numbers; [`Structure::cells`] picks
//! those that say something: what is in use, the first that is not, the last.

use super::checksum::crc32;
use super::field::FieldSpec;
use super::identity::Identity;
use super::metadata::Metadata;
use super::slot::Slot;
use super::twin::Node;
use super::void::Void;
use super::{BlockBytes, LeafHead};

/// Units of a long field that are in use and are picked, counted from its front.
const PICKED: usize = 5;

/// A structure that has a block of its own.
#[derive(Debug)]
pub(crate) struct Structure {
    /// What its table is called.
    pub(crate) caption: &'static str,
    /// The bytes with which it begins.
    magic: &'static [u8],
    /// The rows of its table.
    pub(crate) fields: &'static [FieldSpec],
}

/// See the head of this file.
pub(crate) static STRUCTURES: [Structure; 6] = [
    Structure { caption: "Identity", magic: b"DIPTYCH\0", fields: Identity::FIELDS },
    Structure { caption: "Commit slot", magic: b"DIPslot\0", fields: Slot::FIELDS },
    Structure { caption: "Void record", magic: b"DIPvoid\0", fields: Void::FIELDS },
    Structure { caption: "Metadata", magic: b"DIPmeta\0", fields: Metadata::FIELDS },
    Structure { caption: "Node", magic: b"DPnd", fields: Node::FIELDS },
    Structure { caption: "Leaf", magic: b"DPlf", fields: LeafHead::FIELDS },
];

/// At most eight bytes of a structure that are one number.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Cell {
    /// What the table calls it.
    pub(crate) name: &'static str,
    /// Where it begins in the structure.
    pub(crate) offset: usize,
    /// Its length in bytes.
    pub(crate) len: usize,
}

impl Cell {
    /// The number that stands there.
    pub(crate) fn get(self, block: &BlockBytes) -> u64 {
        let mut bytes = [0; 8];
        bytes[..self.len].copy_from_slice(&block[self.offset..self.offset + self.len]);
        u64::from_le_bytes(bytes)
    }

    /// Sets the number, as far as it fits.
    pub(crate) fn put(self, block: &mut BlockBytes, value: u64) {
        block[self.offset..self.offset + self.len].copy_from_slice(&value.to_le_bytes()[..self.len]);
    }
}

impl Structure {
    /// The structure that a block begins like.
    pub(crate) fn of(block: &BlockBytes) -> Option<&'static Structure> {
        STRUCTURES.iter().find(|structure| block.starts_with(structure.magic))
    }

    /// Bytes that the table covers.
    pub(crate) fn len(&self) -> usize {
        self.fields.last().map_or(0, FieldSpec::end)
    }

    /// The numbers of the structure.
    pub(crate) fn cells(&self, block: &BlockBytes) -> Vec<Cell> {
        let mut cells = Vec::new();
        for field in self.fields {
            if field.parts.is_empty() {
                let units = units(field, 8, block);
                cells.extend(units.map(|(offset, len)| Cell { name: field.name, offset, len }));
                continue;
            }
            let len = field.parts.last().map_or(0, FieldSpec::end);
            for (start, _) in units(field, len, block) {
                let parts = field.parts.iter();
                cells.extend(parts.map(|part| Cell { name: part.name, offset: start + part.offset, len: part.len }));
            }
        }
        cells
    }

    /// The cell of a field that is one number.
    pub(crate) fn cell(&self, name: &str) -> Option<Cell> {
        let field = self.fields.iter().find(|field| field.name == name && field.len <= 8)?;
        Some(Cell { name: field.name, offset: field.offset, len: field.len })
    }

    /// Makes the CRC of a block fit what stands before it.
    pub(crate) fn mend(&self, block: &mut BlockBytes) {
        let crc = self.cell("crc").expect("every structure has a crc");
        let value = crc32(&block[..crc.offset]);
        crc.put(block, value.into());
    }
}

/// The places in a field, `len` bytes each, the last one perhaps less: a few that are in use, the last of those, the first
/// that is not in use, and the last of all.
fn units(field: &FieldSpec, len: usize, block: &BlockBytes) -> impl Iterator<Item = (usize, usize)> {
    let places: Vec<(usize, usize)> =
        (field.offset..field.end()).step_by(len).map(|start| (start, len.min(field.end() - start))).collect();
    let (used, unused): (Vec<_>, Vec<_>) =
        places.iter().copied().partition(|(start, len)| block[*start..start + len].iter().any(|byte| *byte != 0));
    let mut picked: Vec<_> = used.iter().copied().take(PICKED).collect();
    picked.extend(used.last());
    picked.extend(unused.first());
    picked.extend(places.last());
    picked.sort_unstable();
    picked.dedup();
    picked.into_iter()
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;
    use std::path::Path;

    use super::{Cell, FieldSpec, STRUCTURES, Structure};
    use crate::format::{BLOCK_LEN, TwinEntry, encode_void};
    use crate::ids::FileId;

    /// A table in a header that is in no list would be met by no test of damage.
    #[test]
    fn every_table_of_the_format_is_listed() {
        let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("src/format");
        let mut found = BTreeSet::new();
        for file in std::fs::read_dir(folder).unwrap() {
            let source = std::fs::read_to_string(file.unwrap().path()).unwrap();
            let header: Vec<&str> = source.lines().take_while(|line| line.starts_with("//!")).collect();
            for (at, _) in header.iter().enumerate().filter(|(_, line)| line.starts_with("//! | offset")) {
                let caption = header[..at].iter().rev().find_map(|line| line.strip_prefix("//! # "));
                found.insert(caption.expect("a table has a caption").to_owned());
            }
        }
        let parts = STRUCTURES.iter().flat_map(|structure| structure.fields).map(|field| field.parts);
        assert!(parts.clone().any(|parts| parts == TwinEntry::FIELDS));
        let listed = STRUCTURES.iter().map(|structure| structure.caption).chain([
            "Reserved region",
            "Twin entry",
            "Free-map row",
            "Turned row",
            "Placed row",
            // Pages of tables, which opening does not read: `tests/subpages/table_bad.rs` damages them.
            "Table root",
            "Table branch and node",
            "Table record",
            // Not of a pager's file.
            "Increment",
            "Piece",
            "End of an increment",
        ]);
        assert_eq!(found, listed.map(str::to_owned).collect());
    }

    #[test]
    fn parts_fill_the_field_that_holds_them() {
        for field in STRUCTURES.iter().flat_map(|structure| structure.fields).filter(|field| !field.parts.is_empty()) {
            assert_eq!(field.len % field.parts.last().map_or(1, FieldSpec::end), 0, "{}", field.name);
        }
    }

    #[test]
    fn every_field_has_a_cell_and_no_two_cells_overlap() {
        for structure in &STRUCTURES {
            for byte in [0, 1] {
                let cells = structure.cells(&[byte; BLOCK_LEN]);
                let ends = cells.windows(2).all(|pair| pair[0].offset + pair[0].len <= pair[1].offset);
                assert!(ends && cells.iter().all(|cell| cell.len <= 8), "{}", structure.caption);
                for field in structure.fields {
                    let within = |cell: &&Cell| (field.offset..field.end()).contains(&cell.offset);
                    assert!(cells.iter().any(|cell| within(&cell)), "{} of {}", field.name, structure.caption);
                }
            }
        }
    }

    #[test]
    fn a_block_is_known_by_its_magic_and_mended_as_its_encoder_would() {
        let block = encode_void(7, FileId::new([5; 16]));
        let structure = Structure::of(&block).unwrap();
        assert_eq!((structure.caption, structure.len()), ("Void record", 64));
        let generation = structure.cell("generation").unwrap();
        assert_eq!(generation.get(&block), 7);
        let mut forged = block;
        generation.put(&mut forged, 8);
        structure.mend(&mut forged);
        assert_eq!(forged, encode_void(8, FileId::new([5; 16])));
        assert!(Structure::of(&[0; BLOCK_LEN]).is_none());
    }
}
