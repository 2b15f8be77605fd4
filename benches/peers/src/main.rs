//! Measures diptych beside other stores of pages, and beside what the disk and the memory charge.
//!
//! ```text
//!   main ──▶ options ──▶ suite ──▶ work: one file a subcommand ──▶ bench: folders, stores that are filled
//!                                    │                               │
//!                                    ├─▶ measure: A B C, B A C       ├─▶ stores: one file a peer
//!                                    └─▶ report: tables, plots       └─▶ floors: the same work without a store
//! ```
//!
//! Numbers of one run compare with each other and with nothing else. `README.md` has the commands.

mod bench;
mod floors;
mod heap;
mod machine;
mod measure;
mod options;
mod outcome;
mod page;
mod plot;
mod random;
mod report;
mod stores;
mod suite;
mod table;
mod work;

use std::process::ExitCode;

use clap::{CommandFactory, FromArgMatches};

use options::{Arguments, What};
use outcome::Outcome;
use report::Report;
use suite::Suite;
use work::calls::Step;
use work::{bars, calls};

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
    let suite = Suite::new(&arguments.options)?;
    let bench = suite.bench()?;
    if let What::Step { store, operation, count } = &arguments.command {
        let kind = options::kind(store)?;
        return calls::step(&bench, &Step { kind, operation: *operation, count: *count });
    }
    let mut report = Report::new(arguments.options.out.clone())?;
    machine::describe(&mut report, &bench.dir, &bench.kinds);
    match &arguments.command {
        What::Durable => drop(suite.durable(&mut report)?),
        What::Access => drop(suite.access(&mut report)?),
        What::Alloc => drop(suite.alloc(&mut report)?),
        What::Iterate => drop(suite.iterate(&mut report)?),
        What::Open => drop(suite.open(&mut report)?),
        What::Memory => drop(suite.memory(&mut report)?),
        What::Subpages => suite.subpages(&mut report)?,
        What::Extents => drop(suite.extents(&mut report)?),
        What::Shared => drop(suite.shared(&mut report)?),
        What::Calls => suite.calls(&mut report)?,
        What::Bars => bars::measure(&suite, &mut report)?,
        What::All | What::Step { .. } => {
            suite.durable(&mut report)?;
            suite.access(&mut report)?;
            suite.alloc(&mut report)?;
            suite.iterate(&mut report)?;
            suite.open(&mut report)?;
            suite.memory(&mut report)?;
            suite.subpages(&mut report)?;
            suite.extents(&mut report)?;
            suite.shared(&mut report)?;
            suite.calls(&mut report)?;
        }
    }
    report.finish()
}
