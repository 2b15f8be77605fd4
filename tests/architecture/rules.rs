//! What every file has to be like.

use std::collections::BTreeSet;

use super::source::{Module, NO_FINDINGS, Source, Token, named_paths, sources, test_modules, tokens};

/// Words that say nothing about what a file or a type is.
const EMPTY_WORDS: [&str; 10] =
    ["manager", "util", "common", "helper", "inner", "core", "data", "info", "misc", "prelude"];

/// A file of more lines than this before its tests lacks a name for some concept; a finding lists those that come near.
const TOO_LONG: usize = 450;
const LONG: usize = 350;

fn is_library(source: &Source) -> bool {
    source.path.starts_with("src/")
}

/// `unsafe` outside the files that the ledger lists, and files of the ledger that have none.
pub(crate) fn unsafe_against(sources: &[Source], ledger: &str) -> Vec<String> {
    let headings = ledger.lines().filter_map(|line| line.strip_prefix("## `")?.strip_suffix('`'));
    let listed: BTreeSet<&str> = headings.collect();
    let has_unsafe = |source: &&Source| tokens(&source.text).iter().any(|token| token.word() == Some("unsafe"));
    let found: BTreeSet<&str> = sources.iter().filter(has_unsafe).map(|source| source.path.as_str()).collect();
    let unlisted = found.difference(&listed).map(|path| format!("{path}: `unsafe` outside the ledger"));
    let stale = listed.difference(&found).map(|path| format!("docs/UNSAFE.md: {path} has no `unsafe`"));
    unlisted.chain(stale).collect()
}

pub(crate) fn without_header(sources: &[Source]) -> Vec<String> {
    let bare = sources.iter().filter(|source| !source.text.starts_with("//! "));
    bare.map(|source| format!("{}: begins without a `//!` header", source.shown())).collect()
}

pub(crate) fn too_long(sources: &[Source]) -> Vec<String> {
    let lines = |source: &Source| source.before_tests().lines().count();
    let files = sources.iter().filter(|source| is_library(source)).map(|source| (lines(source), source.shown()));
    let long: Vec<(usize, &str)> = files.filter(|(lines, _)| *lines > LONG).collect();
    if long.iter().all(|(lines, _)| *lines <= TOO_LONG) {
        return Vec::new();
    }
    let shown = long.iter().map(|(lines, file)| match lines {
        lines if *lines > TOO_LONG => format!("{file}: {lines} lines before its tests, more than {TOO_LONG}"),
        lines => format!("{file}: {lines} lines before its tests (near the limit)"),
    });
    shown.collect()
}

/// The words of a name in either case: `free_map` and `FreeMap` are `free` and `map`.
fn words_of(name: &str) -> Vec<String> {
    let mut words = vec![String::new()];
    for letter in name.chars() {
        if letter.is_uppercase() || !letter.is_alphanumeric() {
            words.push(String::new());
        }
        if letter.is_alphanumeric() {
            words.last_mut().expect("there is one").extend(letter.to_lowercase());
        }
    }
    words.retain(|word| !word.is_empty());
    words
}

pub(crate) fn empty_names(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let tokens = tokens(&source.text);
        let declared = tokens.windows(2).filter_map(|pair| match (pair[0].word()?, pair[1].word()?) {
            ("struct" | "enum" | "union" | "trait" | "type" | "mod", name) => Some(name),
            _ => None,
        });
        let file = source.path.strip_suffix(".rs").unwrap_or(&source.path);
        for name in file.split('/').chain(declared) {
            for word in words_of(name) {
                let singular = word.strip_suffix('s').unwrap_or(&word);
                if EMPTY_WORDS.contains(&word.as_str()) || EMPTY_WORDS.contains(&singular) {
                    findings.push(format!("{}: `{name}` is called `{word}`, which says nothing", source.shown()));
                }
            }
        }
    }
    findings
}

pub(crate) fn glob_imports(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let for_tests: BTreeSet<Module> = sources.iter().flat_map(test_modules).collect();
    let is_test = |source: &Source| {
        source.path.starts_with("tests/") || source.module().is_some_and(|module| for_tests.contains(&module))
    };
    for source in sources.iter().filter(|source| !is_test(source)) {
        for named in named_paths(source.before_tests()).iter().filter(|named| named.is_glob) {
            findings.push(format!("{}: `use {}::*`", source.shown(), named.segments.join("::")));
        }
    }
    findings
}

/// Stores of the engine through its region elsewhere than in the file that lends pages to users. Everything that is staged is
/// written through the storage: the kernel writes a map back whenever it likes.
pub(crate) fn stores_through_the_map(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    let is_engine = |source: &&Source| source.path.starts_with("src/engine/") && !source.path.ends_with("tests.rs");
    for source in sources.iter().filter(is_engine) {
        let tokens = tokens(source.before_tests());
        let stores = tokens.windows(3).filter(|three| {
            let method = three[2].word().unwrap_or_default();
            three[0].word() == Some("region") && three[1].is('.') && matches!(method, "bytes_mut" | "disjoint_mut")
        });
        let count = stores.count();
        // One page, and several of them; an extent.
        let lent = match source.path.as_str() {
            "src/engine/mod.rs" => 2,
            "src/engine/extent_calls.rs" => 1,
            _ => 0,
        };
        if count != lent {
            findings.push(format!("{}: stores through the map in {count} places, not {lent}", source.shown()));
        }
    }
    findings
}

/// Macros and attributes that put something off.
pub(crate) fn put_off(sources: &[Source]) -> Vec<String> {
    let mut findings = Vec::new();
    for source in sources {
        let tokens = tokens(&source.text);
        for pair in tokens.windows(2) {
            let found = match (&pair[0], &pair[1]) {
                (Token::Word(word), mark) if mark.is('!') && matches!(word.as_str(), "todo" | "unimplemented") => {
                    format!("{word}!")
                }
                (mark, Token::Word(word)) if mark.is('[') && matches!(word.as_str(), "allow" | "ignore") => {
                    format!("#[{word}]")
                }
                _ => continue,
            };
            findings.push(format!("{}: `{found}`", source.shown()));
        }
    }
    findings
}

#[test]
fn unsafe_is_compared_with_the_ledger_both_ways() {
    let files =
        sources(&[("src/a.rs", "unsafe { f() }"), ("src/b.rs", "#![expect(unsafe_code)] // unsafe"), ("src/c.rs", "")]);
    let findings = unsafe_against(&files, "# Ledger\n\n## `src/c.rs`\n");
    assert_eq!(findings, ["src/a.rs: `unsafe` outside the ledger", "docs/UNSAFE.md: src/c.rs has no `unsafe`"]);
    assert_eq!(unsafe_against(&files, "## `src/a.rs`\n"), NO_FINDINGS);
}

#[test]
fn a_store_of_the_engine_through_the_map_is_found() {
    let lends = "fn a() { self.region.bytes_mut(0, 1) } fn b() { self.region.disjoint_mut([0], 1) }";
    let files = sources(&[("src/engine/mod.rs", lends), ("src/engine/commit.rs", "self.region.bytes(0, 1)")]);
    assert_eq!(stores_through_the_map(&files), NO_FINDINGS);
    let files = sources(&[("src/engine/mod.rs", lends), ("src/engine/commit.rs", "self.region.bytes_mut(0, 1)")]);
    assert_eq!(stores_through_the_map(&files), ["engine/commit.rs: stores through the map in 1 places, not 0"]);
}

#[test]
fn what_breaks_the_rules_of_a_file_is_found() {
    let long = "//! Long.\n".repeat(TOO_LONG + 1);
    let near = "//! Near.\n".repeat(LONG + 1);
    let tests = format!("//! Short.\n#[cfg(test)]\nmod tests {{\n{}}}\n", "\n".repeat(TOO_LONG));
    let files = sources(&[("src/long.rs", &long), ("src/near.rs", &near), ("src/tests_count_not.rs", &tests)]);
    assert_eq!(too_long(&files).len(), 2);
    assert_eq!(too_long(&files[1..]), NO_FINDINGS);
    assert_eq!(without_header(&files), NO_FINDINGS);
    assert_eq!(without_header(&sources(&[("src/a.rs", "use std::fmt;")])), ["a.rs: begins without a `//!` header"]);

    let named = sources(&[
        ("src/byte_utils.rs", "struct Metadata; struct PageInfo; enum CoreState { Inner }"),
        ("src/metadata.rs", "// struct InnerPage;"),
    ]);
    let expected = ["`byte_utils` is called `utils`", "`PageInfo` is called `info`", "`CoreState` is called `core`"];
    let found = empty_names(&named);
    assert_eq!(found, expected.map(|name| format!("byte_utils.rs: {name}, which says nothing")));

    let globs = sources(&[
        ("src/a.rs", "use super::*; use std::{fmt, io::{self, prelude::*}};"),
        ("src/b.rs", "fn f() -> u64 { 2 * 3 }\n#[cfg(test)]\nmod tests;\n"),
        ("src/b/tests.rs", "use super::*;"),
        ("src/c.rs", "#[cfg(test)]\nmod tests {\n    use super::*;\n}\n"),
        ("tests/d.rs", "use diptych::*;"),
    ]);
    assert_eq!(glob_imports(&globs), ["a.rs: `use super::*`", "a.rs: `use std::io::prelude::*`"]);

    let lazy = "fn f() { todo!() } // todo!\n#[allow(dead_code)]\n#![allow(dead_code)]\n#[test]\n#[ignore = \"slow\"]\nfn g() {}";
    assert_eq!(
        put_off(&sources(&[("src/a.rs", lazy)])),
        ["a.rs: `todo!`", "a.rs: `#[allow]`", "a.rs: `#[allow]`", "a.rs: `#[ignore]`"]
    );
}
