//! The one caller of the checksum libraries.
//!
//! Two checksums, for two questions. *Is this block whole?* The CRC-32 in the block answers: it finds every burst of up
//! to 32 bits, and needs nothing but the block. *Is this the block that its parent means?* The parent's 64-bit checksum
//! answers: a stale copy has a good CRC, and 32 bits are too few to tell one block from all others that a large file
//! has seen.
//!
//! The second is xxh3-64, seeded with the file id, so that a block of another file never fits. It guards against
//! accidents; somebody who can write the file can also compute it.

use twox_hash::XxHash3_64;

use super::Defect;
use super::field::Field;
use crate::ids::FileId;

/// CRC-32 (ISO 3309, as in zlib) of `bytes`.
pub(crate) fn crc32(bytes: &[u8]) -> u32 {
    crc32fast::hash(bytes)
}

/// Computes the checksum that a parent holds of a child.
#[derive(Clone, Copy, Debug)]
pub(crate) struct ChecksumKey(u64);

impl ChecksumKey {
    /// The key of a file.
    pub(crate) fn new(file_id: FileId) -> Self {
        ChecksumKey(XxHash3_64::oneshot(&file_id.to_bytes()))
    }

    /// The checksum of a whole block, or of a whole page.
    pub(crate) fn checksum(self, bytes: &[u8]) -> u64 {
        XxHash3_64::oneshot_with_seed(self.0, bytes)
    }
}

/// Writes the CRC of all bytes before `crc`: the last step of encoding a structure.
pub(super) fn put_crc(structure: &mut [u8], crc: Field<4>) {
    let (covered, _) = structure.split_at(crc.offset());
    let value = crc32(covered);
    crc.put_u32(structure, value);
}

/// Compares the CRC of all bytes before `crc` with what `crc` holds: what decoding does before it believes any field.
pub(super) fn check_crc(structure: &[u8], crc: Field<4>) -> Result<(), Defect> {
    let (covered, _) = structure.split_at(crc.offset());
    super::check_equal("crc", crc32(covered), crc.get_u32(structure))
}

#[cfg(test)]
mod tests {
    use super::{ChecksumKey, check_crc, crc32, put_crc};
    use crate::format::field::Field;
    use crate::ids::FileId;

    #[test]
    fn the_crc_is_the_one_of_zlib() {
        assert_eq!(crc32(b"123456789"), 0xcbf4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn the_keyed_checksum_is_xxh3_seeded_with_the_xxh3_of_the_file_id() {
        let key = ChecksumKey::new(FileId::new(*b"0123456789abcdef"));
        // Values of the reference implementation in C, release 0.8.
        assert_eq!(key.0, 0x6443_9946_d8fa_212d);
        assert_eq!(key.checksum(b"diptych"), 0x9f26_c9cd_37e6_0247);
        assert_eq!(key.checksum(&[0; 4096]), 0x2e37_8bab_af39_9552);
    }

    #[test]
    fn the_same_bytes_have_another_checksum_in_another_file() {
        let [one, other] = [1, 2].map(|byte| ChecksumKey::new(FileId::new([byte; 16])));
        assert_ne!(one.checksum(&[0; 4096]), other.checksum(&[0; 4096]));
    }

    #[test]
    fn a_crc_covers_what_stands_before_it_and_nothing_behind() {
        const CRC: Field<4> = Field::at(4);
        let mut bytes = [7; 12];
        put_crc(&mut bytes, CRC);
        assert_eq!(check_crc(&bytes, CRC), Ok(()));
        bytes[8] ^= 1;
        assert_eq!(check_crc(&bytes, CRC), Ok(()));
        bytes[3] ^= 1;
        assert!(check_crc(&bytes, CRC).is_err_and(|defect| defect.field == "crc"));
    }
}
