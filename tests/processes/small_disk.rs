//! A test that needs a filesystem of its own starts itself again where one is mounted.

use std::env;
use std::io::{self, Write};
use std::process::Command;

use crate::second_process::FILE;

/// One line that nobody overlooks: what is printed is captured, what is written here is not.
fn skip(what: &str) {
    let _ = writeln!(io::stderr(), "!!!!!!!! SKIPPED: {what} !!!!!!!!");
}

/// The exit status of a shell that could not make a filesystem.
const NO_FILESYSTEM: i32 = 77;

/// Runs a test again on `/mnt/small`, a filesystem that `setup` makes and mounts, if this machine lets it. Nobody else sees
/// it, and it is gone with the process.
pub(crate) fn run_on_small_disk(test: &str, what: &str, setup: &str) {
    let script = format!(
        "{{ mount -t tmpfs tmpfs /mnt && mkdir /mnt/small && {setup}; }} >/dev/null 2>&1 || exit {NO_FILESYSTEM}; \
         exec \"$0\" --exact {test} --nocapture --test-threads=1"
    );
    let output = Command::new("unshare")
        .args(["--mount", "--propagation", "private", "sh", "-c", &script])
        .arg(env::current_exe().unwrap())
        .env(FILE, "/mnt/small/file")
        .output();
    let Ok(output) = output.map_err(|error| skip(&format!("{what}: unshare: {error}"))) else { return };
    let printed = [output.stdout, output.stderr].map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).concat();
    if output.status.code() == Some(NO_FILESYSTEM) || printed.starts_with("unshare:") {
        return skip(&format!("{what}: it cannot be mounted here"));
    }
    // Not by a signal: `SIGBUS` is what a store to a page without space would be.
    assert!(output.status.success(), "{}: {printed}", output.status);
}
