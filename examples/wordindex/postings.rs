//! Where a word occurs: files and lines, as short sequences of bytes.
//!
//! Postings ascend, so each is written as its distance from the one before: files apart, then lines apart where the file is
//! the same, else the line. Numbers are written in groups of seven bits, the low ones first; a set high bit says that more
//! follow. Most postings take two bytes.

/// A line of a file.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Posting {
    /// Number of the file, from 0.
    pub(crate) file: u32,
    /// Number of the line, from 1.
    pub(crate) line: u32,
}

/// What a sequence begins from.
const START: Posting = Posting { file: 0, line: 0 };

/// Writes postings behind one another.
#[derive(Debug)]
pub(crate) struct Encoder {
    pub(crate) bytes: Vec<u8>,
    last: Posting,
}

impl Encoder {
    fn new() -> Self {
        Encoder { bytes: Vec::new(), last: START }
    }

    pub(crate) fn of(postings: &[Posting]) -> Self {
        let mut encoder = Encoder::new();
        postings.iter().for_each(|posting| encoder.push(*posting));
        encoder
    }

    /// # Panics
    ///
    /// When the posting does not lie behind the one before.
    fn push(&mut self, posting: Posting) {
        assert!(posting > self.last, "postings ascend, and lines are counted from 1");
        let base = if posting.file == self.last.file { self.last.line } else { 0 };
        put_number(&mut self.bytes, u64::from(posting.file - self.last.file));
        put_number(&mut self.bytes, u64::from(posting.line - base));
        self.last = posting;
    }
}

/// Reads as many postings from the front; `None` where there are not.
pub(crate) fn decode(mut bytes: &[u8], count: u64) -> Option<Vec<Posting>> {
    let (mut postings, mut last) = (Vec::new(), START);
    for _ in 0..count {
        let file = last.file.checked_add(u32::try_from(take_number(&mut bytes)?).ok()?)?;
        let base = if file == last.file { last.line } else { 0 };
        let line = base.checked_add(u32::try_from(take_number(&mut bytes)?).ok()?)?;
        let posting = Posting { file, line };
        if posting <= last {
            return None;
        }
        postings.push(posting);
        last = posting;
    }
    Some(postings)
}

pub(crate) fn put_number(bytes: &mut Vec<u8>, mut number: u64) {
    loop {
        let low = u8::try_from(number & 0x7f).expect("seven bits fit");
        number >>= 7;
        if number == 0 {
            return bytes.push(low);
        }
        bytes.push(low | 0x80);
    }
}

/// Takes a number from the front.
pub(crate) fn take_number(bytes: &mut &[u8]) -> Option<u64> {
    let mut number = 0;
    for shift in (0..u64::BITS).step_by(7) {
        let (byte, rest) = bytes.split_first()?;
        *bytes = rest;
        number |= u64::from(byte & 0x7f).checked_shl(shift)?;
        if byte & 0x80 == 0 {
            return Some(number);
        }
    }
    None
}
