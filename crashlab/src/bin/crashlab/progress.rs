//! How far a run is: which tasks are done, and what they found. Kept in a file, a run goes on where it was stopped.

use std::collections::BTreeSet;
use std::path::Path;
use std::{fs, io};

use crate::options::Options;
use crate::totals::Totals;

/// How far a run is.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    /// All tasks before it are done.
    first_open: usize,
    /// Tasks behind that which are done.
    done: BTreeSet<usize>,
    /// What the tasks that are done found.
    pub(crate) totals: Totals,
}

impl Progress {
    /// What the file says, or nothing if there is no file.
    pub(crate) fn read(file: &Path, options: &Options) -> Result<Progress, String> {
        let text = match fs::read_to_string(file) {
            Err(error) if error.kind() == io::ErrorKind::NotFound => return Ok(Progress::default()),
            text => text.map_err(|error| format!("{}: {error}", file.display()))?,
        };
        let (name, rest) = text.split_once('\n').unwrap_or_default();
        if name != run_name(options) {
            return Err(format!("{} is of another run than \"{}\"", file.display(), run_name(options)));
        }
        Progress::parse(rest).ok_or_else(|| format!("{} is damaged", file.display()))
    }

    fn parse(text: &str) -> Option<Progress> {
        let mut lines = text.lines();
        let mut progress = Progress { first_open: lines.next()?.parse().ok()?, ..Progress::default() };
        let done: Result<_, _> = lines.next()?.split_whitespace().map(str::parse).collect();
        progress.done = done.ok()?;
        for (name, number) in progress.totals.fields() {
            *number = lines.next()?.strip_prefix(name)?.trim().parse().ok()?;
        }
        Some(progress)
    }

    /// Replaces the file, in one step.
    pub(crate) fn keep(&self, file: &Path, options: &Options) -> Result<(), String> {
        let done: Vec<String> = self.done.iter().map(usize::to_string).collect();
        let mut text = format!("{}\n{}\n{}\n", run_name(options), self.first_open, done.join(" "));
        for (name, number) in self.totals.clone().fields() {
            text.push_str(&format!("{name} {number}\n"));
        }
        let new = file.with_extension("new");
        fs::write(&new, text)
            .and_then(|()| fs::rename(&new, file))
            .map_err(|error| format!("{}: {error}", file.display()))
    }

    pub(crate) fn is_done(&self, task: usize) -> bool {
        task < self.first_open || self.done.contains(&task)
    }

    pub(crate) fn finish(&mut self, task: usize, found: &Totals) {
        self.totals.add(found);
        self.done.insert(task);
        while self.done.remove(&self.first_open) {
            self.first_open += 1;
        }
    }
}

/// Which tasks there are, in which order, and how closely each is looked at, depends on these.
fn run_name(options: &Options) -> String {
    let Options { seed, long, page_size, images, .. } = options;
    format!("seed {seed} long {long} page size {page_size:?} images {images:?}")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_run_that_was_stopped_knows_what_is_done_and_what_it_found() {
        let options = Options::parse([]).expect("no options");
        let file = std::env::temp_dir().join(format!("crashlab-progress-{}", std::process::id()));
        let mut progress = Progress::read(&file, &options).expect("there is no such file");
        for task in [0, 1, 3] {
            progress.finish(task, &Totals { workloads: 1, violations: 2, ..Totals::default() });
        }
        progress.keep(&file, &options).expect("it can be written");
        let mut again = Progress::read(&file, &options).expect("it was written");
        assert_eq!([0, 1, 2, 3, 4].map(|task| again.is_done(task)), [true, true, false, true, false]);
        assert_eq!((again.totals.workloads, again.totals.violations), (3, 6));
        again.finish(2, &Totals::default());
        assert_eq!((again.first_open, again.done.len()), (4, 0));
        for name in ["--seed", "--images"] {
            let other = Options::parse([name.to_owned(), "1".to_owned()]).expect("a number");
            assert!(Progress::read(&file, &other).is_err(), "{name}");
        }
        fs::write(&file, [0xff; 9]).expect("it can be written");
        assert!(Progress::read(&file, &options).is_err(), "what is no text is not begun anew");
        fs::remove_file(&file).expect("it is there");
    }
}
