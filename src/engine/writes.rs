//! What a commit writes besides blocks of the engine: copies of protected pages, and regular pages.

use std::collections::BTreeMap;

use crate::block::PageKind;

use super::Engine;
use super::stage::{Content, Owned};
use super::state::State;
use super::twin_table::turned_over;

/// A page, and what is written there.
pub(super) type PageWrite<'p> = (u64, Source<'p>);

/// Where what is written comes from.
#[derive(Clone, Copy)]
pub(super) enum Source<'p> {
    Staged(&'p [u8]),
    /// A page of the live state that the commit frees: nothing writes there before it is turned over.
    Page(u64),
}

/// A copy of a protected page that is to be written.
pub(super) struct CopyWrite<'p> {
    pub(super) index: u64,
    pub(super) page: u64,
    pub(super) bytes: &'p [u8],
}

/// The regular pages, and those of extents, that a commit writes.
#[derive(Default)]
pub(super) struct RegularPages<'p> {
    /// They hold extents too, of which metadata has no list.
    pub(super) unlisted: bool,
    pub(super) fresh: Vec<PageWrite<'p>>,
    /// Pages that the live state owns: writing them cannot be taken back.
    pub(super) overwritten: Vec<PageWrite<'p>>,
}

impl RegularPages<'_> {
    pub(super) fn len(&self) -> usize {
        self.fresh.len() + self.overwritten.len()
    }

    pub(super) fn is_empty(&self) -> bool {
        self.len() == 0
    }
}

/// The copies of protected pages that a commit writes.
#[derive(Default)]
pub(super) struct Copies<'p> {
    pub(super) writes: Vec<CopyWrite<'p>>,
    /// Indexes of the pages whose live copy is written again.
    pub(super) rewritten: Vec<u64>,
}

impl Copies<'_> {
    /// How many of them the durable state does not know to be written.
    pub(super) fn turned(&self) -> usize {
        self.writes.len() - self.rewritten.len()
    }
}

impl Engine {
    /// Turns the entries of the protected pages that are staged over in `state`, once in a group. Returns the copies to be
    /// written.
    pub(super) fn turn_over_pages<'p>(
        &self,
        state: &mut State,
        contents: &'p BTreeMap<Owned, Content>,
        zeros: &'p [u8],
    ) -> Copies<'p> {
        let mut checksum_of_zeros = None;
        let mut copies = Copies::default();
        for (owned, content) in contents {
            let Owned::Protected(index) = *owned else { continue };
            let (bytes, checksum) = match content {
                Content::Bytes(buffer) => (buffer.as_bytes(), self.key.checksum(buffer.as_bytes())),
                Content::Zeros => (zeros, *checksum_of_zeros.get_or_insert_with(|| self.key.checksum(zeros))),
                Content::Placed | Content::Moved(_) => unreachable!("twins are moved by being turned over"),
            };
            let entry = state.directory.get(index);
            let (turned, page) = turned_over(&entry, state.generation, checksum);
            state.directory.set(index, turned);
            let mut push = |page| copies.writes.push(CopyWrite { index, page, bytes });
            push(page);
            if entry.generation == 0 && !self.options.sparse {
                // Space that was allocated and never written costs a commit of the filesystem when it first is. The spare copy
                // mostly lies behind the live one, where it costs next to nothing to write now.
                push(turned.copies[turned.live.other().index()]);
            }
            if page == entry.live_page() && entry.generation != 0 {
                copies.rewritten.push(index);
            }
        }
        copies
    }

    pub(super) fn regular_pages<'p>(&self, state: &State, contents: &'p BTreeMap<Owned, Content>) -> RegularPages<'p> {
        let mut regular = RegularPages::default();
        for (owned, content) in contents {
            let buffer = match (owned, content) {
                (_, Content::Bytes(buffer)) => buffer,
                (Owned::Page(page), Content::Moved(from)) => {
                    regular.fresh.push((*page, Source::Page(*from)));
                    continue;
                }
                _ => continue,
            };
            let (first, kind) = match owned {
                Owned::Page(page) => (*page, PageKind::Regular),
                Owned::Extent(index) => {
                    let pages = state.extent(*index).expect("what is freed has no content");
                    regular.unlisted = true;
                    (pages.start, PageKind::TableOwned)
                }
                _ => continue,
            };
            for (page, bytes) in (first..).zip(buffer.as_bytes().chunks(self.geometry.page_len())) {
                let is_live = self.live.kind(self.geometry, page) == kind;
                let list = if is_live { &mut regular.overwritten } else { &mut regular.fresh };
                list.push((page, Source::Staged(bytes)));
            }
        }
        regular
    }

    pub(super) fn source<'s>(&'s self, source: Source<'s>) -> &'s [u8] {
        match source {
            Source::Staged(bytes) => bytes,
            Source::Page(page) => self.page_bytes(page),
        }
    }
}
