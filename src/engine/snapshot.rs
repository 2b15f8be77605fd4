//! What a copy of the live state holds: a sealed file at the same generation.
//!
//! ```text
//!   source   │ slots, metadata, rows ... │ leaf, node: A B │ protected: live spare │ regular │ free │
//!   copy     │ one slot, one metadata    │ as checkpointed │            live       │ regular │      │
//! ```
//!
//! The copy is what the source would be after a checkpoint that changes nothing: the leaves and nodes about which a slot has
//! rows are made anew for it, and its metadata carries no changes. So it needs no proof, and a lost slot is no loss. It is
//! behind a barrier before it has a name, and has no older generation: its other slot and metadata copy are void.
//!
//! It keeps the id of the file, which keys every checksum in it.
//!
//! Blocks of the engine are compared with their checksums before they are copied, so that the copy opens; the content of a
//! protected page is copied as it is, and verified by whoever reads it.

use std::collections::BTreeSet;
use std::convert::Infallible;
use std::ops::Range;

use crate::block::PageKind;
use crate::error::Result;
use crate::format::{BLOCK_LEN, LEAF_WORDS, PAGES_PER_LEAF, RegularList, TwinEntry};
use crate::storage::{Content, Ranges, Source};

use super::Engine;
use super::checkpoint::turn_over_blocks;
use super::entries::is_page;
use super::free_map::FreeMap;
use super::geometry::Geometry;
use super::new_file::{metadata_of, reserved_of};
use super::reader::{Parent, Reader};
use super::runs::Runs;
use super::state::State;

/// The live state as a checkpoint that changes nothing would make it, at the same generation.
pub(super) struct Sealed {
    pub(super) state: State,
    /// What is not in the file as the state has it: the reserved region, and the leaves and nodes about which the slot has rows.
    pub(super) blocks: Vec<(u64, Vec<u8>)>,
    /// The pages in which these leaves and nodes begin.
    pub(super) anew: BTreeSet<u64>,
}

impl Engine {
    /// Has the live state copied. While `copy` runs nothing can change it.
    ///
    /// A pager that is poisoned has no such state to copy: the file may be at the generation before or after, and pages that
    /// are overwritten are perhaps half done.
    pub(crate) fn snapshot<T>(&self, share: bool, copy: impl FnOnce(&Content<'_>) -> Result<T>) -> Result<T> {
        let Sealed { state, blocks, anew } = self.sealed()?;
        let geometry = self.geometry;
        let map = content_map(&self.reader(), &state, &anew, |_| true)?;
        let needed = || -> Ranges<'_> { Box::new(bytes_in_use(&map, geometry)) };
        let source = Source { storage: &*self.storage, region: &self.region };
        let len = geometry.offset(state.total_pages);
        copy(&Content { source, share, len, needed: &needed, unshared: &|| Box::new(std::iter::empty()), blocks })
    }

    pub(super) fn sealed(&self) -> Result<Sealed> {
        // A commit that is under way writes nothing that is live.
        if !self.is_under_way() {
            self.check_usable()?;
        }
        let geometry = self.geometry;
        let mut state = State::clone(&self.live);
        let (mut blocks, mut anew) = (Vec::new(), BTreeSet::new());
        let Ok(()) = turn_over_blocks(&mut state, &self.root.state, self.key, |page, block| {
            anew.insert(page);
            blocks.push((geometry.offset(page), block.to_vec()));
            Ok::<(), Infallible>(())
        });
        let metadata = metadata_of(self.identity, &state, false, RegularList::Listed(Vec::new()));
        blocks.push((0, reserved_of(&metadata)));
        Ok(Sealed { state, blocks, anew })
    }
}

/// A map of the pages that hold what a state names: all that are in use, without the reserved region, the copies that are
/// not live, blocks that are made `anew`, and twins that are not `wanted`. The blocks of the engine among them are verified.
pub(super) fn content_map(
    reader: &Reader<'_>,
    state: &State,
    anew: &BTreeSet<u64>,
    wanted: impl Fn(&TwinEntry) -> bool,
) -> Result<FreeMap> {
    let geometry = reader.geometry;
    let mut map = state.free_map.clone();
    map.set_run(0..geometry.first_page(), PageKind::Free);
    let parent = Parent { total_pages: state.total_pages, generation: state.generation };
    let mut scratch = [0; BLOCK_LEN];
    for (block, entry) in state.twins() {
        let is_page = is_page(block);
        let run = if is_page { 1 } else { geometry.pages_per_block() };
        let live = entry.live_page();
        let is_wanted = !anew.contains(&live) && wanted(&entry);
        for page in entry.copies {
            if page != live || !is_wanted {
                map.set_run(page..page + run, PageKind::Free);
            }
        }
        if !is_page && is_wanted {
            reader.read_block(block, &entry, parent, &mut scratch)?;
        }
    }
    Ok(map)
}

/// The bytes of the pages that are not free, ascending.
pub(super) fn bytes_in_use(map: &FreeMap, geometry: Geometry) -> impl Iterator<Item = Range<u64>> + '_ {
    pages_in_use(map).map(move |pages| geometry.offset(pages.start)..geometry.offset(pages.end))
}

/// Runs of pages that are not free, ascending. A run that crosses the end of a word comes in parts.
fn pages_in_use(map: &FreeMap) -> impl Iterator<Item = Range<u64>> + '_ {
    let words = map.leaves().flat_map(|(index, leaf)| {
        (0..LEAF_WORDS).map(move |at| {
            (index * PAGES_PER_LEAF + at as u64 * u64::from(u64::BITS), !leaf.word_of_kind(at, PageKind::Free))
        })
    });
    words.filter(|(_, used)| *used != 0).flat_map(|(first, used)| {
        let mut runs = Runs::default();
        runs.push_word(first, used);
        runs
    })
}
