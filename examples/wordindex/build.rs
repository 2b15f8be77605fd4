//! Building an index: what is there already, what is missing, and one transaction for each file.

use std::fs;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use crate::error::{Error, Result};
use crate::index::{FileRow, Index, MAX_PATH_LEN};
use crate::input::TextFile;

/// What to build, and how.
#[derive(Debug)]
pub(crate) struct Plan<'a> {
    pub(crate) index: &'a Path,
    pub(crate) files: &'a [PathBuf],
    /// Abort the process inside this transaction, counted from 1.
    pub(crate) kill_after: Option<u64>,
    /// Do not take up what is there.
    pub(crate) fresh: bool,
}

/// What building did.
#[derive(Debug)]
pub(crate) struct Built {
    /// Why the file that was there was not taken up.
    pub(crate) replaced: Option<&'static str>,
    /// Files that were in the index already, all of them or a part.
    pub(crate) resumed_files: usize,
    pub(crate) commits: u64,
    pub(crate) bytes: u64,
    pub(crate) time: Duration,
}

/// Where to go on: the first files of the list are in the index.
#[derive(Default)]
struct Position {
    complete: usize,
    /// The file that is there in part.
    begun: Option<TextFile>,
}

/// The name of a file in the index.
pub(crate) fn name_of(path: &Path) -> Result<String> {
    let name = path.to_string_lossy().into_owned();
    if name.len() > MAX_PATH_LEN {
        return Err(Error::PathTooLong { path: path.to_path_buf(), found: name.len(), max: MAX_PATH_LEN });
    }
    Ok(name)
}

/// Builds the index and closes it.
pub(crate) fn build(plan: &Plan<'_>) -> Result<Built> {
    let time = Instant::now();
    let (mut index, Position { complete, mut begun }, replaced) = start(plan)?;
    let mut built = Built {
        replaced,
        resumed_files: complete + usize::from(begun.is_some()),
        commits: 0,
        bytes: 0,
        time: Duration::ZERO,
    };
    for (number, path) in (0..).zip(plan.files).skip(complete) {
        let name = name_of(path)?;
        let mut file = match begun.take() {
            Some(file) => file,
            None => TextFile::open(path)?,
        };
        let mut bytes_before = file.bytes_read();
        while let Some(part) = file.next_part()? {
            built.bytes += part.progress.bytes - bytes_before;
            bytes_before = part.progress.bytes;
            let transaction = built.commits + 1;
            index.add(number, &name, part, || {
                if plan.kill_after == Some(transaction) {
                    eprintln!("wordindex: aborting inside transaction {transaction}, as told");
                    std::process::abort();
                }
            })?;
            built.commits = transaction;
        }
    }
    index.close()?;
    built.time = time.elapsed();
    Ok(built)
}

/// The index to write to, where to go on in it, and why an index that was there was not taken up.
fn start(plan: &Plan<'_>) -> Result<(Index, Position, Option<&'static str>)> {
    if !plan.index.try_exists().map_err(Error::io("look for", plan.index))? {
        return Ok((Index::create(plan.index)?, Position::default(), None));
    }
    let index = match Index::open(plan.index) {
        Err(Error::Pager(diptych::Error::FormatVersion { .. })) => {
            return replace(plan, "its file has another format version");
        }
        Err(Error::Version { .. }) => return replace(plan, "it is of another version of this program"),
        opened => opened?,
    };
    let rows = index.files()?;
    let reason = if plan.fresh {
        "as told"
    } else if rows.len() >= plan.files.len() && rows.iter().all(|row| row.progress.is_complete) {
        "it was finished"
    } else if let Some(position) = position_behind(&rows, plan.files)? {
        return Ok((index, position, None));
    } else {
        "it was of other files, or they have changed"
    };
    drop(index);
    replace(plan, reason)
}

fn replace(plan: &Plan<'_>, reason: &'static str) -> Result<(Index, Position, Option<&'static str>)> {
    fs::remove_file(plan.index).map_err(Error::io("remove", plan.index))?;
    Ok((Index::create(plan.index)?, Position::default(), Some(reason)))
}

/// Where to go on behind `rows`, if they are the first of the files, and these are what they were.
fn position_behind(rows: &[FileRow], files: &[PathBuf]) -> Result<Option<Position>> {
    if rows.len() > files.len() {
        return Ok(None);
    }
    let mut position = Position::default();
    for (row, path) in rows.iter().zip(files) {
        if position.begun.is_some() || name_of(path)? != row.path {
            return Ok(None);
        }
        let Some(file) = TextFile::resume(path, &row.progress)? else { return Ok(None) };
        if row.progress.is_complete {
            position.complete += 1;
        } else {
            position.begun = Some(file);
        }
    }
    Ok(Some(position))
}
