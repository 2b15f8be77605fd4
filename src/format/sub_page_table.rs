//! The pages of a table of sub-pages: which slots of which pages are live.
//!
//! ```text
//!   root ──▶ branches, as many levels as are needed ──▶ nodes ──▶ parents: slots and nothing else
//! ```
//!
//! A parent is a page cut into slots, and has a *number*, by which ids know it. A node says of the parents of some numbers
//! where they are and which of their slots are live. Parents with a free slot are a list through their records, and numbers
//! that no parent has are another, so that a slot is found, taken and given back without a search.
//!
//! A page is named by one more than its index in the directory, a parent in a list by one more than its number; zero names
//! nothing. All of these pages are twins, whose checksums are in the directory, so they have none of their own. Whether what
//! they say of one another agrees is for the caller to check.
//!
//! # Table root
//!
//! `height` counts the levels of branches between the root and the nodes. The entries fill the page: entry `i` names the
//! `i`-th page of the level below.
//!
//! | offset | size | field         |
//! |-------:|-----:|---------------|
//! |      0 |    8 | magic         |
//! |      8 |    8 | table         |
//! |     16 |    4 | sub-page size |
//! |     20 |    4 | height        |
//! |     24 |    8 | numbers       |
//! |     32 |    8 | parents       |
//! |     40 |    8 | live          |
//! |     48 |    8 | with room     |
//! |     56 |    8 | vacant        |
//!
//! # Table branch and node
//!
//! A node has level 0. `index` counts the pages of a level. The entries of a branch, or the records of a node, fill the page.
//!
//! | offset | size | field |
//! |-------:|-----:|-------|
//! |      0 |    8 | magic |
//! |      8 |    8 | table |
//! |     16 |    8 | level |
//! |     24 |    8 | index |
//!
//! # Table record
//!
//! Bit `i % 64` of word `i / 64` behind it is 1 if slot `i` is live; `hint` is the first word in which a slot may be free. A
//! vacant number has a record of zeros, but for `next`.
//!
//! | offset | size | field    |
//! |-------:|-----:|----------|
//! |      0 |    8 | page     |
//! |      8 |    8 | next     |
//! |     16 |    8 | previous |
//! |     24 |    4 | free     |
//! |     28 |    4 | hint     |

use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::{Defect, PAGE_BITS, check_at_most, check_equal};

const ROOT_MAGIC: u64 = u64::from_le_bytes(*b"DIPsbrot");
const NODE_MAGIC: u64 = u64::from_le_bytes(*b"DIPsbnod");

/// Parents that a table may have, and once have had: as many as there can be pages.
pub(crate) const MOST_NUMBERS: u64 = 1 << PAGE_BITS;

const WORD_LEN: usize = 8;

/// Levels of branches that a table may have: with the fewest entries a page can have, more than 2^40 parents need.
const MAX_HEIGHT: u32 = 6;

/// How pages of one size are cut into sub-pages of another.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SlotShape {
    page_len: usize,
    sub_len: usize,
}

impl SlotShape {
    /// # Panics
    ///
    /// When the sizes are not powers of two, the page has fewer than 1024 bytes, or the sub-page fewer than 8 or more than half
    /// a page.
    pub(crate) const fn new(page_len: usize, sub_len: usize) -> Self {
        assert!(page_len.is_power_of_two() && sub_len.is_power_of_two(), "sizes are powers of two");
        assert!(page_len >= 1024 && sub_len >= 8 && sub_len < page_len, "sizes are checked when they are compiled");
        SlotShape { page_len, sub_len }
    }

    /// Slots of a parent.
    pub(crate) fn slots(self) -> u64 {
        (self.page_len / self.sub_len) as u64
    }

    /// Where a slot lies in its parent.
    pub(crate) fn place(self, slot: u64) -> std::ops::Range<usize> {
        assert!(slot < self.slots(), "a slot is a part of its parent");
        let start = usize::try_from(slot).expect("a slot is below 2^21") * self.sub_len;
        start..start + self.sub_len
    }

    pub(super) fn words(self) -> usize {
        (self.page_len / self.sub_len).div_ceil(64)
    }

    fn record_len(self) -> usize {
        Record::LEN + self.words() * WORD_LEN
    }

    /// Records of a node.
    pub(crate) fn records(self) -> u64 {
        ((self.page_len - NodeHead::LEN) / self.record_len()) as u64
    }

    /// Entries of a branch.
    pub(crate) fn fanout(self) -> u64 {
        ((self.page_len - NodeHead::LEN) / WORD_LEN) as u64
    }

    /// Entries of a root.
    pub(crate) fn tops(self) -> u64 {
        ((self.page_len - TableRoot::LEN) / WORD_LEN) as u64
    }

    /// Pages of level 0 below one page of this level.
    pub(crate) fn span(self, level: u32) -> u64 {
        (0..level).fold(1u64, |span, _| span.saturating_mul(self.fanout()))
    }

    /// Nodes below a root with so many levels of branches.
    pub(crate) fn nodes_below(self, height: u32) -> u64 {
        self.tops().saturating_mul(self.span(height))
    }
}

/// The head of a table.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TableRoot {
    /// The raw id of the table: one more than the index of the page that this is in.
    pub(crate) table: u64,
    pub(crate) height: u32,
    /// Numbers that a parent has, or once had.
    pub(crate) numbers: u64,
    /// Those that one has.
    pub(crate) parents: u64,
    /// Sub-pages that are live.
    pub(crate) live: u64,
    /// The first parent with a free slot.
    pub(crate) with_room: u64,
    /// The first number without a parent.
    pub(crate) vacant: u64,
}

impl TableRoot {
    const MAGIC: Field<8> = Field::at(0);
    const TABLE: Field<8> = Self::MAGIC.then();
    const SUB_LEN: Field<4> = Self::TABLE.then();
    const HEIGHT: Field<4> = Self::SUB_LEN.then();
    const NUMBERS: Field<8> = Self::HEIGHT.then();
    const PARENTS: Field<8> = Self::NUMBERS.then();
    const LIVE: Field<8> = Self::PARENTS.then();
    const WITH_ROOM: Field<8> = Self::LIVE.then();
    const VACANT: Field<8> = Self::WITH_ROOM.then();
    const LEN: usize = Self::VACANT.end();

    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::TABLE.spec("table"),
        Self::SUB_LEN.spec("sub-page size"),
        Self::HEIGHT.spec("height"),
        Self::NUMBERS.spec("numbers"),
        Self::PARENTS.spec("parents"),
        Self::LIVE.spec("live"),
        Self::WITH_ROOM.spec("with room"),
        Self::VACANT.spec("vacant"),
    ];

    /// The head of a table without sub-pages.
    pub(crate) fn empty(table: u64) -> Self {
        TableRoot { table, height: 0, numbers: 0, parents: 0, live: 0, with_room: 0, vacant: 0 }
    }

    /// Whether the page claims to be the root of the table with this id; if so, of which size its sub-pages are.
    pub(crate) fn sub_len(page: &[u8], table: u64) -> Option<u64> {
        let is_root = Self::MAGIC.get_u64(page) == ROOT_MAGIC && Self::TABLE.get_u64(page) == table;
        is_root.then(|| u64::from(Self::SUB_LEN.get_u32(page)))
    }

    /// Writes the head; entries stay.
    ///
    /// # Panics
    ///
    /// When it does not pass its [check](Self::check).
    pub(crate) fn encode(&self, shape: SlotShape, page: &mut [u8]) {
        assert_eq!(self.check(shape), Ok(()), "a table is checked before it is written");
        Self::MAGIC.put_u64(page, ROOT_MAGIC);
        Self::TABLE.put_u64(page, self.table);
        Self::SUB_LEN.put_u32(page, u32::try_from(shape.sub_len).expect("a page has at most 16 MiB"));
        Self::HEIGHT.put_u32(page, self.height);
        Self::NUMBERS.put_u64(page, self.numbers);
        Self::PARENTS.put_u64(page, self.parents);
        Self::LIVE.put_u64(page, self.live);
        Self::WITH_ROOM.put_u64(page, self.with_room);
        Self::VACANT.put_u64(page, self.vacant);
    }

    /// The head that a page holds which [claims](Self::sub_len) to be one of this table.
    pub(crate) fn decode(shape: SlotShape, page: &[u8], table: u64) -> Result<TableRoot, Defect> {
        check_equal("magic", ROOT_MAGIC, Self::MAGIC.get_u64(page))?;
        check_equal("table", table, Self::TABLE.get_u64(page))?;
        check_equal("sub-page size", shape.sub_len as u64, Self::SUB_LEN.get_u32(page))?;
        let root = TableRoot {
            table,
            height: Self::HEIGHT.get_u32(page),
            numbers: Self::NUMBERS.get_u64(page),
            parents: Self::PARENTS.get_u64(page),
            live: Self::LIVE.get_u64(page),
            with_room: Self::WITH_ROOM.get_u64(page),
            vacant: Self::VACANT.get_u64(page),
        };
        root.check(shape)?;
        Ok(root)
    }

    /// There are as many numbers as nodes have room for; each parent has a live slot; a list is empty if nothing can be in it.
    pub(crate) fn check(&self, shape: SlotShape) -> Result<(), Defect> {
        check_at_most("height", MAX_HEIGHT, self.height)?;
        let most = shape.nodes_below(self.height).saturating_mul(shape.records());
        check_at_most("numbers", most.min(MOST_NUMBERS), self.numbers)?;
        check_at_most("parents", self.numbers, self.parents)?;
        check_at_most("live", self.parents * shape.slots(), self.live)?;
        check_at_most("parents", self.live, self.parents)?;
        check_at_most("with room", self.numbers, self.with_room)?;
        check_at_most("vacant", self.numbers, self.vacant)?;
        let has_room = self.live < self.parents * shape.slots();
        check_equal("is with room", has_room, self.with_room != 0)?;
        check_equal("is vacant", self.parents < self.numbers, self.vacant != 0)
    }

    /// The page that an entry names, by its index in the directory.
    pub(crate) fn entry(shape: SlotShape, page: &[u8], at: u64) -> Option<u64> {
        assert!(at < shape.tops(), "an entry lies in its page");
        word(page, Self::LEN, at).checked_sub(1)
    }

    pub(crate) fn put_entry(shape: SlotShape, page: &mut [u8], at: u64, index: u64) {
        assert!(at < shape.tops(), "an entry lies in its page");
        put_word(page, Self::LEN, at, index + 1);
    }

    /// Takes all entries out.
    pub(crate) fn take_entries(page: &mut [u8]) -> Vec<u8> {
        let (_, entries) = page.split_at_mut(Self::LEN);
        let taken = entries.to_vec();
        entries.fill(0);
        taken
    }
}

const _: () = assert!(TableRoot::LEN == 64, "entries begin at a multiple of their length");

/// What a branch or a node begins with: where it belongs.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct NodeHead {
    pub(crate) table: u64,
    pub(crate) level: u32,
    pub(crate) index: u64,
}

impl NodeHead {
    const MAGIC: Field<8> = Field::at(0);
    const TABLE: Field<8> = Self::MAGIC.then();
    const LEVEL: Field<8> = Self::TABLE.then();
    const INDEX: Field<8> = Self::LEVEL.then();
    const LEN: usize = Self::INDEX.end();

    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] =
        &[Self::MAGIC.spec("magic"), Self::TABLE.spec("table"), Self::LEVEL.spec("level"), Self::INDEX.spec("index")];

    pub(crate) fn encode(&self, page: &mut [u8]) {
        Self::MAGIC.put_u64(page, NODE_MAGIC);
        Self::TABLE.put_u64(page, self.table);
        Self::LEVEL.put_u64(page, self.level.into());
        Self::INDEX.put_u64(page, self.index);
    }

    /// Whether the page says that it belongs where it was found. I7: a page counts at one place only.
    pub(crate) fn check(&self, page: &[u8]) -> Result<(), Defect> {
        check_equal("magic", NODE_MAGIC, Self::MAGIC.get_u64(page))?;
        check_equal("table", self.table, Self::TABLE.get_u64(page))?;
        check_equal("level", self.level, Self::LEVEL.get_u64(page))?;
        check_equal("index", self.index, Self::INDEX.get_u64(page))
    }

    /// The page that an entry of a branch names, by its index in the directory.
    pub(crate) fn entry(shape: SlotShape, page: &[u8], at: u64) -> Option<u64> {
        assert!(at < shape.fanout(), "an entry lies in its page");
        word(page, Self::LEN, at).checked_sub(1)
    }

    pub(crate) fn put_entry(shape: SlotShape, page: &mut [u8], at: u64, index: u64) {
        assert!(at < shape.fanout(), "an entry lies in its page");
        put_word(page, Self::LEN, at, index + 1);
    }

    /// Puts the entries in which a root had.
    pub(crate) fn put_entries(page: &mut [u8], entries: &[u8]) {
        let (_, place) = page.split_at_mut(Self::LEN);
        let (place, _) = place.split_at_mut(entries.len());
        place.copy_from_slice(entries);
    }
}

const _: () = assert!(NodeHead::LEN == 32 && NodeHead::LEN <= TableRoot::LEN, "a branch has room for a root's entries");

/// What a node knows of a parent, its bits apart.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Record {
    /// One more than the parent's index in the directory; 0 where the number is vacant.
    pub(crate) page: u64,
    pub(crate) next: u64,
    pub(crate) previous: u64,
    /// Slots that are free.
    pub(crate) free: u64,
    /// The first word in which one may be.
    pub(crate) hint: u64,
}

impl Record {
    const PAGE: Field<8> = Field::at(0);
    const NEXT: Field<8> = Self::PAGE.then();
    const PREVIOUS: Field<8> = Self::NEXT.then();
    const FREE: Field<4> = Self::PREVIOUS.then();
    const HINT: Field<4> = Self::FREE.then();
    pub(super) const LEN: usize = Self::HINT.end();

    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::PAGE.spec("page"),
        Self::NEXT.spec("next"),
        Self::PREVIOUS.spec("previous"),
        Self::FREE.spec("free"),
        Self::HINT.spec("hint"),
    ];

    /// Where a record and its bits stand in their node.
    pub(super) fn place(shape: SlotShape, at: u64) -> std::ops::Range<usize> {
        assert!(at < shape.records(), "a record lies in its node");
        let start = NodeHead::LEN + usize::try_from(at).expect("a node is in memory") * shape.record_len();
        start..start + shape.record_len()
    }

    /// The record of a number without a parent.
    pub(crate) fn vacant(next: u64) -> Self {
        Record { page: 0, next, previous: 0, free: 0, hint: 0 }
    }

    /// Whether it has free slots and live ones.
    pub(crate) fn has_room(&self) -> bool {
        self.page != 0 && self.free > 0
    }

    pub(crate) fn encode(&self, shape: SlotShape, node: &mut [u8], at: u64) {
        let bytes = &mut node[Self::place(shape, at)];
        let narrow = |value: u64| u32::try_from(value).expect("a page has at most 2^21 slots");
        Self::PAGE.put_u64(bytes, self.page);
        Self::NEXT.put_u64(bytes, self.next);
        Self::PREVIOUS.put_u64(bytes, self.previous);
        Self::FREE.put_u32(bytes, narrow(self.free));
        Self::HINT.put_u32(bytes, narrow(self.hint));
    }

    /// The record that a node holds. `numbers` are all that the table has.
    pub(crate) fn decode(shape: SlotShape, node: &[u8], at: u64, numbers: u64) -> Result<Record, Defect> {
        let bytes = &node[Self::place(shape, at)];
        let record = Record {
            page: Self::PAGE.get_u64(bytes),
            next: Self::NEXT.get_u64(bytes),
            previous: Self::PREVIOUS.get_u64(bytes),
            free: Self::FREE.get_u32(bytes).into(),
            hint: Self::HINT.get_u32(bytes).into(),
        };
        check_at_most("page", 1u64 << PAGE_BITS, record.page)?;
        check_at_most("next", numbers, record.next)?;
        check_at_most("previous", numbers, record.previous)?;
        // Of a parent at least one slot is live, or it would be none.
        check_at_most("free", if record.page == 0 { 0 } else { shape.slots() - 1 }, record.free)?;
        check_at_most("hint", shape.words() as u64 - 1, record.hint)?;
        Ok(record)
    }
}

const _: () = assert!(Record::LEN.is_multiple_of(WORD_LEN), "bits begin at a multiple of their words");

/// The `at`-th word behind a place of a page.
pub(super) fn word(page: &[u8], start: usize, at: u64) -> u64 {
    Field::<8>::at(start + usize::try_from(at).expect("a page is in memory") * WORD_LEN).get_u64(page)
}

pub(super) fn put_word(page: &mut [u8], start: usize, at: u64, value: u64) {
    Field::<8>::at(start + usize::try_from(at).expect("a page is in memory") * WORD_LEN).put_u64(page, value);
}

#[cfg(test)]
mod tests {
    use super::{Defect, NodeHead, Record, SlotShape, TableRoot};
    use crate::format::specimen;

    const SMALL: SlotShape = SlotShape::new(1024, 512);
    const MANY: SlotShape = SlotShape::new(65536, 8);

    #[test]
    fn the_tables_are_the_chains() {
        let text = include_str!("sub_page_table.rs");
        specimen::assert_table_matches_chain(text, "Table root", TableRoot::FIELDS, TableRoot::LEN);
        specimen::assert_table_matches_chain(text, "Table branch and node", NodeHead::FIELDS, NodeHead::LEN);
        specimen::assert_table_matches_chain(text, "Table record", Record::FIELDS, Record::LEN);
    }

    #[test]
    fn a_node_of_any_sizes_has_room_for_a_row_of_parents() {
        for page in 10..=24 {
            for sub in 3..page {
                let shape = SlotShape::new(1 << page, 1 << sub);
                assert!(shape.records() >= 20, "{} parents of {shape:?}", shape.records());
                let last = Record::place(shape, shape.records() - 1);
                assert!(last.end <= shape.page_len && last.end + shape.record_len() > shape.page_len);
                // As many numbers as there can be pages fit below the highest root.
                assert!(shape.nodes_below(super::MAX_HEIGHT).saturating_mul(shape.records()) >= 1 << 40);
            }
        }
        assert_eq!([SMALL.records(), MANY.records()], [24, 62]);
    }

    #[test]
    fn what_is_encoded_is_decoded() {
        let mut page = [0; 1024];
        let root = TableRoot { numbers: 9, parents: 7, live: 13, with_room: 4, vacant: 9, ..TableRoot::empty(5) };
        root.encode(SMALL, &mut page);
        assert_eq!(TableRoot::decode(SMALL, &page, 5), Ok(root));
        assert_eq!((TableRoot::sub_len(&page, 5), TableRoot::sub_len(&page, 6)), (Some(512), None));
        let record = Record { page: 77, next: 3, previous: 9, free: 1, hint: 0 };
        record.encode(SMALL, &mut page, 2);
        assert_eq!(Record::decode(SMALL, &page, 2, 9), Ok(record));
        let head = NodeHead { table: 5, level: 0, index: 3 };
        head.encode(&mut page);
        assert_eq!(head.check(&page), Ok(()));
        let other = NodeHead { index: 4, ..head };
        assert_eq!(other.check(&page), Err(Defect { field: "index", expected: 4, found: 3 }));
    }

    #[test]
    fn golden_bytes() {
        let mut page = [0; 1024];
        let root = TableRoot { numbers: 9, parents: 7, live: 13, with_room: 4, vacant: 9, ..TableRoot::empty(5) };
        root.encode(SMALL, &mut page);
        assert_eq!(&page[..16], b"DIPsbrot\x05\0\0\0\0\0\0\0");
        assert_eq!(&page[16..32], [0, 2, 0, 0, 0, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0]);
        assert_eq!(page.iter().step_by(8).take(8).copied().collect::<Vec<_>>(), [b'D', 5, 0, 9, 7, 13, 4, 9]);
    }

    #[test]
    fn counts_and_lists_that_cannot_be_are_refused_by_name() {
        let whole = TableRoot { numbers: 9, parents: 7, live: 13, with_room: 4, vacant: 9, ..TableRoot::empty(5) };
        let cases = [
            ("height", TableRoot { height: 7, ..whole }),
            ("numbers", TableRoot { numbers: u64::MAX, ..whole }),
            ("parents", TableRoot { parents: 10, ..whole }),
            ("parents", TableRoot { live: 6, ..whole }),
            ("live", TableRoot { live: 15, ..whole }),
            ("with room", TableRoot { with_room: 10, ..whole }),
            ("vacant", TableRoot { vacant: u64::MAX, ..whole }),
            ("is with room", TableRoot { with_room: 0, ..whole }),
            ("is with room", TableRoot { live: 14, ..whole }),
            ("is vacant", TableRoot { vacant: 0, ..whole }),
            ("is vacant", TableRoot { numbers: 7, with_room: 4, vacant: 7, ..whole }),
        ];
        for (field, root) in cases {
            assert_eq!(root.check(SMALL).map_err(|defect| defect.field), Err(field), "{root:?}");
        }
        let mut page = [0; 1024];
        let whole = Record { page: 77, next: 3, previous: 9, free: 1, hint: 0 };
        let cases = [
            ("page", Record { page: u64::MAX, ..whole }),
            ("next", Record { next: 10, ..whole }),
            ("previous", Record { previous: 10, ..whole }),
            ("free", Record { free: 2, ..whole }),
            ("free", Record { page: 0, ..whole }),
            ("hint", Record { hint: 1, ..whole }),
        ];
        for (field, record) in cases {
            record.encode(SMALL, &mut page, 0);
            assert_eq!(Record::decode(SMALL, &page, 0, 9).map_err(|defect| defect.field), Err(field), "{record:?}");
        }
    }
}
