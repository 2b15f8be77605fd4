//! A pager against a naive twin: maps of ids to bytes that are cloned and swapped.

use std::collections::BTreeMap;

use diptych::{
    CallKind, Error, FaultPlan, PageId, Pager, PagerOptions, ProtectedPageId, Savepoint, SimDisk, Transaction,
};
use proptest::prelude::{Just, ProptestConfig, Strategy, any, prop, prop_oneof, proptest};

use crate::places::assert_whole;

const P: usize = 1024;

/// One call. Numbers choose among what is there.
#[derive(Clone, Debug)]
enum Step {
    Alloc,
    AllocNear(u16),
    AllocBulk(u8),
    Free(u16),
    FreeBulk(u8),
    Write(u16, u8),
    AllocProtected(u8),
    FreeProtected(u16),
    WriteProtected(u16, u8),
    ZeroProtected(u16),
    SetHeader(u8),
    Savepoint,
    RollBack(u16),
}

#[derive(Clone, Debug)]
enum Run {
    Commit(Vec<Step>),
    Drop(Vec<Step>),
    Leak(Vec<Step>),
    Single(Step),
    Reopen,
    PowerCut,
}

fn step() -> impl Strategy<Value = Step> {
    prop_oneof![
        Just(Step::Alloc),
        any::<u16>().prop_map(Step::AllocNear),
        any::<u8>().prop_map(Step::AllocBulk),
        any::<u16>().prop_map(Step::Free),
        any::<u8>().prop_map(Step::FreeBulk),
        (any::<u16>(), any::<u8>()).prop_map(|(at, fill)| Step::Write(at, fill)),
        (0u8..20).prop_map(Step::AllocProtected),
        any::<u16>().prop_map(Step::FreeProtected),
        (any::<u16>(), any::<u8>()).prop_map(|(at, fill)| Step::WriteProtected(at, fill)),
        any::<u16>().prop_map(Step::ZeroProtected),
        any::<u8>().prop_map(Step::SetHeader),
        Just(Step::Savepoint),
        any::<u16>().prop_map(Step::RollBack),
    ]
}

fn run() -> impl Strategy<Value = Run> {
    let steps = || prop::collection::vec(step(), 0..12);
    prop_oneof![
        4 => steps().prop_map(Run::Commit),
        1 => steps().prop_map(Run::Drop),
        1 => steps().prop_map(Run::Leak),
        4 => step().prop_map(Run::Single),
        1 => Just(Run::Reopen),
        1 => Just(Run::PowerCut),
    ]
}

/// The naive twin. A page is as full of one byte as it can be.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
struct Naive {
    pages: BTreeMap<PageId<P>, u8>,
    protected: BTreeMap<ProtectedPageId<P>, u8>,
    header: u8,
}

impl Naive {
    fn page(&self, at: u16) -> Option<PageId<P>> {
        self.pages.keys().copied().nth(usize::from(at) % self.pages.len().max(1))
    }

    fn protected(&self, at: u16) -> Option<ProtectedPageId<P>> {
        self.protected.keys().copied().nth(usize::from(at) % self.protected.len().max(1))
    }
}

/// What the transaction has done so far, and what it was at its savepoints.
struct Twin {
    naive: Naive,
    savepoints: Vec<(Savepoint, Naive)>,
}

fn take_step(transaction: &mut Transaction<'_, P>, twin: &mut Twin, step: &Step) -> Result<(), Error> {
    let naive = &mut twin.naive;
    match *step {
        Step::Alloc => assert_eq!(naive.pages.insert(transaction.alloc()?, 0), None),
        Step::AllocNear(near) => assert_eq!(naive.pages.insert(transaction.alloc_near(u64::from(near))?, 0), None),
        Step::AllocBulk(count) => {
            for id in transaction.alloc_bulk(usize::from(count))? {
                assert_eq!(naive.pages.insert(id, 0), None);
            }
        }
        Step::Free(at) => {
            if let Some(id) = naive.page(at) {
                transaction.free(id)?;
                naive.pages.remove(&id);
            }
        }
        Step::FreeBulk(count) => {
            let ids: Vec<PageId<P>> = naive.pages.keys().copied().step_by(2).take(usize::from(count)).collect();
            transaction.free_bulk(&ids)?;
            ids.iter().for_each(|id| assert!(naive.pages.remove(id).is_some()));
        }
        Step::Write(at, fill) => {
            if let Some(id) = naive.page(at) {
                match transaction.page_mut(id) {
                    Ok(page) => page.fill(fill),
                    Err(Error::NotFresh { .. }) => transaction.overwrite(id)?.fill(fill),
                    Err(error) => return Err(error),
                }
                naive.pages.insert(id, fill);
            }
        }
        Step::AllocProtected(count) => {
            for id in transaction.alloc_protected_bulk(usize::from(count))? {
                assert_eq!(naive.protected.insert(id, 0), None);
            }
        }
        Step::FreeProtected(at) => {
            if let Some(id) = naive.protected(at) {
                transaction.free_protected(id)?;
                naive.protected.remove(&id);
            }
        }
        Step::WriteProtected(at, fill) => {
            if let Some(id) = naive.protected(at) {
                transaction.protected_mut(id)?.fill(fill);
                naive.protected.insert(id, fill);
            }
        }
        Step::ZeroProtected(at) => {
            if let Some(id) = naive.protected(at) {
                transaction.protected_zeroed(id)?;
                naive.protected.insert(id, 0);
            }
        }
        Step::SetHeader(fill) => {
            transaction.set_header(&[fill; 128])?;
            naive.header = fill;
        }
        Step::Savepoint => twin.savepoints.push((transaction.savepoint(), naive.clone())),
        Step::RollBack(at) => {
            if let Some(at) = usize::from(at).checked_rem(twin.savepoints.len()) {
                transaction.rollback_to(&twin.savepoints[at].0)?;
                twin.naive = twin.savepoints[at].1.clone();
                for (stale, _) in twin.savepoints.drain(at + 1..) {
                    assert!(matches!(transaction.rollback_to(&stale), Err(Error::StaleSavepoint)));
                }
            }
        }
    }
    Ok(())
}

fn assert_equal_within(transaction: &Transaction<'_, P>, naive: &Naive) {
    for (id, fill) in &naive.pages {
        assert!(id.get(transaction).expect("allocated").iter().all(|byte| byte == fill), "{id}");
    }
    for (id, fill) in &naive.protected {
        assert!(id.get(transaction).expect("allocated").iter().all(|byte| byte == fill), "{id}");
    }
    assert_eq!(transaction.header(), &[naive.header; 128]);
}

fn assert_equal(pager: &Pager<P>, naive: &Naive) {
    assert!(pager.iter_allocated_pages().eq(naive.pages.keys().copied()));
    assert!(pager.iter_allocated_protected_pages().eq(naive.protected.keys().copied()));
    for (id, fill) in &naive.pages {
        assert!(id.get(pager).expect("allocated").iter().all(|byte| byte == fill), "{id}");
    }
    for (id, fill) in &naive.protected {
        assert!(id.get(pager).expect("allocated").iter().all(|byte| byte == fill), "{id}");
    }
    assert_eq!(pager.header(), &[naive.header; 128]);
    assert_whole(pager);
}

fn in_transaction(pager: &mut Pager<P>, naive: &Naive, steps: &[Step], end: impl FnOnce(Transaction<'_, P>)) -> Naive {
    let mut transaction = pager.transaction().expect("nothing is wrong");
    let mut twin = Twin { naive: naive.clone(), savepoints: Vec::new() };
    for step in steps {
        match take_step(&mut transaction, &mut twin, step) {
            Ok(()) | Err(Error::Full { .. } | Error::StageFull { .. }) => {}
            Err(error) => panic!("{step:?}: {error}"),
        }
    }
    assert_equal_within(&transaction, &twin.naive);
    end(transaction);
    twin.naive
}

fn replay(options: &PagerOptions, runs: &[Run], write_back: u64) {
    let mut disk = SimDisk::new();
    disk.set_write_back(Some(write_back));
    disk.record(false);
    let mut pager = options.create_on::<P>(&disk).expect("the disk is empty");
    let mut naive = Naive::default();
    for run in runs {
        match run {
            Run::Commit(steps) => {
                naive = in_transaction(&mut pager, &naive, steps, |transaction| {
                    transaction.commit().expect("there is room");
                });
            }
            Run::Single(step) => {
                naive = in_transaction(&mut pager, &naive, std::slice::from_ref(step), |transaction| {
                    transaction.commit().expect("there is room");
                });
            }
            Run::Drop(steps) => {
                in_transaction(&mut pager, &naive, steps, |transaction| drop(transaction));
            }
            Run::Leak(steps) => {
                in_transaction(&mut pager, &naive, steps, |transaction| std::mem::forget(transaction));
            }
            Run::Reopen => {
                pager.close().expect("nothing is in the way");
                pager = options.open_on(&disk).expect("it is whole");
            }
            Run::PowerCut => {
                // Zeros of recycled pages are stored after the commit; only a sync makes them durable.
                pager.sync().expect("nothing is in the way");
                disk = SimDisk::from_image(disk.durable_image());
                disk.record(false);
                pager = options.open_on(&disk).expect("it is whole");
            }
        }
        assert_equal(&pager, &naive);
    }
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 96, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_pager_behaves_like_maps_of_bytes(runs in prop::collection::vec(run(), 1..30), write_back in any::<u64>()) {
        replay(&PagerOptions::new().growth_limit(128 << 10), &runs, write_back);
    }

    #[test]
    fn a_pager_that_is_full_behaves_like_maps_of_bytes(
        runs in prop::collection::vec(run(), 1..30),
        pages in 88u64..400,
        staged in 0u64..20,
        sparse in any::<bool>(),
    ) {
        let options = PagerOptions::new().max_file_bytes(pages * P as u64).max_staged_bytes(staged * P as u64);
        replay(&options.sparse(sparse), &runs, pages);
    }
}

fn call_kind() -> impl Strategy<Value = CallKind> {
    prop::sample::select(&CallKind::ALL[..])
}

/// The naive twin of what the file holds. A regular page that is overwritten may hold the old bytes and the new ones, and one
/// that is handed out and not written may hold anything: those count as what `after` says.
fn found(pager: &Pager<P>, before: &Naive, after: &Naive) -> Naive {
    let one_byte = |bytes: &[u8]| bytes.iter().all(|byte| *byte == bytes[0]).then_some(bytes[0]);
    let mut found = Naive { header: pager.header()[0], ..Naive::default() };
    for id in pager.iter_allocated_pages() {
        let page = id.get(pager).expect("allocated");
        let fills = [before, after].map(|naive| naive.pages.get(&id).copied());
        let byte = match fills {
            [Some(old), Some(new)] if page.iter().all(|byte| *byte == old || *byte == new) => new,
            [None, Some(0)] => 0,
            _ => one_byte(page.as_bytes()).expect("a page is written whole"),
        };
        found.pages.insert(id, byte);
    }
    for id in pager.iter_allocated_protected_pages() {
        found.protected.insert(id, one_byte(id.get(pager).expect("whole").as_bytes()).expect("never a mixture"));
    }
    assert_whole(pager);
    found
}

/// Commits with a call failing on the way: the state is then the one before or the one after, and in the same pager it is the
/// one before unless the pager says that it does not know.
fn replay_failing(runs: &[(Vec<Step>, CallKind, u64, bool)]) {
    let mut disk = SimDisk::new();
    let options = PagerOptions::new().growth_limit(16 << 10);
    let mut pager = options.create_on::<P>(&disk).expect("the disk is empty");
    let mut naive = Naive::default();
    for (steps, kind, nth, power_cut) in runs {
        disk.fail(FaultPlan::nth(*kind, *nth));
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let mut twin = Twin { naive: naive.clone(), savepoints: Vec::new() };
        for step in steps {
            match take_step(&mut transaction, &mut twin, step) {
                Ok(()) | Err(Error::Io { .. } | Error::Poisoned) => {}
                Err(error) => panic!("{step:?}: {error}"),
            }
        }
        let committed = transaction.commit();
        disk.clear_faults();
        match committed {
            Ok(()) => {
                naive = twin.naive;
                assert_equal(&pager, &naive);
            }
            Err(_) if pager.sync().is_ok() => assert_equal(&pager, &naive),
            Err(_) => {
                drop(pager);
                if *power_cut {
                    disk = SimDisk::from_image(disk.durable_image());
                }
                pager = options.open_on(&disk).expect("it recovers");
                let found = found(&pager, &naive, &twin.naive);
                if found.protected != naive.protected
                    || found.header != naive.header
                    || !found.pages.keys().eq(naive.pages.keys())
                {
                    assert_eq!(found, twin.naive);
                }
                naive = found;
                // Pages that hold either hold one of them now.
                let ids: Vec<PageId<P>> = naive.pages.keys().copied().collect();
                for id in ids {
                    pager.page_mut(id).expect("allocated").fill(naive.pages[&id]);
                }
                pager.sync().expect("nothing is in the way");
            }
        }
        disk.forget_history();
    }
    pager.close().expect("nothing is in the way");
    assert_equal(&options.open_on(&disk).expect("it is whole"), &naive);
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn a_commit_with_a_failing_call_leaves_the_state_before_or_after_it(
        runs in prop::collection::vec(
            (prop::collection::vec(step(), 1..10), call_kind(), 1u64..6, any::<bool>()),
            1..12,
        ),
    ) {
        replay_failing(&runs);
    }
}
