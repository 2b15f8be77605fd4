//! Maps against a naive twin, over random operations in and out of transactions.

use std::collections::{BTreeMap, BTreeSet};

use diptych::{PageHandle, PageId, Pager, SubPageId, SubPageMap};
use proptest::prelude::*;

use crate::{assert_whole, pager};

const P: usize = 1024;
const S: usize = 256;

type Id = SubPageId<P, S>;

#[derive(Clone, Debug)]
enum Operation {
    Alloc,
    AllocBulk(usize),
    Free(usize),
    FreeBulk { step: usize, from: usize },
    Write(usize, u8),
    Tried(Vec<Operation>),
    Committed(Vec<Operation>),
}

fn operation() -> impl Strategy<Value = Operation> {
    let leaf = prop_oneof![
        3 => Just(Operation::Alloc),
        1 => (0usize..14).prop_map(Operation::AllocBulk),
        3 => any::<usize>().prop_map(Operation::Free),
        1 => (1usize..4, 0usize..8).prop_map(|(step, from)| Operation::FreeBulk { step, from }),
        2 => (any::<usize>(), 1u8..).prop_map(|(which, fill)| Operation::Write(which, fill)),
    ];
    leaf.prop_recursive(1, 32, 8, |inner| {
        let list = prop::collection::vec(inner, 1..8);
        prop_oneof![list.clone().prop_map(Operation::Tried), list.prop_map(Operation::Committed)]
    })
}

/// What is live, and what each reads as.
type Twin = BTreeMap<Id, u8>;

fn pick(twin: &Twin, which: usize) -> Option<Id> {
    twin.keys().nth(which % twin.len().max(1)).copied()
}

/// One operation in a place, with a way to write there.
fn apply<A>(
    place: &mut A,
    map: &mut SubPageMap<P, S>,
    twin: &mut Twin,
    operation: &Operation,
    write: impl Fn(&mut A, &mut SubPageMap<P, S>, Id, u8),
) where
    A: diptych::BulkPageAllocator<PageId<P>, Error = diptych::Error>,
    PageId<P>: PageHandle<A>,
{
    match operation {
        Operation::Alloc => assert_eq!(twin.insert(map.alloc(place).expect("there is room"), 0), None),
        Operation::AllocBulk(count) => {
            let ids = map.alloc_bulk(place, *count).expect("there is room");
            assert_eq!(ids.len(), *count);
            ids.into_iter().for_each(|id| assert_eq!(twin.insert(id, 0), None));
        }
        Operation::Free(which) => {
            let Some(id) = pick(twin, *which) else { return };
            map.free(place, id).expect("it is live");
            assert!(map.free(place, id).is_err());
            twin.remove(&id);
        }
        Operation::FreeBulk { step, from } => {
            let ids: Vec<Id> = twin.keys().copied().skip(*from).step_by(*step).collect();
            map.free_bulk(place, &ids).expect("they are live");
            twin.retain(|id, _| !ids.contains(id));
        }
        Operation::Write(which, fill) => {
            let Some(id) = pick(twin, *which) else { return };
            write(place, map, id, *fill);
            twin.insert(id, *fill);
        }
        Operation::Tried(_) | Operation::Committed(_) => unreachable!("transactions do not nest"),
    }
}

fn run(pager: &mut Pager<P>, map: &mut SubPageMap<P, S>, twin: &mut Twin, operation: &Operation) {
    let (Operation::Tried(inner) | Operation::Committed(inner)) = operation else {
        apply(pager, map, twin, operation, |pager, map, id, fill| map.page_mut(pager, id).expect("live").fill(fill));
        return;
    };
    let mut transaction = pager.transaction().expect("the pager is not poisoned");
    let mut change = map.change();
    let mut changed = twin.clone();
    for operation in inner {
        apply(&mut transaction, &mut change, &mut changed, operation, |transaction, map, id, fill| {
            map.overwrite(transaction, id).expect("live").fill(fill);
        });
        for (id, fill) in &changed {
            assert_eq!(change.page(&transaction, *id).expect("it is live").as_bytes(), [*fill; S]);
        }
    }
    if matches!(operation, Operation::Committed(_)) {
        transaction.commit().expect("the disk works");
        change.keep();
        *twin = changed;
    }
}

proptest! {
    #[test]
    fn a_map_agrees_with_a_map_of_bytes(operations in prop::collection::vec(operation(), 1..60)) {
        let mut pager = pager::<P>();
        let (mut map, mut twin) = (SubPageMap::<P, S>::new(), Twin::new());
        for operation in &operations {
            run(&mut pager, &mut map, &mut twin, operation);
            let ids: BTreeSet<Id> = map.iter_allocated().collect();
            prop_assert!(ids.iter().eq(twin.keys()), "{:?}", operation);
            for (id, fill) in &twin {
                prop_assert_eq!(map.page(&pager, *id).expect("it is live").as_bytes(), [*fill; S]);
            }
            let parents: BTreeSet<PageId<P>> = twin.keys().filter_map(|id| id.parent()).collect();
            prop_assert!(map.iter_parents().collect::<BTreeSet<_>>() == parents);
            prop_assert!(pager.iter_allocated_pages().eq(parents.iter().copied()));
            prop_assert_eq!(map.free_count(), (parents.len() * (P / S) - twin.len()) as u64);
            // What a user would have written down makes the same map.
            let (recovered, found) = SubPageMap::<P, S>::recover(&pager, twin.keys().copied());
            prop_assert!(found.is_clean() && recovered.iter_allocated().collect::<BTreeSet<_>>() == ids);
        }
        assert_whole(&pager, map.parent_count() as u64);
    }
}
