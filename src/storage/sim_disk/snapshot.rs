//! A copy of a storage, whole or incremental, as the file of an empty simulated disk.

use std::io;
use std::path::Path;

use super::SimDisk;
use super::calls::CallKind;
use super::disk::Disk;
use super::image::{SimImage, wide};
use super::sim_storage::{PATH, SimStorage, lock};
use crate::error::{Error, Result};
use crate::storage::Access;
use crate::storage::copy::{Copied, CopyFailure, Filling, Progress};

impl SimDisk {
    /// Makes the file of this disk, which has none. It is there, and durable, when all of it was written and the
    /// barrier behind it has passed, as a file that has no name before: a power cut earlier leaves the disk empty.
    ///
    /// # Errors
    ///
    /// `Io` with the kind `AlreadyExists` if the disk is not empty, `StorageFull` if the limit does not allow the copy, or as a
    /// plan says; `SnapshotStopped`. Then the disk stays empty.
    pub(crate) fn copy(&self, filling: &dyn Filling, progress: &mut Progress<'_>) -> Result<Copied> {
        let failed = |failure| match failure {
            CopyFailure::Read(error) => Error::io("read", filling.source_path(), error),
            CopyFailure::Write(error) => Error::io("snapshot to", Path::new(PATH), error),
            CopyFailure::Stopped => Error::SnapshotStopped,
        };
        if !lock(&self.disk).cache().is_empty() {
            return Err(failed(io::Error::from(io::ErrorKind::AlreadyExists).into()));
        }
        // Holds the lock of the disk until the copy is there.
        let _attached = SimStorage::attach(&self.disk, Access::Write)?;
        let copied = self.fill(filling, progress);
        if copied.is_err() {
            self.lock().space.cut(0);
        }
        copied.map_err(failed)
    }

    fn fill(&self, filling: &dyn Filling, progress: &mut Progress<'_>) -> Result<Copied, CopyFailure> {
        let len = filling.len();
        self.step(CallKind::Grow, (0, len), |disk| disk.space.extend(0, len, true))?;
        let mut image = SimImage::default();
        image.set_len(len);
        let mut write = |bytes: &[u8], offset| {
            let range = (offset, wide(bytes.len()));
            self.step(CallKind::Write, range, |disk| disk.space.fill(offset, range.1, len))?;
            image.write(offset, bytes);
            Ok(())
        };
        let bytes = filling.write(false, &mut write, progress)?;
        if filling.is_nearly_full(bytes) {
            self.step(CallKind::Allocate, (0, len), |disk| disk.space.fill(0, len, len))?;
        }
        self.step(CallKind::Barrier, (0, len), |_| Ok(()))?;
        self.step(CallKind::SyncDirectory, (0, 0), |_| Ok(()))?;
        self.lock().appear(image);
        Ok(Copied { bytes, shared: false })
    }

    /// A call that fails if it is its turn.
    fn step(&self, kind: CallKind, range: (u64, u64), act: impl FnOnce(&mut Disk) -> io::Result<()>) -> io::Result<()> {
        self.lock().call(kind, range, |disk, fault| fault.map_or_else(|| act(disk), |fault| Err(fault.error)))
    }
}
