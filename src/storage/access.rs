//! What a storage is opened for. It decides about the lock, and whether anything may be written.

use std::io;

/// See the head of this file.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Access {
    /// Reading and writing, by one alone.
    Write,
    /// Reading, by any number at once. Every call that would change something is refused.
    Read,
}

impl Access {
    pub(super) fn check_write(self) -> io::Result<()> {
        match self {
            Access::Write => Ok(()),
            Access::Read => Err(io::Error::new(io::ErrorKind::PermissionDenied, "it was opened for reading")),
        }
    }
}
