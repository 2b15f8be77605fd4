//! Comparing the index with a naive one: the same files, read whole, in a map in memory.
//!
//! Nothing here is shared with building but what a word and a posting are. Besides the lists it looks for leaks: what the
//! pager counts as allocated is a node of a tree, or the sub-page or an extent of one list.

use std::collections::{BTreeMap, HashSet};
use std::fs;
use std::path::PathBuf;

use crate::build::name_of;
use crate::error::{Error, Result};
use crate::index::Index;
use crate::input::TextFile;
use crate::list::PostingList;
use crate::postings::Posting;
use crate::words::words_of_line;

type NaiveIndex = BTreeMap<String, Vec<Posting>>;

fn naive_index(files: &[PathBuf]) -> Result<NaiveIndex> {
    let mut naive = NaiveIndex::new();
    for (file, path) in (0..).zip(files) {
        let bytes = fs::read(path).map_err(Error::io("read", path))?;
        for (line, text) in (1..).zip(String::from_utf8_lossy(&bytes).split('\n')) {
            for word in words_of_line(text) {
                let postings = naive.entry(word).or_default();
                let posting = Posting { file, line };
                if postings.last() != Some(&posting) {
                    postings.push(posting);
                }
            }
        }
    }
    Ok(naive)
}

/// The index has these files, all of them whole, as they still are.
fn compare_files(index: &Index, files: &[PathBuf]) -> Result<()> {
    let rows = index.files()?;
    let names = files.iter().map(|path| name_of(path)).collect::<Result<Vec<String>>>()?;
    if let Some(row) = rows.iter().find(|row| !row.progress.is_complete) {
        return differs(format!("{} is there in part", row.path));
    }
    if !rows.iter().map(|row| &row.path).eq(&names) {
        return differs(format!("it has {} files, expected {}, or they have other names", rows.len(), names.len()));
    }
    for (row, path) in rows.iter().zip(files) {
        if TextFile::resume(path, &row.progress)?.is_none() {
            return Err(Error::Changed { path: path.clone() });
        }
    }

    Ok(())
}

/// Compares every posting list of the index with the naive one, in both directions, and looks for leaks.
pub(crate) fn verify(index: &Index, files: &[PathBuf]) -> Result<()> {
    compare_files(index, files)?;
    let mut naive = naive_index(files)?;
    let Some(table) = index.root.table else { return differs("it has no table of sub-pages".to_owned()) };
    let (mut sub_pages, mut extents) = (HashSet::new(), HashSet::new());
    let (mut words, mut postings) = (0, 0);
    let mut cells = index.root.words.cells(&index.pager);
    for cell in cells.by_ref() {
        let (key, value) = cell?;
        let word = String::from_utf8_lossy(key);
        let list = PostingList::of_value(&word, value)?;
        let found = list.read(&index.pager, table, &word)?;
        let expected = naive.remove(&*word).unwrap_or_default();
        if found != expected {
            let at = found.iter().zip(&expected).take_while(|(found, expected)| found == expected).count();
            let (found, expected) = (found.get(at), expected.get(at));
            return differs(format!("posting {at} of `{word}` is {found:?}, expected {expected:?}"));
        }
        words += 1;
        postings += found.len() as u64;
        if !sub_pages.insert(list.short()) || !list.extents().all(|id| extents.insert(id)) {
            return differs(format!("what the list of `{word}` is in is in another one, too"));
        }
    }
    let word_nodes = cells.nodes();
    if let Some((word, missing)) = naive.first_key_value() {
        return differs(format!("`{word}` is missing, with {} postings", missing.len()));
    }

    let mut file_cells = index.root.files.cells(&index.pager);
    file_cells.by_ref().try_for_each(|cell| cell.map(drop))?;
    let short = index.pager.sub_pages(table)?;
    short.check()?;
    let expected = [
        ("words", words, index.root.word_count),
        ("postings", postings, index.root.posting_count),
        ("sub-pages", sub_pages.len() as u64, short.allocated_count()),
        ("extents", extents.len() as u64, index.pager.iter_allocated_extents().count() as u64),
        ("regular pages", 0, index.pager.allocated_page_count()),
        ("nodes", word_nodes + file_cells.nodes(), index.pager.allocated_protected_page_count()),
    ];
    for (what, found, counted) in expected {
        if found != counted {
            return differs(format!("{found} {what} are found, and {counted} are counted"));
        }
    }
    match index.pager.check().as_slice() {
        [] => Ok(()),
        [first, ..] => differs(format!("the pager's own check finds {first}")),
    }
}

fn differs(how: String) -> Result<()> {
    Err(Error::Difference(how))
}
