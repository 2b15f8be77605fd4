//! What a run has done so far, as numbers with names.

use crashlab::power_cut::Tally;
use crashlab::rot::RotTally;

/// What a run has done so far.
#[derive(Clone, Debug, Default)]
pub(crate) struct Totals {
    pub(crate) millis: u64,
    pub(crate) workloads: u64,
    pub(crate) tally: Tally,
    pub(crate) rotten_workloads: u64,
    pub(crate) rot: RotTally,
    pub(crate) failing_tasks: u64,
    pub(crate) failing_runs: u64,
    pub(crate) violations: u64,
}

impl Totals {
    /// Every number with its name: what is printed, added, kept and read again.
    pub(crate) fn fields(&mut self) -> [(&'static str, &mut u64); 19] {
        let Totals { millis, workloads, tally, rotten_workloads, rot, failing_tasks, failing_runs, violations } = self;
        [
            ("milliseconds", millis),
            ("workloads", workloads),
            ("epochs", &mut tally.epochs),
            ("distinct images", &mut tally.images),
            ("torn or junk", &mut tally.torn),
            ("unreadable", &mut tally.unreadable),
            ("recovered with work", &mut tally.recovered),
            ("recovered by fallback", &mut tally.fell_back),
            ("recovered by adoption", &mut tally.adopted),
            ("recovery crashes", &mut tally.recovery_crashes),
            ("workloads that rot", rotten_workloads),
            ("rotten files", &mut rot.files),
            ("survived", &mut rot.survived),
            ("page refused", &mut rot.page_refused),
            ("refused", &mut rot.refused),
            ("rolled back", &mut rot.rolled_back),
            ("kinds of failing calls", failing_tasks),
            ("failing-call runs", failing_runs),
            ("violations", violations),
        ]
    }

    pub(crate) fn add(&mut self, other: &Totals) {
        let mut other = other.clone();
        for ((_, sum), (_, more)) in self.fields().into_iter().zip(other.fields()) {
            *sum += *more;
        }
    }

    /// A line for each number, and the distinct images a second.
    pub(crate) fn print(&self) {
        let mut copy = self.clone();
        for (name, number) in copy.fields() {
            println!("{name:<24} {number}");
            if name == "distinct images" {
                println!("{:<24} {}", "images/s", self.tally.images * 1000 / self.millis.max(1));
            }
        }
    }
}
