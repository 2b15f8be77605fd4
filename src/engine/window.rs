//! What is written between two barriers: collected, and written sorted, neighbours in one call.

use std::io;

use crate::format::BlockBytes;
use crate::storage::{Region, Storage};

/// What a batch holds before it is written: bounds the memory of a commit that touches many blocks.
const BATCH_BYTES: usize = 4 << 20;

/// What one call writes at the most, if pages are not larger. The page cache keeps what a call wrote in pieces as large as that,
/// and a page that is written alone later costs the more the larger its piece is. Longer calls make a commit of many megabytes
/// a little faster, and every commit of a few pages that follows slower.
const WRITE_BYTES: u64 = 64 << 10;

/// What is written somewhere.
pub(super) enum Bytes<'a> {
    Block(Box<BlockBytes>),
    Page(&'a [u8]),
}

impl Bytes<'_> {
    fn as_slice(&self) -> &[u8] {
        match self {
            Bytes::Block(block) => &block[..],
            Bytes::Page(page) => page,
        }
    }
}

/// See the head of this file.
pub(super) struct Window<'a, 'p> {
    storage: &'a dyn Storage,
    region: &'a Region,
    writes: Vec<(u64, Bytes<'p>)>,
    bytes: usize,
}

impl<'a, 'p> Window<'a, 'p> {
    pub(super) fn new(storage: &'a dyn Storage, region: &'a Region) -> Self {
        Window { storage, region, writes: Vec::new(), bytes: 0 }
    }

    pub(super) fn push(&mut self, offset: u64, bytes: Bytes<'p>) -> io::Result<()> {
        self.bytes += bytes.as_slice().len();
        self.writes.push((offset, bytes));
        if self.bytes >= BATCH_BYTES { self.write() } else { Ok(()) }
    }

    pub(super) fn write(&mut self) -> io::Result<()> {
        self.bytes = 0;
        let mut writes = std::mem::take(&mut self.writes);
        writes.sort_unstable_by_key(|(offset, _)| *offset);
        let mut rest = &writes[..];
        while let Some((start, _)) = rest.first() {
            let mut end = *start;
            let adjoining = rest.iter().take_while(|(offset, bytes)| {
                let adjoins = *offset == end && (end == *start || end - *start < WRITE_BYTES);
                end += bytes.as_slice().len() as u64;
                adjoins
            });
            let parts: Vec<&[u8]> = adjoining.map(|(_, bytes)| bytes.as_slice()).collect();
            self.storage.write_at(self.region, &parts, *start)?;
            rest = &rest[parts.len()..];
        }
        Ok(())
    }
}
