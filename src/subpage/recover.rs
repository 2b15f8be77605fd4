//! A map from what its user wrote down: any numbers, since they come from a file.

use crate::ids::SubPageId;
use crate::pager::PageReader;

use super::map::SubPageMap;

/// What [`SubPageMap::recover`] found wrong with the ids that it was given. They are not in the map, or not twice.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SubPageRecovery<const P: usize, const S: usize> {
    /// Ids that had been named before, once for each further time.
    pub duplicates: Vec<SubPageId<P, S>>,
    /// Ids that point at nothing: they do not lie in a regular page that is allocated.
    pub dangling: Vec<SubPageId<P, S>>,
}

impl<const P: usize, const S: usize> SubPageRecovery<P, S> {
    /// Whether nothing is wrong.
    #[must_use]
    pub fn is_clean(&self) -> bool {
        self.duplicates.is_empty() && self.dangling.is_empty()
    }
}

impl<const P: usize, const S: usize> SubPageMap<P, S> {
    /// The map in which the sub-pages of `live_ids` are live, and no others, in the file that `reader` reads.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk, SubPageId, SubPageMap};
    /// # let disk = SimDisk::new();
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&disk)?;
    /// let mut map = SubPageMap::<4096, 64>::new();
    /// let ids = map.alloc_bulk(&mut pager, 3)?;
    /// map.page_mut(&mut pager, ids[1])?.fill(7);
    /// pager.close()?;
    ///
    /// let pager = PagerOptions::new().open_on(&disk)?;
    /// let nothing = SubPageId::from_u64(u64::MAX).expect("not zero");
    /// let (map, found) = SubPageMap::<4096, 64>::recover(&pager, [ids[1], ids[2], ids[2], nothing]);
    /// assert_eq!((found.duplicates, found.dangling), (vec![ids[2]], vec![nothing]));
    /// assert_eq!((map.allocated_count(), map.page(&pager, ids[1])?[63]), (2, 7));
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// Any ids will do, in any order. What they can say wrongly and nobody can tell: an id that points into a page that is
    /// allocated and somebody else's is taken for a sub-page. Pages that no id points into are not touched: to the map they are the
    /// caller's other pages. One whose sub-pages were all forgotten stays allocated, and is found by comparing
    /// [`iter_allocated_pages`](PageReader::iter_allocated_pages) with [`iter_parents`](Self::iter_parents) of all maps and with what
    /// else the caller has.
    #[must_use]
    pub fn recover(
        reader: &PageReader<P>,
        live_ids: impl IntoIterator<Item = SubPageId<P, S>>,
    ) -> (Self, SubPageRecovery<P, S>) {
        let mut map = SubPageMap::new();
        let mut found = SubPageRecovery { duplicates: Vec::new(), dangling: Vec::new() };
        for id in live_ids {
            let Some(parent) = id.parent().filter(|parent| reader.is_allocated(*parent)) else {
                found.dangling.push(id);
                continue;
            };
            if !map.parents.has_page(parent.to_u64()) {
                map.parents.add(parent.to_u64());
            }
            if !map.parents.take_this(id.to_u64()) {
                found.duplicates.push(id);
            }
        }
        (map, found)
    }
}
