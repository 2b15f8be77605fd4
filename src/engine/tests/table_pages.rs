//! Pages of tables beside protected pages: twins that move and turn over alike, and that no id of a page leads to.

use tempfile::TempDir;

use crate::block::PageKind;
use crate::error::Error;

use super::super::entries::EntryKind;
use super::super::{Round, Stage};
use super::{Engine, Owned, create, open, options};

/// A file with protected pages and pages of a table by turns, each filled with its index.
fn mixed(directory: &TempDir, page_size: u32, count: u64) -> (Engine, Vec<u64>, Vec<u64>) {
    let mut engine = create(&directory.path().join("pages"), page_size, options());
    let mut stage = engine.stage().unwrap();
    let (mut protected, mut tables) = (Vec::new(), Vec::new());
    for _ in 0..count {
        protected.extend(engine.alloc_protected(&mut stage, 1).unwrap());
        tables.extend(engine.alloc_table_pages(&mut stage, 1).unwrap());
    }
    for index in &protected {
        engine.staged_mut(&mut stage, Owned::Protected(*index), true).unwrap().fill(fill(*index));
    }
    write(&engine, &mut stage, &tables);
    engine.commit(stage).unwrap();
    (engine, protected, tables)
}

fn fill(index: u64) -> u8 {
    u8::try_from(index % 251).unwrap()
}

fn write(engine: &Engine, stage: &mut Stage, tables: &[u64]) {
    for index in tables {
        engine.staged_table_page_mut(stage, *index).unwrap().fill(fill(*index));
        assert_eq!(engine.staged_table_page(stage, *index).unwrap()[0], fill(*index));
    }
}

#[track_caller]
fn assert_holds(engine: &Engine, protected: &[u64], tables: &[u64]) {
    assert_eq!(engine.check(), []);
    let counts = engine.live.counts();
    assert_eq!((counts.protected, counts.table_owned), (protected.len() as u64, 2 * tables.len() as u64));
    for index in protected {
        assert!(engine.protected(*index).unwrap().iter().all(|byte| *byte == fill(*index)));
        assert!(matches!(engine.table_page(*index), Err(Error::NoSuchTable { id }) if id == index + 1));
    }
    for index in tables {
        assert!(engine.table_page(*index).unwrap().iter().all(|byte| *byte == fill(*index)));
        assert!(matches!(engine.protected(*index), Err(Error::NoSuchProtectedPage { id }) if id == index + 1));
        let entry = engine.live.entry(EntryKind::Table, *index).unwrap();
        for page in entry.copies {
            assert_eq!(engine.live.kind(engine.geometry(), page), PageKind::TableOwned);
            assert!(matches!(engine.page(page), Err(Error::WrongKind { found: PageKind::TableOwned, .. })));
        }
    }
    let listed: Vec<u64> =
        std::iter::successors(engine.live.next_protected(0), |index| engine.live.next_protected(index + 1)).collect();
    assert_eq!(listed, protected);
}

#[test]
fn pages_of_a_table_are_read_as_such_alone_and_are_there_after_opening_again() {
    for page_size in [1024, 4096, 65536] {
        let directory = TempDir::new().unwrap();
        let (mut engine, protected, tables) = mixed(&directory, page_size, 20);
        assert_holds(&engine, &protected, &tables);
        let mut stage = engine.stage().unwrap();
        assert!(matches!(engine.free_protected(&mut stage, &tables[..1]), Err(Error::NoSuchProtectedPage { .. })));
        assert!(matches!(engine.free_table_page(&mut stage, protected[0]), Err(Error::NoSuchTable { .. })));
        let staged = engine.staged_mut(&mut stage, Owned::Protected(tables[0]), true);
        assert!(matches!(staged, Err(Error::NoSuchProtectedPage { .. })));
        drop(stage);
        // Small commits, and what proves the newest of them.
        let mut stage = engine.stage().unwrap();
        write(&engine, &mut stage, &tables[..2]);
        engine.free_table_page(&mut stage, tables[19]).unwrap();
        engine.commit(stage).unwrap();
        assert_holds(&engine, &protected, &tables[..19]);
        drop(engine);
        let engine = open(&directory.path().join("pages"), page_size);
        assert!(engine.recovery().is_clean(), "{:?}", engine.recovery());
        assert_holds(&engine, &protected, &tables[..19]);
    }
}

#[test]
fn an_index_that_a_table_gives_back_may_become_a_protected_page_and_the_other_way_round() {
    let directory = TempDir::new().unwrap();
    let (mut engine, mut protected, mut tables) = mixed(&directory, 4096, 5);
    for round in 0..4 {
        let mut stage = engine.stage().unwrap();
        engine.free_table_page(&mut stage, tables.remove(1)).unwrap();
        engine.free_protected(&mut stage, &[protected.remove(1)]).unwrap();
        engine.commit(stage).unwrap();
        let mut stage = engine.stage().unwrap();
        let owned = engine.alloc_table_pages(&mut stage, 1).unwrap();
        let other = engine.alloc_protected(&mut stage, 1).unwrap();
        write(&engine, &mut stage, &owned);
        engine.staged_mut(&mut stage, Owned::Protected(other[0]), true).unwrap().fill(fill(other[0]));
        engine.commit(stage).unwrap();
        protected.extend(other);
        tables.extend(owned);
        protected.sort_unstable();
        tables.sort_unstable();
        assert_holds(&engine, &protected, &tables);
        if round % 2 == 0 {
            drop(engine);
            engine = open(&directory.path().join("pages"), 4096);
        }
        assert_holds(&engine, &protected, &tables);
    }
}

#[test]
fn large_commits_and_compactions_move_pages_of_tables_with_their_kind() {
    for page_size in [1024, 4096, 16384] {
        let directory = TempDir::new().unwrap();
        let (mut engine, protected, tables) = mixed(&directory, page_size, 300);
        // New places beside one another.
        let chosen: Vec<u64> = tables.iter().copied().step_by(5).collect();
        let before = chosen.iter().map(|index| engine.live.twin(*index).unwrap().copies).collect::<Vec<_>>();
        let mut stage = engine.stage().unwrap();
        write(&engine, &mut stage, &chosen);
        engine.commit(stage).unwrap();
        let after = chosen.iter().map(|index| engine.live.twin(*index).unwrap().copies).collect::<Vec<_>>();
        assert_ne!(before, after, "copies of a large commit move");
        assert_holds(&engine, &protected, &tables);

        let mut stage = engine.stage().unwrap();
        engine.free_protected(&mut stage, &protected).unwrap();
        tables[..200].iter().for_each(|index| engine.free_table_page(&mut stage, *index).unwrap());
        engine.commit(stage).unwrap();
        engine.begin_moving().unwrap();
        let mut round = Round::new(engine.compaction_end());
        while !round.is_last() {
            let mut stage = engine.stage_for_moving().unwrap();
            engine.move_runs(&mut stage, &mut round, 100).unwrap();
            engine.move_protected_pages(&mut stage, &mut round, 100).unwrap();
            engine.make_durable(&mut stage);
            engine.commit(stage).unwrap();
            assert_holds(&engine, &[], &tables[200..]);
        }
        engine.shrink().unwrap();
        engine.close().unwrap();
        assert_holds(&open(&directory.path().join("pages"), page_size), &[], &tables[200..]);
    }
}

#[test]
fn commits_that_wait_take_pages_of_tables_along() {
    let directory = TempDir::new().unwrap();
    let (mut engine, protected, tables) = mixed(&directory, 4096, 6);
    for round in 0..3 {
        let mut stage = engine.stage().unwrap();
        stage.set_durability(super::Durability::None);
        write(&engine, &mut stage, &tables[3..]);
        engine.free_table_page(&mut stage, tables[round]).unwrap();
        engine.commit(stage).unwrap();
        assert_holds(&engine, &protected, &tables[round + 1..]);
    }
    engine.sync().unwrap();
    assert_holds(&engine, &protected, &tables[3..]);
    drop(engine);
    assert_holds(&open(&directory.path().join("pages"), 4096), &protected, &tables[3..]);
}
