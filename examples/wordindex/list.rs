//! The posting list of a word: a chain of regular pages, and a tail in the word's leaf.
//!
//! ```text
//!   leaf of the tree (protected)          regular pages
//!   word ─▶ newest page, postings in the ──▶ page ──▶ page ──▶ page, oldest
//!           chain, tail: newest postings
//! ```
//!
//! A regular page that is older than the transaction would be overwritten in place, and a power cut could leave half of that. So
//! no page of a chain is ever changed: new postings go to the tail, which is in a protected page, and when the tail is
//! full it goes to fresh pages, which appear with the commit or not at all. The newest page of the chain is replaced
//! on that occasion if it has room: its postings are copied, and it is freed. A word that occurs in few places takes no page.
//!
//! The value of a word is two [numbers](crate::postings), the newest page (0 for none) and the count of postings in the
//! chain, and the postings of the tail. A page of a chain:
//!
//! | offset | size | field                           |
//! |-------:|-----:|---------------------------------|
//! |      0 |    8 | page before, 0 in the oldest    |
//! |      8 |    4 | count of postings               |
//! |     12 |    4 | bytes of postings               |
//! |     16 |      | postings                        |

use crate::error::{Error, Result};
use crate::pages::{ChainId, PAGE_LEN, Pages, Transaction};
use crate::postings::{Encoder, MAX_POSTING_LEN, Posting, decode, put_number, take_number};

const COUNT: usize = 8;
const LEN: usize = 12;
const POSTINGS: usize = 16;

/// The longest tail. A longer one would waste fewer pages and make every leaf fuller.
pub(crate) const MAX_TAIL_LEN: usize = 160;

/// A page with less room than this stays as it is.
const MIN_ROOM: usize = 512;

/// The posting list of one word, as its leaf holds it.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct PostingList {
    newest: Option<ChainId>,
    in_chain: u64,
    tail: Vec<Posting>,
}

/// A page of a chain as it stands in the file.
struct ChainPage {
    before: Option<ChainId>,
    postings: Vec<Posting>,
    len: usize,
}

impl ChainPage {
    /// `None` where the page holds something else.
    fn read(bytes: &[u8]) -> Option<Self> {
        let before = bytes.get(..COUNT)?.try_into().map(u64::from_le_bytes).ok()?;
        let count = bytes.get(COUNT..LEN)?.try_into().map(u32::from_le_bytes).ok()?;
        let len = bytes.get(LEN..POSTINGS)?.try_into().map(u32::from_le_bytes).ok()?;
        let len = usize::try_from(len).ok()?;
        let postings = decode(bytes.get(POSTINGS..)?.get(..len)?)?;
        let is_whole = !postings.is_empty() && u32::try_from(postings.len()) == Ok(count);
        is_whole.then_some(ChainPage { before: ChainId::from_u64(before), postings, len })
    }

    fn has_room(&self) -> bool {
        self.len + MIN_ROOM <= PAGE_LEN - POSTINGS
    }
}

impl PostingList {
    pub(crate) fn of_value(word: &str, mut value: &[u8]) -> Result<Self> {
        let mut read = || {
            let newest = ChainId::from_u64(take_number(&mut value)?);
            let in_chain = take_number(&mut value)?;
            Some(PostingList { newest, in_chain, tail: decode(value)? })
        };
        read().ok_or_else(|| wrong(word, "tail"))
    }

    pub(crate) fn to_value(&self) -> Vec<u8> {
        let mut value = Vec::with_capacity(MAX_TAIL_LEN);
        put_number(&mut value, self.newest.map_or(0, ChainId::to_u64));
        put_number(&mut value, self.in_chain);
        value.extend_from_slice(&Encoder::of(&self.tail).bytes);
        value
    }

    /// Adds postings, which lie behind all that are there.
    pub(crate) fn append(
        &mut self,
        tx: &mut Transaction<'_>,
        word: &str,
        new: impl Iterator<Item = Posting>,
    ) -> Result<()> {
        self.tail.extend(new);
        if Encoder::of(&self.tail).bytes.len() <= MAX_TAIL_LEN {
            return Ok(());
        }
        let mut postings = Vec::new();
        let mut before = self.newest;
        if let Some(newest) = self.newest {
            let page = ChainPage::read(tx.chain_bytes(newest)?).ok_or_else(|| wrong(word, "page"))?;
            if page.has_room() {
                let left = self.in_chain.checked_sub(page.postings.len() as u64);
                self.in_chain = left.ok_or_else(|| wrong(word, "count in the chain"))?;
                before = page.before;
                postings = page.postings;
                tx.free(newest)?;
            }
        }
        postings.append(&mut self.tail);
        self.in_chain += postings.len() as u64;

        self.newest = write_pages(tx, before, postings)?.last().copied();
        Ok(())
    }

    /// Names the pages of the chain anew after the page `from` has moved to `to`. Returns those that it did not have before.
    ///
    /// The newest page is named in the word's leaf. Any other is named in a page of the chain, and none of those is ever changed: so
    /// all of them are written again, and a list is at most once in a compaction.
    pub(crate) fn page_moved(
        &mut self,
        tx: &mut Transaction<'_>,
        word: &str,
        from: ChainId,
        to: ChainId,
    ) -> Result<Vec<ChainId>> {
        if self.newest == Some(from) {
            self.newest = Some(to);
            return Ok(vec![to]);
        }
        let (mut parts, mut next, mut left) = (Vec::new(), self.newest, self.in_chain);
        while let Some(id) = next {
            let id = if id == from { to } else { id };
            let page = ChainPage::read(tx.chain_bytes(id)?).ok_or_else(|| wrong(word, "page"))?;
            left = left.checked_sub(page.postings.len() as u64).ok_or_else(|| wrong(word, "count in the chain"))?;
            parts.push(page.postings);
            next = page.before;
            tx.free(id)?;
        }
        let pages = write_pages(tx, None, parts.into_iter().rev().flatten().collect())?;
        self.newest = pages.last().copied();
        Ok(pages)
    }

    /// All postings, ascending, and the pages of the chain.
    pub(crate) fn read<S: Pages>(&self, pages: &S, word: &str) -> Result<(Vec<Posting>, Vec<ChainId>)> {
        let (mut parts, mut chain) = (Vec::new(), Vec::new());
        let (mut next, mut left) = (self.newest, self.in_chain);
        while let Some(id) = next {
            let page = ChainPage::read(pages.chain_bytes(id)?).ok_or_else(|| wrong(word, "page"))?;
            // No page is empty, so the count ends a chain that leads in a circle.
            left = left.checked_sub(page.postings.len() as u64).ok_or_else(|| wrong(word, "count in the chain"))?;
            parts.push(page.postings);
            chain.push(id);
            next = page.before;
        }
        if left != 0 {
            return Err(wrong(word, "count in the chain"));
        }
        let mut postings: Vec<Posting> = parts.into_iter().rev().flatten().collect();
        postings.extend_from_slice(&self.tail);
        if !postings.is_sorted_by(|left, right| left < right) {
            return Err(wrong(word, "order"));
        }
        Ok((postings, chain))
    }
}

/// Writes postings to as many fresh pages as they take, on top of the page `before`. The last one is the newest.
fn write_pages(tx: &mut Transaction<'_>, mut before: Option<ChainId>, postings: Vec<Posting>) -> Result<Vec<ChainId>> {
    let (mut pages, mut encoder) = (Vec::new(), Encoder::new());
    for posting in postings {
        if encoder.bytes.len() + MAX_POSTING_LEN > PAGE_LEN - POSTINGS {
            before = Some(write_page(tx, before, &encoder)?);
            pages.extend(before);
            encoder = Encoder::new();
        }
        encoder.push(posting);
    }
    pages.push(write_page(tx, before, &encoder)?);
    Ok(pages)
}

fn write_page(tx: &mut Transaction<'_>, before: Option<ChainId>, postings: &Encoder) -> Result<ChainId> {
    let id = tx.alloc()?;
    let page = tx.page_mut(id)?;
    let len = u32::try_from(postings.bytes.len()).expect("the caller fills at most a page");
    page[..COUNT].copy_from_slice(&before.map_or(0, ChainId::to_u64).to_le_bytes());
    page[COUNT..LEN].copy_from_slice(&postings.count.to_le_bytes());
    page[LEN..POSTINGS].copy_from_slice(&len.to_le_bytes());
    page[POSTINGS..POSTINGS + postings.bytes.len()].copy_from_slice(&postings.bytes);
    Ok(id)
}

fn wrong(word: &str, field: &'static str) -> Error {
    Error::Postings { word: word.to_owned(), field }
}
