//! The one error type of the crate.
//!
//! Every variant carries where it happened, what was expected and what was found, so that a message can be acted on and a
//! test can match on it. Corruption is never a string. A broken promise of the crate's own code is an `assert!`, not an
//! [`Error`].

use std::io;
use std::path::PathBuf;

use crate::block::{Block, PageKind};

/// What every fallible call of this crate returns.
pub type Result<T, E = Error> = core::result::Result<T, E>;

/// Why a call failed.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum Error {
    /// The operating system refused a call.
    #[error("cannot {op} {}: {source}", path.display())]
    Io {
        /// The operation: "open", "create", "lock", "read", "write", "sync", "grow", "map", ...
        op: &'static str,
        /// The file or directory that it was about.
        path: PathBuf,
        /// What the operating system said.
        source: io::Error,
    },

    /// Another pager, of this process or of another, holds the file.
    #[error("{} is locked by another pager", path.display())]
    Locked {
        /// The file.
        path: PathBuf,
    },

    /// The platform does not keep mapped stores and positioned writes of this file coherent.
    #[error("{} lies on a filesystem where a mapping does not show what is written to the file", path.display())]
    Incoherent {
        /// The file.
        path: PathBuf,
    },

    /// The file has no bytes at all.
    #[error("the file is empty; a pager file has at least {expected} bytes")]
    Empty {
        /// Length of the reserved region in bytes.
        expected: u64,
    },

    /// The file is shorter than the reserved region.
    #[error("the file has {found} bytes; a pager file has at least {expected}")]
    TooShort {
        /// Length of the reserved region in bytes.
        expected: u64,
        /// Length of the file in bytes.
        found: u64,
    },

    /// The file does not begin with the magic of this crate, and no metadata in it does.
    #[error("not a diptych file: magic is {found:#018x}, expected {expected:#018x}")]
    NotDiptych {
        /// The magic number of a diptych file.
        expected: u64,
        /// The first eight bytes, little-endian.
        found: u64,
    },

    /// The file was written in a format that this version of the crate does not read.
    #[error("the file has format version {found}; this version of diptych reads version {expected}")]
    FormatVersion {
        /// The version that this crate reads.
        expected: u32,
        /// The version of the file.
        found: u32,
    },

    /// The file uses features that this version of the crate does not know.
    #[error("the file requires features {found:#x}; this version of diptych knows {expected:#x}")]
    UnknownFeatures {
        /// The feature bits that this crate knows.
        expected: u64,
        /// The feature bits that the file requires.
        found: u64,
    },

    /// The file was made with another page size.
    #[error("the file has pages of {found} bytes; the pager was opened for pages of {expected}")]
    PageSize {
        /// The page size of the pager type, in bytes.
        expected: u64,
        /// The page size of the file, in bytes.
        found: u64,
    },

    /// The file ends before a page that its metadata names.
    #[error("the file has {found} bytes; its metadata names pages up to byte {expected}")]
    Truncated {
        /// Length in bytes that the metadata promises.
        expected: u64,
        /// Length of the file in bytes.
        found: u64,
    },

    /// A block does not hold what it must.
    #[error("page {page} ({block}): {field} is {found:#x}, expected {expected:#x}")]
    Corrupt {
        /// What the block is.
        block: Block,
        /// The page in which it begins.
        page: u64,
        /// The field that is wrong.
        field: &'static str,
        /// What the field should hold.
        expected: u64,
        /// What it holds.
        found: u64,
    },

    /// The metadata of a generation that lost its slot is whole, but a regular page that it wrote is not: either the
    /// commit never finished, or it did and the page changed later. Nothing in the file tells which.
    #[error(
        "generation {candidate} lost its commit slot and page {page} does not hold what that commit wrote: \
         the file is either at generation {candidate} or at {stands}"
    )]
    Ambiguous {
        /// The generation without a slot.
        candidate: u64,
        /// The generation that would stand if the candidate never finished.
        stands: u64,
        /// The regular page that differs.
        page: u64,
    },

    /// A sync failed earlier, or a commit failed after its first byte: what is durable is not known. Reopen the file.
    #[error("the pager is poisoned by an earlier failure; reopen the file to go on")]
    Poisoned,

    /// The id names a page past the end of the file.
    #[error("page {page} is out of range: the file has {total} pages")]
    OutOfRange {
        /// The page.
        page: u64,
        /// Pages in the file.
        total: u64,
    },

    /// The id names a page that is not of the kind that the call works on: free, reserved, or somebody else's.
    #[error("page {page} is {found}, expected {expected}")]
    WrongKind {
        /// The page.
        page: u64,
        /// The kind that the call works on.
        expected: PageKind,
        /// The kind of the page.
        found: PageKind,
    },

    /// The id names no protected page: never allocated, or freed.
    #[error("protected page {id} is not allocated")]
    NoSuchProtectedPage {
        /// The raw value of the id.
        id: u64,
    },

    /// The id names no table: never made, or freed.
    #[error("table {id} does not exist")]
    NoSuchTable {
        /// The raw value of the id.
        id: u64,
    },

    /// The id names no extent: never allocated, or freed.
    #[error("extent {id} is not allocated")]
    NoSuchExtent {
        /// The raw value of the id.
        id: u64,
    },

    /// An extent has at least one page.
    #[error("an extent has at least one page")]
    EmptyExtent,

    /// The transaction has allocated the extent, or made it longer, and has not written it: there is nothing to be looked at before
    /// `extent_mut` or `overwrite_extent` has given it out.
    #[error("extent {id} has pages that this transaction allocated and has not written")]
    Unwritten {
        /// The raw value of the id.
        id: u64,
    },

    /// The id names no sub-page of the map, or of the table: never allocated, freed, of a page that it has no sub-pages in, or
    /// no id that was ever handed out.
    #[error("sub-page {id} (slot {slot} of page {page}) is not allocated")]
    NoSuchSubPage {
        /// The raw value of the id.
        id: u64,
        /// The page that it lies in; of a table, the number that the table gave that page.
        page: u64,
        /// Which sub-page of that page it is, counted from 0.
        slot: u64,
    },

    /// The table was made for sub-pages of another size.
    #[error("the table has sub-pages of {found} bytes; it was opened for sub-pages of {expected}")]
    SubPageSize {
        /// The size of the type, in bytes.
        expected: u64,
        /// The size of the table, in bytes.
        found: u64,
    },

    /// The place handed out a page that the map has sub-pages in: the page was freed behind the map, or a transaction was
    /// dropped and what the map did in it was kept. The place has the page back.
    #[error("page {page} was handed out as a new one, but there are sub-pages in it")]
    ParentInUse {
        /// The page.
        page: u64,
    },

    /// One call names a page twice.
    #[error("{page} is named twice in one call")]
    Duplicate {
        /// The page, or the raw value of the protected id or of the sub-page id.
        page: u64,
    },

    /// `page_mut` of a transaction takes pages that the same transaction allocated; an older one is changed by
    /// `overwrite`, which is ordered and not atomic. Of extents it is `extent_mut` and `overwrite_extent`.
    #[error("page {page} was allocated before this transaction; use overwrite")]
    NotFresh {
        /// The page, or the first page of the extent.
        page: u64,
    },

    /// The file may not grow to the size that the call needs.
    #[error("{needed} pages are needed; the file is limited to {limit}")]
    Full {
        /// Pages that the file would have.
        needed: u64,
        /// Pages that it may have.
        limit: u64,
    },

    /// The file is at the last generation that the format can number.
    #[error("generation {generation} is the last one; the file takes no further commit")]
    LastGeneration {
        /// The generation of the file.
        generation: u64,
    },

    /// The transaction would hold more bytes in memory than the option allows.
    #[error("the transaction would stage {needed} bytes; the limit is {limit}")]
    StageFull {
        /// Bytes that would be staged.
        needed: u64,
        /// The limit set by the option.
        limit: u64,
    },

    /// The savepoint was made by another transaction.
    #[error("the savepoint belongs to another transaction")]
    ForeignSavepoint,

    /// The transaction was rolled back past the savepoint.
    #[error("the transaction was rolled back past this savepoint")]
    StaleSavepoint,

    /// The thread has the pager already: it is in a transaction of it, or holds a guard. Waiting for itself it would wait
    /// forever.
    #[error("cannot {op}: this thread is reading the pager, or in a transaction of it")]
    Reentered {
        /// The operation: "transact", "grow", ...
        op: &'static str,
    },

    /// The progress callback of a snapshot asked to stop. Nothing stands under the name of the snapshot.
    #[error("the snapshot was stopped by its progress callback")]
    SnapshotStopped,

    /// The file is no incremental snapshot.
    #[error("not an incremental snapshot: magic is {found:#018x}, expected {expected:#018x}")]
    NotAnIncrement {
        /// The magic number of an incremental snapshot.
        expected: u64,
        /// The first eight bytes, little-endian.
        found: u64,
    },

    /// An incremental snapshot is torn, cut short or scribbled over. Nothing of it was applied.
    #[error("the incremental snapshot is damaged at byte {offset}: {field} is {found:#x}, expected {expected:#x}")]
    DamagedIncrement {
        /// Where the structure begins that is wrong.
        offset: u64,
        /// The field that is wrong.
        field: &'static str,
        /// What the field should hold.
        expected: u64,
        /// What it holds.
        found: u64,
    },

    /// An incremental snapshot was made of another file.
    #[error("the incremental snapshot is one of file {found:032x}; the copy is of file {expected:032x}")]
    IncrementOfAnotherFile {
        /// The id of the file of which the copy is one, as a number whose digits are those that a `FileId` shows.
        expected: u128,
        /// The id of the file of which the incremental snapshot was made.
        found: u128,
    },

    /// An incremental snapshot begins at another generation than the one that the copy is at.
    #[error("the incremental snapshot goes on from generation {expected}; the copy is at generation {found}")]
    IncrementOfAnotherBase {
        /// The generation from which the incremental snapshot goes on.
        expected: u64,
        /// The generation of the copy.
        found: u64,
    },

    /// The copy is at the generation from which an incremental snapshot goes on, and not what the file was at that
    /// generation: it was changed by itself, or taken while commits waited.
    #[error(
        "the copy was changed by itself: its {block} is not what the file had when the incremental snapshot begins"
    )]
    NotTheBase {
        /// What differs.
        block: Block,
    },

    /// An incremental snapshot goes from an older generation to the live one. There is none from that generation.
    #[error("generation {since} is not older than the live generation, {generation}")]
    NotOlder {
        /// The generation from which it was to go on.
        since: u64,
        /// The live generation.
        generation: u64,
    },

    /// The application header does not fit.
    #[error("the header has {found} bytes; {max} fit")]
    HeaderTooLong {
        /// Bytes that fit.
        max: usize,
        /// Bytes that were given.
        found: usize,
    },
}

impl Error {
    pub(crate) fn io(op: &'static str, path: &std::path::Path, source: io::Error) -> Self {
        Error::Io { op, path: path.to_path_buf(), source }
    }

    /// What a commit of several callers failed with, once more, for another of them.
    pub(crate) fn of_the_same_commit(&self) -> Self {
        match self {
            Error::Io { op, path, source } => {
                let source = source
                    .raw_os_error()
                    .map_or_else(|| io::Error::new(source.kind(), source.to_string()), io::Error::from_raw_os_error);
                Error::Io { op, path: path.clone(), source }
            }
            Error::LastGeneration { generation } => Error::LastGeneration { generation: *generation },
            Error::Poisoned => Error::Poisoned,
            other => unreachable!("a commit does not fail with {other}"),
        }
    }

    /// Whether the file holds something that no crash explains.
    #[must_use]
    pub fn is_corruption(&self) -> bool {
        matches!(
            self,
            Error::Corrupt { .. } | Error::Truncated { .. } | Error::Ambiguous { .. } | Error::DamagedIncrement { .. }
        )
    }

    /// Whether the operating system refused a call.
    #[must_use]
    pub fn is_io(&self) -> bool {
        matches!(self, Error::Io { .. })
    }

    /// Whether the pager that returned this refuses every further change until the file is opened again.
    #[must_use]
    pub fn needs_reopen(&self) -> bool {
        matches!(self, Error::Poisoned)
    }
}
