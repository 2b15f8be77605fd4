//! How the free pages lie: in few long runs, or in many short ones.

use std::fmt;

use crate::engine::Engine;

use super::PageReader;

/// Classes of lengths: a file has less than 2^40 pages.
const CLASSES: usize = 40;

/// How the free pages of a file lie: made by [`PageReader::free_runs`](crate::PageReader::free_runs). Lengths are pages.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct FreeRuns {
    largest: u64,
    pages: u64,
    histogram: [u64; CLASSES],
}

impl FreeRuns {
    fn of(engine: &Engine) -> Self {
        let mut runs = FreeRuns { largest: 0, pages: 0, histogram: [0; CLASSES] };
        engine.visit_free_runs(|len| {
            runs.largest = runs.largest.max(len);
            runs.pages += len;
            let class = len.ilog2().try_into().unwrap_or(CLASSES).min(CLASSES - 1);
            runs.histogram[class] += 1;
        });
        runs
    }

    /// The length of the longest free run: the longest extent for which the file need not grow, but for the few pages that the map
    /// of free pages takes where it was never used.
    #[must_use]
    pub fn largest_free_run(&self) -> u64 {
        self.largest
    }

    /// Free pages: the sum of the lengths of all runs.
    #[must_use]
    pub fn pages(&self) -> u64 {
        self.pages
    }

    /// How many runs there are.
    #[must_use]
    pub fn count(&self) -> u64 {
        self.histogram.iter().sum()
    }

    /// How many runs there are of each length: number `c` counts those of 2^`c` pages and more, up to the double.
    #[must_use]
    pub fn histogram(&self) -> &[u64; CLASSES] {
        &self.histogram
    }
}

impl fmt::Debug for FreeRuns {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let used = self.histogram.iter().rposition(|count| *count > 0).map_or(0, |last| last + 1);
        f.debug_struct("FreeRuns")
            .field("largest", &self.largest)
            .field("pages", &self.pages)
            .field("histogram", &&self.histogram[..used])
            .finish()
    }
}

impl<const P: usize> PageReader<P> {
    /// How the free pages lie. It takes time in proportion to the file: two bits a page are looked at.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
    /// let ids = pager.alloc_bulk(100)?;
    /// let whole = pager.free_runs();
    /// pager.free_bulk([ids[10], ids[20], ids[21]])?;
    /// let holes = pager.free_runs();
    /// assert_eq!(holes.histogram()[0], whole.histogram()[0] + 1);
    /// assert_eq!(holes.histogram()[1], whole.histogram()[1] + 1);
    /// assert_eq!(holes.pages(), pager.free_page_count());
    /// # Ok::<(), diptych::Error>(())
    /// ```
    #[must_use]
    pub fn free_runs(&self) -> FreeRuns {
        FreeRuns::of(&self.engine)
    }
}
