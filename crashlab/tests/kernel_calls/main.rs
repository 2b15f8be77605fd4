//! The calls that the shipped code makes of the kernel: counted, compared with those of the simulated disk, and failing.
//!
//! This binary defines the functions of the C library that the code calls, so each call on a real file passes through
//! `interposed.rs`. `rustix` would make its calls without the library; a feature that only this build turns on has it use the
//! library, for the same calls with the same arguments.

#![cfg(target_os = "linux")]

mod counts;
mod failures;
mod interposed;
mod sequences;

use std::path::Path;

use tempfile::TempDir;

/// A folder in memory where there is one: what is asked of the kernel is the same everywhere, and nothing waits for a disk.
fn folder() -> TempDir {
    let memory = Path::new("/dev/shm");
    if memory.is_dir() { tempfile::tempdir_in(memory) } else { tempfile::tempdir() }.expect("a folder can be made")
}
