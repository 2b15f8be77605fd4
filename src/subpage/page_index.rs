//! Which place of a list each page has: an array of arrays, of which those that hold nothing are not there.
//!
//! It takes 4 bytes a page where pages lie together, as those of a file mostly do, and 16 KiB for one that lies alone. A look
//! loads two words, whatever there is. The outer array has 8 bytes for 4096 pages of the file: 4 MiB where it has 8 TiB in
//! pages of 4 KiB.

const CHUNK_SHIFT: u32 = 12;
const CHUNK_PAGES: usize = 1 << CHUNK_SHIFT;

/// One more than the last page that a file can have.
const END: u64 = 1 << 40;

#[derive(Clone, Debug)]
struct Chunk {
    /// Pages that have a place.
    used: usize,
    /// One more than the place of each page; 0 where it has none.
    places: [u32; CHUNK_PAGES],
}

/// See the head of this file.
#[derive(Clone, Debug, Default)]
pub(super) struct PageIndex {
    chunks: Vec<Option<Box<Chunk>>>,
}

impl PageIndex {
    /// The place of a page, any number.
    #[inline]
    pub(super) fn get(&self, page: u64) -> Option<usize> {
        let (chunk, at) = split(page)?;
        let place = self.chunks.get(chunk)?.as_ref()?.places[at];
        usize::try_from(place.checked_sub(1)?).ok()
    }

    /// Says what the place of a page is: of a new one, or another one than before.
    pub(super) fn set(&mut self, page: u64, place: usize) {
        let (chunk, at) = split(page).expect("numbers of pages are below 2^40");
        if self.chunks.len() <= chunk {
            self.chunks.resize_with(chunk + 1, || None);
        }
        let chunk = self.chunks[chunk].get_or_insert_with(|| Box::new(Chunk { used: 0, places: [0; CHUNK_PAGES] }));
        chunk.used += usize::from(chunk.places[at] == 0);
        chunk.places[at] = u32::try_from(place + 1).expect("a map has fewer than 2^32 pages");
    }

    /// Forgets a page that has a place.
    pub(super) fn clear(&mut self, page: u64) {
        let Some((index, at)) = split(page) else { return };
        let Some(Some(chunk)) = self.chunks.get_mut(index) else { return };
        chunk.used -= usize::from(chunk.places[at] != 0);
        chunk.places[at] = 0;
        if chunk.used == 0 {
            self.chunks[index] = None;
        }
    }
}

/// The chunk of a page, and where it stands there.
#[inline]
fn split(page: u64) -> Option<(usize, usize)> {
    let chunk = (page < END).then_some(page >> CHUNK_SHIFT)?;
    Some((usize::try_from(chunk).ok()?, usize::try_from(page - (chunk << CHUNK_SHIFT)).ok()?))
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeMap;

    use proptest::prelude::*;

    use super::{END, PageIndex};

    proptest! {
        #[test]
        fn places_agree_with_a_map_of_numbers(
            draws in prop::collection::vec((prop_oneof![0u64..20_000, 0u64..1 << 22, 4090u64..4100], any::<bool>()), 0..200),
        ) {
            let (mut index, mut twin) = (PageIndex::default(), BTreeMap::new());
            for (place, (page, is_set)) in draws.into_iter().enumerate() {
                if is_set {
                    index.set(page, place);
                    twin.insert(page, place);
                } else {
                    index.clear(page);
                    twin.remove(&page);
                }
                for near in page.saturating_sub(1)..=page + 1 {
                    prop_assert_eq!(index.get(near), twin.get(&near).copied());
                }
            }
            for (page, place) in &twin {
                prop_assert_eq!(index.get(*page), Some(*place));
            }
            twin.into_keys().for_each(|page| index.clear(page));
            prop_assert!(index.chunks.iter().all(Option::is_none));
        }
    }

    #[test]
    fn a_number_that_no_page_has_has_no_place() {
        let index = PageIndex::default();
        assert!([0, 1, END - 1, END, u64::MAX].iter().all(|page| index.get(*page).is_none()));
    }
}
