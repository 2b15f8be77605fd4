//! Changing one protected page: a transaction of one operation.

use std::fmt;

use crate::allocator::PageMut;
use crate::error::{Error, Result};
use crate::ids::ProtectedPageId;
use crate::page::MappedPage;

use super::transaction::Transaction;

/// A protected page that is being changed: made by [`Pager::protected_mut`](crate::Pager::protected_mut), by
/// [`Pager::protected_zeroed`](crate::Pager::protected_zeroed), and by
/// [`ProtectedPageId::get_mut`](crate::ProtectedPageId::get_mut) of a pager.
///
/// The change is in memory until [`commit`](Self::commit), which makes it durable: the page holds the old content or the new
/// one, whatever happens. Dropping the writer discards the change.
#[must_use = "a change that is not committed is discarded"]
pub struct ProtectedPageWriter<'p, const P: usize> {
    id: ProtectedPageId<P>,
    transaction: Transaction<'p, P>,
}

impl<'p, const P: usize> ProtectedPageWriter<'p, P> {
    /// A writer that starts from the live content.
    pub(super) fn from_live(mut transaction: Transaction<'p, P>, id: ProtectedPageId<P>) -> Result<Self> {
        transaction.protected_mut(id)?;
        Ok(ProtectedPageWriter { id, transaction })
    }

    /// A writer that starts from zeros.
    pub(super) fn from_zeros(mut transaction: Transaction<'p, P>, id: ProtectedPageId<P>) -> Result<Self> {
        transaction.protected_zeroed(id)?;
        Ok(ProtectedPageWriter { id, transaction })
    }

    /// The id of the page.
    #[must_use]
    pub fn id(&self) -> ProtectedPageId<P> {
        self.id
    }

    /// The content as it is to be.
    #[must_use]
    pub fn page(&self) -> &MappedPage<P> {
        self.transaction.protected(self.id).expect("the content was staged when the writer was made")
    }

    /// The content as it is to be, to be changed.
    #[must_use]
    pub fn page_mut(&mut self) -> &mut MappedPage<P> {
        self.transaction.protected_mut(self.id).expect("the content was staged when the writer was made")
    }

    /// Makes the content durable. It is a commit of its own; several pages are changed in one commit by a
    /// [`Transaction`].
    ///
    /// # Errors
    ///
    /// Those of [`Transaction::commit`].
    pub fn commit(self) -> Result<()> {
        self.transaction.commit()
    }
}

impl<const P: usize> PageMut for ProtectedPageWriter<'_, P> {
    type Page = MappedPage<P>;
    type Error = Error;

    fn page_mut(&mut self) -> &mut MappedPage<P> {
        self.page_mut()
    }

    fn commit(self) -> Result<()> {
        self.commit()
    }
}

impl<const P: usize> fmt::Debug for ProtectedPageWriter<'_, P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("ProtectedPageWriter").field("id", &self.id).finish_non_exhaustive()
    }
}
