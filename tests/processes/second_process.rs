//! A test that needs another process starts itself again; the environment tells the copy what to do.

use std::env;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};

/// The variable of the environment that names it.
pub(crate) const FILE: &str = "DIPTYCH_TEST_FILE";

/// The file that this process is to work on, if it is the second one.
pub(crate) fn file_of_second_process() -> Option<PathBuf> {
    env::var_os(FILE).map(PathBuf::from)
}

/// Starts this test again on a file, through a shell that runs `setup` first.
pub(crate) fn start_again(test: &str, file: &Path, setup: &str) -> Child {
    Command::new("sh")
        .arg("-c")
        .arg(format!("{setup} exec \"$0\" --exact {test} --nocapture --test-threads=1"))
        .arg(env::current_exe().unwrap())
        .env(FILE, file)
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .unwrap()
}
