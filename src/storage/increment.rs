//! An incremental snapshot as a file: written piece by piece, and read only after all of it was verified.
//!
//! ```text
//!   changed in the source   ██   █      ██████████████
//!   pieces                  ├┤   ┤      ├──────┤├────┤     each with its CRC, one behind the other in the file
//! ```
//!
//! What is verified is the file as it is while its shared lock is held; a program that ignores locks can change it
//! afterwards, as it can change any file.

use std::io;
use std::ops::Range;
use std::path::Path;

use crate::error::{Error, Result};
use crate::format::{
    Chain, Defect, FORMAT_VERSION, IncrementDefect, IncrementEnd, IncrementHead, MAX_PIECE_LEN, PieceHead,
};

use super::copy::{CopyFailure, Filling, Meter, Progress, Ranges, Source, Write, to_index, to_offset};
use super::{Readable, Storage};

/// The heads of pieces take this much of a file.
const HEAD_LEN: u64 = PieceHead::LEN as u64;

/// What an incremental snapshot is made of.
pub(crate) struct NewIncrement<'a> {
    source: Source<'a>,
    head: IncrementHead,
    ranges: &'a dyn Fn() -> Ranges<'a>,
    blocks: Vec<(u64, Vec<u8>)>,
}

impl<'a> NewIncrement<'a> {
    /// The bytes of the source in these ranges, and blocks in place of what it has there; no two are about the same byte. The
    /// counts of the head are filled in here.
    pub(crate) fn new(
        source: Source<'a>,
        head: IncrementHead,
        ranges: &'a dyn Fn() -> Ranges<'a>,
        blocks: Vec<(u64, Vec<u8>)>,
    ) -> Self {
        let mut new = NewIncrement { source, head, ranges, blocks };
        let lens = ranges().flat_map(cut).map(|piece| piece.end - piece.start);
        let lens = lens.chain(new.parts().map(|(_, bytes)| to_offset(bytes.len())));
        let (pieces, payload) = lens.fold((0, 0), |(pieces, payload), len| (pieces + 1, payload + len));
        new.head = IncrementHead { pieces, payload, ..head };
        new
    }

    /// The blocks in pieces.
    fn parts(&self) -> impl Iterator<Item = (u64, &[u8])> {
        self.blocks.iter().flat_map(|(offset, bytes)| {
            let parts = bytes.chunks(MAX_PIECE_LEN).enumerate();
            parts.map(move |(at, part)| (offset + to_offset(at * MAX_PIECE_LEN), part))
        })
    }
}

/// A range in pieces.
fn cut(range: Range<u64>) -> impl Iterator<Item = Range<u64>> {
    let end = range.end;
    range.step_by(MAX_PIECE_LEN).map(move |start| start..end.min(start + to_offset(MAX_PIECE_LEN)))
}

/// Where the next structure goes, and what came before it.
struct Tail<'t, 'w, 'p> {
    write: &'t mut Write<'w>,
    meter: Meter<'t, 'p>,
    chain: Chain,
    offset: u64,
}

impl Tail<'_, '_, '_> {
    fn push(&mut self, bytes: &[u8]) -> Result<(), CopyFailure> {
        (self.write)(bytes, self.offset)?;
        self.offset += to_offset(bytes.len());
        self.meter.advance(to_offset(bytes.len()))
    }

    /// A piece whose bytes stand behind the room for its head.
    fn push_piece(&mut self, offset: u64, piece: &mut [u8]) -> Result<(), CopyFailure> {
        let (room, bytes) = piece.split_at_mut(PieceHead::LEN);
        let head = PieceHead::new(offset, bytes).encode();
        room.copy_from_slice(&head);
        self.chain.push(&head);
        self.push(piece)
    }
}

impl Filling for NewIncrement<'_> {
    fn len(&self) -> u64 {
        self.head.file_len().expect("what a file holds and the heads of its pieces fit a file")
    }

    fn source_path(&self) -> &Path {
        self.source.storage.path()
    }

    fn write(&self, _shared: bool, write: &mut Write<'_>, progress: &mut Progress<'_>) -> Result<u64, CopyFailure> {
        let meter = Meter::start(progress, self.len())?;
        let mut tail = Tail { write, meter, chain: Chain::new(&self.head), offset: 0 };
        tail.push(&self.head.encode())?;
        let mut buffer = vec![0; PieceHead::LEN + MAX_PIECE_LEN];
        for range in (self.ranges)().flat_map(cut) {
            let piece = &mut buffer[..PieceHead::LEN + to_index(range.end - range.start)];
            let Source { storage, region } = self.source;
            storage.read_shown(region, &mut piece[PieceHead::LEN..], range.start).map_err(CopyFailure::Read)?;
            tail.push_piece(range.start, piece)?;
        }
        for (offset, bytes) in self.parts() {
            let piece = &mut buffer[..PieceHead::LEN + bytes.len()];
            piece[PieceHead::LEN..].copy_from_slice(bytes);
            tail.push_piece(offset, piece)?;
        }
        let end = tail.chain.end();
        tail.push(&end.encode())?;
        Ok(tail.offset)
    }

    /// It has no holes.
    fn is_nearly_full(&self, _bytes: u64) -> bool {
        false
    }
}

/// A piece, and where its bytes stand in the increment.
#[derive(Clone, Copy, Debug)]
struct Placed {
    offset: u64,
    len: u64,
    position: u64,
}

/// An incremental snapshot that was verified from its first byte to its last.
#[derive(Debug)]
pub(crate) struct Increment {
    storage: Box<dyn Storage>,
    pub(crate) head: IncrementHead,
    /// Ascending and apart, by where they stand in the newer copy.
    pieces: Vec<Placed>,
}

impl Increment {
    /// Verifies a file. It takes memory in proportion to the number of its pieces, of which it has to have room for.
    ///
    /// # Errors
    ///
    /// [`Error::NotAnIncrement`], [`Error::FormatVersion`], [`Error::DamagedIncrement`]; [`Error::Io`] when it cannot be read.
    pub(crate) fn read(storage: Box<dyn Storage>) -> Result<Increment> {
        let failed = |op, source| Error::io(op, storage.path(), source);
        let len = storage.len().map_err(|source| failed("read the length of", source))?;
        let least = to_offset(IncrementHead::LEN + IncrementEnd::LEN);
        if len < least {
            return Err(damaged(0, Defect { field: "file length", expected: least, found: len }));
        }
        let mut bytes = [0; IncrementHead::LEN];
        storage.read_at(&mut bytes, 0).map_err(|source| failed("read", source))?;
        let head = IncrementHead::decode(&bytes).map_err(|defect| match defect {
            IncrementDefect::NotAnIncrement { found } => {
                Error::NotAnIncrement { expected: IncrementHead::EXPECTED_MAGIC, found }
            }
            IncrementDefect::Version { found } => Error::FormatVersion { expected: FORMAT_VERSION, found },
            IncrementDefect::Damaged(defect) => damaged(0, defect),
        })?;
        let expected = head.file_len().unwrap_or(u64::MAX);
        if expected != len {
            return Err(damaged(0, Defect { field: "file length", expected, found: len }));
        }
        let pieces =
            Walk { storage: &*storage, chain: Chain::new(&head), at: to_offset(IncrementHead::LEN) }.run(&head)?;
        Ok(Increment { storage, head, pieces })
    }

    /// The bytes of a piece that the newer copy has from `offset` on, at most `len`, and where they stand; or how many bytes
    /// there are before the next piece.
    pub(super) fn piece_at(&self, offset: u64, len: u64) -> Found {
        let next = self.pieces.partition_point(|piece| piece.offset + piece.len <= offset);
        match self.pieces.get(next) {
            Some(piece) if piece.offset <= offset => {
                let within = offset - piece.offset;
                Found::Piece { position: piece.position + within, len: len.min(piece.len - within) }
            }
            Some(piece) => Found::Gap { len: len.min(piece.offset - offset) },
            None => Found::Gap { len },
        }
    }

    /// Fills `buffer` from a position of the increment.
    pub(super) fn read_position(&self, buffer: &mut [u8], position: u64) -> io::Result<()> {
        self.storage.read_at(buffer, position)
    }

    /// The bytes of the newer copy that stand in pieces, ascending.
    pub(crate) fn ranges(&self) -> impl Iterator<Item = Range<u64>> + '_ {
        self.pieces.iter().map(|piece| piece.offset..piece.offset + piece.len)
    }
}

/// What an increment has at an offset of the newer copy.
pub(super) enum Found {
    Piece { position: u64, len: u64 },
    Gap { len: u64 },
}

/// One pass over all that stands behind the head.
struct Walk<'a> {
    storage: &'a dyn Readable,
    chain: Chain,
    at: u64,
}

impl Walk<'_> {
    /// I7: the length of the file was compared with the counts, so there are no more pieces than it has room for.
    fn run(mut self, head: &IncrementHead) -> Result<Vec<Placed>> {
        let mut pieces = Vec::new();
        let mut buffer = vec![0; MAX_PIECE_LEN];
        let mut left = head.payload;
        for _ in 0..head.pieces {
            pieces.push(self.piece(head, &mut left, &mut buffer)?);
        }
        if left != 0 {
            let (expected, found) = (head.payload, head.payload - left);
            return Err(damaged(self.at, Defect { field: "bytes of pieces", expected, found }));
        }
        let begin = self.at;
        let mut end = [0; IncrementEnd::LEN];
        self.read(&mut end)?;
        let end = IncrementEnd::decode(&end).and_then(|end| self.chain.check(end));
        end.map_err(|defect| damaged(begin, defect))?;
        pieces.sort_unstable_by_key(|piece| piece.offset);
        for (before, piece) in pieces.iter().zip(pieces.iter().skip(1)) {
            let expected = before.offset + before.len;
            if piece.offset < expected {
                return Err(damaged(
                    piece.position - HEAD_LEN,
                    Defect { field: "offset", expected, found: piece.offset },
                ));
            }
        }
        Ok(pieces)
    }

    /// The next piece, of which `left` bytes may be.
    fn piece(&mut self, head: &IncrementHead, left: &mut u64, buffer: &mut [u8]) -> Result<Placed> {
        let begin = self.at;
        let refused = |field, expected, found| damaged(begin, Defect { field, expected, found });
        let mut bytes = [0; PieceHead::LEN];
        self.read(&mut bytes)?;
        let piece = PieceHead::decode(&bytes).map_err(|defect| damaged(begin, defect))?;
        let len = u64::from(piece.len);
        *left = left.checked_sub(len).ok_or_else(|| refused("length", *left, len))?;
        let last = head.total_len().checked_sub(len).ok_or_else(|| refused("length", head.total_len(), len))?;
        if piece.offset > last {
            return Err(refused("offset", last, piece.offset));
        }
        let position = self.at;
        let content = &mut buffer[..to_index(len)];
        self.read(content)?;
        piece.check_bytes(content).map_err(|defect| damaged(begin, defect))?;
        self.chain.push(&bytes);
        Ok(Placed { offset: piece.offset, len, position })
    }

    fn read(&mut self, buffer: &mut [u8]) -> Result<()> {
        let read = self.storage.read_at(buffer, self.at);
        read.map_err(|source| Error::io("read", self.storage.path(), source))?;
        self.at += to_offset(buffer.len());
        Ok(())
    }
}

fn damaged(offset: u64, defect: Defect) -> Error {
    let Defect { field, expected, found } = defect;
    Error::DamagedIncrement { offset, field, expected, found }
}

#[cfg(test)]
mod tests {
    use super::{MAX_PIECE_LEN, cut, to_offset};

    #[test]
    fn a_range_is_cut_into_pieces_without_a_gap() {
        let len = to_offset(MAX_PIECE_LEN);
        for end in [5, 6, 5 + len, 6 + len, 5 + 2 * len, 6 + 2 * len] {
            let pieces: Vec<_> = cut(5..end).collect();
            assert_eq!(to_offset(pieces.len()), (end - 5).div_ceil(len));
            assert!(pieces.iter().all(|piece| !piece.is_empty() && piece.end - piece.start <= len));
            assert!(pieces.windows(2).all(|pair| pair[0].end == pair[1].start));
            assert!(pieces.first().is_none_or(|piece| piece.start == 5));
            assert!(pieces.last().is_none_or(|piece| piece.end == end));
        }
    }
}
