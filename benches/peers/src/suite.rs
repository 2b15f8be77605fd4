//! All measurements, one method a subcommand, with the options that were given.

use crate::bench::Bench;
use crate::measure::Series;
use crate::options::Options;
use crate::outcome::Outcome;
use crate::report::Report;
use crate::stores::Kind;
use crate::work::access::Reads;
use crate::work::open::Sizes;
use crate::work::{access, alloc, calls, durable, extents, iterate, memory, open, shared, subpages};

/// Rounds if nothing else is said: a read is short, so there are more of them.
const ROUNDS: usize = 11;
const ACCESS_ROUNDS: usize = 15;

/// Above this only `diptych` is read from, unless the stores were named.
const EVERYBODY_MIB: u64 = 64;

pub(crate) struct Suite<'o> {
    options: &'o Options,
    kinds: Vec<&'static Kind>,
    /// Another size to read from.
    access_mib: Option<u64>,
}

impl<'o> Suite<'o> {
    pub(crate) fn new(options: &'o Options) -> Outcome<Self> {
        Ok(Suite { options, kinds: options.kinds()?, access_mib: options.access_mib })
    }

    /// The same with the stores of this project alone, and with another size to read from unless one was given.
    pub(crate) fn own(&self, access_mib: u64) -> Self {
        let kinds = self.kinds.iter().copied().filter(|kind| is_own(kind)).collect();
        Suite { options: self.options, kinds, access_mib: self.access_mib.or(Some(access_mib)) }
    }

    pub(crate) fn kinds(&self) -> &[&'static Kind] {
        &self.kinds
    }

    pub(crate) fn bench(&self) -> Outcome<Bench> {
        self.options.bench(ROUNDS, self.kinds.clone())
    }

    pub(crate) fn durable(&self, report: &mut Report) -> Outcome<Vec<durable::Measured>> {
        durable::measure(&self.bench()?, report, self.options.pages)
    }

    /// For each size.
    pub(crate) fn access(&self, report: &mut Report) -> Outcome<Vec<access::Measured>> {
        let mut all = Vec::new();
        for mib in [EVERYBODY_MIB].into_iter().chain(self.access_mib) {
            let everybody = self.options.stores_named() || mib <= EVERYBODY_MIB;
            let kinds = self.kinds.iter().copied().filter(|kind| everybody || is_own(kind));
            let bench = self.options.bench(ACCESS_ROUNDS, kinds.collect())?;
            all.push(access::measure(&bench, report, &Reads { mib, count: self.options.reads()? })?);
        }
        Ok(all)
    }

    pub(crate) fn alloc(&self, report: &mut Report) -> Outcome<Vec<alloc::Measured>> {
        alloc::measure(&self.bench()?, report, self.options.huge)
    }

    pub(crate) fn iterate(&self, report: &mut Report) -> Outcome<Vec<Series>> {
        iterate::measure(&self.bench()?, report)
    }

    pub(crate) fn open(&self, report: &mut Report) -> Outcome<open::Measured> {
        let sizes = Sizes { mib: &self.options.open_mib, stores_named: self.options.stores_named() };
        open::measure(&self.bench()?, report, &sizes)
    }

    pub(crate) fn memory(&self, report: &mut Report) -> Outcome<Vec<memory::Measured>> {
        memory::measure(&self.bench()?, report)
    }

    pub(crate) fn subpages(&self, report: &mut Report) -> Outcome<()> {
        subpages::measure(&self.bench()?, report)
    }

    pub(crate) fn shared(&self, report: &mut Report) -> Outcome<shared::Measured> {
        shared::measure(&self.bench()?, report)
    }

    pub(crate) fn extents(&self, report: &mut Report) -> Outcome<Vec<extents::Measured>> {
        extents::measure(&self.bench()?, report)
    }

    pub(crate) fn calls(&self, report: &mut Report) -> Outcome<()> {
        calls::measure(&self.bench()?, report)
    }
}

fn is_own(kind: &Kind) -> bool {
    kind.package == "diptych"
}
