//! The crash lab: enumerates what power cuts, rot and failing calls may leave of a pager, and verifies all of it.

mod options;
mod planted;
mod progress;
mod run;
mod task;
mod totals;

use std::process::ExitCode;

use crashlab::workload::{PAGE_SIZES, Workload, start_called};
use crashlab::{power_cut, replay, rot};

use self::options::{Options, USAGE};
use self::run::enumerate;
use self::task::{FAIL, ROT, run_failing};

fn main() -> ExitCode {
    let options = match Options::parse(std::env::args().skip(1)) {
        Ok(options) => options,
        Err(message) => {
            eprintln!("{message}\n\n{USAGE}");
            return ExitCode::from(2);
        }
    };
    if options.help {
        print!("{USAGE}");
        return ExitCode::SUCCESS;
    }
    let done = match &options.replay {
        Some(case) => run_again(case, options.seed).map(|()| {
            println!("all holds");
            true
        }),
        None => enumerate(&options),
    };
    match done {
        Ok(true) => ExitCode::SUCCESS,
        Ok(false) => ExitCode::FAILURE,
        Err(message) => {
            eprintln!("{message}");
            ExitCode::from(2)
        }
    }
}

/// Runs one case; what does not hold panics.
fn run_again(case: &str, seed: u64) -> Result<(), String> {
    let (name, rest) = case.split_once(':').unwrap_or((case, ""));
    if let Some(file) = name.strip_suffix(FAIL) {
        let (size, start) = file.split_once('/').ok_or_else(|| format!("{file} is no page size and start"))?;
        let start = start_called(start).ok_or_else(|| format!("{start} is no start"))?;
        let known = PAGE_SIZES.into_iter().find(|known| known.to_string() == size);
        let size = known.ok_or_else(|| format!("{size} is not one of {PAGE_SIZES:?}"))?;
        println!("a call failed: {}", run_failing(size, start, replay::failing_call(rest)?));
        return Ok(());
    }
    if let Some(name) = name.strip_suffix(ROT) {
        return rot::replay(&name.parse()?, replay::rot(rest)?, rest.ends_with(rot::CLOSED));
    }
    let workload: Workload = name.parse()?;
    let points = rest.split(" > ").filter(|point| !point.is_empty());
    let points = points.map(replay::crash_point).collect::<Result<Vec<_>, _>>()?;
    power_cut::replay(&workload, seed, &points)
}
