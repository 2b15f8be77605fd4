//! The bad-file matrix: every field of every structure, damaged in every way, in one copy and in both.
//!
//! The cases come from the tables of the format ([`STRUCTURES`](crate::format::STRUCTURES)), so a field is covered by being
//! declared. What must hold of each is in `outcome.rs`: rot in one place leaves the newest state, or a refusal that names the
//! place; a forged file, whose checksums fit, is refused or is a pager that works. Nothing panics, no call is made without
//! bound, and a failed open changes no byte.
//!
//! ```text
//!   start.rs    files to be damaged, and where their structures stand
//!   forgery.rs  changes, with the checksums stale or mended
//!   fields.rs   the cases of every field            blocks.rs   those of whole blocks, and of entries
//!   outcome.rs  what became of a file
//! ```

mod blocks;
mod fields;
mod forgery;
mod outcome;
mod start;

use std::collections::BTreeSet;

use crate::format::STRUCTURES;

use fields::Share;
use outcome::Tally;
use start::{Content, Start};

const CONTENTS: [Content; 4] = [Content::Fresh, Content::HalfFull, Content::Deep, Content::Small];

/// Contents whose newest commit is a promise.
fn is_promised((start, _): &(Start, Share)) -> bool {
    start.content != Content::Small
}
const PAGE_SIZES: [u32; 3] = [4096, 1024, 16384];

/// Every start with the number of which one case in so many is run, where there are too many to run all in a test.
fn starts() -> impl Iterator<Item = (Start, Share)> {
    let every = |page_size, content| match (page_size, content) {
        (_, Content::Fresh | Content::Small) => 3,
        (4096, _) => 11,
        (1024, _) => 17,
        _ => 31,
    };
    let all = PAGE_SIZES.into_iter().flat_map(|page_size| CONTENTS.map(|content| (page_size, content)));
    all.map(move |(page_size, content)| (Start::new(content, page_size), Share::new(every(page_size, content))))
}

#[test]
fn every_structure_stands_in_some_start() {
    let mut found = BTreeSet::new();
    for (start, _) in starts() {
        found.extend(start.structures().map(|(_, _, structure)| structure.caption));
    }
    assert_eq!(found, STRUCTURES.iter().map(|structure| structure.caption).collect());
}

#[test]
fn a_field_with_any_value_is_refused_by_name_or_survived() {
    let mut tally = Tally::default();
    for (start, mut share) in starts() {
        fields::run(&mut tally, &start, &mut share);
    }
    tally.finish("Fields", 5_000);
    for structure in &STRUCTURES {
        for field in structure.fields {
            let parts = if field.parts.is_empty() { std::slice::from_ref(field) } else { field.parts };
            for part in parts {
                let count = tally.damaged.get(&(structure.caption, part.name)).copied().unwrap_or(0);
                assert!(count >= 20, "{} of {} was damaged {count} times", part.name, structure.caption);
            }
        }
    }
}

#[test]
fn a_flipped_bit_is_refused_by_name_or_survived() {
    let mut tally = Tally::default();
    for (start, _) in starts().filter(|(start, _)| start.content == Content::Fresh || start.page_size == 1024) {
        fields::flip_all(&mut tally, &start);
    }
    tally.finish("Flipped bits", 50_000);
}

#[test]
fn a_field_of_a_file_without_slots_is_refused_by_name_or_survived() {
    let mut tally = Tally::default();
    for (start, mut share) in starts().filter(is_promised).filter(|(start, _)| start.page_size < 16384) {
        fields::without_slots(&mut tally, &start, &mut share);
    }
    tally.finish("Fields, the slots lost", 5_000);
}

#[test]
fn several_forged_fields_are_refused_or_safe() {
    let mut tally = Tally::default();
    for (seed, (start, _)) in (1..).zip(starts()).filter(|(_, (start, _))| start.page_size < 16384) {
        fields::several_at_once(&mut tally, &start, 2_000, seed);
    }
    tally.finish("Several forged fields", 12_000);
}

#[test]
fn where_an_older_state_is_accepted_it_is_that_one_or_the_newest() {
    let mut tally = Tally::default();
    for (start, _) in starts().filter(is_promised).filter(|(start, _)| start.page_size == 1024) {
        fields::with_an_older_state_accepted(&mut tally, &start);
    }
    tally.finish("An older state accepted", 500);
}

#[test]
fn a_block_that_is_stale_foreign_or_blank_is_refused_by_name_or_survived() {
    let mut tally = Tally::default();
    for (start, _) in starts() {
        if start.content != Content::Small {
            blocks::older_selves(&mut tally, &start);
            blocks::misdirected(&mut tally, &start);
        }
        if start.page_size == 4096 {
            blocks::reserved_blocks(&mut tally, &start);
        }
    }
    tally.finish("Blocks", 10_000);
}

#[test]
fn an_entry_that_names_what_is_not_its_own_is_refused_or_safe() {
    let mut tally = Tally::default();
    for (start, _) in starts().filter(is_promised).filter(|(start, _)| start.content != Content::Fresh) {
        blocks::entries(&mut tally, &start);
        blocks::moved_entries(&mut tally, &start);
        blocks::equal_generations(&mut tally, &start);
    }
    tally.finish("Entries", 5_000);
}

#[test]
fn a_file_of_another_length_is_refused_with_both_lengths_or_its_tail_reported() {
    let mut tally = Tally::default();
    for (start, _) in starts() {
        blocks::lengths(&mut tally, &start);
    }
    tally.finish("Lengths", 10_000);
}
