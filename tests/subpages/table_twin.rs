//! A table against a naive twin, over random operations in transactions, savepoints, compactions and openings.

use diptych::{Durability, Error, PagerOptions, SimDisk, SubPageTable};
use proptest::prelude::*;

use crate::table::{Twin, assert_holds, with_table};

const P: usize = 1024;
const S: usize = 256;

#[derive(Clone, Debug)]
enum Step {
    Alloc,
    AllocBulk(usize),
    Free(usize),
    FreeBulk { step: usize, from: usize },
    Write(usize, u8),
    Savepoint,
    Rollback,
}

#[derive(Clone, Debug)]
enum Operation {
    Transaction { steps: Vec<Step>, is_committed: bool, waits: bool },
    AllocPages(usize),
    Compact,
    Reopen,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        4 => Just(Step::Alloc),
        2 => (0usize..14).prop_map(Step::AllocBulk),
        4 => any::<usize>().prop_map(Step::Free),
        2 => (1usize..4, 0usize..8).prop_map(|(step, from)| Step::FreeBulk { step, from }),
        3 => (any::<usize>(), 1u8..).prop_map(|(which, fill)| Step::Write(which, fill)),
        1 => Just(Step::Savepoint),
        1 => Just(Step::Rollback),
    ]
}

fn operation() -> impl Strategy<Value = Operation> {
    let steps = prop::collection::vec(step(), 0..12);
    prop_oneof![
        8 => (steps, prop::bool::weighted(0.8), prop::bool::weighted(0.2))
            .prop_map(|(steps, is_committed, waits)| Operation::Transaction { steps, is_committed, waits }),
        1 => (1usize..40).prop_map(Operation::AllocPages),
        1 => Just(Operation::Compact),
        1 => Just(Operation::Reopen),
    ]
}

fn apply(table: &mut SubPageTable<'_, '_, P, S>, twin: &mut Twin<P, S>, step: &Step) -> diptych::Result<()> {
    let pick = |twin: &Twin<P, S>, which: usize| twin.keys().nth(which % twin.len().max(1)).copied();
    match step {
        Step::Alloc => assert_eq!(twin.insert(table.alloc()?, 0), None),
        Step::AllocBulk(count) => {
            let ids = table.alloc_bulk(*count)?;
            assert_eq!(ids.len(), *count);
            ids.into_iter().for_each(|id| assert_eq!(twin.insert(id, 0), None));
        }
        Step::Free(which) => {
            let Some(id) = pick(twin, *which) else { return Ok(()) };
            table.free(id)?;
            assert!(table.free(id).is_err());
            twin.remove(&id);
        }
        Step::FreeBulk { step, from } => {
            let ids: Vec<_> = twin.keys().copied().skip(*from).step_by(*step).collect();
            table.free_bulk(&ids)?;
            twin.retain(|id, _| !ids.contains(id));
        }
        Step::Write(which, fill) => {
            let Some(id) = pick(twin, *which) else { return Ok(()) };
            table.page_mut(id)?.fill(*fill);
            twin.insert(id, *fill);
        }
        Step::Savepoint | Step::Rollback => unreachable!("those of the transaction"),
    }
    for (id, fill) in &*twin {
        assert_eq!(table.page(*id)?.as_bytes(), [*fill; S]);
    }
    table.view()?.check()
}

proptest! {
    #[test]
    fn a_table_agrees_with_a_map_of_bytes(operations in prop::collection::vec(operation(), 1..25)) {
        let disk = SimDisk::new();
        let (mut pager, table) = with_table::<P, S>(&disk).expect("the disk is empty");
        let (mut twin, mut pages) = (Twin::<P, S>::new(), Vec::new());
        for operation in &operations {
            match operation {
                Operation::Transaction { steps, is_committed, waits } => {
                    let mut transaction = pager.transaction().expect("the pager is not poisoned");
                    if *waits {
                        transaction.set_durability(Durability::None);
                    }
                    let (mut changed, mut savepoints) = (twin.clone(), Vec::new());
                    for step in steps {
                        match step {
                            Step::Savepoint => savepoints.push((transaction.savepoint(), changed.clone())),
                            Step::Rollback => {
                                let Some((savepoint, was)) = savepoints.pop() else { continue };
                                transaction.rollback_to(&savepoint).expect("it is of this transaction");
                                changed = was;
                            }
                            _ => {
                                let mut parts = transaction.sub_pages(table).expect("it is there");
                                apply(&mut parts, &mut changed, step).expect("there is room");
                            }
                        }
                    }
                    if *is_committed {
                        transaction.commit().expect("the disk works");
                        twin = changed;
                    }
                }
                // Holes for a compaction.
                Operation::AllocPages(count) => {
                    let old = std::mem::replace(&mut pages, pager.alloc_bulk(*count).expect("there is room"));
                    pager.free_bulk(old).expect("they are allocated");
                }
                Operation::Compact => {
                    let moved = pager.compact(u64::MAX, |_, from, to| {
                        pages.iter_mut().filter(|page| **page == from).for_each(|page| *page = to);
                        Ok::<(), Error>(())
                    });
                    moved.expect("the disk works");
                    pager.shrink().expect("the disk works");
                }
                Operation::Reopen => {
                    pager.close().expect("the disk works");
                    pager = PagerOptions::new().open_on(&disk).expect("it was closed");
                }
            }
            assert_holds(&pager, table, &twin);
        }
    }
}
