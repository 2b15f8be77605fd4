//! The superblock: who the file is, and which commit stands.
//!
//! The identity is written once. A commit writes the slot that is not the newest durable one; the whole slot of the
//! highest generation is the last commit, and names the copy of the metadata that belongs to it. Each of the three has
//! a block of its own, so that tearing one cannot reach another, and is 64 bytes long, so that no sector boundary runs
//! through it. The rest of each block is zeros and is not looked at.
//!
//! # Identity
//!
//! | offset | size | field          |
//! |-------:|-----:|----------------|
//! |      0 |    8 | magic          |
//! |      8 |    4 | format version |
//! |     12 |    4 | page size      |
//! |     16 |   16 | file id        |
//! |     32 |   28 | reserved       |
//! |     60 |    4 | crc            |
//!
//! # Commit slot
//!
//! The metadata checksum is the keyed checksum of the whole metadata block. There are no flags in format 0.
//!
//! | offset | size | field             |
//! |-------:|-----:|-------------------|
//! |      0 |    8 | magic             |
//! |      8 |   16 | file id           |
//! |     24 |    8 | generation        |
//! |     32 |    4 | metadata copy     |
//! |     36 |    4 | flags             |
//! |     40 |    8 | metadata checksum |
//! |     48 |   12 | reserved          |
//! |     60 |    4 | crc               |

use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::void::Void;
use super::{
    BLOCK_LEN, BlockBytes, Defect, FORMAT_VERSION, MAX_PAGE_SIZE, MIN_PAGE_SIZE, check_equal, check_file_id,
    check_generation,
};
use crate::block::TwinCopy;
use crate::ids::FileId;

/// The first eight bytes of a file, little-endian.
pub(crate) const IDENTITY_MAGIC: u64 = u64::from_le_bytes(*b"DIPTYCH\0");

const SLOT_MAGIC: u64 = u64::from_le_bytes(*b"DIPslot\0");

/// What a file is from its creation on. The metadata repeats it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Identity {
    /// Length of a page in bytes.
    pub(crate) page_size: u32,
    /// The name of the file.
    pub(crate) file_id: FileId,
}

/// Why a block holds no identity. Three things to tell a user apart: another program's file, another version's, a bad
/// one.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IdentityDefect {
    /// The file begins with something else.
    NotDiptych {
        /// Its first eight bytes, little-endian.
        found: u64,
    },
    /// The identity is whole, of a format that this crate does not read.
    Version {
        /// The version of the format.
        found: u32,
    },
    /// The identity is torn or rotten. Its version, if it shows another, is as bad as the rest.
    Damaged(Defect),
}

impl Identity {
    const LEN: usize = 64;
    const MAGIC: Field<8> = Field::at(0);
    const VERSION: Field<4> = Self::MAGIC.then();
    const PAGE_SIZE: Field<4> = Self::VERSION.then();
    const FILE_ID: Field<16> = Self::PAGE_SIZE.then();
    const RESERVED: Field<28> = Self::FILE_ID.then();
    const CRC: Field<4> = Self::RESERVED.then();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::VERSION.spec("format version"),
        Self::PAGE_SIZE.spec("page size"),
        Self::FILE_ID.spec("file id"),
        Self::RESERVED.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    /// The block at [`IDENTITY_OFFSET`](super::IDENTITY_OFFSET).
    pub(crate) fn encode(&self) -> BlockBytes {
        assert_eq!(check_page_size(self.page_size), Ok(()), "a file has pages of a size that the format allows");
        let mut block = [0; BLOCK_LEN];
        Self::MAGIC.put_u64(&mut block, IDENTITY_MAGIC);
        Self::VERSION.put_u32(&mut block, FORMAT_VERSION);
        Self::PAGE_SIZE.put_u32(&mut block, self.page_size);
        Self::FILE_ID.put(&mut block, self.file_id.to_bytes());
        put_crc(&mut block, Self::CRC);
        block
    }

    /// The identity that a block holds. The CRC is compared before the version: a flipped bit of the version is damage,
    /// and must not send the user looking for another release.
    pub(crate) fn decode(block: &BlockBytes) -> Result<Identity, IdentityDefect> {
        let found = Self::MAGIC.get_u64(block);
        if found != IDENTITY_MAGIC {
            return Err(IdentityDefect::NotDiptych { found });
        }
        check_crc(block, Self::CRC).map_err(IdentityDefect::Damaged)?;
        let found = Self::VERSION.get_u32(block);
        if found != FORMAT_VERSION {
            return Err(IdentityDefect::Version { found });
        }
        let page_size = Self::PAGE_SIZE.get_u32(block);
        check_page_size(page_size).map_err(IdentityDefect::Damaged)?;
        Ok(Identity { page_size, file_id: FileId::new(Self::FILE_ID.get(block)) })
    }
}

const _: () = assert!(Identity::CRC.end() == Identity::LEN, "an identity fits into one sector");

/// A page is a power of two between the smallest and the largest; the metadata is held to it as well.
pub(super) fn check_page_size(found: u32) -> Result<(), Defect> {
    let found = u64::from(found);
    let [min, max] = [MIN_PAGE_SIZE, MAX_PAGE_SIZE].map(|size| u64::try_from(size).unwrap_or(u64::MAX));
    check_equal("page size", found.clamp(min, max).next_power_of_two(), found)
}

/// A commit: the generation, and the metadata that belongs to it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Slot {
    /// The number of the commit.
    pub(crate) generation: u64,
    /// The copy of the metadata that this commit wrote.
    pub(crate) copy: TwinCopy,
    /// The keyed checksum of that copy.
    pub(crate) metadata_checksum: u64,
}

/// What stands in a slot.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum SlotRecord {
    /// A commit.
    Commit(Slot),
    /// A refused commit was destroyed here, or nothing was ever written.
    Void {
        /// The generation that was refused; 0 where nothing was ever written.
        generation: u64,
    },
}

impl Slot {
    const LEN: usize = 64;
    const MAGIC: Field<8> = Field::at(0);
    const FILE_ID: Field<16> = Self::MAGIC.then();
    const GENERATION: Field<8> = Self::FILE_ID.then();
    const COPY: Field<4> = Self::GENERATION.then();
    const FLAGS: Field<4> = Self::COPY.then();
    const CHECKSUM: Field<8> = Self::FLAGS.then();
    const RESERVED: Field<12> = Self::CHECKSUM.then();
    const CRC: Field<4> = Self::RESERVED.then();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::FILE_ID.spec("file id"),
        Self::GENERATION.spec("generation"),
        Self::COPY.spec("metadata copy"),
        Self::FLAGS.spec("flags"),
        Self::CHECKSUM.spec("metadata checksum"),
        Self::RESERVED.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    fn encode(&self, file_id: FileId) -> BlockBytes {
        assert_eq!(check_generation(self.generation), Ok(()), "a commit has a generation");
        let mut block = [0; BLOCK_LEN];
        Self::MAGIC.put_u64(&mut block, SLOT_MAGIC);
        Self::FILE_ID.put(&mut block, file_id.to_bytes());
        Self::GENERATION.put_u64(&mut block, self.generation);
        Self::COPY.put_u32(&mut block, u32::from(self.copy == TwinCopy::B));
        Self::CHECKSUM.put_u64(&mut block, self.metadata_checksum);
        put_crc(&mut block, Self::CRC);
        block
    }

    fn decode(block: &BlockBytes, file_id: FileId) -> Result<Slot, Defect> {
        check_equal("magic", SLOT_MAGIC, Self::MAGIC.get_u64(block))?;
        check_crc(block, Self::CRC)?;
        check_file_id(file_id, FileId::new(Self::FILE_ID.get(block)))?;
        let generation = Self::GENERATION.get_u64(block);
        check_generation(generation)?;
        let copy = match Self::COPY.get_u32(block) {
            0 => TwinCopy::A,
            1 => TwinCopy::B,
            found => return Err(Defect { field: "metadata copy", expected: 1, found: found.into() }),
        };
        check_equal("flags", 0u32, Self::FLAGS.get_u32(block))?;
        Ok(Slot { generation, copy, metadata_checksum: Self::CHECKSUM.get_u64(block) })
    }
}

const _: () = assert!(Slot::CRC.end() == Slot::LEN, "a slot fits into one sector");

impl SlotRecord {
    /// The block at one of the [`SLOT_OFFSETS`](super::SLOT_OFFSETS).
    pub(crate) fn encode(&self, file_id: FileId) -> BlockBytes {
        match *self {
            SlotRecord::Commit(slot) => slot.encode(file_id),
            SlotRecord::Void { generation } => Void { generation, file_id }.encode(),
        }
    }

    /// The record that a block holds. One of another file, left behind by a copied or recycled disk, is a defect.
    pub(crate) fn decode(block: &BlockBytes, file_id: FileId) -> Result<SlotRecord, Defect> {
        if !Void::is_claimed_by(block) {
            return Slot::decode(block, file_id).map(SlotRecord::Commit);
        }
        let void = Void::decode(block)?;
        check_file_id(file_id, void.file_id)?;
        Ok(SlotRecord::Void { generation: void.generation })
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{IDENTITY_MAGIC, Identity, IdentityDefect, Slot, SlotRecord};
    use crate::block::TwinCopy;
    use crate::format::{BLOCK_LEN, Defect, MAX_GENERATION, encode_void, specimen};
    use crate::ids::FileId;

    const FILE_ID: FileId = FileId::new(*b"0123456789abcdef");
    const IDENTITY: Identity = Identity { page_size: 4096, file_id: FILE_ID };
    const COMMIT: SlotRecord = SlotRecord::Commit(Slot {
        generation: 0x0102_0304_0506_0708,
        copy: TwinCopy::B,
        metadata_checksum: 0x1112_1314_1516_1718,
    });

    fn slots() -> impl Strategy<Value = SlotRecord> {
        let commit = (1..=MAX_GENERATION, any::<bool>(), any::<u64>()).prop_map(|(generation, is_b, checksum)| {
            let copy = if is_b { TwinCopy::B } else { TwinCopy::A };
            SlotRecord::Commit(Slot { generation, copy, metadata_checksum: checksum })
        });
        let void = (0..=MAX_GENERATION).prop_map(|generation| SlotRecord::Void { generation });
        prop::strategy::Union::new([commit.boxed(), void.boxed()])
    }

    #[test]
    fn the_tables_are_the_chains() {
        let source = include_str!("superblock.rs");
        specimen::assert_table_matches_chain(source, "Identity", Identity::FIELDS, Identity::LEN);
        specimen::assert_table_matches_chain(source, "Commit slot", Slot::FIELDS, Slot::LEN);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            specimen::hex(&IDENTITY.encode()),
            [
                "0000: 44495054594348000000000000100000",
                "0016: 30313233343536373839616263646566",
                "0048: 000000000000000000000000879deb6b"
            ]
        );
        assert_eq!(
            specimen::hex(&COMMIT.encode(FILE_ID)),
            [
                "0000: 444950736c6f74003031323334353637",
                "0016: 38396162636465660807060504030201",
                "0032: 01000000000000001817161514131211",
                "0048: 0000000000000000000000003baac833"
            ]
        );
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        specimen::assert_every_flipped_bit_is_detected(&IDENTITY.encode(), Identity::LEN, Identity::decode);
        for record in [COMMIT, SlotRecord::Void { generation: 3 }] {
            specimen::assert_every_flipped_bit_is_detected(&record.encode(FILE_ID), Slot::LEN, |block| {
                SlotRecord::decode(block, FILE_ID)
            });
        }
    }

    #[test]
    fn another_programs_file_is_told_from_a_damaged_one() {
        let mut block = IDENTITY.encode();
        block[..8].copy_from_slice(b"SQLite f");
        let found = u64::from_le_bytes(*b"SQLite f");
        assert_eq!(Identity::decode(&block), Err(IdentityDefect::NotDiptych { found }));
        assert_eq!(Identity::decode(&[0; BLOCK_LEN]), Err(IdentityDefect::NotDiptych { found: 0 }));
    }

    #[test]
    fn another_version_counts_only_if_the_crc_fits() {
        let set_version = |block: &mut [u8]| Identity::VERSION.put_u32(block, 9);
        let newer = specimen::forged(&IDENTITY.encode(), Identity::CRC, set_version);
        assert_eq!(Identity::decode(&newer), Err(IdentityDefect::Version { found: 9 }));

        let mut damaged = IDENTITY.encode();
        set_version(&mut damaged);
        assert!(matches!(Identity::decode(&damaged), Err(IdentityDefect::Damaged(Defect { field: "crc", .. }))));
    }

    #[test]
    fn a_page_size_is_a_power_of_two_from_1_kib_to_16_mib() {
        let decode = |size| {
            let block = specimen::forged(&IDENTITY.encode(), Identity::CRC, |block| {
                Identity::PAGE_SIZE.put_u32(block, size);
            });
            Identity::decode(&block)
        };
        for power in 10..=24 {
            assert_eq!(decode(1 << power), Ok(Identity { page_size: 1 << power, ..IDENTITY }));
        }
        for (found, expected) in [
            (0, 1024),
            (512, 1024),
            (1025, 2048),
            (4095, 4096),
            ((1 << 24) + 1, 1 << 24),
            (1 << 25, 1 << 24),
            (u32::MAX, 1 << 24),
        ] {
            let defect = Defect { field: "page size", expected, found: found.into() };
            assert_eq!(decode(found), Err(IdentityDefect::Damaged(defect)));
        }
    }

    #[test]
    fn a_slot_refuses_what_no_commit_writes() {
        let defect_after = |change: fn(&mut [u8])| {
            let block = specimen::forged(&COMMIT.encode(FILE_ID), Slot::CRC, change);
            SlotRecord::decode(&block, FILE_ID).unwrap_err()
        };
        let generation = |expected, found| Defect { field: "generation", expected, found };
        assert_eq!(defect_after(|block| Slot::GENERATION.put_u64(block, 0)), generation(1, 0));
        assert_eq!(defect_after(|block| Slot::GENERATION.put_u64(block, 1 << 63)), generation((1 << 63) - 1, 1 << 63));
        let copy = Defect { field: "metadata copy", expected: 1, found: 2 };
        assert_eq!(defect_after(|block| Slot::COPY.put_u32(block, 2)), copy);
        let flags = Defect { field: "flags", expected: 0, found: 4 };
        assert_eq!(defect_after(|block| Slot::FLAGS.put_u32(block, 4)), flags);
    }

    #[test]
    fn a_record_of_another_file_is_refused() {
        let other = FileId::new([0xff; 16]);
        for block in [COMMIT.encode(other), encode_void(0, other)] {
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
    fn the_magic_begins_the_file() {
        assert_eq!(IDENTITY.encode()[..8], IDENTITY_MAGIC.to_le_bytes());
    }

    #[test]
    #[should_panic(expected = "a commit has a generation")]
    fn encoding_a_commit_without_a_generation_is_a_bug() {
        let slot = Slot { generation: 0, copy: TwinCopy::A, metadata_checksum: 0 };
        SlotRecord::Commit(slot).encode(FILE_ID);
    }

    proptest! {
        #[test]
        fn an_identity_that_is_encoded_is_decoded(power in 10u32..=24, file_id in any::<[u8; 16]>()) {
            let identity = Identity { page_size: 1 << power, file_id: FileId::new(file_id) };
            assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }

        #[test]
        fn a_record_that_is_encoded_is_decoded(record in slots(), file_id in any::<[u8; 16]>()) {
            let file_id = FileId::new(file_id);
            assert_eq!(SlotRecord::decode(&record.encode(file_id), file_id), Ok(record));
        }

        #[test]
        fn what_decodes_encodes_again(
            identity in specimen::forgeries(IDENTITY.encode(), Identity::FIELDS, Identity::CRC),
            slot in specimen::forgeries(COMMIT.encode(FILE_ID), Slot::FIELDS, Slot::CRC),
        ) {
            if let Ok(identity) = Identity::decode(&identity) {
                assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
            }
            if let Ok(record) = SlotRecord::decode(&slot, FILE_ID) {
                assert_eq!(SlotRecord::decode(&record.encode(FILE_ID), FILE_ID), Ok(record));
            }
        }

        #[test]
        fn noise_is_refused(identity in specimen::noise(b"DIPTYCH\0"), slot in specimen::noise(b"DIPslot\0")) {
            assert!(Identity::decode(&identity).is_err());
            assert!(SlotRecord::decode(&slot, FILE_ID).is_err());
        }
    }
}
