//! The files to index: finding them, and reading them in parts of bounded size.

use std::collections::{HashMap, HashSet};
use std::fs::{self, File};
use std::io::{BufRead, BufReader, Read};
use std::path::{Path, PathBuf};

use crate::error::{Error, Result};
use crate::words::WordScanner;

/// A file with more text than this, or with more different words, is read in several parts, which end at ends of lines. That
/// bounds the memory of a transaction whatever is indexed, but for long lists that it copies to longer extents.
const PART_LEN: u64 = 8 << 20;
const PART_WORDS: usize = 1 << 17;

/// How much is read at once, and how much of a file is looked at to tell whether it is text.
const BUFFER_LEN: usize = 64 << 10;
const SAMPLE_LEN: u64 = 8 << 10;

/// Folders of build results, whatever they are the results of.
const SKIPPED_FOLDERS: [&str; 2] = ["target", "node_modules"];

/// The files under `roots`, in the order of the roots, and by name below each. A file that is named itself is taken as it is;
/// in folders, hidden entries, build results, links and files with zero bytes (binary ones) are passed over.
pub(crate) fn find_files(roots: &[PathBuf]) -> Result<Vec<PathBuf>> {
    let mut files = Vec::new();
    for root in roots {
        let metadata = fs::metadata(root).map_err(Error::io("read", root))?;
        if metadata.is_dir() { walk(root, &mut files)? } else { files.push(root.clone()) }
    }
    for path in &mut files {
        if let Ok(short) = path.strip_prefix(".") {
            *path = short.to_path_buf();
        }
    }
    let mut seen = HashSet::new();
    files.retain(|path| seen.insert(path.clone()));
    Ok(files)
}

fn walk(folder: &Path, files: &mut Vec<PathBuf>) -> Result<()> {
    let entries = fs::read_dir(folder).and_then(Iterator::collect::<std::io::Result<Vec<_>>>);
    let mut entries = entries.map_err(Error::io("list", folder))?;
    entries.sort_by_key(fs::DirEntry::file_name);
    for entry in entries {
        let name = entry.file_name();
        let path = entry.path();
        let kind = entry.file_type().map_err(Error::io("read", &path))?;
        if name.as_encoded_bytes().starts_with(b".") {
            continue;
        }
        if kind.is_dir() && SKIPPED_FOLDERS.iter().all(|skipped| name != *skipped) {
            walk(&path, files)?;
        } else if kind.is_file() && is_text(&path)? {
            files.push(path);
        }
    }
    Ok(())
}

fn is_text(path: &Path) -> Result<bool> {
    let mut sample = Vec::new();
    let file = File::open(path).map_err(Error::io("open", path))?;
    file.take(SAMPLE_LEN).read_to_end(&mut sample).map_err(Error::io("read", path))?;
    Ok(!sample.contains(&0))
}

/// How far a file is indexed. The checksum tells whether what was read is still there.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Progress {
    pub(crate) bytes: u64,
    pub(crate) checksum: u64,
    pub(crate) lines_ended: u32,
    pub(crate) is_complete: bool,
}

impl Progress {
    /// Nothing is read yet; the checksum is the start value of FNV-1a.
    pub(crate) const NONE: Progress =
        Progress { bytes: 0, checksum: 0xcbf2_9ce4_8422_2325, lines_ended: 0, is_complete: false };

    fn add(&mut self, bytes: &[u8]) {
        self.bytes += bytes.len() as u64;
        for byte in bytes {
            self.checksum = (self.checksum ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01b3);
        }
    }
}

/// The lines of words, ascending.
pub(crate) type LinesOf = HashMap<String, Vec<u32>>;

fn add_line(lines_of: &mut LinesOf, word: &str, line: u32) {
    match lines_of.get_mut(word) {
        Some(lines) if lines.last() == Some(&line) => {}
        Some(lines) => lines.push(line),
        None => drop(lines_of.insert(word.to_owned(), vec![line])),
    }
}

/// A part of a file: the lines of every word in it, and how far the file is read with it.
#[derive(Debug)]
pub(crate) struct Part {
    pub(crate) lines_of: LinesOf,
    pub(crate) progress: Progress,
}

/// A file that is read part by part.
#[derive(Debug)]
pub(crate) struct TextFile {
    path: PathBuf,
    reader: BufReader<File>,
    progress: Progress,
}

impl TextFile {
    pub(crate) fn open(path: &Path) -> Result<Self> {
        let file = File::open(path).map_err(Error::io("open", path))?;
        let reader = BufReader::with_capacity(BUFFER_LEN, file);
        Ok(TextFile { path: path.to_path_buf(), reader, progress: Progress::NONE })
    }

    /// The file behind what was read of it, or `None` where it holds something else by now.
    pub(crate) fn resume(path: &Path, earlier: &Progress) -> Result<Option<Self>> {
        let mut file = Self::open(path)?;
        while file.progress.bytes < earlier.bytes {
            let buffer = file.reader.fill_buf().map_err(Error::io("read", path))?;
            let left = usize::try_from(earlier.bytes - file.progress.bytes).unwrap_or(usize::MAX);
            let len = buffer.len().min(left);
            if len == 0 {
                return Ok(None);
            }
            file.progress.add(&buffer[..len]);
            file.reader.consume(len);
        }
        let is_same = file.progress.checksum == earlier.checksum && (!earlier.is_complete || file.is_at_end()?);
        file.progress = *earlier;
        Ok(is_same.then_some(file))
    }

    /// Bytes that are read by now.
    pub(crate) fn bytes_read(&self) -> u64 {
        self.progress.bytes
    }

    fn is_at_end(&mut self) -> Result<bool> {
        self.reader.fill_buf().map(<[u8]>::is_empty).map_err(Error::io("read", &self.path))
    }

    /// The next part, or `None` behind the last one. An empty file has one part, too.
    pub(crate) fn next_part(&mut self) -> Result<Option<Part>> {
        if self.progress.is_complete {
            return Ok(None);
        }
        let mut lines_of = LinesOf::new();
        let mut scanner = WordScanner::after_lines(self.progress.lines_ended);
        let start = self.progress.bytes;
        loop {
            let buffer = self.reader.fill_buf().map_err(Error::io("read", &self.path))?;
            if buffer.is_empty() {
                break;
            }
            let is_large = self.progress.bytes - start >= PART_LEN || lines_of.len() >= PART_WORDS;
            let line_end = if is_large { buffer.iter().position(|byte| *byte == b'\n') } else { None };
            let piece = &buffer[..line_end.map_or(buffer.len(), |at| at + 1)];
            scanner.feed(piece, &mut |word, line| add_line(&mut lines_of, word, line));
            self.progress.add(piece);
            let len = piece.len();
            self.reader.consume(len);
            if line_end.is_some() {
                break;
            }
        }
        scanner.finish(&mut |word, line| add_line(&mut lines_of, word, line));
        self.progress.lines_ended = scanner.lines_ended();
        self.progress.is_complete = self.is_at_end()?;
        Ok(Some(Part { lines_of, progress: self.progress }))
    }
}
