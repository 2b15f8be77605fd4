//! The command line, read by hand: it is short.

use std::ffi::OsString;
use std::path::PathBuf;

use crate::error::{Error, Result};

pub(crate) const HELP: &str = "\
Indexes the words of text files into one file of pages, and answers where a word occurs.

usage: wordindex [OPTIONS] [PATH]...

PATH is a file, or a folder whose text files are taken. Without one, and without a query that the index at hand
answers, the sources and documents of this project are indexed. Each file is one transaction; only a file of more
than 8 MiB, or of more than 131072 different words, is several. A run that was killed is taken up where it ended; a
finished index is built anew.

  --index PATH     the index (in the build's folder if not said, else among the temporary files)
  --query WORD     print FILE:LINE for each line that has the word; with PATHs, or where there is no index, build first
  --no-verify      do not compare with a naive index in memory: for inputs that are larger than memory
  --compact        then move pages to the front of the index while it is open, and cut off its end
  --snapshot PATH  then write a copy of the index to PATH, where nothing may be yet
  --kill-after N   abort inside transaction N, when all of it is staged, before its commit
  --fresh          build anew, whatever is there
  --help           print this
";

/// What the command line says.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Arguments {
    pub(crate) paths: Vec<PathBuf>,
    pub(crate) index: Option<PathBuf>,
    pub(crate) query: Option<String>,
    pub(crate) no_verify: bool,
    pub(crate) compact: bool,
    pub(crate) snapshot: Option<PathBuf>,
    pub(crate) kill_after: Option<u64>,
    pub(crate) fresh: bool,
    pub(crate) help: bool,
}

impl Arguments {
    pub(crate) fn parse(mut given: impl Iterator<Item = OsString>) -> Result<Self> {
        let mut arguments = Arguments::default();
        while let Some(argument) = given.next() {
            let Some(option) = argument.to_str().filter(|text| text.starts_with('-') && text.len() > 1) else {
                arguments.paths.push(argument.into());
                continue;
            };
            let (name, mut attached) = match option.split_once('=') {
                Some((name, value)) => (name, Some(OsString::from(value))),
                None => (option, None),
            };
            let mut value = || {
                let value = attached.take().or_else(|| given.next());
                value.ok_or_else(|| Error::Usage(format!("{name} needs a value")))
            };
            match name {
                "--index" => arguments.index = Some(value()?.into()),
                "--query" => arguments.query = Some(one_word(&value()?)?),
                "--kill-after" => arguments.kill_after = Some(count(name, &value()?)?),
                "--snapshot" => arguments.snapshot = Some(value()?.into()),
                "--compact" => arguments.compact = true,
                "--no-verify" => arguments.no_verify = true,
                "--fresh" => arguments.fresh = true,
                "--help" | "-h" => arguments.help = true,
                "--" => arguments.paths.extend(given.by_ref().map(PathBuf::from)),
                _ => return Err(Error::Usage(format!("there is no option {name}"))),
            }
            if attached.is_some() {
                return Err(Error::Usage(format!("{name} takes no value")));
            }
        }
        Ok(arguments)
    }
}

/// The word as the index has it.
fn one_word(value: &OsString) -> Result<String> {
    let text = value.to_string_lossy();
    let mut words = crate::words::words_of_line(&text);
    match (words.next(), words.next()) {
        (Some(word), None) if text.chars().all(char::is_alphanumeric) => Ok(word),
        _ => Err(Error::Usage(format!("`{text}` is not a word: letters and digits, of at most 64 bytes"))),
    }
}

fn count(name: &str, value: &OsString) -> Result<u64> {
    let count = value.to_str().and_then(|text| text.parse().ok()).filter(|count| *count > 0);
    count.ok_or_else(|| Error::Usage(format!("{name} takes a number from 1 on, not {}", value.display())))
}
