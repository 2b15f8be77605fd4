//! What is wrong with extents that a file names, found by name.

use tempfile::TempDir;

use crate::block::{Block, PageKind};
use crate::error::Error;
use crate::format::{BLOCK_LEN, PAGES_PER_LEAF, TwinEntry};

use super::super::State;
use super::super::entries::EntryKind;
use super::super::reader::Parent;
use super::{Engine, create, options};

/// An engine with extents 0 and 1, of four pages and of two, a protected page and a page of a table, and its state.
fn furnished(directory: &TempDir) -> (Engine, State) {
    let mut engine = create(&directory.path().join("extents"), 4096, options());
    let mut stage = engine.stage().unwrap();
    for pages in [4, 2] {
        engine.alloc_extent(&mut stage, pages).unwrap();
    }
    engine.alloc_protected(&mut stage, 1).unwrap();
    engine.alloc_table_pages(&mut stage, 1).unwrap();
    engine.alloc_bulk(&mut stage, 3).unwrap();
    engine.commit(stage).unwrap();
    assert_eq!(engine.check(), []);
    let state = State::clone(&engine.live);
    (engine, state)
}

#[track_caller]
fn assert_refused(engine: &Engine, state: &State, id: u64, field: &str) {
    match engine.reader().check_owners(state) {
        Err(Error::Corrupt { block, field: found, .. }) => {
            assert_eq!((block, found), (Block::Extent { id }, field));
        }
        other => panic!("{field} is not found: {other:?}"),
    }
}

#[test]
fn an_extent_that_overlaps_what_somebody_has_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let (engine, state) = furnished(&directory);
    let [first, second] = [0, 1].map(|index| state.extent(index).unwrap());
    let with = |change: &dyn Fn(&mut State)| {
        let mut state = state.clone();
        change(&mut state);
        state
    };
    let place = |index: u64, start: u64, end: u64| move |state: &mut State| state.place_extent(index, &(start..end), 1);
    assert!(engine.reader().check_owners(&state).is_ok());

    // Each other's pages, the page of a table, a regular page, a copy, a free page.
    let table = state.twin(3).unwrap().copies;
    let regular = (0..state.total_pages).find(|page| state.free_map.kind(*page) == PageKind::Regular).unwrap();
    let free = (0..state.total_pages).rfind(|page| state.free_map.kind(*page) == PageKind::Free).unwrap();
    let copy = state.twin(2).unwrap().live_page();
    assert_eq!(state.entry(EntryKind::Table, 3).map(|entry| entry.copies), Some(table));
    assert_refused(&engine, &with(&place(0, first.start, second.start + 1)), 2, "owners of a page");
    assert_refused(&engine, &with(&place(1, first.start + 1, first.end)), 2, "owners of a page");
    assert_refused(&engine, &with(&place(1, table[0], table[0] + 1)), 2, "owners of a page");
    for page in [regular, free, copy] {
        assert_refused(&engine, &with(&place(1, page, page + 1)), 2, "kind of an extent's page");
    }
    // Where no page is.
    assert_refused(&engine, &with(&place(1, 1, 2)), 2, "first page");
    assert_refused(&engine, &with(&place(1, state.total_pages, state.total_pages + 1)), 2, "end");
    assert_refused(&engine, &with(&place(1, second.start, 1 << 40)), 2, "end");
    let newer = with(&|state| {
        state.place_extent(1, &second, state.generation + 1);
    });
    assert_refused(&engine, &newer, 2, "generation");
}

#[test]
fn an_extent_where_a_leaf_or_a_node_should_be_is_refused_by_name() {
    let directory = TempDir::new().unwrap();
    let (engine, state) = furnished(&directory);
    let parent = Parent { total_pages: state.total_pages, generation: state.generation };
    let entry = TwinEntry::of_extent(&state.extent(0).unwrap(), 1);
    let blocks = [
        Block::FreeMapLeaf { index: 0 },
        Block::FreeMapNode { level: 0, index: 0 },
        Block::DirectoryNode { level: 0, index: 0 },
    ];
    for block in blocks {
        let error = engine.reader().read_block(block, &entry, parent, &mut [0; BLOCK_LEN]).unwrap_err();
        assert!(
            matches!(error, Error::Corrupt { block: found, field: "page of copy B", .. } if found == block),
            "{block}: {error}"
        );
    }
}

#[test]
fn pages_that_no_extent_has_are_found_by_their_number() {
    let directory = TempDir::new().unwrap();
    let (engine, state) = furnished(&directory);
    let second = state.extent(1).unwrap();
    for entry in [TwinEntry::EMPTY, TwinEntry::of_extent(&(second.start..second.end - 1), 1)] {
        let mut state = state.clone();
        state.directory.set(1, entry);
        let error = engine.reader().check_owners(&state).unwrap_err();
        assert!(matches!(error, Error::Corrupt { field: "table-owned pages with an owner", .. }), "{error}");
    }
}

#[test]
fn an_extent_that_begins_behind_all_pages_finds_its_leaves() {
    let directory = TempDir::new().unwrap();
    let (engine, state) = furnished(&directory);
    let geometry = engine.geometry();
    for pages in [1, PAGES_PER_LEAF - 1, PAGES_PER_LEAF, 5 * PAGES_PER_LEAF] {
        let mut missing = 0;
        let index = loop {
            let mut state = State { total_pages: state.total_pages + missing, ..state.clone() };
            match state.take_extent(geometry, pages, 2) {
                Ok(index) => {
                    let run = state.extent(index).unwrap();
                    assert_eq!(run.end - run.start, pages);
                    assert_eq!(state.first_other(run, PageKind::TableOwned), None);
                    break index;
                }
                Err(more) => missing += more.0,
            }
        };
        assert_eq!(index, 4);
        assert!(missing <= pages + 10 * (pages / PAGES_PER_LEAF + 2), "{pages}: {missing}");
    }
}
