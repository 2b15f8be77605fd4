//! One file and what became of it: rounds of work, a power cut, and a comparison with the model.

use std::collections::BTreeSet;
use std::fs;
use std::io::{self, Read};
use std::num::NonZeroU64;
use std::ops::RangeInclusive;
use std::os::unix::process::ExitStatusExt;
use std::path::PathBuf;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::thread;
use std::time::{Duration, Instant};

use crashlab::draws::Draws;
use crashlab::file_lab::verify_file;
use crashlab::lab::Lab;
use crashlab::model::Model;
use crashlab::operation::Operation;
use crashlab::verify::{caught, verify};
use diptych::{PagerOptions, SimDisk, SimImage};
use rustix::fs::{Advice, fadvise};

use crate::copies;
use crate::disk::Place;
use crate::worker::{Job, STOPPED, now};

/// How long a worker may take to notice that its disk is gone.
const PATIENCE: Duration = Duration::from_secs(20);

/// A signal of every Linux but the one for MIPS.
const SIGBUS: i32 = 7;
const SIGKILL: i32 = 9;

/// What was done.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Tally {
    pub(crate) cuts: u64,
    pub(crate) files: u64,
    /// Cuts before the worker had made or opened the file.
    pub(crate) before_open: u64,
    /// Cuts of workers that do nothing but recover.
    pub(crate) in_recovery: u64,
    pub(crate) acknowledged: u64,
    /// Snapshots that are there after a cut, whole.
    pub(crate) copies: u64,
    /// The operation in flight is there although nobody was told so.
    pub(crate) in_flight_done: u64,
    /// Files that recovery had to change.
    pub(crate) recovered: u64,
    /// What was acknowledged while the filesystem stopped is not there.
    pub(crate) late_lost: u64,
    /// Workers that the dead disk killed through the map, instead of by an error.
    pub(crate) bus_errors: u64,
}

/// Why a file did not live on.
#[derive(Debug)]
pub(crate) enum Trouble {
    /// Something does not hold.
    Violation(String),
    /// Something cannot be done here, whatever the pager does.
    Environment(String),
}

impl Trouble {
    fn of(self, file: &str) -> Trouble {
        match self {
            Trouble::Violation(message) => Trouble::Violation(format!("{file}: {message}")),
            Trouble::Environment(message) => Trouble::Environment(format!("{file}: {message}")),
        }
    }
}

/// What programs and calls of the system say.
impl From<String> for Trouble {
    fn from(message: String) -> Self {
        Trouble::Environment(message)
    }
}

/// What is known of a file.
#[derive(Debug, Default)]
struct Known {
    /// Its bytes and what it shows, unless it does not exist.
    file: Option<(Vec<u8>, Model)>,
}

/// A file with pages of one size, from its creation on.
#[derive(Debug)]
pub(crate) struct Life<'d, const P: usize> {
    place: &'d Place,
    path: PathBuf,
    known: Known,
    /// The name of what is planted in the workers.
    mistake: Option<String>,
}

impl<'d, const P: usize> Life<'d, P> {
    pub(crate) fn new(place: &'d Place, number: u64, mistake: Option<&str>) -> Self {
        let path = place.folder().join(format!("{}{number}.diptych", mistake.unwrap_or_default()));
        Life { place, path, known: Known::default(), mistake: mistake.map(str::to_owned) }
    }

    /// Works, cuts and compares, `rounds` times or until the file is large; then removes the file.
    ///
    /// # Errors
    ///
    /// What does not hold, or what cannot be done here.
    pub(crate) fn live(mut self, rounds: u64, draws: &mut Draws, tally: &mut Tally) -> Result<(), Trouble> {
        tally.files += 1;
        for _ in 0..rounds {
            self.round(draws, tally)
                .map_err(|trouble| trouble.of(&format!("pages of {P} bytes, {}", self.path.display())))?;
            if fs::metadata(&self.path).is_ok_and(|file| file.len() > 12 << 20) {
                break;
            }
        }
        let removed = fs::remove_file(&self.path);
        removed.or_else(|error| if self.known.file.is_none() { Ok(()) } else { Err(error.to_string().into()) })
    }

    fn round(&mut self, draws: &mut Draws, tally: &mut Tally) -> Result<(), Trouble> {
        let seed = draws.number();
        let job = if self.known.file.is_some() { Job::Open } else { Job::Create };
        let worked = self.work_and_cut(job, seed, draws, tally)?;
        tally.copies += copies::check::<P>(&self.path, &worked.sure)
            .map_err(|message| Trouble::Violation(format!("seed {seed:#x}: {message}")))?;
        let acknowledged = worked.count("done");
        let (is_open, is_open_for_sure) = (*worked.count("open").end() > 0, *worked.count("open").start() > 0);
        tally.acknowledged += u64::try_from(*acknowledged.end()).expect("usize fits u64");
        tally.before_open += u64::from(!is_open);
        if job == Job::Create && !is_open_for_sure && !self.path.exists() {
            return Ok(());
        }
        let states = caught(|| models::<P>(&self.known, seed, is_open.then(|| acknowledged.clone())))
            .map_err(Trouble::Violation)?;
        let case = format!("seed {seed:#x}, {acknowledged:?} operations were acknowledged");
        // Recovery may be cut off as well, but where it ended stands.
        let mut said = BTreeSet::new();
        while draws.below(4) == 0 {
            tally.in_recovery += 1;
            said.extend(self.work_and_cut(Job::Recover, 0, draws, tally)?.sure);
        }
        let kept = fs::read(&self.path).map_err(|error| match error.kind() {
            io::ErrorKind::NotFound => Trouble::Violation(format!("{case}: the file is gone")),
            _ => Trouble::Environment(format!("{case}: {error}")),
        })?;
        let (before, after) = self.state_in(&kept, &states, tally);
        let (model, recovered) = caught(|| verify_file::<P>(&self.path, &before, &after))
            .map_err(|message| Trouble::Violation(format!("{case}, {}: {message}", self.keep_evidence(seed, &kept))))?;
        let found = generation_line(model.generation);
        if said.iter().any(|said| *said != found) {
            return Err(Trouble::Violation(format!("{case}: recovery said {said:?} before, and now {found}")));
        }
        tally.recovered += u64::from(recovered);
        tally.in_flight_done += u64::from(model.generation > before.generation);
        let bytes = fs::read(&self.path).map_err(|error| format!("{case}: {error}"))?;
        self.known.file = Some((bytes, model));
        Ok(())
    }

    /// The last two neighbours that the file may be in. More than one pair there is only if something was acknowledged while
    /// the filesystem stopped.
    fn state_in(&self, kept: &[u8], states: &[Model], tally: &mut Tally) -> (Model, Model) {
        let pairs = states.windows(2).rev().map(|pair| {
            let (mut before, mut after) = (pair[0].clone(), pair[1].clone());
            if !self.place.loses_the_cache() {
                keep_stores(&mut before, &mut after);
            }
            (before, after)
        });
        let mut pairs = pairs.peekable();
        let newest = pairs.peek().expect("there are two states").clone();
        if states.len() == 2 {
            return newest;
        }
        let holds = |(before, after): &(Model, Model)| {
            caught(|| verify::<P>(SimImage::from(kept.to_vec()), before, after, 0)).is_ok()
        };
        let found = pairs.position(|pair| holds(&pair));
        tally.late_lost += u64::from(found.is_some_and(|back| back > 0));
        let back = found.unwrap_or(0);
        let at = states.len() - 2 - back;
        if back == 0 { newest } else { (states[at].clone(), states[at + 1].clone()) }
    }

    /// Writes the file as the worker found it and as the power cut left it to where they stay.
    fn keep_evidence(&self, seed: u64, left: &[u8]) -> String {
        if self.mistake.is_some() {
            return "as was to be found".to_owned();
        }
        let place = std::env::temp_dir();
        let (found_path, left_path) = (place.join(format!("{seed:x}.found")), place.join(format!("{seed:x}.left")));
        let found = self.known.file.as_ref().map_or_else(Vec::new, |(bytes, _)| bytes.clone());
        match fs::write(&found_path, found).and_then(|()| fs::write(&left_path, left)) {
            Ok(()) => format!("see {} and {}", found_path.display(), left_path.display()),
            Err(error) => format!("the evidence is lost: {error}"),
        }
    }

    /// Lets a worker do its job for a while, cuts the power, and starts the machine again.
    fn work_and_cut(&self, job: Job, seed: u64, draws: &mut Draws, tally: &mut Tally) -> Result<Worked, Trouble> {
        let mut worker = self.start(job, seed)?;
        let mut output = worker.stdout.take().expect("it is piped");
        let mut errors = worker.stderr.take().expect("it is piped");
        let lines = thread::spawn(move || {
            let mut text = String::new();
            output.read_to_string(&mut text).map(|_| text)
        });
        let complaints = thread::spawn(move || {
            let mut text = String::new();
            errors.read_to_string(&mut text).map(|_| text)
        });
        // A worker takes about two milliseconds to start.
        let until = if draws.below(5) == 0 || job == Job::Recover { draws.below(6_000) } else { draws.below(40_000) };
        self.wait(Instant::now() + Duration::from_micros(until), draws);
        let early = worker.try_wait().map_err(|error| error.to_string())?;
        // A process that is killed has been told the truth to its end.
        let cut_at = if self.place.loses_the_cache() { now() } else { i128::MAX };
        self.place.cut(&mut worker)?;
        tally.cuts += 1;
        let status = ended(&mut worker)?;
        let text = lines.join().expect("it reads").map_err(|error| error.to_string())?;
        let complaints = complaints.join().expect("it reads").map_err(|error| error.to_string())?;
        self.place.start_again()?;
        let job = job.name();
        if let Some(early) = early {
            let how = format!("a worker told to {job} ended by itself with seed {seed:#x}: {early}, {complaints}");
            return Err(Trouble::Violation(how));
        }
        match (status.code(), status.signal()) {
            (None, Some(SIGKILL)) if !self.place.loses_the_cache() => {}
            (Some(code), _) if code == i32::from(STOPPED) => {}
            // A store through the map of a disk that is gone.
            (None, Some(SIGBUS)) => tally.bus_errors += 1,
            _ => {
                let how = format!("a worker told to {job} with seed {seed:#x}: {status}, {complaints}");
                return Err(Trouble::Violation(how));
            }
        }
        let lines = text.lines().filter_map(|line| line.split_once(' '));
        let is_sure = |time: &str| time.parse::<i128>().is_ok_and(|time| time < cut_at);
        let (sure, late): (Vec<_>, Vec<_>) = lines.partition(|(time, _)| is_sure(time));
        let texts = |lines: Vec<(&str, &str)>| lines.into_iter().map(|(_, line)| line.to_owned()).collect();
        Ok(Worked { sure: texts(sure), late: texts(late) })
    }

    fn start(&self, job: Job, seed: u64) -> Result<Child, String> {
        let program = std::env::current_exe().map_err(|error| error.to_string())?;
        let mut command = Command::new(program);
        command.args(["--worker", job.name(), &P.to_string(), &seed.to_string()]).arg(&self.path).args(&self.mistake);
        command.stdin(Stdio::null()).stdout(Stdio::piped()).stderr(Stdio::piped());
        command.spawn().map_err(|error| format!("a worker: {error}"))
    }

    /// Until then the kernel is asked again and again to write some of the file back and to forget what it has written: by
    /// itself it would do that after seconds.
    fn wait(&self, until: Instant, draws: &mut Draws) {
        while let Some(left) = until.checked_duration_since(Instant::now()).filter(|left| !left.is_zero()) {
            thread::sleep(left.min(Duration::from_micros(200 + draws.below(3000))));
            let Ok(file) = fs::File::open(&self.path) else { continue };
            let page = draws.below(200);
            // Advice that is not taken is no failure.
            let _ = fadvise(&file, page * 4096, NonZeroU64::new(4096 * (1 + draws.below(20))), Advice::DontNeed);
        }
    }
}

/// What a worker acknowledged.
struct Worked {
    /// Before the power failed.
    sure: Vec<String>,
    /// While the filesystem stopped: a sync that races with that may say that it succeeded when its log is gone already.
    /// Nobody would have heard it when power fails.
    late: Vec<String>,
}

impl Worked {
    /// How often it acknowledged this: so often for sure, and up to so often.
    fn count(&self, what: &str) -> RangeInclusive<usize> {
        let count = |lines: &[String]| lines.iter().filter(|line| *line == what).count();
        let sure = count(&self.sure);
        sure..=sure + count(&self.late)
    }
}

/// How the recovery worker names a generation.
fn generation_line(generation: u64) -> String {
    format!("generation {generation}")
}

/// A process that dies leaves its stores in the page cache: all of them are there but those of the operation in flight.
fn keep_stores(before: &mut Model, after: &mut Model) {
    for (name, page) in before.stored_mut() {
        if let Some(later) = after.stored_mut().find(|(later, _)| *later == name).map(|(_, later)| later)
            && later.fill == page.fill
        {
            page.settle();
            later.settle();
        }
    }
}

/// Waits until the worker has noticed.
fn ended(worker: &mut Child) -> Result<ExitStatus, Trouble> {
    let deadline = Instant::now() + PATIENCE;
    loop {
        if let Some(status) = worker.try_wait().map_err(|error| error.to_string())? {
            return Ok(status);
        }
        if Instant::now() > deadline {
            let killed = worker.kill().and_then(|()| worker.wait());
            return Err(Trouble::Violation(format!("a worker does not end although its disk is gone: {killed:?}")));
        }
        thread::sleep(Duration::from_micros(500));
    }
}

/// The states from the fewest acknowledged operations to one more than the most, found by running them on a simulated disk.
/// Without a number the file was not opened, and is what it was.
fn models<const P: usize>(known: &Known, seed: u64, acknowledged: Option<RangeInclusive<usize>>) -> Vec<Model> {
    let mut lab = match &known.file {
        Some((bytes, model)) => {
            let disk = SimDisk::from_image(bytes.clone());
            disk.record(false);
            let pager = PagerOptions::new().open_on::<P>(&disk).expect("it was opened before");
            Lab::around(disk, pager, model.clone())
        }
        None => {
            let lab = Lab::<P>::new();
            lab.disk.record(false);
            lab
        }
    };
    let Some(acknowledged) = acknowledged else { return vec![lab.model.clone(), lab.model] };
    let mut states = vec![lab.model.clone()];
    let mut draws = Draws::new(seed);
    let mut step = || {
        let operation = draws.operation();
        if let Operation::Drop = operation {
            // The stores of a process that ends are in a real page cache; the simulated one has those that a call has seen.
            lab.run(&Operation::Sync).expect("nothing fails");
        }
        lab.run(&operation).expect("nothing fails");
        lab.model.clone()
    };
    states.extend((0..=*acknowledged.end()).map(|_| step()));
    states.split_off(*acknowledged.start())
}
