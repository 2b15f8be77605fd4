//! The one request that no safe function makes: a filesystem is to stop at once.

#![expect(unsafe_code, reason = "an ioctl is described by its number alone")]

use std::fs::File;
use std::io;

use rustix::ioctl::{Opcode, Setter, ioctl};

/// `EXT4_IOC_SHUTDOWN` and `XFS_IOC_GOINGDOWN`, which are one number: `_IOR('X', 125, __u32)`.
const SHUTDOWN: Opcode = 0x8004_587d;

/// What is in the log's buffers is lost, too, as when power fails.
const WITHOUT_FLUSHING_THE_LOG: u32 = 2;

/// Stops the filesystem that holds `file`: nothing written, synced or logged from now on reaches its disk.
pub(crate) fn shut_down(file: &File) -> io::Result<()> {
    // SAFETY: `SHUTDOWN` is a valid opcode: ext4 and XFS define it, other filesystems answer with an error.
    // Its argument is a pointer to a `u32` that the kernel reads, which is what `Setter` of a `u32` passes.
    let request = unsafe { Setter::<SHUTDOWN, u32>::new(WITHOUT_FLUSHING_THE_LOG) };
    // SAFETY: `file` is open for the whole call.
    // The request touches no memory but the `u32` that it owns.
    unsafe { ioctl(file, request) }?;
    Ok(())
}
