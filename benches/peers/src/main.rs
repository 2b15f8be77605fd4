//! Measures diptych beside other stores of pages, and beside what the disk and the memory charge.
//!
//! ```text
//!   main ──▶ options ──▶ work: one file a subcommand ──▶ bench: folders, stores that are filled
//!                          │                               │
//!                          ├─▶ measure: A B C, A B C       ├─▶ stores: one file a peer
//!                          └─▶ report: tables, plots       └─▶ floors: the same work without a store
//! ```
//!
//! Numbers of one run compare with each other and with nothing else. `README.md` has the commands.

mod bench;
mod floors;
mod machine;
mod measure;
mod options;
mod outcome;
mod page;
mod plot;
mod random;
mod report;
mod stores;
mod table;
mod work;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use bench::Bench;
use options::{Arguments, Options, What};
use outcome::Outcome;
use report::Report;
use work::access::Reads;
use work::calls::Step;
use work::open::Sizes;
use work::{access, alloc, calls, durable, iterate, open};

/// Rounds if nothing else is said: a read is short, so there are more of them.
const ROUNDS: usize = 11;
const ACCESS_ROUNDS: usize = 15;

/// Above this only `diptych` is read from, unless the stores were named.
const EVERYBODY_MIB: u64 = 64;

fn main() -> ExitCode {
    let command = Arguments::command().after_help(format!("Stores: {}", options::names()));
    let arguments = Arguments::from_arg_matches(&command.get_matches()).unwrap_or_else(|error| error.exit());
    match run(&arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("peers: {error}");
            ExitCode::FAILURE
        }
    }
}

fn run(arguments: &Arguments) -> Outcome<()> {
    let options = &arguments.options;
    let bench = options.bench(ROUNDS)?;
    if let What::Step { store, operation, count } = &arguments.command {
        let kind = options::kind(store)?;
        return calls::step(&bench, &Step { kind, operation: *operation, count: *count });
    }
    let mut report = Report::new(options.out.clone())?;
    machine::describe(&mut report, &bench.dir, &bench.kinds);
    match &arguments.command {
        What::Durable => durable::measure(&bench, &mut report, options.pages)?,
        What::Access => read(options, &mut report)?,
        What::Alloc => alloc::measure(&bench, &mut report, options.huge)?,
        What::Iterate => iterate::measure(&bench, &mut report)?,
        What::Open => open::measure(&bench, &mut report, &sizes(options))?,
        What::Calls => calls::measure(&bench, &mut report)?,
        What::All | What::Step { .. } => {
            durable::measure(&bench, &mut report, options.pages)?;
            read(options, &mut report)?;
            alloc::measure(&bench, &mut report, options.huge)?;
            iterate::measure(&bench, &mut report)?;
            open::measure(&bench, &mut report, &sizes(options))?;
            calls::measure(&bench, &mut report)?;
        }
    }
    report.finish()
}

fn sizes(options: &Options) -> Sizes<'_> {
    Sizes { mib: &options.open_mib, stores_named: options.stores_named() }
}

fn read(options: &Options, report: &mut Report) -> Outcome<()> {
    let bench = options.bench(ACCESS_ROUNDS)?;
    access::measure(&bench, report, &Reads { mib: EVERYBODY_MIB, count: options.reads()? })?;
    let Some(mib) = options.access_mib else { return Ok(()) };
    let everybody = options.stores_named() || mib <= EVERYBODY_MIB;
    let kinds = bench.kinds.iter().copied().filter(|kind| everybody || kind.name == "diptych");
    let bench = Bench { kinds: kinds.collect(), ..bench };
    access::measure(&bench, report, &Reads { mib, count: options.reads()? })
}
