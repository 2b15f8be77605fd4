//! The engine as a whole, on real files: what the tiers above it rely on.

use std::io;
use std::path::Path;

use tempfile::TempDir;

use crate::error::{Error, Result};
use crate::ids::FileId;
use crate::storage::{Barrier, FileStorage, Readable, Region, Storage};

use super::new_file::NewFile;
use super::runs::Runs;
use super::{Durability, Engine, EngineOptions, Holder, Owned, Stage, Verification};

mod bad_files;
mod eight_tebibytes;
mod extents;
mod increments;
mod placement;
mod table_pages;

fn options() -> EngineOptions {
    EngineOptions {
        durability: Durability::default(),
        growth_limit: 64 << 20,
        sparse: false,
        verification: Verification::FirstTouch,
        reserve: 1 << 30,
        max_staged_bytes: u64::MAX,
        max_file_bytes: u64::MAX,
        take_older: false,
    }
}

fn create(path: &Path, page_size: u32, options: EngineOptions) -> Engine {
    let new = NewFile::new(page_size, FileId::new([7; 16]));
    let storage = FileStorage::create(path, &new.reserved, new.len, options.sparse).unwrap();
    Engine::create(Box::new(storage), &new, options).unwrap()
}

fn open(path: &Path, page_size: u32) -> Engine {
    Engine::open(Box::new(FileStorage::open(path).unwrap()), page_size, options()).unwrap()
}

#[test]
fn what_a_released_savepoint_kept_is_not_counted_by_the_later_ones_either() {
    let directory = TempDir::new().unwrap();
    let mut engine = create(&directory.path().join("savepoints"), 4096, options());
    let mut stage = engine.stage().unwrap();
    let index = engine.alloc_protected(&mut stage, 1).unwrap()[0];
    let write = |stage: &mut Stage, fill| engine.staged_mut(stage, Owned::Protected(index), true).unwrap().fill(fill);
    write(&mut stage, 1);
    let first = stage.savepoint();
    write(&mut stage, 2);
    let second = stage.savepoint();
    assert_eq!(stage.staged_bytes(), 2 * 4096);
    stage.release(first);
    assert_eq!(stage.staged_bytes(), 4096);
    write(&mut stage, 3);
    stage.rollback_to(second).unwrap();
    assert_eq!(stage.staged_bytes(), 4096);
    assert_eq!(engine.staged_protected(&stage, index).unwrap(), [2; 4096]);
}

#[test]
fn what_is_committed_is_there_after_reopening_at_every_page_size() {
    for page_size in [1024, 2048, 4096, 16384, 1 << 20, 1 << 24] {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("pages");
        let mut engine = create(&path, page_size, options());
        assert_eq!(engine.check(), []);

        let mut stage = engine.stage().unwrap();
        let page = engine.alloc(&mut stage, 0).unwrap();
        let protected = engine.alloc_protected(&mut stage, 3).unwrap();
        engine.staged_mut(&mut stage, Owned::Page(page), true).unwrap()[..4].copy_from_slice(b"page");
        engine.staged_mut(&mut stage, Owned::Protected(protected[1]), true).unwrap()[..4].copy_from_slice(b"twin");
        engine.set_header(&mut stage, b"root").unwrap();
        engine.commit(stage).unwrap();
        assert_eq!(engine.check(), []);
        assert_eq!(engine.live().generation(), 2);
        engine.close().unwrap();

        let engine = open(&path, page_size);
        assert!(engine.recovery().is_clean(), "{:?}", engine.recovery());
        assert_eq!(&engine.page(page).unwrap()[..5], b"page\0");
        assert_eq!(&engine.protected(protected[1]).unwrap()[..5], b"twin\0");
        assert!(engine.protected(protected[0]).unwrap().iter().all(|byte| *byte == 0));
        assert_eq!(&engine.live().header()[..5], b"root\0");
        assert_eq!(engine.check(), []);
    }
}

#[test]
fn a_commit_writes_the_same_number_of_bytes_at_every_page_size() {
    let directory = TempDir::new().unwrap();
    let written = [1024, 4096, 65536].map(|page_size| {
        let path = directory.path().join(page_size.to_string());
        let new = NewFile::new(page_size, FileId::new([7; 16]));
        let storage = FileStorage::create(&path, &new.reserved, new.len, false).unwrap();
        let counting = Counting { file: storage, bytes: std::sync::Arc::default() };
        let bytes = counting.bytes.clone();
        let mut engine = Engine::create(Box::new(counting), &new, options()).unwrap();
        let opened = bytes.load(std::sync::atomic::Ordering::Relaxed);
        let mut stage = engine.stage().unwrap();
        engine.alloc(&mut stage, 0).unwrap();
        engine.commit(stage).unwrap();
        bytes.load(std::sync::atomic::Ordering::Relaxed) - opened
    });
    assert_eq!(written, [3 * 4096; 3], "a leaf, the metadata, a slot");
}

/// Counts what is written.
#[derive(Debug)]
struct Counting {
    file: FileStorage,
    bytes: std::sync::Arc<std::sync::atomic::AtomicU64>,
}

/// A file whose space is never allocated: the only way to have one of 8 TiB on a small disk.
#[derive(Debug)]
struct Unallocated(FileStorage);

/// What a holder does, where nobody else has the engine.
impl Engine {
    fn alloc(&mut self, stage: &mut Stage, near: u64) -> Result<u64> {
        <dyn Holder>::alloc(self, stage, near)
    }

    fn alloc_bulk(&mut self, stage: &mut Stage, count: u64) -> Result<Runs> {
        <dyn Holder>::alloc_bulk(self, stage, count)
    }

    fn alloc_protected(&mut self, stage: &mut Stage, count: u64) -> Result<Vec<u64>> {
        <dyn Holder>::alloc_protected(self, stage, count)
    }

    fn alloc_extent(&mut self, stage: &mut Stage, pages: u64) -> Result<u64> {
        <dyn Holder>::alloc_extent(self, stage, pages)
    }

    fn alloc_table_pages(&mut self, stage: &mut Stage, count: u64) -> Result<Vec<u64>> {
        <dyn Holder>::alloc_table_pages(self, stage, count)
    }

    fn commit(&mut self, stage: Stage) -> Result<()> {
        <dyn Holder>::commit(self, stage)
    }
}

macro_rules! forward {
    ($storage:ty, $file:tt, $($count:tt)?) => {
        impl Readable for $storage {
            fn path(&self) -> &Path {
                self.$file.path()
            }
            fn len(&self) -> io::Result<u64> {
                self.$file.len()
            }
            fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
                self.$file.read_at(buffer, offset)
            }
            fn read_shown(&self, region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()> {
                self.$file.read_shown(region, buffer, offset)
            }
            fn share_with(&self, copy: &std::fs::File) -> bool {
                self.$file.share_with(copy)
            }
        }

        impl Storage for $storage {
            fn forget_cached(&self, offset: u64, len: u64) {
                self.$file.forget_cached(offset, len);
            }
            fn map(&mut self, len: u64, reserve: u64) -> io::Result<Region> {
                self.$file.map(len, reserve)
            }
            fn write_at(&self, region: &Region, parts: &[&[u8]], offset: u64) -> io::Result<()> {
                $(
                    let bytes: usize = parts.iter().map(|part| part.len()).sum();
                    self.$count.fetch_add(bytes as u64, std::sync::atomic::Ordering::Relaxed);
                )?
                self.$file.write_at(region, parts, offset)
            }
            fn grow(&mut self, region: &mut Region, len: u64, sparse: bool) -> io::Result<()> {
                self.$file.grow(region, len, sparse)
            }
            fn cut(&mut self, region: &mut Region, len: u64) -> io::Result<()> {
                self.$file.cut(region, len)
            }
            fn allocate(&self, _offset: u64, _len: u64) -> io::Result<()> {
                Ok(())
            }
            fn can_punch(&mut self) -> io::Result<bool> {
                self.$file.can_punch()
            }
            fn punch(&mut self, region: &mut Region, offset: u64, len: u64) -> io::Result<u64> {
                self.$file.punch(region, offset, len)
            }
            fn available(&self) -> io::Result<u64> {
                Ok(u64::MAX)
            }
            fn remove(&mut self) -> io::Result<()> {
                self.$file.remove()
            }
            fn has_holes(&self) -> io::Result<bool> {
                self.$file.has_holes()
            }
            fn barrier(&self, region: &Region, barrier: Barrier) -> io::Result<()> {
                self.$file.barrier(region, barrier)
            }
            fn sync_directory(&mut self) -> io::Result<()> {
                self.$file.sync_directory()
            }
        }
    };
}

forward!(Counting, file, bytes);
forward!(Unallocated, 0,);

/// A file whose map shows a copy of it, as it does on some network filesystems.
#[derive(Debug)]
struct Incoherent(FileStorage);

impl Readable for Incoherent {
    fn path(&self) -> &Path {
        self.0.path()
    }
    fn len(&self) -> io::Result<u64> {
        self.0.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_at(buffer, offset)
    }
    fn read_shown(&self, region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.0.read_shown(region, buffer, offset)
    }
    fn share_with(&self, copy: &std::fs::File) -> bool {
        self.0.share_with(copy)
    }
}

impl Storage for Incoherent {
    fn forget_cached(&self, offset: u64, len: u64) {
        self.0.forget_cached(offset, len);
    }
    fn map(&mut self, len: u64, reserve: u64) -> io::Result<Region> {
        let mut region = Region::anonymous(len, reserve)?;
        let whole = usize::try_from(len).expect("a small file");
        self.0.read_at(region.bytes_mut(0, whole), 0)?;
        Ok(region)
    }
    fn write_at(&self, region: &Region, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.0.write_at(region, parts, offset)
    }
    fn grow(&mut self, region: &mut Region, len: u64, sparse: bool) -> io::Result<()> {
        self.0.grow(region, len, sparse)
    }
    fn cut(&mut self, region: &mut Region, len: u64) -> io::Result<()> {
        self.0.cut(region, len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.0.allocate(offset, len)
    }
    fn can_punch(&mut self) -> io::Result<bool> {
        self.0.can_punch()
    }
    fn punch(&mut self, region: &mut Region, offset: u64, len: u64) -> io::Result<u64> {
        self.0.punch(region, offset, len)
    }
    fn available(&self) -> io::Result<u64> {
        self.0.available()
    }
    fn remove(&mut self) -> io::Result<()> {
        self.0.remove()
    }
    fn has_holes(&self) -> io::Result<bool> {
        self.0.has_holes()
    }
    fn barrier(&self, region: &Region, barrier: Barrier) -> io::Result<()> {
        self.0.barrier(region, barrier)
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        self.0.sync_directory()
    }
}

#[test]
fn a_map_that_does_not_show_what_is_written_is_refused_and_leaves_the_file_as_it_was() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("pages");
    let mut engine = create(&path, 4096, options());
    let mut stage = engine.stage().unwrap();
    engine.alloc(&mut stage, 0).unwrap();
    engine.commit(stage).unwrap();
    engine.close().unwrap();
    let before = std::fs::read(&path).unwrap();
    let storage = Incoherent(FileStorage::open(&path).unwrap());
    let refused = Engine::open(Box::new(storage), 4096, options());
    assert!(matches!(refused, Err(Error::Incoherent { path: named }) if named == path));
    assert_eq!(std::fs::read(&path).unwrap(), before);

    let new_path = directory.path().join("new");
    let new = NewFile::new(4096, FileId::new([7; 16]));
    let storage = Incoherent(FileStorage::create(&new_path, &new.reserved, new.len, false).unwrap());
    let refused = Engine::create(Box::new(storage), &new, options());
    assert!(matches!(refused, Err(Error::Incoherent { .. })));
    assert!(!new_path.exists(), "a file that cannot be used is not made");
}
