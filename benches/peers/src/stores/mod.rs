//! The stores that are compared, behind one trait.
//!
//! Everybody does the same work: 4 KiB of content under a number. Where a store has keys and values, the number is the key,
//! and allocating a page puts zeros under a new one; where it has pages, the number is the id of the page.

mod chisel;
mod diptych;
mod fjall;
mod keyed;
mod lmdb;
mod mappedpages;
#[cfg(feature = "mdbx")]
mod mdbx;
mod page_db;
mod redb;
mod sanakirja;
mod sled;
mod sqlite;

use std::path::{Path, PathBuf};

use crate::outcome::{Outcome, ensure};
use crate::page::{Change, PAGE_BYTES, word};

/// Pages that a store writes in one commit while it is filled.
const FILL_PAGES: usize = 1024;

/// Reads the first eight bytes of each page of a sequence and adds them up, as often as it is called.
pub(crate) type Reading<'s> = Box<dyn FnMut() -> Outcome<u64> + Send + 's>;

/// Where a store lies and how much it has room for.
pub(crate) struct Place {
    folder: PathBuf,
    /// Pages that it will hold. Stores with a cache of their own get one that all of them fit into.
    pages: u64,
}

impl Place {
    /// A folder, which is made where there is none.
    pub(crate) fn new(folder: PathBuf, pages: u64) -> Outcome<Self> {
        std::fs::create_dir_all(&folder)?;
        Ok(Place { folder, pages })
    }

    fn folder(&self) -> &Path {
        &self.folder
    }

    /// Of the stores that keep all in one file.
    pub(crate) fn file(&self) -> PathBuf {
        self.folder.join("pages.db")
    }

    /// Twice the content, and never less than 256 MiB.
    fn cache_bytes(&self) -> u64 {
        (2 * self.pages * PAGE_BYTES).max(256 << 20)
    }

    /// More than the file can grow to while it is measured, for the stores that have to know.
    fn max_bytes(&self) -> u64 {
        (8 * self.pages * PAGE_BYTES).max(1 << 30)
    }
}

/// What a store may be asked to do.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Work {
    Alloc,
    Free,
    Overwrite,
}

/// A store that is open.
pub(crate) trait Store: Send + Sync {
    /// Leaves the file as its library wants it left; dropping is that where there is nothing else.
    fn close(self: Box<Self>) -> Outcome<()> {
        Ok(())
    }

    /// Makes `count` pages that hold [`word`]`(id, 0)` and noise, durably, and says under which ids.
    fn fill(&mut self, count: u64) -> Outcome<Vec<u64>>;

    /// Prepares to read all of `ids`, in this order.
    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>>;

    /// Makes a page, durable when this returns.
    fn alloc_one(&mut self) -> Outcome<u64>;

    /// Gives a page back, durable when this returns.
    fn free_one(&mut self, id: u64) -> Outcome<()>;

    /// Replaces the content of pages in one durable commit.
    fn overwrite(&mut self, changes: &[Change]) -> Outcome<()>;

    /// The pages that it holds.
    fn page_count(&self) -> Outcome<u64>;

    /// Why it is not asked to do some work; `None` where it is.
    fn cannot(&self, _work: Work) -> Option<&'static str> {
        None
    }

    /// How many threads may read at the same time.
    fn reader_limit(&self) -> usize {
        usize::MAX
    }
}

/// A store that can be opened.
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    /// What `Cargo.lock` calls the package.
    pub(crate) package: &'static str,
    /// How it is configured, and what a commit of it promises.
    pub(crate) durability: &'static str,
    /// Whether what it has committed survives a power cut, and all of a commit or nothing: the others are shown, and beating
    /// them is no aim.
    pub(crate) crash_safe: bool,
    /// Opens what lies there, or makes it where there is nothing.
    pub(crate) open: fn(&Place) -> Outcome<Box<dyn Store>>,
}

/// All that this program was built with.
pub(crate) const KINDS: &[Kind] = &[
    diptych::REGULAR,
    diptych::PROTECTED,
    mappedpages::REGULAR,
    mappedpages::PROTECTED,
    lmdb::KIND,
    #[cfg(feature = "mdbx")]
    mdbx::KIND,
    redb::ONE_PHASE,
    redb::TWO_PHASES,
    sanakirja::KIND,
    chisel::KIND,
    fjall::KIND,
    sled::KIND,
    sqlite::KIND,
    page_db::KIND,
];

/// Fails unless the pages `ids` hold what was written to them in the round `stamp`.
pub(crate) fn check_content(store: &dyn Store, ids: &[u64], stamp: u64) -> Outcome<()> {
    let read = store.reading(ids.to_vec())?()?;
    ensure(read == sum_of_words(ids, stamp), || format!("{} pages do not hold what was written to them", ids.len()))
}

/// What a reading of these pages has to return.
pub(crate) fn sum_of_words(ids: &[u64], stamp: u64) -> u64 {
    ids.iter().fold(0, |sum: u64, id| sum.wrapping_add(word(*id, stamp)))
}

/// The error of a page that should be there.
fn missing(id: u64) -> String {
    format!("page {id} is not there")
}
