//! The shipped code on a real file makes the calls that it makes on the simulated disk: so the states that the crash lab
//! enumerates are those that a power cut can leave of the real file.

use std::fs;
use std::path::Path;

use crashlab::draws::Draws;
use crashlab::file_lab::{FileLab, shown};
use crashlab::lab::{Lab, Start};
use crashlab::operation::Operation;
use crashlab::verify::caught;
use crashlab::workload::operations;
use diptych::{CallKind, CrashPoint, PagerOptions, SimDisk, SimImage, Subset, Tail, TornUnit};

use crate::folder;
use crate::interposed::{Kind, Seen, seen, watch};

/// What both of them do, without what the kernel and the simulation do in different ways.
fn kind_of(call: CallKind) -> Option<Kind> {
    match call {
        CallKind::Read => Some(Kind::Read),
        CallKind::Write => Some(Kind::Write),
        CallKind::Barrier => Some(Kind::SyncData),
        CallKind::SyncDirectory => Some(Kind::SyncDirectory),
        CallKind::Grow | CallKind::Allocate => Some(Kind::Allocate),
        CallKind::Punch => Some(Kind::Punch),
        CallKind::Cut => Some(Kind::Truncate),
        _ => None,
    }
}

/// A call of the code, with what makes it comparable: kind, offset, length.
type Step = (Kind, u64, u64);

/// The steps on a file that is `len` bytes long at first.
fn real_steps(calls: &[Seen], mut len: u64) -> Vec<Step> {
    let mut steps: Vec<Step> = Vec::new();
    let mut grew = false;
    for call in calls {
        let step = match call.kind {
            Kind::Map | Kind::FlushMap => continue,
            Kind::SyncData | Kind::SyncAll => {
                // What a growth has made must be there whatever a filesystem thinks that data needs.
                assert!(!grew || call.kind == Kind::SyncAll, "the barrier after a growth covers the length");
                grew = false;
                (Kind::SyncData, 0, 0)
            }
            kind => (kind, call.offset, call.len),
        };
        match step.0 {
            Kind::Truncate => len = step.1,
            // Space for a hole changes no length.
            Kind::Allocate if step.1 + step.2 > len => {
                grew = true;
                len = step.1 + step.2;
                // The tail of an earlier failure goes in the call that grows, where the disk is simulated.
                steps.pop_if(|last| *last == (Kind::Truncate, step.1, 0));
            }
            _ => {}
        }
        steps.push(step);
    }
    steps
}

fn simulated_steps(disk: &SimDisk) -> Vec<Step> {
    let calls = disk.log().into_iter().filter_map(|call| {
        let kind = kind_of(call.kind)?;
        let (offset, len) = match kind {
            Kind::SyncData | Kind::SyncDirectory => (0, 0),
            Kind::Truncate => (call.offset, 0),
            _ => (call.offset, call.len),
        };
        Some((kind, offset, len))
    });
    calls.collect()
}

/// Opens, runs the operations and a sync on both, and compares.
fn compare<const P: usize>(start: Start, operations: &[Operation], path: &Path) {
    let Lab { disk, pager, model, .. } = Lab::<P>::start(start);
    drop(pager);
    let image = disk.cached_image();
    fs::write(path, image.to_vec()).expect("a file can be written");

    watch(None);
    let mut real = FileLab::<P>::open(PagerOptions::new(), path).expect("it opens");
    real.model = model.clone();
    operations.iter().for_each(|operation| real.run(operation).expect("nothing fails"));
    real.pager.as_mut().expect("it is open").sync().expect("nothing fails");
    let calls = seen();

    let len = image.len();
    let disk = SimDisk::from_image(image);
    let pager = PagerOptions::new().open_on::<P>(&disk).expect("it opens");
    // As opening the real file did, which reads every protected page.
    shown(&pager).expect("it is whole");
    let mut simulated = Lab::around(disk, pager, model);
    operations.iter().for_each(|operation| simulated.run(operation).expect("nothing fails"));
    simulated.pager.as_mut().expect("it is open").sync().expect("nothing fails");

    assert_eq!(real_steps(&calls, len), simulated_steps(&simulated.disk));
    assert_eq!(real.model, simulated.model);
    compare_bytes(&calls, &simulated.disk);
}

/// After every write, what a power cut leaves that all writes so far have reached; after every sync, what is durable.
fn compare_bytes(calls: &[Seen], disk: &SimDisk) {
    let mut epoch = 0;
    let mut image = disk.epoch(epoch).expect("it was recorded").base();
    let mut arrived = 0;
    for call in calls {
        match call.kind {
            Kind::Allocate => image.set_len(image.len().max(call.offset + call.len)),
            Kind::Truncate => image.set_len(call.offset),
            // Asking whether it can be done changes nothing.
            Kind::Punch if call.offset >= image.len() => {}
            Kind::Write | Kind::Punch => {
                let zeros = vec![0; usize::try_from(call.len).expect("a small file")];
                image.write(call.offset, if call.kind == Kind::Punch { &zeros } else { &call.bytes });
                // A write arrives sector by sector.
                while prefix(disk, epoch, arrived, &image).fingerprint() != image.fingerprint() {
                    arrived += 1;
                }
            }
            Kind::SyncData | Kind::SyncAll => {
                epoch += 1;
                arrived = 0;
                image = disk.epoch(epoch).expect("it was recorded").base();
                assert!(call.bytes == image.to_vec(), "what is durable after barrier {epoch}");
            }
            _ => {}
        }
    }
    assert_eq!(epoch, disk.epoch_count() - 1);
}

/// What a power cut leaves of an epoch if so many of its sectors arrived.
fn prefix(disk: &SimDisk, epoch: usize, arrived: usize, like: &SimImage) -> SimImage {
    let subset = Subset::Prefix(arrived);
    let (length, tail) = (like.len(), Tail::Zeros);
    let point = CrashPoint { epoch, torn_unit: TornUnit::Sector, subset, length, tail, damage: None };
    disk.crash_state(&point).unwrap_or_else(|| panic!("the simulated disk has no such state: {point:?}")).image()
}

fn compare_all<const P: usize>() {
    let folder = folder();
    for start in Start::ALL {
        for (at, operation) in operations().iter().enumerate() {
            let path = folder.path().join("file");
            reported_as(&format!("{P}/{start:?}/{at}: {operation:?}"), || {
                compare::<P>(start, std::slice::from_ref(operation), &path);
            });
            fs::remove_file(&path).expect("it is there");
        }
    }
}

/// Long runs, drawn from a seed.
fn compare_drawn<const P: usize>() {
    let folder = folder();
    for seed in 0..6 {
        let mut draws = Draws::new(seed);
        let drawn = (0..60).flat_map(|_| match draws.operation() {
            // The simulated disk loses stores that no call has seen when the pager is dropped.
            Operation::Drop => vec![Operation::Sync, Operation::Drop],
            other => vec![other],
        });
        let operations: Vec<Operation> = drawn.collect();
        let path = folder.path().join("file");
        reported_as(&format!("{P}, seed {seed}"), || compare::<P>(Start::HalfFull, &operations, &path));
        fs::remove_file(&path).expect("it is there");
    }
}

/// Names the case that a failing comparison is about.
fn reported_as(case: &str, compare: impl FnOnce()) {
    if let Err(message) = caught(compare) {
        panic!("{case}: {message}");
    }
}

#[test]
fn a_real_file_sees_the_calls_of_the_simulated_disk_with_pages_of_1_kib() {
    compare_all::<1024>();
}

#[test]
fn a_real_file_sees_the_calls_of_the_simulated_disk_with_pages_of_4_kib() {
    compare_all::<4096>();
}

#[test]
fn a_real_file_sees_the_calls_of_the_simulated_disk_with_pages_of_16_kib() {
    compare_all::<16384>();
}

#[test]
fn a_real_file_sees_the_calls_of_the_simulated_disk_in_long_runs() {
    compare_drawn::<1024>();
    compare_drawn::<4096>();
    compare_drawn::<16384>();
}
