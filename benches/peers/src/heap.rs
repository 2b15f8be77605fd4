//! The memory that is allocated, counted: the global allocator of this program.
//!
//! It counts only while [`counted`] runs; at all other times an allocation costs a load more than it does without, for all
//! contestants alike. Maps are not counted: their pages belong to the file.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use crate::outcome::Outcome;

/// What the standard library gives, and a look whether to count.
pub(crate) struct Heap;

#[global_allocator]
static HEAP: Heap = Heap;

static COUNTS: AtomicBool = AtomicBool::new(false);
static NOW: AtomicUsize = AtomicUsize::new(BASE);
static PEAK: AtomicUsize = AtomicUsize::new(BASE);

/// Where counting begins: far above zero, for what was allocated before may be freed.
const BASE: usize = usize::MAX / 2;

/// Bytes that an operation took.
pub(crate) struct Bytes {
    /// More than before, when it was done. Less counts as nothing.
    pub(crate) kept: usize,
    /// The most at any time.
    pub(crate) peak: usize,
}

/// Runs the operation and counts what all threads allocate meanwhile.
pub(crate) fn counted<T>(operation: impl FnOnce() -> Outcome<T>) -> Outcome<(T, Bytes)> {
    NOW.store(BASE, Ordering::Relaxed);
    PEAK.store(BASE, Ordering::Relaxed);
    COUNTS.store(true, Ordering::Relaxed);
    let done = operation();
    COUNTS.store(false, Ordering::Relaxed);
    let above = |count: &AtomicUsize| count.load(Ordering::Relaxed).saturating_sub(BASE);
    Ok((done?, Bytes { kept: above(&NOW), peak: above(&PEAK) }))
}

#[inline]
fn count(added: usize, removed: usize) {
    if !COUNTS.load(Ordering::Relaxed) {
        return;
    }
    let before = NOW.fetch_add(added.wrapping_sub(removed), Ordering::Relaxed);
    PEAK.fetch_max(before.wrapping_add(added).wrapping_sub(removed), Ordering::Relaxed);
}

#[expect(unsafe_code, reason = "an allocator is unsafe to be")]
// SAFETY: every call goes to `System` as it is, and counting neither allocates nor unwinds.
unsafe impl GlobalAlloc for Heap {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: the caller's obligations are those of `System`.
        unsafe { System.alloc(layout) }
    }

    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        count(layout.size(), 0);
        // SAFETY: as in `alloc`.
        unsafe { System.alloc_zeroed(layout) }
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        count(0, layout.size());
        // SAFETY: as in `alloc`; `pointer` came from `System`, as all did.
        unsafe { System.dealloc(pointer, layout) }
    }

    unsafe fn realloc(&self, pointer: *mut u8, layout: Layout, new_size: usize) -> *mut u8 {
        count(new_size, layout.size());
        // SAFETY: as in `dealloc`.
        unsafe { System.realloc(pointer, layout, new_size) }
    }
}

#[cfg(test)]
mod tests {
    use super::counted;

    #[test]
    fn what_is_kept_and_the_most_at_a_time_are_counted() {
        let (kept, bytes) = counted(|| {
            drop(std::hint::black_box(vec![1u8; 1 << 26]));
            Ok(std::hint::black_box(vec![1u8; 1 << 25]))
        })
        .expect("memory");
        // Tests beside this one allocate, too.
        let about = |bytes: usize, wanted: usize| bytes.abs_diff(wanted) < 1 << 23;
        assert!(about(bytes.kept, kept.len()) && about(bytes.peak, 1 << 26), "{} {}", bytes.kept, bytes.peak);
    }
}
