//! Long random runs against the naive twin, with reopening in between.

use crashlab::lab::Lab;
use crashlab::operation::Operation;
use diptych::{Durability, Error, PagerOptions};
use proptest::prelude::{ProptestConfig, prop, proptest};

use crate::strategy::operation;

/// Whether an error is one that the options ask for.
fn is_a_limit(error: &Error) -> bool {
    matches!(error, Error::Full { .. } | Error::StageFull { .. })
}

fn run_all<const P: usize>(options: PagerOptions, operations: &[Operation]) {
    let mut lab = Lab::<P>::with_options(options);
    lab.disk.record(false);
    for operation in operations {
        if let Err(error) = lab.run(operation) {
            assert!(is_a_limit(&error), "{operation:?}: {error}");
        }
        // After an error as well: then the pager is what it was.
        lab.compare();
    }
    assert_eq!(lab.pager.as_ref().expect("it is open").check(), []);
    lab.run(&Operation::Reopen).expect("nothing fails");
    lab.compare();
}

/// Pages that were never written hold sectors of what was there before, some of which the power cut kept.
#[test]
fn pages_that_a_power_cut_left_mixed_hold_after_a_kill_what_was_stored_again() {
    let operations = [
        Operation::AllocProtected,
        Operation::WriteProtected(0, 1),
        Operation::FreeProtected(0),
        Operation::AllocBulk(5),
        Operation::PowerCut(68),
        Operation::Drop,
    ];
    run_all::<1024>(PagerOptions::new(), &operations);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_pager_of_small_pages_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..60)) {
        run_all::<1024>(PagerOptions::new(), &operations);
    }

    #[test]
    fn a_pager_of_4_kib_pages_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..60)) {
        run_all::<4096>(PagerOptions::new().sparse(true), &operations);
    }

    #[test]
    fn a_pager_of_large_pages_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..25)) {
        run_all::<65536>(PagerOptions::new(), &operations);
    }

    #[test]
    fn a_pager_whose_commits_wait_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..60)) {
        run_all::<1024>(PagerOptions::new().durability(Durability::None), &operations);
    }

    #[test]
    fn a_pager_that_meets_its_limits_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..60)) {
        run_all::<1024>(PagerOptions::new().max_file_bytes(150 * 1024).max_staged_bytes(4 * 1024), &operations);
    }
}
