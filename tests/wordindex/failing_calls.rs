//! `strace` lets calls of the kernel fail under the program as it ships, or kills it there: it ends with an error, or at once, and
//! the next run ends with the right index.

use std::fs;
use std::io::{self, Write};
use std::process::{Command, Output};

use crate::{IS_VERIFIED, Place, failed, program, reported, succeeded};

/// One line that nobody overlooks: what is printed is captured, what is written here is not.
fn skip(why: &str) {
    let _ = writeln!(io::stderr(), "!!!!!!!! SKIPPED: failing calls under the example program: {why} !!!!!!!!");
}

fn strace_works() -> bool {
    let Ok(output) = Command::new("strace").args(["-o", "/dev/null", "true"]).output() else {
        skip("there is no strace");
        return false;
    };
    if !output.status.success() {
        skip("strace may not trace");
    }
    output.status.success()
}

/// Few enough words for a short run, and enough for a file that grows, with lists that stay in a sub-page, that leave it for an
/// extent in the third file, and that are in extents from the first.
fn place() -> Place {
    let place = Place::new();
    for file in 0..3 {
        let lines: Vec<String> =
            (0..150).map(|line| format!("line of file{file}: part{} word{} {line}\n", line % 6, line * 3)).collect();
        place.write(&format!("{file}.txt"), lines.concat());
    }
    place
}

/// Builds the index while what `inject` describes becomes of its calls. Returns whether there was such a call.
fn build_failing(place: &Place, inject: &str) -> (Output, bool) {
    let log = place.folder.path().join("calls");
    let (call, _) = inject.split_once(':').expect("a call and what becomes of it");
    let output = Command::new("strace")
        .args(["-f", "-qq", "-e", &format!("trace={call}"), "-e", &format!("inject={inject}"), "-o"])
        .arg(&log)
        .arg(program())
        .arg("--index")
        .arg(place.index())
        .arg(place.texts())
        .output()
        .expect("strace runs");
    let injected = fs::read_to_string(&log).expect("strace has written a log").contains("(INJECTED)");
    (output, injected)
}

/// Lets call `n` fail for every `n` until a run passes untouched; with `rest`, all later ones as well.
fn fail_each(call: &str, error: &str, rest: &str) -> u32 {
    let expected = succeeded(&place().build(&[]));
    for n in 1.. {
        let place = place();
        let (output, injected) = build_failing(&place, &format!("{call}:error={error}:when={n}{rest}"));
        if !injected {
            succeeded(&output);
            return n - 1;
        }
        // Where a call may fail without harm, as the cut of a tail at the end, the run succeeds.
        if !output.status.success() {
            let message = failed(&output, 1);
            assert!(message.starts_with("wordindex: ") && !message.contains("panicked"), "{call} {n}: {message}");
        }
        assert_goes_on(&place, &expected, &format!("{call} {n} with {error}"));
    }
    unreachable!("some run is untouched")
}

/// The next run ends with the index of a run that nothing happened to.
fn assert_goes_on(place: &Place, expected: &str, after: &str) {
    let report = succeeded(&place.build(&[]));
    assert!(report.contains(IS_VERIFIED), "{after}: {report}");
    for what in ["files", "words", "postings", "extents"] {
        assert_eq!(reported(&report, what), reported(expected, what), "{what} after {after}");
    }
}

/// Kills the program before call `n` for every `n`, until a run passes untouched.
fn kill_at_each(call: &str) -> u32 {
    let expected = succeeded(&place().build(&[]));
    for n in 1.. {
        let place = place();
        let (output, _) = build_failing(&place, &format!("{call}:signal=KILL:when={n}"));
        if output.status.success() {
            return n - 1;
        }
        assert_ne!(output.status.code(), Some(1), "{call} {n}: it was killed, and ends by itself");
        assert_goes_on(&place, &expected, &format!("a kill at {call} {n}"));
    }
    unreachable!("some run is untouched")
}

fn fail_if_possible(cases: &[(&str, &str, &str)]) {
    if strace_works() {
        for (call, error, rest) in cases {
            let runs = fail_each(call, error, rest);
            assert!(runs > 0, "{call} is never called");
            println!("{call} {error} {rest}: {runs} runs");
        }
    }
}

#[test]
fn a_sync_that_fails_under_the_program_is_an_error_and_the_next_run_ends_right() {
    fail_if_possible(&[("fdatasync", "EIO", ""), ("fdatasync", "EIO", "+"), ("fsync", "EIO", "")]);
}

#[test]
fn a_write_that_fails_under_the_program_is_an_error_and_the_next_run_ends_right() {
    fail_if_possible(&[("pwrite64", "ENOSPC", ""), ("pwritev", "EIO", ""), ("fallocate", "ENOSPC", "")]);
}

#[test]
fn a_kill_at_any_write_or_sync_leaves_what_the_next_run_goes_on_from() {
    if strace_works() {
        for call in ["pwrite64", "pwritev", "fdatasync", "fsync"] {
            let runs = kill_at_each(call);
            assert!(runs > 0, "{call} is never called");
            println!("a kill at {call}: {runs} runs");
        }
    }
}
