//! The engine's side of a simulated disk.

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use super::super::{Access, Barrier, Readable, Region, Storage};
use super::calls::CallKind;
use super::disk::Disk;
use super::faults::media_error;
use super::image::{BLOCK_LEN, SimImage, narrow, wide};
use crate::error::{Error, Result};

/// What error messages call a disk that has no path.
pub(super) const PATH: &str = "<simulated disk>";

/// Locks the state. A panic of a test while it was locked leaves nothing half done that matters to the next one.
pub(super) fn lock(disk: &Mutex<Disk>) -> MutexGuard<'_, Disk> {
    disk.lock().unwrap_or_else(PoisonError::into_inner)
}

/// A simulated disk opened for the engine. Holds the lock until it is dropped.
pub(super) struct SimStorage {
    access: Access,
    disk: Arc<Mutex<Disk>>,
}

impl SimStorage {
    pub(super) fn attach(disk: &Arc<Mutex<Disk>>, access: Access) -> Result<SimStorage> {
        let mut state = lock(disk);
        let with_this = state.holders.with(access);
        let locked = state.call(CallKind::Lock, (0, 0), |_, fault| match fault {
            Some(fault) => Err(fault.error),
            None => with_this.ok_or(io::ErrorKind::WouldBlock.into()),
        });
        match locked {
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => return Err(Error::Locked { path: PATH.into() }),
            Err(error) => return Err(Error::io("lock", Path::new(PATH), error)),
            Ok(holders) => state.holders = holders,
        }
        Ok(SimStorage { access, disk: Arc::clone(disk) })
    }

    pub(super) fn create(disk: &Arc<Mutex<Disk>>, reserved: &[u8], len: u64, sparse: bool) -> Result<SimStorage> {
        assert!(wide(reserved.len()) <= len, "a file holds what it begins with");
        let failed = |error| Error::io("create", Path::new(PATH), error);
        if !lock(disk).cache().is_empty() {
            return Err(failed(io::ErrorKind::AlreadyExists.into()));
        }
        let storage = SimStorage::attach(disk, Access::Write)?;
        let mut image = SimImage::from(reserved);
        image.set_len(len);
        lock(disk).create(image, sparse).map_err(failed)?;
        Ok(storage)
    }
}

impl Drop for SimStorage {
    fn drop(&mut self) {
        let mut disk = lock(&self.disk);
        disk.holders = disk.holders.without_one();
    }
}

impl fmt::Debug for SimStorage {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SimStorage").finish_non_exhaustive()
    }
}

impl Readable for SimStorage {
    fn path(&self) -> &Path {
        Path::new(PATH)
    }

    fn len(&self) -> io::Result<u64> {
        Ok(lock(&self.disk).cache().len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let range = (offset, wide(buffer.len()));
        lock(&self.disk).call(CallKind::Read, range, |disk, fault| {
            let Some(fault) = fault else {
                return disk.read(buffer, offset);
            };
            let moved = narrow(fault.after.min(wide(buffer.len())));
            disk.read(&mut buffer[..moved], offset)?;
            Err(fault.error)
        })
    }

    fn read_shown(&self, region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.read_at(buffer, offset)?;
        // A commit may be writing between the pages that are wanted: it does so under this lock.
        let _disk = lock(&self.disk);
        // The page cache learns of stores at a call that may change them; the region has them at once.
        let shown = narrow(region.len().saturating_sub(offset).min(wide(buffer.len())));
        if shown > 0 {
            buffer[..shown].copy_from_slice(region.bytes(offset, shown));
        }
        Ok(())
    }

    fn share_with(&self, _copy: &File) -> bool {
        false
    }
}

impl Storage for SimStorage {
    fn forget_cached(&self, _offset: u64, _len: u64) {}

    fn map(&mut self, len: u64, reserve: u64) -> io::Result<Region> {
        lock(&self.disk).call(CallKind::Map, (0, len), |disk, fault| {
            if let Some(fault) = fault {
                return Err(fault.error);
            }
            if len > disk.cache().len() {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            let mut region = Region::anonymous(len, reserve)?;
            show(disk, &mut region);
            Ok(region)
        })
    }

    fn write_at(&self, region: &Region, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.access.check_write()?;
        let len = parts.iter().map(|part| part.len()).sum();
        let mut disk = lock(&self.disk);
        disk.notice_stores_sometimes(region);
        disk.call(CallKind::Write, (offset, wide(len)), |disk, fault| {
            let inside = offset.checked_add(wide(len)).is_some_and(|end| end <= disk.cache().len());
            assert!(inside, "the engine writes {len} bytes at {offset}, past the end of the disk");
            if disk.needs_unreadable(offset, len) {
                return Err(media_error());
            }
            let moved = fault.as_ref().map_or(len, |fault| narrow(fault.after.min(wide(len))));
            let total = disk.cache().len();
            disk.space.fill(offset, wide(moved), total)?;
            disk.part_blocks(offset, moved);
            let sequence = disk.next_sequence();
            let mut done = 0;
            for part in parts {
                let part = &part[..part.len().min(moved - done)];
                let at = offset + wide(done);
                disk.put(at, part, sequence);
                let visible = narrow(region.len().saturating_sub(at).min(wide(part.len())));
                region.store(if visible == 0 { 0 } else { at }, &part[..visible]);
                done += part.len();
            }
            fault.map_or(Ok(()), |fault| Err(fault.error))
        })
    }

    fn grow(&mut self, region: &mut Region, len: u64, sparse: bool) -> io::Result<()> {
        self.access.check_write()?;
        let shown = region.len();
        assert!(len > shown, "the engine grows from {shown} to {len} bytes");
        let mut disk = lock(&self.disk);
        disk.notice_stores_sometimes(region);
        disk.call(CallKind::Grow, (shown, len - shown), |disk, fault| {
            // What an earlier failure left behind the visible part does not become visible.
            disk.set_len(shown);
            let reached = fault.as_ref().map_or(len, |fault| shown.saturating_add(fault.after).min(len));
            disk.space.extend(shown, reached, sparse)?;
            disk.set_len(reached);
            fault.map_or(Ok(()), |fault| Err(fault.error))
        })?;
        disk.call(CallKind::Map, (0, len), |_, fault| match fault {
            Some(fault) => Err(fault.error),
            None => region.grow_anonymous(len),
        })
    }

    fn cut(&mut self, region: &mut Region, len: u64) -> io::Result<()> {
        self.access.check_write()?;
        assert!(len <= region.len(), "the engine cuts from {} to {len} bytes", region.len());
        let mut disk = lock(&self.disk);
        disk.notice_stores_sometimes(region);
        let old = disk.cache().len();
        disk.call(CallKind::Cut, (len, old.saturating_sub(len)), |disk, fault| {
            if let Some(fault) = fault {
                return Err(fault.error);
            }
            disk.set_len(len);
            region.set_len(len);
            Ok(())
        })
    }

    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.access.check_write()?;
        lock(&self.disk).call(CallKind::Allocate, (offset, len), |disk, fault| {
            let total = disk.cache().len();
            fault.map_or_else(|| disk.space.fill(offset, len, total), |fault| Err(fault.error))
        })
    }

    fn can_punch(&mut self) -> io::Result<bool> {
        self.access.check_write()?;
        let mut disk = lock(&self.disk);
        let end = disk.cache().len();
        let asked = disk.call(CallKind::Punch, (end, 1), |_, fault| fault.map_or(Ok(()), |fault| Err(fault.error)));
        match asked {
            Err(error) if error.kind() == io::ErrorKind::Unsupported => Ok(false),
            asked => asked.map(|()| true),
        }
    }

    fn punch(&mut self, region: &mut Region, offset: u64, len: u64) -> io::Result<u64> {
        self.access.check_write()?;
        let mut disk = lock(&self.disk);
        disk.notice_stores_sometimes(region);
        disk.call(CallKind::Punch, (offset, len), |disk, fault| {
            let inside = offset.checked_add(len).is_some_and(|end| end <= disk.cache().len());
            assert!(inside, "the engine gives back {len} bytes at {offset}, past the end of the disk");
            if let Some(fault) = fault {
                return Err(fault.error);
            }
            // Until a barrier has passed, each of its sectors may hold what it held.
            disk.part_blocks(offset, narrow(len));
            let sequence = disk.next_sequence();
            disk.put(offset, &vec![0; narrow(len)], sequence);
            region.bytes_mut(offset, narrow(len)).fill(0);
            Ok(disk.space.punch(offset, len))
        })
    }

    fn available(&self) -> io::Result<u64> {
        let disk = lock(&self.disk);
        Ok(disk.space.available(disk.cache().len()))
    }

    fn remove(&mut self) -> io::Result<()> {
        self.access.check_write()?;
        lock(&self.disk).remove();
        Ok(())
    }

    fn has_holes(&self) -> io::Result<bool> {
        Ok(lock(&self.disk).space.has_holes())
    }

    fn barrier(&self, region: &Region, barrier: Barrier) -> io::Result<()> {
        self.access.check_write()?;
        let mut disk = lock(&self.disk);
        disk.notice_stores(region);
        let len = disk.cache().len();
        disk.call(CallKind::Barrier, (0, len), |disk, fault| disk.end_epoch(barrier, fault))
    }

    fn sync_directory(&mut self) -> io::Result<()> {
        self.access.check_write()?;
        lock(&self.disk)
            .call(CallKind::SyncDirectory, (0, 0), |_, fault| fault.map_or(Ok(()), |fault| Err(fault.error)))
    }
}

/// Makes a new region, zeros as yet, show what the cache holds.
fn show(disk: &Disk, region: &mut Region) {
    let mut at = 0;
    while at < region.len() {
        let len = narrow((region.len() - at).min(wide(BLOCK_LEN)));
        // Memory that is not touched is not paid for.
        if !disk.cache().is_zero_block(narrow(at) / BLOCK_LEN) {
            disk.cache().read(at, region.bytes_mut(at, len));
        }
        at += wide(len);
    }
    // What it shows now is known.
    drop(region.take_touched());
}
