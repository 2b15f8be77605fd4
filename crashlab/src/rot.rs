//! One sector of a file at rest rots, or one write was lost or went astray: the state is the right one in spite of it, or
//! the file is refused by name and left as it is. Each sector in turn, in every way.

use diptych::{Block, Durability, Error, PageId, Pager, PagerOptions, ProtectedPageId, SimDisk, SimImage};

use crate::audit::audit;
use crate::forgery::{Forgery, SLOT_METADATA_GENERATION};
use crate::model::{Model, Table};
use crate::operation::{Operation, sub_page, table_id};
use crate::run::Run;
use crate::verify::{caught, compare_lists, is_filled, reports_what_it_changed, unsettled, verify_again};
use crate::workload::Workload;

const SECTOR: u64 = 512;
const BLOCK: u64 = 4096;

/// Ends the name of a case in which the file was closed before it rotted.
pub const CLOSED: &str = ", closed";

/// What became of one sector, or of one block, after it was written and synced.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Rot {
    /// One bit is turned over, counted from the start of the sector.
    Flipped {
        /// The sector.
        sector: u64,
        /// The bit.
        bit: u64,
    },
    /// The sector holds bytes that nobody wrote.
    Junk {
        /// The sector.
        sector: u64,
    },
    /// The sector cannot be read.
    Unreadable {
        /// The sector.
        sector: u64,
    },
    /// The last operation's write of the sector was lost.
    Lost {
        /// The sector.
        sector: u64,
    },
    /// The last operation's write of the block was lost.
    LostBlock {
        /// The block.
        block: u64,
    },
    /// What was meant for another block was written to this one.
    Astray {
        /// The block that was overwritten.
        block: u64,
        /// The block whose bytes it holds.
        from: u64,
    },
}

impl Rot {
    /// The bytes that it is about.
    fn bytes(self) -> std::ops::Range<u64> {
        match self {
            Rot::Flipped { sector, .. } | Rot::Junk { sector } | Rot::Unreadable { sector } | Rot::Lost { sector } => {
                sector * SECTOR..(sector + 1) * SECTOR
            }
            Rot::LostBlock { block } | Rot::Astray { block, .. } => block * BLOCK..(block + 1) * BLOCK,
        }
    }

    fn is_lost_write(self) -> bool {
        matches!(self, Rot::Lost { .. } | Rot::LostBlock { .. })
    }

    /// The image in which that happened; `earlier` is what the disk held before the last operation.
    fn apply(self, now: &SimImage, earlier: &SimImage) -> SimImage {
        let mut image = now.clone();
        let bytes = self.bytes();
        match self {
            Rot::Flipped { bit, .. } => {
                image.flip_bit(bytes.start + bit / 8, u32::try_from(bit % 8).expect("below 8"));
            }
            Rot::Unreadable { sector } => image.set_unreadable(sector, sector),
            Rot::Junk { sector } => {
                let junk: Vec<u8> = (0..64).flat_map(|word| scramble(sector * 64 + word).to_le_bytes()).collect();
                image.write(bytes.start, &junk);
            }
            Rot::Lost { .. } | Rot::LostBlock { .. } => image.write(bytes.start, &part(earlier, bytes)),
            Rot::Astray { from, .. } => image.write(bytes.start, &part(now, from * BLOCK..(from + 1) * BLOCK)),
        }
        image
    }
}

/// A number that looks drawn.
fn scramble(number: u64) -> u64 {
    let mixed = (number ^ (number >> 31)).wrapping_add(1).wrapping_mul(0x9e37_79b9_7f4a_7c15);
    (mixed ^ (mixed >> 29)).wrapping_mul(0xbf58_476d_1ce4_e5b9)
}

/// Some bytes of an image, zeros where it ends before.
fn part(image: &SimImage, bytes: std::ops::Range<u64>) -> Vec<u8> {
    let mut taken = vec![0; usize::try_from(bytes.end - bytes.start).expect("a block at most")];
    let there = usize::try_from(image.len().saturating_sub(bytes.start)).unwrap_or(usize::MAX).min(taken.len());
    if there > 0 {
        image.read(bytes.start, &mut taken[..there]);
    }
    taken
}

/// All that one bad sector, lost write or stray write makes of a file. Of blocks that are zeros one in `sparse` is
/// looked at; the seed draws which, and the bits.
fn each_rot(now: &SimImage, earlier: &SimImage, sparse: u64, seed: u64) -> Vec<Rot> {
    let block_bytes = |block: u64| block * BLOCK..(block + 1) * BLOCK;
    let holds = |image: &SimImage, block| part(image, block_bytes(block)).iter().any(|byte| *byte != 0);
    let blocks = 0..now.len() / BLOCK;
    let (used, free): (Vec<u64>, Vec<u64>) = blocks.partition(|block| holds(now, *block) || holds(earlier, *block));
    let free = free.into_iter().filter(|block| (block + seed).is_multiple_of(sparse));
    let mut all = Vec::new();
    for block in used.iter().copied().chain(free) {
        for sector in block * 8..(block + 1) * 8 {
            let bit = scramble(sector.wrapping_add(seed)) >> 52;
            all.extend([Rot::Flipped { sector, bit }, Rot::Junk { sector }, Rot::Unreadable { sector }]);
            let bytes = sector * SECTOR..(sector + 1) * SECTOR;
            if part(now, bytes.clone()) != part(earlier, bytes) {
                all.push(Rot::Lost { sector });
            }
        }
        if part(now, block_bytes(block)) != part(earlier, block_bytes(block)) {
            all.push(Rot::LostBlock { block });
        }
    }
    let neighbours = used.iter().zip(used.iter().cycle().skip(1));
    all.extend(neighbours.filter(|(block, from)| block != from).flat_map(|(block, from)| {
        [Rot::Astray { block: *block, from: *from }, Rot::Astray { block: *from, from: *block }]
    }));
    all
}

/// What was done.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct RotTally {
    /// Files with one bad place.
    pub files: u64,
    /// Opened at the newest state, all of it readable.
    pub survived: u64,
    /// Opened at the newest state, with an error where the protected page is read that was hit.
    pub page_refused: u64,
    /// Refused by name, and left as they were.
    pub refused: u64,
    /// Opened at the state before the last operation: a commit of one barrier that nothing had sealed, so that rot in it looks
    /// like a commit in flight.
    pub rolled_back: u64,
}

/// A place in which something that must hold does not.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct RotViolation {
    /// What happened to the file; `None` if the workload failed before.
    pub rot: Option<Rot>,
    /// Whether it was closed before.
    pub is_closed: bool,
    /// What does not hold.
    pub message: String,
}

enum Outcome {
    Survived,
    PageRefused,
    Refused,
    RolledBack,
}

/// Lets every place of the file rot that a workload leaves, of blocks that are zeros one in `sparse`. Ends early when
/// `is_over` says so, or with the third violation.
#[must_use]
pub fn rot(workload: &Workload, sparse: u64, seed: u64, is_over: &dyn Fn() -> bool) -> (RotTally, Vec<RotViolation>) {
    match workload.page_size {
        1024 => rot_sized::<1024>(workload, sparse, seed, is_over),
        4096 => rot_sized::<4096>(workload, sparse, seed, is_over),
        _ => rot_sized::<16384>(workload, sparse, seed, is_over),
    }
}

fn rot_sized<const P: usize>(
    workload: &Workload,
    sparse: u64,
    seed: u64,
    is_over: &dyn Fn() -> bool,
) -> (RotTally, Vec<RotViolation>) {
    let (mut tally, mut violations) = (RotTally::default(), Vec::new());
    for is_closed in [false, true] {
        let rested = match caught(|| Rested::of(Run::<P>::of(workload, seed), is_closed)) {
            Ok(rested) => rested,
            Err(message) => return (tally, vec![RotViolation { rot: None, is_closed, message }]),
        };
        if is_closed && rested.unproved.slot.is_some() {
            let message = "closing does not seal the newest commit".to_owned();
            violations.push(RotViolation { rot: None, is_closed, message });
        }
        let unknown = rested.unproved.slot.is_some() && rested.before.generation == rested.after.generation;
        let repeated = is_closed && workload.durability == Durability::TwoBarriers;
        if unknown || repeated {
            // Nobody knows what the commit before the newest one left; and closing changes nothing where all is sealed.
            continue;
        }
        for rot in each_rot(&rested.now, &rested.earlier, sparse, seed) {
            if violations.len() > 2 || is_over() {
                break;
            }
            tally.files += 1;
            match caught(|| rested.check::<P>(rot)) {
                Ok(Outcome::Survived) => tally.survived += 1,
                Ok(Outcome::PageRefused) => tally.page_refused += 1,
                Ok(Outcome::Refused) => tally.refused += 1,
                Ok(Outcome::RolledBack) => tally.rolled_back += 1,
                Err(message) => violations.push(RotViolation { rot: Some(rot), is_closed, message }),
            }
        }
    }
    (tally, violations)
}

/// Runs one case again.
///
/// # Errors
///
/// When the file has no such place.
///
/// # Panics
///
/// With what does not hold.
pub fn replay(workload: &Workload, rot: Rot, is_closed: bool) -> Result<(), String> {
    match workload.page_size {
        1024 => replay_sized::<1024>(workload, rot, is_closed),
        4096 => replay_sized::<4096>(workload, rot, is_closed),
        _ => replay_sized::<16384>(workload, rot, is_closed),
    }
}

fn replay_sized<const P: usize>(workload: &Workload, rot: Rot, is_closed: bool) -> Result<(), String> {
    // Nothing is written back early in a workload that rots.
    let rested = Rested::of(Run::<P>::of(workload, 0), is_closed);
    let places = each_rot(&rested.now, &rested.earlier, 1, 0);
    // A bit is drawn; the others follow from the file.
    let same = |known: &Rot| match (*known, rot) {
        (Rot::Flipped { sector: known, .. }, Rot::Flipped { sector, bit }) => known == sector && bit < 8 * SECTOR,
        (known, rot) => known == rot,
    };
    if !places.iter().any(same) {
        return Err(format!("nothing like {rot:?} happens to a file of {} bytes", rested.now.len()));
    }
    let _ = rested.check::<P>(rot);
    Ok(())
}

/// What the newest commit of a file rests on, if it is one of one barrier that nothing has sealed: rot there looks like a
/// commit in flight.
struct Unproved {
    slot: Option<u64>,
    /// What it wrote is looked at, too.
    proves: bool,
}

impl Unproved {
    fn of(image: &SimImage) -> Self {
        let file = Forgery::of(image);
        let slot = file.live_slot();
        let is_small = file.u64_at(slot + 24) != file.u64_at(slot + SLOT_METADATA_GENERATION);
        let proves = file.u64_at(slot + 32) >> 32 == 0;
        Unproved { slot: (is_small || proves).then_some(slot), proves }
    }

    fn has_slot_at(&self, offset: u64) -> bool {
        self.slot.is_some_and(|slot| (slot..slot + BLOCK).contains(&offset))
    }

    /// Whether rot there may take an acknowledged commit back.
    fn check(&self, rot: Rot) {
        let start = rot.bytes().start;
        assert!(self.slot.is_some(), "an acknowledged commit is lost");
        assert!(self.has_slot_at(start) || self.proves && start >= 3 * BLOCK, "an acknowledged commit is lost");
    }
}

/// A file after a workload: nothing is in flight.
struct Rested {
    now: SimImage,
    earlier: SimImage,
    before: Model,
    after: Model,
    unproved: Unproved,
}

impl Rested {
    /// The file as the last operation left it, or as closing it after that did.
    fn of<const P: usize>(mut run: Run<P>, is_closed: bool) -> Self {
        let mut earlier = run.lab.disk.epoch(run.first).expect("it was recorded").base();
        if is_closed {
            earlier = run.lab.disk.durable_image();
            run.before = run.lab.model.clone();
            run.lab.run(&Operation::Reopen).expect("nothing fails");
        }
        // Unless a store is on its way, which only makes more places that may hold anything.
        run.lab.pager = None;
        let now = run.lab.disk.durable_image();
        run.before.crash();
        run.lab.model.crash();
        Rested { unproved: Unproved::of(&now), now, earlier, before: run.before, after: run.lab.model }
    }

    fn check<const P: usize>(&self, rot: Rot) -> Outcome {
        let page_len = u64::try_from(P).expect("usize fits u64");
        let bytes = rot.bytes();
        let hit = bytes.start / page_len..bytes.end.div_ceil(page_len);
        let image = rot.apply(&self.now, &self.earlier);
        let fingerprint = image.fingerprint();
        let disk = SimDisk::from_image(image.clone());
        disk.record(false);
        let pager = match PagerOptions::new().open_on::<P>(&disk) {
            Ok(pager) => pager,
            Err(error) => {
                let by_name = error.is_corruption() || matches!(rot, Rot::Unreadable { .. }) && error.is_io();
                assert!(by_name, "refused without a name: {error}");
                let users = hit.clone().all(|page| self.after.regular.contains_key(&page));
                assert!(!users, "a regular page is no reason to refuse: {error}");
                assert_eq!(disk.cached_image().fingerprint(), fingerprint, "a refused file is changed");
                assert_eq!(disk.durable_image().fingerprint(), fingerprint, "a refused file is changed");
                return Outcome::Refused;
            }
        };
        let rolled_back = pager.generation().to_u64() != self.after.generation;
        let model = if rolled_back { &self.before } else { &self.after };
        if rolled_back {
            assert_eq!(pager.generation().to_u64(), self.before.generation, "a state of no commit");
            self.unproved.check(rot);
            // A slot that was never written looks as it did before.
            let is_unwritten = rot.is_lost_write() && self.unproved.has_slot_at(bytes.start);
            assert!(is_unwritten || !pager.recovery().is_clean(), "an older state without a report");
        }
        compare_lists(&pager, model);
        let broken = self.compare_pages(&pager, model, &hit);
        let findings = pager.check();
        let expected = broken.clone();
        assert_eq!(findings.iter().map(|finding| finding.block).collect::<Vec<_>>(), expected, "{findings:?}");
        let recovery = pager.recovery().clone();
        drop(pager);
        let settled = disk.cached_image();
        reports_what_it_changed(&image, &settled, &recovery);
        audit(&settled).unwrap_or_else(|wrong| panic!("an audit finds: {wrong}"));
        if broken.is_empty() {
            verify_again::<P>(&disk);
        }
        match (rolled_back, broken.is_empty()) {
            (true, _) => Outcome::RolledBack,
            (false, true) => Outcome::Survived,
            (false, false) => Outcome::PageRefused,
        }
    }

    /// Every page against the model, but for regular ones that were hit. Those that are kept twice and are an error to read.
    fn compare_pages<const P: usize>(&self, pager: &Pager<P>, model: &Model, hit: &std::ops::Range<u64>) -> Vec<Block> {
        let mut broken = Vec::new();
        for (&id, &fill) in &model.protected {
            match pager.protected(ProtectedPageId::from_u64(id).expect("the model holds ids")) {
                Ok(content) => assert!(is_filled(&content[..], fill), "protected page {id} is wrong, and no error"),
                Err(error) => {
                    assert!(error.is_corruption() || error.is_io(), "protected page {id}: {error}");
                    broken.push(Block::ProtectedPage { id });
                }
            }
        }
        if let Some(table) = &model.table {
            broken.extend(broken_pages(pager, table));
        }
        let most = usize::try_from(hit.end - hit.start).expect("a few pages");
        assert!(broken.len() <= most, "one bad place makes {} pages unreadable that are kept twice", broken.len());
        let allowed = unsettled(&self.before, &self.after, model.generation);
        for (&id, &page) in model.regular.iter().filter(|(id, _)| !hit.contains(id)) {
            let Some(fills) = allowed(id, page) else { continue };
            let content = pager.page(PageId::from_u64(id).expect("the model holds ids")).expect("it is in use");
            assert!(fills.iter().any(|fill| is_filled(&content[..], *fill)), "regular page {id} is wrong");
        }
        broken
    }
}

/// The table of sub-pages against the model. The pages of it that a check finds, if a sub-page is an error to read.
fn broken_pages<const P: usize>(pager: &Pager<P>, table: &Table) -> Vec<Block> {
    let mut is_broken = false;
    let mut note = |error: Error| {
        assert!(error.is_corruption() || error.is_io(), "the table: {error}");
        is_broken = true;
    };
    match pager.sub_pages(table_id::<P>(table)) {
        Ok(view) => {
            for (id, fill) in &table.live {
                match view.page(sub_page(*id)) {
                    Ok(content) => assert!(is_filled(&content[..], *fill), "sub-page {id} is wrong, and no error"),
                    Err(error) => note(error),
                }
            }
        }
        Err(error) => note(error),
    }
    let found = pager.check().into_iter().map(|finding| finding.block);
    let found: Vec<Block> = found.filter(|block| matches!(block, Block::TablePage { .. })).collect();
    assert_eq!(is_broken, !found.is_empty(), "a check and a touch say the same of the table");
    found
}

#[cfg(test)]
mod tests {
    use super::*;

    fn alloc() -> Workload {
        "4096/HalfFull/0".parse().expect("a workload")
    }

    #[test]
    fn every_sector_that_holds_something_rots_in_every_way() {
        let (tally, violations) = rot(&alloc(), 8, 0, &|| false);
        assert_eq!(violations, []);
        assert!(
            tally.files > 250 && tally.survived > 100 && tally.refused > 10 && tally.page_refused > 10,
            "{tally:?}"
        );
    }

    #[test]
    fn a_place_that_the_file_does_not_have_is_an_error() {
        assert_eq!(replay(&alloc(), Rot::Flipped { sector: 3, bit: 4095 }, false), Ok(()));
        let beyond = [Rot::Flipped { sector: 3, bit: 4096 }, Rot::Junk { sector: 99_999 }];
        for rot in beyond.into_iter().chain([Rot::LostBlock { block: u64::MAX }, Rot::Astray { block: 3, from: 3 }]) {
            assert!(replay(&alloc(), rot, true).is_err(), "{rot:?}");
        }
    }

    #[test]
    fn a_model_that_holds_something_else_is_a_violation() {
        let mut rested = Rested::of(Run::<4096>::of(&alloc(), 0), true);
        let flip = Rot::Flipped { sector: 3, bit: 9 };
        assert!(caught(|| rested.check::<4096>(flip)).is_ok());
        *rested.after.protected.values_mut().next().expect("it has protected pages") ^= 1;
        assert!(caught(|| rested.check::<4096>(flip)).is_err());
    }
}
