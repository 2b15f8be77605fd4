//! What can be said on the command line.

use std::path::PathBuf;

use clap::{Args, Parser, Subcommand};

use crate::bench::Bench;
use crate::outcome::Outcome;
use crate::stores::{KINDS, Kind};
use crate::work::calls::Operation;

/// The least rounds of which a median is shown.
const LEAST_ROUNDS: u64 = 7;

/// Measures diptych beside other stores of pages, and beside what the disk and the memory charge. Tables are Markdown.
#[derive(Parser)]
#[command(version, about)]
pub(crate) struct Arguments {
    #[command(subcommand)]
    pub(crate) command: What,
    #[command(flatten)]
    pub(crate) options: Options,
}

#[derive(Subcommand)]
pub(crate) enum What {
    /// Durable allocating, freeing and overwriting, beside `pwrite` and `fdatasync`
    Durable,
    /// Reading 8 bytes of random pages in memory, with one thread and with two, beside a raw map
    Access,
    /// Allocating in memory, against the fill and the size of the file
    Alloc,
    /// Iterating over pages in use, beside protected ones
    Iterate,
    /// Opening, and committing, against the size of the file, up to a sparse one of 8 TiB
    Open,
    /// Memory of a file that is open, against its pages
    Memory,
    /// Freeing and allocating sub-pages, against how many are live
    Subpages,
    /// Allocating extents, against how full the file is
    Extents,
    /// A pager of several threads: commits of eight, and reading through guards
    Shared,
    /// System calls of each operation, with `strace`
    Calls,
    /// All of these
    All,
    /// What docs/benchmarks.md aims at: measures it three times, and says whether two are inside
    Bars,
    /// One operation a number of times, to be traced
    #[command(hide = true)]
    Step {
        #[arg(long)]
        store: String,
        #[arg(long)]
        operation: Operation,
        #[arg(long)]
        count: usize,
    },
}

#[derive(Args)]
pub(crate) struct Options {
    /// Where files are made and removed again; the system's folder for temporary files if not said otherwise
    #[arg(long, global = true)]
    dir: Option<PathBuf>,
    /// Writes tables and plots to this folder as well
    #[arg(long, global = true)]
    pub(crate) out: Option<PathBuf>,
    /// Rounds that count, of which the median is shown; 15 for `access`, else 11, if not said otherwise
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(LEAST_ROUNDS..=100_000))]
    rounds: Option<u64>,
    /// Stores that take part, of those that `peers --help` lists at its end; all if not said otherwise
    #[arg(long, global = true, value_delimiter = ',')]
    stores: Vec<String>,
    /// Where random numbers begin
    #[arg(long, global = true, default_value_t = 1)]
    seed: u64,
    /// `durable`: pages of each store
    #[arg(long, global = true, default_value_t = 8000, value_parser = clap::value_parser!(u64).range(16..=1 << 24))]
    pub(crate) pages: u64,
    /// `access`: a second size to read from, 4096 for `bars`; above 64 MiB only diptych's stores take part, unless --stores
    /// says more
    #[arg(long, global = true, value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) access_mib: Option<u64>,
    /// `access`: reads of a thread in a round
    #[arg(long, global = true, default_value_t = 1 << 18, value_parser = clap::value_parser!(u64).range(1..=1 << 28))]
    reads: u64,
    /// `alloc`: a file of 10^7 pages as well, which takes 10 GiB
    #[arg(long, global = true)]
    pub(crate) huge: bool,
    /// `open`: sizes of the files; above 64 only `diptych` takes part, unless --stores says more
    #[arg(long, global = true, value_delimiter = ',', default_values_t = [16, 64, 256, 1024],
          value_parser = clap::value_parser!(u64).range(1..=1 << 20))]
    pub(crate) open_mib: Vec<u64>,
}

impl Options {
    /// What these say about a measurement of `kinds`, with `rounds` if nothing was said.
    pub(crate) fn bench(&self, rounds: usize, kinds: Vec<&'static Kind>) -> Outcome<Bench> {
        let dir = self.dir.clone().unwrap_or_else(std::env::temp_dir);
        if !dir.is_dir() {
            return Err(format!("--dir {}: no such folder", dir.display()).into());
        }
        let rounds = self.rounds.map_or(Ok(rounds), usize::try_from)?;
        Ok(Bench { dir, rounds, seed: self.seed, kinds })
    }

    pub(crate) fn stores_named(&self) -> bool {
        !self.stores.is_empty()
    }

    pub(crate) fn reads(&self) -> Outcome<usize> {
        Ok(usize::try_from(self.reads)?)
    }

    /// The stores that take part.
    pub(crate) fn kinds(&self) -> Outcome<Vec<&'static Kind>> {
        if self.stores.is_empty() {
            return Ok(KINDS.iter().collect());
        }
        self.stores.iter().map(|name| kind(name)).collect()
    }
}

/// The store of that name.
pub(crate) fn kind(name: &str) -> Outcome<&'static Kind> {
    let found = KINDS.iter().find(|kind| kind.name == name);
    found.ok_or_else(|| format!("no store is called {name:?}; there are {}", names()).into())
}

/// What `--stores` takes.
pub(crate) fn names() -> String {
    KINDS.iter().map(|kind| kind.name).collect::<Vec<_>>().join(", ")
}

#[cfg(test)]
mod tests {
    use clap::{CommandFactory, Parser};

    use super::Arguments;

    #[test]
    fn the_command_line_is_consistent() {
        Arguments::command().debug_assert();
    }

    #[test]
    fn bad_options_are_errors() {
        let kinds = |stores: &str| {
            let arguments = Arguments::try_parse_from(["peers", "durable", "--stores", stores]).map_err(|_| ());
            arguments.map(|arguments| arguments.options.kinds().map_err(drop).map(|kinds| kinds.len()))
        };
        assert_eq!(kinds("lmdb,redb"), Ok(Ok(2)));
        assert_eq!(kinds("lmbd"), Ok(Err(())));
        assert!(Arguments::try_parse_from(["peers", "durable", "--rounds", "6"]).is_err());
    }
}
