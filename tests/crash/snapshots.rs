//! Snapshots beside the naive twin: after every operation the copy shows what the source does.

use crashlab::lab::Lab;
use crashlab::operation::Operation;
use diptych::{CallKind, CrashOptions, Durability, Error, FaultPlan, PagerOptions, Recovery, SimDisk, SimImage};
use proptest::prelude::{ProptestConfig, prop, proptest};

use crate::strategy::operation;

fn is_as_it_was(recovery: &Recovery) -> bool {
    !recovery.adopted && !recovery.identity_rebuilt && recovery.voided.is_empty() && recovery.tail_bytes == 0
}

/// Opens a copy and compares it with the model of its source.
pub(crate) fn compare<const P: usize>(lab: &Lab<P>, copy: SimDisk) {
    let pager = PagerOptions::new().open_on::<P>(&copy).expect("a copy opens");
    assert!(is_as_it_was(pager.recovery()), "{:?}", pager.recovery());
    assert_eq!(pager.check(), []);
    Lab::around(copy, pager, lab.model.clone()).compare();
}

fn run_all<const P: usize>(options: PagerOptions, operations: &[Operation]) {
    let mut lab = Lab::<P>::with_options(options);
    lab.disk.record(false);
    for operation in operations {
        lab.run(operation).expect("nothing fails");
        let (copy, pager) = (SimDisk::new(), lab.pager.as_ref().expect("it is open"));
        let snapshot = pager.snapshot_on(&copy).expect("nothing fails");
        assert_eq!(snapshot.generation, pager.generation());
        compare(&lab, copy);
    }
    lab.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 40, ..ProptestConfig::default() })]

    #[test]
    fn a_snapshot_of_small_pages_shows_what_its_source_does(operations in prop::collection::vec(operation(), 1..40)) {
        run_all::<1024>(PagerOptions::new(), &operations);
    }

    #[test]
    fn a_snapshot_of_4_kib_pages_shows_what_its_source_does(operations in prop::collection::vec(operation(), 1..40)) {
        run_all::<4096>(PagerOptions::new().sparse(true), &operations);
    }

    #[test]
    fn a_snapshot_of_large_pages_shows_what_its_source_does(operations in prop::collection::vec(operation(), 1..20)) {
        run_all::<65536>(PagerOptions::new().durability(Durability::TwoBarriers), &operations);
    }
}

/// A source with commits on top of its metadata, and stores that no call has seen.
fn source() -> Lab<1024> {
    let mut lab = Lab::new();
    let operations = [
        Operation::AllocProtectedBulk(9),
        Operation::AllocBulk(200),
        Operation::WriteProtected(3, 0x41),
        Operation::FreeBulk(20, 90),
        Operation::Store(2, 0x55),
    ];
    operations.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
    lab
}

#[test]
fn a_power_cut_while_a_snapshot_is_written_leaves_none_or_all_of_it() {
    let lab = source();
    let copy = SimDisk::new();
    lab.pager.as_ref().expect("it is open").snapshot_on(&copy).expect("nothing fails");
    let mut whole = 0;
    for epoch in 0..copy.epoch_count() {
        for state in copy.crash_states(epoch, &CrashOptions::new()) {
            let image = state.image();
            if image.is_empty() {
                let opened = PagerOptions::new().open_on::<1024>(&SimDisk::from_image(image));
                assert!(matches!(opened, Err(Error::Empty { .. })));
            } else {
                whole += 1;
                compare(&lab, SimDisk::from_image(image));
            }
        }
    }
    assert!(whole > 0);
    compare(&lab, copy);
}

#[test]
fn every_call_that_fails_leaves_the_target_empty_and_the_source_as_it_was() {
    let kinds = [
        CallKind::Lock,
        CallKind::Grow,
        CallKind::Write,
        CallKind::Allocate,
        CallKind::Barrier,
        CallKind::SyncDirectory,
    ];
    let lab = source();
    let pager = lab.pager.as_ref().expect("it is open");
    let mut failures = 0;
    for kind in kinds {
        for nth in 1.. {
            let copy = SimDisk::new();
            copy.fail(FaultPlan::nth(kind, nth));
            let made = pager.snapshot_on(&copy);
            copy.clear_faults();
            if copy.faults_fired() == 0 {
                made.expect("nothing fails");
                compare(&lab, copy);
                break;
            }
            assert!(made.as_ref().is_err_and(|error| error.is_io() && !error.needs_reopen()), "{made:?}");
            assert!(copy.cached_image().is_empty() && copy.durable_image().is_empty() && !copy.is_attached());
            pager.snapshot_on(&copy).expect("only one fails");
            compare(&lab, copy);
            failures += 1;
        }
    }
    assert!(failures > 6, "{failures}");
    lab.compare();
}

#[test]
fn a_source_that_cannot_be_read_is_an_error_and_no_copy() {
    let lab = source();
    let pager = lab.pager.as_ref().expect("it is open");
    for nth in 1.. {
        let copy = SimDisk::new();
        let before = lab.disk.faults_fired();
        lab.disk.fail(FaultPlan::nth(CallKind::Read, nth));
        let made = pager.snapshot_on(&copy);
        if lab.disk.faults_fired() == before {
            assert!(nth > 1, "nothing was read");
            break;
        }
        match made {
            // A piece that cannot be read at once is read again without what the copy does not need.
            Ok(_) => compare(&lab, copy),
            Err(error) => {
                assert!(matches!(error, Error::Io { op: "read", .. }), "{error}");
                assert!(copy.cached_image().is_empty());
            }
        }
    }
    lab.disk.clear_faults();
    lab.compare();
}

/// Every sector of the source unreadable in turn: a copy is as good as a whole one, or there is none.
#[test]
fn only_what_the_live_state_names_has_to_be_readable() {
    let mut lab = source();
    lab.run(&Operation::Reopen).expect("nothing fails");
    let (model, mut made) = (lab.model.clone(), [0, 0]);
    lab.pager = None;
    let image = lab.disk.durable_image();
    for sector in 0..image.len() / 512 {
        let mut damaged = image.clone();
        damaged.set_unreadable(sector, 1);
        let disk = SimDisk::from_image(damaged);
        let Ok(pager) = PagerOptions::new().open_on::<1024>(&disk) else { continue };
        let copy = SimDisk::new();
        let snapshot = pager.snapshot_on(&copy);
        made[usize::from(snapshot.is_ok())] += 1;
        if snapshot.is_err() {
            assert!(copy.cached_image().is_empty());
            continue;
        }
        let generation = pager.generation().to_u64();
        let lab = Lab::around(disk, pager, crashlab::model::Model { generation, ..model.clone() });
        compare(&lab, copy);
    }
    assert!(made[0] > 100 && made[1] > 100, "{made:?}");
}

/// A copy is sealed: it survives what a file survives that was closed.
#[test]
fn a_copy_that_loses_its_slot_opens_at_the_same_generation() {
    let lab = source();
    let copy = SimDisk::new();
    let snapshot = lab.pager.as_ref().expect("it is open").snapshot_on(&copy).expect("nothing fails");
    let mut image: SimImage = copy.durable_image();
    for offset in [0, 4096] {
        image.write(offset, &[0x5a; 4096]);
    }
    let pager =
        PagerOptions::new().open_on::<1024>(&SimDisk::from_image(image.clone())).expect("its metadata is whole");
    assert_eq!(pager.generation(), snapshot.generation);
    assert!(pager.recovery().adopted && pager.recovery().identity_rebuilt);
    Lab::around(SimDisk::from_image(image), pager, lab.model.clone()).compare();
}
