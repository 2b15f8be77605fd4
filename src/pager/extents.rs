//! Extents: contiguous pages that are looked at as one.

use std::fmt;
use std::iter::FusedIterator;

use crate::allocator::{PageAllocator, PageHandle, ReadHandle};
use crate::engine::State;
use crate::error::{Error, Result};
use crate::ids::ExtentId;

use super::transaction::to_count;
use super::{PageReader, Pager, ReadOnlyPager, Transaction};

/// The engine numbers extents from 0, ids from 1: zero is no id.
fn index_of<const P: usize>(id: ExtentId<P>) -> u64 {
    id.to_u64() - 1
}

fn extent_id<const P: usize>(index: u64) -> ExtentId<P> {
    ExtentId::from_u64(index + 1).expect("one more than a number is not zero")
}

impl<const P: usize> PageReader<P> {
    /// An extent, in place: all its pages as one slice, which begins at a multiple of the page size, at most 1024, in memory.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`].
    pub fn extent(&self, id: ExtentId<P>) -> Result<&[u8]> {
        self.engine.extent(index_of(id))
    }

    /// The extents that are allocated, in ascending order of their ids.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let extents = [pager.alloc_extent(3)?, pager.alloc_extent(2)?];
    /// assert!(pager.iter_allocated_extents().eq(extents));
    /// # Ok::<(), diptych::Error>(())
    /// ```
    #[must_use]
    pub fn iter_allocated_extents(&self) -> AllocatedExtentIter<'_, P> {
        AllocatedExtentIter { state: self.engine.live(), next_index: 0 }
    }
}

impl<const P: usize> Pager<P> {
    /// Allocates an extent of so many contiguous pages, durably. It reads as zeros; until it is written and synced it may hold old
    /// bytes after a power cut.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
    /// let id = pager.alloc_extent(25)?;
    /// pager.extent_mut(id)?[100_000..100_005].copy_from_slice(b"hello");
    /// pager.sync()?;
    /// assert_eq!(pager.extent(id)?.len(), 25 * 4096);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::alloc_extent`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn alloc_extent(&mut self, pages: usize) -> Result<ExtentId<P>> {
        self.commit_one(|transaction| transaction.alloc_extent(pages))
    }

    /// Frees an extent, durably. Its id is not handed out again before that.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::free_extent`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn free_extent(&mut self, id: ExtentId<P>) -> Result<()> {
        self.commit_one(|transaction| transaction.free_extent(id))
    }

    /// Makes an extent so long, durably, if the pages behind it are free: [`Transaction::lengthen_extent`].
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::lengthen_extent`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn lengthen_extent(&mut self, id: ExtentId<P>, pages: usize) -> Result<bool> {
        self.commit_one(|transaction| transaction.lengthen_extent(id, pages))
    }

    /// Frees what an extent has behind so many pages, durably.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::shorten_extent`] and [`Transaction::commit`]; [`Error::Poisoned`].
    pub fn shorten_extent(&mut self, id: ExtentId<P>, pages: usize) -> Result<()> {
        self.commit_one(|transaction| transaction.shorten_extent(id, pages))
    }

    /// An extent, in place, to be stored to. [`sync`](Self::sync) makes it durable; a power cut before that leaves of each of its
    /// sectors the old bytes or the new ones.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`]; [`Error::Poisoned`].
    pub fn extent_mut(&mut self, id: ExtentId<P>) -> Result<&mut [u8]> {
        self.reader.engine.extent_mut(index_of(id))
    }
}

impl<const P: usize> Transaction<'_, P> {
    /// Allocates an extent of so many contiguous pages: of the first 16,128 pages of the file, or the next, that have a free run as
    /// long, it takes the shortest one that will do. It may be longer than that; where there is no such run, the file grows.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
    /// let mut transaction = pager.transaction()?;
    /// let id = transaction.alloc_extent(3)?;
    /// transaction.extent_mut(id)?[4090..4100].copy_from_slice(b"0123456789");
    /// transaction.set_header(&id.to_u64().to_le_bytes())?;
    /// transaction.commit()?;
    /// assert_eq!(&pager.extent(id)?[4090..4100], b"0123456789");
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::EmptyExtent`]; [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it cannot.
    pub fn alloc_extent(&mut self, pages: usize) -> Result<ExtentId<P>> {
        self.engine.holder().alloc_extent(&mut self.stage, to_count(pages)).map(extent_id)
    }

    /// Frees an extent. One that this transaction allocated is free at once; the pages and the id of an older one can be handed
    /// out again after the commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`].
    pub fn free_extent(&mut self, id: ExtentId<P>) -> Result<()> {
        self.engine.get().free_extent(&mut self.stage, index_of(id))
    }

    /// Makes an extent so long where it lies, if the pages behind it are free, and says whether it is so long. What it gains reads
    /// as zeros. Where it is not, nothing has changed, and a longer one is allocated and copied to. Where it would reach into pages
    /// of which the map of free pages has nothing yet, room for that has to be found before it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`]; [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it cannot;
    /// [`Error::StageFull`].
    pub fn lengthen_extent(&mut self, id: ExtentId<P>, pages: usize) -> Result<bool> {
        self.engine.holder().lengthen_extent(&mut self.stage, index_of(id), to_count(pages))
    }

    /// Frees what an extent has behind so many pages; one that is not longer stays as it is. What an older extent leaves can be
    /// handed out again after the commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`]; [`Error::EmptyExtent`]; [`Error::StageFull`].
    pub fn shorten_extent(&mut self, id: ExtentId<P>, pages: usize) -> Result<()> {
        self.engine.get().shorten_extent(&mut self.stage, index_of(id), to_count(pages))
    }

    /// An extent as it will be after the commit.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`]; [`Error::Unwritten`] when this transaction has allocated it or made it longer and has not written
    /// it.
    pub fn extent(&self, id: ExtentId<P>) -> Result<&[u8]> {
        self.engine.get().staged_extent(&self.stage, index_of(id))
    }

    /// The content of an extent that this transaction allocated, to be changed. It appears with the commit, all of it, or not at
    /// all. All of it is held in memory until then; a large one is better written through [`Pager::extent_mut`] and named after a
    /// [`Pager::sync`].
    ///
    /// # Errors
    ///
    /// [`Error::NotFresh`] when the extent is older: [`overwrite_extent`](Self::overwrite_extent) takes those.
    /// [`Error::NoSuchExtent`]; [`Error::StageFull`]; [`Error::Io`] where memory does not hold it.
    pub fn extent_mut(&mut self, id: ExtentId<P>) -> Result<&mut [u8]> {
        self.engine.get().staged_extent_mut(&mut self.stage, index_of(id), true)
    }

    /// The content of an extent of any age, to be changed: *ordered* and not atomic, as [`overwrite`](Self::overwrite) of a regular
    /// page is.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`]; [`Error::StageFull`]; [`Error::Io`] where memory does not hold it.
    pub fn overwrite_extent(&mut self, id: ExtentId<P>) -> Result<&mut [u8]> {
        self.engine.get().staged_extent_mut(&mut self.stage, index_of(id), false)
    }
}

/// The extents that are allocated, ascending: made by
/// [`PageReader::iter_allocated_extents`](crate::PageReader::iter_allocated_extents).
#[derive(Clone)]
pub struct AllocatedExtentIter<'a, const P: usize> {
    state: &'a State,
    next_index: u64,
}

impl<const P: usize> Iterator for AllocatedExtentIter<'_, P> {
    type Item = ExtentId<P>;

    fn next(&mut self) -> Option<ExtentId<P>> {
        let (index, _) = self.state.next_extent(self.next_index)?;
        self.next_index = index + 1;
        Some(extent_id(index))
    }
}

impl<const P: usize> FusedIterator for AllocatedExtentIter<'_, P> {}

impl<const P: usize> fmt::Debug for AllocatedExtentIter<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("AllocatedExtentIter").field("next_index", &self.next_index).finish_non_exhaustive()
    }
}

macro_rules! readable {
    ($($place:ty),+) => {$(
        impl<const P: usize> ReadHandle<$place> for ExtentId<P> {
            type Error = Error;
            type Page = [u8];

            fn get<'a>(&self, from: &'a $place) -> Result<&'a [u8]> {
                from.extent(*self)
            }
        }
    )+};
}

readable!(PageReader<P>, Pager<P>, ReadOnlyPager<P>, Transaction<'_, P>);

macro_rules! changeable {
    ($(#[$doc:meta])* [$($lifetime:lifetime)?] $place:ty) => {
        $(#[$doc])*
        impl<$($lifetime,)? const P: usize> PageHandle<$place> for ExtentId<P> {
            type Mut<'a>
                = &'a mut [u8]
            where
                Self: 'a,
                $place: 'a;

            fn get_mut<'a>(&self, through: &'a mut $place) -> Result<&'a mut [u8]> {
                through.extent_mut(*self)
            }
        }

        impl<$($lifetime,)? const P: usize> PageAllocator<ExtentId<P>> for $place {
            type Error = Error;

            fn alloc(&mut self) -> Result<ExtentId<P>> {
                self.alloc_extent(1)
            }

            fn free(&mut self, id: ExtentId<P>) -> Result<()> {
                self.free_extent(id)
            }
        }
    };
}

changeable! {
    /// In place: [`Pager::extent_mut`].
    [] Pager<P>
}

changeable! {
    /// Of extents that the transaction allocated: [`Transaction::extent_mut`].
    ['p] Transaction<'p, P>
}
