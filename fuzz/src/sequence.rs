//! Operations against the model, ended by a power cut or a failing call; what is left is recovered and verified.

use arbitrary::Arbitrary;
use crashlab::failing_call::{ERRORS, FailingCall};
use crashlab::interrupted::{Interrupted, Left, torn_units};
use crashlab::lab::{Lab, Start};
use crashlab::model::Model;
use crashlab::operation::Operation;
use crashlab::verify::{reported, verify_cycle};
use diptych::{CallKind, CrashOptions};

use crate::page_sizes::PageSize;
use crate::with_page_size;

/// The most operations that are run.
const MOST: usize = 16;

/// What a case of `operations` is made from.
#[derive(Clone, Debug, Arbitrary)]
pub struct Sequence {
    page_size: PageSize,
    start: Start,
    ending: Ending,
    operations: Vec<Operation>,
}

/// What happens during the last operation.
#[derive(Clone, Debug, Arbitrary)]
enum Ending {
    /// The power fails, and fails again while the file is recovered from that, as often as there are cuts. Stores are written
    /// back meanwhile, at moments that are drawn, if so said.
    PowerCuts(Cut, Vec<Cut>, Option<u8>),
    /// A call fails, during any of the operations.
    FailingCall {
        /// Calls of which kind are counted.
        kind: u8,
        /// Which of them fails, less 1.
        n: u8,
        /// How.
        error: u8,
        /// Whether all later ones do, too.
        for_ever: bool,
        /// How many bytes are transferred before.
        after: Option<u16>,
    },
}

/// A power cut: which of the epochs, which of the states that it may leave.
#[derive(Clone, Copy, Debug, Arbitrary)]
struct Cut {
    epoch: u8,
    state: u16,
    seed: u8,
    blocks: bool,
}

impl Sequence {
    /// Runs the case.
    ///
    /// # Panics
    ///
    /// With what does not hold.
    pub fn run(&self) {
        with_page_size!(self.page_size, run(self));
    }
}

fn run<const P: usize>(case: &Sequence) {
    let operations = case.operations.get(..MOST).unwrap_or(&case.operations);
    match &case.ending {
        Ending::PowerCuts(first, further, write_back) => {
            let further = further.get(..3).unwrap_or(further);
            let mut cuts = vec![*first];
            cuts.extend(further);
            power_cuts::<P>(case.start, operations, &cuts, *write_back);
        }
        Ending::FailingCall { kind, n, error, for_ever, after } => {
            let kinds = CallKind::ALL;
            let error = ERRORS[usize::from(*error) % ERRORS.len()];
            let kind = kinds[usize::from(*kind) % kinds.len()];
            let failing =
                FailingCall { kind, n: u64::from(*n) + 1, error, for_ever: *for_ever, after: after.map(u64::from) };
            let loses_stores = |operation: &&Operation| !matches!(operation, Operation::Drop | Operation::PowerCut(_));
            let operations: Vec<Operation> = operations.iter().filter(loses_stores).cloned().collect();
            // Whether there were so many calls says nothing.
            let _ = failing.run_on::<P>(case.start, &operations);
        }
    }
}

fn power_cuts<const P: usize>(start: Start, operations: &[Operation], cuts: &[Cut], write_back: Option<u8>) {
    let Some((last, earlier)) = operations.split_last() else { return };
    let mut lab = Lab::<P>::start(start);
    lab.disk.record(false);
    lab.disk.set_write_back(write_back.map(u64::from));
    for operation in earlier {
        lab.run(operation).expect("nothing fails");
        lab.compare();
    }
    lab.disk.record(true);
    let before = lab.model.clone();
    let first = lab.disk.epoch_count() - 1;
    lab.run(last).expect("nothing fails");
    lab.compare();

    let mut left: Option<Left<'_>> = None;
    for cut in cuts {
        // Recovery in turn is recorded, and cut off by the next one.
        let interrupted = left
            .as_ref()
            .map_or_else(|| Interrupted::operation(&lab.disk, first, &before, &lab.model), Interrupted::recovery::<P>);
        let Some(next) = cut.of::<P>(&interrupted) else { break };
        reported(next.point(), || next.verify::<P>());
        left = Some(next);
    }
    if let Some(left) = left {
        verify_cycle::<P>(left.image);
    }
    end(lab, &before);
}

/// The pager whose power did not fail goes on.
fn end<const P: usize>(mut lab: Lab<P>, before: &Model) {
    assert!(lab.model.generation >= before.generation);
    lab.run(&Operation::Reopen).expect("nothing fails");
    lab.compare();
    assert_eq!(lab.pager.as_ref().expect("it is open").check(), []);
}

impl Cut {
    /// What it leaves.
    fn of<'a, const P: usize>(self, interrupted: &Interrupted<'a>) -> Option<Left<'a>> {
        let mut known = interrupted.epochs();
        let epoch = known.nth(usize::from(self.epoch) % known.len().max(1))?;
        let options = CrashOptions::new()
            .seed(self.seed.into())
            .exhaustive_limit(6)
            .sample_limit(60)
            .torn_unit(torn_units(P)[usize::from(self.blocks)])
            .page_size(u64::try_from(P).expect("usize fits u64"));
        let mut states = interrupted.disk().crash_states(epoch, &options);
        let state = states.nth(usize::from(self.state) % states.len().max(1))?;
        interrupted.left_at(&state.point())
    }
}
