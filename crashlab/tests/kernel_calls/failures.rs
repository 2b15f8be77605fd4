//! Calls of the kernel fail, one after the other: nothing acknowledged is lost, and nothing else is reported.

use std::fs;
use std::path::Path;

use crashlab::failing_call::{attempted_on, reached, workload};
use crashlab::file_lab::{FileLab, verify_file};
use crashlab::lab::{Lab, Start};
use crashlab::model::Model;
use crashlab::verify::{caught, compare};
use diptych::{Error, Pager, PagerOptions};

use crate::folder;
use crate::interposed::{Failing, How, Kind, fired, seen, watch};

/// Writes a file to start from, with a tail that nobody names. Returns what it holds.
fn start_file<const P: usize>(start: Start, path: &Path) -> Model {
    let Lab { disk, pager, mut model, .. } = Lab::<P>::start(start);
    drop(pager);
    let mut bytes = disk.cached_image().to_vec();
    bytes.extend([0xa5; 5000]);
    fs::write(path, bytes).expect("a file can be written");
    model.settle();
    model
}

/// Opens the file and runs the workload until a call fails. Returns whether one did.
fn run<const P: usize>(start: Start, sparse: bool, failing: Failing, path: &Path) -> bool {
    let before = start_file::<P>(start, path);
    watch(Some(failing));
    let opened = FileLab::<P>::open(PagerOptions::new().sparse(sparse), path);
    let mut lab = match opened {
        Ok(lab) => lab,
        Err(error) => {
            seen();
            assert!(error.is_io(), "opening fails with {error}");
            verify_file::<P>(path, &before, &before);
            return true;
        }
    };
    lab.model = before;
    let operations = workload();
    for (at, operation) in operations.iter().enumerate() {
        let Err(error) = lab.run(operation) else { continue };
        seen();
        assert!(error.is_io(), "{operation:?} fails with {error}");
        after_failure(lab, &attempted_on::<P>(start, &operations[..at], operation), path);
        return true;
    }
    seen();
    let model = lab.model.clone();
    drop(lab);
    verify_file::<P>(path, &model, &model);
    fired() > 0
}

fn after_failure<const P: usize>(mut lab: FileLab<P>, attempted: &Model, path: &Path) {
    let mut before = lab.model.clone();
    let mut attempted = attempted.clone();
    if let Some(pager) = &mut lab.pager {
        before = reached(pager, &before, &attempted);
        // Committed data stay readable. An overwrite that was cut off may show.
        let is_touched =
            |id| before.regular.get(&id).map(|page| page.fill) != attempted.regular.get(&id).map(|page| page.fill);
        compare(pager, &before, &|id, page| (!is_touched(id)).then(|| vec![page.fill]), 0);
        match pager.alloc() {
            Ok(id) => {
                // Not poisoned, so it is as before, and goes on: two commits without effect.
                pager.free(id).expect("nothing fails any more");
                assert_eq!(pager.check(), []);
                before.generation += 2;
                attempted = before.clone();
            }
            Err(error) => {
                assert!(matches!(error, Error::Poisoned), "it leads to {error}");
                assert!(matches!(pager.sync(), Err(Error::Poisoned)));
            }
        }
    }
    drop(lab);
    verify_file::<P>(path, &before, &attempted);
}

/// Fails call `n` for every `n` until a run passes untouched. Returns how many runs did not.
fn fail_all<const P: usize>(start: Start, sparse: bool, kind: Kind, how: How, for_ever: bool) -> u64 {
    let folder = folder();
    let path = folder.path().join("file");
    (1..)
        .take_while(|&n| {
            let failing = Failing { kind, n, how, for_ever };
            match caught(|| run::<P>(start, sparse, failing, &path)) {
                Ok(failed) => failed,
                Err(message) => panic!("{P}/{start:?}, {failing:?}: {message}"),
            }
        })
        .count()
        .try_into()
        .expect("usize fits u64")
}

fn fail_with(how: How, for_ever: bool) {
    let kinds = [
        Kind::Write,
        Kind::SyncData,
        Kind::SyncAll,
        Kind::SyncDirectory,
        Kind::Allocate,
        Kind::Punch,
        Kind::Truncate,
        Kind::Map,
    ];
    for kind in kinds.into_iter().chain([Kind::Read]) {
        let runs = [
            fail_all::<1024>(Start::HalfFull, false, kind, how, for_ever),
            fail_all::<4096>(Start::Full, false, kind, how, for_ever),
        ];
        assert!(runs.iter().any(|runs| *runs > 0), "{kind:?} is never called");
        println!("{kind:?} {how:?} for ever {for_ever}: {runs:?} runs");
    }
}

#[test]
fn a_call_that_fails_once_with_eio_loses_nothing() {
    fail_with(How::Error(libc::EIO), false);
}

#[test]
fn calls_that_fail_for_ever_with_eio_lose_nothing() {
    fail_with(How::Error(libc::EIO), true);
}

#[test]
fn a_call_that_fails_once_with_enospc_loses_nothing() {
    fail_with(How::Error(libc::ENOSPC), false);
}

#[test]
fn calls_that_fail_for_ever_with_enospc_lose_nothing() {
    fail_with(How::Error(libc::ENOSPC), true);
}

#[test]
fn calls_that_fail_for_ever_with_edquot_lose_nothing() {
    fail_with(How::Error(libc::EDQUOT), true);
}

#[test]
fn space_that_cannot_be_allocated_in_a_sparse_file_loses_nothing() {
    for kind in [Kind::Allocate, Kind::Truncate, Kind::SyncAll, Kind::Map] {
        for (errno, for_ever) in [(libc::ENOSPC, false), (libc::ENOSPC, true), (libc::EIO, false)] {
            let runs = fail_all::<4096>(Start::Full, true, kind, How::Error(errno), for_ever);
            assert!(runs > 0, "{kind:?} is never called");
        }
    }
}

#[test]
fn a_creation_that_fails_leaves_no_name_behind() {
    let folder = folder();
    let path = folder.path().join("file");
    for kind in Kind::ALL {
        for (errno, for_ever) in [(libc::EIO, false), (libc::EIO, true), (libc::ENOSPC, false), (libc::ENOSPC, true)] {
            for n in 1.. {
                watch(Some(Failing { kind, n, how: How::Error(errno), for_ever }));
                let created = FileLab::<4096>::create(PagerOptions::new(), &path);
                seen();
                match created {
                    Ok(lab) => {
                        let model = lab.model.clone();
                        drop(lab);
                        verify_file::<4096>(&path, &model, &model);
                        fs::remove_file(&path).expect("it is there");
                    }
                    Err(error) => assert!(error.is_io(), "{kind:?} {n}: {error}"),
                }
                let names = fs::read_dir(folder.path()).expect("a folder can be listed").count();
                assert_eq!(names, 0, "{kind:?} {n}, for ever {for_ever}");
                if fired() == 0 {
                    break;
                }
            }
        }
    }
}

/// What was interrupted has failed in nothing, so it is called again, syncs too: the standard library does that.
#[test]
fn an_interrupted_call_is_made_again_or_loses_nothing() {
    fail_with(How::Error(libc::EINTR), false);
}

/// Runs the workload from every start with one plan for all calls of a kind; no operation may fail.
fn untouched(kind: Kind, how: How) {
    let folder = folder();
    let path = folder.path().join("file");
    for start in Start::ALL {
        let mut model = start_file::<4096>(start, &path);
        watch(Some(Failing { kind, n: 1, how, for_ever: true }));
        let mut lab = FileLab::<4096>::open(PagerOptions::new(), &path).expect("it opens");
        lab.model = model;
        workload().iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
        seen();
        assert!(fired() > 0, "there are such calls");
        model = lab.model.clone();
        drop(lab);
        verify_file::<4096>(&path, &model, &model);
    }
}

#[test]
fn transfers_that_are_always_short_are_finished() {
    untouched(Kind::Write, How::Half);
    untouched(Kind::Read, How::Half);
}

#[test]
fn a_filesystem_that_cannot_allocate_gets_zeros() {
    untouched(Kind::Allocate, How::Error(libc::EOPNOTSUPP));
}

#[test]
fn a_filesystem_that_cannot_make_holes_keeps_its_space() {
    let folder = folder();
    let mut pager = Pager::<4096>::create(folder.path().join("file")).expect("nothing fails");
    let ids = pager.alloc_bulk(50).expect("nothing fails");
    pager.free_bulk(&ids).expect("nothing fails");
    let generation = pager.generation();
    let failing = Failing { kind: Kind::Punch, n: 1, how: How::Error(libc::EOPNOTSUPP), for_ever: true };
    watch(Some(failing));
    assert_eq!(pager.punch_holes().expect("it is no error"), None);
    assert!(seen().iter().all(|call| call.kind == Kind::Punch) && pager.generation() == generation);
}
