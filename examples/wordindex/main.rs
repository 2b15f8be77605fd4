//! Indexes the words of text files into one pager file, and answers where a word occurs: a small search engine whose every
//! step survives a crash.
//!
//! ```text
//!   application header ─▶ root of the files: a B+tree of protected pages, number ─▶ path, how far it is read
//!                      └▶ root of the words: a B+tree of protected pages, word ─▶ posting list
//!                                                                                  ├▶ a sub-page
//!                                                                                  └▶ extents, if it is long
//! ```
//!
//! Each input file is one transaction, so the index holds a file or does not, and its table of files says which. A killed run
//! is continued by the next. `--help` lists the options.
//!
//! From bytes to the program: `postings`, `words`, `input`, `pages`, `node`, `tree`, `list`, `index`, `build`, `verify`.

mod arguments;
mod build;
mod error;
mod index;
mod input;
mod list;
mod node;
mod pages;
mod postings;
mod tree;
mod verify;
mod words;

use std::env;
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::ExitCode;

use arguments::Arguments;
use build::{Built, Plan};
use error::{Error, Result};
use index::Index;

fn main() -> ExitCode {
    let mut output = io::stdout().lock();
    let done = Arguments::parse(env::args_os().skip(1)).and_then(|arguments| run(&arguments, &mut output));
    match done.and_then(|()| output.flush().map_err(to_output_error)) {
        Ok(()) => ExitCode::SUCCESS,
        // Whoever reads the output has seen enough.
        Err(Error::Io { op: "print to", source, .. }) if source.kind() == io::ErrorKind::BrokenPipe => {
            ExitCode::SUCCESS
        }
        Err(error) => {
            eprintln!("wordindex: {error}");
            ExitCode::from(if matches!(error, Error::Usage(_)) { 2 } else { 1 })
        }
    }
}

fn to_output_error(source: io::Error) -> Error {
    Error::io("print to", Path::new("standard output"))(source)
}

fn run(arguments: &Arguments, output: &mut impl Write) -> Result<()> {
    if arguments.help {
        return output.write_all(arguments::HELP.as_bytes()).map_err(to_output_error);
    }
    let path = arguments.index.clone().unwrap_or_else(default_index);
    let is_there = path.try_exists().map_err(Error::io("look for", &path))?;
    if arguments.query.is_none() || !arguments.paths.is_empty() || arguments.fresh || !is_there {
        build_and_report(arguments, &path, output)?;
    } else if arguments.compact {
        compact(&mut Index::open(&path)?, output)?;
    }
    if let Some(copy) = &arguments.snapshot {
        let snapshot = Index::open(&path)?.pager.snapshot_to(copy)?;
        let written = Mebibytes(snapshot.written);
        writeln!(output, "snapshot    {}, {written} written", copy.display()).map_err(to_output_error)?;
    }
    match &arguments.query {
        Some(word) => query(&Index::open(&path)?, word, output),
        None => Ok(()),
    }
}

/// Beside the `examples` folder that the program was built into, else among the temporary files.
fn default_index() -> PathBuf {
    let program = env::current_exe().unwrap_or_default();
    let folder = program.ancestors().nth(1).filter(|folder| folder.ends_with("examples")).and_then(Path::parent);
    folder.map_or_else(env::temp_dir, Path::to_path_buf).join("wordindex.diptych")
}

/// The project that this example belongs to, by a short name where the program runs in its folder.
fn default_input() -> PathBuf {
    let project = Path::new(env!("CARGO_MANIFEST_DIR"));
    let is_here = env::current_dir().is_ok_and(|here| here == project);
    PathBuf::from(if is_here { Path::new(".") } else { project })
}

fn build_and_report(arguments: &Arguments, path: &Path, output: &mut impl Write) -> Result<()> {
    let default_roots = [default_input()];
    let roots = if arguments.paths.is_empty() { &default_roots[..] } else { &arguments.paths };
    let files = input::find_files(roots)?;
    if files.is_empty() {
        return Err(Error::NoFiles);
    }
    let plan = Plan { index: path, files: &files, kill_after: arguments.kill_after, fresh: arguments.fresh };
    let built = build::build(&plan)?;
    let mut index = Index::open(path)?;
    report(&index, &built, output).map_err(to_output_error)?;
    if arguments.compact {
        compact(&mut index, output)?;
    }
    let verified = if arguments.no_verify {
        "no, as told"
    } else {
        verify::verify(&index, &files)?;
        "every posting list of the reopened file equals the naive one, and nothing is leaked"
    };
    writeln!(output, "verified    {verified}").map_err(to_output_error)
}

fn compact(index: &mut Index, output: &mut impl Write) -> Result<()> {
    let (moved, cut) = index.compact()?;
    writeln!(output, "compacted   {moved}, {cut} cut off").map_err(to_output_error)
}

fn report(index: &Index, built: &Built, output: &mut impl Write) -> io::Result<()> {
    let (root, pager) = (index.root, &index.pager);
    let pages = pager.page_count();
    writeln!(output, "index       {}", index.path.display())?;
    if let Some(reason) = built.replaced {
        writeln!(output, "            built anew: {reason}")?;
    }
    match built.resumed_files {
        0 => writeln!(output, "files       {}", root.file_count)?,
        there => writeln!(output, "files       {} ({there} were there from an earlier run)", root.file_count)?,
    }
    writeln!(output, "words       {}", root.word_count)?;
    writeln!(output, "postings    {}", root.posting_count)?;
    writeln!(
        output,
        "pages used  {} of {pages}: {} protected, in two copies each, for the trees",
        pages - pager.free_page_count(),
        pager.allocated_protected_page_count(),
    )?;
    let extents = pager.iter_allocated_extents().count();
    writeln!(output, "extents     {extents} for lists that do not fit into a sub-page")?;
    let page_len = u64::try_from(pager.page_size()).unwrap_or(u64::MAX);
    writeln!(output, "file size   {}", Mebibytes(pages.saturating_mul(page_len)))?;
    writeln!(output, "commits     {}", built.commits)?;
    let time = built.time.as_secs_f64();
    writeln!(output, "time        {time:.2} s for {} of text", Mebibytes(built.bytes))
}

fn query(index: &Index, word: &str, output: &mut impl Write) -> Result<()> {
    let files = index.files()?;
    let postings = index.postings(word)?;
    for posting in &postings {
        let number = posting.file;
        let row = usize::try_from(number).ok().and_then(|number| files.get(number));
        let row = row.ok_or(Error::FileRow { number, field: "number in a posting" })?;
        writeln!(output, "{}:{}", row.path, posting.line).map_err(to_output_error)?;
    }
    if postings.is_empty() {
        eprintln!("wordindex: no line of the {} files has `{word}`", files.len());
    }
    Ok(())
}

/// Bytes, printed as mebibytes with one decimal.
struct Mebibytes(u64);

impl std::fmt::Display for Mebibytes {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let tenths = (u128::from(self.0) * 10 + (1 << 19)) >> 20;
        write!(f, "{}.{} MiB", tenths / 10, tenths % 10)
    }
}
