//! Power cuts of real filesystems: `ext4` and `XFS` on loop devices are stopped in the middle of work, and what they leave is
//! compared with what was acknowledged. The same for processes that are killed.
//!
//! A cut is the filesystem's own shutdown request, without a flush of its log: nothing that was not synced is kept but what
//! the kernel happened to write before. A worker process runs operations drawn from a seed and says over a pipe how many were
//! acknowledged; the same operations on a simulated disk say what has to be there. Between operations it makes snapshots, each of
//! which has to be whole or absent.

#[cfg(target_os = "linux")]
mod copies;
#[cfg(target_os = "linux")]
mod disk;
#[cfg(target_os = "linux")]
mod life;
#[cfg(target_os = "linux")]
mod mistakes;
#[cfg(target_os = "linux")]
mod options;
#[cfg(target_os = "linux")]
mod run;
#[cfg(target_os = "linux")]
mod shutdown;
#[cfg(target_os = "linux")]
mod worker;

use std::process::ExitCode;

#[cfg(target_os = "linux")]
fn main() -> ExitCode {
    run::main()
}

#[cfg(not(target_os = "linux"))]
fn main() -> ExitCode {
    println!("!!!!!!!! SKIPPED: power cuts of real filesystems: this is not Linux");
    ExitCode::SUCCESS
}
