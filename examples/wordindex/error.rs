//! Why the example stops: where, and what was found there.

use std::io;
use std::path::{Path, PathBuf};

/// What every fallible function of the example returns.
pub(crate) type Result<T, E = Error> = core::result::Result<T, E>;

/// Why the example stops.
#[derive(Debug, thiserror::Error)]
pub(crate) enum Error {
    #[error("{0} (--help lists the options)")]
    Usage(String),

    #[error("cannot {op} {}: {source}", path.display())]
    Io { op: &'static str, path: PathBuf, source: io::Error },

    #[error("{}: the path has {found} bytes; the index takes up to {max}", path.display())]
    PathTooLong { path: PathBuf, found: usize, max: usize },

    #[error("no text files under the given paths")]
    NoFiles,

    #[error("{} holds something that is not a word index; it is left alone", path.display())]
    NotAnIndex { path: PathBuf },

    #[error("{} is a word index of version {found}, this program reads version {expected}; building replaces it", path.display())]
    Version { path: PathBuf, expected: char, found: char },

    #[error(transparent)]
    Pager(#[from] diptych::Error),

    /// The pager vouches for the bytes of a protected page, so this is a file that another program wrote, or a bug.
    #[error("node {node}: {field} is wrong")]
    Node { node: u64, field: &'static str },

    /// The pager does not verify what an extent holds.
    #[error("postings of `{word}`: {field} is wrong")]
    Postings { word: String, field: &'static str },

    #[error("file {number} of the index: {field} is wrong")]
    FileRow { number: u32, field: &'static str },

    #[error("{} changed while it was indexed", path.display())]
    Changed { path: PathBuf },

    #[error("the index differs from the naive one: {0}")]
    Difference(String),
}

impl Error {
    /// For `map_err`: what was being done, and to which file.
    pub(crate) fn io(op: &'static str, path: &Path) -> impl FnOnce(io::Error) -> Error {
        let path = path.to_path_buf();
        move |source| Error::Io { op, path, source }
    }
}
