//! System calls of an operation, as `strace` counts them.
//!
//! This program runs itself as a child that does one operation a number of times, and once more without it: the difference
//! is what the operations asked for. Threads of a store count as well, whatever they do meanwhile.

use std::collections::BTreeMap;
use std::env;
use std::fs;
use std::path::Path;
use std::process::{Command, Stdio};

use crate::bench::{Bench, Filled};
use crate::outcome::{Outcome, ensure};
use crate::page::Change;
use crate::report::Report;
use crate::stores::{Kind, Place, Work};
use crate::table::Table;

/// Pages of the child's store, operations of a child, and pages of the largest of them.
const PAGES: u64 = 1000;
const OPERATIONS: usize = 16;

/// What is counted.
#[derive(Clone, Copy, Debug, clap::ValueEnum)]
pub(crate) enum Operation {
    Read,
    Alloc,
    Free,
    Overwrite1,
    Overwrite10,
    Overwrite100,
}

const ALL: [(&str, Operation); 6] = [
    ("read", Operation::Read),
    ("alloc", Operation::Alloc),
    ("free", Operation::Free),
    ("overwrite1", Operation::Overwrite1),
    ("overwrite10", Operation::Overwrite10),
    ("overwrite100", Operation::Overwrite100),
];

/// Columns of the table, and the calls that each adds up; what is not listed counts in the last one.
const COLUMNS: [(&str, &[&str]); 8] = [
    ("read", &["read", "pread64", "preadv", "readv", "preadv2"]),
    ("write", &["write", "pwrite64", "pwritev", "writev", "pwritev2"]),
    ("fdatasync", &["fdatasync"]),
    ("fsync", &["fsync"]),
    ("msync", &["msync"]),
    ("sync_file_range", &["sync_file_range"]),
    ("fallocate, ftruncate", &["fallocate", "ftruncate"]),
    ("mmap and its kin", &["mmap", "munmap", "mremap", "mprotect", "madvise", "brk"]),
];

/// What a child is asked for.
pub(crate) struct Step {
    pub(crate) kind: &'static Kind,
    pub(crate) operation: Operation,
    pub(crate) count: usize,
}

pub(crate) fn measure(bench: &Bench, report: &mut Report) -> Outcome<()> {
    report.heading("System calls of an operation");
    let found = Command::new("strace").arg("-V").stdout(Stdio::null()).stderr(Stdio::null()).status();
    if !found.is_ok_and(|status| status.success()) {
        report.line("Left out: there is no `strace` here.\n");
        return Ok(());
    }
    for (name, _) in ALL {
        let mut columns = vec![""];
        columns.extend(COLUMNS.iter().map(|(column, _)| *column));
        columns.push("others");
        let mut table = Table::new(&columns);
        let mut reasons = Vec::new();
        for kind in &bench.kinds {
            match difference(bench, kind, name) {
                Ok(calls) => table.row(row(kind.name, &calls)),
                Err(error) => reasons.push(format!("{}: {error}", kind.name)),
            }
        }
        report.subheading(name);
        report.table(&table);
        report.left_out(&reasons);
    }
    Ok(())
}

/// Calls by name, of one operation.
fn difference(bench: &Bench, kind: &Kind, operation: &str) -> Outcome<BTreeMap<String, f64>> {
    let folder = bench.folder()?;
    let without = traced(bench, folder.path(), kind, operation, 0)?;
    let mut calls = traced(bench, folder.path(), kind, operation, OPERATIONS)?;
    for (name, count) in &mut calls {
        let before = without.get(name).copied().unwrap_or_default();
        *count = (*count - before).max(0.0) / OPERATIONS as f64;
    }
    Ok(calls)
}

fn traced(bench: &Bench, folder: &Path, kind: &Kind, operation: &str, count: usize) -> Outcome<BTreeMap<String, f64>> {
    let counts = folder.join("counts");
    let mut command = Command::new("strace");
    command.args(["-f", "-c", "-o"]).arg(&counts).arg(env::current_exe()?);
    command.args(["step", "--store", kind.name, "--operation", operation, "--count", &count.to_string()]);
    command.arg("--dir").arg(folder).args(["--seed", &bench.seed.to_string()]);
    let output = command.output()?;
    ensure(output.status.success(), || {
        let said = String::from_utf8_lossy(&output.stderr);
        said.trim().trim_start_matches("peers: ").to_owned()
    })?;
    Ok(parsed(&fs::read_to_string(counts)?))
}

/// The table of `strace -c`: the fourth column is a number of calls, the last one their name.
fn parsed(text: &str) -> BTreeMap<String, f64> {
    let lines = text.lines().filter_map(|line| {
        let fields: Vec<&str> = line.split_whitespace().collect();
        let name = *fields.last()?;
        let calls: f64 = fields.get(3)?.parse().ok()?;
        (name != "total").then(|| (name.to_owned(), calls))
    });
    lines.collect()
}

fn row(name: &str, calls: &BTreeMap<String, f64>) -> Vec<String> {
    let mut cells = vec![name.to_owned()];
    let mut listed = 0.0;
    for (_, names) in COLUMNS {
        let sum: f64 = names.iter().filter_map(|name| calls.get(*name)).sum();
        listed += sum;
        cells.push(shown(sum));
    }
    cells.push(shown(calls.values().sum::<f64>() - listed));
    cells
}

fn shown(calls: f64) -> String {
    if calls < 0.05 { "0".to_owned() } else { format!("{calls:.1}") }
}

/// The child: fills a store, prepares, and does the operation so many times.
pub(crate) fn step(bench: &Bench, step: &Step) -> Outcome<()> {
    let folder = bench.folder()?;
    let place = Place::new(folder.path().join(step.kind.name), PAGES)?;
    let Filled { mut store, mut ids, .. } = Filled::new(step.kind, &place, PAGES)?;
    let (work, pages) = match step.operation {
        Operation::Read => {
            let mut reading = store.reading(ids[..1].to_vec())?;
            return (0..step.count).try_for_each(|_| reading().map(drop));
        }
        Operation::Alloc => (Work::Alloc, 1),
        Operation::Free => (Work::Free, 1),
        Operation::Overwrite1 => (Work::Overwrite, 1),
        Operation::Overwrite10 => (Work::Overwrite, 10),
        Operation::Overwrite100 => (Work::Overwrite, 100),
    };
    if let Some(reason) = store.cannot(work) {
        return Err(reason.into());
    }
    let mut random = bench.random();
    for count in 0..step.count {
        match work {
            Work::Alloc => drop(store.alloc_one()?),
            Work::Free => store.free_one(ids.pop().ok_or("no page is left")?)?,
            Work::Overwrite => {
                let chosen = random.choose(&mut ids, pages);
                let changes: Vec<Change> = chosen.iter().map(|id| Change::new(*id, count as u64 + 1)).collect();
                store.overwrite(&changes)?;
            }
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::parsed;

    #[test]
    fn the_table_of_strace_is_read() {
        let text = "% time     seconds  usecs/call     calls    errors syscall\n\
                    ------ ----------- ----------- --------- --------- ------------------\n \
                    90.00    0.001       10        16           fdatasync\n \
                    10.00    0.000        1         3         1 openat\n\
                    100.00    0.001        9        19         1 total\n";
        let calls = parsed(text);
        assert_eq!(calls.get("fdatasync"), Some(&16.0));
        assert_eq!(calls.get("openat"), Some(&3.0));
        assert_eq!(calls.len(), 2);
    }
}
