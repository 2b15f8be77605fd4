//! Making the file of an index as short as what it holds, and copying it.
//!
//! Nodes of the trees are protected pages, which move by themselves. Pages of posting lists are regular ones: whoever moves one is
//! told, and changes what names it in the same transaction. Which list a page belongs to is looked up in a map that is made before.

use std::collections::HashMap;
use std::fmt;

use diptych::Compaction;

use crate::error::{Error, Result};
use crate::index::{Index, Root};
use crate::list::PostingList;
use crate::pages::{ChainId, Transaction};

/// What compacting did.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Compacted {
    all: Compaction,
    /// Pages that the file is shorter.
    cut: u64,
}

impl fmt::Display for Compacted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}, {} cut off", self.all, self.cut)
    }
}

/// The list that each page of postings belongs to, by its place among the words.
struct Owners {
    words: Vec<String>,
    of: HashMap<ChainId, usize>,
}

impl Owners {
    fn of(index: &Index) -> Result<Self> {
        let mut owners = Owners { words: Vec::new(), of: HashMap::new() };
        for cell in index.root.words.cells(&index.pager) {
            let (key, value) = cell?;
            let word = String::from_utf8_lossy(key).into_owned();
            let (_, chain) = PostingList::of_value(&word, value)?.read(&index.pager, &word)?;
            if !chain.is_empty() {
                owners.of.extend(chain.into_iter().map(|id| (id, owners.words.len())));
                owners.words.push(word);
            }
        }
        Ok(owners)
    }

    /// Changes what names a page that has moved.
    fn page_moved(&mut self, root: &mut Root, tx: &mut Transaction<'_>, from: ChainId, to: ChainId) -> Result<()> {
        let place = self.of.remove(&from).and_then(|place| Some((place, self.words.get(place)?)));
        let Some((place, word)) = place else {
            return Err(Error::Difference(format!("{from} is in no list")));
        };
        let Some(value) = root.words.get(tx, word.as_bytes())? else {
            return Err(Error::Difference(format!("`{word}` is missing")));
        };
        let mut list = PostingList::of_value(word, value)?;
        let pages = list.page_moved(tx, word, from, to)?;
        root.words.put(tx, word.as_bytes(), &list.to_value())?;
        tx.set_header(&root.encode())?;
        self.of.extend(pages.into_iter().map(|page| (page, place)));
        Ok(())
    }
}

impl Index {
    /// Moves pages to the front of the file, until that makes it no shorter, and cuts off what is free at its end.
    pub(crate) fn compact(&mut self) -> Result<Compacted> {
        let mut owners = Owners::of(self)?;
        let mut done = Compacted::default();
        let mut left = u64::MAX;
        loop {
            let mut root = self.root;
            let step = self.pager.compact(u64::MAX, |tx, from, to| owners.page_moved(&mut root, tx, from, to))?;
            self.root = root;
            done.all.moved += step.moved;
            done.all.moved_twins += step.moved_twins;
            (done.all.left, done.all.freed) = (step.left, step.freed);
            if step.moved + step.moved_twins == 0 || step.left >= left {
                break;
            }
            left = step.left;
        }
        done.cut = self.pager.shrink()?;
        Ok(done)
    }
}
