//! The commit slots: which commit stands, on which metadata, and what was changed on top of it.
//!
//! A commit writes the slot that is not the newest durable one; the whole slot of the highest generation is the last
//! commit. A *checkpoint* writes metadata of its own and a slot that names it and has no rows. A *small commit* writes a
//! slot alone: it names the metadata of the last checkpoint again, and its rows say all that has changed since, its own
//! changes and those of the small commits before it. So two slots are enough, and each of them says everything.
//!
//! # Commit slot
//!
//! The metadata checksum is the keyed checksum of the whole metadata block. Flag 1 says that all that the commit wrote was
//! behind a barrier before its slot; without it the commit counts if every copy that it wrote is there. The totals, the
//! counts and the application header are those of the commit. The twelve bytes behind the CRC are no part of the slot: opening
//! writes to them to see whether the file's map shows what is written.
//!
//! What the [rows](super::change_rows) do not fill is reserved.
//!
//! | offset | size | field              |
//! |-------:|-----:|--------------------|
//! |      0 |    8 | magic              |
//! |      8 |   16 | file id            |
//! |     24 |    8 | generation         |
//! |     32 |    4 | metadata copy      |
//! |     36 |    4 | flags              |
//! |     40 |    8 | metadata checksum  |
//! |     48 |    8 | metadata generation |
//! |     56 |    8 | total pages        |
//! |     64 |    8 | regular pages      |
//! |     72 |    8 | engine pages       |
//! |     80 |    8 | table-owned pages  |
//! |     88 |    8 | protected pages    |
//! |     96 |  128 | application header |
//! |    224 |    4 | free-map rows      |
//! |    228 |    4 | turned rows        |
//! |    232 |    4 | placed rows        |
//! |    236 |    4 | reserved           |
//! |    240 | 3840 | rows               |
//! |   4080 |    4 | crc                |

use super::change_rows::{ChangeRows, ROWS_LEN};
use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::metadata::PageCounts;
use super::void::Void;
use super::{BLOCK_LEN, BlockBytes, Defect, HEADER_LEN, check_at_most, check_equal, check_file_id, check_generation};
use crate::block::TwinCopy;
use crate::ids::FileId;

/// Flag 1 of a slot.
const BEHIND_BARRIER: u32 = 1;

/// Small commits that can follow one checkpoint, bounded by the bits in a turned row.
pub(crate) const MAX_STEPS: u64 = (1 << 23) - 1;

/// A commit.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The number of the commit.
    pub(crate) generation: u64,
    /// The copy of the metadata that it stands on.
    pub(crate) copy: TwinCopy,
    /// The keyed checksum of that copy.
    pub(crate) metadata_checksum: u64,
    /// The commit that wrote that copy: this one if it is a checkpoint.
    pub(crate) metadata_generation: u64,
    /// What the commit wrote passed a barrier before its slot. Otherwise it has to prove itself.
    pub(crate) behind_barrier: bool,
    /// Pages in the file.
    pub(crate) total_pages: u64,
    /// What they are used for.
    pub(crate) counts: PageCounts,
    /// The bytes that belong to the user.
    pub(crate) header: [u8; HEADER_LEN],
    /// Where the commit differs from the metadata.
    pub(crate) rows: ChangeRows,
}

/// What stands in a slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum SlotRecord {
    /// A commit.
    Commit(Box<Slot>),
    /// A refused commit was destroyed here, or nothing was ever written.
    Void {
        /// The generation that was refused; 0 where nothing was ever written.
        generation: u64,
    },
}

impl Slot {
    const MAGIC: Field<8> = Field::at(0);
    const FILE_ID: Field<16> = Self::MAGIC.then();
    const GENERATION: Field<8> = Self::FILE_ID.then();
    const COPY: Field<4> = Self::GENERATION.then();
    const FLAGS: Field<4> = Self::COPY.then();
    const CHECKSUM: Field<8> = Self::FLAGS.then();
    const METADATA_GENERATION: Field<8> = Self::CHECKSUM.then();
    const TOTAL: Field<8> = Self::METADATA_GENERATION.then();
    const REGULAR: Field<8> = Self::TOTAL.then();
    const ENGINE: Field<8> = Self::REGULAR.then();
    const TABLE_OWNED: Field<8> = Self::ENGINE.then();
    const PROTECTED: Field<8> = Self::TABLE_OWNED.then();
    const HEADER: Field<HEADER_LEN> = Self::PROTECTED.then();
    const WORDS: Field<4> = Self::HEADER.then();
    const TURNED: Field<4> = Self::WORDS.then();
    const PLACED: Field<4> = Self::TURNED.then();
    const RESERVED: Field<4> = Self::PLACED.then();
    const ROWS: Field<ROWS_LEN> = Self::RESERVED.then();
    const CRC: Field<4> = Self::ROWS.then();
    const LEN: usize = Self::CRC.end();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::FILE_ID.spec("file id"),
        Self::GENERATION.spec("generation"),
        Self::COPY.spec("metadata copy"),
        Self::FLAGS.spec("flags"),
        Self::CHECKSUM.spec("metadata checksum"),
        Self::METADATA_GENERATION.spec("metadata generation"),
        Self::TOTAL.spec("total pages"),
        Self::REGULAR.spec("regular pages"),
        Self::ENGINE.spec("engine pages"),
        Self::TABLE_OWNED.spec("table-owned pages"),
        Self::PROTECTED.spec("protected pages"),
        Self::HEADER.spec("application header"),
        Self::WORDS.spec("free-map rows"),
        Self::TURNED.spec("turned rows"),
        Self::PLACED.spec("placed rows"),
        Self::RESERVED.spec("reserved"),
        Self::ROWS.spec("rows"),
        Self::CRC.spec("crc"),
    ];

    /// Whether the commit wrote the metadata that it names.
    pub(crate) fn is_checkpoint(&self) -> bool {
        self.metadata_generation == self.generation
    }

    /// The block at one of the [`SLOT_OFFSETS`](super::SLOT_OFFSETS).
    pub(crate) fn encode(&self, file_id: FileId) -> BlockBytes {
        assert_eq!(self.check(), Ok(()), "the engine commits what a reader accepts");
        let count = |rows: usize| u32::try_from(rows).expect("the rows of a slot are few");
        let [words, turned, placed] = self.rows.lens().map(count);
        let mut block = [0; BLOCK_LEN];
        Self::MAGIC.put_u64(&mut block, SLOT_MAGIC);
        Self::FILE_ID.put(&mut block, file_id.to_bytes());
        Self::GENERATION.put_u64(&mut block, self.generation);
        Self::COPY.put_u32(&mut block, u32::from(self.copy == TwinCopy::B));
        Self::FLAGS.put_u32(&mut block, if self.behind_barrier { BEHIND_BARRIER } else { 0 });
        Self::CHECKSUM.put_u64(&mut block, self.metadata_checksum);
        Self::METADATA_GENERATION.put_u64(&mut block, self.metadata_generation);
        Self::TOTAL.put_u64(&mut block, self.total_pages);
        Self::REGULAR.put_u64(&mut block, self.counts.regular);
        Self::ENGINE.put_u64(&mut block, self.counts.engine);
        Self::TABLE_OWNED.put_u64(&mut block, self.counts.table_owned);
        Self::PROTECTED.put_u64(&mut block, self.counts.protected);
        Self::HEADER.put(&mut block, self.header);
        Self::WORDS.put_u32(&mut block, words);
        Self::TURNED.put_u32(&mut block, turned);
        Self::PLACED.put_u32(&mut block, placed);
        self.rows.encode(self.metadata_generation, Self::ROWS.bytes_mut(&mut block));
        put_crc(&mut block, Self::CRC);
        block
    }

    fn decode(block: &BlockBytes, file_id: FileId) -> Result<Slot, Defect> {
        check_equal("magic", SLOT_MAGIC, Self::MAGIC.get_u64(block))?;
        check_crc(block, Self::CRC)?;
        check_file_id(file_id, FileId::new(Self::FILE_ID.get(block)))?;
        let generation = Self::GENERATION.get_u64(block);
        let metadata_generation = Self::METADATA_GENERATION.get_u64(block);
        check_generations(generation, metadata_generation)?;
        let copy = match Self::COPY.get_u32(block) {
            0 => TwinCopy::A,
            1 => TwinCopy::B,
            found => return Err(Defect { field: "metadata copy", expected: 1, found: found.into() }),
        };
        let flags = Self::FLAGS.get_u32(block);
        check_at_most("flags", BEHIND_BARRIER, flags)?;
        let lens = [Self::WORDS, Self::TURNED, Self::PLACED].map(|field| field.get_u32(block));
        let slot = Slot {
            generation,
            copy,
            metadata_checksum: Self::CHECKSUM.get_u64(block),
            metadata_generation,
            behind_barrier: flags == BEHIND_BARRIER,
            total_pages: Self::TOTAL.get_u64(block),
            counts: PageCounts {
                regular: Self::REGULAR.get_u64(block),
                engine: Self::ENGINE.get_u64(block),
                table_owned: Self::TABLE_OWNED.get_u64(block),
                protected: Self::PROTECTED.get_u64(block),
            },
            header: Self::HEADER.get(block),
            rows: ChangeRows::decode(lens, metadata_generation, Self::ROWS.bytes(block))?,
        };
        slot.check()?;
        Ok(slot)
    }

    /// What every slot fulfils, read or written.
    fn check(&self) -> Result<(), Defect> {
        check_generations(self.generation, self.metadata_generation)?;
        if self.is_checkpoint() {
            check_equal("rows", 0u64, ChangeRows::len_bytes(self.rows.lens()) as u64)?;
        }
        self.rows.check(self.generation, self.metadata_generation)
    }
}

const SLOT_MAGIC: u64 = u64::from_le_bytes(*b"DIPslot\0");

const _: () = assert!(Slot::LEN + 8 <= BLOCK_LEN, "a slot leaves room for the probe of coherence");

/// A commit stands on metadata that is not younger than itself, nor much older.
fn check_generations(generation: u64, metadata_generation: u64) -> Result<(), Defect> {
    check_generation(generation)?;
    let least = generation.saturating_sub(MAX_STEPS).max(1);
    if metadata_generation < least {
        return Err(Defect { field: "metadata generation", expected: least, found: metadata_generation });
    }
    check_at_most("metadata generation", generation, metadata_generation)
}

impl SlotRecord {
    /// The block at one of the [`SLOT_OFFSETS`](super::SLOT_OFFSETS).
    pub(crate) fn encode(&self, file_id: FileId) -> BlockBytes {
        match self {
            SlotRecord::Commit(slot) => slot.encode(file_id),
            SlotRecord::Void { generation } => Void { generation: *generation, file_id }.encode(),
        }
    }

    /// The record that a block holds. One of another file, left behind by a copied or recycled disk, is a defect.
    pub(crate) fn decode(block: &BlockBytes, file_id: FileId) -> Result<SlotRecord, Defect> {
        if !Void::is_claimed_by(block) {
            return Slot::decode(block, file_id).map(|slot| SlotRecord::Commit(Box::new(slot)));
        }
        let void = Void::decode(block)?;
        check_file_id(file_id, void.file_id)?;
        Ok(SlotRecord::Void { generation: void.generation })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{ChangeRows, MAX_STEPS, PageCounts, ROWS_LEN, Slot, SlotRecord};
    use crate::block::TwinCopy;
    use crate::format::change_rows::{MapWord, PlacedTwin, TurnedTwin, specimen_rows};
    use crate::format::{BLOCK_LEN, Defect, MAX_GENERATION, TwinEntry, encode_void, specimen};
    use crate::ids::FileId;

    const FILE_ID: FileId = FileId::new(*b"0123456789abcdef");

    fn checkpoint() -> Slot {
        let mut header = [0; 128];
        (header[0], header[127]) = (0xaa, 0xbb);
        Slot {
            generation: 0x0102_0304_0506_0708,
            copy: TwinCopy::B,
            metadata_checksum: 0x1112_1314_1516_1718,
            metadata_generation: 0x0102_0304_0506_0708,
            behind_barrier: true,
            total_pages: 0x2122,
            counts: PageCounts { regular: 0x31, engine: 0x32, table_owned: 0x33, protected: 0x34 },
            header,
            rows: ChangeRows::default(),
        }
    }

    fn small() -> Slot {
        let metadata_generation = checkpoint().generation - 3;
        let rows = ChangeRows {
            words: vec![MapWord { word: 0x41, low: 0x42, high: 0x43 }],
            turned: vec![TurnedTwin {
                index: 0x51,
                live: TwinCopy::B,
                generation: metadata_generation + 2,
                checksum: 0x52,
            }],
            placed: vec![
                PlacedTwin { index: 0x61, entry: TwinEntry::EMPTY },
                PlacedTwin {
                    index: 0x62,
                    entry: TwinEntry {
                        copies: [0x63, 0x64],
                        live: TwinCopy::A,
                        generation: metadata_generation + 1,
                        checksum: 0x65,
                    },
                },
            ],
        };
        Slot { metadata_generation, behind_barrier: false, rows, ..checkpoint() }
    }

    fn commit(slot: Slot) -> SlotRecord {
        SlotRecord::Commit(Box::new(slot))
    }

    fn slots() -> impl Strategy<Value = SlotRecord> {
        let place = (1..=MAX_GENERATION, 0..=MAX_STEPS, any::<bool>(), any::<bool>(), any::<u64>());
        let totals = (any::<[u64; 5]>(), any::<u8>());
        let small = (place, totals).prop_flat_map(|((generation, steps, is_b, behind, checksum), totals)| {
            let metadata_generation = generation.saturating_sub(steps).max(1);
            specimen_rows(generation, metadata_generation).prop_map(move |rows| {
                let ([total_pages, regular, engine, table_owned, protected], byte) = totals;
                commit(Slot {
                    generation,
                    copy: if is_b { TwinCopy::B } else { TwinCopy::A },
                    metadata_checksum: checksum,
                    metadata_generation,
                    behind_barrier: behind,
                    total_pages,
                    counts: PageCounts { regular, engine, table_owned, protected },
                    header: [byte; 128],
                    rows,
                })
            })
        });
        let void = (0..=MAX_GENERATION).prop_map(|generation| SlotRecord::Void { generation });
        prop::strategy::Union::new([small.boxed(), void.boxed()])
    }

    #[test]
    fn the_table_is_the_chain() {
        let source = include_str!("slot.rs");
        specimen::assert_table_matches_chain(source, "Commit slot", Slot::FIELDS, Slot::LEN);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            specimen::hex(&commit(checkpoint()).encode(FILE_ID)),
            [
                "0000: 444950736c6f74003031323334353637",
                "0016: 38396162636465660807060504030201",
                "0032: 01000000010000001817161514131211",
                "0048: 08070605040302012221000000000000",
                "0064: 31000000000000003200000000000000",
                "0080: 33000000000000003400000000000000",
                "0096: aa000000000000000000000000000000",
                "0208: 000000000000000000000000000000bb",
                "4080: 470ce15c000000000000000000000000"
            ]
        );
        assert_eq!(
            specimen::hex(&commit(small()).encode(FILE_ID)),
            [
                "0000: 444950736c6f74003031323334353637",
                "0016: 38396162636465660807060504030201",
                "0032: 01000000000000001817161514131211",
                "0048: 05070605040302012221000000000000",
                "0064: 31000000000000003200000000000000",
                "0080: 33000000000000003400000000000000",
                "0096: aa000000000000000000000000000000",
                "0208: 000000000000000000000000000000bb",
                "0224: 01000000010000000200000000000000",
                "0240: 41000000000000004200000000000000",
                "0256: 43000000000000005100000000050000",
                "0272: 52000000000000006100000000000000",
                "0320: 62000000000000006300000000000000",
                "0336: 64000000000000000c0e0c0a08060402",
                "0352: 65000000000000000000000000000000",
                "4080: 6ef410ab000000000000000000000000"
            ]
        );
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        for (record, len) in
            [(commit(checkpoint()), Slot::LEN), (commit(small()), Slot::LEN), (SlotRecord::Void { generation: 3 }, 64)]
        {
            specimen::assert_every_flipped_bit_is_detected(&record.encode(FILE_ID), len, |block| {
                SlotRecord::decode(block, FILE_ID)
            });
        }
    }

    /// What a block that a broken writer, or somebody hostile, made of a slot is refused for.
    fn defect_after(slot: Slot, change: impl FnOnce(&mut [u8])) -> Defect {
        let block = specimen::forged(&commit(slot).encode(FILE_ID), Slot::CRC, change);
        SlotRecord::decode(&block, FILE_ID).unwrap_err()
    }

    #[test]
    fn a_slot_refuses_what_no_commit_writes() {
        let defect = |field, expected, found| Defect { field, expected, found };
        let generation = checkpoint().generation;
        let last = MAX_GENERATION;
        assert_eq!(defect_after(small(), |block| Slot::GENERATION.put_u64(block, 0)), defect("generation", 1, 0));
        let beyond = defect_after(small(), |block| Slot::GENERATION.put_u64(block, last + 1));
        assert_eq!(beyond, defect("generation", last, last + 1));
        let copy = defect_after(small(), |block| Slot::COPY.put_u32(block, 2));
        assert_eq!(copy, defect("metadata copy", 1, 2));
        let flags = defect_after(small(), |block| Slot::FLAGS.put_u32(block, 4));
        assert_eq!(flags, defect("flags", 1, 4));
        let younger = defect_after(small(), |block| Slot::METADATA_GENERATION.put_u64(block, generation + 1));
        assert_eq!(younger, defect("metadata generation", generation, generation + 1));
        let older = defect_after(checkpoint(), |block| {
            Slot::METADATA_GENERATION.put_u64(block, generation - MAX_STEPS - 1);
        });
        assert_eq!(older, defect("metadata generation", generation - MAX_STEPS, generation - MAX_STEPS - 1));
    }

    #[test]
    fn a_checkpoint_has_no_rows() {
        let defect = |field, expected, found| Defect { field, expected, found };
        assert_eq!(defect_after(checkpoint(), |block| Slot::WORDS.put_u32(block, 1)), defect("rows", 0, 24));
    }

    #[test]
    fn more_rows_than_there_is_room_for_are_refused() {
        let room = ROWS_LEN as u64;
        let found = defect_after(small(), |block| Slot::WORDS.put_u32(block, u32::MAX));
        assert_eq!((found.field, found.expected), ("rows", room));
        assert!(found.found > room);
    }

    #[test]
    fn a_record_of_another_file_is_refused() {
        let other = FileId::new([0xff; 16]);
        for block in [commit(small()).encode(other), encode_void(0, other)] {
            assert_eq!(SlotRecord::decode(&block, FILE_ID).unwrap_err().field, "file id");
            assert!(SlotRecord::decode(&block, other).is_ok());
        }
    }

    #[test]
    fn a_blank_slot_is_a_defect_of_the_magic() {
        let expected = u64::from_le_bytes(*b"DIPslot\0");
        let defect = Defect { field: "magic", expected, found: 0 };
        assert_eq!(SlotRecord::decode(&[0; BLOCK_LEN], FILE_ID), Err(defect));
    }

    #[test]
    #[should_panic(expected = "the engine commits what a reader accepts")]
    fn encoding_a_commit_without_a_generation_is_a_bug() {
        commit(Slot { generation: 0, ..checkpoint() }).encode(FILE_ID);
    }

    proptest! {
        #[test]
        fn a_record_that_is_encoded_is_decoded(record in slots(), file_id in any::<[u8; 16]>()) {
            let file_id = FileId::new(file_id);
            assert_eq!(SlotRecord::decode(&record.encode(file_id), file_id), Ok(record));
        }

        #[test]
        fn what_decodes_encodes_again(
            slot in specimen::forgeries(commit(small()).encode(FILE_ID), Slot::FIELDS, Slot::CRC),
        ) {
            if let Ok(record) = SlotRecord::decode(&slot, FILE_ID) {
                assert_eq!(SlotRecord::decode(&record.encode(FILE_ID), FILE_ID), Ok(record));
            }
        }

        #[test]
        fn noise_is_refused(slot in specimen::noise(b"DIPslot\0")) {
            assert!(SlotRecord::decode(&slot, FILE_ID).is_err());
        }
    }
}
