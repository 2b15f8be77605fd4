//! The newer copy, before it is there: the older one with the pieces of an increment in place.
//!
//! ```text
//!   older copy   │ reserved │ a │ b │ c │ d │ e │
//!   pieces       │ reserved │   │ b'│       │ e'│ f'│
//!   cleared      │                  │░░░│
//!   shown        │ reserved │ a │ b'│ 0 │ d │ e'│ f'│
//! ```

use std::fs::File;
use std::io;
use std::ops::Range;
use std::path::Path;

use super::copy::{to_index, to_offset};
use super::increment::Found;
use super::{Increment, Readable, Region};

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Overlay<'a> {
    older: &'a dyn Readable,
    increment: &'a Increment,
    /// Bytes of the older copy.
    older_len: u64,
    /// Parts of the older copy that show as zeros, ascending and apart.
    cleared: Vec<Range<u64>>,
}

impl<'a> Overlay<'a> {
    pub(crate) fn new(older: &'a dyn Readable, increment: &'a Increment) -> io::Result<Self> {
        Ok(Overlay { older, increment, older_len: older.len()?, cleared: Vec::new() })
    }

    /// The same without what the older copy has in these ranges, ascending and apart. Pieces are shown in any case.
    pub(crate) fn cleared(self, cleared: Vec<Range<u64>>) -> Self {
        Overlay { cleared, ..self }
    }

    /// What differs from the older copy, ascending and apart.
    pub(crate) fn differing(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        let (mut pieces, mut cleared) = (self.increment.ranges().peekable(), self.cleared.iter().cloned().peekable());
        let mut shown = 0;
        std::iter::from_fn(move || {
            loop {
                let next = match (pieces.peek(), cleared.peek()) {
                    (Some(piece), Some(clear)) if clear.start < piece.start => cleared.next(),
                    (Some(_), _) => pieces.next(),
                    (None, _) => cleared.next(),
                }?;
                // A piece may stand in what is cleared.
                let rest = next.start.max(shown)..next.end;
                if !rest.is_empty() {
                    shown = rest.end;
                    return Some(rest);
                }
            }
        })
    }

    /// What the older copy shows from `offset` on.
    fn read_older(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let there = to_index(self.older_len.saturating_sub(offset).min(to_offset(buffer.len())));
        let (there, behind) = buffer.split_at_mut(there);
        behind.fill(0);
        if there.is_empty() {
            return Ok(());
        }
        self.older.read_at(there, offset)?;
        let end = offset + to_offset(there.len());
        let first = self.cleared.partition_point(|range| range.end <= offset);
        for range in self.cleared.iter().skip(first).take_while(|range| range.start < end) {
            let within = to_index(range.start.max(offset) - offset)..to_index(range.end.min(end) - offset);
            there[within].fill(0);
        }
        Ok(())
    }
}

impl Readable for Overlay<'_> {
    fn path(&self) -> &Path {
        self.older.path()
    }

    fn len(&self) -> io::Result<u64> {
        Ok(self.increment.head.total_len())
    }

    fn read_at(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        let fits =
            offset.checked_add(to_offset(buffer.len())).is_some_and(|end| end <= self.increment.head.total_len());
        if !fits {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        let (mut rest, mut at) = (buffer, offset);
        while !rest.is_empty() {
            let len = to_offset(rest.len());
            let (done, behind) = match self.increment.piece_at(at, len) {
                Found::Piece { position, len } => {
                    let (part, behind) = rest.split_at_mut(to_index(len));
                    self.increment.read_position(part, position)?;
                    (len, behind)
                }
                Found::Gap { len } => {
                    let (part, behind) = rest.split_at_mut(to_index(len));
                    self.read_older(part, at)?;
                    (len, behind)
                }
            };
            at += done;
            rest = behind;
        }
        Ok(())
    }

    fn read_shown(&self, _region: &Region, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        // Nobody views a copy that is not there yet.
        self.read_at(buffer, offset)
    }

    fn share_with(&self, copy: &File) -> bool {
        self.older.share_with(copy)
    }
}
