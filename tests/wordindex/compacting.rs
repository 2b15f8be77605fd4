//! The file of an index is made short while it is in use, and copied, with lists in sub-pages and in extents.

use std::fs;

use crate::{IS_VERIFIED, Place, failed, succeeded};

/// The program verifies what it compacted; a second run says that it is whole by queries alone.
#[test]
fn a_compacted_index_is_shorter_and_answers_as_before() {
    let place = Place::new();
    succeeded(&place.write_many().build(&[]));
    let words = ["every", "part", "file3", "word0", "word12", "3"];
    let expected = words.map(|word| place.query(word));
    let before = fs::metadata(place.index()).unwrap().len();

    let report = succeeded(&place.run(&["--compact", "--query", "every"]));
    let line = report.lines().find(|line| line.starts_with("compacted ")).expect("a report");
    assert!(line.contains(" 0 pages, ") && !line.contains(" 0 twins moved") && line.contains(" 0 left"), "{line}");
    assert!(fs::metadata(place.index()).unwrap().len() < before, "{line}");
    assert_eq!(words.map(|word| place.query(word)), expected);

    let report = succeeded(&place.build(&["--fresh", "--compact"]));
    assert!(report.contains("compacted ") && report.contains(IS_VERIFIED), "{report}");
    assert_eq!(words.map(|word| place.query(word)), expected);
}

/// What is freed while long lists grow are holes before extents.
#[test]
fn extents_move_and_their_lists_are_found_as_before() {
    let place = Place::new();
    for file in 0..6 {
        let lines: Vec<String> =
            (0..6000).map(|line| format!("common {} rare{}\n", line % 3, file * line % 500)).collect();
        place.write(&format!("{file}.txt"), lines.concat());
    }
    let report = succeeded(&place.build(&["--compact"]));
    assert!(report.contains(IS_VERIFIED), "{report}");
    assert!(!report.contains(" 0 pages of extents"), "{report}");
    assert_eq!(place.query("common").len(), 36_000);
    let again = succeeded(&place.run(&["--compact", "--query", "rare7"]));
    assert!(again.contains("compacted   0 pages, 0 pages of extents"), "{again}");
}

#[test]
fn a_snapshot_is_an_index_by_itself_and_never_replaces_anything() {
    let place = Place::new();
    let copy = place.folder.path().join("copy");
    let to = copy.to_str().unwrap();
    let report = succeeded(&place.write_many().build(&["--compact", "--snapshot", to]));
    assert!(report.lines().any(|line| line.starts_with("snapshot ")), "{report}");
    let words = ["part", "word12"];
    let expected = words.map(|word| place.query(word));
    fs::rename(&copy, place.index()).unwrap();
    assert_eq!(words.map(|word| place.query(word)), expected);
    fs::write(&copy, b"something").unwrap();
    let error = failed(&place.run(&["--query", "part", "--snapshot", to]), 1);
    assert!(error.contains(to), "{error}");
    assert_eq!(fs::read(&copy).unwrap(), b"something");
}
