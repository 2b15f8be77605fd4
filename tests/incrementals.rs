//! What changed since an older copy, on files: round trips beside a naive twin, what is refused, and what it costs.

#![cfg(unix)]

#[path = "processes/second_process.rs"]
mod second_process;
#[path = "processes/small_disk.rs"]
mod small_disk;

use std::collections::{BTreeMap, HashMap};
use std::fs;
use std::io;
use std::ops::ControlFlow;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};
use std::thread;
use std::time::Duration;

use diptych::{
    Block, Change, Durability, Error, Generation, PageId, Pager, PagerOptions, ProtectedPageId, RegularPages, SimDisk,
    SnapshotOptions,
};
use tempfile::TempDir;

use second_process::{file_of_second_process, start_again};
use small_disk::run_on_small_disk;

/// What every page holds.
#[derive(Clone, Default, PartialEq, Debug)]
struct Twin {
    regular: BTreeMap<u64, u8>,
    protected: HashMap<u64, u8>,
}

impl Twin {
    fn of<const P: usize>(pager: &Pager<P>) -> Self {
        let fill = |bytes: &[u8]| {
            assert!(bytes.iter().all(|byte| *byte == bytes[0]));
            bytes[0]
        };
        let regular = pager.iter_allocated_pages().map(|id| (id.to_u64(), fill(&id.get(pager).unwrap()[..])));
        let protected =
            pager.iter_allocated_protected_pages().map(|id| (id.to_u64(), fill(&id.get(pager).unwrap()[..])));
        Twin { regular: regular.collect(), protected: protected.collect() }
    }
}

/// xorshift64*: the same numbers each time.
struct Draws(u64);

impl Draws {
    fn next(&mut self, below: usize) -> usize {
        self.0 ^= self.0 >> 12;
        self.0 ^= self.0 << 25;
        self.0 ^= self.0 >> 27;
        usize::try_from(self.0.wrapping_mul(0x2545_f491_4f6c_dd1d) >> 33).unwrap() % below
    }
}

/// Changes of every kind, to the pager and to its twin.
fn change<const P: usize>(pager: &mut Pager<P>, twin: &mut Twin, draws: &mut Draws) {
    let fill = u8::try_from(1 + draws.next(255)).unwrap();
    let regular: Vec<u64> = twin.regular.keys().copied().collect();
    let mut protected: Vec<u64> = twin.protected.keys().copied().collect();
    protected.sort_unstable();
    let id = |raw: u64| PageId::<P>::from_u64(raw).unwrap();
    let protected_id = |raw: u64| ProtectedPageId::<P>::from_u64(raw).unwrap();
    match draws.next(9) {
        0 | 1 => {
            for id in pager.alloc_bulk(1 + draws.next(300)).unwrap() {
                pager.page_mut(id).unwrap().fill(fill);
                twin.regular.insert(id.to_u64(), fill);
            }
        }
        2 if regular.len() > 400 => {
            let from = draws.next(regular.len() - 300);
            let freed = &regular[from..from + draws.next(300)];
            pager.free_bulk(freed.iter().map(|raw| id(*raw)).collect::<Vec<_>>()).unwrap();
            twin.regular.retain(|raw, _| !freed.contains(raw));
        }
        3 => {
            for id in pager.alloc_protected_bulk(1 + draws.next(60)).unwrap() {
                twin.protected.insert(id.to_u64(), 0);
            }
        }
        4 if protected.len() > 100 => {
            let freed: Vec<u64> = (0..20).map(|at| protected[at * protected.len() / 20]).collect();
            pager.free_protected_bulk(freed.iter().map(|raw| protected_id(*raw)).collect::<Vec<_>>()).unwrap();
            twin.protected.retain(|raw, _| !freed.contains(raw));
        }
        5 if !regular.is_empty() => {
            let raw = regular[draws.next(regular.len())];
            pager.page_mut(id(raw)).unwrap().fill(fill);
            twin.regular.insert(raw, fill);
        }
        6 => {
            let mut moved = Vec::new();
            pager
                .compact::<Error>(draws.next(200) as u64, |_, from, to| {
                    moved.push((from, to));
                    Ok(())
                })
                .unwrap();
            for (from, to) in moved {
                let fill = twin.regular.remove(&from.to_u64()).unwrap();
                twin.regular.insert(to.to_u64(), fill);
            }
            pager.shrink().unwrap();
        }
        _ if !protected.is_empty() => {
            let mut tx = pager.transaction().unwrap();
            for _ in 0..=draws.next(40) {
                let raw = protected[draws.next(protected.len())];
                tx.protected_mut(protected_id(raw)).unwrap().fill(fill);
                twin.protected.insert(raw, fill);
            }
            tx.commit().unwrap();
        }
        _ => {}
    }
}

struct Files(TempDir);

impl Files {
    fn new() -> Self {
        Files(TempDir::new().unwrap())
    }

    fn at(&self, name: impl AsRef<Path>) -> PathBuf {
        self.0.path().join(name)
    }

    fn names(&self) -> Vec<String> {
        let names = fs::read_dir(self.0.path()).unwrap();
        let mut names: Vec<String> = names.map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect();
        names.sort();
        names
    }
}

fn goes_round<const P: usize>(seed: u64, options: &PagerOptions) {
    let files = Files::new();
    let (mut twin, mut draws) = (Twin::default(), Draws(seed));
    let mut pager = options.create::<P>(files.at("file")).unwrap();
    // Two lines of copies: one goes on at every step, the other one at every fourth.
    let first = pager.snapshot_to(files.at("copy-0")).unwrap().generation;
    fs::copy(files.at("copy-0"), files.at("slow-0")).unwrap();
    let mut lines = [("copy", 1, 0, first), ("slow", 4, 0, first)];
    for step in 1..=16 {
        (0..1 + draws.next(8)).for_each(|_| change(&mut pager, &mut twin, &mut draws));
        if draws.next(3) == 0 {
            pager.close().unwrap();
            pager = options.open::<P>(files.at("file")).unwrap();
        }
        for (name, pace, last, since) in &mut lines {
            if step % *pace != 0 || *since == pager.generation() {
                continue;
            }
            let [older, changes, newer] =
                [format!("{name}-{last}"), format!("{name}-changes-{step}"), format!("{name}-{step}")];
            let made = pager.incremental_to(files.at(&changes), *since, RegularPages::All).unwrap();
            assert_eq!((made.since, made.generation), (*since, pager.generation()));
            assert_eq!(fs::metadata(files.at(&changes)).unwrap().len(), made.written);
            let options = SnapshotOptions::new().share_space(step % 2 == 0);
            let applied = Pager::<P>::apply_incremental_with(
                files.at(older),
                files.at(changes),
                files.at(&newer),
                &options,
                |_| ControlFlow::Continue(()),
            );
            assert_eq!(applied.unwrap().generation, pager.generation());
            (*last, *since) = (step, pager.generation());

            let copy = Pager::<P>::open(files.at(newer)).unwrap();
            assert!(copy.recovery().is_clean() && copy.check().is_empty());
            assert_eq!((copy.generation(), copy.file_id()), (pager.generation(), pager.file_id()));
            assert_eq!((copy.header(), copy.page_count()), (pager.header(), pager.page_count()));
            assert!(Twin::of(&copy) == twin, "step {step} of {name}, seed {seed}");
        }
    }
    assert!(Twin::of(&pager) == twin);
}

#[test]
fn copies_that_go_on_by_what_changed_are_what_the_file_is() {
    for seed in 1..=2 {
        goes_round::<1024>(seed, &PagerOptions::new());
        goes_round::<4096>(100 + seed, &PagerOptions::new().durability(Durability::TwoBarriers));
        goes_round::<16384>(200 + seed, &PagerOptions::new().sparse(true));
    }
}

/// A file, its copy, and what changed after it.
fn case(files: &Files) -> Pager<4096> {
    let mut pager = Pager::<4096>::create(files.at("file")).unwrap();
    let protected = pager.alloc_protected_bulk(30).unwrap();
    let regular = pager.alloc_bulk(200).unwrap();
    regular.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(1));
    let since = pager.snapshot_to(files.at("older")).unwrap().generation;
    let mut writer = pager.protected_mut(protected[7]).unwrap();
    writer.page_mut().fill(7);
    writer.commit().unwrap();
    pager.free_bulk(&regular[3..20]).unwrap();
    pager.page_mut(regular[50]).unwrap().fill(2);
    pager.incremental_to(files.at("changes"), since, RegularPages::All).unwrap();
    pager
}

fn apply(files: &Files, older: &str, changes: &str, newer: &str) -> Result<diptych::Snapshot, Error> {
    Pager::<4096>::apply_incremental(files.at(older), files.at(changes), files.at(newer))
}

#[test]
fn an_existing_name_is_refused_and_left_untouched_be_it_one_of_the_two() {
    let files = Files::new();
    let pager = case(&files);
    fs::write(files.at("other"), b"mine").unwrap();
    std::os::unix::fs::symlink("nowhere", files.at("link")).unwrap();
    let before = ["older", "changes", "other"].map(|name| fs::read(files.at(name)).unwrap());
    let since = Pager::<4096>::open(files.at("older")).unwrap().generation();
    for name in ["older", "changes", "other", "link", "file"] {
        let refused = [
            apply(&files, "older", "changes", name).map(drop),
            pager.incremental_to(files.at(name), since, RegularPages::All).map(drop),
        ];
        for refused in refused {
            match refused.unwrap_err() {
                Error::Io { op: "snapshot to", path, source } => {
                    assert_eq!((path, source.kind()), (files.at(name), io::ErrorKind::AlreadyExists));
                }
                other => panic!("{name}: {other}"),
            }
        }
    }
    assert_eq!(["older", "changes", "other"].map(|name| fs::read(files.at(name)).unwrap()), before);
    assert_eq!(files.names(), ["changes", "file", "link", "older", "other"]);
}

#[test]
fn what_does_not_belong_together_is_refused_by_name() {
    let files = Files::new();
    let mut pager = case(&files);
    let mut other = Pager::<4096>::create(files.at("other")).unwrap();
    other.alloc().unwrap();
    other.close().unwrap();
    let foreign = apply(&files, "other", "changes", "newer").unwrap_err();
    assert!(matches!(foreign, Error::IncrementOfAnotherFile { expected, found } if expected != found), "{foreign}");
    assert!(foreign.to_string().contains(&pager.file_id().to_string()), "{foreign}");

    // The newer copy, and one that lies between.
    apply(&files, "older", "changes", "newer").unwrap();
    for name in ["newer", "between"] {
        if name == "between" {
            pager.alloc().unwrap();
            pager.snapshot_to(files.at(name)).unwrap();
        }
        let refused = apply(&files, name, "changes", "again").unwrap_err();
        assert!(matches!(refused, Error::IncrementOfAnotherBase { expected, found } if expected < found), "{refused}");
    }
    let not_one = apply(&files, "older", "newer", "again").unwrap_err();
    assert!(matches!(not_one, Error::NotAnIncrement { .. }), "{not_one}");
    let no_copy = apply(&files, "changes", "changes", "again").unwrap_err();
    assert!(matches!(no_copy, Error::NotDiptych { .. }), "{no_copy}");
    let sizes = Pager::<8192>::apply_incremental(files.at("older"), files.at("changes"), files.at("again"));
    assert!(matches!(sizes, Err(Error::PageSize { expected: 8192, found: 4096 })), "{sizes:?}");
    let locked = Pager::<4096>::open(files.at("older")).unwrap();
    assert!(matches!(apply(&files, "older", "changes", "again"), Err(Error::Locked { .. })));
    drop(locked);
    let missing = apply(&files, "missing", "changes", "again").unwrap_err();
    assert!(matches!(&missing, Error::Io { source, .. } if source.kind() == io::ErrorKind::NotFound), "{missing}");
    assert_eq!(files.names(), ["between", "changes", "file", "newer", "older", "other"]);
}

/// The same file id and the same generation, and another history.
#[test]
fn a_copy_that_was_changed_by_itself_is_no_base() {
    let files = Files::new();
    let mut pager = case(&files);
    let protected: Vec<_> = pager.iter_allocated_protected_pages().collect();
    let since = pager.snapshot_to(files.at("fork")).unwrap().generation;
    let fill = |pager: &mut Pager<4096>, at: usize, fill: u8| {
        let mut writer = pager.protected_mut(protected[at]).unwrap();
        writer.page_mut().fill(fill);
        writer.commit().unwrap();
    };
    fill(&mut pager, 1, 1);
    let next = pager.generation();
    pager.snapshot_to(files.at("next")).unwrap();
    fill(&mut pager, 2, 2);
    pager.incremental_to(files.at("more"), next, RegularPages::All).unwrap();

    let mut fork = Pager::<4096>::open(files.at("fork")).unwrap();
    assert_eq!(fork.generation(), since);
    fill(&mut fork, 5, 5);
    assert_eq!(fork.generation(), next);
    drop(fork);
    let refused = apply(&files, "fork", "more", "newer").unwrap_err();
    assert!(matches!(refused, Error::NotTheBase { block: Block::ProtectedPage { .. } }), "{refused}");
    assert!(!files.at("newer").exists());
    apply(&files, "next", "more", "newer").unwrap();
}

#[test]
fn there_is_nothing_between_a_generation_and_itself_or_an_older_one() {
    let files = Files::new();
    let pager = case(&files);
    let live = pager.generation();
    for since in [live, Pager::<4096>::open(files.at("older")).unwrap().generation()] {
        let made = pager.incremental_to(files.at("more"), since, RegularPages::All);
        match made {
            Ok(_) => assert!(since < live),
            Err(Error::NotOlder { since: refused, generation }) => {
                assert_eq!((refused, generation, since), (live.to_u64(), live.to_u64(), live));
            }
            Err(error) => panic!("{error}"),
        }
    }
    let older = Pager::<4096>::open(files.at("older")).unwrap();
    let newer = older.incremental_to(files.at("back"), live, RegularPages::All).unwrap_err();
    assert!(matches!(newer, Error::NotOlder { .. }) && !files.at("back").exists(), "{newer}");
    assert_eq!((older.changed_since(live).count(), pager.changed_since(live).count()), (0, 0));
    assert_eq!(Generation::from_u64(live.to_u64()), Some(live));
    assert_eq!([0, 1 << 63].map(Generation::from_u64), [None; 2]);
}

#[test]
fn of_named_pages_the_newer_copy_has_the_new_content_and_of_others_the_older_one_or_zeros() {
    let files = Files::new();
    let mut pager = Pager::<4096>::create(files.at("file")).unwrap();
    let ids = pager.alloc_bulk(100).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(1));
    let since = pager.snapshot_to(files.at("older")).unwrap().generation;
    let fresh = pager.alloc_bulk(100).unwrap();
    ids.iter().chain(&fresh).for_each(|id| pager.page_mut(*id).unwrap().fill(2));
    let named = [fresh[50], ids[3], ids[4], ids[3]];
    let made = pager.incremental_to(files.at("changes"), since, RegularPages::Named(&named)).unwrap();
    assert!(made.written < 20 * 4096, "{made:?}");
    for share in [false, true] {
        let newer = files.at(format!("newer {share}"));
        let options = SnapshotOptions::new().share_space(share);
        let go_on = |_| ControlFlow::Continue(());
        Pager::<4096>::apply_incremental_with(files.at("older"), files.at("changes"), &newer, &options, go_on).unwrap();
        let copy = Pager::<4096>::open(newer).unwrap();
        let fill = |id: &PageId<4096>| {
            let page = id.get(&copy).unwrap();
            (page[0], page[4095])
        };
        for id in &ids {
            assert_eq!(fill(id), if named.contains(id) { (2, 2) } else { (1, 1) });
        }
        for id in &fresh {
            assert_eq!(fill(id), if named.contains(id) { (2, 2) } else { (0, 0) });
        }
        assert_eq!(copy.check(), []);
    }
    // What is no regular page cannot be named.
    let [engine, beyond] = [1, 1 << 30].map(|raw| [PageId::from_u64(raw).unwrap()]);
    let refused = pager.incremental_to(files.at("more"), since, RegularPages::Named(&engine)).unwrap_err();
    assert!(matches!(refused, Error::WrongKind { page: 1, .. }), "{refused}");
    let refused = pager.incremental_to(files.at("more"), since, RegularPages::Named(&beyond)).unwrap_err();
    assert!(matches!(refused, Error::OutOfRange { .. }) && !files.at("more").exists(), "{refused}");
}

/// Pages of the older copy that were the engine's, or nobody's, show no bytes of it.
#[test]
fn a_page_that_was_not_allocated_in_the_older_copy_reads_as_zeros() {
    let files = Files::new();
    let mut pager = Pager::<4096>::create(files.at("file")).unwrap();
    let protected = pager.alloc_protected_bulk(40).unwrap();
    for id in &protected {
        let mut writer = pager.protected_mut(*id).unwrap();
        writer.page_mut().fill(9);
        writer.commit().unwrap();
    }
    let since = pager.snapshot_to(files.at("older")).unwrap().generation;
    pager.free_protected_bulk(&protected[..30]).unwrap();
    let ids = pager.alloc_bulk(50).unwrap();
    pager.incremental_to(files.at("changes"), since, RegularPages::Named(&[])).unwrap();
    apply(&files, "older", "changes", "newer").unwrap();
    let copy = Pager::<4096>::open(files.at("newer")).unwrap();
    assert!(ids.iter().all(|id| id.get(&copy).unwrap().iter().all(|byte| *byte == 0)));
    assert!(protected[30..].iter().all(|id| id.get(&copy).unwrap()[4095] == 9));
}

#[test]
fn an_incremental_is_as_large_as_what_changed() {
    let files = Files::new();
    let mut pager = Pager::<4096>::create(files.at("file")).unwrap();
    let protected = pager.alloc_protected_bulk(3000).unwrap();
    pager.alloc_bulk(40_000).unwrap();
    let since = pager.snapshot_to(files.at("older")).unwrap().generation;
    let mut written = Vec::new();
    for count in [1, 10, 100] {
        let mut tx = pager.transaction().unwrap();
        protected.iter().take(count).for_each(|id| tx.protected_mut(*id).unwrap().fill(5));
        tx.commit().unwrap();
        let changed = pager.changed_since(since).filter(|change| matches!(change, Change::Protected(_))).count();
        assert_eq!(changed, count);
        let name = files.at(format!("changes {count}"));
        written.push(pager.incremental_to(name, since, RegularPages::Named(&[])).unwrap().written);
    }
    // The reserved region, a leaf, and a node or two.
    assert!(written[0] < 12 * 4096, "{written:?}");
    assert!(written[1] - written[0] < 12 * 4096 && written[2] - written[1] < 96 * 4096, "{written:?}");
}

#[test]
fn progress_runs_from_nothing_to_all_and_may_stop_anywhere() {
    let files = Files::new();
    let mut pager = case(&files);
    let since = Pager::<4096>::open(files.at("older")).unwrap().generation();
    pager.alloc_bulk(500).unwrap();
    let names = files.names();
    let mut seen = Vec::new();
    let made = pager.incremental_with(files.at("more"), since, RegularPages::All, |progress| {
        seen.push((progress.written, progress.total));
        ControlFlow::Continue(())
    });
    let written = made.unwrap().written;
    assert!(seen.windows(2).all(|pair| pair[0].0 < pair[1].0), "{seen:?}");
    assert_eq!((seen[0].0, seen.last().copied()), (0, Some((written, written))));
    let stop_after = |calls: usize| {
        let mut left = calls;
        move |_| {
            left -= 1;
            if left == 0 { ControlFlow::Break(()) } else { ControlFlow::Continue(()) }
        }
    };
    for calls in 1..=seen.len() {
        let stopped = pager.incremental_with(files.at("stopped"), since, RegularPages::All, stop_after(calls));
        assert!(matches!(stopped, Err(Error::SnapshotStopped)), "{stopped:?}");
    }
    for calls in 1..3 {
        let stopped = Pager::<4096>::apply_incremental_with(
            files.at("older"),
            files.at("more"),
            files.at("stopped"),
            &SnapshotOptions::new().share_space(false),
            stop_after(calls),
        );
        assert!(matches!(stopped, Err(Error::SnapshotStopped)), "{stopped:?}");
    }
    assert_eq!(files.names().len(), names.len() + 1);
}

#[test]
fn commits_that_wait_are_carried_and_a_copy_of_some_of_them_is_no_base_of_the_rest() {
    let files = Files::new();
    let mut pager = case(&files);
    let protected: Vec<_> = pager.iter_allocated_protected_pages().collect();
    let since = pager.snapshot_to(files.at("whole")).unwrap().generation;
    let wait = |pager: &mut Pager<4096>, at: usize| {
        let mut tx = pager.transaction().unwrap();
        tx.set_durability(Durability::None);
        tx.protected_mut(protected[at]).unwrap().fill(0x77);
        tx.commit().unwrap();
    };
    wait(&mut pager, 3);
    pager.incremental_to(files.at("first"), since, RegularPages::All).unwrap();
    apply(&files, "whole", "first", "some").unwrap();
    let copy = Pager::<4096>::open(files.at("some")).unwrap();
    assert_eq!((copy.check(), protected[3].get(&copy).unwrap()[0]), (vec![], 0x77));
    let shared = copy.generation();
    drop(copy);
    let pages = |pager: &Pager<4096>, since| {
        pager.changed_since(since).filter(|change| matches!(change, Change::Protected(_))).count()
    };
    assert_eq!((shared, pages(&pager, shared)), (pager.generation(), 1));
    wait(&mut pager, 4);
    assert_eq!(pages(&pager, shared), 2);
    pager.sync().unwrap();
    assert_eq!(pager.generation(), shared);
    pager.alloc().unwrap();
    pager.incremental_to(files.at("second"), shared, RegularPages::All).unwrap();
    let refused = apply(&files, "some", "second", "newer").unwrap_err();
    assert!(matches!(refused, Error::NotTheBase { .. }), "{refused}");
}

#[test]
fn a_poisoned_pager_has_no_state_to_compare() {
    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).unwrap();
    let since = pager.generation();
    let id = pager.alloc().unwrap();
    pager.page_mut(id).unwrap().fill(1);
    disk.fail(diptych::FaultPlan::nth(diptych::CallKind::Barrier, 1));
    pager.sync().unwrap_err();
    let copy = SimDisk::new();
    assert!(matches!(pager.incremental_on(&copy, since, RegularPages::All), Err(Error::Poisoned)));
    assert!(copy.cached_image().is_empty());
}

#[test]
fn a_full_disk_is_an_error_and_nothing_stands_under_the_name() {
    let [older, changes, newer] = [(); 3].map(|()| SimDisk::new());
    let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new()).unwrap();
    let since = pager.snapshot_on(&older).unwrap().generation;
    pager.alloc_bulk(300).unwrap();
    changes.set_space_limit(Some(200 * 4096));
    newer.set_space_limit(Some(200 * 4096));
    let full = |error: Error| matches!(&error, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull);
    assert!(full(pager.incremental_on(&changes, since, RegularPages::All).unwrap_err()));
    assert!(changes.cached_image().is_empty());
    changes.set_space_limit(None);
    pager.incremental_on(&changes, since, RegularPages::All).unwrap();
    assert!(full(Pager::<4096>::apply_incremental_on(&older, &changes, &newer).unwrap_err()));
    assert!(newer.cached_image().is_empty());
    newer.set_space_limit(None);
    Pager::<4096>::apply_incremental_on(&older, &changes, &newer).unwrap();
    assert_eq!(PagerOptions::new().open_on::<4096>(&newer).unwrap().allocated_page_count(), 300);
}

#[test]
fn a_killed_process_leaves_no_half_newer_copy() {
    if let Some(path) = file_of_second_process() {
        for number in 0u32.. {
            let newer = path.with_file_name(format!("newer-{number}"));
            let [older, changes] = ["older", "changes"].map(|name| path.with_file_name(name));
            let options = SnapshotOptions::new().share_space(false);
            let go_on = |_| ControlFlow::Continue(());
            Pager::<4096>::apply_incremental_with(older, changes, newer, &options, go_on).unwrap();
        }
    }
    let mut copies = 0;
    for round in 0..5 {
        let files = Files::new();
        let pager = case(&files);
        let before = ["older", "changes"].map(|name| fs::read(files.at(name)).unwrap());
        let mut child = start_again("a_killed_process_leaves_no_half_newer_copy", &files.at("file"), "");
        thread::sleep(Duration::from_millis(60 + 37 * round));
        child.kill().unwrap();
        child.wait().unwrap();
        for name in files.names().iter().filter(|name| name.starts_with("newer-")) {
            let copy = Pager::<4096>::open(files.at(name)).unwrap();
            assert_eq!((copy.check(), Twin::of(&copy)), (vec![], Twin::of(&pager)));
            copies += 1;
        }
        assert_eq!(["older", "changes"].map(|name| fs::read(files.at(name)).unwrap()), before);
    }
    assert!(copies > 0);
}

/// A disk with room for a file, its copy and what changed, and not for the newer copy.
#[test]
fn a_newer_copy_on_a_full_tmpfs_is_a_clean_error() {
    const TEST: &str = "a_newer_copy_on_a_full_tmpfs_is_a_clean_error";
    let Some(path) = file_of_second_process() else {
        return run_on_small_disk(
            TEST,
            "a newer copy on a full tmpfs",
            "mount -t tmpfs -o size=4096k tmpfs /mnt/small",
        );
    };
    let at = |name: &str| path.with_file_name(name);
    let mut pager = Pager::<4096>::create(&path).unwrap();
    let ids = pager.alloc_bulk(250).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(7));
    let options = SnapshotOptions::new().share_space(false);
    let since = pager.snapshot_with(at("older"), &options, |_| ControlFlow::Continue(())).unwrap().generation;
    pager.free(ids[3]).unwrap();
    pager.incremental_to(at("changes"), since, RegularPages::Named(&[])).unwrap();
    while let Ok(ids) = pager.alloc_bulk(10) {
        ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(7));
    }
    let full = Pager::<4096>::apply_incremental(at("older"), at("changes"), at("newer")).unwrap_err();
    assert!(
        matches!(&full, Error::Io { op: "snapshot to", source, .. } if source.kind() == io::ErrorKind::StorageFull),
        "{full}"
    );
    let full = pager.incremental_to(at("more"), since, RegularPages::All).unwrap_err();
    assert!(matches!(&full, Error::Io { source, .. } if source.kind() == io::ErrorKind::StorageFull), "{full}");
    let names = fs::read_dir(path.parent().unwrap()).unwrap().map(|entry| entry.unwrap().file_name());
    assert!(names.into_iter().all(|name| !["newer", "more"].iter().any(|new| name.to_string_lossy().contains(new))));
    assert_eq!(Pager::<4096>::open(at("older")).unwrap().check(), []);
}

#[test]
fn a_newer_copy_shares_the_space_of_the_older_one_where_the_filesystem_can() {
    let Some(path) = file_of_second_process() else {
        return run_on_small_disk(
            "a_newer_copy_shares_the_space_of_the_older_one_where_the_filesystem_can",
            "a newer copy that shares space",
            "truncate -s 320M /mnt/image && mkfs.xfs -q -m reflink=1 /mnt/image && mount -t xfs -o loop /mnt/image /mnt/small",
        );
    };
    let at = |name: &str| path.with_file_name(name);
    let mut pager = Pager::<4096>::create(&path).unwrap();
    let ids = pager.alloc_bulk(10_000).unwrap();
    ids.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(3));
    let since = pager.snapshot_to(at("older")).unwrap().generation;
    pager.free_bulk(&ids[9_000..]).unwrap();
    pager.shrink().unwrap();
    let fresh = pager.alloc_bulk(2_000).unwrap();
    fresh.iter().for_each(|id| pager.page_mut(*id).unwrap().fill(4));
    pager.page_mut(ids[7]).unwrap().fill(5);
    pager.incremental_to(at("changes"), since, RegularPages::Named(&[ids[7], fresh[1500]])).unwrap();
    let made = Pager::<4096>::apply_incremental(at("older"), at("changes"), at("newer")).unwrap();
    assert!(made.shared && made.written < 9 << 20, "{made:?}");
    let copy = Pager::<4096>::open(at("newer")).unwrap();
    assert_eq!(copy.check(), []);
    assert_eq!(fs::metadata(at("newer")).unwrap().len(), copy.page_count() * 4096);
    assert!(fs::metadata(at("newer")).unwrap().blocks() > 0);
    assert_eq!([ids[7], fresh[1500], ids[8]].map(|id| id.get(&copy).unwrap()[4095]), [5, 4, 3]);
    assert!(fresh[1100..1500].iter().all(|id| id.get(&copy).unwrap().iter().all(|byte| *byte == 0)));
}
