//! Flipped bits and forged files: what opening believes.

use crashlab::forgery::{
    BLOCK, DIRECTORY_TOP, FREE_MAP_TOP, Forgery, NODE_ENTRIES, REGULAR_LIST, SLOT_TOTAL_PAGES, TOTAL_PAGES,
};
use crashlab::lab::Lab;
use crashlab::model::Model;
use crashlab::operation::{End, Operation, Step};
use crashlab::verify::compare;
use diptych::{Block, Durability, Error, Pager, PagerOptions, SimDisk, SimImage};

const P: usize = 4096;

/// Both twins of everything have been written, and the file was closed after small commits.
fn specimen(protected: u8) -> (SimImage, Model) {
    specimen_of(PagerOptions::new(), protected)
}

/// The same, and the newest commit allocated a page, which its metadata lists.
fn specimen_of_two_barriers(protected: u8) -> (SimImage, Model) {
    specimen_of(PagerOptions::new().durability(Durability::TwoBarriers), protected)
}

fn specimen_of(options: PagerOptions, protected: u8) -> (SimImage, Model) {
    let mut lab = Lab::<P>::with_options(options);
    lab.disk.record(false);
    let write = vec![Step::Alloc, Step::Write(255, 0x33), Step::WriteProtected(0, 0x44)];
    let mut operations =
        vec![Operation::AllocProtectedBulk(protected), Operation::AllocBulk(3), Operation::Store(1, 0x22)];
    operations.extend((1..=protected).map(|fill| Operation::WriteProtected(fill - 1, fill)));
    operations.extend([
        Operation::Free(0),
        Operation::Alloc,
        Operation::Transaction(write, End::Commit),
        Operation::Reopen,
    ]);
    operations.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
    (lab.disk.durable_image(), lab.model)
}

fn open(image: &SimImage) -> (SimDisk, Result<Pager<P>, Error>) {
    let disk = SimDisk::from_image(image.clone());
    disk.record(false);
    let pager = PagerOptions::new().open_on::<P>(&disk);
    (disk, pager)
}

fn is_exact(pager: &Pager<P>, model: &Model) {
    assert_eq!(pager.generation().to_u64(), model.generation, "an older state");
    compare(pager, model, &|_, page| Some(vec![page.fill]), 0);
}

/// What may become of damage: the newest state and nothing else, or a refusal by name that leaves the file alone. Of a
/// survivor that is `used`, all free pages are handed out, and none that is in use is among them.
fn survives_whole_or_is_refused(damaged: &SimImage, model: &Model, used: bool, what: &str) -> bool {
    let (disk, opened) = open(damaged);
    match opened {
        Ok(pager) => {
            is_exact(&pager, model);
            if !used {
                return true;
            }
            let free = u8::try_from(pager.free_page_count()).expect("a small file");
            let mut lab = Lab::around(disk, pager, model.clone());
            lab.run(&Operation::AllocBulk(free)).unwrap_or_else(|error| panic!("{what}: {error}"));
            lab.run(&Operation::AllocProtected).unwrap_or_else(|error| panic!("{what}: {error}"));
            lab.compare();
            true
        }
        Err(Error::Corrupt { field, .. }) => {
            assert!(!field.is_empty(), "{what}");
            assert!(disk.cached_image() == *damaged, "{what}: a failed open changes bytes");
            false
        }
        Err(error) => panic!("{what}: {error}"),
    }
}

/// Every bit of a block, one at a time. Returns how many are survived and how many refused.
fn flip_every_bit(image: &SimImage, model: &Model, at: u64, len: u64) -> [usize; 2] {
    let mut counts = [0; 2];
    for (offset, bit) in (at..at + len).flat_map(|offset| (0..8).map(move |bit| (offset, bit))) {
        let mut damaged = image.clone();
        damaged.flip_bit(offset, bit);
        // What is survived is the same state each time, so a part of it is used.
        let used = (offset + u64::from(bit)) % 8 == 0;
        let survived = survives_whole_or_is_refused(&damaged, model, used, &format!("bit {bit} of byte {offset}"));
        counts[usize::from(!survived)] += 1;
    }
    counts
}

const BITS: usize = 8 * 4096;

#[test]
fn no_flipped_bit_of_free_map_or_metadata_rolls_back_or_hands_a_page_out_twice() {
    for (image, model) in [specimen(2), specimen_of_two_barriers(2)] {
        let forgery = Forgery::of(&image);
        let live = forgery.live_metadata();
        let leaf = forgery.live_copy(live + FREE_MAP_TOP);
        let [a, b] = [0, 8].map(|copy| forgery.u64_at(live + FREE_MAP_TOP + copy) * BLOCK);
        assert!(leaf == a || leaf == b);
        // What is live is refused by name, whatever bit of it has changed; what is not is made good.
        assert_eq!(flip_every_bit(&image, &model, live, BLOCK), [0, BITS]);
        assert_eq!(flip_every_bit(&image, &model, leaf, BLOCK), [0, BITS]);
        for other in [7 * BLOCK - live, a + b - leaf] {
            assert_eq!(flip_every_bit(&image, &model, other, BLOCK), [BITS, 0]);
        }
        // Both slots, and the identity, can be told from the metadata.
        for (at, len) in [(0, 64), (BLOCK, 320), (2 * BLOCK - 16, 16), (2 * BLOCK, 320), (3 * BLOCK - 16, 16)] {
            assert_eq!(flip_every_bit(&image, &model, at, len), [usize::try_from(8 * len).expect("few"), 0]);
        }
    }
}

#[test]
fn no_flipped_bit_of_the_directory_hides_a_protected_page() {
    let (image, model) = specimen(30);
    assert_eq!(model.protected.len(), 30);
    let forgery = Forgery::of(&image);
    let top = forgery.live_metadata() + DIRECTORY_TOP;
    let node = forgery.live_copy(top);
    let [a, b] = [0, 8].map(|copy| forgery.u64_at(top + copy) * BLOCK);
    assert_eq!(flip_every_bit(&image, &model, node, BLOCK), [0, BITS]);
    assert_eq!(flip_every_bit(&image, &model, a + b - node, BLOCK), [BITS, 0]);
}

/// The values at which fields of a file go wrong.
fn page_counts(total: u64) -> Vec<u64> {
    let page = P as u64;
    let bounds = [1, 5, 7, total, 1 << 40, 1 << 52, (1 << 63) / page, 1 << 63, u64::MAX, total.swap_bytes(), total / 2];
    let around = bounds.into_iter().flat_map(|bound| [bound.wrapping_sub(1), bound, bound.wrapping_add(1)]);
    around.chain(0..total).collect()
}

#[test]
fn a_crafted_page_count_cuts_off_no_page_that_is_in_use() {
    let (image, model) = specimen(2);
    // One commit more, which lists no page: a listed one is looked for by its number. The slot of a closed file has the total
    // a second time.
    let disk = SimDisk::from_image(image);
    let pager = PagerOptions::new().open_on::<P>(&disk).expect("it is whole");
    let mut lab = Lab::around(disk, pager, model);
    [Operation::WriteProtected(0, 0x55), Operation::Reopen]
        .iter()
        .for_each(|last| lab.run(last).expect("nothing fails"));
    let (image, model) = (lab.disk.durable_image(), lab.model);
    let live = Forgery::of(&image).live_metadata();
    let total = Forgery::of(&image).u64_at(live + TOTAL_PAGES);
    let mut believed = 0;
    for crafted in page_counts(total).into_iter().filter(|crafted| *crafted != total) {
        let mut forgery = Forgery::of(&image);
        forgery.put_u64(live + TOTAL_PAGES, crafted);
        assert!(!survives_whole_or_is_refused(&forgery.image, &model, true, &format!("{crafted:#x} pages, CRC stale")));
        forgery.mend_block(live);
        assert!(!survives_whole_or_is_refused(
            &forgery.image,
            &model,
            true,
            &format!("{crafted:#x} pages, slot stale")
        ));
        forgery.name_metadata();
        let refused_with = |image: &SimImage, disk: &SimDisk, error: &Error| {
            assert!(matches!(error, Error::Corrupt { .. } | Error::Truncated { .. }), "{crafted:#x}: {error}");
            assert!(disk.cached_image() == *image, "{crafted:#x}: a failed open changes bytes");
        };
        let (disk, opened) = open(&forgery.image);
        refused_with(&forgery.image, &disk, &opened.expect_err("the slot says another total"));
        forgery.put_u64(forgery.live_slot() + SLOT_TOTAL_PAGES, crafted);
        forgery.mend_slot();
        let (disk, opened) = open(&forgery.image);
        let Ok(pager) = opened else {
            refused_with(&forgery.image, &disk, &opened.expect_err("it was no success"));
            continue;
        };
        // Fewer pages than there are, and all that are in use among them: whoever forges that may.
        believed += 1;
        assert!(crafted < total, "{crafted:#x} pages of a file of {total}");
        let least = |lab: &Lab<P>| lab.model.regular.keys().last().map_or(0, |page| (page + 1) * P as u64);
        is_exact(&pager, &model);
        let mut lab = Lab::around(disk, pager, model.clone());
        for operation in [
            Operation::Alloc,
            Operation::AllocBulk(60),
            Operation::Free(0),
            Operation::AllocProtectedBulk(9),
            Operation::Reopen,
        ] {
            lab.run(&operation).unwrap_or_else(|error| panic!("{crafted:#x}, {operation:?}: {error}"));
            lab.compare();
            assert!(lab.disk.cached_image().len() >= least(&lab), "{crafted:#x}: the file is cut");
        }
    }
    assert!(believed > 0, "no count was believed");
}

/// Opening refuses, or a check of all that is open finds it, with this field.
fn is_refused_for(image: &SimImage, field: &str, what: &str) {
    let (disk, opened) = open(image);
    match opened {
        Err(Error::Corrupt { field: found, .. }) => assert_eq!(found, field, "{what}"),
        Err(error) => panic!("{what}: {error}"),
        Ok(_) => panic!("{what} is believed"),
    }
    assert!(disk.cached_image() == *image, "{what}: a failed open changes bytes");
}

/// A block with two links above it: the CRC in it and the checksum in its parent, each with the other one right.
fn break_links(forgery: &Forgery, entry: u64, what: &str) {
    let block = forgery.live_copy(entry);
    for bit in 0..64 {
        // Content and CRC agree, the parent means another block. The last bytes are reserved ones.
        let mut other = forgery.clone();
        other.image.flip_bit(block + 100 + bit, 2);
        other.mend_block(block);
        is_refused_for(&other.image, "checksum", &format!("{what}: content, CRC mended"));
        // The parent's checksum alone is wrong.
        let mut stored = forgery.clone();
        stored.put_u64(entry + 24, stored.u64_at(entry + 24) ^ 1 << bit);
        mend_above(&mut stored, entry);
        is_refused_for(&stored.image, "checksum", &format!("{what}: bit {bit} of the stored checksum"));
    }
    for bit in 0..32 {
        // The parent means the block as it is, and the CRC in it is wrong.
        let mut crc = forgery.clone();
        crc.image.flip_bit(block + 4092 + bit / 8, u32::try_from(bit % 8).expect("a bit"));
        crc.name_copy(entry, BLOCK);
        mend_above(&mut crc, entry);
        is_refused_for(&crc.image, "crc", &format!("{what}: bit {bit} of the CRC"));
    }
}

/// Mends what stands above an entry, which is one of the metadata's or of the directory's first node.
fn mend_above(forgery: &mut Forgery, entry: u64) {
    let live = forgery.live_metadata();
    if entry / BLOCK != live / BLOCK {
        forgery.mend_block(entry / BLOCK * BLOCK);
        forgery.name_copy(live + DIRECTORY_TOP, BLOCK);
    }
    forgery.mend_block(live);
    forgery.name_metadata();
}

#[test]
fn every_stored_checksum_is_compared_at_every_link_of_the_chain() {
    for (image, model) in [specimen(30), specimen_of_two_barriers(30)] {
        let forgery = Forgery::of(&image);
        let live = forgery.live_metadata();
        // Forged without a change it opens: the forger knows the format.
        let mut whole = forgery.clone();
        whole.mend_block(live);
        whole.name_metadata();
        assert!(whole.image == image);
        is_exact(&open(&image).1.expect("it is whole"), &model);

        break_links(&forgery, live + FREE_MAP_TOP, "a leaf");
        break_links(&forgery, live + DIRECTORY_TOP, "a node");
        for bit in 0..64 {
            let mut slot = forgery.clone();
            slot.put_u64(slot.live_slot() + 40, slot.u64_at(slot.live_slot() + 40) ^ 1 << bit);
            slot.mend_slot();
            is_refused_for(&slot.image, "checksum", &format!("bit {bit} of a slot's checksum"));
        }
        let mut other = forgery.clone();
        other.image.flip_bit(live + 200, 1);
        other.mend_block(live);
        is_refused_for(&other.image, "checksum", "metadata, CRC mended");
        protected_pages_are_compared(&forgery, &model);
    }
    listed_pages_are_compared(&Forgery::of(&specimen_of_two_barriers(30).0));
}

/// A protected page has no CRC, so all rests on what its entry holds.
fn protected_pages_are_compared(forgery: &Forgery, model: &Model) {
    let node = forgery.live_copy(forgery.live_metadata() + DIRECTORY_TOP);
    for (at, id) in (0..).zip(model.protected.keys()) {
        let entry = node + NODE_ENTRIES + 32 * at;
        for bit in [0, 13, 31, 32, 63] {
            let mut stored = forgery.clone();
            stored.put_u64(entry + 24, stored.u64_at(entry + 24) ^ 1 << bit);
            mend_above(&mut stored, entry);
            let mut rotten = forgery.clone();
            rotten.image.flip_bit(rotten.live_copy(entry) + 64 * bit, 5);
            for forged in [stored, rotten] {
                let pager = open(&forged.image).1.expect("protected pages are verified when they are touched");
                let touched = pager.iter_allocated_protected_pages().filter_map(|page| pager.protected(page).err());
                let named: Vec<Error> = touched.collect();
                let is_named = matches!(&named[..], [Error::Corrupt { block: Block::ProtectedPage { id: found }, field: "checksum", .. }] if found == id);
                assert!(is_named, "protected page {id}: {named:?}");
                assert_eq!(pager.check().len(), 1);
            }
        }
    }
}

/// The list counts for a commit without a slot: then a checksum of it that is wrong leaves two stories possible.
fn listed_pages_are_compared(forgery: &Forgery) {
    let live = forgery.live_metadata();
    for bit in 0..64 {
        let mut listed = forgery.clone();
        listed.put_u64(live + REGULAR_LIST + 8, listed.u64_at(live + REGULAR_LIST + 8) ^ 1 << bit);
        listed.mend_block(live);
        listed.image.write(listed.live_slot(), &[0x55; 512]);
        let (disk, opened) = open(&listed.image);
        assert!(matches!(opened, Err(Error::Ambiguous { .. })), "bit {bit} of a listed page's checksum: {opened:?}");
        assert!(disk.cached_image() == listed.image);
    }
}
