//! Where the pagers of these tests live, and what is asserted of each of them in the end.

use std::path::PathBuf;

use diptych::{Error, PageId, Pager, PagerOptions, ProtectedPageId, Result, SimDisk};
use tempfile::TempDir;

/// A place for one file.
pub(crate) enum Place {
    /// A name in a directory of its own.
    File(TempDir),
    /// A disk in memory.
    Sim(SimDisk),
}

impl Place {
    pub(crate) fn both() -> [Place; 2] {
        [Place::file(), Place::sim()]
    }

    pub(crate) fn file() -> Place {
        Place::File(tempfile::tempdir().expect("a temporary directory"))
    }

    pub(crate) fn sim() -> Place {
        Place::Sim(SimDisk::new())
    }

    pub(crate) fn path(&self) -> PathBuf {
        match self {
            Place::File(directory) => directory.path().join("pages.dip"),
            Place::Sim(_) => panic!("a simulated disk has no path"),
        }
    }

    pub(crate) fn create<const P: usize>(&self) -> Pager<P> {
        self.create_with(&PagerOptions::new())
    }

    pub(crate) fn create_with<const P: usize>(&self, options: &PagerOptions) -> Pager<P> {
        let pager = match self {
            Place::File(_) => options.create(self.path()),
            Place::Sim(disk) => options.create_on(disk),
        };
        pager.expect("the place is empty")
    }

    pub(crate) fn open<const P: usize>(&self) -> Pager<P> {
        self.open_with(&PagerOptions::new())
    }

    pub(crate) fn open_with<const P: usize>(&self, options: &PagerOptions) -> Pager<P> {
        let pager = match self {
            Place::File(_) => options.open(self.path()),
            Place::Sim(disk) => options.open_on(disk),
        };
        pager.expect("the file is whole")
    }

    /// Closes the pager and opens the file again: what is durable is what there was.
    pub(crate) fn reopen<const P: usize>(&self, pager: Pager<P>) -> Pager<P> {
        pager.close().expect("nothing is in the way of closing");
        let pager = self.open();
        assert!(pager.recovery().is_clean(), "{:?}", pager.recovery());
        pager
    }
}

/// Asserts that a check finds nothing, and that the counts agree with each other.
pub(crate) fn assert_whole<const P: usize>(pager: &Pager<P>) {
    assert_eq!(pager.check(), []);
    assert_eq!(pager.iter_allocated_pages().count() as u64, pager.allocated_page_count());
    assert_eq!(pager.iter_allocated_protected_pages().count() as u64, pager.allocated_protected_page_count());
    assert!(pager.free_page_count() + pager.allocated_page_count() <= pager.page_count());
}

/// All that can be told apart from outside about what is allocated, without contents.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Shape {
    generation: u64,
    pages: Vec<u64>,
    protected: Vec<u64>,
    counts: [u64; 2],
    header: Vec<u8>,
}

impl Shape {
    /// The same after closing, which seals a commit of one barrier with one more.
    pub(crate) fn sealed(self) -> Shape {
        Shape { generation: self.generation + 1, ..self }
    }
}

pub(crate) fn shape<const P: usize>(pager: &Pager<P>) -> Shape {
    Shape {
        generation: pager.generation().to_u64(),
        pages: pager.iter_allocated_pages().map(PageId::to_u64).collect(),
        protected: pager.iter_allocated_protected_pages().map(ProtectedPageId::to_u64).collect(),
        counts: [pager.page_count(), pager.free_page_count()],
        header: pager.header().to_vec(),
    }
}

/// What a call failed with.
pub(crate) fn failure<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("the call succeeded"),
        Err(error) => error,
    }
}

pub(crate) fn page<const P: usize>(raw: u64) -> PageId<P> {
    PageId::from_u64(raw).expect("not zero")
}

pub(crate) fn protected<const P: usize>(raw: u64) -> ProtectedPageId<P> {
    ProtectedPageId::from_u64(raw).expect("not zero")
}
