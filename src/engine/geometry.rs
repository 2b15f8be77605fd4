//! Where things lie, as functions of the page size.
//!
//! The engine takes the page size as a value, so that it is compiled and tested once. All products of page numbers and
//! sizes are formed here, and none can overflow: a page number below [`Geometry::capacity`] times the page size fits.

use std::ops::Range;

use crate::format::{BLOCK_LEN, PAGE_BITS, RESERVED_LEN};

/// The most pages that a file can have, whatever their size.
const MAX_PAGES: u64 = 1 << PAGE_BITS;

/// The sizes that follow from a page size.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Geometry {
    page_size: u32,
}

impl Geometry {
    /// `page_size` is a power of two from 1 KiB to 16 MiB; the pager tier and the identity's decoder see to that.
    pub(crate) fn new(page_size: u32) -> Self {
        assert!(page_size.is_power_of_two(), "a page size is a power of two");
        Geometry { page_size }
    }

    pub(crate) fn page_size(self) -> u32 {
        self.page_size
    }

    #[inline]
    pub(crate) fn page_len(self) -> usize {
        to_index(u64::from(self.page_size))
    }

    /// The first page behind the reserved region.
    pub(crate) fn first_page(self) -> u64 {
        self.pages_holding(RESERVED_LEN)
    }

    /// As many pages as bytes take. A shift and not a division, for every entry is checked against what follows from it.
    fn pages_holding(self, bytes: u64) -> u64 {
        (bytes + u64::from(self.page_size) - 1) >> self.page_size.trailing_zeros()
    }

    /// Pages that a block of the engine takes: one, or an aligned run of smaller ones.
    pub(crate) fn pages_per_block(self) -> u64 {
        self.pages_holding(BLOCK_LEN as u64)
    }

    /// The most pages that a file of this page size can have, so that every offset fits in an `i64`.
    pub(crate) fn capacity(self) -> u64 {
        MAX_PAGES.min((i64::MAX.unsigned_abs()) / u64::from(self.page_size))
    }

    /// Where a page begins. `page` is at most the capacity.
    #[inline]
    pub(crate) fn offset(self, page: u64) -> u64 {
        debug_assert!(page <= self.capacity(), "pages beyond the capacity are refused before they are located");
        page * u64::from(self.page_size)
    }

    /// The page in which an offset lies.
    pub(crate) fn page_at(self, offset: u64) -> u64 {
        offset / u64::from(self.page_size)
    }

    /// The pages of the block that begins at `page`.
    pub(crate) fn block_pages(self, page: u64) -> Range<u64> {
        page..page + self.pages_per_block()
    }

    /// The first page behind the block in which `page` lies.
    pub(crate) fn next_block(self, page: u64) -> u64 {
        let pages = self.pages_per_block();
        (page / pages + 1) * pages
    }

    /// A run of pages in pieces of at most `len` bytes, which is at least a page.
    pub(crate) fn split(self, run: Range<u64>, len: usize) -> impl Iterator<Item = Range<u64>> {
        let step = len / self.page_len();
        run.clone().step_by(step).map(move |start| start..run.end.min(start + step as u64))
    }

    /// Pages that `len` bytes hold, the last one whole.
    pub(crate) fn whole_pages(self, len: u64) -> u64 {
        len / u64::from(self.page_size)
    }
}

/// A count that is known to be in memory, as an index.
#[inline]
pub(crate) fn to_index(value: u64) -> usize {
    usize::try_from(value).expect("a value that counts things in memory fits the address space")
}

#[cfg(test)]
mod tests {
    use super::Geometry;

    #[test]
    fn data_begins_at_the_first_page_behind_the_reserved_region() {
        let first = |page_size| Geometry::new(page_size).first_page();
        assert_eq!((first(1024), first(2048), first(4096), first(8192), first(16384)), (20, 10, 5, 3, 2));
        assert_eq!((first(32768), first(1 << 24)), (1, 1));
    }

    #[test]
    fn the_last_offset_of_a_full_file_fits_in_an_i64() {
        for shift in 10..=24 {
            let geometry = Geometry::new(1 << shift);
            assert!(i64::try_from(geometry.offset(geometry.capacity())).is_ok());
        }
    }

    #[test]
    fn an_offset_lies_in_the_page_that_begins_at_or_before_it() {
        let geometry = Geometry::new(2048);
        assert_eq!([0, 2047, 2048, 6143].map(|offset| geometry.page_at(offset)), [0, 0, 1, 2]);
        assert_eq!((geometry.block_pages(6), Geometry::new(4096).block_pages(6)), (6..8, 6..7));
    }

    #[test]
    fn a_block_is_four_small_pages_or_the_head_of_a_large_one() {
        assert_eq!(Geometry::new(1024).pages_per_block(), 4);
        assert_eq!(Geometry::new(1024).next_block(21), 24);
        assert_eq!(Geometry::new(16384).pages_per_block(), 1);
        assert_eq!(Geometry::new(16384).next_block(2), 3);
    }
}
