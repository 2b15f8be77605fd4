//! The void record: what stands in place of a refused candidate.
//!
//! A record that recovery refused must be destroyed durably before anything is staged, or a later commit that happens
//! to write the same bytes as the attempt did would bring it back to life. The same record stands in a slot and in a
//! copy of the metadata, and in those of a new file that were never written. It keeps the file id, so that the identity
//! can be looked for in it, and the generation that it refused, so that this number is free again.
//!
//! # Void record
//!
//! The rest of the block is zeros.
//!
//! | offset | size | field      |
//! |-------:|-----:|------------|
//! |      0 |    8 | magic      |
//! |      8 |   16 | file id    |
//! |     24 |    8 | generation |
//! |     32 |   28 | reserved   |
//! |     60 |    4 | crc        |

use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::{BLOCK_LEN, BlockBytes, Defect, MAX_GENERATION, check_at_most, check_equal};
use crate::ids::FileId;

const VOID_MAGIC: u64 = u64::from_le_bytes(*b"DIPvoid\0");

/// That a slot or a copy of the metadata holds no commit.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Void {
    /// The generation that was refused; 0 where nothing was ever written.
    pub(super) generation: u64,
    /// The file to which the record belongs.
    pub(super) file_id: FileId,
}

impl Void {
    const LEN: usize = 64;
    const MAGIC: Field<8> = Field::at(0);
    const FILE_ID: Field<16> = Self::MAGIC.then();
    const GENERATION: Field<8> = Self::FILE_ID.then();
    const RESERVED: Field<28> = Self::GENERATION.then();
    const CRC: Field<4> = Self::RESERVED.then();

    #[cfg(test)]
    pub(super) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::FILE_ID.spec("file id"),
        Self::GENERATION.spec("generation"),
        Self::RESERVED.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    /// Whether a block claims to be a void record, which its CRC has yet to prove.
    pub(super) fn is_claimed_by(block: &BlockBytes) -> bool {
        Self::MAGIC.get_u64(block) == VOID_MAGIC
    }

    /// The block that holds the record.
    pub(super) fn encode(self) -> BlockBytes {
        assert!(self.generation <= MAX_GENERATION, "no generation is above the last, so none such is refused");
        let mut block = [0; BLOCK_LEN];
        Self::MAGIC.put_u64(&mut block, VOID_MAGIC);
        Self::FILE_ID.put(&mut block, self.file_id.to_bytes());
        Self::GENERATION.put_u64(&mut block, self.generation);
        put_crc(&mut block, Self::CRC);
        block
    }

    /// The record that a block holds.
    pub(super) fn decode(block: &BlockBytes) -> Result<Void, Defect> {
        check_equal("magic", VOID_MAGIC, Self::MAGIC.get_u64(block))?;
        check_crc(block, Self::CRC)?;
        let generation = Self::GENERATION.get_u64(block);
        check_at_most("generation", MAX_GENERATION, generation)?;
        Ok(Void { generation, file_id: FileId::new(Self::FILE_ID.get(block)) })
    }
}

const _: () = assert!(Void::CRC.end() == Void::LEN, "a void record fits into one sector");

/// The block that destroys a copy of the metadata, or stands in one that was never written.
pub(crate) fn encode_void(generation: u64, file_id: FileId) -> BlockBytes {
    Void { generation, file_id }.encode()
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Void, encode_void};
    use crate::format::{Defect, MAX_GENERATION, specimen};
    use crate::ids::FileId;

    const FILE_ID: FileId = FileId::new(*b"0123456789abcdef");

    #[test]
    fn the_table_is_the_chain() {
        specimen::assert_table_matches_chain(include_str!("void.rs"), "Void record", Void::FIELDS, Void::LEN);
    }

    #[test]
    fn golden_bytes() {
        let block = encode_void(7, FILE_ID);
        assert_eq!(
            specimen::hex(&block),
            [
                "0000: 444950766f6964003031323334353637",
                "0016: 38396162636465660700000000000000",
                "0048: 000000000000000000000000ba679db6"
            ]
        );
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        specimen::assert_every_flipped_bit_is_detected(&encode_void(7, FILE_ID), Void::LEN, Void::decode);
    }

    #[test]
    fn a_generation_above_the_last_is_refused() {
        let block = specimen::forged(&encode_void(7, FILE_ID), Void::CRC, |block| {
            Void::GENERATION.put_u64(block, MAX_GENERATION + 1);
        });
        let defect = Defect { field: "generation", expected: MAX_GENERATION, found: MAX_GENERATION + 1 };
        assert_eq!(Void::decode(&block), Err(defect));
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(generation in 0..=MAX_GENERATION, file_id in any::<[u8; 16]>()) {
            let file_id = FileId::new(file_id);
            let block = encode_void(generation, file_id);
            assert!(Void::is_claimed_by(&block));
            assert_eq!(Void::decode(&block), Ok(Void { generation, file_id }));
        }

        #[test]
        fn a_whole_record_decodes_to_what_encodes_to_it(
            block in specimen::forgeries(encode_void(7, FILE_ID), Void::FIELDS, Void::CRC)
        ) {
            if let Ok(void) = Void::decode(&block) {
                assert_eq!(Void::decode(&void.encode()), Ok(void));
            }
        }
    }
}
