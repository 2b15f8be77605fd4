//! Incremental snapshots: what changed since an older copy, and the newer copy made of both.

use std::ops::ControlFlow;
use std::path::Path;

use crate::engine::apply_increment;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::ids::{Generation, PageId};
use crate::storage::{Copied, FileStorage, SimDisk};

use super::options::page_size;
use super::reader::PageReader;
use super::snapshot::{Snapshot, SnapshotOptions, SnapshotProgress};
use super::{Pager, PagerOptions};

/// Which regular pages an [incremental snapshot](PageReader::incremental_to) carries. Nobody knows when a regular page was
/// stored to, so the caller says which were.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub enum RegularPages<'a, const P: usize> {
    /// All that are allocated: the newer copy shows what the file does.
    #[default]
    All,
    /// These, in any order. Of the others the newer copy has what the older one has at their number, which may be of an earlier
    /// owner where a page was freed and handed out again in between, and zeros where the page was not allocated then.
    Named(&'a [PageId<P>]),
}

impl<const P: usize> RegularPages<'_, P> {
    fn numbers(self) -> Option<Vec<u64>> {
        match self {
            RegularPages::All => None,
            RegularPages::Named(ids) => Some(ids.iter().map(|id| id.to_u64()).collect()),
        }
    }
}

/// An incremental snapshot that was made.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct Incremental {
    /// The commit that the older copy shows.
    pub since: Generation,
    /// The commit that the newer copy will show.
    pub generation: Generation,
    /// Bytes that were written: the length of the file.
    pub written: u64,
}

/// # Incremental snapshots
impl<const P: usize> PageReader<P> {
    /// Writes a new file with what makes the live state out of a copy at the generation `since`: the protected pages that
    /// [changed](Self::changed_since) and the leaves of the free map, with the nodes above them, the header and the totals, and
    /// the regular pages that `regular` says. Like a [snapshot](Self::snapshot_to) it is whole and durable when this returns, and
    /// until then does not stand under its name; other threads may read meanwhile, and nothing can be changed.
    ///
    /// [`Pager::apply_incremental`] puts it and the copy together. It names the [id](Self::file_id) of the file and both
    /// generations, is applied to nothing else, and every byte of it is verified by a CRC before the first is used.
    ///
    /// ```
    /// use diptych::{Pager, RegularPages};
    ///
    /// # let directory = tempfile::tempdir()?;
    /// # let at = |name: &str| directory.path().join(name);
    /// let mut pager = Pager::<4096>::create(at("index.db"))?;
    /// let ids = pager.alloc_bulk(100)?;
    /// let monday = pager.snapshot_to(at("monday.db"))?;
    ///
    /// pager.page_mut(ids[7])?.fill(7);
    /// let root = pager.alloc_protected()?;
    /// let changes = pager.incremental_to(at("tuesday.changes"), monday.generation, RegularPages::Named(&ids[7..8]))?;
    /// assert!(changes.written < 100 * 4096);
    ///
    /// Pager::<4096>::apply_incremental(at("monday.db"), at("tuesday.changes"), at("tuesday.db"))?;
    /// let tuesday = Pager::<4096>::open(at("tuesday.db"))?;
    /// assert_eq!(tuesday.generation(), pager.generation());
    /// assert!(tuesday.is_allocated(root));
    /// assert_eq!(ids[7].get(&tuesday)?[0], 7);
    /// # Ok::<(), Box<dyn std::error::Error>>(())
    /// ```
    ///
    /// # Errors
    ///
    /// After each of them nothing new stands under the name, and the pager is as before.
    ///
    /// * [`Error::NotOlder`]: the live generation is `since`, or an older one.
    /// * [`Error::OutOfRange`], [`Error::WrongKind`]: a page that is named is no regular page.
    /// * Those of [`snapshot_to`](Self::snapshot_to).
    pub fn incremental_to(
        &self,
        path: impl AsRef<Path>,
        since: Generation,
        regular: RegularPages<'_, P>,
    ) -> Result<Incremental> {
        self.incremental_with(path, since, regular, |_| ControlFlow::Continue(()))
    }

    /// [Writes what changed](Self::incremental_to). `progress` is called at the beginning and after each piece of at most 256 KiB;
    /// it may stop it.
    ///
    /// # Errors
    ///
    /// Those of [`incremental_to`](Self::incremental_to); [`Error::SnapshotStopped`] when `progress` returned `Break`.
    pub fn incremental_with(
        &self,
        path: impl AsRef<Path>,
        since: Generation,
        regular: RegularPages<'_, P>,
        mut progress: impl FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<Incremental> {
        let mut progress = |written, total| progress(SnapshotProgress { written, total });
        let named = regular.numbers();
        let copied = self
            .engine
            .increment(since.to_u64(), named.as_deref(), |new| FileStorage::copy(path.as_ref(), new, &mut progress))?;
        Ok(self.made(since, copied))
    }

    /// [Writes what changed](Self::incremental_to) to a simulated disk that has no file yet.
    ///
    /// # Errors
    ///
    /// Those of [`incremental_to`](Self::incremental_to), or as the disks' plans for failing calls say.
    pub fn incremental_on(
        &self,
        disk: &SimDisk,
        since: Generation,
        regular: RegularPages<'_, P>,
    ) -> Result<Incremental> {
        let named = regular.numbers();
        let copied = self
            .engine
            .increment(since.to_u64(), named.as_deref(), |new| disk.copy(new, &mut |_, _| ControlFlow::Continue(())))?;
        Ok(self.made(since, copied))
    }

    fn made(&self, since: Generation, copied: Copied) -> Incremental {
        Incremental { since, generation: self.generation(), written: copied.bytes }
    }
}

/// # Incremental snapshots
impl<const P: usize> Pager<P> {
    /// Makes the newer copy of a file out of an `older` one and an [incremental snapshot](PageReader::incremental_to), as the new
    /// file `newer`. Neither of them is changed. The newer copy is whole and durable when this returns, and until then does not
    /// stand under its name, as a [snapshot](PageReader::snapshot_to); so a crash at any time leaves the older copy as it is, and
    /// it can be removed, or the newer one renamed over it, afterwards.
    ///
    /// The older copy is a snapshot, or what came of one in this way, at exactly the generation from which the incremental
    /// snapshot goes on: incremental snapshots are applied one after the other. It is opened for reading alone, with a lock that others
    /// who read share. It may have been opened in between, but not changed. Before anything is written the whole incremental
    /// snapshot is verified, and the state of the newer copy read, with all that the engine keeps about it.
    ///
    /// # Errors
    ///
    /// After each of them nothing new stands under the name, and the other two files are as before.
    ///
    /// * [`Error::NotAnIncrement`], [`Error::FormatVersion`], [`Error::PageSize`]: it is no incremental snapshot of this version
    ///   of this crate for pages of `P` bytes.
    /// * [`Error::DamagedIncrement`]: it is cut short, or a byte of it is not what was written.
    /// * [`Error::IncrementOfAnotherFile`], [`Error::IncrementOfAnotherBase`]: it is one for another file or generation.
    /// * [`Error::NotTheBase`]: the older copy was changed by itself, or holds commits that
    ///   [waited](crate::Durability::None) and were not the last ones of their generation.
    /// * [`Error::Io`] with `op: "snapshot to"`: of the kind `AlreadyExists` when `newer` names anything, be it one of the others;
    ///   `StorageFull` when the disk is full; when it cannot be written.
    /// * Those of [opening](PagerOptions::open_read_only) the older copy, [`Error::Locked`] among them.
    pub fn apply_incremental(
        older: impl AsRef<Path>,
        incremental: impl AsRef<Path>,
        newer: impl AsRef<Path>,
    ) -> Result<Snapshot> {
        let go_on = |_| ControlFlow::Continue(());
        Self::apply_incremental_with(older, incremental, newer, &SnapshotOptions::new(), go_on)
    }

    /// [Makes the newer copy](Self::apply_incremental) as the options say: it may share the space of the older one. `progress` is
    /// called at the beginning and after each piece of at most 256 KiB; it may stop it.
    ///
    /// # Errors
    ///
    /// Those of [`apply_incremental`](Self::apply_incremental); [`Error::SnapshotStopped`] when `progress` returned `Break`.
    pub fn apply_incremental_with(
        older: impl AsRef<Path>,
        incremental: impl AsRef<Path>,
        newer: impl AsRef<Path>,
        options: &SnapshotOptions,
        mut progress: impl FnMut(SnapshotProgress) -> ControlFlow<()>,
    ) -> Result<Snapshot> {
        let mut progress = |written, total| progress(SnapshotProgress { written, total });
        let incremental = FileStorage::open_read_only(incremental.as_ref())?;
        let older = FileStorage::open_read_only(older.as_ref())?;
        let (engine, share) = (PagerOptions::new().engine, options.shares_space());
        let (generation, copied) =
            apply_increment(Box::new(older), Box::new(incremental), page_size::<P>(), engine, share, |content| {
                FileStorage::copy(newer.as_ref(), content, &mut progress)
            })?;
        Ok(Snapshot::at(Generation::new(generation), copied))
    }

    /// [Makes the newer copy](Self::apply_incremental) on a simulated disk that has no file yet. A power cut of that disk before this
    /// returns leaves it without one.
    ///
    /// # Errors
    ///
    /// Those of [`apply_incremental`](Self::apply_incremental), or as the disks' plans for failing calls say.
    pub fn apply_incremental_on(older: &SimDisk, incremental: &SimDisk, newer: &SimDisk) -> Result<Snapshot> {
        let incremental = incremental.attach_read_only()?;
        let older = older.attach_read_only()?;
        let engine = PagerOptions::new().engine;
        let (generation, copied) = apply_increment(older, incremental, page_size::<P>(), engine, false, |content| {
            newer.copy(content, &mut |_, _| ControlFlow::Continue(()))
        })?;
        Ok(Snapshot::at(Generation::new(generation), copied))
    }
}
