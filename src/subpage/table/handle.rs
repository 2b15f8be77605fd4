//! A table in a transaction, and where its ids lead.

use crate::allocator::{BulkPageAllocator, PageAllocator, PageHandle, ReadHandle};
use crate::error::{Error, Result};
use crate::ids::{SubPageId, SubPageTableId};
use crate::page::MappedPage;
use crate::pager::Transaction;

use super::pages::named_page;
use super::tree::Table;
use super::view::SubPageTableView;
use super::{id_of_table, table};

/// A table of sub-pages, opened in a transaction by [`Transaction::sub_pages`].
///
/// Which sub-pages of `S` bytes are live stands in the file, in pages that the table owns, and changes with the transaction: after
/// a crash a sub-page is live, and holds what it held, exactly if the transaction that said so is durable. So nothing else has to
/// be stored but the id of the table and, wherever the user wants them, ids of sub-pages.
///
/// ```
/// use diptych::{PagerOptions, SimDisk, SubPageTableId};
///
/// let disk = SimDisk::new();
/// let mut pager = PagerOptions::new().create_on::<4096>(&disk)?;
/// let mut transaction = pager.transaction()?;
/// let table = transaction.create_sub_page_table::<64>()?;
/// let mut names = transaction.sub_pages(table)?;
/// let name = names.alloc()?;
/// names.page_mut(name)?[..5].copy_from_slice(b"hello");
/// transaction.set_header(&table.to_u64().to_le_bytes())?;
/// transaction.commit()?;
/// pager.close()?;
///
/// let pager = PagerOptions::new().open_on::<4096>(&disk)?;
/// let stored = u64::from_le_bytes(pager.header()[..8].try_into().expect("eight bytes"));
/// let names = pager.sub_pages(SubPageTableId::<4096, 64>::from_u64(stored).expect("it was stored"))?;
/// let listed = names.iter_allocated().collect::<Result<Vec<_>, _>>()?;
/// assert_eq!(listed, [name]);
/// assert!(names.page(name)?.starts_with(b"hello"));
/// # Ok::<(), diptych::Error>(())
/// ```
///
/// Each call takes the same time whatever the number of live sub-pages. It stages the pages that it changes, as
/// [`Transaction::protected_mut`] does: the root of the table, the page with the record, and the page with the sub-page where that is
/// written, each once in a transaction. A page whose sub-pages are all free is given back; the pages with the records stay until
/// the table is freed.
#[derive(Debug)]
pub struct SubPageTable<'t, 'p, const P: usize, const S: usize> {
    transaction: &'t mut Transaction<'p, P>,
    table: Table,
}

impl<'t, 'p, const P: usize, const S: usize> SubPageTable<'t, 'p, P, S> {
    pub(super) fn new(transaction: &'t mut Transaction<'p, P>, id: SubPageTableId<P, S>) -> Result<Self> {
        let table = table(id);
        table.root(transaction)?;
        Ok(SubPageTable { transaction, table })
    }

    /// The name of the table.
    #[must_use]
    pub fn id(&self) -> SubPageTableId<P, S> {
        id_of_table(self.table)
    }

    /// The table as it will be after the commit, to be read.
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::sub_pages`].
    pub fn view(&self) -> Result<SubPageTableView<'_, P, S>> {
        SubPageTableView::new(&*self.transaction, self.id())
    }

    /// Hands out a sub-page. It reads as zeros.
    ///
    /// # Errors
    ///
    /// [`Error::StageFull`]; where it takes a page, [`Error::Full`] when the file may not grow so far, [`Error::Io`] when it
    /// cannot; [`Error::Corrupt`] when a page of the table is not what was committed, or not what it must be. Nothing has changed
    /// then.
    pub fn alloc(&mut self) -> Result<SubPageId<P, S>> {
        self.table.alloc(self.transaction).map(sub_page)
    }

    /// Hands out `count` sub-pages, all of them or none. They read as zeros.
    ///
    /// # Errors
    ///
    /// Those of [`alloc`](Self::alloc), and [`Error::Io`] when there is no memory for so many ids. Nothing has changed then.
    pub fn alloc_bulk(&mut self, count: usize) -> Result<Vec<SubPageId<P, S>>> {
        let root = self.table.root(self.transaction)?;
        let missing = (count as u64).saturating_sub(self.table.room(&root)).div_ceil(SubPageId::<P, S>::SLOTS);
        let mut ids: Vec<u64> = self.transaction.room_in_table(count, missing)?;
        self.table.alloc_bulk(self.transaction, count, &mut ids)?;
        Ok(ids.into_iter().map(sub_page).collect())
    }

    /// Takes a sub-page back, and gives its page back if it was the last one in it.
    ///
    /// # Errors
    ///
    /// [`Error::NoSuchSubPage`] when the id names none; [`Error::StageFull`]; [`Error::Corrupt`] and [`Error::Io`] as of
    /// [`alloc`](Self::alloc). Nothing has changed then.
    pub fn free(&mut self, id: SubPageId<P, S>) -> Result<()> {
        self.table.free(self.transaction, id.to_u64())
    }

    /// Takes sub-pages back, all of them or none.
    ///
    /// # Errors
    ///
    /// [`Error::Duplicate`] when an id stands twice; those of [`free`](Self::free). Nothing has changed then.
    pub fn free_bulk(&mut self, ids: impl AsRef<[SubPageId<P, S>]>) -> Result<()> {
        let ids: Vec<u64> = ids.as_ref().iter().map(|id| id.to_u64()).collect();
        let mut sorted = ids.clone();
        sorted.sort_unstable();
        if let Some(pair) = sorted.windows(2).find(|pair| pair[0] == pair[1]) {
            return Err(Error::Duplicate { page: pair[0] });
        }
        self.table.free_bulk(self.transaction, &ids)
    }

    /// A sub-page as it will be after the commit.
    ///
    /// # Errors
    ///
    /// Those of [`SubPageTableView::page`].
    pub fn page(&self, id: SubPageId<P, S>) -> Result<&MappedPage<S>> {
        let root = self.table.root(self.transaction)?;
        self.table.content(self.transaction, &root, id.to_u64()).map(MappedPage::from_bytes)
    }

    /// A sub-page, to be changed: it appears with the commit, all of it, or not at all.
    ///
    /// # Errors
    ///
    /// Those of [`page`](Self::page), and [`Error::StageFull`].
    pub fn page_mut(&mut self, id: SubPageId<P, S>) -> Result<&mut MappedPage<S>> {
        let root = self.table.root(self.transaction)?;
        let (found, slot) = self.table.find_live(self.transaction, &root, id.to_u64())?;
        let (parent, node) = (found.record.page - 1, found.place.node);
        named_page(self.transaction, node, parent)?;
        let page = self.transaction.table_page_mut(parent)?;
        Ok(MappedPage::from_bytes_mut(&mut page[self.table.shape.place(slot)]))
    }
}

impl<const P: usize, const S: usize> PageAllocator<SubPageId<P, S>> for SubPageTable<'_, '_, P, S> {
    type Error = Error;

    fn alloc(&mut self) -> Result<SubPageId<P, S>> {
        self.alloc()
    }

    fn free(&mut self, id: SubPageId<P, S>) -> Result<()> {
        self.free(id)
    }
}

impl<const P: usize, const S: usize> BulkPageAllocator<SubPageId<P, S>> for SubPageTable<'_, '_, P, S> {
    fn alloc_bulk(&mut self, count: usize) -> Result<Vec<SubPageId<P, S>>> {
        self.alloc_bulk(count)
    }

    fn free_bulk(&mut self, ids: impl AsRef<[SubPageId<P, S>]>) -> Result<()> {
        self.free_bulk(ids)
    }
}

impl<const P: usize, const S: usize> ReadHandle<SubPageTableView<'_, P, S>> for SubPageId<P, S> {
    type Error = Error;
    type Page = MappedPage<S>;

    fn get<'a>(&self, from: &'a SubPageTableView<'_, P, S>) -> Result<&'a MappedPage<S>> {
        from.page(*self)
    }
}

impl<const P: usize, const S: usize> ReadHandle<SubPageTable<'_, '_, P, S>> for SubPageId<P, S> {
    type Error = Error;
    type Page = MappedPage<S>;

    fn get<'a>(&self, from: &'a SubPageTable<'_, '_, P, S>) -> Result<&'a MappedPage<S>> {
        from.page(*self)
    }
}

/// In the memory of the transaction: [`SubPageTable::page_mut`].
impl<'t, 'p, const P: usize, const S: usize> PageHandle<SubPageTable<'t, 'p, P, S>> for SubPageId<P, S> {
    type Mut<'a>
        = &'a mut MappedPage<S>
    where
        Self: 'a,
        SubPageTable<'t, 'p, P, S>: 'a;

    fn get_mut<'a>(&self, through: &'a mut SubPageTable<'t, 'p, P, S>) -> Result<&'a mut MappedPage<S>> {
        through.page_mut(*self)
    }
}

fn sub_page<const P: usize, const S: usize>(id: u64) -> SubPageId<P, S> {
    SubPageId::from_u64(id).expect("numbers of parents begin at 1 in ids")
}
