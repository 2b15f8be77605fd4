//! Long random runs against the naive twin, with reopening in between.

use proptest::prelude::{ProptestConfig, prop, proptest};

use crate::lab::Lab;
use crate::operation::Operation;
use crate::operation::operation;

fn run_all<const P: usize>(operations: &[Operation]) {
    let mut lab = Lab::<P>::new();
    lab.disk.record(false);
    for operation in operations {
        lab.run(operation).expect("nothing fails");
        lab.compare();
    }
    assert_eq!(lab.pager.as_ref().expect("it is open").check(), []);
    lab.run(&Operation::Reopen).expect("nothing fails");
    lab.compare();
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 60, ..ProptestConfig::default() })]

    #[test]
    fn a_pager_of_small_pages_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..60)) {
        run_all::<1024>(&operations);
    }

    #[test]
    fn a_pager_of_4_kib_pages_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..60)) {
        run_all::<4096>(&operations);
    }

    #[test]
    fn a_pager_of_large_pages_behaves_like_its_twin(operations in prop::collection::vec(operation(), 1..25)) {
        run_all::<65536>(&operations);
    }
}
