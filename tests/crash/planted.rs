//! The harness bites: every mistake that can be planted in the engine is found, and without one nothing is.
//!
//! A battery is a fixed list of small cases, the smallest first. It is run once for each mistake, until something that must
//! hold does not; what it is, where, and after how many images, is printed as the table of `docs/proof.md`.

use std::cell::Cell;
use std::collections::HashSet;
use std::io;
use std::ops::ControlFlow;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Once;

use crashlab::failing_call::FailingCall;
use crashlab::interrupted::{Interrupted, Left, Share};
use crashlab::lab::{Lab, Start};
use crashlab::operation::{End, Operation, Step};
use crashlab::verify::{compare, verify};
use crashlab::workload::DURABILITIES;
use diptych::{
    CallKind, CrashOptions, CrashPoint, Damage, Durability, Error, FaultPlan, Mistake, PagerOptions, SimDisk, plant,
};

const P: usize = 4096;
const BLOCK: u64 = 4096;

const ALL: [Mistake; 58] = [
    Mistake::FirstBarrierDropped,
    Mistake::SecondBarrierDropped,
    Mistake::SlotWrittenBeforeTheBarrier,
    Mistake::FirstBarrierFailureIgnored,
    Mistake::SecondBarrierFailureIgnored,
    Mistake::FirstBarrierRetried,
    Mistake::SecondBarrierRetried,
    Mistake::FailedSyncLeavesThePagerUsable,
    Mistake::PoisonedOnlyFromTheSlotOn,
    Mistake::OverwriteDoesNotPoison,
    Mistake::LiveCopyWritten,
    Mistake::OneSlotOnly,
    Mistake::SlotByParity,
    Mistake::PageReusedByTheCommitThatFreesIt,
    Mistake::TailOfAnExtentReusedByItsCommit,
    Mistake::MovedExtentNotOrdered,
    Mistake::PlacedOnPagesThatThisCommitFrees,
    Mistake::ManyRegularPagesWithoutABarrier,
    Mistake::TotalNamedBeforeTheLengthIsSynced,
    Mistake::GrowthSyncedWithoutItsLength,
    Mistake::FreedPagesZeroedByTheirCommit,
    Mistake::WrittenZerosElided,
    Mistake::RecycledPagesNotZeroed,
    Mistake::StoreThroughTheMapForgotten,
    Mistake::RollbackForgetsContents,
    Mistake::LeakedTransactionPersists,
    Mistake::RecoverySyncsInsteadOfWriting,
    Mistake::WriteElidedWhereTheCacheAgrees,
    Mistake::RecoveryWithoutABarrier,
    Mistake::RecoveryBarrierFailureIgnored,
    Mistake::OnlyBadMetadataVoided,
    Mistake::RefusedMetadataLeftStanding,
    Mistake::RefusedSlotLeftStanding,
    Mistake::AdoptionInOneWindow,
    Mistake::AdoptionWithoutRewriting,
    Mistake::AdoptionWithoutProof,
    Mistake::AdoptionWithoutTheListOfRegularPages,
    Mistake::ChecksumsSkippedWhereACountIsZero,
    Mistake::BrokenPromiseFallsBack,
    Mistake::GenerationNotCompared,
    Mistake::CutAfterOneCommit,
    Mistake::PunchedWhileCommitsWait,
    Mistake::PunchedUnsealed,
    Mistake::StaleLeafAccepted,
    Mistake::StaleProtectedPageAccepted,
    Mistake::NoDirectorySyncAtOpen,
    Mistake::ProbeBeforeTheVerdictIsDurable,
    Mistake::ProbeLeftInFlight,
    Mistake::OneBarrierDespiteStores,
    Mistake::OneBarrierDespiteRegularPages,
    Mistake::NewestCommitWithoutProof,
    Mistake::ProvedCommitNotWrittenAgain,
    Mistake::RowsOfTheLastCommitAlone,
    Mistake::WaitingCommitWritesASlot,
    Mistake::WaitingPagesHandedOut,
    Mistake::TurnedOverTwiceInAGroup,
    Mistake::WaitingPagesNotOrdered,
    Mistake::RewritingDoesNotPoison,
];

/// What is looked at, and how much was before.
#[derive(Default)]
struct Watch {
    durability: Durability,
    looked_at: usize,
    part: &'static str,
    case: String,
}

impl Watch {
    fn start(&self, start: Start) -> Lab<P> {
        Lab::start_with(PagerOptions::new().durability(self.durability), start)
    }

    fn look(&mut self, case: impl FnOnce() -> String) {
        self.looked_at += 1;
        self.case = case();
    }
}

fn sequences() -> Vec<(&'static str, Vec<Operation>)> {
    use Operation::{
        Alloc, AllocBulk, AllocProtectedBulk, Compact, Free, FreeBulk, PunchHoles, Reopen, Store, Sync, Transaction,
        WriteProtected,
    };
    let commit = |steps: Vec<Step>| Transaction(steps, End::Commit);
    let mut many: Vec<Step> = (0..6).map(|_| Step::FreeProtected(0)).collect();
    many.extend((0..26).map(|pick| Step::WriteProtected(pick, 0x5d)));
    let savepoint = vec![Step::WriteProtected(0, 3), Step::Savepoint, Step::WriteProtected(0, 4), Step::Rollback(0)];
    vec![
        ("alloc", vec![Alloc]),
        ("free", vec![Free(0)]),
        ("free, alloc", vec![Free(0), Alloc]),
        ("store, sync, free", vec![Store(0, 0x5a), Sync, Free(0)]),
        ("write a protected page", vec![WriteProtected(1, 0x51)]),
        ("alloc 2 protected pages", vec![AllocProtectedBulk(2)]),
        ("alloc, store, sync", vec![Alloc, Store(0, 0x53), Sync]),
        ("alloc, store, free, alloc", vec![Alloc, Store(0, 0x57), Free(0), Alloc]),
        ("store, write a protected page", vec![Store(0, 0x5b), WriteProtected(1, 0x5c)]),
        ("store, free and alloc in one", vec![Store(0, 0x58), commit(vec![Step::Free(0), Step::Alloc])]),
        ("close, open", vec![Reopen]),
        ("set the header", vec![commit(vec![Step::Header(0x54)])]),
        ("alloc and leak", vec![Transaction(vec![Step::Alloc], End::Leak)]),
        (
            "alloc and write 2 pages",
            vec![commit(vec![Step::Alloc, Step::Alloc, Step::Write(254, 5), Step::Write(255, 6)])],
        ),
        (
            "store, free, alloc and write zeros",
            vec![Store(0, 0x59), Sync, Free(0), commit(vec![Step::Alloc, Step::Write(0, 0)])],
        ),
        ("free and alloc in one", vec![commit(vec![Step::Free(0), Step::Alloc])]),
        ("roll back to a savepoint", vec![commit(savepoint)]),
        ("overwrite 2 pages", vec![commit(vec![Step::Write(0, 0x55), Step::Write(1, 0x56)])]),
        ("alloc 40 pages", vec![AllocBulk(40)]),
        ("free 6 protected pages and write 26", vec![AllocProtectedBulk(34), commit(many)]),
        ("write a protected page twice", vec![WriteProtected(1, 0x5d), WriteProtected(1, 0x5e)]),
        ("free, alloc and write", vec![Free(0), commit(vec![Step::Alloc, Step::Write(0, 0x5f)])]),
        ("alloc and write, sync", vec![commit(vec![Step::Alloc, Step::Write(255, 7)]), Sync]),
        (
            "make an extent shorter and allocate another",
            vec![
                commit(vec![Step::AllocExtent(6), Step::WriteExtent(0, 0x62)]),
                commit(vec![Step::ShortenExtent(0, 2), Step::AllocExtent(4), Step::WriteExtent(1, 0x63)]),
            ],
        ),
        (
            "move an extent",
            vec![
                AllocBulk(30),
                commit(vec![Step::AllocExtent(4), Step::WriteExtent(0, 0x64)]),
                FreeBulk(0, 30),
                Compact(40),
            ],
        ),
        ("store, sync, free, punch", vec![Store(0, 0x60), Sync, Free(0), PunchHoles]),
    ]
}

/// Nothing fails: the pager does what its model does, and what was acknowledged is on the disk.
fn runs(watch: &mut Watch) {
    watch.part = "a run, nothing fails";
    for (name, sequence) in sequences() {
        for start in Start::ALL {
            watch.look(|| format!("{name}, {start:?}"));
            let mut lab = watch.start(start);
            for operation in &sequence {
                lab.run(operation).expect("nothing fails");
                lab.compare();
            }
            assert_eq!(lab.pager.as_ref().expect("it is open").check(), [], "a check finds nothing");
            verify::<P>(lab.disk.crash_now(|_| false), &lab.model, &lab.model, 0);
        }
    }
    watch.look(|| "close, open".into());
    let mut lab = watch.start(Start::Fresh);
    let syncs = lab.disk.calls(CallKind::SyncDirectory);
    lab.run(&Operation::Reopen).expect("nothing fails");
    assert!(lab.disk.calls(CallKind::SyncDirectory) > syncs, "opening syncs the directory");
}

fn damage(point: &CrashPoint) -> &'static str {
    match point.damage {
        None => "",
        Some(Damage::Torn { .. }) => ", a sector torn",
        Some(Damage::Junk { .. }) => ", a sector junk",
        Some(_) => ", a sector unreadable",
    }
}

/// Looks at every state that a power cut may leave.
fn cut(interrupted: &Interrupted<'_>, limits: (usize, u32), watch: &mut Watch, name: &str) {
    each_state(interrupted, limits, |left| {
        let point = left.point();
        watch.look(|| format!("{name}; {:?}{}", point.subset, damage(&point)));
        left.verify::<P>();
    });
}

fn each_state<'a>(interrupted: &Interrupted<'a>, limits: (usize, u32), mut look: impl FnMut(&Left<'a>)) {
    let options = CrashOptions::new().sample_limit(limits.0).exhaustive_limit(limits.1);
    let _ = interrupted.each_state::<()>(&options, Share::ALL, &mut HashSet::new(), |left| {
        look(left);
        ControlFlow::Continue(())
    });
}

/// The power fails during the last operation of a sequence.
fn power_cuts(watch: &mut Watch) {
    watch.part = "a power cut";
    for (name, sequence) in sequences() {
        for start in Start::ALL {
            let mut lab = watch.start(start);
            let (last, first) = sequence.split_last().expect("a sequence is not empty");
            first.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
            let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
            lab.run(last).expect("nothing fails");
            let interrupted = Interrupted::operation(&lab.disk, epoch, &before, &lab.model);
            cut(&interrupted, (16, 4), watch, &format!("{name}, {start:?}"));
        }
    }
    // Few of the states show this one: all of them are looked at.
    let mut lab = watch.start(Start::JustGrown);
    lab.run(&Operation::Reopen).expect("nothing fails");
    let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
    let overwrites = vec![Step::Write(0, 0x57), Step::Write(1, 0x58)];
    lab.run(&Operation::Transaction(overwrites, End::Commit)).expect("nothing fails");
    let interrupted = Interrupted::operation(&lab.disk, epoch, &before, &lab.model);
    cut(&interrupted, (4000, 14), watch, "close, open, overwrite 2 pages, JustGrown");
    let mut steps = vec![Step::AllocBulk(200)];
    steps.extend((0..200u8).map(|pick| Step::Write(pick, 0x61)));
    let mut lab = watch.start(Start::Fresh);
    let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
    lab.run(&Operation::Transaction(steps, End::Commit)).expect("nothing fails");
    let interrupted = Interrupted::operation(&lab.disk, epoch, &before, &lab.model);
    cut(&interrupted, (60, 4), watch, "alloc and write 200 pages, Fresh");
}

/// A sync that succeeds after one that failed is believed, so it has to be true.
fn second_syncs(watch: &mut Watch) {
    watch.part = "a success after a failed sync";
    watch.look(|| "store, sync fails, sync".into());
    let mut lab = watch.start(Start::HalfFull);
    lab.run(&Operation::Store(0, 0x15)).expect("nothing fails");
    lab.disk.fail(FaultPlan::nth(CallKind::Barrier, 1));
    assert!(lab.run(&Operation::Sync).expect_err("the barrier fails").is_io());
    match lab.run(&Operation::Sync) {
        Ok(()) => drop(verify::<P>(lab.disk.crash_now(|_| false), &lab.model, &lab.model, 0)),
        Err(error) => assert!(matches!(error, Error::Poisoned), "{error}"),
    }
    if watch.durability == Durability::None {
        // No sync of such a commit can fail.
        return;
    }
    // A commit that says that it succeeded outlives what is stored to its pages later.
    watch.look(|| "alloc and write a page, sync 2 fails, store, sync".into());
    let mut lab = watch.start(Start::Fresh);
    lab.disk.fail(FaultPlan::nth(CallKind::Barrier, 2));
    if lab.run(&Operation::Transaction(vec![Step::Alloc, Step::Write(0, 0x16)], End::Commit)).is_ok() {
        lab.run(&Operation::Store(0, 0x17)).expect("nothing fails any more");
        lab.run(&Operation::Sync).expect("nothing fails any more");
        verify::<P>(lab.disk.crash_now(|_| false), &lab.model, &lab.model, 0);
    }
}

/// Call n fails, for every n until a run passes untouched.
fn failing_calls(watch: &mut Watch) {
    watch.part = "a failing call";
    let plans =
        [(CallKind::Barrier, None), (CallKind::Write, None), (CallKind::Write, Some(512)), (CallKind::Grow, None)];
    for (kind, after) in plans {
        for n in 1..400 {
            watch.look(|| {
                format!("call {n} of kind {kind} fails{}", if after.is_some() { " after 512 bytes" } else { "" })
            });
            let call = FailingCall { kind, n, error: io::ErrorKind::Other, for_ever: false, after };
            if !call.run::<P>(Start::HalfFull) {
                break;
            }
        }
    }
}

/// A commit is cut off and recovered; the next one writes some of the same bytes and is cut off as well.
fn cut_off_twice(watch: &mut Watch) {
    watch.part = "two power cuts";
    let step = |header| {
        let mut steps = vec![Step::WriteProtected(0, 0x71)];
        steps.extend(header);
        Operation::Transaction(steps, End::Commit)
    };
    let mut lab = watch.start(Start::HalfFull);
    let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
    lab.run(&step(Some(Step::Header(0x72)))).expect("nothing fails");
    let interrupted = Interrupted::operation(&lab.disk, epoch, &before, &lab.model);
    each_state(&interrupted, (30, 6), |left| {
        let disk = SimDisk::from_image(left.image.clone());
        let opened = PagerOptions::new().open_on::<P>(&disk).expect("recovery succeeds");
        if opened.generation().to_u64() != before.generation {
            return;
        }
        let mut again = Lab::around(disk, opened, before.clone());
        let epoch = again.disk.epoch_count() - 1;
        again.run(&step(None)).expect("nothing fails");
        let name = format!("write a protected page twice; {:?}, then", left.point().subset);
        cut(&Interrupted::operation(&again.disk, epoch, &before, &again.model), (10, 4), watch, &name);
    });
}

/// Recovery is cut off.
fn recovery_cut_off(watch: &mut Watch) {
    watch.part = "a power cut during recovery";
    let write = Operation::Transaction(vec![Step::Alloc, Step::Write(9, 7)], End::Commit);
    for (name, operation) in [("alloc 2 protected pages", Operation::AllocProtectedBulk(2)), ("alloc and write", write)]
    {
        let mut lab = watch.start(Start::HalfFull);
        let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
        lab.run(&operation).expect("nothing fails");
        let interrupted = Interrupted::operation(&lab.disk, epoch, &before, &lab.model);
        let mut at = 0_usize;
        each_state(&interrupted, (20, 4), |left| {
            at += 1;
            if at % 5 != 1 {
                return;
            }
            let subset = left.point().subset;
            for n in 1.. {
                watch.look(|| format!("{name}; {subset:?}, barrier {n} of opening fails"));
                let disk = SimDisk::from_image(left.image.clone());
                disk.fail(FaultPlan::nth(CallKind::Barrier, n));
                let opened = PagerOptions::new().open_on::<P>(&disk);
                if disk.faults_fired() == 0 {
                    break;
                }
                assert!(opened.is_err_and(|error| error.is_io()), "opening succeeds though a barrier fails");
                verify::<P>(disk.crash_now(|_| false), left.before, left.after, left.damaged);
            }
            let disk = SimDisk::from_image(left.image.clone());
            let opened = PagerOptions::new().open_on::<P>(&disk).expect("recovery succeeds");
            let at_once = opened.generation().to_u64();
            // What opening found is durable when it returns.
            watch.look(|| format!("{name}; {subset:?}, opened"));
            let image = disk.crash_now(|_| false);
            let reopened = PagerOptions::new().open_on::<P>(&SimDisk::from_image(image)).expect("it opens again");
            assert_eq!(reopened.generation().to_u64(), at_once, "what opening found is durable");
            assert!(reopened.recovery().is_clean(), "what opening repaired is durable");
            drop(opened);
            cut(&Interrupted::recovery::<P>(left), (6, 3), watch, &format!("{name}; {subset:?}, then"));
        });
    }
}

/// One block of the reserved region is bad: the newest state, or a refusal.
fn damaged_blocks(watch: &mut Watch) {
    watch.part = "a bad block";
    for rounds in 0..2 {
        let mut lab = watch.start(Start::HalfFull);
        (0..rounds).for_each(|_| lab.run(&Operation::WriteProtected(0, 0x33)).expect("nothing fails"));
        lab.run(&Operation::Reopen).expect("nothing fails");
        let whole = lab.disk.durable_image();
        for block in 0..5u64 {
            watch.look(|| format!("generation {}, block {block} is overwritten", lab.model.generation));
            let mut damaged = whole.clone();
            damaged.write(block * BLOCK, &[0x55; 4096]);
            match PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)) {
                Ok(pager) => {
                    assert_eq!(pager.generation().to_u64(), lab.model.generation, "an older state");
                    compare(&pager, &lab.model, &|_, page| Some(vec![page.fill]), 0);
                }
                Err(error) => assert!(error.is_corruption(), "{error}"),
            }
        }
        // Both slots are lost and rebuilt; then a commit is cut off.
        let mut damaged = whole.clone();
        damaged.write(BLOCK, &[0x55; 8192]);
        let disk = SimDisk::from_image(damaged);
        watch.look(|| "both slots are overwritten".into());
        let opened = PagerOptions::new().open_on::<P>(&disk).expect("the metadata is whole");
        let mut lab = Lab::around(disk, opened, lab.model.clone());
        let (before, epoch) = (lab.model.clone(), lab.disk.epoch_count() - 1);
        lab.run(&Operation::WriteProtected(0, 0x34)).expect("nothing fails");
        let name = format!("both slots rebuilt at generation {}, write a protected page", before.generation);
        cut(&Interrupted::operation(&lab.disk, epoch, &before, &lab.model), (16, 4), watch, &name);
    }
    // Once the file is cut, neither slot names a page behind the cut.
    let mut lab = watch.start(Start::JustGrown);
    lab.run(&Operation::Shrink).expect("nothing fails");
    for slot in 1..3u64 {
        watch.look(|| format!("shrink; slot {} is overwritten", slot - 1));
        let mut damaged = lab.disk.durable_image();
        damaged.write(slot * BLOCK, &[0x55; 4096]);
        let opened = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged));
        assert!(opened.is_ok(), "the other slot names what was cut off");
    }
    // Once holes are punched, neither slot names a page that is one.
    let mut lab = watch.start(Start::HalfFull);
    lab.run(&Operation::FreeProtected(1)).expect("nothing fails");
    lab.run(&Operation::PunchHoles).expect("nothing fails");
    for slot in 1..3u64 {
        watch.look(|| format!("free a protected page, punch; slot {} is overwritten", slot - 1));
        let mut damaged = lab.disk.durable_image();
        damaged.write(slot * BLOCK, &[0x55; 4096]);
        let pager = PagerOptions::new().open_on::<P>(&SimDisk::from_image(damaged)).expect("the other slot is whole");
        assert_eq!(pager.check(), [], "the other slot names what was punched");
    }
}

fn battery(watch: &mut Watch) {
    for durability in DURABILITIES {
        watch.durability = durability;
        for part in [runs, power_cuts, second_syncs, recovery_cut_off, damaged_blocks, cut_off_twice] {
            part(watch);
        }
    }
    // Runs with each of them.
    watch.durability = Durability::default();
    failing_calls(watch);
}

thread_local! {
    static IS_QUIET: Cell<bool> = const { Cell::new(false) };
}

/// Runs the battery with a mistake on this thread. What was found, if anything was.
fn found(mistake: Option<Mistake>, watch: &mut Watch) -> Option<String> {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let loud = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            if !IS_QUIET.get() {
                loud(info);
            }
        }));
    });
    plant(mistake);
    IS_QUIET.set(true);
    let run = catch_unwind(AssertUnwindSafe(|| battery(watch)));
    IS_QUIET.set(false);
    plant(None);
    let panic = run.err()?;
    let message = panic.downcast_ref::<String>().cloned();
    Some(message.or_else(|| panic.downcast_ref::<&str>().map(|message| (*message).into())).unwrap_or_default())
}

/// Longer messages are cut off in the table.
const CELL_CHARS: usize = 90;

/// A message as a cell of a table.
fn cell(message: &str) -> String {
    let line = message.lines().next().unwrap_or_default().trim_start_matches("assertion `left == right` failed");
    let line = line.trim_start_matches(": ").replace('|', "/");
    match line.char_indices().nth(CELL_CHARS) {
        None => line,
        Some((end, _)) => format!("{} ...", &line[..line[..end].rfind(' ').unwrap_or(end)]),
    }
}

#[test]
fn every_mistake_that_can_be_planted_is_in_the_list() {
    let lines = include_str!("../../src/engine/planted.rs").lines();
    let variants = lines.filter_map(|line| line.strip_prefix("    ")?.strip_suffix(','));
    let variants: Vec<&str> = variants.filter(|name| name.chars().all(char::is_alphanumeric)).collect();
    assert_eq!(ALL.map(|mistake| format!("{mistake:?}")).to_vec(), variants);
}

#[test]
fn without_a_planted_mistake_nothing_is_found() {
    let mut watch = Watch::default();
    let found = found(None, &mut watch);
    assert_eq!(found, None, "{}: {}", watch.part, watch.case);
    println!("without a mistake: {} images and runs, nothing found", watch.looked_at);
    assert!(watch.looked_at > 1000);
}

#[test]
fn every_planted_mistake_is_found() {
    let mut survivors = Vec::new();
    println!("| mistake | caught by | reported as | smallest failing case | images until caught |");
    println!("|---|---|---|---|--:|");
    for mistake in ALL {
        let mut watch = Watch::default();
        let Some(message) = found(Some(mistake), &mut watch) else {
            println!("| `{mistake:?}` | nothing | | | {} |", watch.looked_at);
            survivors.push(mistake);
            continue;
        };
        let barriers = match watch.durability {
            Durability::TwoBarriers => ", two barriers",
            Durability::None => ", commits that wait",
            _ => "",
        };
        let (part, case, looked_at) = (watch.part, cell(&watch.case), watch.looked_at);
        println!("| `{mistake:?}` | {part}{barriers} | {} | {case} | {looked_at} |", cell(&message));
    }
    assert_eq!(survivors, [], "nothing finds these");
}
