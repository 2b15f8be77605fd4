//! The index: a tree of words and a tree of files in one pager file, found through the application header.
//!
//! | offset | size | field of the application header                  |
//! |-------:|-----:|--------------------------------------------------|
//! |      0 |    7 | magic                                            |
//! |      7 |    1 | version of all that is described here, a digit   |
//! |      8 |    8 | root of the tree of words, 0 before the first    |
//! |     16 |    8 | root of the tree of files, 0 before the first    |
//! |     24 |    8 | count of words                                   |
//! |     32 |    8 | count of postings                                |
//! |     40 |    8 | table of sub-pages, 0 before the first file      |
//! |     48 |    4 | count of files                                   |
//!
//! A key of the tree of words is a word; its value says where its [list](crate::list) is. A key of the tree of files is the number of the
//! file, big-endian, so that the files stand in the order in which they were taken; its value is:
//!
//! | offset | size | field                                                |
//! |-------:|-----:|------------------------------------------------------|
//! |      0 |    8 | bytes indexed                                        |
//! |      8 |    8 | FNV-1a checksum of these bytes                       |
//! |     16 |    4 | lines that ended in these bytes                      |
//! |     20 |    1 | 1 if that is all of the file                         |
//! |     21 |      | path; what is not UTF-8 in it is replaced            |
//!
//! A part of a file, its row and the counts go into one transaction: a file is in the index or it is not.

use std::path::{Path, PathBuf};

use diptych::{Compaction, PagerOptions};

use crate::error::{Error, Result};
use crate::input::{Part, Progress};
use crate::list::PostingList;
use crate::node::MAX_CELL_LEN;
use crate::pages::{NodeId, PAGE_LEN, Pager, TableId};
use crate::postings::Posting;
use crate::tree::Tree;

const MAGIC: [u8; 7] = *b"WORDIDX";
const VERSION: u8 = b'2';
const HEADER_LEN: usize = 52;
const ROW_HEAD_LEN: usize = 21;
const FILE_KEY_LEN: usize = 4;

/// The longest path.
pub(crate) const MAX_PATH_LEN: usize = MAX_CELL_LEN - ROW_HEAD_LEN - FILE_KEY_LEN;

/// More than any part of a text stages, and the lists that it copies; what needs more is an error and not the end of the machine's
/// memory.
const MAX_STAGED_BYTES: u64 = 2 << 30;

/// What the application header says.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Root {
    pub(crate) words: Tree,
    pub(crate) files: Tree,
    pub(crate) word_count: u64,
    pub(crate) posting_count: u64,
    pub(crate) table: Option<TableId>,
    pub(crate) file_count: u32,
}

impl Root {
    fn encode(&self) -> [u8; HEADER_LEN] {
        let mut header = [0; HEADER_LEN];
        let root = |tree: Tree| tree.root.map_or(0, NodeId::to_u64);
        let table = self.table.map_or(0, TableId::to_u64);
        let fields = [root(self.words), root(self.files), self.word_count, self.posting_count, table];
        let (magic, rest) = header.split_at_mut(8);
        let (numbers, count) = rest.split_at_mut(8 * fields.len());
        magic[..7].copy_from_slice(&MAGIC);
        magic[7] = VERSION;
        for (bytes, field) in numbers.chunks_exact_mut(8).zip(fields) {
            bytes.copy_from_slice(&field.to_le_bytes());
        }
        count.copy_from_slice(&self.file_count.to_le_bytes());
        header
    }

    fn decode(header: &[u8], path: &Path) -> Result<Self> {
        let (fields, rest) = header.as_chunks::<8>();
        debug_assert!(rest.is_empty(), "the header has 128 bytes");
        let [[magic @ .., version], words, files, word_count, posting_count, table, [last @ .., _, _, _, _], ..] =
            fields
        else {
            unreachable!("the header has 128 bytes");
        };
        if *magic != MAGIC {
            return Err(Error::NotAnIndex { path: path.to_path_buf() });
        }
        if *version != VERSION {
            return Err(Error::Version {
                path: path.to_path_buf(),
                expected: VERSION.into(),
                found: (*version).into(),
            });
        }
        let tree = |root: &[u8; 8]| Tree { root: NodeId::from_u64(u64::from_le_bytes(*root)) };
        Ok(Root {
            words: tree(words),
            files: tree(files),
            word_count: u64::from_le_bytes(*word_count),
            posting_count: u64::from_le_bytes(*posting_count),
            table: TableId::from_u64(u64::from_le_bytes(*table)),
            file_count: u32::from_le_bytes(*last),
        })
    }
}

/// A file as the index knows it.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct FileRow {
    pub(crate) path: String,
    pub(crate) progress: Progress,
}

impl FileRow {
    fn encode(&self) -> Vec<u8> {
        let mut row = Vec::with_capacity(ROW_HEAD_LEN + self.path.len());
        row.extend_from_slice(&self.progress.bytes.to_le_bytes());
        row.extend_from_slice(&self.progress.checksum.to_le_bytes());
        row.extend_from_slice(&self.progress.lines_ended.to_le_bytes());
        row.push(u8::from(self.progress.is_complete));
        row.extend_from_slice(self.path.as_bytes());
        row
    }

    fn decode(row: &[u8]) -> Option<Self> {
        let (bytes, row) = row.split_first_chunk()?;
        let (checksum, row) = row.split_first_chunk()?;
        let (lines_ended, row) = row.split_first_chunk()?;
        let (is_complete, path) = row.split_first()?;
        let progress = Progress {
            bytes: u64::from_le_bytes(*bytes),
            checksum: u64::from_le_bytes(*checksum),
            lines_ended: u32::from_le_bytes(*lines_ended),
            is_complete: *is_complete == 1,
        };
        Some(FileRow { path: String::from_utf8(path.to_vec()).ok()?, progress })
    }
}

/// An index that is open for reading and writing.
#[derive(Debug)]
pub(crate) struct Index {
    pub(crate) path: PathBuf,
    pub(crate) pager: Pager,
    pub(crate) root: Root,
}

impl Index {
    pub(crate) fn create(path: &Path) -> Result<Self> {
        let pager = options().create(path)?;
        Ok(Index { path: path.to_path_buf(), pager, root: Root::default() })
    }

    /// Opens what is at `path`, if it is an index, or the empty file of one that was killed before its first commit.
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let pager: Pager = options().open(path)?;
        let is_new = pager.header().iter().all(|byte| *byte == 0)
            && pager.allocated_page_count() == 0
            && pager.allocated_protected_page_count() == 0
            && pager.table_owned_page_count() == 0;
        let root = if is_new { Root::default() } else { Root::decode(pager.header(), path)? };
        Ok(Index { path: path.to_path_buf(), pager, root })
    }

    /// Moves pages to the front of the file, and cuts off what is free at its end. What is named in the index moves by itself: nodes,
    /// sub-pages and extents keep their ids. Returns what was moved, and how many pages the file is shorter.
    pub(crate) fn compact(&mut self) -> Result<(Compaction, u64)> {
        let moved = self.pager.compact(u64::MAX, |_, from, _| Err(Error::Difference(format!("{from} is nobody's"))))?;
        Ok((moved, self.pager.shrink()?))
    }

    /// Syncs and closes the file.
    pub(crate) fn close(self) -> Result<()> {
        Ok(self.pager.close()?)
    }

    /// The files, by their numbers.
    pub(crate) fn files(&self) -> Result<Vec<FileRow>> {
        let mut files = Vec::new();
        for (number, cell) in (0..self.root.file_count).zip(self.root.files.cells(&self.pager)) {
            let (key, row) = cell?;
            if key != number.to_be_bytes() {
                return Err(Error::FileRow { number, field: "number" });
            }
            files.push(FileRow::decode(row).ok_or(Error::FileRow { number, field: "row" })?);
        }
        match u32::try_from(files.len()) {
            Ok(count) if count == self.root.file_count => Ok(files),
            _ => Err(Error::FileRow { number: self.root.file_count, field: "count of files" }),
        }
    }

    /// Where a word occurs. `word` is in lower case.
    pub(crate) fn postings(&self, word: &str) -> Result<Vec<Posting>> {
        match (self.root.words.get(&self.pager, word.as_bytes())?, self.root.table) {
            (Some(value), Some(table)) => PostingList::of_value(word, value)?.read(&self.pager, table, word),
            _ => Ok(Vec::new()),
        }
    }

    /// Adds a part of the file with this number in one transaction, durably. `before_commit` is called when all of it is staged.
    pub(crate) fn add(&mut self, number: u32, path: &str, part: Part, before_commit: impl FnOnce()) -> Result<()> {
        let mut root = self.root;
        let mut tx = self.pager.transaction()?;
        let table = match root.table {
            Some(table) => table,
            None => *root.table.insert(tx.create_sub_page_table()?),
        };
        let mut words: Vec<(String, Vec<u32>)> = part.lines_of.into_iter().collect();
        words.sort_unstable();
        for (word, lines) in words {
            let known = root.words.get(&tx, word.as_bytes())?;
            let known = known.map(|value| PostingList::of_value(&word, value)).transpose()?;
            let is_new = known.is_none();
            let mut list = match known {
                Some(list) => list,
                None => PostingList::create(&mut tx, table)?,
            };
            root.word_count += u64::from(is_new);
            root.posting_count += lines.len() as u64;
            let new = lines.into_iter().map(|line| Posting { file: number, line });
            if list.append(&mut tx, table, &word, new)? || is_new {
                root.words.put(&mut tx, word.as_bytes(), &list.to_value())?;
            }
        }
        let row = FileRow { path: path.to_owned(), progress: part.progress };
        root.files.put(&mut tx, &number.to_be_bytes(), &row.encode())?;
        root.file_count = root.file_count.max(number + 1);
        tx.set_header(&root.encode())?;
        before_commit();
        tx.commit()?;
        self.root = root;
        Ok(())
    }
}

fn options() -> PagerOptions {
    const { assert!(PAGE_LEN >= diptych::HEADER_LEN) };
    PagerOptions::new().max_staged_bytes(MAX_STAGED_BYTES)
}
