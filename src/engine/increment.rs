//! What an incremental snapshot carries, and what the newer copy is that it makes of an older one.
//!
//! ```text
//!   what the newer copy names      carried if                              else
//!   reserved region                always
//!   leaf, node, protected page,    its entry is newer than the base        the older copy has it: the same entry
//!     page of a table
//!   regular page                   all are, or it is named                 the older copy has it, or zeros
//!   page of an extent              always
//! ```
//!
//! Both copies are snapshots, with everything where the source has it, so the newer one is the older one with the bytes of
//! the increment in place. It is a file of its own, made as a snapshot is; the older copy is only read. Before a byte of it
//! is written the increment is verified from end to end, and the newer state is read as it will be and checked as at any open:
//! counts, owners, and checksums of all that the engine keeps.

use std::collections::BTreeSet;
use std::iter;
use std::ops::Range;

use crate::block::{Block, PageKind};
use crate::error::{Error, Result};
use crate::format::{BLOCK_LEN, ChecksumKey, IncrementHead, LEAF_WORDS, RESERVED_LEN, TwinEntry};
use crate::ids::FileId;
use crate::storage::{Content, Increment, NewIncrement, Overlay, Ranges, Readable, Region, Source, Storage};

use super::Engine;
use super::entries::is_page;
use super::free_map::FreeMap;
use super::geometry::Geometry;
use super::options::EngineOptions;
use super::reader::Reader;
use super::reserved::Reserved;
use super::runs::Runs;
use super::snapshot::{Sealed, bytes_in_use, content_map};
use super::state::State;

impl Engine {
    /// Has what changed after the generation `since` written, with the regular pages that are named or all. While `write`
    /// runs nothing can change it.
    ///
    /// # Errors
    ///
    /// [`Error::NotOlder`]; those of a regular page that there is not; [`Error::Poisoned`], as of a snapshot.
    pub(crate) fn increment<T>(
        &self,
        since: u64,
        named: Option<&[u64]>,
        write: impl FnOnce(&NewIncrement<'_>) -> Result<T>,
    ) -> Result<T> {
        let Sealed { state, blocks, anew } = self.sealed()?;
        if since >= state.generation {
            return Err(Error::NotOlder { since, generation: state.generation });
        }
        named.into_iter().flatten().try_for_each(|page| self.check_regular(*page))?;
        let geometry = self.geometry;
        let mut map = content_map(&self.reader(), &state, &anew, |entry| entry.generation > since)?;
        if let Some(named) = named {
            keep_named(&mut map, named);
        }
        let heads = if geometry.page_len() > BLOCK_LEN { take_blocks(&mut map, &state) } else { Vec::new() };
        let head_of = |page: &u64| geometry.offset(*page)..geometry.offset(*page) + BLOCK_LEN as u64;
        let ranges = || -> Ranges<'_> { Box::new(bytes_in_use(&map, geometry).chain(heads.iter().map(head_of))) };
        let head = IncrementHead {
            identity: self.identity,
            base: since,
            generation: state.generation,
            total_pages: state.total_pages,
            pieces: 0,
            payload: 0,
        };
        let source = Source { storage: &*self.storage, region: &self.region };
        write(&NewIncrement::new(source, head, &ranges, blocks))
    }
}

/// Leaves of the regular pages only those that are named. What is not regular stays.
fn keep_named(map: &mut FreeMap, named: &[u64]) {
    let leaves: Vec<u64> = map.leaves().map(|(index, _)| index).collect();
    for index in leaves {
        for at in 0..LEAF_WORDS {
            let regular = map.leaf(index).map_or(0, |leaf| leaf.word_of_kind(at, PageKind::Regular));
            let (low, high) = map.word(index * LEAF_WORDS as u64 + at as u64);
            if regular != 0 {
                map.set_word(index, at, low & !regular, high);
            }
        }
    }
    named.iter().for_each(|page| map.set(*page, PageKind::Regular));
}

/// Takes the blocks of the engine out of a map of pages that are longer than a block. Returns their pages.
fn take_blocks(map: &mut FreeMap, state: &State) -> Vec<u64> {
    let blocks = state.twins().filter(|(block, _)| !is_page(*block));
    let pages: Vec<u64> = blocks.map(|(_, entry)| entry.live_page()).collect();
    let (taken, _): (Vec<u64>, Vec<u64>) = pages.into_iter().partition(|page| map.kind(*page) != PageKind::Free);
    taken.iter().for_each(|page| map.set(*page, PageKind::Free));
    taken
}

/// Makes the newer copy of an older one and an increment: `copy` gets what it holds. Returns its generation, too.
///
/// # Errors
///
/// Those of opening the older copy, of [`Increment::read`], and those that tell that one does not belong to the other. Nothing
/// was written then.
pub(crate) fn apply<T>(
    older: Box<dyn Storage>,
    increment: Box<dyn Storage>,
    page_size: u32,
    options: EngineOptions,
    share: bool,
    copy: impl FnOnce(&Content<'_>) -> Result<T>,
) -> Result<(u64, T)> {
    let increment = Increment::read(increment)?;
    let head = increment.head;
    let identity = head.identity;
    if identity.page_size != page_size {
        return Err(Error::PageSize { expected: page_size.into(), found: identity.page_size.into() });
    }
    let base = Engine::open_read_only(older, page_size, options)?;
    check_base(&base, &head)?;

    let older: &dyn Readable = &*base.storage;
    let geometry = base.geometry;
    let overlay = Overlay::new(older, &increment).map_err(|source| base.io_error("read the length of", source))?;
    let state = read_newer(&overlay, &head, base.key)?;
    check_kept(&base.live, &state, head.base)?;
    let overlay = overlay.cleared(unknown_pages(&base.live, &state, geometry));

    let reader = reader_of(&overlay, geometry, base.key, &head);
    let map = content_map(&reader, &state, &BTreeSet::new(), |_| true)?;
    let needed = || -> Ranges<'_> { Box::new(iter::once(0..RESERVED_LEN).chain(bytes_in_use(&map, geometry))) };
    let unshared = || -> Ranges<'_> { Box::new(overlay.differing()) };
    let region = Region::anonymous(0, 0).map_err(|source| base.io_error("map", source))?;
    let content = Content {
        source: Source { storage: &overlay, region: &region },
        share,
        len: head.total_len(),
        needed: &needed,
        unshared: &unshared,
        blocks: Vec::new(),
    };
    Ok((head.generation, copy(&content)?))
}

/// Whether a copy is at the generation from which an increment of its file goes on.
fn check_base(base: &Engine, head: &IncrementHead) -> Result<()> {
    check_file(base.identity.file_id, head.identity.file_id)?;
    let (expected, found) = (head.base, base.live.generation);
    if expected != found { Err(Error::IncrementOfAnotherBase { expected, found }) } else { Ok(()) }
}

fn check_file(expected: FileId, found: FileId) -> Result<()> {
    let [expected, found] = [expected, found].map(|id| u128::from_be_bytes(id.to_bytes()));
    if expected != found { Err(Error::IncrementOfAnotherFile { expected, found }) } else { Ok(()) }
}

/// Whether the head of an increment says what its pieces do.
fn check_says(expected: u64, found: u64, field: &'static str) -> Result<()> {
    if expected != found { Err(Error::DamagedIncrement { offset: 0, field, expected, found }) } else { Ok(()) }
}

fn reader_of<'a>(overlay: &'a Overlay<'a>, geometry: Geometry, key: ChecksumKey, head: &IncrementHead) -> Reader<'a> {
    Reader { storage: overlay, geometry, key, len: head.total_len(), in_flight: None }
}

/// The newer state, read as the newer copy will have it.
fn read_newer(overlay: &Overlay<'_>, head: &IncrementHead, key: ChecksumKey) -> Result<State> {
    if head.total_len() < RESERVED_LEN {
        return Err(Error::TooShort { expected: RESERVED_LEN, found: head.total_len() });
    }
    let mut reserved = Reserved::read(overlay)?;
    check_file(head.identity.file_id, reserved.identity.file_id)?;
    check_says(head.identity.page_size.into(), reserved.identity.page_size.into(), "page size")?;
    let reader = reader_of(overlay, Geometry::new(head.identity.page_size), key, head);
    let (_, found) = reserved.decide(&reader, false).map_err(foreign)?;
    check_says(head.generation, found.live.generation, "generation")?;
    check_says(head.total_pages, found.live.total_pages, "total pages")?;
    Ok(found.live)
}

/// The older copy was whole, and so was the increment: what does not fit below the root comes from a copy of something else.
fn foreign(error: Error) -> Error {
    match error {
        Error::Corrupt { block: Block::Identity | Block::Slot(_) | Block::Metadata(_), .. } => error,
        Error::Corrupt { block, .. } => Error::NotTheBase { block },
        other => other,
    }
}

/// Whether the older copy has what the newer one keeps of it.
fn check_kept(base: &State, newer: &State, since: u64) -> Result<()> {
    let shown = |entry: TwinEntry| (entry.live_page(), entry.generation, entry.checksum);
    let leaves = newer.leaf_table.iter().map(|(index, entry)| {
        let was = base.leaf_table.get(index);
        (Block::FreeMapLeaf { index }, entry, was)
    });
    let pages = newer.directory.iter().map(|(index, entry)| {
        let was = base.directory.get(index);
        (newer.block_of(index, &entry), entry, was)
    });
    let mut kept = leaves.chain(pages).filter(|(_, entry, _)| entry.generation <= since);
    match kept.find(|(_, entry, was)| shown(*entry) != shown(*was)) {
        Some((block, ..)) => Err(Error::NotTheBase { block }),
        None => Ok(()),
    }
}

/// The bytes of pages about whose content the older copy says nothing: they were not of the same kind there.
fn unknown_pages(base: &State, newer: &State, geometry: Geometry) -> Vec<Range<u64>> {
    let mut runs = Runs::default();
    for (index, leaf) in newer.free_map.leaves() {
        let old = base.free_map.leaf(index);
        for at in 0..LEAF_WORDS {
            let unknown = [PageKind::Regular, PageKind::TableOwned]
                .map(|kind| leaf.word_of_kind(at, kind) & !old.map_or(0, |old| old.word_of_kind(at, kind)));
            let first = (index * LEAF_WORDS as u64 + at as u64) * u64::from(u64::BITS);
            runs.push_word(first, unknown[0] | unknown[1]);
        }
    }
    runs.iter().map(|run| geometry.offset(run.start)..geometry.offset(run.end)).collect()
}
