//! The example `wordindex`, run as its users run it: as a process, on files.

mod compacting;
mod failing_calls;

use std::env;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::{Command, Output};
use std::sync::OnceLock;

use tempfile::TempDir;

/// The program: Cargo builds examples beside the folder of the tests, where it builds them. `cargo test --test` does not.
fn program() -> &'static Path {
    static PROGRAM: OnceLock<PathBuf> = OnceLock::new();
    PROGRAM.get_or_init(|| {
        let test = env::current_exe().unwrap();
        let profile = test.ancestors().nth(2).expect("a test lies in the folder `deps` of its profile");
        let program = profile.join("examples").join(format!("wordindex{}", env::consts::EXE_SUFFIX));
        if !program.exists() {
            let mut cargo = Command::new(env::var_os("CARGO").unwrap_or_else(|| "cargo".into()));
            cargo.args(["build", "--example", "wordindex", "--manifest-path"]);
            cargo.arg(concat!(env!("CARGO_MANIFEST_DIR"), "/Cargo.toml"));
            if profile.ends_with("release") {
                cargo.arg("--release");
            }
            assert!(cargo.status().unwrap().success(), "the example is built");
        }
        program
    })
}

/// A folder of texts, and an index beside it.
struct Place {
    folder: TempDir,
}

impl Place {
    fn new() -> Self {
        let place = Place { folder: tempfile::tempdir().unwrap() };
        fs::create_dir(place.texts()).unwrap();
        place
    }

    fn texts(&self) -> PathBuf {
        self.folder.path().join("texts")
    }

    fn index(&self) -> PathBuf {
        self.folder.path().join("index")
    }

    fn write(&self, name: &str, text: impl AsRef<[u8]>) -> PathBuf {
        let path = self.texts().join(name);
        fs::create_dir_all(path.parent().unwrap()).unwrap();
        fs::write(&path, text).unwrap();
        path
    }

    /// Files with words that all of them have, that some have and that one has: lists in sub-pages, and in extents of several
    /// pages.
    fn write_many(&self) -> &Self {
        for file in 0..12 {
            let lines: Vec<String> = (0..400)
                .map(|line| format!("every line, part {} of file{file}: word{}\n", line % 7, line * file))
                .collect();
            self.write(&format!("{file:02}.txt"), lines.concat());
        }
        self
    }

    fn run(&self, arguments: &[&str]) -> Output {
        Command::new(program()).arg("--index").arg(self.index()).args(arguments).output().unwrap()
    }

    /// Runs on the folder of texts.
    fn build(&self, arguments: &[&str]) -> Output {
        let texts = self.texts();
        self.run(&[arguments, &[texts.to_str().unwrap()]].concat())
    }

    /// The answer to a query, with paths relative to the texts.
    fn query(&self, word: &str) -> Vec<String> {
        let output = succeeded(&self.run(&["--query", word]));
        let prefix = format!("{}/", self.texts().display()).replace('/', std::path::MAIN_SEPARATOR_STR);
        output.lines().map(|line| line.strip_prefix(&prefix).unwrap_or(line).to_owned()).collect()
    }
}

#[track_caller]
fn succeeded(output: &Output) -> String {
    let (standard, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert!(output.status.success(), "{}\n{standard}{error}", output.status);
    standard.into_owned()
}

#[track_caller]
fn failed(output: &Output, status: i32) -> String {
    let (standard, error) = (String::from_utf8_lossy(&output.stdout), String::from_utf8_lossy(&output.stderr));
    assert_eq!(output.status.code(), Some(status), "{standard}{error}");
    error.into_owned()
}

/// The number that the report gives.
#[track_caller]
fn reported(report: &str, what: &str) -> u64 {
    let line = report.lines().find_map(|line| line.strip_prefix(what)?.strip_prefix(' '));
    let number = line.and_then(|rest| rest.split_whitespace().next()).and_then(|number| number.parse().ok());
    number.unwrap_or_else(|| panic!("no `{what}` in:\n{report}"))
}

const IS_VERIFIED: &str = "verified    every posting list of the reopened file equals the naive one";

#[test]
fn a_run_reports_what_it_indexed_and_verifies_it() {
    let place = Place::new();
    place.write("a.txt", "one two two\nthree\n\nONE");
    place.write("b/c.md", "two");
    place.write("empty.txt", "");
    let report = succeeded(&place.build(&[]));
    let counts = ["files", "words", "postings", "commits"].map(|what| reported(&report, what));
    assert_eq!(counts, [3, 3, 5, 3], "{report}");
    let rest = ["index", "pages used", "extents", "file size", "time"];
    assert!(rest.iter().all(|what| report.lines().any(|line| line.starts_with(what))), "{report}");
    assert!(report.contains(IS_VERIFIED), "{report}");
}

#[test]
fn without_paths_the_project_itself_is_indexed() {
    let place = Place::new();
    let report = succeeded(&place.run(&[]));
    assert!(report.contains(IS_VERIFIED), "{report}");
    let lines = place.query("diptych");
    assert!(lines.iter().any(|line| line.contains("Cargo.toml:")), "{lines:?}");
    assert!(lines.iter().any(|line| line.contains("lib.rs:")), "{lines:?}");
}

#[test]
fn a_query_prints_file_and_line_of_each_line_that_has_the_word() {
    let place = Place::new();
    place.write("a.txt", "one two two\nthree\n\nONE");
    place.write("b.txt", "\n\nStraße, one; tone\n");
    succeeded(&place.build(&[]));
    assert_eq!(place.query("one"), ["a.txt:1", "a.txt:4", "b.txt:3"]);
    assert_eq!(place.query("Two"), ["a.txt:1"]);
    assert_eq!(place.query("STRASSE"), [""; 0]);
    assert_eq!(place.query("straße"), ["b.txt:3"]);
}

#[test]
fn a_query_with_paths_or_without_an_index_builds_first() {
    let place = Place::new();
    let path = place.write("a.txt", "alpha\nbeta\n");
    let output = succeeded(&place.build(&["--query", "beta"]));
    assert_eq!(output.lines().last().unwrap(), format!("{}:2", path.display()));
    assert_eq!(place.query("alpha"), ["a.txt:1"]);
}

#[test]
fn a_killed_run_holds_the_files_before_and_the_next_run_ends_with_the_same_index() {
    let whole = Place::new();
    let expected = succeeded(&whole.write_many().build(&[]));
    let long_lists = reported(&expected, "extents");
    assert!(0 < long_lists && long_lists < reported(&expected, "words"), "there are both kinds of list: {expected}");

    for transaction in ["1", "2", "7", "12"] {
        let place = Place::new();
        let killed = place.write_many().build(&["--kill-after", transaction]);
        assert!(!killed.status.success() && killed.status.code() != Some(1), "it aborts: {}", killed.status);
        let there = transaction.parse::<u64>().unwrap() - 1;
        let lines = u64::try_from(place.query("every").len()).unwrap();
        assert_eq!(lines, there * 400, "before transaction {transaction}");

        let report = succeeded(&place.build(&[]));
        assert!(report.contains(IS_VERIFIED), "{report}");
        assert_eq!(reported(&report, "commits"), 12 - there, "{report}");
        for what in ["files", "words", "postings", "extents"] {
            assert_eq!(reported(&report, what), reported(&expected, what), "{what} after transaction {transaction}");
        }
        for word in ["every", "part", "file3", "word0", "word12", "3"] {
            assert_eq!(place.query(word), whole.query(word), "{word} after transaction {transaction}");
        }
    }
}

#[test]
fn a_run_can_be_killed_again_and_again() {
    let place = Place::new();
    place.write_many();
    for there in 1..12 {
        assert!(!place.build(&["--kill-after", "2"]).status.success());
        assert_eq!(place.query("every").len(), there * 400);
    }
    let report = succeeded(&place.build(&[]));
    assert!(report.contains(IS_VERIFIED), "{report}");
    assert_eq!((reported(&report, "files"), reported(&report, "commits")), (12, 1), "{report}");
}

#[test]
fn running_twice_builds_a_finished_index_anew() {
    let place = Place::new();
    let first = succeeded(&place.write_many().build(&[]));
    let second = succeeded(&place.build(&[]));
    for what in ["files", "words", "postings", "pages used", "commits"] {
        assert_eq!(reported(&second, what), reported(&first, what), "{what}");
    }
}

#[test]
fn an_index_of_another_format_version_is_built_anew() {
    let place = Place::new();
    place.write_many();
    succeeded(&place.build(&[]));
    let mut file = fs::read(place.index()).unwrap();
    file[8..12].copy_from_slice(&77u32.to_le_bytes());
    let crc = crc32fast::hash(&file[..60]);
    file[60..64].copy_from_slice(&crc.to_le_bytes());
    fs::write(place.index(), file).unwrap();
    let report = succeeded(&place.build(&[]));
    assert!(report.contains("another format version"), "{report}");
}

/// What this program wrote before posting lists were in sub-pages and extents.
#[test]
fn an_index_of_another_version_is_refused_until_it_is_built_anew() {
    let place = Place::new();
    let path = place.write("a.txt", "word");
    let mut older = diptych::Pager::<4096>::create(place.index()).unwrap();
    older.alloc().unwrap();
    let mut transaction = older.transaction().unwrap();
    transaction.set_header(b"WORDIDX1").unwrap();
    transaction.commit().unwrap();
    older.close().unwrap();

    let copy = place.folder.path().join("copy");
    let queries: [&[&str]; 3] = [&[], &["--compact"], &["--snapshot", copy.to_str().unwrap()]];
    for query in queries {
        let error = failed(&place.run(&[query, &["--query", "word"]].concat()), 1);
        assert!(error.contains("a word index of version 1, this program reads version 2"), "{error}");
    }
    assert!(!copy.exists());
    let report = succeeded(&place.build(&[]));
    assert!(report.contains("of another version of this program") && report.contains(IS_VERIFIED), "{report}");
    assert_eq!(place.query("word"), [format!("{}:1", path.file_name().unwrap().display())]);
}

#[test]
fn a_list_that_outgrows_its_sub_page_goes_to_an_extent_and_then_to_longer_ones() {
    let place = Place::new();
    let (mut lines, mut extents) = (0, Vec::new());
    for file in 0..8 {
        let more = 4usize.pow(file);
        place.write(&format!("{file}.txt"), "growing\n".repeat(more));
        let report = succeeded(&place.build(&[]));
        assert!(report.contains(IS_VERIFIED), "{report}");
        assert_eq!(reported(&report, "commits"), 1, "the index is taken up where it was: {report}");
        lines += more;
        assert_eq!(place.query("growing").len(), lines);
        extents.push(reported(&report, "extents"));
    }
    // A posting takes two bytes: 21 lines are in the sub-page, 85 are not.
    assert_eq!(extents[..4], [0, 0, 0, 1]);
    assert!(extents[4..].iter().all(|extents| (1..=3).contains(extents)), "{extents:?}");
}

#[test]
fn a_killed_run_is_not_taken_up_over_files_that_have_changed() {
    let place = Place::new();
    place.write_many().build(&["--kill-after", "4"]);
    place.write("01.txt", "something else");
    let report = succeeded(&place.build(&[]));
    assert!(report.contains("they have changed") && report.contains(IS_VERIFIED), "{report}");
    assert_eq!(place.query("else"), ["01.txt:1"]);
}

#[test]
fn a_large_file_is_several_transactions_and_is_taken_up_in_the_middle() {
    let place = Place::new();
    let line = format!("{} and the rest\n", "words ".repeat(20));
    let lines = (17 << 20) / line.len();
    place.write("large.txt", line.repeat(lines));
    assert!(!place.build(&["--kill-after", "2"]).status.success());
    let there = place.query("rest").len();
    assert!(0 < there && there < lines, "{there} of {lines}");
    let report = succeeded(&place.build(&[]));
    assert!(report.contains(IS_VERIFIED), "{report}");
    assert_eq!((reported(&report, "files"), reported(&report, "commits")), (1, 2), "{report}");
    assert_eq!(place.query("rest").len(), lines);
}

#[test]
fn text_in_any_script_and_bytes_in_none_are_indexed_as_the_naive_index_says() {
    let place = Place::new();
    // Three bytes a character, so that they lie across the ends of whatever is read at once.
    place.write("wide.txt", "語言 ".repeat(50_000));
    let mut broken: Vec<u8> = (1..=255).collect();
    broken.extend(b"good\xE2\x82good \xF0\x9F\n\xFFend\xE2".repeat(9_000));
    place.write("broken.txt", broken);
    place.write("ends.txt", "a\r\nb\rc\n\n\u{1f600}d\u{0130}E \u{03a3}\u{03a3}");
    place.write("long.txt", format!("{} {}", "x".repeat(64), "y".repeat(65)));
    let report = succeeded(&place.build(&[]));
    assert!(report.contains(IS_VERIFIED), "{report}");
    assert_eq!(place.query(&"x".repeat(64)), ["long.txt:1"]);
    failed(&place.run(&["--query", &"y".repeat(65)]), 2);
}

#[test]
fn folders_are_searched_for_text_and_named_files_are_taken_as_they_are() {
    let place = Place::new();
    place.write("a.txt", "word");
    place.write("target/b.txt", "word");
    place.write(".git/c.txt", "word");
    let binary = place.write("d.bin", b"word\0word");
    succeeded(&place.build(&[]));
    assert_eq!(place.query("word"), ["a.txt:1"]);
    succeeded(&place.build(&[binary.to_str().unwrap()]));
    assert_eq!(place.query("word"), ["d.bin:1", "a.txt:1"]);
}

#[test]
fn a_missing_path_is_an_error_that_names_it() {
    let place = Place::new();
    let error = failed(&place.run(&["no/such/file"]), 1);
    assert!(error.contains("cannot read no/such/file"), "{error}");
    assert!(!place.index().exists(), "nothing is built");
}

#[test]
fn what_is_not_an_index_is_left_alone() {
    let place = Place::new();
    place.write("a.txt", "word");
    fs::write(place.index(), vec![7; 100_000]).unwrap();
    let error = failed(&place.build(&["--fresh"]), 1);
    assert!(error.contains("not a diptych file"), "{error}");
    assert_eq!(fs::read(place.index()).unwrap(), vec![7; 100_000]);

    fs::remove_file(place.index()).unwrap();
    let mut other = diptych::Pager::<4096>::create(place.index()).unwrap();
    other.alloc().unwrap();
    other.close().unwrap();
    let error = failed(&place.build(&["--fresh"]), 1);
    assert!(error.contains("not a word index"), "{error}");
}

#[test]
fn damage_is_an_error_and_never_a_panic_or_a_wrong_answer() {
    let place = Place::new();
    succeeded(&place.write_many().build(&[]));
    let whole = fs::read(place.index()).unwrap();
    let expected = place.query("every");
    let mut errors = 0;
    for page in 5..whole.len() / 4096 {
        let mut damaged = whole.clone();
        // In an extent, a page of sub-pages, a node.
        damaged[page * 4096 + 8..page * 4096 + 24].fill(0xee);
        fs::write(place.index(), &damaged).unwrap();
        let output = place.run(&["--query", "every"]);
        if output.status.success() {
            let answer = String::from_utf8(output.stdout).unwrap();
            assert_eq!(answer.lines().count(), expected.len(), "page {page}");
        } else {
            errors += 1;
            let error = failed(&output, 1);
            assert!(!error.contains("panicked"), "page {page}: {error}");
        }
    }
    assert!(errors > 2, "the answer rests on several pages");
}

#[test]
fn arguments_that_make_no_sense_are_refused_with_a_reason() {
    let place = Place::new();
    let cases: [(&[&str], &str); 8] = [
        (&["--frobnicate"], "there is no option --frobnicate"),
        (&["--query"], "--query needs a value"),
        (&["--query", "two words"], "`two words` is not a word"),
        (&["--query="], "`` is not a word"),
        (&["--kill-after", "0"], "--kill-after takes a number from 1 on, not 0"),
        (&["--kill-after", "soon"], "--kill-after takes a number from 1 on, not soon"),
        (&["--no-verify=yes"], "--no-verify takes no value"),
        (&["-x"], "there is no option -x"),
    ];
    for (arguments, reason) in cases {
        let error = failed(&place.run(arguments), 2);
        assert!(error.contains(reason), "{arguments:?}: {error}");
    }
    assert!(succeeded(&place.run(&["--help"])).contains("--kill-after N"));
}
