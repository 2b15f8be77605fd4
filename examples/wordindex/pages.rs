//! What the index is kept in, and where the nodes of its trees are read from.

use diptych::{MappedPage, ProtectedPageId, ReadHandle, SubPageId, SubPageTableId};

/// The page size of the index.
pub(crate) const PAGE_LEN: usize = 4096;

/// The size of the sub-pages, in bytes. Larger ones would have fewer lists in extents, and waste more on words that are rare.
pub(crate) const SUB_PAGE_LEN: usize = 128;

/// The index.
pub(crate) type Pager = diptych::Pager<PAGE_LEN>;
/// A change of the index.
pub(crate) type Transaction<'p> = diptych::Transaction<'p, PAGE_LEN>;
/// A node of a tree: a protected page.
pub(crate) type NodeId = ProtectedPageId<PAGE_LEN>;
/// The sub-pages of all words.
pub(crate) type TableId = SubPageTableId<PAGE_LEN, SUB_PAGE_LEN>;
/// A short posting list, or the newest postings of a long one: a sub-page.
pub(crate) type ShortId = SubPageId<PAGE_LEN, SUB_PAGE_LEN>;
/// Postings of a long list: an extent.
pub(crate) type LongId = diptych::ExtentId<PAGE_LEN>;

/// What nodes are read from: a pager, or a transaction, which shows its own changes.
pub(crate) trait Pages {
    fn node_bytes(&self, id: NodeId) -> diptych::Result<&[u8]>;
}

impl<A> Pages for A
where
    NodeId: ReadHandle<A, Page = MappedPage<PAGE_LEN>, Error = diptych::Error>,
{
    fn node_bytes(&self, id: NodeId) -> diptych::Result<&[u8]> {
        id.get(self).map(MappedPage::as_bytes)
    }
}
