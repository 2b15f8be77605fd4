//! Where bytes live: the seam between the engine and the operating system.
//!
//! The engine reads, writes, grows and syncs through the object-safe trait [`Storage`] and does not know whether a file or
//! the [simulated disk](SimDisk) is behind it. Every call that can change what is durable passes here and nowhere else, so
//! the code that ships is the code that the crash tests run.
//!
//! Bytes that users view come from one concrete type, [`Region`], handed to every call that may have to keep it in step:
//! a read of a page makes no virtual call.

mod access;
mod advice;
mod copy;
mod file;
mod increment;
mod overlay;
mod region;
mod sim_disk;
mod touched;

use std::fmt;
use std::fs::File;
use std::io;
use std::path::Path;

pub(crate) use access::Access;
pub use advice::AccessPattern;
pub(crate) use copy::{Content, Copied, Ranges, Source};
pub(crate) use file::FileStorage;
pub(crate) use increment::{Increment, NewIncrement};
pub(crate) use overlay::Overlay;
pub(crate) use region::Region;
pub use sim_disk::{
    Call, CallKind, CrashOptions, CrashPoint, CrashState, CrashStates, Damage, Epoch, EpochEnd, FaultPlan, SimDisk,
    SimImage, Subset, Tail, TornUnit,
};

/// Bytes of addresses that are reserved ahead of a file unless the caller says otherwise: where a map may be longer than its
/// file, and addresses cost nothing.
pub(crate) const DEFAULT_RESERVE: u64 =
    if cfg!(all(target_os = "linux", target_pointer_width = "64")) { 64 << 30 } else { 0 };

/// How much a barrier covers.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Barrier {
    /// The bytes of the file.
    Bytes,
    /// The bytes, and the length after growth.
    Length,
}

/// A place from which bytes are read.
///
/// Errors are the operating system's own; the engine adds the operation and the path.
pub(crate) trait Readable: Send + Sync + fmt::Debug {
    /// The path, for messages.
    fn path(&self) -> &Path;

    /// Length in bytes.
    fn len(&self) -> io::Result<u64>;

    /// Fills `buffer` from `offset`. Reading past the end is `UnexpectedEof`.
    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// As [`read_at`](Self::read_at), with what was stored through the region.
    fn read_shown(&self, region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()>;

    /// Makes an empty file hold what this one holds, stores through the region too, by sharing its space. `false` where that is
    /// not to be had.
    fn share_with(&self, copy: &File) -> bool;
}

/// What the engine asks of a place that keeps bytes.
///
/// Errors are the operating system's own; the engine adds the operation and the path. Calls that fail may have written a
/// part of their bytes; none of them is retried here except after `EINTR` and short transfers. Of a storage that was opened for
/// [reading](Access::Read), every call that would change something is `PermissionDenied`.
pub(crate) trait Storage: Readable {
    /// Advice that bytes which are on the disk need not be kept in memory.
    fn forget_cached(&self, offset: u64, len: u64);

    /// Makes the first `len` bytes visible as a region, with room reserved for `reserve` bytes where the platform allows.
    /// Called once, after the engine has validated the file.
    fn map(&mut self, len: u64, reserve: u64) -> io::Result<Region>;

    /// Writes `parts` one behind the other from `offset`; all of it lies inside the file. Afterwards a read and the region
    /// show the new bytes.
    ///
    /// Other parts of the region may be viewed meanwhile. **No view of the bytes that are written may be alive**, nor may one be
    /// made before this returns, and no two calls at a time write the same bytes: the compiler does not see to that, the
    /// [engine](crate::engine) does (`docs/UNSAFE.md`).
    fn write_at(&self, region: &Region, parts: &[&[u8]], offset: u64) -> io::Result<()>;

    /// Makes the file `len` bytes long (longer than now), with zeros in the new part, space really allocated unless
    /// `sparse`, and the region extended. Durable behind the next barrier of [`Barrier::Length`]. After an error the file is
    /// as long as before, or longer; the region still shows the old length.
    fn grow(&mut self, region: &mut Region, len: u64, sparse: bool) -> io::Result<()>;

    /// Cuts the file to `len` bytes, at most those of the region, and the region with it. Not durable by itself.
    fn cut(&mut self, region: &mut Region, len: u64) -> io::Result<()>;

    /// Allocates the space of a part of the file that may be a hole, without changing what it reads as.
    fn allocate(&self, offset: u64, len: u64) -> io::Result<()>;

    /// Whether [`punch`](Self::punch) can be done here. Changes nothing.
    fn can_punch(&mut self) -> io::Result<bool>;

    /// Gives the space of a part of the file back: it is a hole, and reads as zeros, in the region too. Not durable by itself.
    /// Returns by how many bytes the file occupies less. After an error any of it may have happened.
    fn punch(&mut self, region: &mut Region, offset: u64, len: u64) -> io::Result<u64>;

    /// Bytes that could still be allocated, as far as the platform tells.
    fn available(&self) -> io::Result<u64>;

    /// Takes back the name of a file that was created just now and that nobody else has opened.
    fn remove(&mut self) -> io::Result<()>;

    /// Whether parts of the file may be holes.
    fn has_holes(&self) -> io::Result<bool>;

    /// A sync that all earlier writes and stores through the region pass. After an error nothing is known about them.
    fn barrier(&self, region: &Region, barrier: Barrier) -> io::Result<()>;

    /// Makes the name of the file durable: a sync of the directory that holds it, links resolved.
    fn sync_directory(&mut self) -> io::Result<()>;
}
