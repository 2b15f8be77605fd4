//! Random operations.

use crashlab::operation::{End, Operation, Step};
use proptest::prelude::{Just, Strategy, any, prop, prop_oneof};

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        3 => Just(Step::Alloc),
        1 => any::<u8>().prop_map(Step::AllocNear),
        1 => (0u8..40).prop_map(Step::AllocBulk),
        2 => any::<u8>().prop_map(Step::Free),
        2 => Just(Step::AllocProtected),
        1 => any::<u8>().prop_map(Step::FreeProtected),
        3 => (any::<u8>(), 1u8..).prop_map(|(pick, fill)| Step::WriteProtected(pick, fill)),
        1 => any::<u8>().prop_map(Step::ZeroProtected),
        3 => (any::<u8>(), 1u8..).prop_map(|(pick, fill)| Step::Write(pick, fill)),
        3 => (0u8..12).prop_map(Step::AllocSubPages),
        2 => (any::<u8>(), 0u8..20).prop_map(|(pick, count)| Step::FreeSubPages(pick, count)),
        3 => (any::<u8>(), 1u8..).prop_map(|(pick, fill)| Step::WriteSubPage(pick, fill)),
        1 => Just(Step::FreeTable),
        1 => any::<u8>().prop_map(Step::Header),
        1 => Just(Step::Wait),
        1 => Just(Step::Durable),
        1 => Just(Step::Savepoint),
        1 => any::<u8>().prop_map(Step::Rollback),
    ]
}

pub(crate) fn operation() -> impl Strategy<Value = Operation> {
    prop_oneof![
        2 => Just(Operation::Alloc),
        1 => (0u8..60).prop_map(Operation::AllocBulk),
        2 => any::<u8>().prop_map(Operation::Free),
        1 => (any::<u8>(), 0u8..30).prop_map(|(pick, count)| Operation::FreeBulk(pick, count)),
        1 => Just(Operation::AllocProtected),
        1 => (0u8..20).prop_map(Operation::AllocProtectedBulk),
        1 => any::<u8>().prop_map(Operation::FreeProtected),
        1 => (any::<u8>(), 0u8..10).prop_map(|(pick, count)| Operation::FreeProtectedBulk(pick, count)),
        2 => (any::<u8>(), 1u8..).prop_map(|(pick, fill)| Operation::WriteProtected(pick, fill)),
        1 => (any::<u8>(), 1u8..).prop_map(|(pick, fill)| Operation::DropProtected(pick, fill)),
        2 => (any::<u8>(), 1u8..).prop_map(|(pick, fill)| Operation::Store(pick, fill)),
        1 => Just(Operation::Sync),
        1 => any::<u8>().prop_map(Operation::Compact),
        1 => Just(Operation::Shrink),
        1 => Just(Operation::PunchHoles),
        1 => Just(Operation::Reopen),
        1 => Just(Operation::Drop),
        1 => any::<u8>().prop_map(Operation::PowerCut),
        4 => (prop::collection::vec(step(), 0..12), prop_oneof![8 => Just(End::Commit), 1 => Just(End::Drop), 1 => Just(End::Leak)])
            .prop_map(|(steps, end)| Operation::Transaction(steps, end)),
    ]
}
