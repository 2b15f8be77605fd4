//! What the tests of every structure do to it: compare it with its table, flip each of its bits, forge its fields, show
//! its bytes.

use proptest::prelude::{Strategy, any, prop};

use super::checksum::put_crc;
use super::field::{Field, FieldSpec};
use super::{BLOCK_LEN, BlockBytes, TwinEntry};
use crate::block::TwinCopy;

/// The table under `caption` in the header of a source file, as offset, size and name of its rows.
fn table(source: &str, caption: &str) -> Vec<(usize, usize, String)> {
    let heading = format!("//! # {caption}");
    let behind_heading = source.lines().skip_while(|line| *line != heading);
    let is_row = |line: &&str| line.starts_with("//! |");
    let rows = behind_heading.skip_while(|line| !is_row(line)).take_while(is_row).skip(2);
    rows.map(|row| {
        let cells: Vec<&str> = row.split('|').map(str::trim).collect();
        let [_, offset, size, name, _] = cells[..] else { panic!("a row has three cells: {row}") };
        (offset.parse().expect("an offset"), size.parse().expect("a size"), name.to_owned())
    })
    .collect()
}

/// That the table under `caption` says what the chain does, and that the chain covers `len` bytes without a gap.
pub(super) fn assert_table_matches_chain(source: &str, caption: &str, fields: &[FieldSpec], len: usize) {
    let chain: Vec<_> = fields.iter().map(|field| (field.offset, field.len, field.name.to_owned())).collect();
    assert_eq!(table(source, caption), chain, "the table of {caption} and its chain");
    let end = chain.iter().fold(0, |end, (offset, len, name)| {
        assert_eq!(*offset, end, "{name} begins where the field before it ends");
        offset + len
    });
    assert_eq!(end, len, "the chain of {caption} ends where the structure does");
}

/// Calls `check` with each block that differs from `block` in one bit, and the byte in which it differs.
pub(super) fn for_each_flipped_bit(block: &BlockBytes, mut check: impl FnMut(usize, &BlockBytes)) {
    let mut flipped = *block;
    for byte in 0..BLOCK_LEN {
        for bit in 0..8 {
            flipped[byte] ^= 1 << bit;
            check(byte, &flipped);
            flipped[byte] ^= 1 << bit;
        }
    }
}

/// That a flip of any bit of the first `len` bytes is detected, and one behind them does not change what is decoded.
pub(super) fn assert_every_flipped_bit_is_detected<T: PartialEq + std::fmt::Debug, D: std::fmt::Debug>(
    block: &BlockBytes,
    len: usize,
    decode: impl Fn(&BlockBytes) -> Result<T, D>,
) {
    let whole = decode(block).expect("the block is whole");
    for_each_flipped_bit(block, |byte, flipped| match decode(flipped) {
        Ok(value) => {
            assert!(byte >= len, "a flipped bit of byte {byte} is not detected");
            assert_eq!(value, whole, "byte {byte} is padding");
        }
        Err(defect) => assert!(byte < len, "byte {byte} is padding, and was refused: {defect:?}"),
    });
}

/// A block after `change`, its CRC made to fit: what only a broken writer, or somebody hostile, would produce.
pub(super) fn forged(block: &BlockBytes, crc: Field<4>, change: impl FnOnce(&mut [u8])) -> BlockBytes {
    let mut forged = *block;
    change(&mut forged);
    put_crc(&mut forged, crc);
    forged
}

/// Blocks that differ from `block` in up to four places, each inside one field, with a CRC that fits.
pub(super) fn forgeries(
    block: BlockBytes,
    fields: &'static [FieldSpec],
    crc: Field<4>,
) -> impl Strategy<Value = BlockBytes> {
    let number = prop::sample::select(vec![0, 1, 2, 3, 6, 7, 160, 161, 1 << 31, u64::MAX >> 1, 1 << 63, u64::MAX]);
    let value = prop::strategy::Union::new([number.boxed(), any::<u64>().boxed()]);
    let place = prop::sample::select(fields).prop_flat_map(|field| {
        let words = field.len.div_ceil(8);
        (0..words).prop_map(move |word| (field.offset + 8 * word, (field.len - 8 * word).min(8)))
    });
    prop::collection::vec((place, value), 1..=4).prop_map(move |changes| {
        forged(&block, crc, |block| {
            for ((offset, len), value) in changes {
                block[offset..offset + len].copy_from_slice(&value.to_le_bytes()[..len]);
            }
        })
    })
}

/// Blocks of random bytes, some of them with the beginning of a real one.
pub(super) fn noise(magic: &'static [u8]) -> impl Strategy<Value = BlockBytes> {
    (prop::array::uniform32(any::<[u8; 32]>()), any::<[bool; 4]>(), any::<bool>()).prop_map(
        move |(noise, repeats, is_named)| {
            let mut block = [0; BLOCK_LEN];
            for (quarter, is_noisy) in block.chunks_mut(1024).zip(repeats) {
                if is_noisy {
                    quarter.copy_from_slice(noise.as_flattened());
                }
            }
            if is_named {
                block[..magic.len()].copy_from_slice(magic);
            }
            block
        },
    )
}

/// Entries that encode.
pub(super) fn entries() -> impl Strategy<Value = TwinEntry> {
    let last = (1u64 << super::PAGE_BITS) - 1;
    let twin = (1..last, 0..=last, any::<bool>(), 1..=super::MAX_GENERATION, any::<u64>()).prop_map(
        |(a, other, is_b, generation, checksum)| {
            let b = if other == 0 || other == a { a + 1 } else { other };
            let live = if is_b { TwinCopy::B } else { TwinCopy::A };
            TwinEntry { copies: [a, b], live, generation, checksum }
        },
    );
    prop::option::of(twin).prop_map(Option::unwrap_or_default)
}

/// The bytes of a structure in rows of 16, rows of zeros left out.
pub(super) fn hex(bytes: &[u8]) -> Vec<String> {
    let rows = bytes.chunks(16).enumerate().filter(|(_, row)| row.iter().any(|byte| *byte != 0));
    rows.map(|(number, row)| {
        let digits: String = row.iter().map(|byte| format!("{byte:02x}")).collect();
        format!("{:04}: {digits}", number * 16)
    })
    .collect()
}
