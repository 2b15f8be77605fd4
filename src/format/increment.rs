//! An incremental snapshot: what turns the copy of a file at one generation into its copy at a later one.
//!
//! It is a file of its own, written once from its beginning to its end and named when it is durable:
//!
//! ```text
//!   | head | piece | bytes | piece | bytes |  ...  | end |
//! ```
//!
//! A piece says where its bytes stand in the newer copy. No two pieces say it of the same byte; they are in any order. The
//! newer copy is the older one with the bytes of all pieces in place.
//!
//! Every structure ends with a CRC of itself, and each piece has one of its bytes. The chain is made of the head and of all
//! that pieces say before their CRC, CRCs of bytes among it: each step is the keyed checksum of the link before and of the
//! next structure. The end has the last link, so that no piece can be missing, twice there, elsewhere or of another
//! increment.
//!
//! # Increment
//!
//! The total is that of the newer copy, in pages; the other two counts are of what stands between head and end.
//!
//! | offset | size | field           |
//! |-------:|-----:|-----------------|
//! |      0 |    8 | magic           |
//! |      8 |    4 | format version  |
//! |     12 |    4 | page size       |
//! |     16 |   16 | file id         |
//! |     32 |    8 | base generation |
//! |     40 |    8 | generation      |
//! |     48 |    8 | total pages     |
//! |     56 |    8 | pieces          |
//! |     64 |    8 | bytes of pieces |
//! |     72 |   52 | reserved        |
//! |    124 |    4 | crc             |
//!
//! # Piece
//!
//! | offset | size | field        |
//! |-------:|-----:|--------------|
//! |      0 |    4 | magic        |
//! |      4 |    4 | length       |
//! |      8 |    8 | offset       |
//! |     16 |    4 | crc of bytes |
//! |     20 |    8 | reserved     |
//! |     28 |    4 | crc          |
//!
//! # End of an increment
//!
//! | offset | size | field    |
//! |-------:|-----:|----------|
//! |      0 |    8 | magic    |
//! |      8 |    8 | chain    |
//! |     16 |   12 | reserved |
//! |     28 |    4 | crc      |

use super::checksum::{ChecksumKey, check_crc, crc32, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::identity::{Identity, check_page_size};
use super::{Defect, FORMAT_VERSION, MAX_GENERATION, PAGE_BITS, check_at_most, check_equal, check_generation};
use crate::ids::FileId;

const HEAD_MAGIC: u64 = u64::from_le_bytes(*b"DIPincr\0");
const PIECE_MAGIC: u32 = u32::from_le_bytes(*b"DPpc");
const END_MAGIC: u64 = u64::from_le_bytes(*b"DIPdone\0");

/// The most bytes of a piece: what a reader has to hold in memory to verify it.
pub(crate) const MAX_PIECE_LEN: usize = 256 << 10;

/// Why bytes begin no increment that can be read. Three things to tell a user apart, as of an identity.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum IncrementDefect {
    /// The file begins with something else.
    NotAnIncrement {
        /// Its first eight bytes, little-endian.
        found: u64,
    },
    /// The head is whole, of a format that this crate does not read.
    Version {
        /// The version of the format.
        found: u32,
    },
    /// The head is torn or rotten.
    Damaged(Defect),
}

/// What an increment begins with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IncrementHead {
    /// What both copies are copies of.
    pub(crate) identity: Identity,
    /// The generation of the older copy.
    pub(crate) base: u64,
    /// The generation of the newer one.
    pub(crate) generation: u64,
    /// Pages in the newer copy.
    pub(crate) total_pages: u64,
    /// How many pieces there are.
    pub(crate) pieces: u64,
    /// Bytes that they hold together.
    pub(crate) payload: u64,
}

impl IncrementHead {
    /// The first eight bytes of an increment, little-endian.
    pub(crate) const EXPECTED_MAGIC: u64 = HEAD_MAGIC;
    pub(crate) const LEN: usize = 128;
    const MAGIC: Field<8> = Field::at(0);
    const VERSION: Field<4> = Self::MAGIC.then();
    const PAGE_SIZE: Field<4> = Self::VERSION.then();
    const FILE_ID: Field<16> = Self::PAGE_SIZE.then();
    const BASE: Field<8> = Self::FILE_ID.then();
    const GENERATION: Field<8> = Self::BASE.then();
    const TOTAL: Field<8> = Self::GENERATION.then();
    const PIECES: Field<8> = Self::TOTAL.then();
    const PAYLOAD: Field<8> = Self::PIECES.then();
    const RESERVED: Field<52> = Self::PAYLOAD.then();
    const CRC: Field<4> = Self::RESERVED.then();

    /// The rows of the table, for tests that compare it with the chain.
    #[cfg(test)]
    const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::VERSION.spec("format version"),
        Self::PAGE_SIZE.spec("page size"),
        Self::FILE_ID.spec("file id"),
        Self::BASE.spec("base generation"),
        Self::GENERATION.spec("generation"),
        Self::TOTAL.spec("total pages"),
        Self::PIECES.spec("pieces"),
        Self::PAYLOAD.spec("bytes of pieces"),
        Self::RESERVED.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    /// The bytes at the beginning of an increment.
    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        assert_eq!(self.check(), Ok(()), "an increment leads from one generation to a later one");
        let mut bytes = [0; Self::LEN];
        Self::MAGIC.put_u64(&mut bytes, HEAD_MAGIC);
        Self::VERSION.put_u32(&mut bytes, FORMAT_VERSION);
        Self::PAGE_SIZE.put_u32(&mut bytes, self.identity.page_size);
        Self::FILE_ID.put(&mut bytes, self.identity.file_id.to_bytes());
        Self::BASE.put_u64(&mut bytes, self.base);
        Self::GENERATION.put_u64(&mut bytes, self.generation);
        Self::TOTAL.put_u64(&mut bytes, self.total_pages);
        Self::PIECES.put_u64(&mut bytes, self.pieces);
        Self::PAYLOAD.put_u64(&mut bytes, self.payload);
        put_crc(&mut bytes, Self::CRC);
        bytes
    }

    /// The head that bytes hold. As of an identity, the CRC is compared before the version.
    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<IncrementHead, IncrementDefect> {
        let found = Self::MAGIC.get_u64(bytes);
        if found != HEAD_MAGIC {
            return Err(IncrementDefect::NotAnIncrement { found });
        }
        check_crc(bytes, Self::CRC).map_err(IncrementDefect::Damaged)?;
        let found = Self::VERSION.get_u32(bytes);
        if found != FORMAT_VERSION {
            return Err(IncrementDefect::Version { found });
        }
        let head = IncrementHead {
            identity: Identity {
                page_size: Self::PAGE_SIZE.get_u32(bytes),
                file_id: FileId::new(Self::FILE_ID.get(bytes)),
            },
            base: Self::BASE.get_u64(bytes),
            generation: Self::GENERATION.get_u64(bytes),
            total_pages: Self::TOTAL.get_u64(bytes),
            pieces: Self::PIECES.get_u64(bytes),
            payload: Self::PAYLOAD.get_u64(bytes),
        };
        head.check().map_err(IncrementDefect::Damaged)?;
        Ok(head)
    }

    fn check(&self) -> Result<(), Defect> {
        check_page_size(self.identity.page_size)?;
        check_generation(self.base).map_err(|defect| Defect { field: "base generation", ..defect })?;
        check_at_most("generation", MAX_GENERATION, self.generation)?;
        if self.generation <= self.base {
            return Err(Defect { field: "generation", expected: self.base.saturating_add(1), found: self.generation });
        }
        let most = (1 << PAGE_BITS).min(i64::MAX.unsigned_abs() / u64::from(self.identity.page_size));
        check_at_most("total pages", most, self.total_pages)?;
        check_at_most("bytes of pieces", self.total_len(), self.payload)?;
        check_at_most("pieces", self.payload, self.pieces)
    }

    /// Bytes of the newer copy.
    pub(crate) fn total_len(&self) -> u64 {
        self.total_pages.saturating_mul(u64::from(self.identity.page_size))
    }

    /// Bytes of the whole increment; `None` where no file is so long.
    pub(crate) fn file_len(&self) -> Option<u64> {
        let heads = self.pieces.checked_mul(PieceHead::LEN as u64)?;
        let ends = (Self::LEN + IncrementEnd::LEN) as u64;
        heads.checked_add(ends)?.checked_add(self.payload)
    }
}

const _: () = assert!(IncrementHead::CRC.end() == IncrementHead::LEN, "the head of an increment is 128 bytes");

/// What stands before the bytes of a piece.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PieceHead {
    /// Where the bytes stand in the newer copy.
    pub(crate) offset: u64,
    /// How many they are, at least one.
    pub(crate) len: u32,
    crc: u32,
}

impl PieceHead {
    pub(crate) const LEN: usize = 32;
    const MAGIC: Field<4> = Field::at(0);
    const LENGTH: Field<4> = Self::MAGIC.then();
    const OFFSET: Field<8> = Self::LENGTH.then();
    const CRC_OF_BYTES: Field<4> = Self::OFFSET.then();
    const RESERVED: Field<8> = Self::CRC_OF_BYTES.then();
    const CRC: Field<4> = Self::RESERVED.then();

    /// The rows of the table, for tests that compare it with the chain.
    #[cfg(test)]
    const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::LENGTH.spec("length"),
        Self::OFFSET.spec("offset"),
        Self::CRC_OF_BYTES.spec("crc of bytes"),
        Self::RESERVED.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    /// The piece of these bytes, which stand at `offset` in the newer copy.
    pub(crate) fn new(offset: u64, bytes: &[u8]) -> Self {
        let len = u32::try_from(bytes.len()).expect("a piece has at most 256 KiB");
        PieceHead { offset, len, crc: crc32(bytes) }
    }

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        assert_eq!(self.check(), Ok(()), "a piece has some bytes, and not too many");
        let mut bytes = [0; Self::LEN];
        Self::MAGIC.put_u32(&mut bytes, PIECE_MAGIC);
        Self::LENGTH.put_u32(&mut bytes, self.len);
        Self::OFFSET.put_u64(&mut bytes, self.offset);
        Self::CRC_OF_BYTES.put_u32(&mut bytes, self.crc);
        put_crc(&mut bytes, Self::CRC);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<PieceHead, Defect> {
        check_equal("magic of a piece", PIECE_MAGIC, Self::MAGIC.get_u32(bytes))?;
        check_crc(bytes, Self::CRC)?;
        let head = PieceHead {
            offset: Self::OFFSET.get_u64(bytes),
            len: Self::LENGTH.get_u32(bytes),
            crc: Self::CRC_OF_BYTES.get_u32(bytes),
        };
        head.check()?;
        Ok(head)
    }

    fn check(&self) -> Result<(), Defect> {
        if self.len == 0 {
            return Err(Defect { field: "length", expected: 1, found: 0 });
        }
        check_at_most("length", MAX_PIECE_LEN as u64, self.len)
    }

    /// Whether these are its bytes.
    pub(crate) fn check_bytes(&self, bytes: &[u8]) -> Result<(), Defect> {
        check_equal("crc of bytes", self.crc, crc32(bytes))
    }
}

const _: () = assert!(PieceHead::CRC.end() == PieceHead::LEN, "the head of a piece is 32 bytes");

/// What an increment ends with.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct IncrementEnd {
    /// The last link of the chain.
    pub(crate) chain: u64,
}

impl IncrementEnd {
    pub(crate) const LEN: usize = 32;
    const MAGIC: Field<8> = Field::at(0);
    const CHAIN: Field<8> = Self::MAGIC.then();
    const RESERVED: Field<12> = Self::CHAIN.then();
    const CRC: Field<4> = Self::RESERVED.then();

    /// The rows of the table, for tests that compare it with the chain.
    #[cfg(test)]
    const FIELDS: &[FieldSpec] =
        &[Self::MAGIC.spec("magic"), Self::CHAIN.spec("chain"), Self::RESERVED.spec("reserved"), Self::CRC.spec("crc")];

    pub(crate) fn encode(&self) -> [u8; Self::LEN] {
        let mut bytes = [0; Self::LEN];
        Self::MAGIC.put_u64(&mut bytes, END_MAGIC);
        Self::CHAIN.put_u64(&mut bytes, self.chain);
        put_crc(&mut bytes, Self::CRC);
        bytes
    }

    pub(crate) fn decode(bytes: &[u8; Self::LEN]) -> Result<IncrementEnd, Defect> {
        check_equal("magic of the end", END_MAGIC, Self::MAGIC.get_u64(bytes))?;
        check_crc(bytes, Self::CRC)?;
        Ok(IncrementEnd { chain: Self::CHAIN.get_u64(bytes) })
    }
}

const _: () = assert!(IncrementEnd::CRC.end() == IncrementEnd::LEN, "the end of an increment is 32 bytes");

/// The links of an increment.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Chain {
    key: ChecksumKey,
    link: u64,
}

impl Chain {
    pub(crate) fn new(head: &IncrementHead) -> Self {
        let mut chain = Chain { key: ChecksumKey::new(head.identity.file_id), link: 0 };
        chain.push(&head.encode());
        chain
    }

    /// Takes in a structure as it stands in the file.
    pub(crate) fn push(&mut self, structure: &[u8]) {
        let mut linked = [0; 8 + IncrementHead::LEN];
        linked[..8].copy_from_slice(&self.link.to_le_bytes());
        linked[8..8 + structure.len()].copy_from_slice(structure);
        self.link = self.key.checksum(&linked[..8 + structure.len()]);
    }

    /// The end of an increment that ends here.
    pub(crate) fn end(self) -> IncrementEnd {
        IncrementEnd { chain: self.link }
    }

    /// Whether that is the end of what was taken in.
    pub(crate) fn check(self, end: IncrementEnd) -> Result<(), Defect> {
        check_equal("chain", self.link, end.chain)
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{any, proptest};

    use super::{Chain, IncrementDefect, IncrementEnd, IncrementHead, PieceHead};
    use crate::format::field::Field;
    use crate::format::identity::Identity;
    use crate::format::{Defect, specimen};
    use crate::ids::FileId;

    const HEAD: IncrementHead = IncrementHead {
        identity: Identity { page_size: 4096, file_id: FileId::new(*b"0123456789abcdef") },
        base: 0x21,
        generation: 0x31,
        total_pages: 0x41,
        pieces: 0x51,
        payload: 0x6162,
    };

    /// The structure after `change`, its CRC made to fit.
    fn forged<const N: usize>(bytes: [u8; N], crc: Field<4>, change: impl FnOnce(&mut [u8])) -> [u8; N] {
        let mut forged = bytes;
        change(&mut forged);
        super::put_crc(&mut forged, crc);
        forged
    }

    fn assert_every_flipped_bit_is_detected<const N: usize>(bytes: [u8; N], is_refused: impl Fn(&[u8; N]) -> bool) {
        assert!(!is_refused(&bytes));
        for bit in 0..8 * N {
            let mut flipped = bytes;
            flipped[bit / 8] ^= 1 << (bit % 8);
            assert!(is_refused(&flipped), "bit {bit}");
        }
    }

    #[test]
    fn the_tables_are_the_chains() {
        let source = include_str!("increment.rs");
        let assert = specimen::assert_table_matches_chain;
        assert(source, "Increment", IncrementHead::FIELDS, IncrementHead::LEN);
        assert(source, "Piece", PieceHead::FIELDS, PieceHead::LEN);
        assert(source, "End of an increment", IncrementEnd::FIELDS, IncrementEnd::LEN);
    }

    #[test]
    fn golden_bytes() {
        let piece = PieceHead::new(0x7172, b"123456789").encode();
        let mut chain = Chain::new(&HEAD);
        chain.push(&piece);
        assert_eq!(specimen::hex(&HEAD.encode()), GOLDEN_HEAD);
        assert_eq!(specimen::hex(&piece), GOLDEN_PIECE);
        assert_eq!(specimen::hex(&chain.end().encode()), GOLDEN_END);
    }

    const GOLDEN_HEAD: [&str; 6] = [
        "0000: 444950696e6372000100000000100000",
        "0016: 30313233343536373839616263646566",
        "0032: 21000000000000003100000000000000",
        "0048: 41000000000000005100000000000000",
        "0064: 62610000000000000000000000000000",
        "0112: 00000000000000000000000037e70dad",
    ];
    const GOLDEN_PIECE: [&str; 2] =
        ["0000: 44507063090000007271000000000000", "0016: 2639f4cb0000000000000000b5c4aab6"];
    const GOLDEN_END: [&str; 2] = ["0000: 444950646f6e650097143243ec1b802e", "0016: 000000000000000000000000b4840fd9"];

    #[test]
    fn every_flipped_bit_is_detected() {
        assert_every_flipped_bit_is_detected(HEAD.encode(), |bytes| IncrementHead::decode(bytes).is_err());
        let piece = PieceHead::new(7, b"bytes").encode();
        assert_every_flipped_bit_is_detected(piece, |bytes| PieceHead::decode(bytes).is_err());
        assert_every_flipped_bit_is_detected(Chain::new(&HEAD).end().encode(), |bytes| {
            IncrementEnd::decode(bytes).is_err()
        });
    }

    #[test]
    fn another_file_and_another_version_are_told_from_damage() {
        let mut other = HEAD.encode();
        other[..8].copy_from_slice(b"DIPTYCH\0");
        let found = u64::from_le_bytes(*b"DIPTYCH\0");
        assert_eq!(IncrementHead::decode(&other), Err(IncrementDefect::NotAnIncrement { found }));
        let newer = forged(HEAD.encode(), IncrementHead::CRC, |bytes| IncrementHead::VERSION.put_u32(bytes, 9));
        assert_eq!(IncrementHead::decode(&newer), Err(IncrementDefect::Version { found: 9 }));
    }

    #[test]
    fn a_head_refuses_what_no_writer_writes() {
        let defect_after =
            |change: fn(&mut [u8])| match IncrementHead::decode(&forged(HEAD.encode(), IncrementHead::CRC, change)) {
                Err(IncrementDefect::Damaged(Defect { field, .. })) => field,
                other => panic!("{other:?}"),
            };
        assert_eq!(defect_after(|bytes| IncrementHead::PAGE_SIZE.put_u32(bytes, 4095)), "page size");
        assert_eq!(defect_after(|bytes| IncrementHead::BASE.put_u64(bytes, 0)), "base generation");
        assert_eq!(defect_after(|bytes| IncrementHead::BASE.put_u64(bytes, 0x31)), "generation");
        assert_eq!(defect_after(|bytes| IncrementHead::GENERATION.put_u64(bytes, 1 << 63)), "generation");
        assert_eq!(defect_after(|bytes| IncrementHead::TOTAL.put_u64(bytes, (1 << 40) + 1)), "total pages");
        assert_eq!(defect_after(|bytes| IncrementHead::PAYLOAD.put_u64(bytes, 0x41 * 4096 + 1)), "bytes of pieces");
        assert_eq!(defect_after(|bytes| IncrementHead::PIECES.put_u64(bytes, 0x6163)), "pieces");
    }

    #[test]
    fn a_piece_has_some_bytes_and_not_too_many() {
        for (len, is_one) in [(0, false), (1, true), (256 << 10, true), ((256 << 10) + 1, false)] {
            let piece = PieceHead::new(1, b"x").encode();
            let piece = forged(piece, PieceHead::CRC, |bytes| PieceHead::LENGTH.put_u32(bytes, len));
            assert_eq!(PieceHead::decode(&piece).is_ok(), is_one, "{len}");
        }
        let piece = PieceHead::new(1, b"bytes");
        assert_eq!(piece.check_bytes(b"bytes"), Ok(()));
        assert!(piece.check_bytes(b"bytez").is_err());
    }

    #[test]
    fn a_chain_knows_what_it_was_made_of_and_in_which_order() {
        let pieces = [1, 2].map(|offset| PieceHead::new(offset, b"same").encode());
        let chain = |head: IncrementHead, pieces: &[[u8; PieceHead::LEN]]| {
            let mut chain = Chain::new(&head);
            pieces.iter().for_each(|piece| chain.push(piece));
            chain
        };
        let [one, other] = pieces;
        let end = chain(HEAD, &pieces).end();
        assert_eq!(chain(HEAD, &pieces).check(end), Ok(()));
        let newer = IncrementHead { generation: 0x32, ..HEAD };
        for differs in
            [chain(HEAD, &[other, one]), chain(HEAD, &[one]), chain(HEAD, &[one, other, other]), chain(newer, &pieces)]
        {
            assert!(differs.check(end).is_err_and(|defect| defect.field == "chain"));
        }
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(base in 1u64..1 << 40, steps in 1u64..1 << 40, pages in 1u64..1 << 40, offset: u64) {
            let head = IncrementHead { base, generation: base + steps, total_pages: pages, pieces: 1, payload: 1, ..HEAD };
            assert_eq!(IncrementHead::decode(&head.encode()), Ok(head));
            assert!(head.file_len().is_some());
            let piece = PieceHead::new(offset, &base.to_le_bytes());
            assert_eq!(PieceHead::decode(&piece.encode()), Ok(piece));
        }

        #[test]
        fn noise_is_refused(noise in any::<[u8; 32]>()) {
            assert!(PieceHead::decode(&noise).is_err() && IncrementEnd::decode(&noise).is_err());
        }
    }
}
