//! A copy of a storage, whole or incremental, as a new file: whole under its final name, or absent.
//!
//! The file is made as [`create`] makes one: nameless, synced, then named without replacing anything. Where the filesystem
//! lets files share space, the copy begins as a clone of the source, whatever its size; else what it needs is written.

use std::fs::{self, File};
use std::io;
use std::path::Path;

use super::super::copy::{Copied, CopyFailure, Filling, Progress};
use super::{FileStorage, create, platform, resolve_new, space};
use crate::error::{Error, Result};

/// So many bytes are handed to the disk at once.
const WRITE_BACK: u64 = 2 << 20;

impl FileStorage {
    /// Makes the new file `path`, which is durable when this returns.
    ///
    /// # Errors
    ///
    /// [`Error::Io`] with `op: "snapshot to"`, of the kind `AlreadyExists` when the path names anything; with `op: "read"` when
    /// the source cannot be read; [`Error::SnapshotStopped`]. Then nothing new stands under the name.
    pub(crate) fn copy(path: &Path, filling: &dyn Filling, progress: &mut Progress<'_>) -> Result<Copied> {
        let failed = |failure| match failure {
            CopyFailure::Read(error) => Error::io("read", filling.source_path(), error),
            CopyFailure::Write(error) => Error::io("snapshot to", path, error),
            CopyFailure::Stopped => Error::SnapshotStopped,
        };
        let (directory, name) = resolve_new(path).map_err(|error| failed(error.into()))?;
        // Naming the copy replaces nothing in any case; this is so that nobody waits for a copy that cannot be named.
        if fs::symlink_metadata(directory.join(name)).is_ok() {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists).into()));
        }
        let made = create::make(&directory, name, &mut |file| fill(file, filling, progress));
        let (file, copied) = made.map_err(failed)?;
        // A forked child may hold the descriptor, and with it the lock.
        let _ = file.unlock();
        Ok(copied)
    }
}

fn fill(file: &File, filling: &dyn Filling, progress: &mut Progress<'_>) -> Result<Copied, CopyFailure> {
    let mut begun = 0;
    let mut write = |bytes: &[u8], offset| {
        platform::write_parts_at(file, &[bytes], offset)?;
        // The disk writes while the rest is copied, so that the sync in the end has little left to wait for.
        if offset >= begun + WRITE_BACK {
            platform::forget_cached(file, begun, offset - begun);
            begun = offset;
        }
        Ok(())
    };
    let shared = filling.share_with(file);
    // What the source has behind its last page is no part of the copy.
    file.set_len(filling.len())?;
    let bytes = filling.write(shared, &mut write, progress)?;
    if !shared && filling.is_nearly_full(bytes) {
        space::fill_holes(file, 0, filling.len())?;
    }
    Ok(Copied { bytes, shared })
}
