//! The posting list of a word: a sub-page, and extents where it is long.
//!
//! ```text
//!   leaf of the tree              table of sub-pages
//!   word ─▶ sub-page ──────────────▶ newest postings
//!           extents, oldest first ─▶ ████████████████  ██████  ██
//! ```
//!
//! A list that fits into its sub-page is in it. It changes with the transaction, all of it or nothing, and the leaf, which names the
//! sub-page, stays as it is. When the sub-page is full, what it holds goes to an extent, and it takes what comes next.
//!
//! An extent that is older than the transaction would be overwritten in place, and a power cut could leave half of that. So none
//! is ever changed: postings go to a new one, which appears with the commit or not at all. It takes in the extents before it
//! that are not twice as long as itself, and these are freed in the same transaction. So each extent of a list is at least
//! twice as long as the next, there are few of them, and a posting is copied once for each doubling of what it is in.
//!
//! The value of a word is the [number](crate::postings) of its sub-page and, for each extent, its number and its count of
//! postings. In an extent, postings begin at offset 0. A sub-page:
//!
//! | offset | size | field             |
//! |-------:|-----:|-------------------|
//! |      0 |    1 | count of postings |
//! |      1 |      | postings          |

use crate::error::{Error, Result};
use crate::pages::{LongId, PAGE_LEN, Pager, SUB_PAGE_LEN, ShortId, TableId, Transaction};
use crate::postings::{Encoder, Posting, decode, put_number, take_number};

const _: () = assert!(SUB_PAGE_LEN / 2 <= 255, "a posting has two bytes, and a byte counts those of a sub-page");

/// Where the posting list of one word is: what its leaf says.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct PostingList {
    short: ShortId,
    runs: Vec<Run>,
}

/// Postings in an extent.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
struct Run {
    extent: LongId,
    count: u64,
}

impl PostingList {
    /// An empty list.
    pub(crate) fn create(tx: &mut Transaction<'_>, table: TableId) -> Result<Self> {
        Ok(PostingList { short: tx.sub_pages(table)?.alloc()?, runs: Vec::new() })
    }

    pub(crate) fn of_value(word: &str, mut value: &[u8]) -> Result<Self> {
        let mut read = || {
            let short = ShortId::from_u64(take_number(&mut value)?)?;
            let mut runs = Vec::new();
            while !value.is_empty() {
                let extent = LongId::from_u64(take_number(&mut value)?)?;
                runs.push(Run { extent, count: take_number(&mut value)? });
            }
            Some(PostingList { short, runs })
        };
        read().ok_or_else(|| wrong(word, "place"))
    }

    /// Each extent is at least twice as long as the next, so there are fewer than 40, and a cell has room for more.
    pub(crate) fn to_value(&self) -> Vec<u8> {
        let mut value = Vec::new();
        put_number(&mut value, self.short.to_u64());
        for run in &self.runs {
            put_number(&mut value, run.extent.to_u64());
            put_number(&mut value, run.count);
        }
        value
    }

    pub(crate) fn short(&self) -> ShortId {
        self.short
    }

    pub(crate) fn extents(&self) -> impl Iterator<Item = LongId> {
        self.runs.iter().map(|run| run.extent)
    }

    /// Adds postings, which lie behind all that are there. Returns whether the value is another then.
    pub(crate) fn append(
        &mut self,
        tx: &mut Transaction<'_>,
        table: TableId,
        word: &str,
        new: impl Iterator<Item = Posting>,
    ) -> Result<bool> {
        let mut table = tx.sub_pages(table)?;
        let page = table.page_mut(self.short)?;
        let mut postings = read_short(word, page)?;
        postings.extend(new);
        if write_short(page, &postings) {
            return Ok(false);
        }
        write_short(page, &[]);
        self.append_run(tx, word, postings)?;
        Ok(true)
    }

    /// Writes postings to an extent, together with those of the newest extents that are not twice as long.
    fn append_run(&mut self, tx: &mut Transaction<'_>, word: &str, mut postings: Vec<Posting>) -> Result<()> {
        let mut bytes = Encoder::of(&postings).bytes;
        while let Some(newest) = self.runs.last() {
            let older = tx.extent(newest.extent)?;
            if older.len() >= 2 * bytes.len().next_multiple_of(PAGE_LEN) {
                break;
            }
            let mut merged = newest.read(word, older)?;
            merged.append(&mut postings);
            postings = merged;
            bytes = Encoder::of(&postings).bytes;
            tx.free_extent(newest.extent)?;
            self.runs.pop();
        }
        let extent = tx.alloc_extent(bytes.len().div_ceil(PAGE_LEN))?;
        tx.extent_mut(extent)?[..bytes.len()].copy_from_slice(&bytes);
        self.runs.push(Run { extent, count: postings.len() as u64 });
        Ok(())
    }

    /// All postings, ascending.
    pub(crate) fn read(&self, pager: &Pager, table: TableId, word: &str) -> Result<Vec<Posting>> {
        let mut postings = Vec::new();
        for run in &self.runs {
            postings.append(&mut run.read(word, pager.extent(run.extent)?)?);
        }
        postings.append(&mut read_short(word, pager.sub_pages(table)?.page(self.short)?)?);
        if !postings.is_sorted_by(|left, right| left < right) {
            return Err(wrong(word, "order"));
        }
        Ok(postings)
    }
}

impl Run {
    fn read(&self, word: &str, extent: &[u8]) -> Result<Vec<Posting>> {
        decode(extent, self.count).ok_or_else(|| wrong(word, "extent"))
    }
}

fn read_short(word: &str, page: &[u8; SUB_PAGE_LEN]) -> Result<Vec<Posting>> {
    let [count, postings @ ..] = page;
    decode(postings, u64::from(*count)).ok_or_else(|| wrong(word, "sub-page"))
}

/// Says whether they fit; if not, the sub-page stays as it is.
fn write_short(page: &mut [u8; SUB_PAGE_LEN], postings: &[Posting]) -> bool {
    let [count, place @ ..] = page;
    let bytes = Encoder::of(postings).bytes;
    let Some((place, rest)) = place.split_at_mut_checked(bytes.len()) else { return false };
    *count = u8::try_from(postings.len()).expect("a posting has two bytes at least");
    place.copy_from_slice(&bytes);
    rest.fill(0);
    true
}

fn wrong(word: &str, field: &'static str) -> Error {
    Error::Postings { word: word.to_owned(), field }
}
