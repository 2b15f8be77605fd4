//! The process that works on a file until its filesystem stops, and says over a pipe what was acknowledged to it.

use std::io::{self, Write};
use std::path::Path;
use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use crashlab::draws::Draws;
use crashlab::file_lab::FileLab;
use diptych::{Error, PagerOptions};
use rustix::time::{ClockId, clock_gettime};

use crate::copies::{self, MOST_COPIES};
use crate::mistakes;

/// The exit status of a worker that a typed error stopped.
pub(crate) const STOPPED: u8 = 3;

/// What a worker does.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Job {
    /// Makes the file, then runs operations.
    Create,
    /// Opens the file, then runs operations.
    Open,
    /// Opens the file and drops the pager, again and again.
    Recover,
}

impl Job {
    pub(crate) fn name(self) -> &'static str {
        match self {
            Job::Create => "create",
            Job::Open => "open",
            Job::Recover => "recover",
        }
    }
}

/// Arguments: the job, the page size, the seed of the operations, the file, and the mistake to make if there is to be one.
pub(crate) fn run(arguments: &[String]) -> ExitCode {
    let [job, page_size, seed, path, mistake @ ..] = arguments else { return ExitCode::from(2) };
    if !mistake.iter().all(|name| mistakes::plant(name)) {
        return ExitCode::from(2);
    }
    let jobs = [Job::Create, Job::Open, Job::Recover];
    let (Some(job), Ok(seed)) = (jobs.into_iter().find(|known| known.name() == job), seed.parse()) else {
        return ExitCode::from(2);
    };
    let worked = match page_size.as_str() {
        "1024" => work::<1024>(job, seed, Path::new(path)),
        "4096" => work::<4096>(job, seed, Path::new(path)),
        _ => work::<16384>(job, seed, Path::new(path)),
    };
    let Err(error) = worked else { return ExitCode::SUCCESS };
    eprintln!("{error}");
    // What stops is the disk: nothing may be found to be corrupt, and nothing else be refused.
    ExitCode::from(if error.is_io() || matches!(error, Error::Poisoned) { STOPPED } else { 1 })
}

/// Nanoseconds on the clock that all processes of the machine share.
pub(crate) fn now() -> i128 {
    let time = clock_gettime(ClockId::Monotonic);
    i128::from(time.tv_sec) * 1_000_000_000 + i128::from(time.tv_nsec)
}

/// What happened, and when. One write for each line, so that none is half there.
fn acknowledge(line: &str) {
    let written = io::stdout().write_all(format!("{} {line}\n", now()).as_bytes());
    if written.and_then(|()| io::stdout().flush()).is_err() {
        // Nobody listens any more.
        std::process::exit(0);
    }
}

fn work<const P: usize>(job: Job, seed: u64, path: &Path) -> Result<(), Error> {
    // Of every second worker the file grows without space, which is allocated when pages are handed out.
    let options = PagerOptions::new().sparse(seed % 2 == 1);
    let mut lab = match job {
        Job::Create => FileLab::<P>::create(options, path)?,
        Job::Open => FileLab::<P>::open(options, path)?,
        Job::Recover => loop {
            let pager = PagerOptions::new().open::<P>(path)?;
            acknowledge(&format!("generation {}", pager.generation()));
        },
    };
    acknowledge("open");
    let (mut draws, mut pauses, mut made) = (Draws::new(seed), Draws::new(!seed), 0);
    loop {
        let operation = draws.operation();
        if let Err(error) = lab.run(&operation) {
            if let Some(pager) = &mut lab.pager {
                // Its disk is gone, so nothing more is acknowledged, and what was committed is still named.
                assert!(pager.alloc().is_err(), "{operation:?} failed with {error}, and the next one succeeds");
                assert!(pager.generation().to_u64() >= lab.model.generation);
            }
            return Err(error);
        }
        acknowledge("done");
        // Of every fourth worker: a copy is synced, and what a filesystem syncs with it is not in flight any more.
        if seed % 8 < 2 && made < MOST_COPIES && pauses.below(5) == 0 {
            copies::make(lab.pager.as_ref().expect("it is open"), path, made, seed % 16 < 2)?;
            acknowledge(&copies::line(made));
            made += 1;
        }
        // Now and then nothing is in flight when the power fails: the next commit would cover what this one forgot.
        if pauses.below(6) == 0 {
            thread::sleep(Duration::from_micros(pauses.below(4000)));
        }
    }
}
