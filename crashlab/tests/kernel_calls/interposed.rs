//! The functions of the C library through which the code reaches its file, defined here: each notes the call, lets it fail if
//! that was planned, and else makes it.
//!
//! What is noted and planned belongs to the thread that does it, so tests beside each other do not mix.

#![expect(unsafe_code, reason = "functions of the C library are defined, and take pointers")]

use std::cell::RefCell;
use std::ffi::{c_int, c_long, c_void};
use std::fs;
use std::slice;

use libc::{iovec, off64_t, size_t, ssize_t};

/// What is asked of the kernel.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// `pread`.
    Read,
    /// `pwrite` and `pwritev`.
    Write,
    /// `fdatasync`.
    SyncData,
    /// `fsync` of a file.
    SyncAll,
    /// `fsync` of a directory.
    SyncDirectory,
    /// `fallocate`.
    Allocate,
    /// `fallocate` that makes a hole.
    Punch,
    /// `ftruncate`.
    Truncate,
    /// `mmap` of a file.
    Map,
    /// `msync`.
    FlushMap,
}

impl Kind {
    pub(crate) const ALL: [Kind; 10] = [
        Kind::Read,
        Kind::Write,
        Kind::SyncData,
        Kind::SyncAll,
        Kind::SyncDirectory,
        Kind::Allocate,
        Kind::Punch,
        Kind::Truncate,
        Kind::Map,
        Kind::FlushMap,
    ];

    pub(crate) fn name(self) -> &'static str {
        match self {
            Kind::Read => "pread",
            Kind::Write => "pwrite, pwritev",
            Kind::SyncData => "fdatasync",
            Kind::SyncAll => "fsync",
            Kind::SyncDirectory => "fsync of the directory",
            Kind::Allocate => "fallocate",
            Kind::Punch => "fallocate that makes a hole",
            Kind::Truncate => "ftruncate",
            Kind::Map => "mmap",
            Kind::FlushMap => "msync",
        }
    }
}

/// A call that was made.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) kind: Kind,
    /// Where it begins; the new length for `ftruncate`.
    pub(crate) offset: u64,
    pub(crate) len: u64,
    /// What a write writes; the whole file after a sync that succeeded.
    pub(crate) bytes: Vec<u8>,
}

/// Which calls fail: from number `n` on of a kind, counted from 1.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Failing {
    pub(crate) kind: Kind,
    pub(crate) n: u64,
    pub(crate) how: How,
    pub(crate) for_ever: bool,
}

/// What becomes of a call that fails.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum How {
    /// It is not made.
    Error(c_int),
    /// A read or write moves half of its bytes and says so.
    Half,
}

#[derive(Debug)]
struct Watch {
    on: bool,
    seen: Vec<Seen>,
    failing: Option<Failing>,
    calls: u64,
    fired: u64,
}

thread_local! {
    static WATCH: RefCell<Watch> =
        const { RefCell::new(Watch { on: false, seen: Vec::new(), failing: None, calls: 0, fired: 0 }) };
}

/// Notes the calls of this thread from now on, and lets some fail.
pub(crate) fn watch(failing: Option<Failing>) {
    WATCH.with_borrow_mut(|watch| *watch = Watch { on: true, seen: Vec::new(), failing, calls: 0, fired: 0 });
}

/// What was seen since; nothing is watched any more.
pub(crate) fn seen() -> Vec<Seen> {
    WATCH.with_borrow_mut(|watch| {
        watch.on = false;
        std::mem::take(&mut watch.seen)
    })
}

/// How many calls failed as planned.
pub(crate) fn fired() -> u64 {
    WATCH.with_borrow(|watch| watch.fired)
}

/// Notes a call, makes it unless it is to fail, and returns what the caller is told.
fn answer(kind: Kind, fd: c_int, offset: u64, bytes: &[u8], len: u64, make: impl FnOnce(u64) -> c_long) -> c_long {
    // A thread that is starting or ending maps memory without anybody watching.
    let planned = WATCH.try_with(|watch| {
        // Whatever is called in here, to look at the file for one, is no call of the code.
        let mut watch = watch.try_borrow_mut().ok().filter(|watch| watch.on)?;
        watch.seen.push(Seen { kind, offset, len, bytes: bytes.to_vec() });
        let failing = watch.failing.filter(|failing| failing.kind == kind)?;
        watch.calls += 1;
        let fails = watch.calls == failing.n || failing.for_ever && watch.calls > failing.n;
        watch.fired += u64::from(fails);
        fails.then_some(failing.how)
    });
    match planned.ok().flatten() {
        Some(How::Error(number)) => {
            // SAFETY: The function asks for nothing.
            let errno = unsafe { libc::__errno_location() };
            // SAFETY: It is where this thread has its error number: valid as long as the thread lives, and its own.
            unsafe { *errno = number };
            -1
        }
        Some(How::Half) if len > 1 => make(len / 2),
        _ => {
            let answer = make(len);
            if answer == 0 && matches!(kind, Kind::SyncData | Kind::SyncAll) {
                keep_content(fd);
            }
            answer
        }
    }
}

/// After a sync: what the file holds is what is durable.
fn keep_content(fd: c_int) {
    let _ = WATCH.try_with(|watch| {
        let mut watch = watch.try_borrow_mut().ok().filter(|watch| watch.on)?;
        watch.seen.last_mut()?.bytes = fs::read(format!("/proc/self/fd/{fd}")).expect("an open file can be read");
        Some(())
    });
}

/// Offsets and lengths of this crate's calls are never negative.
fn unsigned(number: i64) -> u64 {
    u64::try_from(number).unwrap_or(u64::MAX)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("usize fits u64")
}

fn transferred(answer: c_long) -> ssize_t {
    ssize_t::try_from(answer).expect("a transfer fits")
}

fn status(answer: c_long) -> c_int {
    c_int::try_from(answer).expect("0 or -1")
}

#[unsafe(no_mangle)]
extern "C" fn fdatasync(fd: c_int) -> c_int {
    // SAFETY: The call takes a descriptor, whatever number that is.
    status(answer(Kind::SyncData, fd, 0, &[], 0, |_| unsafe { libc::syscall(libc::SYS_fdatasync, fd) }))
}

#[unsafe(no_mangle)]
extern "C" fn fsync(fd: c_int) -> c_int {
    let is_directory = fs::metadata(format!("/proc/self/fd/{fd}")).is_ok_and(|file| file.is_dir());
    let kind = if is_directory { Kind::SyncDirectory } else { Kind::SyncAll };
    // SAFETY: The call takes a descriptor, whatever number that is.
    status(answer(kind, fd, 0, &[], 0, |_| unsafe { libc::syscall(libc::SYS_fsync, fd) }))
}

#[unsafe(no_mangle)]
extern "C" fn ftruncate64(fd: c_int, len: off64_t) -> c_int {
    // SAFETY: The call takes two numbers.
    status(answer(Kind::Truncate, fd, unsigned(len), &[], 0, |_| unsafe {
        libc::syscall(libc::SYS_ftruncate, fd, len)
    }))
}

#[unsafe(no_mangle)]
extern "C" fn fallocate64(fd: c_int, mode: c_int, offset: off64_t, len: off64_t) -> c_int {
    let kind = if mode & libc::FALLOC_FL_PUNCH_HOLE == 0 { Kind::Allocate } else { Kind::Punch };
    status(answer(kind, fd, unsigned(offset), &[], unsigned(len), |_| {
        // SAFETY: The call takes four numbers.
        unsafe { libc::syscall(libc::SYS_fallocate, fd, mode, offset, len) }
    }))
}

/// # Safety
///
/// As `pread`: `buffer` is valid for writes of `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pread64(fd: c_int, buffer: *mut c_void, count: size_t, offset: off64_t) -> ssize_t {
    transferred(answer(Kind::Read, fd, unsigned(offset), &[], wide(count), |count| {
        // SAFETY: `buffer` is valid for writes of as many bytes, or more: the caller's promise.
        unsafe { libc::syscall(libc::SYS_pread64, fd, buffer, count, offset) }
    }))
}

/// # Safety
///
/// As `pwrite`: `buffer` is valid for reads of `count` bytes.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwrite64(fd: c_int, buffer: *const c_void, count: size_t, offset: off64_t) -> ssize_t {
    // SAFETY: `buffer` is valid for reads of `count` bytes for the whole call, the caller's promise.
    // Nobody changes them meanwhile, for the caller holds them borrowed; bytes have a value and no alignment.
    let bytes = unsafe { slice::from_raw_parts(buffer.cast::<u8>(), count) };
    transferred(answer(Kind::Write, fd, unsigned(offset), bytes, wide(count), |count| {
        // SAFETY: `buffer` is valid for reads of as many bytes, or more.
        unsafe { libc::syscall(libc::SYS_pwrite64, fd, buffer, count, offset) }
    }))
}

/// # Safety
///
/// As `pwritev`: `parts` are `count` buffers, each valid for reads of its length.
#[unsafe(no_mangle)]
unsafe extern "C" fn pwritev64(fd: c_int, parts: *const iovec, count: c_int, offset: off64_t) -> ssize_t {
    let count = usize::try_from(count).expect("a count");
    // SAFETY: `parts` are `count` buffers for the whole call, the caller's promise.
    let parts = unsafe { slice::from_raw_parts(parts, count) };
    let whole = parts.iter().flat_map(|part| {
        // SAFETY: Each buffer is valid for reads of its length, and unchanged for the whole call: the caller's promise.
        unsafe { slice::from_raw_parts(part.iov_base.cast::<u8>(), part.iov_len) }
    });
    let bytes: Vec<u8> = whole.copied().collect();
    let len = wide(bytes.len());
    transferred(answer(Kind::Write, fd, unsigned(offset), &bytes, len, |count| {
        let count = usize::try_from(count).expect("it was a length");
        // One write of the same bytes at the same place is the same to the kernel, and can be cut short anywhere.
        // SAFETY: `bytes` is valid for reads of `count` bytes, which are at most its length.
        unsafe { libc::syscall(libc::SYS_pwrite64, fd, bytes.as_ptr(), count, offset) }
    }))
}

/// # Safety
///
/// As `mmap`.
#[unsafe(no_mangle)]
unsafe extern "C" fn mmap64(
    address: *mut c_void,
    len: size_t,
    protection: c_int,
    flags: c_int,
    fd: c_int,
    offset: off64_t,
) -> *mut c_void {
    // SAFETY: The arguments are those of the caller, who promises what the call asks for.
    let make = |_| unsafe { libc::syscall(libc::SYS_mmap, address, len, protection, flags, fd, offset) };
    // Memory without a file is none of ours.
    let mapped = if fd < 0 { make(0) } else { answer(Kind::Map, fd, unsigned(offset), &[], wide(len), make) };
    std::ptr::with_exposed_provenance_mut(usize::from_ne_bytes(mapped.to_ne_bytes()))
}

/// # Safety
///
/// As `msync`.
#[unsafe(no_mangle)]
unsafe extern "C" fn msync(address: *mut c_void, len: size_t, flags: c_int) -> c_int {
    // SAFETY: The arguments are those of the caller, who promises what the call asks for.
    status(answer(Kind::FlushMap, -1, 0, &[], wide(len), |_| unsafe {
        libc::syscall(libc::SYS_msync, address, len, flags)
    }))
}
