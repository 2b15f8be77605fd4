//! What commits changed since the metadata that they stand on, as a [slot](super::slot) says it.
//!
//! A row stands for one thing that is not as the metadata has it. Rows stand behind one another, first those of the free
//! map, then turned twins, then placed ones, each kind in strictly ascending order of its first number.
//!
//! # Free-map row
//!
//! 64 pages as they are now. Word `w` is about pages `64 * w` and on; the bits are those of a leaf.
//!
//! | offset | size | field     |
//! |-------:|-----:|-----------|
//! |      0 |    8 | word      |
//! |      8 |    8 | low bits  |
//! |     16 |    8 | high bits |
//!
//! # Turned row
//!
//! A protected page whose copies are where the metadata has them. The first field is its index in the directory (40 bits),
//! 1 if copy B is live (1 bit), and by how much the generation that wrote that copy exceeds the metadata's (23 bits). Or an
//! extent that begins where the metadata has it; its length in pages stands in place of the checksum.
//!
//! | offset | size | field           |
//! |-------:|-----:|-----------------|
//! |      0 |    8 | turned twin     |
//! |      8 |    8 | turned checksum |
//!
//! # Placed row
//!
//! A protected page whose copies are elsewhere than the metadata has them, or nowhere, or an extent that begins elsewhere. The
//! entry is a twin entry.
//!
//! | offset | size | field       |
//! |-------:|-----:|-------------|
//! |      0 |    8 | placed twin |
//! |      8 |   32 | entry       |

use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::twin::TwinEntry;
use super::{Defect, PAGE_BITS, check_at_most};
use crate::block::TwinCopy;

/// Bytes for rows.
pub(super) const ROWS_LEN: usize = 3840;

/// 64 pages of the free map: word `w` of the map begins at page `64 * w`.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct MapWord {
    pub(crate) word: u64,
    pub(crate) low: u64,
    pub(crate) high: u64,
}

/// A protected page that was turned over where it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TurnedTwin {
    pub(crate) index: u64,
    pub(crate) live: TwinCopy,
    /// The commit that wrote the live copy.
    pub(crate) generation: u64,
    pub(crate) checksum: u64,
}

/// A protected page that was placed somewhere since, or removed: then the entry is empty.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct PlacedTwin {
    pub(crate) index: u64,
    pub(crate) entry: TwinEntry,
}

/// See the head of this file.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct ChangeRows {
    pub(crate) words: Vec<MapWord>,
    pub(crate) turned: Vec<TurnedTwin>,
    pub(crate) placed: Vec<PlacedTwin>,
}

impl MapWord {
    const LEN: usize = 24;
    const WORD: Field<8> = Field::at(0);
    const LOW: Field<8> = Self::WORD.then();
    const HIGH: Field<8> = Self::LOW.then();

    /// The rows of the table, for tests that compare it with the chain.
    #[cfg(test)]
    pub(super) const FIELDS: &[FieldSpec] =
        &[Self::WORD.spec("word"), Self::LOW.spec("low bits"), Self::HIGH.spec("high bits")];

    fn encode(&self, row: &mut [u8]) {
        Self::WORD.put_u64(row, self.word);
        Self::LOW.put_u64(row, self.low);
        Self::HIGH.put_u64(row, self.high);
    }

    fn decode(row: &[u8]) -> Self {
        MapWord { word: Self::WORD.get_u64(row), low: Self::LOW.get_u64(row), high: Self::HIGH.get_u64(row) }
    }
}

const _: () = assert!(MapWord::HIGH.end() == MapWord::LEN, "a free-map row is 24 bytes");

impl TurnedTwin {
    const LEN: usize = 16;
    const TWIN: Field<8> = Field::at(0);
    const CHECKSUM: Field<8> = Self::TWIN.then();

    /// The rows of the table, for tests that compare it with the chain.
    #[cfg(test)]
    pub(super) const FIELDS: &[FieldSpec] = &[Self::TWIN.spec("turned twin"), Self::CHECKSUM.spec("turned checksum")];

    fn encode(&self, metadata_generation: u64, row: &mut [u8]) {
        let steps = self.generation - metadata_generation;
        let live = u64::from(self.live == TwinCopy::B);
        Self::TWIN.put_u64(row, self.index | live << PAGE_BITS | steps << (PAGE_BITS + 1));
        Self::CHECKSUM.put_u64(row, self.checksum);
    }

    fn decode(row: &[u8], metadata_generation: u64) -> Self {
        let twin = Self::TWIN.get_u64(row);
        TurnedTwin {
            index: twin & ((1 << PAGE_BITS) - 1),
            live: if twin >> PAGE_BITS & 1 == 0 { TwinCopy::A } else { TwinCopy::B },
            generation: metadata_generation + (twin >> (PAGE_BITS + 1)),
            checksum: Self::CHECKSUM.get_u64(row),
        }
    }
}

const _: () = assert!(TurnedTwin::CHECKSUM.end() == TurnedTwin::LEN, "a turned row is 16 bytes");

impl PlacedTwin {
    const LEN: usize = 40;
    const TWIN: Field<8> = Field::at(0);
    const ENTRY: Field<{ TwinEntry::LEN }> = Self::TWIN.then();

    /// The rows of the table, for tests that compare it with the chain.
    #[cfg(test)]
    pub(super) const FIELDS: &[FieldSpec] = &[Self::TWIN.spec("placed twin"), Self::ENTRY.spec("entry")];

    fn encode(&self, row: &mut [u8]) {
        Self::TWIN.put_u64(row, self.index);
        Self::ENTRY.put(row, self.entry.encode());
    }

    fn decode(row: &[u8]) -> Result<Self, Defect> {
        Ok(PlacedTwin { index: Self::TWIN.get_u64(row), entry: TwinEntry::decode(Self::ENTRY.bytes(row))? })
    }
}

const _: () = assert!(PlacedTwin::ENTRY.end() == PlacedTwin::LEN, "a placed row is 40 bytes");

/// The first of `items` whose number is not above all before it is a defect, and so is one that has no place in a file.
fn check_ascending(field: &'static str, numbers: impl Iterator<Item = u64>, bits: u32) -> Result<(), Defect> {
    let mut least = 0;
    for found in numbers {
        if found < least {
            return Err(Defect { field, expected: least, found });
        }
        check_at_most(field, (1u64 << bits) - 1, found)?;
        least = found + 1;
    }
    Ok(())
}

impl ChangeRows {
    pub(super) fn len_bytes([words, turned, placed]: [usize; 3]) -> usize {
        let len = |count: usize, row: usize| count.saturating_mul(row);
        len(words, MapWord::LEN)
            .saturating_add(len(turned, TurnedTwin::LEN))
            .saturating_add(len(placed, PlacedTwin::LEN))
    }

    /// Whether a slot has room for the rows.
    pub(crate) fn fit(&self) -> bool {
        Self::len_bytes(self.lens()) <= ROWS_LEN
    }

    /// Indexes of the protected pages whose live copies a commit wrote.
    pub(crate) fn entries_at(&self, generation: u64) -> impl Iterator<Item = u64> + '_ {
        let turned = self.turned.iter().filter(move |row| row.generation == generation).map(|row| row.index);
        let placed = self.placed.iter().filter(move |row| row.entry.generation == generation).map(|row| row.index);
        turned.chain(placed)
    }

    pub(super) fn lens(&self) -> [usize; 3] {
        [self.words.len(), self.turned.len(), self.placed.len()]
    }

    pub(super) fn encode(&self, metadata_generation: u64, rows: &mut [u8; ROWS_LEN]) {
        let mut rest = &mut rows[..];
        let mut next = |len: usize| {
            let (row, behind) = std::mem::take(&mut rest).split_at_mut(len);
            rest = behind;
            row
        };
        self.words.iter().for_each(|row| row.encode(next(MapWord::LEN)));
        self.turned.iter().for_each(|row| row.encode(metadata_generation, next(TurnedTwin::LEN)));
        self.placed.iter().for_each(|row| row.encode(next(PlacedTwin::LEN)));
    }

    pub(super) fn decode(lens: [u32; 3], metadata_generation: u64, rows: &[u8; ROWS_LEN]) -> Result<Self, Defect> {
        let [words, turned, placed] = lens.map(|len| usize::try_from(len).unwrap_or(usize::MAX));
        let expected = ROWS_LEN as u64;
        let found = Self::len_bytes([words, turned, placed]) as u64;
        check_at_most("rows", expected, found)?;
        let (words, rest) = rows.split_at(words * MapWord::LEN);
        let (turned, rest) = rest.split_at(turned * TurnedTwin::LEN);
        let placed = &rest[..placed * PlacedTwin::LEN];
        Ok(ChangeRows {
            words: words.chunks_exact(MapWord::LEN).map(MapWord::decode).collect(),
            turned: turned
                .chunks_exact(TurnedTwin::LEN)
                .map(|row| TurnedTwin::decode(row, metadata_generation))
                .collect(),
            placed: placed.chunks_exact(PlacedTwin::LEN).map(PlacedTwin::decode).collect::<Result<_, _>>()?,
        })
    }

    /// What every slot fulfils, read or written.
    pub(super) fn check(&self, generation: u64, metadata_generation: u64) -> Result<(), Defect> {
        let [words, turned, placed] = self.lens();
        check_at_most("rows", ROWS_LEN as u64, Self::len_bytes([words, turned, placed]) as u64)?;
        check_ascending("word", self.words.iter().map(|row| row.word), PAGE_BITS - u64::BITS.ilog2())?;
        check_ascending("turned twin", self.turned.iter().map(|row| row.index), PAGE_BITS)?;
        check_ascending("placed twin", self.placed.iter().map(|row| row.index), PAGE_BITS)?;
        let is_turned = |index: u64| self.turned.binary_search_by_key(&index, |row| row.index).is_ok();
        if let Some(twice) = self.placed.iter().find(|row| is_turned(row.index)) {
            return Err(Defect { field: "placed twin", expected: twice.index + 1, found: twice.index });
        }
        let placed = self.placed.iter().filter(|row| !row.entry.is_empty());
        let written = self.turned.iter().map(|row| row.generation).chain(placed.map(|row| row.entry.generation));
        for found in written {
            if found <= metadata_generation {
                return Err(Defect { field: "generation of a row", expected: metadata_generation + 1, found });
            }
            check_at_most("generation of a row", generation, found)?;
        }
        Ok(())
    }
}

/// Rows that a slot of this generation may have.
#[cfg(test)]
pub(super) fn specimen_rows(
    generation: u64,
    metadata_generation: u64,
) -> impl proptest::strategy::Strategy<Value = ChangeRows> {
    use proptest::prelude::{Strategy, any, prop};

    let least = metadata_generation + 1;
    let most = if generation > metadata_generation { 12 } else { 0 };
    let stamp = move |at: u64| (least + at % (generation + 1).saturating_sub(least).max(1)).min(generation);
    let map_words = prop::collection::btree_map(0u64..1 << 34, any::<[u64; 2]>(), 0..=most);
    let indexes = || prop::collection::btree_map(0u64..1 << 40, (any::<bool>(), any::<[u64; 2]>()), 0..=most);
    (map_words, indexes(), indexes()).prop_map(move |(words, turned, placed)| ChangeRows {
        words: words.into_iter().map(|(word, [low, high])| MapWord { word, low, high }).collect(),
        turned: turned
            .into_iter()
            .map(|(index, (is_b, [at, checksum]))| {
                let live = if is_b { TwinCopy::B } else { TwinCopy::A };
                TurnedTwin { index, live, generation: stamp(at), checksum }
            })
            .collect(),
        placed: placed
            .into_iter()
            .map(|(index, (is_removed, [at, checksum]))| {
                let live = if at % 2 == 0 { TwinCopy::A } else { TwinCopy::B };
                let entry = TwinEntry { copies: [7, 9], live, generation: stamp(at), checksum };
                PlacedTwin { index, entry: if is_removed { TwinEntry::EMPTY } else { entry } }
            })
            .collect(),
    })
}

#[cfg(test)]
mod tests {
    use super::{ChangeRows, MapWord, PlacedTwin, ROWS_LEN, TurnedTwin};
    use crate::block::TwinCopy;
    use crate::format::{Defect, TwinEntry, specimen};

    #[test]
    fn the_tables_are_the_chains() {
        let source = include_str!("change_rows.rs");
        specimen::assert_table_matches_chain(source, "Free-map row", MapWord::FIELDS, MapWord::LEN);
        specimen::assert_table_matches_chain(source, "Turned row", TurnedTwin::FIELDS, TurnedTwin::LEN);
        specimen::assert_table_matches_chain(source, "Placed row", PlacedTwin::FIELDS, PlacedTwin::LEN);
    }

    #[test]
    fn a_turned_row_packs_its_three_numbers() {
        let turned = TurnedTwin { index: (1 << 40) - 2, live: TwinCopy::B, generation: 7 + (1 << 23) - 1, checksum: 5 };
        let mut row = [0; TurnedTwin::LEN];
        turned.encode(7, &mut row);
        assert_eq!(row, [0xfe, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 0xff, 5, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(TurnedTwin::decode(&row, 7), turned);
    }

    #[test]
    fn rows_fit_as_long_as_their_bytes_do() {
        let fit = |words, turned, placed| ChangeRows::len_bytes([words, turned, placed]) <= ROWS_LEN;
        assert!(fit(160, 0, 0) && !fit(161, 0, 0));
        assert!(fit(0, 240, 0) && !fit(0, 241, 0));
        assert!(fit(0, 0, 96) && !fit(0, 0, 97));
        assert!(fit(80, 70, 20) && !fit(80, 71, 20));
        assert!(!fit(usize::MAX, usize::MAX, usize::MAX));
        assert_eq!(ROWS_LEN, 3840);
    }

    fn check(change: impl FnOnce(&mut ChangeRows)) -> Result<(), Defect> {
        let word = |word| MapWord { word, low: 1, high: 2 };
        let turned = |index| TurnedTwin { index, live: TwinCopy::A, generation: 12, checksum: 3 };
        let entry = TwinEntry { copies: [7, 9], live: TwinCopy::A, generation: 11, checksum: 3 };
        let mut rows = ChangeRows {
            words: vec![word(4), word(5)],
            turned: vec![turned(4), turned(6)],
            placed: vec![PlacedTwin { index: 5, entry }, PlacedTwin { index: 7, entry: TwinEntry::EMPTY }],
        };
        change(&mut rows);
        rows.check(12, 10)
    }

    #[test]
    fn rows_ascend_within_the_file_and_were_written_since_the_metadata() {
        let defect = |field, expected, found| Err(Defect { field, expected, found });
        assert_eq!(check(|_| {}), Ok(()));
        assert_eq!(check(|rows| rows.words[1].word = 4), defect("word", 5, 4));
        assert_eq!(check(|rows| rows.words[1].word = 1 << 34), defect("word", (1 << 34) - 1, 1 << 34));
        assert_eq!(check(|rows| rows.turned[1].index = 3), defect("turned twin", 5, 3));
        assert_eq!(check(|rows| rows.placed[1].index = 5), defect("placed twin", 6, 5));
        assert_eq!(check(|rows| rows.placed[1].index = 1 << 40), defect("placed twin", (1 << 40) - 1, 1 << 40));
        assert_eq!(check(|rows| rows.turned[1].index = 5), defect("placed twin", 6, 5));
        assert_eq!(check(|rows| rows.turned[0].generation = 10), defect("generation of a row", 11, 10));
        assert_eq!(check(|rows| rows.turned[0].generation = 13), defect("generation of a row", 12, 13));
        assert_eq!(check(|rows| rows.placed[0].entry.generation = 13), defect("generation of a row", 12, 13));
    }
}
