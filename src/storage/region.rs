//! The bytes that users view: one map, held as a pointer and a length.
//!
//! A [`Region`] shows the first `len` bytes of a file, or as many bytes of anonymous memory for the simulated disk. Both are
//! one type, so a read of a page is an addition and a bounds check, and never a virtual call.
//!
//! ```text
//!  base            len                      capacity
//!  ├────────────────┼ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ─ ┤
//!   visible: in the   reserved: addresses only; no view reaches it,
//!   file, viewable    growth within it does not move the base
//! ```
//!
//! What it guarantees, in every build: no view reaches past `len`; `len` never exceeds the capacity; a mutable view excludes
//! every other one (the borrow checker, and an assertion where several are handed out at once); the visible part of a file
//! is extended only after the file was found to be long enough; anonymous bytes that become visible are zeros.
//!
//! What it does not: keep another process, or code of this one that opens the file by its path, from cutting the file (a view
//! of the lost part is then a fatal signal) or from writing to it. `docs/UNSAFE.md` says who is trusted not to.

#![expect(unsafe_code, reason = "views are slices made from the map's pointer")]

use std::cell::Cell;
use std::fs::File;
use std::io;
use std::mem::ManuallyDrop;
use std::slice;
use std::sync::{Mutex, PoisonError};

#[cfg(any(target_os = "linux", target_os = "android"))]
use memmap2::UncheckedAdvice;
use memmap2::{MmapOptions, MmapRaw};
use static_assertions::assert_impl_all;

use super::advice::AccessPattern;
use super::touched::{TOUCHED_BLOCK_LEN, Touched};

/// What is behind the addresses.
#[derive(Debug)]
enum Backing {
    /// The map is shared with a file: stores reach it, and it shows what is written to the file.
    File,
    /// The same, and stores are a fatal signal: no mutable view of it is made.
    ReadOnlyFile,
    /// Private memory, zeros at first. Bytes between `len` and the capacity are zeros at all times.
    Anonymous(Mutex<Touched>),
}

/// Up to so many blocks of a map that are not zeros any more, clearing them is quicker than unmapping it.
const MOST_CLEARED: usize = 1024;

thread_local! {
    /// An anonymous map that nobody uses, all zeros, for the next region of its length. The crash tests open thousands of
    /// simulated disks a second, and half of that time went to the kernel, which gives and clears the pages of each.
    static SPARE: Cell<Option<MmapRaw>> = const { Cell::new(None) };
}

/// The visible bytes of a file or of the simulated disk.
#[derive(Debug)]
pub(crate) struct Region {
    /// Dropped by hand, because an anonymous one may be kept.
    map: ManuallyDrop<MmapRaw>,
    backing: Backing,
    /// Visible bytes; at most `map.len()`.
    len: usize,
    /// What was last advised, for the next map.
    pattern: Mutex<AccessPattern>,
}

// No `unsafe impl` is needed: `MmapRaw` is `Send` and `Sync` because it owns its map and hands out raw pointers alone. That
// references made from them may be shared or sent, too, is what `&self` and `&mut self` of the methods below ensure.
assert_impl_all!(Region: Send, Sync);

impl Region {
    /// Maps `file`, which must be open for reading and writing and at least `len` bytes long, with addresses for `reserve`
    /// bytes where the platform lets a map be longer than its file (Linux). Where the addresses cannot be had, the
    /// region has no room to grow and is remapped instead.
    pub(crate) fn map_file(file: &File, len: u64, reserve: u64) -> io::Result<Region> {
        check_covers(file, len)?;
        let reserve = if cfg!(any(target_os = "linux", target_os = "android")) { reserve } else { len };
        Region::with_room(Backing::File, len, reserve, |options| options.map_raw(file))
    }

    /// Maps `file`, which must be open for reading and at least `len` bytes long, to be read.
    pub(crate) fn map_file_read_only(file: &File, len: u64) -> io::Result<Region> {
        check_covers(file, len)?;
        Region::with_room(Backing::ReadOnlyFile, len, len, |options| options.map_raw_read_only(file))
    }

    /// `len` bytes of zeros, with addresses for `reserve` bytes; memory is taken as bytes are first stored to. On Windows
    /// reserved memory would count against the commit limit at once, so nothing is reserved there.
    pub(crate) fn anonymous(len: u64, reserve: u64) -> io::Result<Region> {
        let reserve = if cfg!(unix) { reserve } else { len };
        let backing = Backing::Anonymous(Mutex::default());
        if let Some(map) = SPARE.take() {
            let wanted = len.max(reserve);
            if to_offset(map.len()) == wanted {
                return Ok(Region::around(map, backing, to_addresses(len)?));
            }
        }
        Region::with_room(backing, len, reserve, |options| options.map_anon().map(MmapRaw::from))
    }

    /// Maps `reserve` bytes, or `len` if so many addresses are not to be had (a 32-bit target, a limit on the process).
    fn with_room(
        backing: Backing,
        len: u64,
        reserve: u64,
        map: impl Fn(&MmapOptions) -> io::Result<MmapRaw>,
    ) -> io::Result<Region> {
        let len = to_addresses(len)?;
        let mapped = |bytes: usize| map(MmapOptions::new().len(bytes).no_reserve_swap());
        let roomy = to_addresses(reserve).ok().filter(|&room| room > len).and_then(|room| mapped(room).ok());
        let map = match roomy {
            Some(map) => map,
            None => mapped(len)?,
        };
        assert!(len <= map.len(), "a map is as long as was asked for");
        Ok(Region::around(map, backing, len))
    }

    fn around(map: MmapRaw, backing: Backing, len: usize) -> Region {
        Region { map: ManuallyDrop::new(map), backing, len, pattern: Mutex::default() }
    }

    fn is_anonymous(&self) -> bool {
        matches!(self.backing, Backing::Anonymous(_))
    }

    /// Visible bytes.
    pub(crate) fn len(&self) -> u64 {
        to_offset(self.len)
    }

    /// Bytes up to which the region grows without moving.
    pub(crate) fn capacity(&self) -> u64 {
        to_offset(self.map.len())
    }

    /// Changes the visible length within the capacity. A file-backed region is only shortened by this; it is extended by
    /// [`remap_file`](Region::remap_file), which looks at the file. An anonymous one is extended with zeros.
    ///
    /// # Panics
    ///
    /// When `len` is past the capacity, or would extend a file-backed region.
    pub(crate) fn set_len(&mut self, len: u64) {
        let Some(len) = to_addresses(len).ok().filter(|&len| len <= self.map.len()) else {
            panic!("a region of capacity {} cannot show {len} bytes", self.map.len());
        };
        if len < self.len && self.is_anonymous() {
            // Keeps what is beyond `len` zero, so that growing again shows zeros.
            self.bytes_mut(to_offset(len), self.len - len).fill(0);
        }
        assert!(len <= self.len || self.is_anonymous(), "a file is extended before its region");
        self.len = len;
    }

    /// Makes the first `len` bytes of `file` visible: within the capacity if the region already maps a file, which must be
    /// the same one, else by a new map with room for `reserve` bytes. After an error the region is as before.
    ///
    /// # Panics
    ///
    /// When it maps a file that is only read.
    pub(crate) fn remap_file(&mut self, file: &File, len: u64, reserve: u64) -> io::Result<()> {
        assert!(!matches!(self.backing, Backing::ReadOnlyFile), "a file that is only read does not grow");
        if self.is_anonymous() || len > self.capacity() {
            let pattern = *self.pattern.get_mut().unwrap_or_else(PoisonError::into_inner);
            *self = Region::map_file(file, len, reserve)?;
            if pattern != AccessPattern::Normal {
                self.advise(pattern);
            }
            return Ok(());
        }
        check_covers(file, len)?;
        self.len = to_addresses(len)?;
        assert!(self.len <= self.map.len(), "a region shows no more than it maps");
        Ok(())
    }

    /// Extends an anonymous region to `len` bytes with zeros. Beyond the capacity the bytes move to a map twice as long;
    /// after an error the region is as before.
    ///
    /// # Panics
    ///
    /// When the region is file-backed, or `len` is less than now.
    pub(crate) fn grow_anonymous(&mut self, len: u64) -> io::Result<()> {
        assert!(self.is_anonymous(), "a file-backed region grows with its file");
        assert!(len >= self.len(), "growing does not shorten");
        if len > self.capacity() {
            let mut longer = Region::anonymous(len, len.saturating_mul(2))?;
            longer.bytes_mut(0, self.len).copy_from_slice(self.bytes(0, self.len));
            *self = longer;
        }
        self.set_len(len);
        Ok(())
    }

    /// `len` bytes from `offset`.
    ///
    /// # Panics
    ///
    /// When they are not all visible.
    #[inline]
    pub(crate) fn bytes(&self, offset: u64, len: usize) -> &[u8] {
        let first = self.first_of(offset, len);
        // SAFETY:
        // - non-null, valid for reads of `len` bytes, one allocated object: `first_of` asserted that they lie in `self.map`,
        //   which stays mapped while `self` is borrowed; that the file still covers them is the trust in the ledger;
        // - initialized and aligned: mapped bytes always have a value, and `u8` has alignment 1;
        // - not mutated during the borrow: every method that hands out a mutable view takes `&mut self`; `store`, and
        //   `Storage::write_at` which is where it is called from, change no byte of which a view is alive, as the ledger
        //   shows; other writers of the file are the trust in the ledger;
        // - at most `isize::MAX` bytes: `memmap2` maps no more than that.
        unsafe { slice::from_raw_parts(first, len) }
    }

    /// Array `index` of those of `N` bytes that the region consists of.
    ///
    /// # Panics
    ///
    /// When it is not visible whole.
    #[inline]
    pub(crate) fn array<const N: usize>(&self, index: u64) -> &[u8; N] {
        let at = usize::try_from(index).ok().filter(|at| *at < self.len / N);
        let Some(at) = at else { self.no_such_array(index, N) };
        // SAFETY:
        // - in bounds of one allocated object: `at < self.len / N` was just tested, so `(at + 1) * N <= self.len`, which does
        //   not overflow, `self.len <= self.map.len()` is asserted wherever either changes, and the map is one allocation of
        //   `self.map.len()` bytes;
        // - the offset in bytes fits an `isize` and the sum does not wrap: the length of the map does, and it is mapped.
        let first = unsafe { self.map.as_mut_ptr().add(at * N) };
        // SAFETY: as in `bytes`, of the `N` bytes that were just shown to be visible.
        unsafe { &*first.cast::<[u8; N]>() }
    }

    #[cold]
    fn no_such_array(&self, index: u64, len: usize) -> ! {
        panic!("array {index} of {len} bytes is not in a region of {}", self.len)
    }

    /// The blocks of [`TOUCHED_BLOCK_LEN`] bytes of an anonymous region that were handed out to be stored to since the last
    /// call, in ascending order. They may lie behind the end, if the region was cut.
    pub(crate) fn take_touched(&self) -> Vec<usize> {
        match &self.backing {
            Backing::File | Backing::ReadOnlyFile => Vec::new(),
            Backing::Anonymous(touched) => touched.lock().unwrap_or_else(PoisonError::into_inner).take_recent(),
        }
    }

    /// `len` bytes from `offset`, to be read and stored to.
    ///
    /// # Panics
    ///
    /// When they are not all visible.
    pub(crate) fn bytes_mut(&mut self, offset: u64, len: usize) -> &mut [u8] {
        let [bytes] = self.disjoint_mut([offset], len);
        bytes
    }

    /// `len` bytes from each of the offsets, in their order, to be read and stored to.
    ///
    /// # Panics
    ///
    /// When they are not all visible, two of them overlap, or the region is only read.
    pub(crate) fn disjoint_mut<const K: usize>(&mut self, offsets: [u64; K], len: usize) -> [&mut [u8]; K] {
        let mut sorted = offsets;
        sorted.sort_unstable();
        // A difference cannot overflow, and comparing it leaves out the sum, which could.
        let apart = sorted.windows(2).all(|pair| pair[1] - pair[0] >= to_offset(len));
        assert!(apart, "mutable views of {len} bytes at {offsets:?} overlap");
        offsets.map(|offset| {
            let first = self.first_of(offset, len);
            match &mut self.backing {
                Backing::File => {}
                Backing::ReadOnlyFile => panic!("a region that is only read has no mutable views"),
                Backing::Anonymous(touched) => {
                    let touched = touched.get_mut().unwrap_or_else(PoisonError::into_inner);
                    touched.mark(to_addresses(offset).expect("it is visible"), len);
                }
            }
            // SAFETY:
            // - non-null, valid for reads and writes of `len` bytes, one allocated object: as in `bytes`; the map is
            //   writable, because `map_raw` and `map_anon` make no other, and one of `map_raw_read_only` does not come here;
            // - initialized and aligned: as in `bytes`;
            // - accessed through nothing else during the borrow: `&mut self` lives as long as the views, so no other call
            //   on the region exists beside them, and the ranges of this call were asserted to be disjoint above; no
            //   reference to a wider part of the map is ever made;
            // - at most `isize::MAX` bytes: as in `bytes`.
            unsafe { slice::from_raw_parts_mut(first, len) }
        })
    }

    /// Stores bytes from `offset` of an anonymous region, while other parts of it may be viewed: what a write to a file does to
    /// the map of that file.
    ///
    /// **No view of these bytes may be alive**, nor may one be made before this returns, nor another call store to them: this is
    /// [`Storage::write_at`](super::Storage::write_at) of the simulated disk, and its promise.
    ///
    /// # Panics
    ///
    /// When they are not all visible, or the region shows a file.
    pub(super) fn store(&self, offset: u64, bytes: &[u8]) {
        let Backing::Anonymous(touched) = &self.backing else { panic!("a file is written, not its region") };
        let first = self.first_of(offset, bytes.len());
        let at = to_addresses(offset).expect("it is visible");
        touched.lock().unwrap_or_else(PoisonError::into_inner).mark(at, bytes.len());
        // SAFETY:
        // - valid for writes of that many bytes, one allocated object: `first_of` asserted that they lie in `self.map`, which
        //   stays mapped while `self` is borrowed, and an anonymous map is writable;
        // - the source is valid for reads, and does not overlap: it is a slice of the caller's, who has no view of these bytes;
        // - `u8` is aligned anywhere;
        // - no data race, and nobody's reference sees a change: no view of these bytes is alive or made, and no other call
        //   stores to them, which is the promise above.
        unsafe { std::ptr::copy_nonoverlapping(bytes.as_ptr(), first, bytes.len()) }
    }

    /// Has what was stored through a file-backed region written to the file, and waits for it (`msync` with `MS_SYNC`,
    /// `FlushViewOfFile`). By itself it promises nothing about the disk's own cache: a sync of the file follows.
    pub(crate) fn flush(&self) -> io::Result<()> {
        match self.backing {
            Backing::File => self.map.flush_range(0, self.len),
            Backing::ReadOnlyFile | Backing::Anonymous(_) => Ok(()),
        }
    }

    /// Advises the system of the order in which a file-backed region will be read. Like all advice it may be ignored, and is
    /// where the system has no such call.
    pub(crate) fn advise(&self, pattern: AccessPattern) {
        *self.pattern.lock().unwrap_or_else(PoisonError::into_inner) = pattern;
        #[cfg(unix)]
        if !self.is_anonymous() {
            use memmap2::Advice;
            let _ = self.map.advise(match pattern {
                AccessPattern::Normal => Advice::Normal,
                AccessPattern::Random => Advice::Random,
                AccessPattern::Sequential => Advice::Sequential,
            });
        }
    }

    /// Advises the system to read `len` bytes from `offset` before anybody asks for them.
    ///
    /// # Panics
    ///
    /// When they are not all visible.
    pub(crate) fn prefetch(&self, offset: u64, len: usize) {
        self.first_of(offset, len);
        #[cfg(unix)]
        if !self.is_anonymous() && len > 0 {
            let _ = self.map.advise_range(memmap2::Advice::WillNeed, to_addresses(offset).unwrap_or(0), len);
        }
    }

    /// Lets go of the memory through which a file-backed region shows `len` bytes from `offset`; they stay in the page cache.
    ///
    /// # Panics
    ///
    /// When they are not all visible.
    pub(crate) fn release(&self, offset: u64, len: usize) {
        self.first_of(offset, len);
        #[cfg(any(target_os = "linux", target_os = "android"))]
        if !self.is_anonymous() && len > 0 {
            let start = to_addresses(offset).unwrap_or(0);
            // SAFETY:
            // - in bounds: `first_of` asserted that the bytes are visible, and so in the map; the system widens them to whole
            //   pages of its own, of which the map consists;
            // - views may be alive, and see the same bytes afterwards: the map is shared with its file (`map_raw` and
            //   `map_raw_read_only` make no other, and an anonymous one does not come here), so what was stored is in the page cache, from which the
            //   next load maps it again (madvise(2), MADV_DONTNEED of a shared mapping); nothing is written.
            let _ = unsafe { self.map.unchecked_advise_range(UncheckedAdvice::DontNeed, start, len) };
        }
    }

    /// Where `len` bytes from `offset` begin, asserted to be visible.
    #[inline]
    fn first_of(&self, offset: u64, len: usize) -> *mut u8 {
        let start =
            usize::try_from(offset).ok().filter(|start| start.checked_add(len).is_some_and(|end| end <= self.len));
        let Some(start) = start else {
            panic!("bytes {offset} and {len} more are not in a region of {}", self.len);
        };
        // SAFETY:
        // - in bounds of one allocated object: `start + len <= self.len` was just tested, `self.len <= self.map.len()` is
        //   asserted wherever either changes, and the map is one allocation of `self.map.len()` bytes;
        // - the offset in bytes fits an `isize` and the sum does not wrap: the length of the map does, and it is mapped.
        unsafe { self.map.as_mut_ptr().add(start) }
    }
}

impl Drop for Region {
    fn drop(&mut self) {
        let blocks = match &mut self.backing {
            Backing::Anonymous(touched) => Some(touched.get_mut().unwrap_or_else(PoisonError::into_inner).blocks()),
            Backing::File | Backing::ReadOnlyFile => None,
        };
        let blocks = blocks.filter(|blocks| blocks.len() <= MOST_CLEARED).map(<[usize]>::to_vec);
        for start in blocks.iter().flatten().map(|block| block * TOUCHED_BLOCK_LEN) {
            // Behind the end all is zeros.
            let len = TOUCHED_BLOCK_LEN.min(self.len.saturating_sub(start));
            self.bytes_mut(to_offset(if len == 0 { 0 } else { start }), len).fill(0);
        }
        // SAFETY:
        // - not used again: this is the only place that takes the map, a region is dropped once, and nothing below, nor
        //   the drop of the other fields, uses `self.map`.
        let map = unsafe { ManuallyDrop::take(&mut self.map) };
        if blocks.is_some() {
            // A thread that is ending keeps nothing.
            drop(SPARE.try_with(|spare| spare.replace(Some(map))));
        }
    }
}

/// Refuses to show bytes that the file does not have: touching those would be a fatal signal.
fn check_covers(file: &File, len: u64) -> io::Result<()> {
    let found = file.metadata()?.len();
    if found < len {
        let message = format!("the file has {found} bytes and {len} are to be mapped");
        return Err(io::Error::new(io::ErrorKind::UnexpectedEof, message));
    }
    Ok(())
}

/// A length in bytes as a distance between addresses.
fn to_addresses(len: u64) -> io::Result<usize> {
    usize::try_from(len).map_err(|_| io::Error::new(io::ErrorKind::OutOfMemory, "more bytes than addresses"))
}

/// A distance between addresses as a length in bytes.
fn to_offset(len: usize) -> u64 {
    u64::try_from(len).expect("no supported target has addresses wider than 64 bits")
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Seek, SeekFrom, Write};
    use std::panic::{AssertUnwindSafe, catch_unwind};

    use super::*;

    fn panics(act: impl FnOnce()) -> bool {
        catch_unwind(AssertUnwindSafe(act)).is_err()
    }

    fn file_of(len: u64) -> File {
        let file = tempfile::tempfile().unwrap();
        file.set_len(len).unwrap();
        file
    }

    #[test]
    fn anonymous_bytes_are_zeros_and_keep_what_is_stored() {
        let mut region = Region::anonymous(8192, 1 << 30).unwrap();
        assert_eq!(region.bytes(0, 8192), [0; 8192]);
        region.bytes_mut(4095, 2).copy_from_slice(b"ab");
        assert_eq!(region.bytes(4094, 4), b"\0ab\0");
        assert_eq!((region.len(), region.capacity()), (8192, 1 << 30));
    }

    #[test]
    fn anonymous_growth_beyond_the_capacity_keeps_content_and_adds_zeros() {
        let mut region = Region::anonymous(10, 10).unwrap();
        region.bytes_mut(0, 10).fill(7);
        region.grow_anonymous(1 << 20).unwrap();
        assert_eq!(region.bytes(0, 12), [7, 7, 7, 7, 7, 7, 7, 7, 7, 7, 0, 0]);
        assert_eq!(region.len(), 1 << 20);
        assert!(region.capacity() > 1 << 20, "the next growth does not move it");
    }

    #[test]
    fn anonymous_bytes_that_were_cut_off_come_back_as_zeros() {
        let mut region = Region::anonymous(100, 4096).unwrap();
        region.bytes_mut(0, 100).fill(9);
        region.set_len(40);
        region.grow_anonymous(100).unwrap();
        assert_eq!(region.bytes(0, 40), [9; 40]);
        assert_eq!(region.bytes(40, 60), [0; 60]);
    }

    #[test]
    fn a_map_that_is_used_again_shows_zeros() {
        for _ in 0..3 {
            let mut region = Region::anonymous(5000, 1 << 16).unwrap();
            assert_eq!(region.bytes(0, 5000), [0; 5000]);
            region.grow_anonymous(20_000).unwrap();
            assert_eq!(region.bytes(0, 20_000), [0; 20_000]);
            region.disjoint_mut([0, 4000, 9000], 1000).into_iter().for_each(|view| view.fill(1));
            region.bytes_mut(19_999, 1)[0] = 1;
            region.set_len(9500);
        }
    }

    #[test]
    fn what_was_handed_out_to_be_stored_to_is_touched_and_nothing_else_is() {
        let mut region = Region::anonymous(40_960, 40_960).unwrap();
        region.bytes_mut(8191, 2).fill(1);
        region.bytes(20_000, 1);
        assert_eq!(region.take_touched(), [1, 2]);
        assert_eq!(region.take_touched(), [0; 0]);
    }

    #[test]
    fn an_empty_region_has_an_empty_view_and_nothing_else() {
        let region = Region::anonymous(0, 0).unwrap();
        assert_eq!(region.bytes(0, 0), b"");
        assert!(panics(|| drop(region.bytes(0, 1).to_vec())));
    }

    #[test]
    fn a_view_past_the_visible_length_panics_even_inside_the_capacity() {
        let mut region = Region::anonymous(100, 4096).unwrap();
        assert_eq!(region.bytes(100, 0), b"");
        for (offset, len) in
            [(100, 1), (99, 2), (0, 101), (101, 0), (u64::MAX, 1), (1, usize::MAX), (u64::MAX, usize::MAX)]
        {
            assert!(panics(|| drop(region.bytes(offset, len).to_vec())), "read of {len} at {offset}");
            assert!(panics(|| region.bytes_mut(offset, len).fill(1)), "store of {len} at {offset}");
        }
        assert!(panics(|| region.set_len(4097)));
    }

    #[test]
    fn disjoint_views_come_in_the_order_of_the_offsets() {
        let mut region = Region::anonymous(64, 64).unwrap();
        let [a, b, c] = region.disjoint_mut([32, 0, 16], 16);
        a.fill(1);
        b.fill(2);
        c.fill(3);
        assert_eq!(
            (region.bytes(0, 16), region.bytes(16, 16), region.bytes(32, 16)),
            (&[2; 16][..], &[3; 16][..], &[1; 16][..])
        );
    }

    #[test]
    fn overlapping_mutable_views_panic() {
        let mut region = Region::anonymous(64, 64).unwrap();
        for offsets in [[0, 0], [0, 15], [31, 16]] {
            assert!(panics(|| region.disjoint_mut(offsets, 16)[0].fill(1)), "{offsets:?}");
        }
    }

    #[test]
    fn a_region_shows_what_the_file_holds_and_stores_reach_the_file() {
        let file = file_of(8192);
        let mut region = Region::map_file(&file, 8192, 1 << 30).unwrap();
        (&file).seek(SeekFrom::Start(4090)).unwrap();
        (&file).write_all(b"written").unwrap();
        assert_eq!(region.bytes(4090, 7), b"written");
        region.bytes_mut(0, 6).copy_from_slice(b"stored");
        region.flush().unwrap();
        let mut read = [0; 6];
        (&file).rewind().unwrap();
        (&file).read_exact(&mut read).unwrap();
        assert_eq!(&read, b"stored");
    }

    #[test]
    fn a_region_that_is_only_read_shows_the_file_and_has_no_mutable_view() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("file");
        std::fs::write(&path, b"content").unwrap();
        let file = File::open(&path).unwrap();
        let mut region = Region::map_file_read_only(&file, 7).unwrap();
        region.release(0, 7);
        assert_eq!(region.bytes(0, 7), b"content");
        assert_eq!((region.len(), region.capacity()), (7, 7));
        assert!(panics(|| region.bytes_mut(0, 1).fill(1)));
        assert!(panics(|| drop(region.remap_file(&file, 7, 7))));
        assert_eq!(Region::map_file_read_only(&file, 8).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        assert!(region.take_touched().is_empty());
    }

    #[test]
    fn a_file_shorter_than_the_region_is_refused_and_the_region_stays() {
        let file = file_of(4096);
        assert_eq!(Region::map_file(&file, 4097, 8192).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
        let mut region = Region::map_file(&file, 4096, 16384).unwrap();
        for len in [8192, 1 << 20] {
            assert_eq!(region.remap_file(&file, len, len).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
            assert_eq!(region.len(), 4096);
        }
        assert!(panics(|| region.set_len(8192)), "the file was not looked at");
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn growth_within_the_reserved_addresses_does_not_move_the_base() {
        let file = file_of(4096);
        let mut region = Region::map_file(&file, 4096, 1 << 20).unwrap();
        let base = region.bytes(0, 1).as_ptr();
        file.set_len(1 << 20).unwrap();
        region.remap_file(&file, 1 << 20, 1 << 21).unwrap();
        assert_eq!(region.bytes(0, 1).as_ptr(), base);
        region.bytes_mut((1 << 20) - 1, 1)[0] = 5;
    }

    #[test]
    #[cfg(target_pointer_width = "64")]
    fn a_reserve_that_cannot_be_had_leaves_a_region_without_room() {
        let file = file_of(4096);
        let region = Region::map_file(&file, 4096, 1 << 60).unwrap();
        assert_eq!((region.len(), region.capacity()), (4096, 4096));
        assert_eq!(Region::anonymous(4096, u64::MAX).unwrap().capacity(), 4096);
    }
}
