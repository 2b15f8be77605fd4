//! Whole blocks that are not what they were: lost and misdirected writes, stale and foreign blocks, entries that name each
//! other's pages, files that are cut or too long.

use crate::block::Block;
use crate::engine::geometry::Geometry;
use crate::error::Error;
use crate::format::{BLOCK_LEN, MAX_GENERATION, RESERVED_LEN, TwinEntry, encode_void};
use crate::storage::SimImage;

use super::forgery::{Forgery, Mending};
use super::outcome::{Expect, Tally};
use super::start::{Content, FILE_ID, Site, Start, block_at};

/// What is expected of a block that holds something else, with nothing mended. A slot that shows what it held earlier, or what
/// the other slot holds, is whole: whether a file that survives that has anything to report depends on the rest.
fn replaced(site: &Site) -> Expect {
    match site.block {
        Block::ProtectedPage { id } if site.is_live => Expect::Rotten { index: id - 1 },
        block => Expect::Right { names: (!site.is_reserved()).then_some(block), is_reported: false },
    }
}

/// Each block and each protected page as it was one commit earlier, two, and so on: a lost write. Then with its parents made
/// to name it.
pub(super) fn older_selves(tally: &mut Tally, start: &Start) {
    for (at, site) in start.sites.iter().enumerate() {
        for (age, older) in start.older.iter().enumerate() {
            let end = site.offset + u64::try_from(site.len).expect("a page");
            if older.len() < end {
                continue;
            }
            let mut bytes = vec![0; site.len];
            older.read(site.offset, &mut bytes);
            let mut forgery = Forgery::of(start);
            forgery.image.write(site.offset, &bytes);
            if forgery.image == start.image {
                continue;
            }
            let name = || format!("{} as it was {} commits before", site.block, age + 1);
            tally.run(start, &forgery.image, replaced(site), name);
            forgery.mend_chain(at);
            tally.run(start, &forgery.image, Expect::Safe, || format!("{}, mended", name()));
        }
    }
}

/// Each block where another one belongs: a misdirected write. Zeros and ones, too.
pub(super) fn misdirected(tally: &mut Tally, start: &Start) {
    let sources = start.sites.iter().map(|site| (site.block.to_string(), block_at(&start.image, site.offset)));
    let blanks = [("zeros", [0; BLOCK_LEN]), ("ones", [0xff; BLOCK_LEN])].map(|(name, block)| (name.to_owned(), block));
    for (source, block) in sources.chain(blanks) {
        for site in &start.sites {
            let mut image = start.image.clone();
            image.write(site.offset, &block[..site.len.min(BLOCK_LEN)]);
            if image != start.image {
                tally.run(start, &image, replaced(site), || format!("{source} in the place of {}", site.block));
            }
        }
    }
}

/// The four blocks that commits write, each as it is, blank, void, or older, in every combination.
pub(super) fn reserved_blocks(tally: &mut Tally, start: &Start) {
    let conditions = 6usize;
    for combination in 0..conditions.pow(4) {
        let mut image = start.image.clone();
        for (at, site) in start.sites[1..5].iter().enumerate() {
            let older = start.older.last().unwrap_or(&start.image);
            let block = match combination / conditions.pow(u32::try_from(at).expect("four")) % conditions {
                0 => continue,
                1 => [0; BLOCK_LEN],
                2 => [0xff; BLOCK_LEN],
                3 => encode_void(0, FILE_ID),
                4 => encode_void(MAX_GENERATION, FILE_ID),
                _ => block_at(older, site.offset),
            };
            image.write(site.offset, &block);
        }
        if image != start.image {
            tally.run(start, &image, Expect::Safe, || format!("combination {combination} of slots and metadata"));
        }
    }
}

/// What entries may be made to say: nothing, what another entry says, their copies in the other order, in one block, or where
/// their own parent is. Parents are mended, counts too where a refusal says what they should be.
pub(super) fn entries(tally: &mut Tally, start: &Start) {
    let whole = Forgery::of(start);
    let pages = Geometry::new(start.page_size);
    for (at, site) in start.sites.iter().enumerate().filter(|(_, site)| !site.is_reserved()) {
        for parent in &site.parents {
            let entry = TwinEntry::decode(&whole.entry(parent)).expect("a start is whole");
            let [a, b] = entry.copies;
            let above = pages.page_at(start.sites[parent.site].offset);
            let mut forged = vec![
                ("drops it", TwinEntry::EMPTY),
                ("shows the other copy", TwinEntry { live: entry.live.other(), ..entry }),
                ("has its copies exchanged", TwinEntry { copies: [b, a], ..entry }),
                ("exchanges its copies", TwinEntry { copies: [b, a], live: entry.live.other(), ..entry }),
                ("has both copies in one block", TwinEntry { copies: [a, a + 1], ..entry }),
                ("has a copy that overlaps the other", TwinEntry { copies: [b + 1, b], ..entry }),
                ("names its parent as copy A", TwinEntry { copies: [above.max(1), b], ..entry }),
                ("names its parent as copy B", TwinEntry { copies: [a, above.max(1)], ..entry }),
                ("is of a later commit", TwinEntry { generation: start.shown.generation + 1, ..entry }),
                ("is of the last commit that there can be", TwinEntry { generation: MAX_GENERATION, ..entry }),
            ];
            let others = start.sites.iter().filter(|other| other.block != site.block);
            let others = others.flat_map(|other| other.parents.first()).map(|parent| whole.entry(parent));
            forged.extend(others.filter_map(|other| Some(("is another one's", TwinEntry::decode(&other).ok()?))));
            for (how, entry) in
                forged.into_iter().filter(|(_, entry)| entry.copies[0] != entry.copies[1] || entry.is_empty())
            {
                let mut forgery = whole.clone();
                forgery.put_entry(parent, &entry.encode());
                forgery.mend_chain(parent.site);
                // Its pages are the engine's and nobody's then.
                let is_lost = entry.is_empty() && start.is_of_the_newest(parent.site);
                let expect = if is_lost { Expect::Refused } else { Expect::Safe };
                forgery.run_and_follow(tally, expect, &|| format!("the entry of {} (site {at}) {how}", site.block));
            }
        }
    }
}

/// Each twin at another place of its table: its entry moved, the block saying so itself.
pub(super) fn moved_entries(tally: &mut Tally, start: &Start) {
    for (at, site) in start.sites.iter().enumerate().filter(|(_, site)| !site.is_reserved()) {
        for parent in &site.parents {
            let behind = start.places_behind(parent);
            for moved in [1, 2, behind / 2, behind].into_iter().filter(|moved| (1..=behind).contains(moved)) {
                let mut forgery = Forgery::of(start);
                if let Some(index) = site.structure.and_then(|structure| structure.cell("index")) {
                    let moved = u64::try_from(moved).expect("a small number");
                    forgery.change(at, |block| index.put(block, index.get(block) + moved));
                }
                forgery.mend_chain(at);
                forgery.move_entry(parent, moved);
                let name = || format!("the entry of {} (site {at}) stands {moved} places behind", site.block);
                forgery.run_and_follow(tally, Expect::Safe, &name);
            }
        }
    }
}

/// The spare slot and metadata say what they said, and that they are of the newest generation: refused by name, with the
/// slots and without.
pub(super) fn equal_generations(tally: &mut Tally, start: &Start) {
    let spare = start.sites[3..5].iter().position(|site| Some(&site.block) != start.live_metadata().as_ref());
    let spare = 3 + spare.expect("one copy is not live");
    let structure = start.sites[spare].structure.expect("a structure");
    let cell = structure.cell("generation").expect("the metadata has a generation");
    let mut forgery = Forgery::of(start);
    forgery.change(spare, |block| cell.put(block, start.shown.generation));
    forgery.mend(spare, cell, Mending::Agreed);
    let refusal = tally.run(start, &forgery.image, Expect::Safe, || "two slots of one generation".to_owned());
    let is_named = matches!(refusal, Some(Error::Corrupt { block: Block::Slot(1), field: "checksum", .. }));
    assert!(is_named, "{refusal:?}");
    for slot in [1, 2] {
        forgery.change(slot, |block| block.fill(0));
    }
    let refusal = tally.run(start, &forgery.image, Expect::Safe, || "two copies of one generation".to_owned());
    assert!(
        matches!(refusal, Some(Error::Corrupt { block: Block::Metadata(_), field: "generation", .. })),
        "{refusal:?}"
    );
}

/// The file cut at every sector, a byte before and a byte behind, and longer than it was.
pub(super) fn lengths(tally: &mut Tally, start: &Start) {
    let len = start.image.len();
    for sector in (0..len).step_by(SimImage::SECTOR_LEN) {
        for cut in [sector.saturating_sub(1), sector, sector + 1] {
            let mut image = start.image.clone();
            image.set_len(cut);
            let refusal = tally.run(start, &image, Expect::Safe, || format!("cut to {cut} bytes"));
            let is_named = match refusal {
                Some(Error::Empty { expected }) => cut == 0 && expected == RESERVED_LEN,
                Some(Error::TooShort { found, .. }) => cut > 0 && cut < RESERVED_LEN && found == cut,
                Some(Error::Truncated { expected, found }) => {
                    // Small commits may say more pages than the metadata, which is looked at first.
                    let is_whole = expected == len || start.content == Content::Small && expected < len;
                    cut >= RESERVED_LEN && is_whole && found == cut
                }
                _ => false,
            };
            assert!(is_named, "cut to {cut} bytes: {refusal:?}");
        }
    }
    let page = u64::from(start.page_size);
    for tail in [1, 511, 512, 513, page - 1, page, page + 1, 9 * page + 7] {
        for fill in [0, 0xaa] {
            let mut image = start.image.clone();
            image.set_len(len + tail);
            image.write(len, &vec![fill; usize::try_from(tail).expect("a short tail")]);
            let expect = Expect::Right { names: None, is_reported: true };
            let refusal = tally.run(start, &image, expect, || format!("{tail} bytes too long"));
            assert!(refusal.is_none(), "{refusal:?}");
        }
    }
}
