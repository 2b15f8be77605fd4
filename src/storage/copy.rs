//! A copy of what a file holds, written to another place in pieces.
//!
//! ```text
//!   needed by the copy    ██ █  ██████        ███       what the live state names
//!   pieces                ├────────────┤      ├──┤      small gaps are copied, too; the other ones stay holes
//!   blocks                              ▓    ▓          written in place of what the source has there
//! ```
//!
//! What is written to the other place is a [`Filling`]: this copy, or an [incremental one](super::NewIncrement).
//!
//! The source is read with positioned reads, so that bad media is an error and not a signal. What the copy does not need may
//! be unreadable: a spare copy may have been in flight when the power failed.

use std::fs::File;
use std::io;
use std::ops::{ControlFlow, Range};
use std::path::Path;

use super::{Readable, Region};

/// How much is read, and then written, at once.
const PIECE: u64 = 256 << 10;

/// Gaps of less than this are copied: a hole so small saves little space, and costs an extent and two calls.
const GAP: u64 = 64 << 10;

/// Ranges of bytes, ascending and apart.
pub(crate) type Ranges<'a> = Box<dyn Iterator<Item = Range<u64>> + 'a>;

/// What is copied from: a storage, and the region that shows what was stored.
#[derive(Clone, Copy)]
pub(crate) struct Source<'a> {
    pub(crate) storage: &'a dyn Readable,
    pub(crate) region: &'a Region,
}

/// What the copy holds.
pub(crate) struct Content<'a> {
    pub(crate) source: Source<'a>,
    /// Whether it may share the space of the source.
    pub(crate) share: bool,
    /// Length in bytes.
    pub(crate) len: u64,
    /// The bytes of the source that it needs.
    pub(crate) needed: &'a dyn Fn() -> Ranges<'a>,
    /// Those of them that sharing space does not bring along.
    pub(crate) unshared: &'a dyn Fn() -> Ranges<'a>,
    /// What it holds instead of the source's bytes, and where.
    pub(crate) blocks: Vec<(u64, Vec<u8>)>,
}

/// Told how many bytes are written, and of how many.
pub(crate) type Progress<'p> = dyn FnMut(u64, u64) -> ControlFlow<()> + 'p;

/// Writes bytes at an offset of a new file.
pub(crate) type Write<'w> = dyn FnMut(&[u8], u64) -> io::Result<()> + 'w;

/// What a new file is filled with.
pub(crate) trait Filling {
    /// Length of the file in bytes.
    fn len(&self) -> u64;

    /// What is read on the way, for messages.
    fn source_path(&self) -> &Path;

    /// Makes the empty file share the space of the source, if it may and that is to be had. It may be longer then.
    fn share_with(&self, _file: &File) -> bool {
        false
    }

    /// Writes all of it, or, to a file that shares space, what that does not bring along. Returns how many bytes that were.
    fn write(&self, shared: bool, write: &mut Write<'_>, progress: &mut Progress<'_>) -> Result<u64, CopyFailure>;

    /// Whether so little of a file that so many bytes were written to is holes that it is better without any: the number of
    /// blocks that a filesystem reports hides a few.
    fn is_nearly_full(&self, bytes: u64) -> bool {
        self.len().saturating_sub(bytes) < self.len() / 64
    }
}

/// What came of a copy.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Copied {
    /// Bytes that were written.
    pub(crate) bytes: u64,
    /// Whether the copy shares the space of the source.
    pub(crate) shared: bool,
}

/// Why there is no copy.
#[derive(Debug)]
pub(crate) enum CopyFailure {
    Read(io::Error),
    Write(io::Error),
    Stopped,
}

impl From<io::Error> for CopyFailure {
    fn from(error: io::Error) -> Self {
        CopyFailure::Write(error)
    }
}

/// Bytes written, and what is told of them.
pub(super) struct Meter<'m, 'p> {
    progress: &'m mut Progress<'p>,
    done: u64,
    total: u64,
}

impl<'m, 'p> Meter<'m, 'p> {
    /// A meter that has told that nothing is written yet.
    pub(super) fn start(progress: &'m mut Progress<'p>, total: u64) -> Result<Self, CopyFailure> {
        let mut meter = Meter { progress, done: 0, total };
        meter.advance(0)?;
        Ok(meter)
    }

    pub(super) fn advance(&mut self, bytes: u64) -> Result<(), CopyFailure> {
        self.done += bytes;
        match (self.progress)(self.done, self.total) {
            ControlFlow::Continue(()) => Ok(()),
            ControlFlow::Break(()) => Err(CopyFailure::Stopped),
        }
    }
}

/// Neighbouring ranges that are copied at once.
#[derive(Debug, Default, PartialEq, Eq)]
struct Piece {
    range: Range<u64>,
    needed: Vec<Range<u64>>,
}

impl Piece {
    fn len(&self) -> u64 {
        self.range.end - self.range.start
    }

    /// Reads all of it; where that fails, what the copy needs of it.
    fn read(&self, source: Source<'_>, buffer: &mut [u8]) -> io::Result<()> {
        let Source { storage, region } = source;
        if storage.read_shown(region, buffer, self.range.start).is_ok() {
            return Ok(());
        }
        buffer.fill(0);
        self.needed.iter().try_for_each(|part| {
            let within = to_index(part.start - self.range.start)..to_index(part.end - self.range.start);
            storage.read_shown(region, &mut buffer[within], part.start)
        })
    }
}

/// Cuts ranges into pieces.
struct Pieces<'a> {
    ranges: Ranges<'a>,
    /// Of the range that the last piece had no room for.
    rest: Option<Range<u64>>,
}

impl Iterator for Pieces<'_> {
    type Item = Piece;

    fn next(&mut self) -> Option<Piece> {
        let mut next = self.rest.take().or_else(|| self.ranges.next());
        let first = next.as_ref()?.start;
        let mut piece = Piece { range: first..first, needed: Vec::new() };
        while let Some(range) = next {
            if range.start - piece.range.end >= GAP || range.start - first >= PIECE {
                self.rest = Some(range);
                break;
            }
            let end = range.end.min(first + PIECE);
            match piece.needed.last_mut() {
                Some(last) if last.end == range.start => last.end = end,
                _ => piece.needed.push(range.start..end),
            }
            piece.range.end = end;
            if end < range.end {
                self.rest = Some(end..range.end);
                break;
            }
            next = self.ranges.next();
        }
        Some(piece)
    }
}

impl<'a> Content<'a> {
    fn pieces(&self, ranges: Ranges<'a>) -> Pieces<'a> {
        Pieces { ranges, rest: None }
    }

    fn blocks_len(&self) -> u64 {
        self.blocks.iter().map(|(_, bytes)| to_offset(bytes.len())).sum()
    }
}

impl Filling for Content<'_> {
    fn len(&self) -> u64 {
        self.len
    }

    fn source_path(&self) -> &Path {
        self.source.storage.path()
    }

    fn share_with(&self, file: &File) -> bool {
        self.share && self.source.storage.share_with(file)
    }

    fn write(&self, shared: bool, write: &mut Write<'_>, progress: &mut Progress<'_>) -> Result<u64, CopyFailure> {
        let ranges = || if shared { (self.unshared)() } else { (self.needed)() };
        let total = self.pieces(ranges()).map(|piece| piece.len()).sum::<u64>() + self.blocks_len();
        let mut meter = Meter::start(progress, total)?;
        let mut buffer = vec![0; to_index(PIECE)];
        for piece in self.pieces(ranges()) {
            let bytes = &mut buffer[..to_index(piece.len())];
            piece.read(self.source, bytes).map_err(CopyFailure::Read)?;
            write(bytes, piece.range.start)?;
            meter.advance(piece.len())?;
        }
        for (offset, bytes) in &self.blocks {
            write(bytes, *offset)?;
        }
        meter.advance(self.blocks_len())?;
        Ok(total)
    }
}

/// A length within a piece.
pub(super) fn to_index(len: u64) -> usize {
    usize::try_from(len).expect("a piece is in memory")
}

pub(super) fn to_offset(len: usize) -> u64 {
    u64::try_from(len).expect("a length in memory fits a file")
}

#[cfg(test)]
mod tests {
    use super::{GAP, PIECE, Piece, Pieces, Range};

    fn pieces(ranges: &[Range<u64>]) -> Vec<Piece> {
        Pieces { ranges: Box::new(ranges.iter().cloned()), rest: None }.collect()
    }

    fn piece(range: Range<u64>, needed: &[Range<u64>]) -> Piece {
        Piece { range, needed: needed.to_vec() }
    }

    #[test]
    fn small_gaps_are_copied_and_large_ones_are_not() {
        assert_eq!(pieces(&[]), []);
        let near = [0..4096, 8192..12_288, 12_288..16_384];
        assert_eq!(pieces(&near), [piece(0..16_384, &[0..4096, 8192..16_384])]);
        let (first, second) = (4096..8192, 8192 + GAP..12_288 + GAP);
        assert_eq!(
            pieces(&[first.clone(), second.clone()]),
            [piece(first.clone(), std::slice::from_ref(&first)), piece(second.clone(), &[second])]
        );
    }

    #[test]
    fn no_piece_is_longer_than_the_buffer_and_nothing_is_left_out() {
        let ranges = [4096..3 * PIECE, 3 * PIECE + 4096..3 * PIECE + 8192, 4 * PIECE..4 * PIECE + 5];
        let found = pieces(&ranges);
        assert!(found.iter().all(|piece| piece.len() <= PIECE && piece.len() > 0));
        let bytes = |ranges: &[Range<u64>]| ranges.iter().map(|range| range.end - range.start).sum::<u64>();
        assert_eq!(found.iter().map(|piece| bytes(&piece.needed)).sum::<u64>(), bytes(&ranges));
        assert!(found.windows(2).all(|pair| pair[0].range.end <= pair[1].range.start));
        assert_eq!(found.last().map(|piece| piece.range.end), Some(4 * PIECE + 5));
    }
}
