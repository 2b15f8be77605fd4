//! Names of what a content belongs to, and of what can be freed.

use crate::block::PageKind;

use super::state::State;

/// What a content belongs to, and what can be freed: a regular page, or a twin of the directory or an extent by its index.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) enum Owned {
    Page(u64),
    /// A protected page, or a page of a table.
    Protected(u64),
    /// A page that a twin has left. It has no content of its own.
    Copy(u64),
    Extent(u64),
    /// Pages that an extent has left. They have no content of their own.
    Left {
        start: u64,
        end: u64,
    },
}

impl Owned {
    /// Makes it free.
    pub(super) fn release_from(self, state: &mut State) {
        match self {
            Owned::Page(page) => state.release(page, PageKind::Regular),
            Owned::Protected(index) => state.release_twin(index),
            Owned::Copy(page) => state.release(page, state.free_map.kind(page)),
            Owned::Extent(index) => state.release_extent(index),
            Owned::Left { start, end } => state.release_run(start..end),
        }
    }

    /// Whether a state has it.
    pub(super) fn is_in(self, state: &State) -> bool {
        match self {
            Owned::Page(page) => state.free_map.kind(page) == PageKind::Regular,
            Owned::Protected(index) => state.twin(index).is_some(),
            Owned::Copy(page) => matches!(state.free_map.kind(page), PageKind::Engine | PageKind::TableOwned),
            Owned::Extent(index) => state.extent(index).is_some(),
            Owned::Left { start, .. } => state.free_map.kind(start) == PageKind::TableOwned,
        }
    }

    /// How many pages it has in a state.
    pub(super) fn pages(self, state: &State) -> u64 {
        match self {
            Owned::Page(_) | Owned::Copy(_) => 1,
            Owned::Protected(_) => 2,
            Owned::Extent(index) => state.extent(index).map_or(0, |pages| pages.end - pages.start),
            Owned::Left { start, end } => end - start,
        }
    }
}
