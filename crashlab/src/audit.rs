//! A second reader of the format, which shares no code with the engine: who owns which page of a file that was recovered.
//!
//! The engine checks itself when it opens a file and on request. Were it wrong in both places in the same way, nobody would
//! notice; so this counts again, from the bytes of the image. It believes checksums, which the engine has compared.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;

use diptych::SimImage;

use crate::forgery::{
    BLOCK, DIRECTORY_TOP, FREE_MAP_TOP, Forgery, NODE_ENTRIES, SLOT_METADATA_GENERATION, SLOT_ROW_COUNTS, SLOT_ROWS,
    SLOT_TOTAL_PAGES, TOTAL_PAGES,
};

const SLOT: u64 = u64::from_le_bytes(*b"DIPslot\0");
const METADATA: u64 = u64::from_le_bytes(*b"DIPmeta\0");
const RESERVED_LEN: u64 = 20480;
const PAGES_PER_LEAF: u64 = 16_128;
const LEAF_WORDS: u64 = PAGES_PER_LEAF / 64;
const LOW_PLANE: u64 = 24;
const HIGH_PLANE: u64 = LOW_PLANE + 8 * LEAF_WORDS;
const TOP_ENTRIES: u64 = 16;
const NODE_FANOUT: u64 = 126;
const ENTRY_LEN: u64 = 32;

/// Pages by what they are, as the bits of the free map say.
#[derive(Debug, Default, PartialEq, Eq)]
struct Counts {
    regular: u64,
    engine: u64,
    table_owned: u64,
    protected: u64,
}

/// What the rows of the newest slot say, beside the metadata that it stands on.
#[derive(Debug, Default)]
struct Changes {
    /// The bits of 64 pages, by word of the map.
    words: BTreeMap<u64, [u64; 2]>,
    /// What stands in place of a checksum in the entries of twins that show a copy, and of extents that have a length, where the
    /// metadata has them; by index.
    turned: BTreeMap<u64, u64>,
    /// Where the entries of protected pages stand that were placed elsewhere, or removed; by index.
    placed: BTreeMap<u64, u64>,
}

impl Changes {
    fn of(file: &Forgery, slot: u64) -> Self {
        let mut changes = Changes::default();
        let count = |at: u64| file.u64_at(slot + SLOT_ROW_COUNTS + at) & u64::from(u32::MAX);
        let mut at = slot + SLOT_ROWS;
        for _ in 0..count(0) {
            changes.words.insert(file.u64_at(at), [8, 16].map(|bits| file.u64_at(at + bits)));
            at += 24;
        }
        for _ in 0..count(4) {
            changes.turned.insert(file.u64_at(at) & ((1 << 40) - 1), file.u64_at(at + 8));
            at += 16;
        }
        for _ in 0..count(8) {
            changes.placed.insert(file.u64_at(at), at + 8);
            at += 40;
        }
        changes
    }
}

/// What was read, and where it stands.
struct Audit {
    file: Forgery,
    page_size: u64,
    slot: u64,
    metadata: u64,
    changes: Changes,
    total: u64,
    counts: Counts,
    /// First pages and lengths of all copies that some entry names.
    claimed: Vec<(u64, u64)>,
    /// Runs of pages that the bits call the engine's.
    engine: Vec<(u64, u64)>,
    /// Pages that the bits say are owned by tables.
    tables: BTreeSet<u64>,
}

fn equal<T: PartialEq + Debug>(what: &str, found: &T, expected: &T) -> Result<(), String> {
    if found == expected { Ok(()) } else { Err(format!("{what}: {found:?}, not {expected:?}")) }
}

/// Whether every page has one owner, all counts are right, every page lies in the file, and nothing in the reserved region
/// is newer than the slot that counts.
///
/// # Errors
///
/// What is wrong.
pub fn audit(image: &SimImage) -> Result<(), String> {
    let file = Forgery::of(image);
    let (slot, metadata) = newest(&file)?;
    let page_size = file.u64_at(8) >> 32;
    let total = file.u64_at(slot + SLOT_TOTAL_PAGES);
    let changes = Changes::of(&file, slot);
    let (counts, claimed, engine, tables) = (Counts::default(), vec![], vec![], BTreeSet::new());
    let mut audit = Audit { file, page_size, slot, metadata, changes, total, counts, claimed, engine, tables };
    if total.checked_mul(page_size).is_none_or(|needed| needed > image.len()) {
        return Err(format!("{total} pages do not lie in {} bytes", image.len()));
    }
    audit.free_map()?;
    audit.directory()?;
    audit.owners()
}

/// Where the newest slot stands, and the metadata that it names. Nothing else may be as new as they are.
fn newest(file: &Forgery) -> Result<(u64, u64), String> {
    let is_commit = |at: u64, magic: u64| file.u64_at(at) == magic;
    let slots: Vec<u64> = [BLOCK, 2 * BLOCK].into_iter().filter(|at| is_commit(*at, SLOT)).collect();
    let slot = slots.iter().copied().max_by_key(|at| file.u64_at(at + 24)).ok_or("no slot holds a commit")?;
    let generation = file.u64_at(slot + 24);
    let metadata = (3 + (file.u64_at(slot + 32) & 1)) * BLOCK;
    let written = file.u64_at(slot + SLOT_METADATA_GENERATION);
    equal("generation of the live metadata", &file.u64_at(metadata + 32), &written)?;
    if written == generation {
        let totals = |at: u64| (0..5).map(|total| file.u64_at(at + 8 * total)).collect::<Vec<_>>();
        equal("totals in the slot", &totals(slot + SLOT_TOTAL_PAGES), &totals(metadata + TOTAL_PAGES))?;
    }
    let newer = |at: &u64| *at != slot && file.u64_at(*at + 24) >= generation;
    let other = 7 * BLOCK - metadata;
    if slots.iter().any(newer) || is_commit(other, METADATA) && file.u64_at(other + 32) >= written {
        return Err(format!("something beside the live slot is as new as generation {generation}"));
    }
    Ok((slot, metadata))
}

impl Audit {
    fn pages_per_block(&self) -> u64 {
        BLOCK.div_ceil(self.page_size)
    }

    /// The entries of a table that name something, with their indexes; the nodes above them are claimed on the way.
    fn entries(&mut self, top: u64, height: u64) -> Vec<(u64, u64)> {
        let used = |file: &Forgery, at: u64| file.u64_at(at) != 0 || file.u64_at(at + 8) != 0;
        let row =
            |first: u64, count: u64, index: u64| (0..count).map(move |at| (index * count + at, first + ENTRY_LEN * at));
        let mut entries: Vec<(u64, u64)> = row(top, TOP_ENTRIES, 0).filter(|(_, at)| used(&self.file, *at)).collect();
        for _ in 0..height {
            let mut below = Vec::new();
            for (index, entry) in entries {
                self.claim(entry, self.pages_per_block());
                let node = self.file.live_copy(entry) + NODE_ENTRIES;
                below.extend(row(node, NODE_FANOUT, index).filter(|(_, at)| used(&self.file, *at)));
            }
            entries = below;
        }
        entries
    }

    fn claim(&mut self, entry: u64, run: u64) {
        self.claimed.extend([0, 8].map(|copy| (self.file.u64_at(entry + copy), run)));
    }

    fn free_map(&mut self) -> Result<(), String> {
        let height = self.file.u64_at(self.metadata + 296) & u64::from(u32::MAX);
        let leaves = self.entries(self.metadata + FREE_MAP_TOP, height);
        if leaves.is_empty() {
            self.counts.engine = RESERVED_LEN.div_ceil(self.page_size);
            self.engine.push((0, self.counts.engine));
        }
        for (index, entry) in leaves {
            self.claim(entry, self.pages_per_block());
            let leaf = self.file.live_copy(entry);
            for word in 0..LEAF_WORDS {
                let on_disk = [LOW_PLANE, HIGH_PLANE].map(|plane| self.file.u64_at(leaf + plane + 8 * word));
                let [low, high] = self.changes.words.remove(&(index * LEAF_WORDS + word)).unwrap_or(on_disk);
                let first = index * PAGES_PER_LEAF + 64 * word;
                let end = (low | high).checked_ilog2().map_or(0, |last| first + u64::from(last) + 1);
                if end > self.total {
                    return Err(format!("page {} is in use, of {} pages", end - 1, self.total));
                }
                self.counts.regular += u64::from((low & !high).count_ones());
                self.counts.table_owned += u64::from((low & high).count_ones());
                self.counts.engine += u64::from((high & !low).count_ones());
                self.engine.extend((0..64).filter(|bit| (high & !low) >> bit & 1 == 1).map(|bit| (first + bit, 1)));
                self.tables.extend((0..64).filter(|bit| (low & high) >> bit & 1 == 1).map(|bit| first + bit));
            }
        }
        equal("words of leaves that are not there", &self.changes.words.len(), &0)
    }

    fn directory(&mut self) -> Result<(), String> {
        let height = self.file.u64_at(self.metadata + 300) & u64::from(u32::MAX);
        let mut entries: BTreeMap<u64, u64> = self.entries(self.metadata + DIRECTORY_TOP, height).into_iter().collect();
        let lost = self.changes.turned.keys().find(|index| !entries.contains_key(*index));
        equal("turned protected pages that are not there", &lost, &None)?;
        entries.extend(&self.changes.placed);
        for (index, entry) in entries {
            let [first, second, length] = [0, 8, 24].map(|at| self.file.u64_at(entry + at));
            if first != 0 && second == 0 {
                // An extent; its length stands where twins have a checksum.
                let turned = self.changes.turned.get(&index).copied();
                self.claimed.push((first, turned.unwrap_or(length)));
            } else if first != 0 {
                self.claim(entry, 1);
                let [first, second] = [0, 8].map(|copy| self.tables.contains(&self.file.u64_at(entry + copy)));
                equal("whether a table owns both copies of a page", &first, &second)?;
                self.counts.protected += u64::from(!first);
            }
        }
        let stored = |at: u64| self.file.u64_at(self.slot + SLOT_TOTAL_PAGES + at);
        let stored = Counts { regular: stored(8), engine: stored(16), table_owned: stored(24), protected: stored(32) };
        equal("counts in the slot, beside the bits", &stored, &self.counts)
    }

    /// The pages of all copies are, each once, those that the bits call the engine's or owned by tables.
    fn owners(&self) -> Result<(), String> {
        let pages = |runs: &[(u64, u64)]| {
            let mut pages: Vec<u64> = runs.iter().flat_map(|(first, len)| *first..first + len).collect();
            pages.sort_unstable();
            pages
        };
        let mut claimed = self.claimed.clone();
        claimed.push((0, RESERVED_LEN.div_ceil(self.page_size)));
        let mut owned = self.engine.clone();
        owned.extend(self.tables.iter().map(|page| (*page, 1)));
        equal("pages with an owner, beside those that need one", &pages(&claimed), &pages(&owned))
    }
}

#[cfg(test)]
mod tests {
    use diptych::SimImage;

    use super::{
        BLOCK, DIRECTORY_TOP, ENTRY_LEN, FREE_MAP_TOP, Forgery, HIGH_PLANE, LOW_PLANE, SLOT_TOTAL_PAGES, TOTAL_PAGES,
        audit,
    };
    use crate::lab::{Lab, Start};
    use crate::operation::{End, Operation, Step};

    fn whole() -> SimImage {
        let mut lab = Lab::<4096>::start(Start::HalfFull);
        lab.run(&Operation::Reopen).expect("nothing fails");
        lab.disk.durable_image()
    }

    #[track_caller]
    fn finds(change: impl FnOnce(&mut Forgery, u64, u64), expected: &str) {
        let mut forgery = Forgery::of(&whole());
        let metadata = forgery.live_metadata();
        let leaf = forgery.live_copy(metadata + FREE_MAP_TOP);
        change(&mut forgery, metadata, leaf);
        let found = audit(&forgery.image).expect_err("it is found");
        assert!(found.contains(expected), "{found}");
    }

    /// Flips the bit of a page in a plane of a leaf of 4096-byte pages.
    fn flip(forgery: &mut Forgery, leaf: u64, plane: u64, page: u64) {
        forgery.image.flip_bit(leaf + plane + page / 8, u32::try_from(page % 8).expect("a bit"));
    }

    /// Adds to a total, in the metadata and in the slot of the checkpoint that wrote it.
    fn add(forgery: &mut Forgery, metadata: u64, total: u64, more: u64) {
        for at in [metadata + TOTAL_PAGES + total, forgery.live_slot() + SLOT_TOTAL_PAGES + total] {
            forgery.put_u64(at, forgery.u64_at(at) + more);
        }
    }

    #[test]
    fn a_whole_file_of_any_page_size_and_start_passes() {
        fn passes<const P: usize>() {
            for start in Start::ALL {
                let mut lab = Lab::<P>::start(start);
                lab.run(&Operation::AllocProtectedBulk(200)).expect("nothing fails");
                lab.run(&Operation::Reopen).expect("nothing fails");
                assert_eq!(audit(&lab.disk.durable_image()), Ok(()));
            }
        }
        passes::<1024>();
        passes::<4096>();
        passes::<16384>();
    }

    #[test]
    fn a_leaked_page_and_a_count_beside_the_bits_are_found() {
        finds(|file, _, leaf| flip(file, leaf, HIGH_PLANE, 18), "counts in the slot");
        finds(|file, metadata, _| add(file, metadata, 8, 1), "counts in the slot");
        // Counted, and nobody's.
        let leaked = |file: &mut Forgery, metadata, leaf| {
            flip(file, leaf, HIGH_PLANE, 18);
            add(file, metadata, 16, 1);
        };
        finds(leaked, "pages with an owner");
    }

    #[test]
    fn a_page_of_a_table_has_one_owner_and_both_copies_are_the_tables() {
        let mut lab = Lab::<4096>::start(Start::HalfFull);
        let table = Operation::Transaction(vec![Step::AllocSubPages(20)], End::Commit);
        lab.run(&table).expect("nothing fails");
        lab.run(&Operation::Reopen).expect("nothing fails");
        let image = lab.disk.durable_image();
        assert_eq!(audit(&image), Ok(()));
        let mut forgery = Forgery::of(&image);
        let metadata = forgery.live_metadata();
        let leaf = forgery.live_copy(metadata + FREE_MAP_TOP);
        // Of three protected pages the entries come first.
        let entry = metadata + DIRECTORY_TOP + 3 * ENTRY_LEN;
        let copy = forgery.u64_at(entry);
        flip(&mut forgery, leaf, LOW_PLANE, copy);
        let found = audit(&forgery.image).expect_err("it is found");
        assert!(found.contains("both copies"), "{found}");
    }

    #[test]
    fn a_page_with_two_owners_is_found() {
        let twice = |file: &mut Forgery, metadata, _| {
            let first = file.u64_at(metadata + DIRECTORY_TOP);
            file.put_u64(metadata + DIRECTORY_TOP + ENTRY_LEN, first);
        };
        finds(twice, "pages with an owner");
    }

    #[test]
    fn pages_past_the_total_and_past_the_file_are_found() {
        finds(|file, _, leaf| flip(file, leaf, LOW_PLANE, 16_000), "page 16000 is in use");
        finds(|file, metadata, _| add(file, metadata, 0, 1), "do not lie in");
    }

    #[test]
    fn what_is_as_new_as_the_live_slot_is_found() {
        let metadata_copy = |file: &mut Forgery, metadata, _| {
            let generation = file.u64_at(metadata + 32);
            file.put_u64(7 * BLOCK - metadata + 32, generation);
        };
        finds(metadata_copy, "is as new as");
        let slot_copy = |file: &mut Forgery, _, _| {
            let (slot, mut record) = (file.live_slot(), [0; 4096]);
            file.image.read(slot, &mut record);
            file.image.write(3 * BLOCK - slot, &record);
        };
        finds(slot_copy, "is as new as");
    }
}
