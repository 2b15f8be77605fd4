//! A page as users see it: an array of bytes behind a reference.
//!
//! A view is made from bytes that the engine lends, in the mapping or in a transaction's memory, and costs nothing. It
//! begins at a multiple of 1024 bytes in memory, wherever it lies, so that a typed view of its content is aligned.

#![expect(unsafe_code, reason = "a reference to an array of bytes is made a reference to its transparent wrapper")]

use std::fmt;
use std::ops::{Deref, DerefMut};
use std::ptr;

use static_assertions::{assert_eq_align, assert_eq_size};

/// The `N` bytes of a page, in place.
///
/// It is always behind a reference that borrows the pager or the transaction it comes from, so no page is looked at while
/// the file grows, shrinks or is closed. It derefs to `[u8; N]`, and so to a slice. In memory it begins at a multiple of 1024
/// (of `N`, where `N` is smaller).
///
/// ```
/// use diptych::{PagerOptions, SimDisk};
///
/// let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
/// let id = pager.alloc()?;
/// let page = id.get_mut(&mut pager)?;
/// assert_eq!((page.len(), page[17]), (4096, 0));
/// page.as_bytes_mut()[..5].copy_from_slice(b"hello");
/// assert!(id.get(&pager)?.starts_with(b"hello"));
/// # Ok::<(), diptych::Error>(())
/// ```
#[derive(PartialEq, Eq)]
#[repr(transparent)]
pub struct MappedPage<const N: usize>([u8; N]);

// The casts below rest on this, and `repr(transparent)` gives it.
assert_eq_size!(MappedPage<4096>, [u8; 4096]);
assert_eq_align!(MappedPage<4096>, [u8; 4096]);

impl<const N: usize> MappedPage<N> {
    /// Views `bytes` as a page.
    ///
    /// # Panics
    ///
    /// When they are not `N` bytes: the engine lends whole pages.
    #[inline]
    pub(crate) fn from_bytes(bytes: &[u8]) -> &Self {
        Self::from_array(bytes.try_into().expect("the engine lends whole pages"))
    }

    /// Views an array as a page.
    #[inline]
    pub(crate) const fn from_array(array: &[u8; N]) -> &Self {
        // SAFETY:
        // - non-null, aligned, valid for reads of `N` initialized bytes: the pointer comes from a reference to `[u8; N]`, and
        //   `MappedPage<N>` has its layout (`repr(transparent)`) and, like it, no invalid bit patterns;
        // - not mutated during the borrow: the result has the lifetime of `array`, which is borrowed shared for all of it.
        unsafe { &*ptr::from_ref(array).cast::<Self>() }
    }

    /// Views `bytes` as a page that can be stored to.
    ///
    /// # Panics
    ///
    /// When they are not `N` bytes: the engine lends whole pages.
    #[inline]
    pub(crate) fn from_bytes_mut(bytes: &mut [u8]) -> &mut Self {
        let array: &mut [u8; N] = bytes.try_into().expect("the engine lends whole pages");
        // SAFETY:
        // - non-null, aligned, valid for reads and writes of `N` initialized bytes: the pointer comes from a mutable reference
        //   to `[u8; N]`, and `MappedPage<N>` has its layout (`repr(transparent)`); any byte stored through one is a value of
        //   the other;
        // - accessed through nothing else during the borrow: `array` is not used again, and the result has the lifetime of
        //   `bytes`, which is borrowed exclusively for all of it.
        unsafe { &mut *ptr::from_mut(array).cast::<Self>() }
    }

    /// The bytes of the page.
    #[must_use]
    #[inline]
    pub const fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// The bytes of the page, to be stored to.
    #[must_use]
    #[inline]
    pub const fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }

    /// The size of the page in bytes: `N`.
    #[must_use]
    #[inline]
    pub const fn len(&self) -> usize {
        N
    }

    /// Whether the page has no bytes: no page of a pager is so.
    #[must_use]
    #[inline]
    pub const fn is_empty(&self) -> bool {
        N == 0
    }
}

impl<const N: usize> Deref for MappedPage<N> {
    type Target = [u8; N];

    #[inline]
    fn deref(&self) -> &[u8; N] {
        &self.0
    }
}

impl<const N: usize> DerefMut for MappedPage<N> {
    #[inline]
    fn deref_mut(&mut self) -> &mut [u8; N] {
        &mut self.0
    }
}

impl<const N: usize> AsRef<[u8]> for MappedPage<N> {
    #[inline]
    fn as_ref(&self) -> &[u8] {
        &self.0
    }
}

impl<const N: usize> AsMut<[u8]> for MappedPage<N> {
    #[inline]
    fn as_mut(&mut self) -> &mut [u8] {
        &mut self.0
    }
}

impl<const N: usize> fmt::Debug for MappedPage<N> {
    /// The size alone: a page of bytes fills a screen.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("MappedPage").field("len", &N).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::MappedPage;

    #[test]
    fn a_view_shows_the_bytes_that_it_was_made_from() {
        let mut bytes = [7; 1024];
        let page = MappedPage::<1024>::from_bytes_mut(&mut bytes);
        page[3] = 1;
        page.as_bytes_mut()[1023] = 2;
        page.as_mut()[4] = 3;
        assert_eq!((page.len(), page.is_empty()), (1024, false));
        let page = MappedPage::<1024>::from_bytes(&bytes);
        assert_eq!((page[2], page[3], page.as_ref()[4], page.as_bytes()[1023]), (7, 1, 3, 2));
        assert_eq!(page.as_bytes().as_ptr(), bytes.as_ptr());
        assert_eq!(format!("{page:?}"), "MappedPage { len: 1024, .. }");
    }

    #[test]
    #[should_panic(expected = "whole pages")]
    fn bytes_of_another_length_are_no_page() {
        MappedPage::<1024>::from_bytes(&[0; 1023]);
    }
}
