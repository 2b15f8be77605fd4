//! The shape of the source: what may import what, where `unsafe` may stand, how files and types are called.
//!
//! Compilers do not check these rules, and reviews forget them. Every finding names the file and the rule, as in
//! ``format/twin.rs: `format` may not import `engine` ``. `ARCHITECTURE.md` explains the order.
//!
//! The checks read tokens, not text: comments and literals do not count, and imports of tests neither. Each check is a
//! function from sources to findings, so that it is itself tested on sources that break its rule.

#[path = "architecture/documents.rs"]
mod documents;
#[path = "architecture/imports.rs"]
mod imports;
#[path = "architecture/rules.rs"]
mod rules;
#[path = "architecture/source.rs"]
mod source;

use std::fs;
use std::path::Path;

use documents::{missing_tests, rules_without_proof};
use imports::{circular_imports, upward_imports};
use rules::{empty_names, glob_imports, put_off, stores_through_the_map, too_long, unsafe_against, without_header};
use source::Source;

fn root() -> &'static Path {
    Path::new(env!("CARGO_MANIFEST_DIR"))
}

/// All Rust files of the package but the ones that are compiled in order to fail.
fn package() -> Vec<Source> {
    let mut sources = Vec::new();
    let mut open: Vec<_> = ["src", "tests", "examples", "benches", "fuzz", "crashlab/src", "crashlab/tests"]
        .map(|folder| root().join(folder))
        .into();
    while let Some(path) = open.pop() {
        if path.is_dir() {
            let skipped = ["compile_fail", "target"].iter().any(|name| path.ends_with(name));
            let entries =
                fs::read_dir(&path).expect("a folder can be listed").map(|entry| entry.expect("an entry").path());
            open.extend(entries.filter(|_| !skipped));
        } else if path.extension().is_some_and(|extension| extension == "rs") {
            let relative =
                path.strip_prefix(root()).expect("found below the root").to_str().expect("a name in Unicode");
            let text = fs::read_to_string(&path).expect("a source is text");
            sources.push(Source::new(&relative.replace('\\', "/"), &text));
        }
    }
    sources.sort_by(|one, other| one.path.cmp(&other.path));
    assert!(sources.iter().any(|source| source.path == "src/lib.rs"), "the package was found");
    sources
}

#[track_caller]
fn assert_none(findings: &[String]) {
    assert!(findings.is_empty(), "\n{}\n", findings.join("\n"));
}

#[test]
fn every_import_points_down() {
    assert_none(&upward_imports(&package()));
}

#[test]
fn the_parts_of_a_folder_import_each_other_in_no_circle() {
    assert_none(&circular_imports(&package()));
}

#[test]
fn unsafe_stands_where_the_ledger_says_and_nowhere_else() {
    let ledger = fs::read_to_string(root().join("docs/UNSAFE.md")).expect("the ledger is there");
    assert_none(&unsafe_against(&package(), &ledger));
}

#[test]
fn every_file_says_what_it_is() {
    assert_none(&without_header(&package()));
}

#[test]
fn no_file_is_too_long() {
    assert_none(&too_long(&package()));
}

#[test]
fn no_file_and_no_type_has_a_name_that_says_nothing() {
    assert_none(&empty_names(&package()));
}

#[test]
fn nothing_is_imported_by_glob() {
    assert_none(&glob_imports(&package()));
}

#[test]
fn nothing_is_put_off() {
    assert_none(&put_off(&package()));
}

#[test]
fn every_test_that_a_document_names_is_there() {
    let sources = package();
    let mut missing = Vec::new();
    for document in ["docs/design.md", "docs/proof.md"] {
        let text = fs::read_to_string(root().join(document)).expect("the document is there");
        missing.extend(
            missing_tests(&text, &sources).iter().map(|name| format!("{document}: no test is called `{name}`")),
        );
    }
    assert_none(&missing);
}

#[test]
fn every_rule_has_a_test_or_a_planted_mistake_that_fails_without_it() {
    let proof = fs::read_to_string(root().join("docs/proof.md")).expect("the document is there");
    assert_none(&rules_without_proof(&proof, &package()));
}

#[test]
fn the_engine_stores_through_the_map_only_where_users_do() {
    assert_none(&stores_through_the_map(&package()));
}
