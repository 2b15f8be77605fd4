//! Which sub-pages of one size are live, in memory: asks a place for pages, hands out parts of them, and gives back those that
//! are empty.
//!
//! Each call first does what can fail, in the place, and then what cannot, in memory. Where that order is not to be had, what
//! was done in memory is taken back.

use std::fmt;
use std::io;
use std::path::Path;
use std::sync::OnceLock;

use crate::allocator::{BulkPageAllocator, PageAllocator, PageHandle, ReadHandle};
use crate::engine::PageBuffer;
use crate::error::{Error, Result};
use crate::ids::{PageId, SubPageId};
use crate::page::MappedPage;
use crate::pager::Transaction;

use super::parents::{Freed, Mark, Parents};

/// Which sub-pages of `S` bytes are live in pages of `P` bytes.
///
/// It holds no pager. Calls that may need a page, or give one back, are told the place: a [`Pager`](crate::Pager), where a page is
/// a durable commit, or a [`Transaction`]. Most need none and are a few words of memory: a page comes when all slots are taken,
/// and goes when its last sub-page is freed. Each call takes the same time whatever the number of live sub-pages.
///
/// ```
/// use diptych::{PagerOptions, SimDisk, SubPageMap};
///
/// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
/// let (mut names, mut nodes) = (SubPageMap::<4096, 64>::new(), SubPageMap::<4096, 512>::new());
/// let name = names.alloc(&mut pager)?;
/// let node = nodes.alloc(&mut pager)?;
/// names.page_mut(&mut pager, name)?[..4].copy_from_slice(b"root");
/// nodes.page_mut(&mut pager, node)?[..8].copy_from_slice(&name.to_u64().to_le_bytes());
/// assert!(names.page(&pager, name)?.starts_with(b"root"));
/// names.free(&mut pager, name)?;
/// assert!(names.page(&pager, name).is_err());
/// assert_eq!(pager.allocated_page_count(), 1);
/// # Ok::<(), diptych::Error>(())
/// ```
///
/// # What it is not
///
/// Nothing of it is in the file. Whoever needs sub-pages after opening stores their ids, and makes the map from them with
/// [`recover`](Self::recover). Dropping a map frees nothing: its pages stay allocated.
///
/// It takes the place at its word. In another pager of the same page size, or in a page that was freed behind the map and handed
/// out again, an id names what lies there. A page is to be in one map only.
///
/// # Content
///
/// A sub-page that is handed out reads as zeros until it is first given out to be written, and is filled with zeros then. What a
/// power cut leaves of it is what it leaves of the page: changed in place, of each sector the old bytes or the new, and sub-pages
/// smaller than a sector share it with their neighbours.
///
/// # Transactions
///
/// A transaction that is dropped takes back its pages, and what the map did in it has to be taken back as well:
/// [`change`](Self::change) does that.
///
/// Parts of a page that the transaction allocated are written with [`page_mut`](Self::page_mut), those of an older page with
/// [`overwrite`](Self::overwrite). Both hold the whole page in memory until the commit.
#[derive(Clone)]
pub struct SubPageMap<const P: usize, const S: usize> {
    pub(super) parents: Parents,
    /// What a sub-page that was never written reads as.
    zeros: OnceLock<PageBuffer>,
}

impl<const P: usize, const S: usize> Default for SubPageMap<P, S> {
    fn default() -> Self {
        SubPageMap::new()
    }
}

impl<const P: usize, const S: usize> SubPageMap<P, S> {
    /// A map without sub-pages.
    ///
    /// `S` is a power of two, from 8 to half of `P`; anything else is an error of the build.
    #[must_use]
    pub fn new() -> Self {
        SubPageMap { parents: Parents::new(SubPageId::<P, S>::SLOTS), zeros: OnceLock::new() }
    }

    /// Hands out a sub-page. It reads as zeros.
    ///
    /// # Errors
    ///
    /// Where it takes a page, what the place fails with; [`Error::ParentInUse`] when the place hands out a page that the map
    /// has. Nothing has changed then.
    pub fn alloc<A>(&mut self, place: &mut A) -> Result<SubPageId<P, S>>
    where
        A: PageAllocator<PageId<P>, Error = Error>,
        PageId<P>: PageHandle<A>,
    {
        if let Some(unit) = self.parents.take() {
            return Ok(sub_page(unit));
        }
        let parent = place.alloc()?;
        if let Err(error) = self.check_new(parent) {
            place.free(parent)?;
            return Err(error);
        }
        self.parents.add(parent.to_u64());
        Ok(sub_page(self.parents.take().expect(ROOM)))
    }

    /// Hands out `count` sub-pages, all of them or none. They read as zeros.
    ///
    /// # Errors
    ///
    /// Where it takes pages, what the place fails with; [`Error::ParentInUse`] when the place hands out a page that the map
    /// has; [`Error::Io`] when there is no memory for so many ids. Nothing has changed then.
    pub fn alloc_bulk<A>(&mut self, place: &mut A, count: usize) -> Result<Vec<SubPageId<P, S>>>
    where
        A: BulkPageAllocator<PageId<P>, Error = Error>,
        PageId<P>: PageHandle<A>,
    {
        let mut ids = Vec::new();
        let out_of_memory =
            |_| Error::io("allocate", Path::new("memory for sub-pages"), io::ErrorKind::OutOfMemory.into());
        ids.try_reserve_exact(count).map_err(out_of_memory)?;
        let missing = (count as u64).saturating_sub(self.parents.free()).div_ceil(SubPageId::<P, S>::SLOTS);
        if missing > 0 {
            let parents = place.alloc_bulk(usize::try_from(missing).expect("at most as many pages as sub-pages"))?;
            if let Err(error) = parents.iter().try_for_each(|parent| self.check_new(*parent)) {
                place.free_bulk(parents)?;
                return Err(error);
            }
            // The first is filled first.
            parents.iter().rev().for_each(|parent| self.parents.add(parent.to_u64()));
        }
        ids.extend((0..count).map(|_| sub_page(self.parents.take().expect(ROOM))));
        Ok(ids)
    }

    /// Takes a sub-page back, and gives its page back if it was the last one in it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; where it gives a page back, what the place fails with. Nothing has
    /// changed then.
    pub fn free<A>(&mut self, place: &mut A, id: SubPageId<P, S>) -> Result<()>
    where
        A: PageAllocator<PageId<P>, Error = Error>,
        PageId<P>: PageHandle<A>,
    {
        match self.parents.free_slot(id.to_u64(), false) {
            Freed::Slot => Ok(()),
            Freed::Missing => Err(no_such(id)),
            Freed::Last => {
                let parent = id.parent().ok_or_else(|| no_such(id))?;
                place.free(parent)?;
                self.parents.free_slot(id.to_u64(), true);
                self.parents.remove(parent.to_u64());
                Ok(())
            }
        }
    }

    /// Takes sub-pages back, all of them or none, and gives back the pages that they leave empty, in one call of the place.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when an id names none, [`Error::Duplicate`] when one stands twice; where it gives pages back,
    /// what the place fails with. Nothing has changed then.
    pub fn free_bulk<A>(&mut self, place: &mut A, ids: impl AsRef<[SubPageId<P, S>]>) -> Result<()>
    where
        A: BulkPageAllocator<PageId<P>, Error = Error>,
        PageId<P>: PageHandle<A>,
    {
        let mark = self.parents.mark();
        let emptied = self.free_slots(mark, ids.as_ref())?;
        if !emptied.is_empty()
            && let Err(error) = place.free_bulk(&emptied)
        {
            self.parents.roll_back(mark);
            return Err(error);
        }
        emptied.iter().for_each(|parent| self.parents.remove(parent.to_u64()));
        self.parents.keep(mark);
        Ok(())
    }

    /// Frees all slots, or rolls back to `mark`. Returns the pages that have no live one left, which are still in the map.
    fn free_slots(&mut self, mark: Mark, ids: &[SubPageId<P, S>]) -> Result<Vec<PageId<P>>> {
        let mut emptied = Vec::new();
        for id in ids {
            match self.parents.free_slot(id.to_u64(), true) {
                Freed::Slot => {}
                Freed::Last => emptied.extend(id.parent()),
                Freed::Missing => {
                    self.parents.roll_back(mark);
                    let is_named_twice = self.is_allocated(*id);
                    return Err(if is_named_twice { Error::Duplicate { page: id.to_u64() } } else { no_such(*id) });
                }
            }
        }
        Ok(emptied)
    }

    /// A sub-page, in place: from a [`Pager`](crate::Pager), a [`PageReader`](crate::PageReader) or, as it will be after the
    /// commit, a [`Transaction`]. It begins at a multiple of `S` bytes in its page.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; what the place fails with when the page is not there.
    pub fn page<'a, A: ?Sized>(&'a self, place: &'a A, id: SubPageId<P, S>) -> Result<&'a MappedPage<S>>
    where
        PageId<P>: ReadHandle<A, Page = MappedPage<P>, Error = Error>,
    {
        let (parent, slot, is_blank) = self.find(id)?;
        let page = ReadHandle::get(&parent, place)?;
        if is_blank {
            return Ok(MappedPage::from_bytes(self.zeros.get_or_init(|| PageBuffer::zeroed(S)).as_bytes()));
        }
        let (parts, _) = page.as_chunks();
        Ok(MappedPage::from_array(&parts[slot]))
    }

    /// A sub-page, to be stored to: in place through a [`Pager`](crate::Pager), where [`sync`](crate::Pager::sync) makes it
    /// durable; in memory through the [`Transaction`] that allocated its page.
    ///
    /// # Errors
    ///
    /// Those of [`page`](Self::page); in a transaction also [`Error::NotFresh`] when it did not allocate the page:
    /// [`overwrite`](Self::overwrite) takes those.
    pub fn page_mut<'a, A>(&mut self, place: &'a mut A, id: SubPageId<P, S>) -> Result<&'a mut MappedPage<S>>
    where
        PageId<P>: PageHandle<A, Page = MappedPage<P>, Error = Error, Mut<'a> = &'a mut MappedPage<P>>,
    {
        let (parent, slot, is_blank) = self.find(id)?;
        let page = PageHandle::get_mut(&parent, place)?;
        Ok(self.part_mut(page, id, slot, is_blank))
    }

    /// A sub-page of a page of any age, to be changed in a transaction.
    ///
    /// The change of an older page is *ordered* and not atomic, as that of [`Transaction::overwrite`]: a power cut in the commit
    /// leaves of each of its sectors the old bytes or the new ones. Once the commit is there, all of it is, so a sub-page that
    /// the same transaction allocated is whole whenever it is allocated.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; those of [`Transaction::overwrite`].
    pub fn overwrite<'a>(
        &mut self,
        transaction: &'a mut Transaction<'_, P>,
        id: SubPageId<P, S>,
    ) -> Result<&'a mut MappedPage<S>> {
        let (parent, slot, is_blank) = self.find(id)?;
        let page = transaction.overwrite(parent)?;
        Ok(self.part_mut(page, id, slot, is_blank))
    }

    /// The page of a live sub-page, which part of it, and whether it was never given out to be written.
    fn find(&self, id: SubPageId<P, S>) -> Result<(PageId<P>, usize, bool)> {
        let found = self.parents.is_blank(id.to_u64()).zip(id.parent()).zip(usize::try_from(id.slot()).ok());
        let ((is_blank, parent), slot) = found.ok_or_else(|| no_such(id))?;
        Ok((parent, slot, is_blank))
    }

    fn part_mut<'a>(
        &mut self,
        page: &'a mut MappedPage<P>,
        id: SubPageId<P, S>,
        slot: usize,
        is_blank: bool,
    ) -> &'a mut MappedPage<S> {
        let (parts, _) = page.as_chunks_mut::<S>();
        let part = MappedPage::from_bytes_mut(&mut parts[slot]);
        if is_blank {
            part.fill(0);
            self.parents.set_written(id.to_u64());
        }
        part
    }

    fn check_new(&self, parent: PageId<P>) -> Result<()> {
        let page = parent.to_u64();
        if self.parents.has_page(page) { Err(Error::ParentInUse { page }) } else { Ok(()) }
    }

    /// Whether an id names a live sub-page.
    #[must_use]
    pub fn is_allocated(&self, id: SubPageId<P, S>) -> bool {
        self.parents.is_blank(id.to_u64()).is_some()
    }

    /// Live sub-pages.
    #[must_use]
    pub fn allocated_count(&self) -> u64 {
        self.parents.live()
    }

    /// Sub-pages that can be handed out before another page is needed.
    #[must_use]
    pub fn free_count(&self) -> u64 {
        self.parents.free()
    }

    /// Pages in which the sub-pages lie.
    #[must_use]
    pub fn parent_count(&self) -> usize {
        self.parents.count()
    }

    /// The pages in which the sub-pages lie, in no order.
    pub fn iter_parents(&self) -> impl Iterator<Item = PageId<P>> + '_ {
        self.parents.pages().map(|page| PageId::from_u64(page).expect("it was made from an id"))
    }

    /// The live sub-pages, in no order.
    pub fn iter_allocated(&self) -> impl Iterator<Item = SubPageId<P, S>> + '_ {
        self.parents.iter_live().map(sub_page)
    }
}

impl<const P: usize, const S: usize> fmt::Debug for SubPageMap<P, S> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SubPageMap")
            .field("page_size", &P)
            .field("sub_page_size", &S)
            .field("allocated_count", &self.allocated_count())
            .field("parent_count", &self.parent_count())
            .finish_non_exhaustive()
    }
}

/// After a page was added.
const ROOM: &str = "there are as many free slots as were asked for";

fn sub_page<const P: usize, const S: usize>(unit: u64) -> SubPageId<P, S> {
    SubPageId::from_u64(unit).expect("no sub-page lies in page 0")
}

pub(super) fn no_such<const P: usize, const S: usize>(id: SubPageId<P, S>) -> Error {
    let (page, slot) = (id.parent().map_or(0, PageId::to_u64), id.slot());
    Error::NoSuchSubPage { id: id.to_u64(), page, slot }
}
