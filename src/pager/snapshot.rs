//! Copies of a file that is open.

use std::ops::ControlFlow;
use std::path::Path;

#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::Generation;
use crate::storage::{Copied, FileStorage, SimDisk};

use super::reader::PageReader;

/// What can be chosen about a [snapshot](PageReader::snapshot_with).
#[derive(Clone, Debug, PartialEq, Eq)]
#[must_use = "options do nothing until a snapshot is made with them"]
pub struct SnapshotOptions {
    share_space: bool,
}

impl Default for SnapshotOptions {
    fn default() -> Self {
        SnapshotOptions::new()
    }
}

impl SnapshotOptions {
    /// The defaults, which [`PageReader::snapshot_to`] uses.
    pub const fn new() -> Self {
        SnapshotOptions { share_space: true }
    }

    /// Whether the snapshot may share the space of the source, where the filesystem can do that (reflink: XFS, btrfs). It then
    /// takes about as long whatever the size. `true` if not said otherwise.
    ///
    /// What is written later, to either of the files, then needs new space, also in pages that are allocated: on a full disk a
    /// store to a page can end the process, as on any filesystem that copies on write. And one spot of bad media harms both
    /// files. `false` makes a copy that stands by itself.
    pub const fn share_space(mut self, share: bool) -> Self {
        self.share_space = share;
        self
    }

    pub(super) const fn shares_space(&self) -> bool {
        self.share_space
    }
}

/// How far a snapshot is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct SnapshotProgress {
    /// Bytes that are written.
    pub written: u64,
    /// Bytes that will be.
    pub total: u64,
}

/// A snapshot that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Snapshot {
    /// The commit that it shows.
    pub generation: Generation,
    /// Bytes that were written.
    pub written: u64,
    /// Whether it shares the space of the source.
    pub shared: bool,
}

impl Snapshot {
    pub(super) fn at(generation: Generation, copied: Copied) -> Self {
        Snapshot { generation, written: copied.bytes, shared: copied.shared }
    }
}

/// # Snapshots
impl<const P: usize> PageReader<P> {
    /// Copies the live state to a new file, which is whole and durable when this returns, and until then does not stand under
    /// its name. The pager stays open; other threads may read meanwhile, and nothing can be changed.
    ///
    /// The copy shows what a read shows now, stores that were never synced included. It is a file of its own, at the same
    /// [generation](Self::generation) and with the same [id](Self::file_id), sealed as by [`close`](crate::Pager::close): it can be
    /// opened, changed and copied while this one lives. What nobody owns is not copied, and is a hole in the copy where the
    /// filesystem has holes.
    ///
    /// What the engine keeps about pages is verified on the way; the content of protected pages is copied as it is, and verified
    /// by whoever reads the copy ([`check`](Self::check) reads all of it).
    ///
    /// ```
    /// use diptych::Pager;
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, backup) = (directory.path().join("index.db"), directory.path().join("backup.db"));
    /// let mut pager = Pager::<4096>::create(&path)?;
    /// let id = pager.alloc()?;
    /// pager.page_mut(id)?.fill(7);
    /// let snapshot = pager.snapshot_to(&backup)?;
    /// assert_eq!(snapshot.generation, pager.generation());
    ///
    /// pager.page_mut(id)?.fill(8);
    /// let copy = Pager::<4096>::open(&backup)?;
    /// assert_eq!(id.get(&copy)?[0], 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// After each of them nothing new stands under the name, and the pager is as before.
    ///
    /// * [`Error::Io`] with `op: "snapshot to"`: of the kind `AlreadyExists` when the path names anything, be it the source; of the
    ///   kind `NotFound` when the directory does not exist; `StorageFull` when the disk is full; when it cannot be written.
    /// * [`Error::Io`] with `op: "read"`, [`Error::Corrupt`]: the source cannot be read, or what the engine keeps in it is damaged.
    /// * [`Error::Poisoned`]: after a failure it is not known what the live state is. Open the file again first.
    pub fn snapshot_to(&self, path: impl AsRef<Path>) -> Result<Snapshot> {
        self.snapshot_with(path, &SnapshotOptions::new(), |_| ControlFlow::Continue(()))
    }

    /// [Copies the live state](Self::snapshot_to) as the options say. `progress` is called at the beginning and after each piece
    /// of at most 256 KiB; it may stop the snapshot.
    ///
    /// ```
    /// use std::ops::ControlFlow;
    ///
    /// use diptych::{Error, Pager, SnapshotOptions};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let (path, backup) = (directory.path().join("index.db"), directory.path().join("backup.db"));
    /// let mut pager = Pager::<4096>::create(&path)?;
    /// pager.alloc_bulk(1000)?;
    /// let options = SnapshotOptions::new().share_space(false);
    /// let stopped = pager.snapshot_with(&backup, &options, |progress| {
    ///     if progress.written * 2 > progress.total { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
    /// });
    /// assert!(matches!(stopped, Err(Error::SnapshotStopped)) && !backup.exists());
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of [`snapshot_to`](Self::snapshot_to); [`Error::SnapshotStopped`] when `progress` returned `Break`.
    pub fn snapshot_with(
        &self,
        path: impl AsRef<Path>,
        options: &SnapshotOptions,
        mut progress: impl FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<Snapshot> {
        let mut progress = |written, total| progress(SnapshotProgress { written, total });
        let copied = self
            .engine
            .snapshot(options.shares_space(), |content| FileStorage::copy(path.as_ref(), content, &mut progress))?;
        Ok(Snapshot::at(self.generation(), copied))
    }

    /// [Copies the live state](Self::snapshot_to) to a simulated disk that has no file yet. A power cut of that disk before this
    /// returns leaves it without one.
    ///
    /// # Errors
    ///
    /// Those of [`snapshot_to`](Self::snapshot_to), or as the disks' plans for failing calls say.
    pub fn snapshot_on(&self, disk: &SimDisk) -> Result<Snapshot> {
        let copied =
            self.engine.snapshot(false, |content| disk.copy(content, &mut |_, _| ControlFlow::Continue(())))?;
        Ok(Snapshot::at(self.generation(), copied))
    }
}
