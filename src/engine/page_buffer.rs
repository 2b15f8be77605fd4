//! A page in memory, or several, aligned as a page of the map is.

use std::collections::TryReserveError;
use std::fmt;

/// Every page of a mapping starts at a multiple of this, whatever its size, and so does a staged one.
const ALIGNMENT: usize = 1024;

/// Pages of bytes that start at a multiple of 1024.
pub(crate) struct PageBuffer {
    /// Longer than the page by the alignment; never grown, so that the start stays where it is.
    bytes: Vec<u8>,
    start: usize,
    len: usize,
}

impl PageBuffer {
    pub(crate) fn zeroed(len: usize) -> Self {
        let bytes = vec![0; len + ALIGNMENT];
        PageBuffer { start: aligned(bytes.as_ptr()), bytes, len }
    }

    /// The same where there may be too little memory.
    pub(crate) fn try_zeroed(len: usize) -> Result<Self, TryReserveError> {
        // Memory that is zeros from the start cannot be asked for without asking in vain being the end of the process.
        Vec::<u8>::new().try_reserve_exact(len.saturating_add(ALIGNMENT))?;
        Ok(PageBuffer::zeroed(len))
    }

    /// As much of it as fits into `len` bytes, and zeros behind.
    pub(crate) fn resized(&self, len: usize) -> Self {
        let mut resized = PageBuffer::zeroed(len);
        let same = len.min(self.len);
        resized.as_bytes_mut()[..same].copy_from_slice(&self.as_bytes()[..same]);
        resized
    }

    pub(crate) fn len(&self) -> usize {
        self.len
    }

    pub(crate) fn copy_of(page: &[u8]) -> Self {
        let mut bytes = Vec::with_capacity(page.len() + ALIGNMENT);
        let start = aligned(bytes.as_ptr());
        bytes.resize(start, 0);
        bytes.extend_from_slice(page);
        PageBuffer { bytes, start, len: page.len() }
    }

    pub(crate) fn as_bytes(&self) -> &[u8] {
        &self.bytes[self.start..self.start + self.len]
    }

    pub(crate) fn as_bytes_mut(&mut self) -> &mut [u8] {
        &mut self.bytes[self.start..self.start + self.len]
    }
}

/// How far into this memory the first page that is aligned starts.
fn aligned(memory: *const u8) -> usize {
    let start = memory.align_offset(ALIGNMENT);
    assert!(start < ALIGNMENT, "a byte pointer can be aligned");
    start
}

impl Clone for PageBuffer {
    fn clone(&self) -> Self {
        PageBuffer::copy_of(self.as_bytes())
    }
}

impl fmt::Debug for PageBuffer {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PageBuffer").field("len", &self.len).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::{ALIGNMENT, PageBuffer};

    #[test]
    fn pages_in_memory_are_aligned_and_stay_so_when_cloned() {
        for len in [1024, 4096, 1 << 20] {
            let mut buffer = PageBuffer::zeroed(len);
            buffer.as_bytes_mut()[len - 1] = 7;
            let copy = buffer.clone();
            for page in [buffer.as_bytes(), copy.as_bytes()] {
                assert_eq!((page.len(), page[len - 1], page.as_ptr().align_offset(ALIGNMENT)), (len, 7, 0));
            }
        }
    }
}
