//! The simulated disk: a place for a pager that remembers every write and can be cut off at any of them.
//!
//! See [`SimDisk`].

mod calls;
mod crash_point;
mod crash_state;
mod crash_states;
mod disk;
mod epoch;
mod faults;
mod holders;
mod image;
mod random;
mod sim_storage;
mod snapshot;
mod space;
mod units;

use std::fmt;
use std::sync::{Arc, Mutex, MutexGuard};

pub use calls::{Call, CallKind};
pub use crash_point::{CrashPoint, Damage, Subset, Tail, TornUnit};
pub use crash_state::CrashState;
pub use crash_states::{CrashOptions, CrashStates};
pub use epoch::{Epoch, EpochEnd};
pub use faults::FaultPlan;
pub use image::SimImage;

use self::disk::Disk;
use self::holders::Holders;
use self::sim_storage::{SimStorage, lock};
use super::{Access, Storage};

/// A disk in memory that can fail in every way that a real one may.
///
/// A program that keeps its state in a pager runs on it unchanged, and afterwards asks what a power cut would have left
/// at any moment. Three states are kept apart:
///
/// * what a **view** of a page shows: stores through it are in the mapping at once, and nowhere else;
/// * the **page cache** ([`cached_image`](SimDisk::cached_image)): what a read returns, and what the process leaves
///   that is killed. Writes are in it at once; stores when the kernel writes them back, at a barrier at the latest;
/// * what is **durable** ([`durable_image`](SimDisk::durable_image)): the cache as it was at the last successful
///   barrier. Of everything since, a power cut leaves any part.
///
/// Handles are cheap to clone and name the same disk. A pager that is open on it holds an exclusive lock, one that only
/// reads a shared one.
///
/// ```
/// use diptych::{SimDisk, SimImage};
///
/// let disk = SimDisk::from_image(SimImage::from(vec![1; 4096]));
/// assert_eq!(disk.durable_image(), disk.cached_image());
/// assert_eq!(disk.epoch_count(), 1);
/// ```
///
/// # Epochs and crashes
///
/// A barrier ends an *epoch*: the writes since the one before. Until the barrier has returned, a power cut leaves any
/// part of them: [`crash_states`](SimDisk::crash_states) enumerates what, for epochs that ended and for the one that
/// goes on. [`from_image`](SimDisk::from_image) makes the disk that the machine finds when it starts again. A state has
/// a name, a [`CrashPoint`], which a failing test prints and [`crash_state`](SimDisk::crash_state) takes.
///
/// # What is assumed of a disk
///
/// A successful barrier is durable. Bytes outside a written sector stay. A sector overwritten with the bytes that it
/// holds keeps them: only sectors whose bytes change are torn, junk or lost. Nothing else is assumed: no order, no
/// atomic sectors or pages.
///
/// After a **failed barrier** the cache holds bytes that the disk may lack, and nobody remembers that they are missing:
/// a later barrier proves nothing about them. The sectors of that epoch stay uncertain until they are written again, be
/// it with the same bytes. The length of the file is certain only after a barrier that covers it, a full sync.
///
/// # What it does not do
///
/// * Stores through a view are found by comparing bytes, during calls of the pager. A store of the bytes that are there
///   already is not found, so it does not cure a sector left uncertain; and stores that no call has seen when the pager
///   is dropped are in no image, where a real page cache would have them.
/// * A view of an unreadable sector shows made-up bytes, where a real one raises a bus error.
/// * Whether the file's *name* is durable is not simulated. Directory syncs are logged.
#[derive(Clone)]
pub struct SimDisk {
    disk: Arc<Mutex<Disk>>,
}

impl SimDisk {
    /// An empty disk.
    #[must_use]
    pub fn new() -> Self {
        SimDisk::from_image(SimImage::default())
    }

    /// The disk that a machine finds after it was started again: all of the image is durable and in the page cache.
    #[must_use]
    pub fn from_image(image: impl Into<SimImage>) -> Self {
        SimDisk { disk: Arc::new(Mutex::new(Disk::new(image.into()))) }
    }

    /// Seeds what a pager on this disk draws at random (the id of a new file), so that runs are equal byte for byte. A
    /// new disk has seed 0.
    pub fn set_seed(&self, seed: u64) {
        self.lock().random = random::SplitMix64::new(seed);
    }

    /// With a seed, lets the kernel write stores back between barriers, at about every fourth write, growth or cut. The
    /// bytes that a sector had for a while can then be what a power cut leaves of it. `None` ends that.
    pub fn set_write_back(&self, seed: Option<u64>) {
        self.lock().write_back = seed.map(random::SplitMix64::new);
    }

    /// Limits the space in bytes, counted in blocks of 4096: growing beyond it, and writing to or allocating holes
    /// beyond it, fails with `StorageFull`. A store through a view to a hole of a full disk panics, where a process
    /// would die of a bus error. A new disk is without limit.
    pub fn set_space_limit(&self, bytes: Option<u64>) {
        self.lock().space.set_limit(bytes);
    }

    /// Lets a call fail. Several plans count their calls independently of each other.
    pub fn fail(&self, plan: FaultPlan) {
        self.lock().faults.add(plan);
    }

    /// Drops all plans for failing calls.
    pub fn clear_faults(&self) {
        self.lock().faults.clear();
    }

    /// How many calls failed by plan so far: 0 after a run means that the plan came too late to touch it.
    #[must_use]
    pub fn faults_fired(&self) -> u64 {
        self.lock().faults.fired()
    }

    /// How many calls of this kind the disk saw, failed ones included.
    #[must_use]
    pub fn calls(&self, kind: CallKind) -> u64 {
        self.lock().calls.count(kind)
    }

    /// The calls made while recording was on, in their order.
    #[must_use]
    pub fn log(&self) -> Vec<Call> {
        self.lock().calls.kept().to_vec()
    }

    /// Switches recording on or off. A new disk records. Without it calls are counted and not logged, and an epoch is
    /// forgotten when it ends; the one that goes on can be looked at in any case.
    pub fn record(&self, on: bool) {
        self.lock().recording = on;
    }

    /// Forgets the epochs that ended and the log of calls, to save memory. The numbers go on.
    pub fn forget_history(&self) {
        self.lock().forget_history();
    }

    /// Whether a pager is open on this disk.
    #[must_use]
    pub fn is_attached(&self) -> bool {
        self.lock().holders != Holders::Nobody
    }

    /// What the page cache holds: what a process leaves that is killed, while the machine goes on.
    #[must_use]
    pub fn cached_image(&self) -> SimImage {
        self.lock().cache().clone()
    }

    /// What a power cut leaves if nothing since the last successful barrier reached the disk.
    #[must_use]
    pub fn durable_image(&self) -> SimImage {
        self.lock().durable()
    }

    /// What a power cut leaves now if of every dirty sector the newest bytes arrived where `keep` says so, else none.
    #[must_use]
    pub fn crash_now(&self, keep: impl FnMut(u64) -> bool) -> SimImage {
        let index = self.lock().epoch_index();
        self.epoch(index).expect("the epoch that goes on is known").crash(keep)
    }

    /// How many epochs there were, the one that goes on included: one more than there were barriers, the one that
    /// creates the file among them. `epoch_count() - 1` is the index of the one that goes on.
    #[must_use]
    pub fn epoch_count(&self) -> usize {
        self.lock().epoch_index() + 1
    }

    /// An epoch, unless it has not begun yet, was not recorded, or is forgotten.
    #[must_use]
    pub fn epoch(&self, index: usize) -> Option<Arc<Epoch>> {
        self.lock().epoch(index)
    }

    /// The states that a power cut in an epoch may leave. Equal calls and options give equal states in equal order.
    ///
    /// # Panics
    /// If [`epoch`](SimDisk::epoch) does not know the epoch.
    #[must_use]
    pub fn crash_states(&self, epoch: usize, options: &CrashOptions) -> CrashStates {
        let Some(epoch) = self.epoch(epoch) else {
            panic!("epoch {epoch} has not begun, was not recorded, or is forgotten");
        };
        CrashStates::of(&epoch, options)
    }

    /// The state of that name, unless the epoch is not known or has no such state.
    #[must_use]
    pub fn crash_state(&self, point: &CrashPoint) -> Option<CrashState> {
        crash_states::find(&*self.epoch(point.epoch)?, point)
    }

    /// Opens the disk for an engine, which holds the exclusive lock as long as it keeps what is returned.
    ///
    /// # Errors
    /// `Locked` if another one holds it; `Io` if a plan says so.
    pub(crate) fn attach(&self) -> crate::error::Result<Box<dyn Storage>> {
        Ok(Box::new(SimStorage::attach(&self.disk, Access::Write)?))
    }

    /// Opens the disk for reading, beside others who do so.
    ///
    /// # Errors
    /// `Locked` if one holds it that writes; `Io` if a plan says so.
    pub(crate) fn attach_read_only(&self) -> crate::error::Result<Box<dyn Storage>> {
        Ok(Box::new(SimStorage::attach(&self.disk, Access::Read)?))
    }

    /// Makes the file that an empty disk lacks, `len` bytes that begin with `reserved` and go on with zeros, and opens
    /// it. It is durable at once: a power cut before leaves the empty disk.
    ///
    /// # Errors
    /// `Io` with the kind `AlreadyExists` if the disk is not empty, `StorageFull` if the limit does not allow it, or as
    /// a plan says: then the disk stays empty.
    pub(crate) fn create(&self, reserved: &[u8], len: u64, sparse: bool) -> crate::error::Result<Box<dyn Storage>> {
        Ok(Box::new(SimStorage::create(&self.disk, reserved, len, sparse)?))
    }

    /// Fills `bytes` with what the seed gives next.
    pub(crate) fn next_random(&self, bytes: &mut [u8]) {
        self.lock().random.fill(bytes);
    }

    fn lock(&self) -> MutexGuard<'_, Disk> {
        lock(&self.disk)
    }
}

impl Default for SimDisk {
    fn default() -> Self {
        SimDisk::new()
    }
}

impl fmt::Debug for SimDisk {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut shown = f.debug_struct("SimDisk");
        if let Ok(disk) = self.disk.try_lock() {
            shown.field("len", &disk.cache().len());
            shown.field("epoch", &disk.epoch_index());
            shown.field("attached", &(disk.holders != Holders::Nobody));
        }
        shown.finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use std::io;

    use super::*;
    use crate::error::Error;
    use crate::storage::{Barrier, Region};

    /// An attached disk of `len` zeros with a region that shows all of it.
    fn opened(len: usize) -> (SimDisk, Box<dyn Storage>, Region) {
        let disk = SimDisk::from_image(vec![0; len]);
        let mut storage = disk.attach().expect("nobody holds it");
        let region = storage.map(disk.cached_image().len(), 1 << 20).expect("an anonymous map");
        (disk, storage, region)
    }

    fn byte(image: &SimImage, at: u64) -> u8 {
        let mut byte = [0];
        image.read(at, &mut byte);
        byte[0]
    }

    fn kind<T: fmt::Debug>(result: io::Result<T>) -> io::ErrorKind {
        result.expect_err("the call fails").kind()
    }

    #[test]
    fn a_store_is_in_the_region_a_write_in_the_cache_and_a_barrier_makes_both_durable() {
        let (disk, storage, mut region) = opened(8192);
        region.bytes_mut(0, 1)[0] = 1;
        storage.write_at(&region, &[&[2], &[3, 4]], 5000).expect("it fits");
        let seen = |image: SimImage| [0, 5000, 5001, 5002].map(|at| byte(&image, at));
        assert_eq!(region.bytes(5000, 3), [2, 3, 4]);
        assert_eq!(seen(disk.cached_image()), [0, 2, 3, 4]);
        assert_eq!(seen(disk.durable_image()), [0, 0, 0, 0]);
        storage.barrier(&region, Barrier::Bytes).expect("no fault is planned");
        assert_eq!(seen(disk.cached_image()), [1, 2, 3, 4]);
        assert_eq!(seen(disk.durable_image()), [1, 2, 3, 4]);
        assert_eq!(disk.epoch(0).expect("recorded").dirty_sectors(), [0, 9]);
    }

    #[test]
    fn stores_are_written_back_early_only_when_that_is_switched_on() {
        let run = |seed: Option<u64>| {
            let (disk, storage, mut region) = opened(8192);
            disk.set_write_back(seed);
            region.bytes_mut(100, 1)[0] = 1;
            (0..20).for_each(|at| storage.write_at(&region, &[&[7]], 4096 + at).expect("it fits"));
            byte(&disk.cached_image(), 100)
        };
        assert_eq!((run(None), run(Some(1))), (0, 1));
    }

    #[test]
    fn a_successful_barrier_after_a_failed_one_does_not_make_the_lost_bytes_durable() {
        let (disk, storage, region) = opened(8192);
        storage.write_at(&region, &[&[1; 512]], 0).expect("it fits");
        disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
        assert!(storage.barrier(&region, Barrier::Bytes).is_err());
        storage.write_at(&region, &[&[2; 512]], 4096).expect("it fits");
        storage.barrier(&region, Barrier::Bytes).expect("only one fails");
        assert_eq!(byte(&disk.cached_image(), 0), 1);
        assert_eq!([byte(&disk.durable_image(), 0), byte(&disk.durable_image(), 4096)], [0, 2]);
        assert_eq!(byte(&disk.crash_now(|sector| sector == 0), 0), 1);
        assert_eq!(disk.epoch(2).expect("it goes on").dirty_sectors(), [0]);
    }

    #[test]
    fn writing_the_same_bytes_again_after_a_failed_barrier_makes_them_durable() {
        let (disk, storage, region) = opened(8192);
        storage.write_at(&region, &[&[1; 1024]], 0).expect("it fits");
        disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
        assert!(storage.barrier(&region, Barrier::Bytes).is_err());
        storage.write_at(&region, &[&[1; 512]], 512).expect("it fits");
        storage.barrier(&region, Barrier::Bytes).expect("only one fails");
        assert_eq!([byte(&disk.durable_image(), 0), byte(&disk.durable_image(), 512)], [0, 1]);
        assert_eq!(disk.epoch(2).expect("it goes on").dirty_sectors(), [0]);
    }

    #[test]
    fn a_disk_that_is_opened_for_reading_refuses_every_call_that_would_change_something() {
        let (disk, storage, region) = opened(4096);
        drop((storage, region));
        let mut storage = disk.attach_read_only().expect("nobody holds it");
        let mut region = storage.map(4096, 4096).expect("it fits");
        for refused in [
            storage.write_at(&region, &[&[1; 512]], 0),
            storage.grow(&mut region, 8192, false),
            storage.cut(&mut region, 0),
            storage.allocate(0, 4096),
            storage.can_punch().map(drop),
            storage.punch(&mut region, 0, 4096).map(drop),
            storage.remove(),
            storage.barrier(&region, Barrier::Bytes),
            storage.sync_directory(),
        ] {
            assert_eq!(refused.expect_err("it is refused").kind(), io::ErrorKind::PermissionDenied);
        }
        assert_eq!(disk.cached_image().len(), 4096);
    }

    #[test]
    fn a_second_opener_is_refused_until_the_first_is_gone() {
        let (disk, storage, _region) = opened(4096);
        assert!(matches!(disk.clone().attach(), Err(Error::Locked { .. })));
        drop(storage);
        assert!(!disk.is_attached());
        disk.attach().expect("it is free again");
        disk.fail(FaultPlan::nth(CallKind::Lock, 1));
        assert!(matches!(disk.attach(), Err(Error::Io { op: "lock", .. })));
    }

    #[test]
    fn an_unreadable_sector_fails_reads_until_it_is_written_wholly() {
        let mut image = SimImage::from(vec![0; 4096]);
        image.set_unreadable(2, 5);
        let disk = SimDisk::from_image(image);
        let mut storage = disk.attach().expect("nobody holds it");
        let region = storage.map(4096, 4096).expect("a map");
        let mut buffer = [0; 4096];
        assert!(storage.read_at(&mut buffer, 0).is_err());
        storage.read_at(&mut buffer[..1024], 0).expect("that part is good");
        assert!(storage.write_at(&region, &[&[1; 100]], 1024).is_err());
        storage.write_at(&region, &[&[1; 1024]], 1024).expect("it covers the sector");
        storage.read_at(&mut buffer, 0).expect("it was written");
        assert_eq!(disk.durable_image().unreadable_sectors().collect::<Vec<_>>(), [2]);
        storage.barrier(&region, Barrier::Bytes).expect("no fault is planned");
        assert_eq!(disk.durable_image().unreadable_sectors().count(), 0);
    }

    #[test]
    fn a_short_write_moves_a_prefix_and_then_fails() {
        let (disk, storage, region) = opened(4096);
        disk.fail(FaultPlan::nth(CallKind::Write, 2).kind(io::ErrorKind::StorageFull).after(3));
        storage.write_at(&region, &[&[1]], 0).expect("the second fails");
        assert_eq!(kind(storage.write_at(&region, &[&[2, 2], &[2, 2]], 8)), io::ErrorKind::StorageFull);
        assert_eq!(region.bytes(8, 4), [2, 2, 2, 0]);
        let mut buffer = [9; 4];
        storage.read_at(&mut buffer, 8).expect("reads go on");
        assert_eq!(buffer, [2, 2, 2, 0]);
        let log = disk.log();
        assert_eq!(log[3].error, Some(io::ErrorKind::StorageFull));
        assert_eq!((log[3].kind, log[3].offset, log[3].len), (CallKind::Write, 8, 4));
        assert_eq!((disk.calls(CallKind::Write), disk.faults_fired()), (2, 1));
    }

    #[test]
    fn the_length_of_a_grown_file_is_durable_behind_a_full_barrier_only() {
        let (disk, mut storage, mut region) = opened(4096);
        storage.grow(&mut region, 3 << 20, false).expect("there is no limit");
        assert_eq!((region.len(), storage.len().expect("known")), (3 << 20, 3 << 20));
        assert_eq!(region.bytes(5000, 1), [0]);
        region.bytes_mut(5000, 1)[0] = 1;
        storage.barrier(&region, Barrier::Bytes).expect("no fault is planned");
        assert_eq!((disk.durable_image().len(), byte(&disk.crash_now(|_| false), 5000)), (4096, 1));
        assert_eq!(disk.epoch(1).expect("it goes on").lengths(), [4096, 3 << 20]);
        storage.barrier(&region, Barrier::Length).expect("no fault is planned");
        assert_eq!(disk.durable_image(), disk.cached_image());
    }

    #[test]
    fn a_growth_that_fails_leaves_the_region_as_it_was_and_can_be_tried_again() {
        let plans = [
            (FaultPlan::nth(CallKind::Grow, 1), 4096),
            (FaultPlan::nth(CallKind::Grow, 1).after(100), 4196),
            (FaultPlan::nth(CallKind::Map, 1), 8192),
        ];
        for (plan, len) in plans {
            let (disk, mut storage, mut region) = opened(4096);
            disk.fail(plan);
            assert!(storage.grow(&mut region, 8192, false).is_err());
            assert_eq!((region.len(), disk.cached_image().len(), disk.durable_image().len()), (4096, len, 4096));
            storage.grow(&mut region, 8192, false).expect("only one fails");
            assert_eq!((region.len(), region.bytes(4096, 4096)), (8192, [0; 4096].as_slice()));
        }
    }

    #[test]
    fn what_was_cut_off_may_come_back_as_long_as_no_barrier_passed() {
        let (disk, mut storage, mut region) = opened(8192);
        storage.write_at(&region, &[&[1; 8192]], 0).expect("it fits");
        storage.barrier(&region, Barrier::Length).expect("no fault is planned");
        storage.cut(&mut region, 5000).expect("no fault is planned");
        storage.grow(&mut region, 8192, false).expect("there is no limit");
        let seen = |image: SimImage| [4999, 5000, 5200, 8191].map(|at| byte(&image, at));
        assert_eq!(seen(disk.cached_image()), [1, 0, 0, 0]);
        assert_eq!(seen(disk.durable_image()), [1, 1, 1, 1]);
        assert_eq!(seen(disk.crash_now(|sector| sector == 9)), [1, 0, 1, 1]);
        storage.barrier(&region, Barrier::Length).expect("no fault is planned");
        assert_eq!(seen(disk.crash_now(|_| false)), [1, 0, 0, 0]);
    }

    #[test]
    fn a_file_is_created_whole_or_not_at_all() {
        for kind in [CallKind::Lock, CallKind::Grow, CallKind::Write, CallKind::Barrier, CallKind::SyncDirectory] {
            let disk = SimDisk::new();
            disk.fail(FaultPlan::nth(kind, 1));
            assert!(disk.create(&[1; 600], 8192, false).is_err());
            assert!(disk.cached_image().is_empty() && !disk.is_attached(), "after a failing {kind}");
            let storage = disk.create(&[1; 600], 8192, false).expect("only one fails");
            assert_eq!((storage.len().expect("known"), disk.durable_image().len()), (8192, 8192));
            let states = disk.crash_states(0, &CrashOptions::new());
            assert!(states.map(|state| state.image()).eq([SimImage::default()]));
            assert!(matches!(disk.create(&[], 1, false), Err(Error::Io { op: "create", .. })));
        }
    }

    #[test]
    fn every_state_of_a_run_with_a_failed_barrier_is_found_again_and_repeats_from_its_seed() {
        let run = || {
            let (disk, storage, mut region) = opened(65_536);
            disk.set_write_back(Some(3));
            disk.fail(FaultPlan::nth(CallKind::Barrier, 2));
            for round in 0..4_u8 {
                for at in 0..3_u64 {
                    region.bytes_mut(40_000 + 700 * at, 1)[0] = round + 1;
                    let at = u64::from(round) * 8192 + at * 1000;
                    storage.write_at(&region, &[&[round + 1; 600]], at).expect("it fits");
                }
                assert_eq!(storage.barrier(&region, Barrier::Bytes).is_err(), round == 1);
            }
            disk
        };
        let (one, two) = (run(), run());
        let options = CrashOptions::new().seed(9).sample_limit(60);
        for epoch in 0..one.epoch_count() {
            let states = one.crash_states(epoch, &options);
            assert_eq!(states.len(), two.crash_states(epoch, &options).len());
            for state in states {
                let again = two.crash_state(&state.point()).expect("equal calls");
                assert_eq!(again.image(), state.image(), "{state}");
            }
        }
        assert!(!one.epoch(4).expect("it goes on").dirty_sectors().is_empty(), "the failed barrier is not forgotten");
    }

    #[test]
    fn a_full_disk_refuses_growth_and_the_filling_of_holes() {
        let (disk, mut storage, mut region) = opened(8192);
        disk.set_space_limit(Some(12_288));
        assert_eq!(kind(storage.grow(&mut region, 12_289, false)), io::ErrorKind::StorageFull);
        assert_eq!((region.len(), storage.len().expect("known")), (8192, 8192));
        storage.grow(&mut region, 1 << 20, true).expect("holes take no space");
        assert!(storage.has_holes().expect("known"));
        storage.write_at(&region, &[&[1]], 100_000).expect("one block is left");
        assert_eq!(kind(storage.write_at(&region, &[&[1]], 200_000)), io::ErrorKind::StorageFull);
        assert_eq!(kind(storage.allocate(200_000, 1)), io::ErrorKind::StorageFull);
        storage.allocate(100_000, 1).expect("that block has its space");
    }

    #[test]
    fn what_is_punched_reads_as_zeros_and_may_come_back_until_a_barrier_passes() {
        let (disk, mut storage, mut region) = opened(16_384);
        storage.write_at(&region, &[&[1; 16_384]], 0).expect("it fits");
        storage.barrier(&region, Barrier::Bytes).expect("no fault is planned");
        assert!(storage.can_punch().expect("no fault is planned"));
        assert_eq!(storage.punch(&mut region, 4096, 8192).expect("no fault is planned"), 8192);
        assert!(storage.has_holes().expect("known"));
        let seen = |image: SimImage| [4095, 4096, 12_287, 12_288].map(|at| byte(&image, at));
        assert_eq!([4095, 4096, 12_288].map(|at| region.bytes(at, 1)[0]), [1, 0, 1]);
        assert_eq!(seen(disk.cached_image()), [1, 0, 0, 1]);
        assert_eq!(seen(disk.durable_image()), [1, 1, 1, 1]);
        assert_eq!(seen(disk.crash_now(|sector| sector == 8)), [1, 0, 1, 1]);
        storage.barrier(&region, Barrier::Bytes).expect("no fault is planned");
        assert_eq!(seen(disk.durable_image()), [1, 0, 0, 1]);
    }

    #[test]
    fn equal_seeds_give_equal_random_bytes() {
        let drawn = |seed: u64| {
            let disk = SimDisk::new();
            disk.set_seed(seed);
            let mut bytes = [0; 16];
            disk.next_random(&mut bytes);
            bytes
        };
        assert_eq!(drawn(1), drawn(1));
        assert_ne!(drawn(1), drawn(2));
    }

    #[test]
    fn forgotten_epochs_are_gone_and_the_numbers_go_on() {
        let (disk, storage, region) = opened(4096);
        (0..3).for_each(|_| storage.barrier(&region, Barrier::Bytes).expect("no fault is planned"));
        disk.forget_history();
        disk.record(false);
        storage.barrier(&region, Barrier::Bytes).expect("no fault is planned");
        assert_eq!((disk.epoch_count(), disk.log().len()), (5, 0));
        assert!(disk.epoch(0).is_none() && disk.epoch(3).is_none() && disk.epoch(5).is_none());
        assert_eq!(disk.epoch(4).expect("it goes on").end(), EpochEnd::Open);
    }
}
