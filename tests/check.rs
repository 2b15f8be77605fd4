//! What a check says of a file that somebody changes while it is open. Elsewhere than on Unix an open file is not changed by others.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crashlab::forgery::{
    BLOCK, DIRECTORY_TOP, Forgery, SLOT_METADATA_GENERATION, SLOT_ROW_COUNTS, SLOT_ROWS, SLOT_TOTAL_PAGES,
};
use diptych::{Block, CallKind, Durability, FaultPlan, Finding, Pager, PagerOptions, SimDisk, SimImage, TwinCopy};
use tempfile::TempDir;

const P: usize = 4096;

/// Where the application header stands in a slot.
const SLOT_HEADER: u64 = SLOT_TOTAL_PAGES + 5 * 8;

/// Every commit writes metadata of its own, and a slot behind it.
fn two_barriers() -> PagerOptions {
    PagerOptions::new().durability(Durability::TwoBarriers)
}

/// An open file with protected pages, three commits old.
struct Open {
    _directory: TempDir,
    path: PathBuf,
    pager: Pager<P>,
    whole: SimImage,
}

impl Open {
    /// Its last two commits are small ones.
    fn new() -> Self {
        Open::with(PagerOptions::new())
    }

    fn with(options: PagerOptions) -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("pages.dip");
        let mut pager = options.create::<P>(&path).expect("a new file");
        pager.alloc_protected_bulk(4).expect("there is room");
        pager.alloc_bulk(3).expect("there is room");
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.set_header(b"header").expect("it fits");
        transaction.commit().expect("there is room");
        assert_eq!(pager.check(), []);
        let whole = SimImage::from(&fs::read(&path).expect("it is there")[..]);
        Open { _directory: directory, path, pager, whole }
    }

    /// The same, after one more, which turned a protected page over and allocated another one.
    fn with_rows_of_every_sort() -> Self {
        let mut open = Open::new();
        let first = open.pager.iter_allocated_protected_pages().next().expect("there are four");
        let mut transaction = open.pager.transaction().expect("nothing is wrong");
        transaction.protected_mut(first).expect("it is there").fill(7);
        transaction.alloc_protected().expect("there is room");
        transaction.commit().expect("there is room");
        open.whole = SimImage::from(&fs::read(&open.path).expect("it is there")[..]);
        open
    }

    fn generation(&self) -> u64 {
        self.pager.generation().to_u64()
    }

    fn block(&self, at: u64) -> [u8; 4096] {
        block(&self.whole, at)
    }

    /// What a check finds while other bytes stand in the file.
    fn check_with(&self, offset: u64, bytes: &[u8]) -> Vec<Finding> {
        let file = fs::File::options().write(true).open(&self.path).expect("it is there");
        file.write_all_at(bytes, offset).expect("there is room");
        let findings = self.pager.check();
        let mut before = vec![0; bytes.len()];
        self.whole.read(offset, &mut before);
        file.write_all_at(&before, offset).expect("there is room");
        assert_eq!(self.pager.check(), [], "all is as it was");
        findings
    }

    /// Both slots or both copies of the metadata: where the live one begins, and the other.
    fn live_and_other(&self, live: u64, pair: [u64; 2]) -> (u64, u64) {
        (live, if live == pair[0] { pair[1] } else { pair[0] })
    }

    fn slots(&self) -> (u64, u64) {
        self.live_and_other(Forgery::of(&self.whole).live_slot(), [BLOCK, 2 * BLOCK])
    }

    fn metadata(&self) -> (u64, u64) {
        self.live_and_other(Forgery::of(&self.whole).live_metadata(), [3 * BLOCK, 4 * BLOCK])
    }
}

fn block(image: &SimImage, at: u64) -> [u8; 4096] {
    let mut block = [0; 4096];
    image.read(at, &mut block);
    block
}

fn slot_block(at: u64) -> Block {
    Block::Slot(u8::from(at == 2 * BLOCK))
}

fn metadata_block(at: u64) -> Block {
    Block::Metadata(if at == 3 * BLOCK { TwinCopy::A } else { TwinCopy::B })
}

/// The void record that recovery puts in the place of a block that holds junk.
fn void_in_place_of(open: &Open, at: u64) -> [u8; 4096] {
    let mut image = open.whole.clone();
    image.write(at, &[0x99; 4096]);
    let disk = SimDisk::from_image(image);
    drop(PagerOptions::new().open_on::<P>(&disk).expect("the other one is whole"));
    block(&disk.cached_image(), at)
}

fn finding(block: Block, page: u64, field: &'static str, expected: u64, found: u64) -> Finding {
    Finding { block, page, field, expected, found }
}

#[test]
fn a_slot_is_compared_with_what_is_live() {
    // What a commit says that its slot does not say of the one before.
    let of_a_checkpoint = ["metadata copy", "metadata checksum", "metadata generation", "application header"];
    for (options, different) in [(two_barriers(), &of_a_checkpoint[..]), (PagerOptions::new(), &of_a_checkpoint[3..])] {
        let open = Open::with(options);
        let ((live, other), now) = (open.slots(), open.generation());
        let of = |at: u64, expected, found| finding(slot_block(at), at / BLOCK, "generation", expected, found);
        // The live one is void, or the one before; the other one is as new as the live one.
        assert_eq!(open.check_with(live, &void_in_place_of(&open, other)), [of(live, now, 0)]);
        let older = open.check_with(live, &open.block(other));
        assert_eq!(older[0], of(live, now, now - 1));
        assert_eq!(older[1..].iter().map(|finding| finding.field).collect::<Vec<_>>(), different);
        assert_eq!(open.check_with(other, &open.block(live)), [of(other, now - 1, now)]);
        // A void one in its place is as good.
        assert_eq!(open.check_with(other, &void_in_place_of(&open, other)), []);
    }
}

#[test]
fn each_field_of_the_live_slot_is_compared_with_what_is_live() {
    let open = Open::with_rows_of_every_sort();
    let (live, now) = (open.slots().0, open.generation());
    let whole = Forgery::of(&open.whole);
    assert_eq!(block(&open.whole, live)[224..236], [1, 0, 0, 0, 1, 0, 0, 0, 1, 0, 0, 0], "one row of each sort");
    assert_eq!(whole.u64_at(live + SLOT_METADATA_GENERATION) + 3, now);
    let copy = block(&open.whole, live)[32];
    let fields = [
        ("generation", 24, 2),
        ("metadata copy", 32, 1),
        ("metadata checksum", 40, 1 << 63),
        ("total pages", SLOT_TOTAL_PAGES, 1),
        ("regular pages", SLOT_TOTAL_PAGES + 8, 1),
        ("engine pages", SLOT_TOTAL_PAGES + 16, 1),
        ("table-owned pages", SLOT_TOTAL_PAGES + 24, 1),
        ("protected pages", SLOT_TOTAL_PAGES + 32, 1),
    ];
    let with = |at: u64, change: u64| {
        let mut forgery = whole.clone();
        forgery.put_u64(live + at, whole.u64_at(live + at) ^ change);
        forgery.mend_slot();
        open.check_with(live, &block(&forgery.image, live))
    };
    let of = |field, expected, found| finding(slot_block(live), live / BLOCK, field, expected, found);
    for (field, at, change) in fields {
        // Behind the copy, in the other half of the eight bytes, stand the flags.
        let value = if field == "metadata copy" { u64::from(copy) } else { whole.u64_at(live + at) };
        assert_eq!(with(at, change), [of(field, value, value ^ change)]);
    }
    for at in [0, 120] {
        assert_eq!(with(SLOT_HEADER + at, 1 << 63), [of("application header", 1, 0)]);
    }
    // A word and its bits; a page that was turned over, its copy, its checksum; one that was placed, and its entry.
    let [turned, placed] = [SLOT_ROWS + 24, SLOT_ROWS + 24 + 16];
    let words = [(SLOT_ROWS, 1), (SLOT_ROWS + 8, 1), (SLOT_ROWS + 16, 1 << 63)];
    let turned = [(turned, 1), (turned, 1 << 40), (turned + 8, 1)];
    let placed =
        [(placed, 1 << 39), (placed + 8, 1 << 30), (placed + 16, 1 << 30), (placed + 24, 1), (placed + 32, 1 << 63)];
    for (at, change) in words.into_iter().chain(turned).chain(placed) {
        assert_eq!(with(at, change), [of("rows", 1, 0)], "byte {at}");
    }
    // When a page was turned over is counted from the metadata.
    let metadata = now - 3;
    let findings = [of("metadata generation", metadata, metadata - 1), of("rows", 1, 0)];
    assert_eq!(with(SLOT_METADATA_GENERATION, metadata ^ (metadata - 1)), findings);
}

#[test]
fn a_live_slot_that_lacks_rows_is_found() {
    let open = Open::with_rows_of_every_sort();
    let live = open.slots().0;
    for last in [0, 4, 8] {
        let mut forgery = Forgery::of(&open.whole);
        (last..12).step_by(4).for_each(|at| forgery.image.write(live + SLOT_ROW_COUNTS + at, &[0; 4]));
        forgery.mend_slot();
        let findings = open.check_with(live, &block(&forgery.image, live));
        assert_eq!(findings, [finding(slot_block(live), live / BLOCK, "rows", 1, 0)]);
    }
}

#[test]
fn metadata_is_compared_with_what_is_live() {
    for options in [two_barriers(), PagerOptions::new()] {
        let open = Open::with(options);
        let (live, other) = open.metadata();
        // Small commits stand on that of an earlier one.
        let now = Forgery::of(&open.whole).u64_at(open.slots().0 + SLOT_METADATA_GENERATION);
        let of = |at: u64, expected, found| finding(metadata_block(at), at / BLOCK, "generation", expected, found);
        assert_eq!(open.check_with(live, &void_in_place_of(&open, other)), [of(live, now, 0)]);
        assert_eq!(open.check_with(other, &open.block(live)), [of(other, now - 1, now)]);
        assert_eq!(open.check_with(other, &void_in_place_of(&open, other)), []);
        let older = open.check_with(live, &open.block(other));
        assert_eq!(older[0], of(live, now, now - 1));
        let field = if now == open.generation() { "application header" } else { "directory" };
        assert!(older.contains(&finding(metadata_block(live), live / BLOCK, field, 1, 0)), "{older:?}");
    }
}

#[test]
fn a_void_record_of_another_file_is_no_void_record() {
    let (open, other) = (Open::new(), Open::new());
    let (_, at) = open.metadata();
    let mut image = open.whole.clone();
    image.write(at, &void_in_place_of(&other, at));
    let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).expect("the live one is whole");
    assert_eq!(pager.recovery().voided, [metadata_block(at)]);
    let mut image = open.whole.clone();
    image.write(at, &void_in_place_of(&open, at));
    assert!(PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).expect("it is whole").recovery().is_clean());
}

#[test]
fn a_protected_page_that_rots_is_named() {
    let open = Open::new();
    let forgery = Forgery::of(&open.whole);
    for id in 1..=4 {
        let at = forgery.live_copy(forgery.live_metadata() + DIRECTORY_TOP + 32 * (id - 1));
        let [Finding { block, page, field: "checksum", .. }] = open.check_with(at + 100, b"rot")[..] else {
            panic!("one finding of a checksum");
        };
        assert_eq!((block, page), (Block::ProtectedPage { id }, at / P as u64));
    }
}

#[test]
fn a_file_that_was_cut_is_too_short() {
    let open = Open::new();
    let len = open.whole.len();
    let file = fs::File::options().write(true).open(&open.path).expect("it is there");
    file.set_len(len - 1).expect("it may be cut");
    let (live, _) = open.metadata();
    assert_eq!(open.pager.check(), [finding(metadata_block(live), 0, "file length", len, len - 1)]);
    file.set_len(len).expect("there is room");
    assert_eq!(open.pager.check(), []);
    file.set_len(len + 1).expect("there is room");
    assert_eq!(open.pager.check(), [], "a file may be longer than its pages");
}

#[test]
fn a_commit_that_failed_half_way_leaves_nothing_to_find_but_the_slot_that_it_was_writing() {
    for (options, writes) in [(two_barriers(), 3), (PagerOptions::new(), 2)] {
        let mut slots = 0;
        for n in 1.. {
            let disk = SimDisk::new();
            let mut pager = options.create_on::<P>(&disk).expect("the disk is empty");
            pager.alloc_protected_bulk(4).expect("there is room");
            disk.fail(FaultPlan::nth(CallKind::Write, n).after(40));
            if pager.alloc_protected().is_ok() {
                assert!(n > writes, "a commit writes pages, a slot, and metadata if it is no small one");
                break;
            }
            let findings = pager.check();
            assert!(findings.iter().all(|finding| matches!(finding.block, Block::Slot(_))), "write {n}: {findings:?}");
            slots += findings.len();
        }
        assert_eq!(slots, 1);
    }
}

#[test]
fn a_finding_is_a_sentence() {
    let finding = finding(Block::Slot(1), 2, "crc", 7, 255);
    assert_eq!(finding.to_string(), "page 2 (commit slot 1): crc is 0xff, expected 0x7");
}
