//! The run: in a place of its own, one thread for each filesystem.

use std::fs;
use std::process::{Command, ExitCode};
use std::thread;
use std::time::{Duration, Instant};

use crashlab::draws::Draws;

use crate::disk::{self, Disk, Kind, PLACE, Place};
use crate::life::{Life, Tally, Trouble};
use crate::mistakes;
use crate::options::{Options, USAGE};
use crate::worker;

/// How often a file is cut off before another takes its place.
const ROUNDS: u64 = 15;

pub(crate) fn main() -> ExitCode {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    match arguments.first().map(String::as_str) {
        Some("--worker") => worker::run(&arguments[1..]),
        Some("--inside") => report(&arguments[1..], inside),
        _ => report(&arguments, outside),
    }
}

fn report(arguments: &[String], run: impl FnOnce(&Options, &[String]) -> Result<(), String>) -> ExitCode {
    let options = match Options::parse(arguments) {
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
    match run(&options, arguments) {
        Ok(()) => ExitCode::SUCCESS,
        Err(message) => {
            println!("{message}");
            ExitCode::FAILURE
        }
    }
}

/// One line that nobody overlooks.
fn skip(what: &str, why: &str) {
    println!("!!!!!!!! SKIPPED: power cuts on {what}: {why} !!!!!!!!");
}

/// Starts this program again where its mounts are its own, if this machine lets it.
fn outside(options: &Options, arguments: &[String]) -> Result<(), String> {
    if let Some(kills) = options.kills {
        return kill(&Options { cuts: kills, ..options.clone() });
    }
    let unshared = || {
        let mut command = Command::new("unshare");
        command.args(["--mount", "--propagation", "private"]);
        command
    };
    if let Err(why) = disk::run(unshared().args(["mount", "-t", "tmpfs", "tmpfs", PLACE])) {
        skip("real filesystems", &why);
        return Ok(());
    }
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let status = unshared().arg(program).arg("--inside").args(arguments).status();
    let status = status.map_err(|error| error.to_string())?;
    if status.success() { Ok(()) } else { Err(format!("power cuts of real filesystems: {status}")) }
}

/// Kills processes where files lie that nobody needs.
fn kill(options: &Options) -> Result<(), String> {
    std::panic::set_hook(Box::new(|_| {}));
    // On a disk, where there is one: most of the time a commit waits for it then, and is what the kill hits.
    let folder = std::env::temp_dir().join(format!("kernel_cuts-{}", std::process::id()));
    fs::create_dir(&folder).map_err(|error| error.to_string())?;
    let killed = cut_all(options, &[Place::Folder(folder.clone())]);
    let removed = fs::remove_dir_all(&folder).map_err(|error| error.to_string());
    killed.and(removed)
}

fn inside(options: &Options, _: &[String]) -> Result<(), String> {
    disk::run(Command::new("mount").args(["-t", "tmpfs", "tmpfs", PLACE]))?;
    // What does not hold is in the report, without a trace.
    std::panic::set_hook(Box::new(|_| {}));
    let mut disks = Vec::new();
    let is_asked_for = |kind: &Kind| options.filesystem.as_deref().is_none_or(|only| only == kind.name());
    for kind in Kind::ALL.into_iter().filter(is_asked_for) {
        match Disk::new(kind) {
            Ok(disk) => disks.push(Place::Disk(disk)),
            Err(why) => skip(kind.name(), &why),
        }
    }
    if options.planted { find_mistakes(options, &disks) } else { cut_all(options, &disks) }
}

fn cut_all(options: &Options, places: &[Place]) -> Result<(), String> {
    let started = Instant::now();
    let plan = Plan {
        seed: options.seed,
        cuts: options.cuts.div_ceil(u64::try_from(places.len().max(1)).expect("usize fits u64")),
        deadline: options.seconds.map(|seconds| started + Duration::from_secs(seconds)),
        mistake: None,
    };
    let ended: Vec<(Tally, Result<(), Trouble>)> = thread::scope(|scope| {
        let threads: Vec<_> = places.iter().map(|place| scope.spawn(|| plan.run(place))).collect();
        threads.into_iter().map(|thread| thread.join().expect("what panics is caught")).collect()
    });
    let (mut messages, mut violations) = (Vec::new(), 0);
    for (place, (tally, ended)) in places.iter().zip(ended) {
        print_tally(place, &tally);
        match ended {
            Ok(()) => {}
            Err(Trouble::Violation(message)) => {
                violations += 1;
                messages.push(format!("VIOLATION on {}: {message}", place.name()));
            }
            Err(Trouble::Environment(message)) => messages.push(format!("stopped on {}: {message}", place.name())),
        }
    }
    println!("seed {}, {} s, {violations} violations", options.seed, started.elapsed().as_secs());
    if messages.is_empty() { Ok(()) } else { Err(messages.join("\n")) }
}

/// Each mistake in turn, until a power cut shows it.
fn find_mistakes(options: &Options, places: &[Place]) -> Result<(), String> {
    let names = mistakes::names();
    if names.is_empty() {
        return Err("nothing can be planted: built without --cfg diptych_planted".to_owned());
    }
    let Some(place) = places.first() else { return Ok(()) };
    println!("| mistake | cuts until found on {} | reported as |\n|---|--:|---|", place.name());
    for name in names {
        let plan = Plan { seed: options.seed, cuts: options.cuts, deadline: None, mistake: Some(&name) };
        let (tally, found) = plan.run(place);
        let message = match found {
            Ok(()) => return Err(format!("{name} is not found in {} cuts", tally.cuts)),
            Err(Trouble::Environment(message)) => return Err(format!("{name}, stopped: {message}")),
            Err(Trouble::Violation(message)) => message,
        };
        println!("| `{name}` | {} | {} |", tally.cuts, message.replace('\n', " "));
    }
    Ok(())
}

/// How a filesystem is treated.
struct Plan<'m> {
    seed: u64,
    cuts: u64,
    deadline: Option<Instant>,
    mistake: Option<&'m str>,
}

impl Plan<'_> {
    /// Files of all page sizes in turn.
    fn run(&self, place: &Place) -> (Tally, Result<(), Trouble>) {
        let mut draws = Draws::new(self.seed);
        let mut tally = Tally::default();
        while tally.cuts < self.cuts && self.deadline.is_none_or(|deadline| Instant::now() < deadline) {
            let (number, rounds) = (tally.files, ROUNDS.min(self.cuts - tally.cuts));
            let lived = match number % 3 {
                0 => Life::<4096>::new(place, number, self.mistake).live(rounds, &mut draws, &mut tally),
                1 => Life::<1024>::new(place, number, self.mistake).live(rounds, &mut draws, &mut tally),
                _ => Life::<16384>::new(place, number, self.mistake).live(rounds, &mut draws, &mut tally),
            };
            if let Err(trouble) = lived {
                return (tally, Err(trouble));
            }
        }
        (tally, Ok(()))
    }
}

fn print_tally(place: &Place, tally: &Tally) {
    println!("{}", place.name());
    println!(
        "  {}  {}",
        if place.loses_the_cache() { "power cuts             " } else { "kills                  " },
        tally.cuts
    );
    println!("  ... before it was open   {}", tally.before_open);
    println!("  ... during recoveries    {}", tally.in_recovery);
    println!("  files                    {}", tally.files);
    println!("  acknowledged operations  {}", tally.acknowledged);
    println!("  whole snapshots          {}", tally.copies);
    println!("  done, not acknowledged   {}", tally.in_flight_done);
    println!("  acknowledged late, lost  {}", tally.late_lost);
    println!("  recovered with work      {}", tally.recovered);
    println!("  workers ended by SIGBUS  {}", tally.bus_errors);
}
