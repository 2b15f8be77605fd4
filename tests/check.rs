//! What a check says of a file that somebody changes while it is open. Elsewhere than on Unix an open file is not changed by others.

#![cfg(unix)]

use std::fs;
use std::os::unix::fs::FileExt;
use std::path::PathBuf;

use crashlab::forgery::{BLOCK, DIRECTORY_TOP, Forgery};
use diptych::{Block, CallKind, FaultPlan, Finding, Pager, PagerOptions, SimDisk, SimImage, TwinCopy};
use tempfile::TempDir;

const P: usize = 4096;

/// An open file with protected pages, three commits old.
struct Open {
    _directory: TempDir,
    path: PathBuf,
    pager: Pager<P>,
    whole: SimImage,
}

impl Open {
    fn new() -> Self {
        let directory = TempDir::new().expect("a temporary directory");
        let path = directory.path().join("pages.dip");
        let mut pager = Pager::<P>::create(&path).expect("a new file");
        pager.alloc_protected_bulk(4).expect("there is room");
        pager.alloc_bulk(3).expect("there is room");
        let mut transaction = pager.transaction().expect("nothing is wrong");
        transaction.set_header(b"header").expect("it fits");
        transaction.commit().expect("there is room");
        assert_eq!(pager.check(), []);
        let whole = SimImage::from(&fs::read(&path).expect("it is there")[..]);
        Open { _directory: directory, path, pager, whole }
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
    let open = Open::new();
    let ((live, other), now) = (open.slots(), open.generation());
    let of = |at: u64, expected, found| finding(slot_block(at), at / BLOCK, "generation", expected, found);
    // The live one is void, or the one before; the other one is as new as the live one.
    assert_eq!(open.check_with(live, &void_in_place_of(&open, other)), [of(live, now, 0)]);
    let older = open.check_with(live, &open.block(other));
    assert_eq!(older[0], of(live, now, now - 1));
    assert_eq!((older.len(), older[1].field), (2, "metadata copy"));
    assert_eq!(open.check_with(other, &open.block(live)), [of(other, now - 1, now)]);
    // A void one in its place is as good.
    assert_eq!(open.check_with(other, &void_in_place_of(&open, other)), []);
}

#[test]
fn metadata_is_compared_with_what_is_live() {
    let open = Open::new();
    let ((live, other), now) = (open.metadata(), open.generation());
    let of = |at: u64, expected, found| finding(metadata_block(at), at / BLOCK, "generation", expected, found);
    assert_eq!(open.check_with(live, &void_in_place_of(&open, other)), [of(live, now, 0)]);
    assert_eq!(open.check_with(other, &open.block(live)), [of(other, now - 1, now)]);
    assert_eq!(open.check_with(other, &void_in_place_of(&open, other)), []);
    let older = open.check_with(live, &open.block(other));
    assert_eq!(older[0], of(live, now, now - 1));
    assert!(older.contains(&finding(metadata_block(live), live / BLOCK, "application header", 1, 0)), "{older:?}");
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
    let mut slots = 0;
    for n in 1.. {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<P>(&disk).expect("the disk is empty");
        pager.alloc_protected_bulk(4).expect("there is room");
        disk.fail(FaultPlan::nth(CallKind::Write, n).after(40));
        if pager.alloc_protected().is_ok() {
            assert!(n > 3, "a commit writes pages, metadata and a slot");
            break;
        }
        let findings = pager.check();
        assert!(findings.iter().all(|finding| matches!(finding.block, Block::Slot(_))), "write {n}: {findings:?}");
        slots += findings.len();
    }
    assert_eq!(slots, 1);
}

#[test]
fn a_finding_is_a_sentence() {
    let finding = finding(Block::Slot(1), 2, "crc", 7, 255);
    assert_eq!(finding.to_string(), "page 2 (commit slot 1): crc is 0xff, expected 0x7");
}
