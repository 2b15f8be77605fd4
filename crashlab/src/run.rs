//! A workload that ran, with its last operation recorded.

use diptych::PagerOptions;

use crate::interrupted::Interrupted;
use crate::lab::Lab;
use crate::model::Model;
use crate::workload::{Workload, operations};

/// A workload that ran.
pub(crate) struct Run<const P: usize> {
    pub(crate) lab: Lab<P>,
    pub(crate) before: Model,
    /// The epoch in which its last operation began.
    pub(crate) first: usize,
}

impl<const P: usize> Run<P> {
    /// The seed draws when the kernel writes stores back.
    pub(crate) fn of(workload: &Workload, seed: u64) -> Self {
        let operations = operations();
        let options = PagerOptions::new().durability(workload.durability);
        let mut lab = Lab::<P>::start_with(options, workload.start);
        lab.disk.set_write_back(workload.write_back.then_some(seed));
        lab.disk.record(false);
        let (last, first) = workload.sequence.split_last().expect("a workload has an operation");
        first.iter().for_each(|place| lab.run(&operations[*place]).expect("nothing fails"));
        lab.disk.record(true);
        let before = lab.model.clone();
        let first = lab.disk.epoch_count() - 1;
        lab.run(&operations[*last]).expect("nothing fails");
        lab.compare();
        Run { lab, before, first }
    }

    /// Its last operation, to be cut off.
    pub(crate) fn interrupted(&self) -> Interrupted<'_> {
        Interrupted::operation(&self.lab.disk, self.first, &self.before, &self.lab.model)
    }
}
