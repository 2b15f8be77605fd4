//! The pages of the index, and where they are read from.

use diptych::{MappedPage, PageId, ProtectedPageId, ReadHandle};

/// The page size of the index.
pub(crate) const PAGE_LEN: usize = 4096;

/// The index.
pub(crate) type Pager = diptych::Pager<PAGE_LEN>;
/// A change of the index.
pub(crate) type Transaction<'p> = diptych::Transaction<'p, PAGE_LEN>;
/// A node of a tree: a protected page.
pub(crate) type NodeId = ProtectedPageId<PAGE_LEN>;
/// A page of postings: a regular page.
pub(crate) type ChainId = PageId<PAGE_LEN>;

/// What pages are read from: a pager, or a transaction, which shows its own changes.
pub(crate) trait Pages {
    fn node_bytes(&self, id: NodeId) -> diptych::Result<&[u8]>;
    fn chain_bytes(&self, id: ChainId) -> diptych::Result<&[u8]>;
}

impl<A> Pages for A
where
    NodeId: ReadHandle<A, Page = MappedPage<PAGE_LEN>, Error = diptych::Error>,
    ChainId: ReadHandle<A, Page = MappedPage<PAGE_LEN>, Error = diptych::Error>,
{
    fn node_bytes(&self, id: NodeId) -> diptych::Result<&[u8]> {
        id.get(self).map(MappedPage::as_bytes)
    }

    fn chain_bytes(&self, id: ChainId) -> diptych::Result<&[u8]> {
        id.get(self).map(MappedPage::as_bytes)
    }
}
