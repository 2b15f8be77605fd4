//! What a caller can choose about a pager; none of it is kept in the file.

use super::geometry::Geometry;

/// When the content of a protected page is compared with its checksum.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum Verification {
    /// Never: rot of the disk is not noticed.
    Never,
    /// Once, when it is first read after the file was opened.
    #[default]
    FirstTouch,
    /// At every read.
    Always,
}

/// How a commit becomes durable.
///
/// With one sync or two it is durable when it returns, and after a crash it happened as a whole or not at all. A commit that
/// writes more than 160 regular pages, or comes after stores through the map or after commits that wait, may take one sync more
/// than is said here.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum Durability {
    /// With one sync where the commit can prove itself after a crash: where it writes no regular pages, and at most 4096
    /// copies of protected ones (a new page has two). Every other commit takes two.
    ///
    /// Until the next commit, or [`Pager::close`](crate::Pager::close), bit rot in the block that names the newest commit, or in
    /// what that commit wrote, looks like a commit that was under way when the power failed: opening the file takes it back,
    /// and its report says which slot was voided.
    #[default]
    OneBarrier,
    /// With two syncs, one before and one behind the block that names the commit. Slower; of a file that was not closed, rot in
    /// that block loses nothing, and rot elsewhere is an error. This holds from the first commit under it.
    TwoBarriers,
    /// Not by itself: without a sync, with the next durable commit, [`Pager::sync`](crate::Pager::sync) or
    /// [`Pager::close`](crate::Pager::close), which takes all commits that wait along as one. A crash before that takes all of
    /// them back, and so does dropping the pager.
    ///
    /// Reads see such a commit at once. What it frees is not handed out again before it is durable, so a call that allocates may
    /// be [`Error::Full`](crate::Error::Full) though pages are free, until the next sync. Pages that it
    /// [overwrites](crate::Transaction::overwrite) are written in place at once: a crash that takes it back leaves of each sector
    /// the old bytes or the new.
    ///
    /// The pager may make it durable at any time, with one sync or two, as its options say. It does where more than 1024 pages
    /// would wait to be handed out, or more than are free.
    ///
    /// If a write fails while a protected page is changed that a commit which still waits has changed before, the pager is
    /// poisoned, and that page is an error until the file is opened again.
    None,
}

impl Durability {
    /// The one of both that promises more.
    pub(crate) fn or_stricter(self, other: Self) -> Self {
        match (self, other) {
            (Durability::None, other) | (other, Durability::None) => other,
            (Durability::OneBarrier, other) => other,
            (Durability::TwoBarriers, _) => self,
        }
    }

    /// The same, or one barrier for what was to wait.
    pub(super) fn now(self) -> Self {
        if self == Durability::None { Durability::OneBarrier } else { self }
    }
}

/// See the head of this file.
#[derive(Clone, Copy, Debug)]
pub(crate) struct EngineOptions {
    pub(crate) durability: Durability,
    /// The most bytes by which a file grows at once, if no call needs more.
    pub(crate) growth_limit: u64,
    /// Grow without allocating; the space of a page is allocated when it is handed out.
    pub(crate) sparse: bool,
    pub(crate) verification: Verification,
    /// Bytes of addresses to reserve ahead of the file.
    pub(crate) reserve: u64,
    pub(crate) max_staged_bytes: u64,
    pub(crate) max_file_bytes: u64,
    /// Take the state before a damaged one.
    pub(crate) take_older: bool,
}

impl EngineOptions {
    pub(super) fn max_pages(&self, geometry: Geometry) -> u64 {
        geometry.whole_pages(self.max_file_bytes)
    }
}
