//! What a refusal says: of a file whose checksums are all right and that contradicts itself, the block, its page, the field,
//! what would be right and what is there.

use crashlab::forgery::{
    BLOCK, DIRECTORY_TOP, FREE_MAP_TOP, Forgery, SLOT_METADATA_GENERATION, SLOT_ROW_COUNTS, SLOT_ROWS,
    SLOT_TOTAL_PAGES, TOTAL_PAGES,
};
use diptych::{Block, Durability, Error, PagerOptions, SimDisk, SimImage, TwinCopy};

const P: usize = 1024;
const PAGE: u64 = P as u64;

/// Bytes of a twin entry in its parent.
const ENTRY: u64 = 32;

/// Where the counts stand in the metadata, behind the total: regular, engine, table-owned, protected.
const COUNTS: u64 = TOTAL_PAGES + 8;

/// Where the counts stand in a slot.
const SLOT_COUNTS: u64 = SLOT_TOTAL_PAGES + 8;

/// Where the required features stand in the metadata.
const FEATURES: u64 = 40;

/// Where the planes stand in a leaf.
const PLANES: [u64; 2] = [24, 2040];

/// Pages whose kind a leaf holds.
const LEAF_PAGES: u64 = 16128;

/// A whole file with three regular pages and four protected ones, in pages of 1 KiB.
fn whole() -> SimImage {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
    pager.alloc_protected_bulk(4).expect("there is room");
    pager.alloc_bulk(3).expect("there is room");
    pager.close().expect("nothing is in the way");
    disk.cached_image()
}

/// Every commit writes metadata of its own, and a slot behind it.
fn two_barriers() -> PagerOptions {
    PagerOptions::new().durability(Durability::TwoBarriers)
}

/// A file that is about to be made to contradict itself.
struct Liar {
    forgery: Forgery,
    metadata: u64,
}

impl Liar {
    fn new() -> Self {
        let forgery = Forgery::of(&whole());
        let metadata = forgery.live_metadata();
        Liar { forgery, metadata }
    }

    fn metadata_block(&self) -> Block {
        Block::Metadata(if self.metadata == 3 * BLOCK { TwinCopy::A } else { TwinCopy::B })
    }

    fn get(&self, field: u64) -> u64 {
        self.forgery.u64_at(self.metadata + field)
    }

    fn put(&mut self, field: u64, value: u64) {
        self.forgery.put_u64(self.metadata + field, value);
    }

    /// The copies that an entry of the metadata names.
    fn copies(&self, entry: u64) -> [u64; 2] {
        [self.get(entry), self.get(entry + 8)]
    }

    /// Where the live leaf begins.
    fn leaf(&self) -> u64 {
        self.forgery.live_copy(self.metadata + FREE_MAP_TOP)
    }

    fn slot_block(&self) -> Block {
        Block::Slot(u8::from(self.forgery.live_slot() == 2 * BLOCK))
    }

    fn get_slot(&self, field: u64) -> u64 {
        self.forgery.u64_at(self.forgery.live_slot() + field)
    }

    fn put_slot(&mut self, field: u64, value: u64) {
        self.forgery.put_u64(self.forgery.live_slot() + field, value);
    }

    /// Gives a page another kind, by its two bits, and counts it so, in both places where that is said.
    fn put_kind(&mut self, page: u64, bits: u64) {
        let leaf = self.leaf();
        let mut before = 0;
        for (at, plane) in PLANES.into_iter().enumerate() {
            let word = leaf + plane + page / 64 * 8;
            let value = self.forgery.u64_at(word);
            before |= (value >> (page % 64) & 1) << at;
            self.forgery.put_u64(word, value & !(1 << (page % 64)) | (bits >> at & 1) << (page % 64));
        }
        for (kind, change) in [(before, -1), (bits, 1)] {
            if kind > 0 {
                let count = COUNTS + (kind - 1) * 8;
                let value = self.get(count).checked_add_signed(change).expect("a small count");
                self.put(count, value);
                self.put_slot(count - COUNTS + SLOT_COUNTS, value);
            }
        }
        self.forgery.mend_block(leaf);
        self.forgery.name_copy(self.metadata + FREE_MAP_TOP, BLOCK);
    }

    /// What opening says once all checksums are right again.
    fn refusal(mut self) -> Error {
        self.forgery.mend_block(self.metadata);
        self.forgery.name_metadata();
        let disk = SimDisk::from_image(self.forgery.image.clone());
        let error = PagerOptions::new().open_on::<P>(&disk).expect_err("the file contradicts itself");
        assert!(disk.cached_image() == self.forgery.image, "a failed open changes bytes");
        error
    }

    #[track_caller]
    fn expect_refusal(self, block: Block, page: u64, field: &str, expected: u64, found: u64) {
        let error = self.refusal();
        let Error::Corrupt { block: b, page: p, field: f, expected: e, found: it } = &error else { panic!("{error}") };
        assert_eq!((*b, *p, *f, *e, *it), (block, page, field, expected, found), "{error}");
    }
}

const FIRST: Block = Block::ProtectedPage { id: 1 };
const LEAF: Block = Block::FreeMapLeaf { index: 0 };

#[test]
fn a_copy_is_a_page_between_the_reserved_region_and_the_end() {
    let total = Liar::new().get(TOTAL_PAGES);
    for (field, name) in [(0, "page of copy A"), (8, "page of copy B")] {
        for page in [3, 19, total, total + 1, (1 << 40) - 1] {
            let mut liar = Liar::new();
            liar.put(DIRECTORY_TOP + field, page);
            liar.expect_refusal(FIRST, page, name, total - 1, page);
        }
    }
    // A leaf takes four pages of 1 KiB.
    let mut liar = Liar::new();
    liar.put(FREE_MAP_TOP, total - 3);
    liar.expect_refusal(LEAF, total - 3, "page of copy A", total - 4, total - 3);
}

#[test]
fn a_block_begins_at_a_multiple_of_its_length() {
    for page in [21, 23] {
        let mut liar = Liar::new();
        liar.put(FREE_MAP_TOP, page);
        liar.expect_refusal(LEAF, page, "page of copy A", 20, page);
    }
}

#[test]
fn the_copies_of_a_twin_lie_in_two_blocks() {
    let mut liar = Liar::new();
    liar.put(DIRECTORY_TOP, 41);
    liar.put(DIRECTORY_TOP + 8, 42);
    liar.expect_refusal(FIRST, 42, "page of copy B", 44, 42);
}

#[test]
fn an_entry_is_no_newer_than_what_holds_it() {
    let mut liar = Liar::new();
    let generation = liar.get(32);
    // Twice the generation, plus the live copy.
    liar.put(DIRECTORY_TOP + 16, (generation + 1) << 1);
    liar.expect_refusal(FIRST, Liar::new().copies(DIRECTORY_TOP)[0], "generation", generation, generation + 1);
}

#[test]
fn the_total_is_what_a_file_can_have() {
    const MOST: u64 = 1 << 40;
    for (total, right) in [(0, 20), (19, 20), (MOST + 1, MOST), (u64::MAX, MOST)] {
        let mut liar = Liar::new();
        let (block, page) = (liar.metadata_block(), liar.metadata / PAGE);
        liar.put(TOTAL_PAGES, total);
        liar.expect_refusal(block, page, "total pages", right, total);
    }
    let len = whole().len();
    let mut liar = Liar::new();
    liar.put(TOTAL_PAGES, MOST);
    let error = liar.refusal();
    assert!(
        matches!(error, Error::Truncated { expected, found } if (expected, found) == (MOST * PAGE, len)),
        "{error}"
    );
    // No total at all is refused for being too small where it is the least that there can be.
    let mut liar = Liar::new();
    liar.put(TOTAL_PAGES, 20);
    liar.expect_refusal(LEAF, 20, "page of copy A", 16, 20);
}

/// The same file before and after its last commit.
fn older_and_newer() -> [Forgery; 2] {
    let disk = SimDisk::new();
    let mut pager = two_barriers().create_on::<P>(&disk).expect("the disk is empty");
    pager.alloc_protected_bulk(4).expect("there is room");
    let older = Forgery::of(&disk.cached_image());
    pager.alloc_protected().expect("there is room");
    pager.close().expect("nothing is in the way");
    [older, Forgery::of(&disk.cached_image())]
}

#[test]
fn a_commit_without_a_slot_that_cannot_be_read_is_not_passed_over() {
    let [older, newer] = older_and_newer();
    let leaf = newer.live_copy(newer.live_metadata() + FREE_MAP_TOP);
    let mut image = newer.image.clone();
    image.write(newer.live_slot(), &[0x99; 4096]);
    image.set_unreadable(leaf / 512, 7);
    let disk = SimDisk::from_image(image.clone());
    let error = PagerOptions::new().open_on::<P>(&disk).expect_err("it may be read next time");
    assert!(error.is_io() && disk.cached_image() == image, "{error}");
    // With junk in its place it never will be.
    let mut image = newer.image.clone();
    image.write(newer.live_slot(), &[0x99; 4096]);
    image.write(leaf, &[0x99; 4096]);
    let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).expect("the older state is whole");
    assert_eq!(pager.generation().to_u64(), older.u64_at(older.live_metadata() + 32));
}

#[test]
fn a_commit_that_has_lost_its_slot_and_a_page_is_named_and_passed_over_on_request() {
    let disk = SimDisk::new();
    let mut pager = two_barriers().create_on::<P>(&disk).expect("the disk is empty");
    pager.alloc_protected_bulk(4).expect("there is room");
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let id = transaction.alloc().expect("there is room");
    transaction.page_mut(id).expect("it is fresh").fill(1);
    transaction.commit().expect("there is room");
    let newest = pager.generation().to_u64();
    id.get_mut(&mut pager).expect("it is allocated").fill(2);
    pager.close().expect("nothing is in the way");
    let mut image = disk.cached_image();
    image.write(Forgery::of(&image).live_slot(), &[0x99; 4096]);
    let error = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image.clone())).expect_err("two stories");
    let Error::Ambiguous { candidate, stands, page } = error else { panic!("{error}") };
    assert_eq!((candidate, stands, page), (newest, newest - 1, id.to_u64()));
    let older = PagerOptions::new().accept_older_state(true).open_on::<P>(&SimDisk::from_image(image));
    let older = older.expect("the state before is whole");
    let passed_over = older.recovery().passed_over.map(|generation| generation.to_u64());
    assert_eq!((older.generation().to_u64(), passed_over), (newest - 1, Some(newest)));
}

#[test]
fn an_older_state_that_needs_unknown_features_is_not_gone_back_to() {
    let [mut older, newer] = older_and_newer();
    let metadata = older.live_metadata();
    older.put_u64(metadata + 40, 1 << 5);
    older.mend_block(metadata);
    older.name_metadata();

    // The newer state has lost its slot, and its leaf; the older one is whole, and asks for what nobody knows.
    let mut image = newer.image.clone();
    for at in [metadata, older.live_slot()] {
        let mut block = [0; 4096];
        older.image.read(at, &mut block);
        image.write(at, &block);
    }
    image.write(newer.live_slot(), &[0x99; 4096]);
    image.write(newer.live_copy(newer.live_metadata() + FREE_MAP_TOP), &[0x99; 4096]);
    let error = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).expect_err("no state can be read");
    assert!(matches!(error, Error::UnknownFeatures { expected: 1, found: 32 }), "{error}");
}

#[test]
fn each_count_is_that_of_the_pages() {
    let names = ["regular pages", "engine pages", "table-owned pages", "protected pages"];
    for (at, name) in (0..).zip(names) {
        let mut liar = Liar::new();
        let (block, page, count) = (liar.metadata_block(), liar.metadata / PAGE, liar.get(COUNTS + at * 8));
        liar.put(COUNTS + at * 8, count + 1);
        liar.expect_refusal(block, page, name, count, count + 1);
    }
}

#[test]
fn the_slot_of_a_checkpoint_says_what_its_metadata_says() {
    let names = ["total pages", "regular pages", "engine pages", "table-owned pages", "protected pages"];
    for (at, name) in (0..).zip(names) {
        for change in [1, u64::MAX] {
            let mut liar = Liar::new();
            let (value, page) = (liar.get(TOTAL_PAGES + at * 8), liar.forgery.live_slot() / PAGE);
            let other = value.wrapping_add(change);
            liar.put_slot(SLOT_TOTAL_PAGES + at * 8, other);
            let slot = liar.slot_block();
            // Of the two neither is right by itself.
            let error = liar.refusal();
            let Error::Corrupt { block, page: at, field, expected, found } = error else { panic!("{error}") };
            assert_eq!((block, at, field), (slot, page, name));
            assert_eq!((expected.min(found), expected.max(found)), (value.min(other), value.max(other)));
        }
    }
    for at in (0..128).step_by(8) {
        let mut liar = Liar::new();
        liar.put_slot(SLOT_COUNTS + 32 + at, 1);
        let (block, page) = (liar.slot_block(), liar.forgery.live_slot() / PAGE);
        liar.expect_refusal(block, page, "application header", 1, 0);
    }
}

#[test]
fn a_copy_is_a_page_of_the_engines() {
    for kind in [0, 1, 3] {
        let mut liar = Liar::new();
        let page = liar.copies(DIRECTORY_TOP)[1];
        liar.put_kind(page, kind);
        liar.expect_refusal(FIRST, page, "kind of a copy", 2, kind);
    }
}

#[test]
fn a_page_of_the_engines_has_one_owner() {
    let mut liar = Liar::new();
    let [a, _] = liar.copies(DIRECTORY_TOP);
    let owned = liar.get(COUNTS + 8) - 20;
    let free = 50;
    liar.put_kind(free, 2);
    liar.expect_refusal(LEAF, 0, "engine pages with an owner", owned + 1, owned);
    // The second protected page claims a copy of the first one.
    let mut liar = Liar::new();
    liar.put(DIRECTORY_TOP + ENTRY, a);
    liar.expect_refusal(FIRST, a, "owners of a copy", 1, 2);
}

#[test]
fn pages_behind_the_end_are_free_and_reserved_ones_the_engines() {
    let total = Liar::new().get(TOTAL_PAGES);
    for page in [total, total + 1, LEAF_PAGES - 1] {
        let mut liar = Liar::new();
        let at = liar.leaf() / PAGE;
        liar.put_kind(page, 1);
        liar.expect_refusal(LEAF, at, "kind of a page past the end", 0, page);
    }
    for page in [0, 19] {
        let mut liar = Liar::new();
        let at = liar.leaf() / PAGE;
        liar.put_kind(page, 0);
        liar.expect_refusal(LEAF, at, "kind of a reserved page", 2, page);
    }
}

#[test]
fn a_node_is_one_that_some_page_needs() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
    pager.alloc_protected_bulk(100).expect("there is room");
    pager.close().expect("nothing is in the way");
    let forgery = Forgery::of(&disk.cached_image());
    let mut liar = Liar { metadata: forgery.live_metadata(), forgery };
    let nodes = liar.get(TOTAL_PAGES).div_ceil(126);
    for field in (0..ENTRY).step_by(8) {
        liar.put(DIRECTORY_TOP + ENTRY * nodes + field, liar.get(DIRECTORY_TOP + field));
    }
    let live = liar.forgery.live_copy(liar.metadata + DIRECTORY_TOP) / PAGE;
    liar.expect_refusal(Block::DirectoryNode { level: 0, index: nodes }, live, "index", nodes - 1, nodes);
}

#[test]
fn an_index_is_that_of_a_page_or_a_leaf_that_there_is() {
    let mut liar = Liar::new();
    let [a, b] = liar.copies(FREE_MAP_TOP);
    for (field, value) in [(0, a), (8, b), (16, liar.get(FREE_MAP_TOP + 16)), (24, 7)] {
        liar.put(FREE_MAP_TOP + ENTRY + field, value);
    }
    let live = liar.forgery.live_copy(liar.metadata + FREE_MAP_TOP) / PAGE;
    liar.expect_refusal(Block::FreeMapLeaf { index: 1 }, live, "index", 0, 1);
    // The file has fewer pages than its directory has room for.
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().max_file_bytes(8 << 14).create_on::<16384>(&disk).expect("the disk is empty");
    pager.alloc_protected().expect("there is room");
    pager.close().expect("nothing is in the way");
    let forgery = Forgery::of(&disk.cached_image());
    let mut liar = Liar { metadata: forgery.live_metadata(), forgery };
    let total = liar.get(TOTAL_PAGES);
    let entry = DIRECTORY_TOP + ENTRY * total;
    for (field, value) in [(0, total - 2), (8, total - 1), (16, liar.get(DIRECTORY_TOP + 16)), (24, 7)] {
        liar.put(entry + field, value);
    }
    liar.put(COUNTS + 24, 2);
    liar.forgery.mend_block(liar.metadata);
    liar.forgery.name_metadata();
    let error = PagerOptions::new().open_on::<16384>(&SimDisk::from_image(liar.forgery.image)).expect_err("it lies");
    let text =
        format!("page {} (protected page {}): index is {total:#x}, expected {:#x}", total - 2, total + 1, total - 1);
    assert_eq!(error.to_string(), text);
}

/// A file whose newest commit is a small one: four protected pages, or more, and three regular ones. The second protected
/// page was turned over, the last one placed.
fn small_commit(protected: usize) -> Liar {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
    let ids = pager.alloc_protected_bulk(protected - 1).expect("there is room");
    let mut transaction = pager.transaction().expect("nothing is wrong");
    transaction.alloc_bulk(3).expect("there is room");
    transaction.protected_mut(ids[1]).expect("it is there").fill(1);
    transaction.alloc_protected().expect("there is room");
    transaction.commit().expect("there is room");
    drop(pager);
    let forgery = Forgery::of(&disk.cached_image());
    let liar = Liar { metadata: forgery.live_metadata(), forgery };
    assert_eq!(liar.get_slot(24), liar.get_slot(SLOT_METADATA_GENERATION) + 1, "the newest commit is a small one");
    liar
}

/// Lengths of the rows of each sort, and how many there are.
const ROW_LENS: [u64; 3] = [24, 16, 40];

impl Liar {
    fn row_counts(&self) -> [u64; 3] {
        [0, 4, 8].map(|at| self.get_slot(SLOT_ROW_COUNTS + at) & 0xffff_ffff)
    }

    /// Where a row of a sort stands in the slot.
    fn row(&self, sort: usize, at: u64) -> u64 {
        let before: u64 = self.row_counts().iter().zip(ROW_LENS).take(sort).map(|(count, len)| count * len).sum();
        SLOT_ROWS + before + at * ROW_LENS[sort]
    }

    /// One more row behind the last one of its sort.
    fn add_row(&mut self, sort: usize, row: &[u64]) {
        let (slot, counts) = (self.forgery.live_slot(), self.row_counts());
        let (at, end) = (self.row(sort, counts[sort]), self.row(2, counts[2]));
        let behind: Vec<u64> = (at..end).step_by(8).map(|field| self.get_slot(field)).collect();
        let row: Vec<u64> = row.iter().copied().chain(behind).collect();
        for (field, value) in (at..).step_by(8).zip(row) {
            self.put_slot(field, value);
        }
        let count = u32::try_from(counts[sort] + 1).expect("rows are few");
        self.forgery.image.write(slot + SLOT_ROW_COUNTS + 4 * sort as u64, &count.to_le_bytes());
    }

    #[track_caller]
    fn expect_slot_refusal(self, field: &str, expected: u64, found: u64) {
        let (block, page) = (self.slot_block(), self.forgery.live_slot() / PAGE);
        self.expect_refusal(block, page, field, expected, found);
    }
}

/// Sorts of rows.
const WORD: usize = 0;
const TURNED: usize = 1;
const PLACED: usize = 2;

#[test]
fn a_word_is_one_of_a_leaf_that_there_is() {
    for word in [252, 253, (1 << 34) - 1] {
        let mut liar = small_commit(4);
        liar.add_row(WORD, &[word, 1, 0]);
        liar.expect_slot_refusal("word", 0, word);
    }
}

#[test]
fn a_twin_that_is_turned_over_is_one_that_the_metadata_has() {
    // The fifth has room in the metadata.
    for index in [4, 15, 16, 1 << 39] {
        let mut liar = small_commit(4);
        liar.add_row(TURNED, &[1 << 41 | index, 7]);
        liar.expect_slot_refusal("turned twin", 0, index);
    }
}

#[test]
fn a_twin_is_placed_where_a_node_has_room_for_it() {
    let entry = |liar: &Liar| [16, 24, 32].map(|at| liar.get_slot(liar.row(PLACED, 0) + at - 8));
    for (protected, least) in [(4, 16), (100, 126)] {
        for index in [least, least + 1, 16 * 126, (1 << 40) - 1] {
            let mut liar = small_commit(protected);
            let [a, b, stamp] = entry(&liar);
            liar.add_row(PLACED, &[index, a, b, stamp, 7]);
            liar.expect_slot_refusal("placed twin", 0, index);
            // Nor is anything removed from there.
            let mut liar = small_commit(protected);
            liar.add_row(PLACED, &[index, 0, 0, 0, 0]);
            liar.expect_slot_refusal("placed twin", 0, index);
        }
    }
}

#[test]
fn a_twin_that_is_placed_is_where_the_engine_has_pages() {
    let mut liar = small_commit(4);
    let (row, total) = (liar.row(PLACED, 0), liar.get_slot(SLOT_TOTAL_PAGES));
    liar.put_slot(row + 16, total);
    liar.expect_refusal(Block::ProtectedPage { id: 4 }, total, "page of copy B", total - 1, total);
    // Where the third one has its copies.
    let mut liar = small_commit(4);
    let [a, b] = liar.copies(DIRECTORY_TOP + 2 * ENTRY);
    liar.put_slot(row + 8, a);
    liar.put_slot(row + 16, b);
    liar.expect_refusal(Block::ProtectedPage { id: 3 }, a.min(b), "owners of a copy", 1, 2);
}

#[test]
fn small_commits_take_no_pages_off_the_end() {
    let liar = small_commit(4);
    let total = liar.get(TOTAL_PAGES);
    for fewer in [total - 1, 20] {
        let mut liar = small_commit(4);
        liar.put_slot(SLOT_TOTAL_PAGES, fewer);
        liar.expect_slot_refusal("total pages", total, fewer);
    }
    for (wrong, right) in [(0, 20), (19, 20), ((1 << 40) + 1, 1 << 40)] {
        let mut liar = small_commit(4);
        liar.put_slot(SLOT_TOTAL_PAGES, wrong);
        liar.expect_slot_refusal("total pages", right, wrong);
    }
    let (mut liar, len) = (liar, whole().len());
    liar.put_slot(SLOT_TOTAL_PAGES, len / PAGE + 1);
    let error = liar.refusal();
    assert!(matches!(error, Error::Truncated { expected, found } if (expected, found) == (len + PAGE, len)), "{error}");
}

#[test]
fn changes_stand_on_metadata_that_carries_them() {
    let mut liar = small_commit(4);
    assert_eq!(liar.get(FEATURES), 1);
    liar.put(FEATURES, 0);
    liar.expect_slot_refusal("required features", 1, 0);
}

#[test]
fn each_count_of_a_small_commit_is_that_of_the_pages() {
    let names = ["regular pages", "engine pages", "table-owned pages", "protected pages"];
    for (at, name) in (0..).zip(names) {
        let mut liar = small_commit(4);
        let count = liar.get_slot(SLOT_COUNTS + at * 8);
        liar.put_slot(SLOT_COUNTS + at * 8, count + 1);
        liar.expect_slot_refusal(name, count, count + 1);
    }
}

#[test]
fn rows_leave_pages_behind_the_end_free_and_reserved_ones_the_engines() {
    let total = small_commit(4).get_slot(SLOT_TOTAL_PAGES);
    let mut liar = small_commit(4);
    assert!(total.div_ceil(64) < 251, "the last word is behind the end");
    liar.add_row(WORD, &[251, 1 << 63, 0]);
    liar.expect_slot_refusal("kind of a page past the end", 0, LEAF_PAGES - 1);
    let mut liar = small_commit(4);
    let first = liar.row(WORD, 0);
    assert_eq!(liar.get_slot(first), 0, "the first word has changed");
    liar.put_slot(first + 16, liar.get_slot(first + 16) & !(1 << 19));
    liar.expect_slot_refusal("kind of a reserved page", 2, 19);
}
