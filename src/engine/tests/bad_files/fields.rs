//! Every field of every structure, set to every telling value and with every bit flipped.

use std::collections::BTreeSet;

use crate::block::Block;
use crate::engine::geometry::to_index;
use crate::format::{BlockBytes, Cell, Structure};

use super::forgery::{Forgery, Mending};
use super::outcome::{Expect, Tally};
use super::start::{Content, Site, Start};

/// The values that a number is given, none of them the one that it has.
fn values(start: &Start, cell: Cell, block: &BlockBytes) -> BTreeSet<u64> {
    let old = cell.get(block);
    let bits = 8 * u32::try_from(cell.len).expect("at most eight");
    let max = u64::MAX >> (64 - bits);
    let swapped = old.swap_bytes() >> (64 - bits);
    let mut values = BTreeSet::from([0, 1, max, max - 1, old.wrapping_add(1), old.wrapping_sub(1)]);
    values.extend([1 << (bits - 1), 1 << 52, (1 << 63) / u64::from(start.page_size), swapped]);
    if cell.len == 8 {
        values.extend(&start.landmarks);
    }
    let mut values: BTreeSet<u64> = values.into_iter().map(|value| value & max).collect();
    values.remove(&old);
    values
}

/// What has to become of a damaged structure.
fn expected(start: &Start, site: &Site, mending: Mending, in_both: bool) -> Expect {
    if mending == Mending::Crc && Some(site.block) == start.live_metadata() {
        // Its slot holds its checksum.
        return Expect::Refused;
    }
    let is_forged = match mending {
        Mending::Stale => false,
        // Nothing but its CRC says what a slot or an identity has to be; a twin has a parent.
        Mending::Crc => site.is_reserved(),
        Mending::Chain | Mending::Agreed => true,
    };
    if is_forged {
        return Expect::Safe;
    }
    if start.content == Content::Small && matches!(site.block, Block::Slot(_)) {
        // A slot that proves itself is like one in flight, and both are like none.
        let is_newest = site.block == start.newest_slot() || in_both;
        return if is_newest { Expect::RightOrBefore } else { Expect::Right { names: None, is_reported: true } };
    }
    Expect::Right { names: (!in_both).then_some(site.block), is_reported: site.is_reserved() }
}

/// Whether a case is run, where not all of them are: every n-th, so that all sorts are met.
pub(super) struct Share {
    every: u64,
    seen: u64,
}

impl Share {
    pub(super) fn new(every: u64) -> Self {
        Share { every, seen: 0 }
    }

    fn is_due(&mut self) -> bool {
        self.seen += 1;
        self.seen.is_multiple_of(self.every)
    }
}

/// Runs the cases of a start.
pub(super) fn run(tally: &mut Tally, start: &Start, share: &mut Share) {
    for (at, site, structure) in start.structures() {
        let block = Forgery::of(start).block(at);
        for cell in structure.cells(&block) {
            for value in values(start, cell, &block) {
                for mending in Mending::ALL {
                    for in_both in [false, true] {
                        let also = other_cell(start, site, structure, cell).filter(|_| in_both);
                        // Both copies changed is one case and not two.
                        if in_both && (also.is_none() || !site.is_live) || !share.is_due() {
                            continue;
                        }
                        *tally.damaged.entry((structure.caption, cell.name)).or_default() += 1;
                        set(tally, start, (at, also), (cell, value), mending);
                    }
                }
            }
            flip(tally, start, (at, site, structure), cell, share);
        }
    }
}

/// The same number in the other copy, which may hold a void record instead.
fn other_cell(start: &Start, site: &Site, structure: &Structure, cell: Cell) -> Option<(usize, Cell)> {
    let at = site.other?;
    let other = start.sites[at].structure?;
    let is_same = other.caption == structure.caption;
    Some((at, if is_same { cell } else { other.cell(cell.name)? }))
}

fn set(
    tally: &mut Tally,
    start: &Start,
    (at, also): (usize, Option<(usize, Cell)>),
    (cell, value): (Cell, u64),
    mending: Mending,
) {
    let mut forgery = Forgery::of(start);
    // The other copy first: the newest state's parents are mended last.
    for (at, cell) in also.into_iter().chain([(at, cell)]) {
        forgery.change(at, |block| cell.put(block, value));
        forgery.mend(at, cell, mending);
    }
    let site = &start.sites[at];
    let expect = expected(start, site, mending, also.is_some());
    let name = || format!("{} of {} is {value:#x}, {mending:?}, both: {}", cell.name, site.block, also.is_some());
    if mending == Mending::Agreed {
        forgery.run_and_follow(tally, expect, &name);
    } else if forgery.image != start.image {
        tally.run(start, &forgery.image, expect, name);
    }
}

fn flip(
    tally: &mut Tally,
    start: &Start,
    (at, site, structure): (usize, &Site, &'static Structure),
    cell: Cell,
    share: &mut Share,
) {
    for bit in 0..8 * cell.len {
        for mending in [Mending::Stale, Mending::Chain] {
            if !share.is_due() {
                continue;
            }
            let mut forgery = Forgery::of(start);
            forgery.change(at, |block| block[cell.offset + bit / 8] ^= 1 << (bit % 8));
            forgery.mend(at, cell, mending);
            if forgery.image == start.image {
                continue;
            }
            let name = || format!("bit {bit} of {} of {}, {mending:?}", cell.name, structure.caption);
            tally.run(start, &forgery.image, expected(start, site, mending, false), name);
        }
    }
}

/// Flips the bits of every structure that the newest state rests on, those between the cells too: all of the short ones, and
/// one of each byte of a whole block.
pub(super) fn flip_all(tally: &mut Tally, start: &Start) {
    for (_, site, structure) in start.structures().filter(|(_, site, _)| site.is_live) {
        let len = u64::try_from(structure.len()).expect("a block");
        for byte in 0..len {
            let one = u32::try_from(byte % 8).expect("a bit");
            for bit in if len < 512 { 0..8 } else { one..one + 1 } {
                let mut image = start.image.clone();
                image.flip_bit(site.offset + byte, bit);
                let name = || format!("bit {bit} of byte {byte} of {}", site.block);
                tally.run(start, &image, expected(start, site, Mending::Stale, false), name);
            }
        }
    }
}

/// Two to four cells of any structures at once, everything mended: `cases` of them, drawn from a seed.
pub(super) fn several_at_once(tally: &mut Tally, start: &Start, cases: usize, seed: u64) {
    let structures: Vec<_> = start.structures().collect();
    // Numbers that look random are all that is needed: xorshift.
    let mut state = seed | 1;
    let mut draw = |below: usize| {
        state ^= state << 13;
        state ^= state >> 7;
        state ^= state << 17;
        to_index(state % u64::try_from(below).expect("a small number"))
    };
    for number in 0..cases {
        let mut forgery = Forgery::of(start);
        let mut changed = Vec::new();
        for _ in 0..2 + draw(3) {
            let (at, site, structure) = structures[draw(structures.len())];
            let block = forgery.block(at);
            let cells = structure.cells(&block);
            let cell = cells[draw(cells.len())];
            let values: Vec<u64> = values(start, cell, &block).into_iter().collect();
            let value = values[draw(values.len())];
            forgery.change(at, |block| cell.put(block, value));
            forgery.mend(at, cell, Mending::Agreed);
            changed.push(format!("{} of {} is {value:#x}", cell.name, site.block));
        }
        let name = || format!("case {number} of seed {seed}: {}", changed.join(", "));
        forgery.run_and_follow(tally, Expect::Safe, &name);
    }
}

/// The metadata and what it names, damaged in a file that has lost both slots: nothing but the blocks themselves says which
/// commit stands.
pub(super) fn without_slots(tally: &mut Tally, start: &Start, share: &mut Share) {
    let mut bare = Forgery::of(start);
    for slot in [1, 2] {
        bare.change(slot, |block| block.fill(0));
    }
    for (at, site, structure) in start.structures().filter(|(at, ..)| *at > 2) {
        for cell in structure.cells(&bare.block(at)) {
            for value in values(start, cell, &bare.block(at)) {
                for mending in [Mending::Stale, Mending::Chain] {
                    for in_both in [false, true] {
                        let also = other_cell(start, site, structure, cell).filter(|_| in_both);
                        if in_both && also.is_none() || !share.is_due() {
                            continue;
                        }
                        let mut forgery = bare.clone();
                        for (at, cell) in also.into_iter().chain([(at, cell)]) {
                            forgery.change(at, |block| cell.put(block, value));
                            forgery.mend(at, cell, mending);
                        }
                        for slot in [1, 2] {
                            forgery.change(slot, |block| block.fill(0));
                        }
                        let expect = if mending == Mending::Stale { Expect::RightOrBefore } else { Expect::Safe };
                        let name = || format!("{} of {} is {value:#x}, {mending:?}, no slot", cell.name, site.block);
                        tally.run(start, &forgery.image, expect, name);
                    }
                }
            }
        }
    }
}

/// Stale damage of every cell, where the options allow the state before.
pub(super) fn with_an_older_state_accepted(tally: &mut Tally, start: &Start) {
    for (at, site, structure) in start.structures() {
        for cell in structure.cells(&Forgery::of(start).block(at)) {
            let mut forgery = Forgery::of(start);
            forgery.change(at, |block| cell.put(block, !cell.get(block)));
            let name = || format!("{} of {} is inverted, an older state accepted", cell.name, site.block);
            tally.run(start, &forgery.image, Expect::RightOrOlder, name);
        }
    }
}
