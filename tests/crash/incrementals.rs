//! Incremental snapshots beside the naive twin: an older copy of any age and what changed since make a copy that shows what
//! the source does, and nothing else makes one.

use crashlab::lab::Lab;
use crashlab::model::Model;
use crashlab::operation::Operation;
use diptych::{
    CallKind, Change, CrashOptions, Durability, Error, FaultPlan, Generation, Pager, PagerOptions, RegularPages,
    SimDisk, SimImage,
};
use proptest::prelude::{ProptestConfig, prop, proptest};

use crate::snapshots::compare;
use crate::strategy::operation;

/// A copy, and what its source was then.
struct Copy {
    image: SimImage,
    generation: Generation,
    /// It holds commits that waited: its generation was not over.
    waits: bool,
    model: Model,
}

impl Copy {
    fn of<const P: usize>(lab: &Lab<P>, disk: &SimDisk) -> Self {
        let pager = lab.pager.as_ref().expect("it is open");
        Copy {
            image: disk.durable_image(),
            generation: pager.generation(),
            waits: pager.durable_generation() < pager.generation(),
            model: lab.model.clone(),
        }
    }
}

/// What is in one model and not, or otherwise, in the other one has to be reported.
fn assert_nothing_is_missing<const P: usize>(lab: &Lab<P>, since: &Copy) {
    let pager = lab.pager.as_ref().expect("it is open");
    let changes: Vec<Change<P>> = pager.changed_since(since.generation).collect();
    let model = &lab.model;
    for (id, fill) in &model.protected {
        let is_there = changes.iter().any(|change| matches!(change, Change::Protected(other) if other.to_u64() == *id));
        assert!(is_there || since.model.protected.get(id) == Some(fill), "protected page {id} is missing");
    }
    let numbers = |model: &Model| model.regular.keys().copied().collect::<std::collections::BTreeSet<u64>>();
    for page in numbers(model).symmetric_difference(&numbers(&since.model)) {
        let is_there = |change: &Change<P>| matches!(change, Change::FreeMapLeaf { pages, .. } if pages.contains(page));
        assert!(changes.iter().any(is_there), "the leaf of page {page} is missing");
    }
}

fn run_all<const P: usize>(options: PagerOptions, operations: &[Operation]) {
    let mut lab = Lab::<P>::with_options(options);
    lab.disk.record(false);
    let mut copies: Vec<Copy> = Vec::new();
    for (at, operation) in operations.iter().enumerate() {
        lab.run(operation).expect("nothing fails");
        let pager = lab.pager.as_ref().expect("it is open");
        let newest = SimDisk::new();
        // Of the copies that there are one is taken, now an old one and now the last.
        let base = copies.len().checked_sub(1).map(|last| &copies[last - (at * 7) % (last + 1)]);
        match base {
            Some(base) if base.generation < pager.generation() => {
                let incremental = SimDisk::new();
                pager.incremental_on(&incremental, base.generation, RegularPages::All).expect("it is older");
                if !base.waits {
                    assert_nothing_is_missing(&lab, base);
                }
                let older = SimDisk::from_image(base.image.clone());
                match Pager::<P>::apply_incremental_on(&older, &incremental, &newest) {
                    Ok(made) => assert_eq!(made.generation, pager.generation()),
                    Err(Error::NotTheBase { .. }) if base.waits => continue,
                    Err(error) => panic!("{error}"),
                }
            }
            _ => drop(pager.snapshot_on(&newest).expect("nothing fails")),
        }
        copies.push(Copy::of(&lab, &newest));
        compare(&lab, newest);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn an_older_copy_of_small_pages_and_what_changed_since_are_the_newer_one(
        operations in prop::collection::vec(operation(), 1..50)
    ) {
        run_all::<1024>(PagerOptions::new(), &operations);
    }

    #[test]
    fn an_older_copy_of_4_kib_pages_and_what_changed_since_are_the_newer_one(
        operations in prop::collection::vec(operation(), 1..50)
    ) {
        run_all::<4096>(PagerOptions::new().sparse(true), &operations);
    }

    #[test]
    fn an_older_copy_of_large_pages_and_what_changed_since_are_the_newer_one(
        operations in prop::collection::vec(operation(), 1..25)
    ) {
        run_all::<65536>(PagerOptions::new().durability(Durability::TwoBarriers), &operations);
    }
}

/// A leaf, and a node of the directory, that changed and changed back while nobody wrote them: a copy from the time between
/// has another one, and only the slot can tell after the pager was dropped.
#[test]
fn what_was_another_one_in_between_is_reported_though_it_is_as_it_was() {
    for (change, back) in [
        (Operation::AllocBulk(70), Operation::FreeBulk(0, 70)),
        (Operation::AllocProtectedBulk(3), Operation::FreeProtectedBulk(20, 3)),
    ] {
        let mut lab = Lab::<4096>::new();
        let run = |lab: &mut Lab<4096>, operation: &Operation| lab.run(operation).expect("nothing fails");
        let begin = [Operation::AllocProtectedBulk(20), Operation::Reopen, Operation::WriteProtected(0, 1)];
        begin.iter().for_each(|operation| run(&mut lab, operation));
        run(&mut lab, &change);
        let older = SimDisk::new();
        lab.pager.as_ref().expect("it is open").snapshot_on(&older).expect("nothing fails");
        let since = Copy::of(&lab, &older);
        for operation in
            [&back, &Operation::Drop, &Operation::WriteProtected(2, 2), &Operation::Drop, &Operation::Reopen]
        {
            run(&mut lab, operation);
            assert_nothing_is_missing(&lab, &since);
            let (incremental, newer) = (SimDisk::new(), SimDisk::new());
            let pager = lab.pager.as_ref().expect("it is open");
            pager.incremental_on(&incremental, since.generation, RegularPages::All).expect("it is older");
            Pager::<4096>::apply_incremental_on(&older, &incremental, &newer).expect("they belong together");
            compare(&lab, newer);
        }
    }
}

/// An older copy, a source that went on, and what changed in between: commits on top of the metadata and behind it, frees,
/// moves, growth, and stores that no call has seen.
struct Case {
    lab: Lab<1024>,
    older: SimImage,
    incremental: SimImage,
}

fn case() -> Case {
    let mut lab = Lab::new();
    let begin = [
        Operation::AllocProtectedBulk(30),
        Operation::AllocBulk(120),
        Operation::WriteProtected(3, 0x41),
        Operation::Store(2, 0x55),
    ];
    let go_on = [
        Operation::WriteProtected(4, 0x42),
        Operation::FreeBulk(20, 60),
        Operation::WriteProtected(4, 0x43),
        Operation::Reopen,
        Operation::FreeProtectedBulk(7, 5),
        Operation::AllocProtectedBulk(2),
        Operation::WriteProtected(5, 0x44),
        Operation::Compact(40),
        Operation::AllocBulk(90),
        Operation::Store(5, 0x56),
    ];
    begin.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
    let (older, incremental) = (SimDisk::new(), SimDisk::new());
    let snapshot = lab.pager.as_ref().expect("it is open").snapshot_on(&older).expect("nothing fails");
    go_on.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
    let pager = lab.pager.as_ref().expect("it is open");
    pager.incremental_on(&incremental, snapshot.generation, RegularPages::All).expect("it is older");
    Case { lab, older: older.durable_image(), incremental: incremental.durable_image() }
}

impl Case {
    fn disks(&self) -> [SimDisk; 3] {
        [SimDisk::from_image(self.older.clone()), SimDisk::from_image(self.incremental.clone()), SimDisk::new()]
    }
}

#[test]
fn a_power_cut_while_an_incremental_is_written_or_applied_leaves_none_or_all_of_it() {
    let case = case();
    let pager = case.lab.pager.as_ref().expect("it is open");
    let [older, incremental, newer] = case.disks();
    let since = PagerOptions::new().open_read_only_on::<1024>(&older).expect("a copy opens").generation();
    let written = SimDisk::new();
    pager.incremental_on(&written, since, RegularPages::All).expect("nothing fails");
    Pager::<1024>::apply_incremental_on(&older, &incremental, &newer).expect("they belong together");
    assert_eq!((older.durable_image(), incremental.durable_image()), (case.older.clone(), case.incremental.clone()));
    let (mut whole_files, mut whole_copies) = (0, 0);
    for epoch in 0..written.epoch_count() {
        for state in written.crash_states(epoch, &CrashOptions::new()) {
            let image = state.image();
            assert!(image.is_empty() || image == case.incremental);
            whole_files += usize::from(!image.is_empty());
        }
    }
    for epoch in 0..newer.epoch_count() {
        for state in newer.crash_states(epoch, &CrashOptions::new()) {
            let image = state.image();
            if image.is_empty() {
                let opened = PagerOptions::new().open_on::<1024>(&SimDisk::from_image(image));
                assert!(matches!(opened, Err(Error::Empty { .. })));
            } else {
                whole_copies += 1;
                compare(&case.lab, SimDisk::from_image(image));
            }
        }
    }
    assert!(whole_files > 0 && whole_copies > 0);
    compare(&case.lab, newer);
}

#[test]
fn every_call_that_fails_leaves_no_newer_copy_and_the_other_two_files_as_they_were() {
    let kinds = [
        CallKind::Lock,
        CallKind::Read,
        CallKind::Map,
        CallKind::Grow,
        CallKind::Write,
        CallKind::Allocate,
        CallKind::Barrier,
        CallKind::SyncDirectory,
    ];
    let case = case();
    let (mut failures, mut survived) = (0, 0);
    for which in 0..3 {
        for kind in kinds {
            for nth in 1.. {
                let disks = case.disks();
                disks[which].fail(FaultPlan::nth(kind, nth));
                let [older, incremental, newer] = &disks;
                let made = Pager::<1024>::apply_incremental_on(older, incremental, newer);
                disks[which].clear_faults();
                let fired = disks[which].faults_fired() > 0;
                assert!(disks.iter().all(|disk| !disk.is_attached()));
                assert_eq!(
                    (older.cached_image(), incremental.cached_image()),
                    (case.older.clone(), case.incremental.clone())
                );
                match made {
                    // A block that cannot be read is read again.
                    Ok(_) => {
                        survived += usize::from(fired);
                        compare(&case.lab, newer.clone());
                    }
                    Err(error) => {
                        failures += 1;
                        assert!(fired && error.is_io() && !error.needs_reopen(), "{error}");
                        assert!(newer.cached_image().is_empty() && newer.durable_image().is_empty());
                        Pager::<1024>::apply_incremental_on(older, incremental, newer).expect("only one fails");
                    }
                }
                if !fired {
                    break;
                }
            }
        }
    }
    assert!(failures > 30 && survived > 10, "{failures} {survived}");
}

#[test]
fn every_call_that_fails_while_an_incremental_is_written_leaves_none() {
    let case = case();
    let pager = case.lab.pager.as_ref().expect("it is open");
    let since = {
        let [older, ..] = case.disks();
        PagerOptions::new().open_read_only_on::<1024>(&older).expect("a copy opens").generation()
    };
    let mut failures = 0;
    let kinds = [CallKind::Lock, CallKind::Grow, CallKind::Write, CallKind::Barrier, CallKind::SyncDirectory];
    for kind in kinds {
        for nth in 1.. {
            let written = SimDisk::new();
            written.fail(FaultPlan::nth(kind, nth));
            let made = pager.incremental_on(&written, since, RegularPages::All);
            if written.faults_fired() == 0 {
                made.expect("nothing fails");
                assert_eq!(written.durable_image(), case.incremental);
                break;
            }
            assert!(made.as_ref().is_err_and(|error| error.is_io() && !error.needs_reopen()), "{made:?}");
            assert!(written.cached_image().is_empty() && written.durable_image().is_empty());
            failures += 1;
        }
    }
    assert!(failures > 10, "{failures}");
    case.lab.compare();
}

/// Whatever is cut off or changed is found before a byte of the newer copy is written.
#[test]
fn an_incremental_that_is_cut_short_or_scribbled_over_is_refused() {
    let case = case();
    let len = case.incremental.len();
    let refuse = |incremental: SimImage, what: &str| {
        let [older, _, newer] = case.disks();
        let refused = Pager::<1024>::apply_incremental_on(&older, &SimDisk::from_image(incremental), &newer);
        let error = refused.expect_err(what);
        let damage = matches!(error, Error::DamagedIncrement { .. } | Error::NotAnIncrement { .. });
        assert!(damage, "{what}: {error}");
        assert!(error.is_corruption() || matches!(error, Error::NotAnIncrement { .. }));
        assert!(newer.cached_image().is_empty() && newer.calls(CallKind::Write) == 0, "{what}");
        assert_eq!(older.cached_image(), case.older, "{what}");
    };
    for at in (0..len).step_by(512).chain(len - 40..len) {
        let mut cut = case.incremental.clone();
        cut.set_len(at);
        refuse(cut, &format!("cut at {at}"));
    }
    let mut longer = case.incremental.clone();
    longer.set_len(len + 1);
    refuse(longer, "a byte more");
    for at in (0..len).step_by(97).chain(0..400).chain(len - 64..len) {
        let mut flipped = case.incremental.clone();
        flipped.flip_bit(at, u32::try_from(at % 8).expect("it is small"));
        refuse(flipped, &format!("a bit of byte {at}"));
    }
    // One half of another one, which has the same length.
    let [older, incremental, newer] = case.disks();
    Pager::<1024>::apply_incremental_on(&older, &incremental, &newer).expect("it is whole");
    let mut pieces = case.incremental.to_vec();
    pieces[4096..8192].fill(0);
    refuse(SimImage::from(pieces), "a block of zeros");
}

#[test]
fn a_base_that_is_unreadable_or_damaged_makes_no_newer_copy_that_differs() {
    let case = case();
    let (mut made, mut refused) = (0, 0);
    for sector in 0..case.older.len() / 512 {
        let mut damaged = case.older.clone();
        damaged.set_unreadable(sector, 1);
        let [_, incremental, newer] = case.disks();
        match Pager::<1024>::apply_incremental_on(&SimDisk::from_image(damaged), &incremental, &newer) {
            Ok(_) => {
                made += 1;
                compare(&case.lab, newer);
            }
            Err(error) => {
                refused += 1;
                assert!(error.is_io() || error.is_corruption(), "{error}");
                assert!(newer.cached_image().is_empty());
            }
        }
    }
    assert!(made > 20 && refused > 20, "{made} {refused}");
}
