//! What happens while a thread is in a barrier, which these tests hold up as long as they like.

use std::fs::File;
use std::io;
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::Duration;

use super::{Result, SharedPager};
use crate::engine::{Durability, Engine, NewFile};
use crate::error::Error;
use crate::ids::{FileId, Generation, ProtectedPageId};
use crate::pager::{PageReader, Pager, PagerOptions};
use crate::storage::{Barrier, CallKind, FaultPlan, Readable, Region, SimDisk, Storage};

const PAGE: usize = 1024;

/// Says that a barrier began, and hears that it may end.
type Ends = (Sender<()>, Receiver<()>);

/// Lets a test see that a barrier begins, and end it.
#[derive(Clone, Debug, Default)]
struct Hold(Arc<Mutex<Option<Ends>>>);

impl Hold {
    /// The next barrier says that it began, and goes on when it is told to.
    fn next_barrier(&self) -> (Receiver<()>, Sender<()>) {
        let ((began, begins), (ends, end)) = (channel(), channel());
        *self.0.lock().unwrap() = Some((began, end));
        (begins, ends)
    }
}

/// A simulated disk whose barriers can be held up.
#[derive(Debug)]
struct Held {
    storage: Box<dyn Storage>,
    hold: Hold,
}

impl Readable for Held {
    fn path(&self) -> &Path {
        self.storage.path()
    }
    fn len(&self) -> io::Result<u64> {
        self.storage.len()
    }
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.storage.read_at(buffer, offset)
    }
    fn read_shown(&self, region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        self.storage.read_shown(region, buffer, offset)
    }
    fn share_with(&self, copy: &File) -> bool {
        self.storage.share_with(copy)
    }
}

impl Storage for Held {
    fn forget_cached(&self, offset: u64, len: u64) {
        self.storage.forget_cached(offset, len);
    }
    fn map(&mut self, len: u64, reserve: u64) -> io::Result<Region> {
        self.storage.map(len, reserve)
    }
    fn write_at(&self, region: &Region, parts: &[&[u8]], offset: u64) -> io::Result<()> {
        self.storage.write_at(region, parts, offset)
    }
    fn grow(&mut self, region: &mut Region, len: u64, sparse: bool) -> io::Result<()> {
        self.storage.grow(region, len, sparse)
    }
    fn cut(&mut self, region: &mut Region, len: u64) -> io::Result<()> {
        self.storage.cut(region, len)
    }
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()> {
        self.storage.allocate(offset, len)
    }
    fn can_punch(&mut self) -> io::Result<bool> {
        self.storage.can_punch()
    }
    fn punch(&mut self, region: &mut Region, offset: u64, len: u64) -> io::Result<u64> {
        self.storage.punch(region, offset, len)
    }
    fn available(&self) -> io::Result<u64> {
        self.storage.available()
    }
    fn remove(&mut self) -> io::Result<()> {
        self.storage.remove()
    }
    fn has_holes(&self) -> io::Result<bool> {
        self.storage.has_holes()
    }
    fn barrier(&self, region: &Region, barrier: Barrier) -> io::Result<()> {
        let held = self.hold.0.lock().unwrap().take();
        if let Some((began, end)) = held {
            began.send(()).unwrap();
            end.recv().unwrap();
        }
        self.storage.barrier(region, barrier)
    }
    fn sync_directory(&mut self) -> io::Result<()> {
        self.storage.sync_directory()
    }
}

/// A pager with a protected page of zeros on a disk, and what holds its barriers up.
struct Lab {
    pager: SharedPager<PAGE>,
    page: ProtectedPageId<PAGE>,
    disk: SimDisk,
    hold: Hold,
}

fn lab() -> Lab {
    let (disk, hold) = (SimDisk::new(), Hold::default());
    let new = NewFile::new(u32::try_from(PAGE).unwrap(), FileId::new([7; 16]));
    let storage = disk.create(&new.reserved, new.len, false).unwrap();
    let storage = Held { storage, hold: hold.clone() };
    let engine = Engine::create(Box::new(storage), &new, PagerOptions::new().engine).unwrap();
    let mut pager = Pager { reader: PageReader { engine } };
    let page = pager.alloc_protected().unwrap();
    Lab { pager: SharedPager::new(pager), page, disk, hold }
}

impl Lab {
    /// A thread that changes something, and is in its barrier when this returns: what ends it, and the thread.
    fn writer_in_its_barrier(&self) -> (Sender<()>, thread::JoinHandle<Result<()>>) {
        let (begins, ends) = self.hold.next_barrier();
        let (pager, page) = (self.pager.clone(), self.page);
        let writer = thread::spawn(move || {
            pager.transact(|transaction| {
                transaction.set_header(b"first")?;
                transaction.protected_mut(page)?.fill(1);
                Ok(())
            })
        });
        begins.recv().unwrap();
        (ends, writer)
    }

    /// Threads that each allocate a page and write their number to it; they wait for their turn when this returns.
    fn queue(&self, threads: u8) -> Vec<thread::JoinHandle<Result<ProtectedPageId<PAGE>>>> {
        let queued: Vec<_> = (0..threads)
            .map(|number| {
                let pager = self.pager.clone();
                thread::spawn(move || {
                    pager.transact(|transaction| {
                        let id = transaction.alloc_protected()?;
                        transaction.protected_mut(id)?.fill(number);
                        Ok(id)
                    })
                })
            })
            .collect();
        self.wait_for(usize::from(threads));
        queued
    }

    fn wait_for(&self, waiting: usize) {
        while self.pager.turns.waiting() != waiting {
            thread::sleep(Duration::from_millis(1));
        }
    }

    fn barriers(&self) -> u64 {
        self.disk.calls(CallKind::Barrier)
    }

    fn after_a_power_cut(self) -> Pager<PAGE> {
        let image = self.disk.durable_image();
        PagerOptions::new().open_on(&SimDisk::from_image(image)).unwrap()
    }
}

#[test]
fn readers_come_and_go_during_a_barrier_and_turning_over_waits_for_them() {
    let lab = lab();
    let before = lab.pager.read().generation();
    let (ends, writer) = lab.writer_in_its_barrier();
    for _ in 0..100 {
        let (one, two) = (lab.pager.read(), lab.pager.read());
        assert_eq!((one.generation(), one.protected(lab.page).unwrap()[0]), (before, 0));
        assert!(two.check().is_empty(), "what is being written is no finding");
        assert_eq!(two.snapshot_on(&SimDisk::new()).unwrap().generation, before);
    }
    let last = lab.pager.read();
    ends.send(()).unwrap();
    thread::sleep(Duration::from_millis(50));
    assert!(!writer.is_finished(), "a guard shows one state");
    assert_eq!((last.generation(), last.protected(lab.page).unwrap()[0]), (before, 0));
    // A thread that has a guard gets another one, though somebody waits to be alone.
    assert_eq!(lab.pager.read().generation(), before);
    drop(last);
    writer.join().unwrap().unwrap();
    let after = lab.pager.read();
    assert_eq!((after.generation(), after.protected(lab.page).unwrap()[0]), (Generation::new(before.to_u64() + 1), 1));
    assert!(after.header().starts_with(b"first") && after.check().is_empty());
}

#[test]
fn threads_that_wait_for_their_turn_are_committed_with_one_barrier() {
    let lab = lab();
    let (ends, writer) = lab.writer_in_its_barrier();
    let queued = lab.queue(7);
    let before = lab.barriers();
    ends.send(()).unwrap();
    writer.join().unwrap().unwrap();
    let ids: Vec<_> = queued.into_iter().map(|thread| thread.join().unwrap().unwrap()).collect();
    assert_eq!(lab.barriers() - before, 2, "that of the first one, and one for the others");
    let pager = lab.after_a_power_cut();
    for (number, id) in (0u8..).zip(&ids) {
        assert_eq!(pager.protected(*id).unwrap().as_bytes(), [number; PAGE]);
    }
    assert!(pager.check().is_empty());
}

#[test]
fn a_barrier_that_fails_is_an_error_for_all_who_were_in_it_and_nothing_of_them_is_acknowledged() {
    let lab = lab();
    let (ends, writer) = lab.writer_in_its_barrier();
    let queued = lab.queue(5);
    lab.disk.fail(FaultPlan::nth(CallKind::Barrier, 2));
    ends.send(()).unwrap();
    writer.join().unwrap().unwrap();
    for thread in queued {
        let failed = thread.join().unwrap();
        assert!(matches!(failed, Err(Error::Io { op: "sync", .. })), "{failed:?}");
    }
    assert!(matches!(lab.pager.transact(|transaction| transaction.alloc()), Err(Error::Poisoned)));
    assert!(matches!(lab.pager.read().snapshot_on(&SimDisk::new()), Err(Error::Poisoned)));
    let page = lab.page;
    let pager = lab.after_a_power_cut();
    assert_eq!(pager.protected(page).unwrap()[0], 1, "what was acknowledged is there");
    assert_eq!(pager.allocated_protected_page_count(), 1, "what failed is not");
}

#[test]
fn a_commit_that_fails_before_it_counts_is_an_error_for_all_and_the_pager_goes_on() {
    let lab = lab();
    let (ends, writer) = lab.writer_in_its_barrier();
    let queued = lab.queue(5);
    lab.disk.fail(FaultPlan::nth(CallKind::Write, 2).kind(io::ErrorKind::StorageFull));
    ends.send(()).unwrap();
    writer.join().unwrap().unwrap();
    for thread in queued {
        let failed = thread.join().unwrap();
        assert!(matches!(&failed, Err(Error::Io { source, .. }) if source.kind() == io::ErrorKind::StorageFull));
    }
    assert_eq!(lab.pager.read().allocated_protected_page_count(), 1);
    lab.pager.transact(|transaction| transaction.alloc_protected()).unwrap();
    assert_eq!(lab.after_a_power_cut().allocated_protected_page_count(), 2);
}

#[test]
fn the_strictest_durability_of_those_who_are_committed_together_is_that_of_all() {
    let lab = lab();
    let (ends, writer) = lab.writer_in_its_barrier();
    let queued: Vec<_> = [Durability::None, Durability::TwoBarriers, Durability::None]
        .into_iter()
        .enumerate()
        .map(|(at, durability)| {
            let pager = lab.pager.clone();
            let thread = thread::spawn(move || {
                pager.transact(|transaction| {
                    transaction.set_durability(durability);
                    transaction.alloc().map(drop)
                })
            });
            lab.wait_for(at + 1);
            thread
        })
        .collect();
    let before = lab.barriers();
    ends.send(()).unwrap();
    writer.join().unwrap().unwrap();
    queued.into_iter().for_each(|thread| thread.join().unwrap().unwrap());
    assert_eq!(lab.barriers() - before, 3);
    let reader = lab.pager.read();
    assert_eq!(reader.durable_generation(), reader.generation());
    drop(reader);
    assert_eq!(lab.after_a_power_cut().allocated_page_count(), 3);
}

#[test]
fn one_who_fails_or_panics_takes_nobody_along() {
    let lab = lab();
    let (ends, writer) = lab.writer_in_its_barrier();
    let fails = {
        let pager = lab.pager.clone();
        thread::spawn(move || {
            pager.transact(|transaction| {
                transaction.alloc_protected_bulk(3)?;
                transaction.alloc_bulk(usize::MAX).map(drop)
            })
        })
    };
    lab.wait_for(1);
    let queued = {
        let pager = lab.pager.clone();
        thread::spawn(move || pager.transact(|transaction| transaction.alloc_protected()))
    };
    lab.wait_for(2);
    let panics = {
        let pager = lab.pager.clone();
        thread::spawn(move || {
            pager.transact(|transaction| {
                transaction.alloc_protected_bulk(3)?;
                if transaction.header()[0] != 0 {
                    panic!("of the closure");
                }
                Ok::<_, Error>(())
            })
        })
    };
    lab.wait_for(3);
    ends.send(()).unwrap();
    writer.join().unwrap().unwrap();
    assert!(fails.join().unwrap().is_err());
    queued.join().unwrap().unwrap();
    assert!(panics.join().unwrap_err().is::<&str>());
    lab.pager.transact(|transaction| transaction.alloc()).unwrap();
    let pager = lab.after_a_power_cut();
    assert_eq!((pager.allocated_protected_page_count(), pager.allocated_page_count()), (2, 1));
}

#[test]
fn whoever_wants_the_pager_alone_waits_for_those_who_were_there_before() {
    let lab = lab();
    let (ends, writer) = lab.writer_in_its_barrier();
    let queued = lab.queue(3);
    let alone = {
        let pager = lab.pager.clone();
        thread::spawn(move || pager.exclusive(|pager| pager.sync()))
    };
    lab.wait_for(4);
    ends.send(()).unwrap();
    writer.join().unwrap().unwrap();
    for thread in queued {
        thread.join().unwrap().unwrap();
    }
    alone.join().unwrap().unwrap().unwrap();
    assert_eq!(lab.pager.read().allocated_protected_page_count(), 4);
}
