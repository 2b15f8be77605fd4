//! The identity: who the file is.
//!
//! It is written once, and has a block of its own, so that tearing another cannot reach it. It is 64 bytes long, so that no
//! sector boundary runs through it; the rest of the block is zeros and is not looked at.
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

use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::{BLOCK_LEN, BlockBytes, Defect, FORMAT_VERSION, MAX_PAGE_SIZE, MIN_PAGE_SIZE, check_equal};
use crate::ids::FileId;

/// The first eight bytes of a file, little-endian.
pub(crate) const IDENTITY_MAGIC: u64 = u64::from_le_bytes(*b"DIPTYCH\0");

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

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{IDENTITY_MAGIC, Identity, IdentityDefect};
    use crate::format::{BLOCK_LEN, Defect, specimen};
    use crate::ids::FileId;

    const FILE_ID: FileId = FileId::new(*b"0123456789abcdef");
    const IDENTITY: Identity = Identity { page_size: 4096, file_id: FILE_ID };

    #[test]
    fn the_table_is_the_chain() {
        let source = include_str!("identity.rs");
        specimen::assert_table_matches_chain(source, "Identity", Identity::FIELDS, Identity::LEN);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            specimen::hex(&IDENTITY.encode()),
            [
                "0000: 44495054594348000100000000100000",
                "0016: 30313233343536373839616263646566",
                "0048: 0000000000000000000000008a612702"
            ]
        );
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        specimen::assert_every_flipped_bit_is_detected(&IDENTITY.encode(), Identity::LEN, Identity::decode);
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
    fn the_magic_begins_the_file() {
        assert_eq!(IDENTITY.encode()[..8], IDENTITY_MAGIC.to_le_bytes());
    }

    proptest! {
        #[test]
        fn an_identity_that_is_encoded_is_decoded(power in 10u32..=24, file_id in any::<[u8; 16]>()) {
            let identity = Identity { page_size: 1 << power, file_id: FileId::new(file_id) };
            assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
        }

        #[test]
        fn what_decodes_encodes_again(
            identity in specimen::forgeries(IDENTITY.encode(), Identity::FIELDS, Identity::CRC),
        ) {
            if let Ok(identity) = Identity::decode(&identity) {
                assert_eq!(Identity::decode(&identity.encode()), Ok(identity));
            }
        }

        #[test]
        fn noise_is_refused(identity in specimen::noise(b"DIPTYCH\0")) {
            assert!(Identity::decode(&identity).is_err());
        }
    }
}
