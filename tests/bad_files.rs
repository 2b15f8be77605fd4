//! Files that are not what they should be: a typed error that names what is wrong, or a state that was acknowledged.
//! A failed open changes no byte.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::Path;

use crashlab::forgery::{Forgery, SLOT_METADATA_GENERATION};
use diptych::{
    Block, CallKind, Durability, Error, FaultPlan, PageId, Pager, PagerOptions, ProtectedPageId, ReadOnlyPager,
    SimDisk, SimImage, TwinCopy,
};
use tempfile::TempDir;

const BLOCK: usize = 4096;
const P: usize = 4096;

/// Every commit writes metadata of its own, and a slot behind it.
fn two_barriers() -> PagerOptions {
    PagerOptions::new().durability(Durability::TwoBarriers)
}

/// Opens a file that must be refused, and checks that it stays as it is.
#[track_caller]
fn refused<const N: usize>(path: &Path) -> Error {
    let before = fs::read(path).ok();
    let error = Pager::<N>::open(path).expect_err("the file is refused");
    let reading = ReadOnlyPager::<N>::open(path).expect_err("the file is refused to readers");
    match (&reading, &error) {
        // The system lets directories be opened for reading, and has its own words where it does not.
        (Error::Io { op, path, .. }, Error::Io { op: expected, path: named, .. }) => {
            assert_eq!((op, path), (expected, named));
        }
        _ => assert_eq!(reading.to_string(), error.to_string()),
    }
    assert_eq!(fs::read(path).ok(), before, "a failed open changes bytes");
    assert!(!error.to_string().is_empty());
    error
}

fn with_content(content: &[u8]) -> (TempDir, std::path::PathBuf) {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    fs::write(&path, content).unwrap();
    (directory, path)
}

#[test]
fn an_empty_file_is_refused_as_empty() {
    let (_directory, path) = with_content(b"");
    assert!(matches!(refused::<P>(&path), Error::Empty { expected: 20480 }));
}

#[test]
fn a_file_shorter_than_the_reserved_region_is_refused_with_both_lengths() {
    for len in [1, 511, 4096, 20479] {
        let (_directory, path) = with_content(&vec![0; len]);
        let error = refused::<P>(&path);
        assert!(matches!(error, Error::TooShort { expected: 20480, found } if found == len as u64), "{error}");
    }
}

#[test]
fn a_file_of_another_program_is_refused_as_such() {
    for content in [vec![0; 40_000], vec![0xff; 40_000], b"SQLite format 3\0".repeat(3000)] {
        let (_directory, path) = with_content(&content);
        let found = u64::from_le_bytes(content[..8].try_into().unwrap());
        let error = refused::<P>(&path);
        assert!(matches!(error, Error::NotDiptych { found: it, .. } if it == found), "{error}");
    }
}

#[test]
fn a_file_of_another_page_size_is_refused_with_both_sizes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<16384>::create(&path).unwrap().close().unwrap();
    let error = refused::<P>(&path);
    assert!(matches!(error, Error::PageSize { expected: 4096, found: 16384 }), "{error}");
    assert!(error.to_string().contains("16384") && error.to_string().contains("4096"));
}

#[test]
fn a_file_of_a_newer_format_is_refused_with_both_versions() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<P>::create(&path).unwrap().close().unwrap();
    let mut content = fs::read(&path).unwrap();
    content[8..12].copy_from_slice(&2u32.to_le_bytes());
    let crc = crc32fast::hash(&content[..60]);
    content[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(&path, &content).unwrap();
    assert!(matches!(refused::<P>(&path), Error::FormatVersion { expected: 1, found: 2 }));
}

#[test]
fn what_is_no_file_is_refused_with_path_and_operation() {
    let directory = TempDir::new().unwrap();
    let missing = directory.path().join("missing");
    for (path, kind) in [(missing.as_path(), io::ErrorKind::NotFound), (directory.path(), io::ErrorKind::IsADirectory)]
    {
        match refused::<P>(path) {
            Error::Io { op: "open", path: named, source } => {
                assert_eq!(named, path);
                assert_eq!(source.kind(), kind);
            }
            other => panic!("{other}"),
        }
    }
}

#[test]
fn a_file_shorter_than_its_metadata_says_is_refused_with_both_lengths() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<P>::create(&path).unwrap().close().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    for cut in (20480..len).step_by(512) {
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(cut).unwrap();
        let error = refused::<P>(&path);
        assert!(matches!(error, Error::Truncated { expected, found } if expected == len && found == cut), "{error}");
        assert!(error.is_corruption());
        fs::OpenOptions::new().write(true).open(&path).unwrap().set_len(len).unwrap();
    }
}

#[test]
fn a_file_longer_than_its_metadata_says_is_accepted_and_reported() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<P>::create(&path).unwrap().close().unwrap();
    let mut content = fs::read(&path).unwrap();
    content.extend([0xaa; 5000]);
    fs::write(&path, &content).unwrap();
    let mut pager = Pager::<P>::open(&path).unwrap();
    assert_eq!(pager.recovery().tail_bytes, 5000);
    assert!(!pager.recovery().is_clean());
    // What was there is not what a new page holds.
    let ids = pager.alloc_bulk(40).unwrap();
    assert!(ids.iter().all(|id| pager.page(*id).unwrap().iter().all(|byte| *byte == 0)));
    assert_eq!(pager.check(), []);
    pager.close().unwrap();
    assert!(Pager::<P>::open(&path).unwrap().recovery().is_clean());
}

/// What a pager shows, to tell acknowledged states apart.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    generation: u64,
    regular: Vec<u64>,
    protected: BTreeMap<u64, u8>,
    header: u8,
}

fn shown(pager: &Pager<P>) -> Result<Shown, Error> {
    let mut protected = BTreeMap::new();
    for id in pager.iter_allocated_protected_pages() {
        protected.insert(id.to_u64(), pager.protected(id)?[17]);
    }
    Ok(Shown {
        generation: pager.generation().to_u64(),
        regular: pager.iter_allocated_pages().map(PageId::to_u64).collect(),
        protected,
        header: pager.header()[0],
    })
}

/// A file with nodes in both tables, at generation g, its image at g - 1, and what both show.
fn two_generations() -> ([SimImage; 2], [Shown; 2]) {
    let [older, newer, _] = generations(two_barriers());
    ([older.0, newer.0], [older.1, newer.1])
}

/// The same, of small commits, and that file after it was closed.
fn small_commits() -> [(SimImage, Shown); 3] {
    generations(PagerOptions::new())
}

fn generations(options: PagerOptions) -> [(SimImage, Shown); 3] {
    let disk = SimDisk::new();
    let mut pager = options.create_on::<P>(&disk).unwrap();
    let ids = pager.alloc_protected_bulk(150).unwrap();
    let pages = pager.alloc_bulk(60).unwrap();
    for round in 1..=2u8 {
        let mut tx = pager.transaction().unwrap();
        tx.protected_mut(ids[0]).unwrap().fill(round);
        tx.protected_mut(ids[140]).unwrap().fill(round);
        tx.set_header(&[round; 128]).unwrap();
        tx.commit().unwrap();
    }
    let older = (disk.cached_image(), shown(&pager).unwrap());
    let mut tx = pager.transaction().unwrap();
    tx.free(pages[5]).unwrap();
    tx.protected_mut(ids[1]).unwrap().fill(3);
    tx.protected_mut(ids[140]).unwrap().fill(3);
    tx.set_header(&[3; 128]).unwrap();
    tx.commit().unwrap();
    let newer = (disk.cached_image(), shown(&pager).unwrap());
    pager.close().unwrap();
    let closed = disk.cached_image();
    let shown = shown(&options.open_on::<P>(&disk).unwrap()).unwrap();
    [older, newer, (closed, shown)]
}

/// What may become of a damaged file: a state that was acknowledged last, or a refusal that names something.
fn survives_or_is_refused(image: SimImage, newest: &Shown, what: &str) -> bool {
    let disk = SimDisk::from_image(image);
    let before = disk.cached_image().fingerprint();
    match PagerOptions::new().open_on::<P>(&disk) {
        Ok(pager) => {
            match shown(&pager) {
                Ok(found) => assert_eq!(&found, newest, "{what}"),
                // A protected page is verified when it is touched.
                Err(Error::Corrupt { block: Block::ProtectedPage { .. }, field: "checksum", .. }) => {
                    assert_ne!(pager.check(), [], "{what}: a check finds what a touch finds");
                }
                Err(error) => panic!("{what}: {error}"),
            }
            true
        }
        Err(Error::Corrupt { block, field, .. }) => {
            assert!(!field.is_empty(), "{what}: {block}");
            assert_eq!(disk.cached_image().fingerprint(), before, "{what}: a failed open changes bytes");
            false
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

fn damages(image: &SimImage, older: &SimImage, offset: u64, len: usize) -> Vec<(&'static str, SimImage)> {
    let replaced = |bytes: &[u8]| {
        let mut damaged = image.clone();
        damaged.write(offset, bytes);
        damaged
    };
    let mut stale = vec![0; len];
    older.read(offset, &mut stale);
    let mut torn = vec![0; len];
    image.read(offset, &mut torn);
    torn[..len / 2].fill(0x3c);
    let noise: Vec<u8> = (0..=250u8).cycle().map(|byte| byte.wrapping_mul(167)).take(len).collect();
    let mut flipped = image.clone();
    flipped.flip_bit(offset + 20, 3);
    vec![
        ("zeroed", replaced(&vec![0; len])),
        ("all ones", replaced(&vec![0xff; len])),
        ("random", replaced(&noise)),
        ("torn", replaced(&torn)),
        ("flipped", flipped),
        ("stale", replaced(&stale)),
    ]
}

#[test]
fn one_bad_block_anywhere_never_yields_a_wrong_state() {
    let ([older, newer], [old, newest]) = two_generations();
    let [_, before, closed] = small_commits();
    for ([older, newer], [old, newest]) in
        [([older, newer], [old, newest]), ([before.0, closed.0], [before.1, closed.1])]
    {
        assert!(old.generation + 1 == newest.generation && old != newest);
        let (mut survived, mut refused) = (0, 0);
        for block in 0..newer.len() / BLOCK as u64 {
            for (how, damaged) in damages(&newer, &older, block * BLOCK as u64, BLOCK) {
                let what = format!("block {block} {how}");
                if survives_or_is_refused(damaged, &newest, &what) { survived += 1 } else { refused += 1 }
            }
        }
        assert!(survived > 100 && refused > 10, "{survived} survived, {refused} refused");
    }
}

#[test]
fn every_bit_of_the_reserved_region_may_flip() {
    let ([_, newer], [_, newest]) = two_generations();
    let [.., closed] = small_commits();
    for (newer, newest) in [(newer, newest), closed] {
        for offset in 0..20480u64 {
            // All bits of the small structures, one of each byte of the slots and the metadata, here and there one of what
            // nothing uses.
            let bits = match offset % 4096 {
                0..64 => 0..8,
                _ if offset >= 4096 || offset % 97 == 0 => 3..4,
                _ => continue,
            };
            for bit in bits {
                let mut damaged = newer.clone();
                damaged.flip_bit(offset, bit);
                survives_or_is_refused(damaged, &newest, &format!("bit {bit} of byte {offset}"));
            }
        }
    }
}

#[test]
fn a_lost_identity_is_rebuilt_and_reported() {
    let ([_, newer], [_, newest]) = two_generations();
    let mut damaged = newer.clone();
    damaged.write(0, &[0; BLOCK]);
    let disk = SimDisk::from_image(damaged);
    let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    assert!(pager.recovery().identity_rebuilt);
    assert_eq!(shown(&pager).unwrap(), newest);
    drop(pager);
    assert!(PagerOptions::new().open_on::<P>(&disk).unwrap().recovery().is_clean());
}

#[test]
fn both_slots_lost_are_rebuilt_from_the_metadata() {
    let ([_, newer], [_, newest]) = two_generations();
    let mut damaged = newer.clone();
    damaged.write(4096, &[0x55; 2 * BLOCK]);
    let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)).unwrap();
    assert!(pager.recovery().adopted);
    assert_eq!(shown(&pager).unwrap(), newest);
}

#[test]
fn a_broken_promise_is_refused_by_name_and_the_older_state_taken_on_request() {
    let ([_, newer], [old, newest]) = two_generations();
    for copy in [TwinCopy::A, TwinCopy::B] {
        let mut damaged = newer.clone();
        damaged.write(12288 + 4096 * copy.index() as u64, &[0x55; BLOCK]);
        match PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged.clone())) {
            Ok(pager) => assert_eq!(shown(&pager).unwrap(), newest, "the copy was the older one"),
            Err(Error::Corrupt { block, .. }) => {
                assert_eq!(block, Block::Metadata(copy));
                let options = PagerOptions::new().accept_older_state(true);
                let pager = options.open_on::<P>(&SimDisk::from_image(damaged)).unwrap();
                assert_eq!(pager.recovery().passed_over.map(|generation| generation.to_u64()), Some(newest.generation));
                assert_eq!(pager.generation().to_u64(), old.generation);
                assert_eq!(pager.header()[0], old.header);
            }
            Err(error) => panic!("{error}"),
        }
    }
}

#[test]
fn a_protected_page_that_rots_is_an_error_on_touch_and_can_be_healed() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let id = pager.alloc_protected().unwrap();
    let mut writer = pager.protected_mut(id).unwrap();
    writer.page_mut().fill(0x42);
    writer.commit().unwrap();
    pager.close().unwrap();
    let mut image = disk.cached_image();
    let bytes = image.to_vec();
    let at = bytes.chunks(P).position(|page| page.iter().all(|byte| *byte == 0x42)).unwrap() as u64;
    image.flip_bit(at * P as u64 + 99, 1);

    let disk = SimDisk::from_image(image);
    let mut pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    let error = pager.protected(id).unwrap_err();
    let named = matches!(error, Error::Corrupt { block: Block::ProtectedPage { id: 1 }, page, field: "checksum", .. } if page == at);
    assert!(named, "{error}");
    assert!(pager.protected_mut(id).is_err(), "a writer starts from what is live");
    assert_eq!(pager.check().len(), 1);
    let mut writer = pager.protected_zeroed(id).unwrap();
    writer.page_mut()[0] = 1;
    writer.commit().unwrap();
    assert_eq!(pager.protected(id).unwrap()[..2], [1, 0]);
    assert_eq!(pager.check(), []);
    assert_eq!(ProtectedPageId::<P>::from_u64(1), Some(id));
}

/// The older copy is taken without its pages being proved, so what it lists is checked before anything is written again.
#[test]
fn a_listed_page_past_the_end_is_refused_though_its_content_is_not_looked_at() {
    const LIST: usize = 1328;
    let disk = SimDisk::new();
    let mut pager = two_barriers().create_on::<P>(&disk).unwrap();
    let mut tx = pager.transaction().unwrap();
    let page = tx.alloc().unwrap();
    tx.page_mut(page).unwrap().fill(1);
    tx.commit().unwrap();
    pager.alloc().unwrap();
    drop(pager);
    let mut bytes = disk.cached_image().to_vec();
    // No slot is left, the newer metadata names a twin that does not verify, the older one lists what is no page.
    bytes[4096..12288].fill(0);
    let metadata = |copy: usize| 12288 + copy * 4096..12288 + (copy + 1) * 4096;
    let generation = |bytes: &[u8], copy: usize| bytes[metadata(copy)][32];
    let older = usize::from(generation(&bytes, 1) < generation(&bytes, 0));
    let mend = |block: &mut [u8]| {
        let crc = crc32fast::hash(&block[..4092]);
        block[4092..].copy_from_slice(&crc.to_le_bytes());
    };
    for wrong in [1u64 << 60, (1 << 40) - 1, u64::MAX, 0, 3] {
        let mut bytes = bytes.clone();
        bytes[metadata(1 - older)][304 + 24] ^= 1;
        mend(&mut bytes[metadata(1 - older)]);
        bytes[metadata(older)][LIST..LIST + 8].copy_from_slice(&wrong.to_le_bytes());
        mend(&mut bytes[metadata(older)]);
        let disk = SimDisk::from_image(bytes);
        let before = disk.cached_image().fingerprint();
        let error = PagerOptions::new().open_on::<P>(&disk).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { field: "kind of a listed page", page, .. } if page == wrong),
            "{error}"
        );
        assert_eq!(disk.cached_image().fingerprint(), before);
    }
}

#[test]
fn after_the_last_generation_nothing_is_committed_and_reading_goes_on() {
    const LAST: u64 = (1 << 63) - 1;
    let ([_, newer], [_, newest]) = two_generations();
    let mut forgery = Forgery::of(&newer);
    let (slot, metadata) = (forgery.live_slot(), forgery.live_metadata());
    forgery.put_u64(slot + 24, LAST);
    forgery.put_u64(slot + SLOT_METADATA_GENERATION, LAST);
    forgery.put_u64(metadata + 32, LAST);
    forgery.mend_block(metadata);
    forgery.name_metadata();
    let disk = SimDisk::from_image(forgery.image);
    let mut pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    let before = disk.cached_image();
    assert!(matches!(pager.alloc(), Err(Error::LastGeneration { generation: LAST })));
    assert!(matches!(pager.alloc_protected(), Err(Error::LastGeneration { generation: LAST })));
    assert_eq!(shown(&pager).unwrap(), Shown { generation: LAST, ..newest });
    assert_eq!(pager.check(), []);
    assert!(disk.cached_image() == before);
}

/// The copies that do not count are looked at as well: the next commit, or the next power cut, may need them.
#[test]
#[cfg(unix)]
fn a_check_names_every_block_of_the_reserved_region_that_rots_while_the_file_is_open() {
    use std::os::unix::fs::FileExt;
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut pager = Pager::<P>::create(&path).unwrap();
    pager.alloc().unwrap();
    pager.alloc().unwrap();
    let slots = [Block::Slot(0), Block::Slot(1)];
    let metadata = [TwinCopy::A, TwinCopy::B].map(Block::Metadata);
    let blocks = [Block::Identity].into_iter().chain(slots).chain(metadata);
    let file = fs::OpenOptions::new().read(true).write(true).open(&path).unwrap();
    for (at, block) in (0..).zip(blocks) {
        let mut byte = [0];
        let offset = at * BLOCK as u64 + 20;
        file.read_exact_at(&mut byte, offset).unwrap();
        file.write_all_at(&[!byte[0]], offset).unwrap();
        let found: Vec<Block> = pager.check().iter().map(|finding| finding.block).collect();
        assert_eq!(found, [block]);
        file.write_all_at(&byte, offset).unwrap();
        assert_eq!(pager.check(), []);
    }
    // A whole copy that is newer than the live one is as wrong.
    let mut copies = [[0; BLOCK], [0; BLOCK]];
    file.read_exact_at(&mut copies[0], 3 * BLOCK as u64).unwrap();
    file.read_exact_at(&mut copies[1], 4 * BLOCK as u64).unwrap();
    let live = usize::from(copies[1][32] > copies[0][32]);
    file.write_all_at(&copies[live], (4 - live as u64) * BLOCK as u64).unwrap();
    let found: Vec<&str> = pager.check().iter().map(|finding| finding.field).collect();
    assert_eq!(found, ["generation"]);
}

/// The offsets of the slots: the newest first.
fn slots_by_generation(image: &SimImage) -> [u64; 2] {
    let generation = |slot: u64| {
        let mut bytes = [0; 8];
        image.read(slot + 24, &mut bytes);
        u64::from_le_bytes(bytes)
    };
    if generation(4096) > generation(8192) { [4096, 8192] } else { [8192, 4096] }
}

fn with_block_copied(image: &SimImage, from: u64, to: u64) -> SimImage {
    let mut block = [0; BLOCK];
    image.read(from, &mut block);
    let mut copied = image.clone();
    copied.write(to, &block);
    copied
}

#[test]
fn a_slot_written_over_the_other_one_is_voided_and_reported() {
    let ([_, image], [_, newest]) = two_generations();
    let [newer, older] = slots_by_generation(&image);
    for (from, to, is_adopted) in [(newer, older, false), (older, newer, true)] {
        let disk = SimDisk::from_image(with_block_copied(&image, from, to));
        let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
        assert_eq!(pager.recovery().adopted, is_adopted);
        assert!(!pager.recovery().is_clean());
        assert_eq!(shown(&pager).unwrap(), newest);
        assert_eq!(pager.check(), []);
        drop(pager);
        assert!(PagerOptions::new().open_on::<P>(&disk).unwrap().recovery().is_clean());
    }
}

/// No crash makes two slots the same, so the one that was overwritten may have named a commit that was acknowledged.
#[test]
fn a_commit_whose_slot_the_older_one_overwrote_is_not_passed_over_in_silence() {
    let disk = SimDisk::new();
    let mut pager = two_barriers().create_on::<P>(&disk).unwrap();
    pager.alloc().unwrap();
    let mut tx = pager.transaction().unwrap();
    let page = tx.alloc().unwrap();
    tx.page_mut(page).unwrap().fill(1);
    tx.commit().unwrap();
    let generation = pager.generation().to_u64();
    // From here on the list of the commit does not prove it.
    pager.page_mut(page).unwrap().fill(2);
    pager.close().unwrap();

    let image = disk.cached_image();
    let [newer, older] = slots_by_generation(&image);
    let damaged = with_block_copied(&image, older, newer);
    let error = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)).unwrap_err();
    let Error::Ambiguous { candidate, stands, page: differs } = error else { panic!("{error}") };
    assert_eq!((candidate, stands, differs), (generation, generation - 1, page.to_u64()));
}

fn newest_slot(image: &SimImage) -> (Block, u64) {
    let at = Forgery::of(image).live_slot();
    (Block::Slot(u8::from(at == 8192)), at)
}

/// Where the pages begin that hold one byte all over.
fn pages_of(image: &SimImage, fill: u8) -> Vec<u64> {
    let bytes = image.to_vec();
    let pages = (0..).step_by(P).zip(bytes.chunks(P));
    pages.filter(|(_, page)| page.iter().all(|byte| *byte == fill)).map(|(at, _)| at).collect()
}

/// Damage to what the newest small commit wrote cannot be told from a power cut in the middle of it.
#[track_caller]
fn takes_the_newest_commit_back(damaged: SimImage, [older, newer]: [&(SimImage, Shown); 2]) {
    let disk = SimDisk::from_image(damaged);
    let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    let recovery = pager.recovery();
    assert_eq!(recovery.voided, [newest_slot(&newer.0).0]);
    assert_eq!(
        (recovery.generation.to_u64(), recovery.adopted, recovery.passed_over),
        (older.1.generation, false, None)
    );
    assert_eq!(shown(&pager).unwrap(), older.1);
    assert_eq!(pager.check(), []);
    drop(pager);
    let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
    assert!(pager.recovery().is_clean());
    assert_eq!(shown(&pager).unwrap(), older.1);
}

#[test]
fn one_flipped_bit_of_the_newest_slot_of_a_file_that_was_not_closed_takes_the_newest_commit_back() {
    let [older, newer, _] = small_commits();
    let (_, slot) = newest_slot(&newer.0);
    // All bits of the head, one of each byte of the rows; behind the CRC there is nothing.
    for offset in 0..4084 {
        for bit in if (256..4080).contains(&offset) { 3..4 } else { 0..8 } {
            let mut damaged = newer.0.clone();
            damaged.flip_bit(slot + offset, bit);
            takes_the_newest_commit_back(damaged, [&older, &newer]);
        }
    }
    for offset in 4084..4096 {
        let mut damaged = newer.0.clone();
        damaged.flip_bit(slot + offset, 3);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)).unwrap();
        assert!(pager.recovery().is_clean());
        assert_eq!(shown(&pager).unwrap(), newer.1);
    }
}

#[test]
fn damage_of_a_protected_page_that_the_newest_small_commit_wrote_takes_that_commit_back() {
    let [older, newer, _] = small_commits();
    let written = pages_of(&newer.0, 3);
    assert_eq!(written.len(), 2);
    for page in written {
        for (_, damaged) in damages(&newer.0, &older.0, page, P) {
            takes_the_newest_commit_back(damaged, [&older, &newer]);
        }
    }
}

/// What an earlier one wrote was acknowledged before the newest one began.
#[test]
fn damage_of_a_protected_page_that_an_earlier_small_commit_wrote_takes_nothing_back() {
    let [_, newer, _] = small_commits();
    let mut found = Vec::new();
    for at in pages_of(&newer.0, 2) {
        let mut damaged = newer.0.clone();
        damaged.flip_bit(at + 99, 1);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)).unwrap();
        assert!(pager.recovery().is_clean());
        assert_eq!(pager.generation().to_u64(), newer.1.generation);
        found.extend(pager.check().iter().map(|finding| (finding.block, finding.page * P as u64 == at)));
    }
    // The other page of that content is the copy of what the newest commit wrote again.
    assert_eq!(found, [(Block::ProtectedPage { id: 1 }, true)]);
}

/// A sector that the newest commit did not write cannot be one that a power cut left unreadable.
#[test]
fn what_cannot_be_read_takes_the_newest_commit_back_only_where_that_wrote_it() {
    let [older, newer, _] = small_commits();
    let (_, slot) = newest_slot(&newer.0);
    let written = pages_of(&newer.0, 3);
    for block in (0..newer.0.len()).step_by(BLOCK) {
        let mut image = newer.0.clone();
        image.set_unreadable(block / 512, block / 512);
        let disk = SimDisk::from_image(image);
        match PagerOptions::new().open_on::<P>(&disk) {
            Ok(pager)
                if block == slot || written.contains(&block) && pager.generation().to_u64() < newer.1.generation =>
            {
                assert_eq!(pager.generation().to_u64(), older.1.generation);
                assert!(!pager.recovery().is_clean());
            }
            Ok(pager) => assert_eq!(pager.generation().to_u64(), newer.1.generation, "at {block}"),
            Err(error) => assert!(error.is_io() && !written.contains(&block), "at {block}: {error}"),
        }
    }
}

/// A slot that is found torn is voided by a record of the next generation, for what stands is durable by then.
#[test]
fn a_page_that_rots_after_a_recovery_is_an_error_on_touch_and_takes_nothing_back() {
    let [_, newer, _] = small_commits();
    let (_, slot) = newest_slot(&newer.0);
    let mut torn = newer.0.clone();
    torn.write(12288 - slot, &[0x55; BLOCK]);
    let disk = SimDisk::from_image(torn);
    drop(PagerOptions::new().open_on::<P>(&disk).unwrap());
    for page in pages_of(&newer.0, 3) {
        let mut rotten = disk.durable_image();
        rotten.flip_bit(page + 99, 1);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(rotten)).unwrap();
        assert_eq!(pager.generation().to_u64(), newer.1.generation);
        assert!(pager.recovery().is_clean());
        assert_eq!(pager.check().len(), 1, "{:?}", pager.check());
    }
}

#[test]
fn in_a_file_that_was_closed_no_flipped_bit_of_a_slot_takes_a_commit_back() {
    let [_, newer, closed] = small_commits();
    assert_eq!(closed.1, Shown { generation: newer.1.generation + 1, ..newer.1 });
    let (_, newest) = newest_slot(&closed.0);
    for (slot, is_adopted) in [(newest, true), (12288 - newest, false)] {
        for offset in 0..4084 {
            let mut damaged = closed.0.clone();
            damaged.flip_bit(slot + offset, 5);
            let disk = SimDisk::from_image(damaged);
            let pager = PagerOptions::new().open_on::<P>(&disk).unwrap();
            assert_eq!(pager.recovery().adopted, is_adopted, "byte {offset}");
            assert_eq!(pager.recovery().voided.is_empty(), is_adopted, "byte {offset}");
            assert_eq!(shown(&pager).unwrap(), closed.1);
            assert_eq!(pager.check(), []);
        }
    }
}

#[test]
fn in_a_file_that_was_closed_a_protected_page_of_the_newest_small_commit_is_an_error_on_touch() {
    let [_, newer, closed] = small_commits();
    let written = pages_of(&closed.0, 3);
    assert_eq!(written, pages_of(&newer.0, 3));
    for at in written {
        let mut damaged = closed.0.clone();
        damaged.flip_bit(at + 99, 1);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)).unwrap();
        assert!(pager.recovery().is_clean());
        let touched = pager.iter_allocated_protected_pages().filter_map(|id| pager.protected(id).err());
        let errors: Vec<Error> = touched.collect();
        let is_named = matches!(&errors[..], [Error::Corrupt { block: Block::ProtectedPage { .. }, page, field: "checksum", .. }] if *page == at / P as u64);
        assert!(is_named, "{errors:?}");
        assert_eq!(pager.check().len(), 1);
        assert_eq!((pager.generation().to_u64(), pager.header()[0]), (closed.1.generation, closed.1.header));
    }
}

#[test]
fn both_slots_lost_after_small_commits_are_refused_and_the_checkpoint_taken_on_request() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    let id = pager.alloc_protected().unwrap();
    let checkpoint = shown(&pager).unwrap();
    pager.alloc_bulk(3).unwrap();
    let mut writer = pager.protected_mut(id).unwrap();
    writer.page_mut().fill(3);
    writer.commit().unwrap();
    let now = disk.cached_image();
    assert_eq!(pager.generation().to_u64(), checkpoint.generation + 2);
    drop(pager);
    for junk in [0x55, 0] {
        let mut damaged = now.clone();
        damaged.write(4096, &[junk; 2 * BLOCK]);
        let disk = SimDisk::from_image(damaged);
        let before = disk.cached_image();
        let error = PagerOptions::new().open_on::<P>(&disk).unwrap_err();
        let named = matches!(error, Error::Corrupt { block: Block::Slot(0), page: 1, field: "magic", .. });
        assert!(named, "{error}");
        assert!(disk.cached_image() == before, "a failed open changes bytes");
        let pager = PagerOptions::new().accept_older_state(true).open_on::<P>(&disk).unwrap();
        assert!(pager.recovery().adopted);
        assert_eq!(shown(&pager).unwrap(), checkpoint);
        assert_eq!(pager.check(), []);
        drop(pager);
        assert!(PagerOptions::new().open_on::<P>(&disk).unwrap().recovery().is_clean());
    }
}

/// A header change writes no twin, so nothing but the identity tells the metadata of one file from that of another.
#[test]
fn metadata_of_another_file_is_no_candidate() {
    let create = |seed, header: &[u8]| {
        let disk = SimDisk::new();
        disk.set_seed(seed);
        let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
        if !header.is_empty() {
            let mut tx = pager.transaction().unwrap();
            tx.set_header(header).unwrap();
            tx.commit().unwrap();
        }
        drop(pager);
        disk.durable_image()
    };
    let (own, newer, foreign) = (create(1, b""), create(1, b"own"), create(2, b"foreign"));
    let with_second_copy = |copy: &SimImage, change: &dyn Fn(&mut Forgery)| {
        let mut forgery = Forgery::of(copy);
        change(&mut forgery);
        let mut block = [0; BLOCK];
        forgery.image.read(4 * 4096, &mut block);
        let mut image = own.clone();
        image.write(4 * 4096, &block);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).unwrap();
        assert_eq!(pager.check(), []);
        (pager.generation().to_u64(), pager.header()[..7].to_vec(), pager.recovery().voided.clone())
    };
    let voided = vec![Block::Metadata(TwinCopy::B)];
    assert_eq!(with_second_copy(&newer, &|_| {}), (2, b"own\0\0\0\0".to_vec(), vec![]), "it is adopted");
    assert_eq!(with_second_copy(&foreign, &|_| {}), (1, vec![0; 7], voided.clone()));
    let other_page_size = |forgery: &mut Forgery| {
        forgery.put_u64(4 * 4096 + 8, 8192 << 32);
        forgery.mend_block(4 * 4096);
    };
    assert_eq!(with_second_copy(&newer, &other_page_size), (1, vec![0; 7], voided));
}

#[test]
fn metadata_of_two_files_and_no_identity_is_refused_with_both_ids() {
    let file = |seed| {
        let disk = SimDisk::new();
        disk.set_seed(seed);
        let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
        pager.alloc().unwrap();
        drop(pager);
        disk.durable_image()
    };
    let (mut image, other) = (file(1), file(2));
    let id_of = |image: &SimImage| {
        let mut id = [0; 8];
        image.read(16, &mut id);
        u64::from_be_bytes(id)
    };
    let ids = (id_of(&image), id_of(&other));
    let mut block = [0; BLOCK];
    other.read(4 * 4096, &mut block);
    image.write(4 * 4096, &block);
    image.write(0, &[0x55; BLOCK]);
    match PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).unwrap_err() {
        Error::Corrupt { block: Block::Identity, page: 0, field: "file id", expected, found } => {
            assert_eq!((expected, found), ids);
        }
        other => panic!("{other}"),
    }
}

/// What a newer version of the crate wrote may be a commit that was acknowledged, though its slot is lost.
#[test]
fn newer_metadata_with_unknown_features_is_refused_though_no_slot_names_it() {
    let ([_, older], [_, _]) = two_generations();
    let disk = SimDisk::from_image(older);
    let mut pager = two_barriers().open_on::<P>(&disk).unwrap();
    let epoch = disk.epoch_count();
    pager.alloc().unwrap();
    drop(pager);
    // The metadata of the commit is behind its first barrier, its slot is not.
    let mut forgery = Forgery::of(&disk.epoch(epoch).unwrap().base());
    let newer = [3, 4].map(|block| block * 4096).into_iter().max_by_key(|copy| forgery.u64_at(copy + 32)).unwrap();
    assert!(forgery.u64_at(newer + 32) > forgery.u64_at(forgery.live_slot() + 24));
    forgery.put_u64(newer + 40, 1 << 63);
    forgery.mend_block(newer);
    let disk = SimDisk::from_image(forgery.image.clone());
    let error = PagerOptions::new().open_on::<P>(&disk).unwrap_err();
    assert!(matches!(error, Error::UnknownFeatures { expected: 1, found } if found == 1 << 63), "{error}");
    assert!(disk.cached_image() == forgery.image);
}

#[test]
fn a_check_goes_on_where_a_block_cannot_be_read_and_gives_the_number_of_the_error() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
    pager.alloc_protected_bulk(3).unwrap();
    let reads = disk.calls(CallKind::Read);
    assert_eq!(pager.check(), []);
    let reads = disk.calls(CallKind::Read) - reads;
    assert_eq!(reads, 5 + 1 + 3, "the reserved blocks, a leaf, the protected pages");
    for n in 1..=reads {
        disk.fail(FaultPlan::nth(CallKind::Read, n).errno(28));
        let findings = pager.check();
        disk.clear_faults();
        let found: Vec<_> = findings.iter().map(|finding| (finding.field, finding.expected, finding.found)).collect();
        assert_eq!(found, [("read error", 0, 28)], "read {n}");
    }
}
