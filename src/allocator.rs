//! What code that works with any kind of page asks for.
//!
//! ```text
//!   ReadHandle<A>  ◀── PageHandle<A>            implemented by ids, for each place A that they can be read or written in
//!                           ▲
//!   PageAllocator<H> ◀── BulkPageAllocator<H>   implemented by places, for each kind of id H that they hand out
//!
//!   PageMut                                     implemented by what a handle's get_mut returns
//! ```
//!
//! The places are [`Pager`](crate::Pager) and [`Transaction`](crate::Transaction), and for reading also
//! [`PageReader`](crate::PageReader); the ids are [`PageId`] and [`ProtectedPageId`]. Concrete code needs none of these traits:
//! every method has an inherent twin.

use std::error::Error as StdError;

use crate::error::{Error, Result};
use crate::ids::{ExtentId, PageId, ProtectedPageId};
use crate::page::MappedPage;

/// A name of a page that can be read in a place of type `A`.
pub trait ReadHandle<A: ?Sized> {
    /// Why a page could not be had.
    type Error: StdError + Send + Sync + 'static;
    /// What the page is seen as.
    type Page: ?Sized + AsRef<[u8]> + AsMut<[u8]>;

    /// The page, borrowed from the place.
    ///
    /// # Errors
    ///
    /// When the handle names no page there, or the page is found to be damaged.
    fn get<'a>(&self, from: &'a A) -> Result<&'a Self::Page, Self::Error>;
}

/// A name of a page that can be changed through a place of type `A`.
pub trait PageHandle<A: ?Sized>: ReadHandle<A> {
    /// What a page is changed through: a plain reference, or a guard that has to be committed.
    type Mut<'a>: PageMut<Page = Self::Page, Error = Self::Error>
    where
        Self: 'a,
        A: 'a;

    /// The page, to be changed. [`PageMut::commit`] says that the change is complete.
    ///
    /// # Errors
    ///
    /// When the handle names no page there, the page is found to be damaged, or the place takes no change.
    fn get_mut<'a>(&self, through: &'a mut A) -> Result<Self::Mut<'a>, Self::Error>;
}

/// A page that is being changed.
pub trait PageMut {
    /// What the page is seen as.
    type Page: ?Sized;
    /// Why a change could not be completed.
    type Error;

    /// The content as it is to be.
    fn page_mut(&mut self) -> &mut Self::Page;

    /// Completes the change, as the place does it: a protected page of a pager becomes durable, a page in a transaction waits
    /// for the transaction's commit, a regular page of a pager has been changed already and waits for a sync. Dropping a
    /// guard of a protected page without this discards the change.
    ///
    /// # Errors
    ///
    /// When the change could not be made durable.
    fn commit(self) -> Result<(), Self::Error>;
}

/// A place that hands out pages of the kind that `H` names.
///
/// One function for every kind of page, in a pager and in a transaction:
///
/// ```
/// use diptych::{PageAllocator, PageHandle, PageMut, PagerOptions, PageId, ProtectedPageId, ReadHandle, SimDisk};
///
/// fn keep<A, H>(place: &mut A, bytes: &[u8]) -> Result<H, A::Error>
/// where
///     A: PageAllocator<H>,
///     H: PageHandle<A>,
/// {
///     let id = place.alloc()?;
///     let mut page = id.get_mut(place)?;
///     page.page_mut().as_mut()[..bytes.len()].copy_from_slice(bytes);
///     page.commit()?;
///     Ok(id)
/// }
///
/// let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
/// let regular: PageId<4096> = keep(&mut pager, b"regular")?;
/// let protected: ProtectedPageId<4096> = keep(&mut pager, b"protected")?;
///
/// let mut transaction = pager.transaction()?;
/// let both: (PageId<4096>, ProtectedPageId<4096>) =
///     (keep(&mut transaction, b"one")?, keep(&mut transaction, b"commit")?);
/// transaction.commit()?;
///
/// assert!(regular.get(&pager)?.starts_with(b"regular"));
/// assert!(protected.get(&pager)?.starts_with(b"protected"));
/// assert!(both.0.get(&pager)?.starts_with(b"one") && both.1.get(&pager)?.starts_with(b"commit"));
/// # Ok::<(), diptych::Error>(())
/// ```
pub trait PageAllocator<H: PageHandle<Self>>: Sized {
    /// Why no page could be handed out or taken back.
    type Error: StdError + From<<H as ReadHandle<Self>>::Error> + Send + Sync + 'static;

    /// Hands out a page that nobody has. It reads as zeros.
    ///
    /// # Errors
    ///
    /// When there is no room, or the place takes no change; nothing has changed then.
    fn alloc(&mut self) -> Result<H, Self::Error>;

    /// Takes a page back.
    ///
    /// # Errors
    ///
    /// When the handle names no page of this kind, or the place takes no change; nothing has changed then.
    fn free(&mut self, id: H) -> Result<(), Self::Error>;
}

/// A place that hands out and takes back many pages at once, all of them or none.
pub trait BulkPageAllocator<H: PageHandle<Self>>: PageAllocator<H> {
    /// Hands out `count` pages that nobody has. They read as zeros. With a count of 0 the list is empty.
    ///
    /// # Errors
    ///
    /// When there is no room for all of them, or the place takes no change; nothing has changed then.
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<H>, Self::Error>;

    /// Takes pages back.
    ///
    /// # Errors
    ///
    /// When a handle names no page of this kind, or one is named twice, or the place takes no change; nothing has changed
    /// then.
    fn free_bulk(&mut self, ids: impl AsRef<[H]>) -> Result<(), Self::Error>;
}

/// A page that is changed in place: nothing is left to do when the change is complete.
impl<const N: usize> PageMut for &mut MappedPage<N> {
    type Page = MappedPage<N>;
    type Error = Error;

    fn page_mut(&mut self) -> &mut MappedPage<N> {
        self
    }

    fn commit(self) -> Result<()> {
        Ok(())
    }
}

/// Bytes that are changed in place, as those of an extent.
impl PageMut for &mut [u8] {
    type Page = [u8];
    type Error = Error;

    fn page_mut(&mut self) -> &mut [u8] {
        self
    }

    fn commit(self) -> Result<()> {
        Ok(())
    }
}

impl<const P: usize> PageId<P> {
    /// The page, in place: from a [`Pager`](crate::Pager), a [`PageReader`](crate::PageReader) or, as it will be after the
    /// commit, a [`Transaction`](crate::Transaction).
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let id = pager.alloc()?;
    /// assert_eq!(id.get(&pager)?[0], 0);
    /// let mut transaction = pager.transaction()?;
    /// transaction.overwrite(id)?[0] = 1;
    /// assert_eq!(id.get(&transaction)?[0], 1);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::OutOfRange`] when the file has no such page; [`Error::WrongKind`] when the page is free, or somebody else's.
    #[inline]
    pub fn get<'a, A: ?Sized>(&self, from: &'a A) -> Result<&'a MappedPage<P>>
    where
        Self: ReadHandle<A, Page = MappedPage<P>, Error = Error>,
    {
        ReadHandle::get(self, from)
    }

    /// The page, to be stored to: in place through a [`Pager`](crate::Pager), where
    /// [`sync`](crate::Pager::sync) makes it durable; in memory through the
    /// [`Transaction`](crate::Transaction) that allocated it.
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); [`Error::Poisoned`]; in a transaction also [`Error::NotFresh`] when it did not allocate
    /// the page, and [`Error::StageFull`].
    #[inline]
    pub fn get_mut<'a, A: ?Sized>(&self, through: &'a mut A) -> Result<<Self as PageHandle<A>>::Mut<'a>>
    where
        Self: PageHandle<A, Error = Error>,
    {
        PageHandle::get_mut(self, through)
    }
}

impl<const P: usize> ProtectedPageId<P> {
    /// The content, verified as the options say: from a [`Pager`](crate::Pager), a [`PageReader`](crate::PageReader) or, as
    /// it will be after the commit, a [`Transaction`](crate::Transaction).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchProtectedPage`]; [`Error::Corrupt`] when the content is not what was committed; [`Error::Io`] when
    /// it cannot be read.
    #[inline]
    pub fn get<'a, A: ?Sized>(&self, from: &'a A) -> Result<&'a MappedPage<P>>
    where
        Self: ReadHandle<A, Page = MappedPage<P>, Error = Error>,
    {
        ReadHandle::get(self, from)
    }

    /// The content, to be changed: through a [`Pager`](crate::Pager) a
    /// [`ProtectedPageWriter`](crate::ProtectedPageWriter) that has to be committed, in a
    /// [`Transaction`](crate::Transaction) a reference.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let id = pager.alloc_protected()?;
    /// let mut writer = id.get_mut(&mut pager)?;
    /// writer.page_mut()[..4].copy_from_slice(b"root");
    /// writer.commit()?;
    /// assert!(id.get(&pager)?.starts_with(b"root"));
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get), since a change starts from the live content; [`Error::Poisoned`];
    /// [`Error::StageFull`].
    #[inline]
    pub fn get_mut<'a, A: ?Sized>(&self, through: &'a mut A) -> Result<<Self as PageHandle<A>>::Mut<'a>>
    where
        Self: PageHandle<A, Error = Error>,
    {
        PageHandle::get_mut(self, through)
    }
}

impl<const P: usize> ExtentId<P> {
    /// All its pages as one slice, in place: from a [`Pager`](crate::Pager), a [`PageReader`](crate::PageReader) or, as it will be
    /// after the commit, a [`Transaction`](crate::Transaction).
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchExtent`]; in a transaction also [`Error::Unwritten`].
    #[inline]
    pub fn get<'a, A: ?Sized>(&self, from: &'a A) -> Result<&'a [u8]>
    where
        Self: ReadHandle<A, Page = [u8], Error = Error>,
    {
        ReadHandle::get(self, from)
    }

    /// All its pages as one slice, to be stored to: in place through a [`Pager`](crate::Pager), where
    /// [`sync`](crate::Pager::sync) makes it durable; in memory through the [`Transaction`](crate::Transaction) that allocated it.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<1024>(&SimDisk::new())?;
    /// let id = pager.alloc_extent(3)?;
    /// id.get_mut(&mut pager)?[1020..1030].fill(7);
    /// assert_eq!(id.get(&pager)?.iter().filter(|byte| **byte == 7).count(), 10);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`get`](Self::get); [`Error::Poisoned`]; in a transaction also [`Error::NotFresh`] when it did not allocate
    /// the extent, and [`Error::StageFull`].
    #[inline]
    pub fn get_mut<'a, A: ?Sized>(&self, through: &'a mut A) -> Result<<Self as PageHandle<A>>::Mut<'a>>
    where
        Self: PageHandle<A, Error = Error>,
    {
        PageHandle::get_mut(self, through)
    }
}
