//! Where commits of many protected pages write.

use tempfile::TempDir;

use super::{Engine, EngineOptions, Owned, create, open, options};

/// A file with so many protected pages.
fn filled(directory: &TempDir, page_size: u32, options: EngineOptions, count: u64) -> Engine {
    let mut engine = create(&directory.path().join("pages"), page_size, options);
    let mut stage = engine.stage().unwrap();
    engine.alloc_protected(&mut stage, count).unwrap();
    engine.commit(stage).unwrap();
    engine
}

/// Fills protected pages in one commit.
fn overwrite(engine: &mut Engine, indexes: impl Iterator<Item = u64>, byte: u8) {
    let mut stage = engine.stage().unwrap();
    for index in indexes {
        engine.staged_mut(&mut stage, Owned::Protected(index), true).unwrap().fill(byte);
    }
    engine.commit(stage).unwrap();
}

/// How many runs the pages of the live copies form.
fn runs(engine: &Engine, indexes: impl Iterator<Item = u64>) -> usize {
    let mut pages: Vec<u64> = indexes.map(|index| engine.live.protected(index).unwrap().live_page()).collect();
    pages.sort_unstable();
    1 + pages.windows(2).filter(|pair| pair[1] != pair[0] + 1).count()
}

fn copies(engine: &Engine, count: u64) -> Vec<[u64; 2]> {
    (0..count).map(|index| engine.live.protected(index).unwrap().copies).collect()
}

#[test]
fn a_commit_of_many_protected_pages_writes_a_few_runs() {
    for page_size in [1024, 4096, 16384] {
        let directory = TempDir::new().unwrap();
        let mut engine = filled(&directory, page_size, options(), 900);
        let counts = engine.live.counts();
        for round in 0..9u8 {
            let chosen = || (0..900).filter(move |index| index * 7919 % 9 == u64::from(round));
            overwrite(&mut engine, chosen(), round);
            assert!(runs(&engine, chosen()) <= 50, "{} runs of 100 pages", runs(&engine, chosen()));
            assert_eq!(engine.live.counts(), counts, "as many pages are given up as taken");
            assert_eq!(engine.check(), []);
        }
        engine.close().unwrap();
        let engine = open(&directory.path().join("pages"), page_size);
        for index in 0..900 {
            assert_eq!(u64::from(engine.protected(index).unwrap()[9]), index * 7919 % 9);
        }
    }
}

#[test]
fn a_commit_of_a_few_pages_stays_small_and_keeps_its_copies() {
    let directory = TempDir::new().unwrap();
    let mut engine = filled(&directory, 4096, options(), 900);
    let before = copies(&engine, 900);
    overwrite(&mut engine, 100..123, 1);
    assert_eq!(copies(&engine, 900), before);
}

#[test]
fn where_no_page_is_spare_copies_stay_where_they_are() {
    let directory = TempDir::new().unwrap();
    let limit = EngineOptions { max_file_bytes: 2300 * 4096, ..options() };
    let mut engine = filled(&directory, 4096, limit, 1000);
    let mut stage = engine.stage().unwrap();
    while engine.alloc(&mut stage, 0).is_ok() {}
    engine.commit(stage).unwrap();
    let before = copies(&engine, 1000);
    overwrite(&mut engine, 0..300, 1);
    assert_eq!(copies(&engine, 1000), before);
    assert_eq!(engine.check(), []);
}

#[test]
fn in_a_file_with_holes_copies_stay_where_they_are() {
    let directory = TempDir::new().unwrap();
    let mut engine = filled(&directory, 4096, EngineOptions { sparse: true, ..options() }, 900);
    let before = copies(&engine, 900);
    overwrite(&mut engine, 0..300, 1);
    assert_eq!(copies(&engine, 900), before);
}

#[test]
fn a_leaf_that_was_never_touched_gives_room_for_copies() {
    let directory = TempDir::new().unwrap();
    let mut engine = create(&directory.path().join("pages"), 1024, options());
    let mut stage = engine.stage().unwrap();
    engine.alloc_bulk(&mut stage, 20_000).unwrap();
    // What it grew the file by stays.
    drop(stage);
    let mut stage = engine.stage().unwrap();
    engine.alloc_protected(&mut stage, 4000).unwrap();
    let left = 16128 - engine.live.counts().engine - 4000 * 2 - 600;
    engine.alloc_bulk(&mut stage, left).unwrap();
    engine.commit(stage).unwrap();
    assert_eq!(engine.live.free_map.leaves().count(), 1, "one leaf holds all that there is");
    assert!(engine.live.total_pages() > 17_000, "and the file reaches behind it");
    let chosen = || (0..4000).step_by(4);
    overwrite(&mut engine, chosen(), 1);
    assert_eq!(engine.live.free_map.leaves().count(), 2);
    assert!(runs(&engine, chosen()) <= 500);
    assert_eq!(engine.check(), []);
}

#[test]
fn pages_that_a_commit_frees_are_not_what_it_writes_to() {
    let directory = TempDir::new().unwrap();
    let mut engine = filled(&directory, 4096, options(), 400);
    let before: Vec<u64> = copies(&engine, 400).into_iter().flatten().collect();
    let mut stage = engine.stage().unwrap();
    engine.free_protected(&mut stage, &(0..100).collect::<Vec<u64>>()).unwrap();
    for index in 100..200 {
        engine.staged_mut(&mut stage, Owned::Protected(index), true).unwrap().fill(1);
    }
    engine.commit(stage).unwrap();
    let written: Vec<u64> = (100..200).map(|index| engine.live.protected(index).unwrap().live_page()).collect();
    assert!(written.iter().all(|page| !before.contains(page)), "the state before still owned these");
    assert_eq!(engine.check(), []);
}
