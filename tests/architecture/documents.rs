//! What the documents say about tests.

use super::source::{NO_FINDINGS, Source, sources};

/// The heading over the table that [`rules_without_proof`] reads.
const RULES: &str = "## Rule by rule";

/// Where the mistakes are listed that can be planted.
const PLANTED: &str = "src/engine/planted.rs";

fn quoted(text: &str) -> impl Iterator<Item = &str> {
    text.split('`').skip(1).step_by(2)
}

/// A function of that name that a test harness runs: one with the attribute, which its lines above say, be it in the body of
/// `proptest!`, which asks for the same attribute.
fn is_test(name: &str, sources: &[Source]) -> bool {
    sources.iter().any(|source| {
        let lines: Vec<&str> = source.text.lines().map(str::trim).collect();
        (0..lines.len()).any(|at| {
            let declared = lines[at].strip_prefix("fn ").and_then(|rest| rest.strip_prefix(name));
            let mut above =
                lines[..at].iter().rev().take_while(|line| line.starts_with("#[") || line.starts_with("//"));
            declared.is_some_and(|rest| rest.starts_with(['(', '<'])) && above.any(|line| line.starts_with("#[test]"))
        })
    })
}

fn is_mistake(name: &str, sources: &[Source]) -> bool {
    let planted = sources.iter().filter(|source| source.path == PLANTED);
    planted.flat_map(|source| source.text.lines()).any(|line| line.trim().strip_suffix(',') == Some(name))
}

/// Names of tests that a document quotes and no source has. They are sentences; nothing else that is quoted has so many
/// words.
pub(crate) fn missing_tests<'a>(document: &'a str, sources: &[Source]) -> Vec<&'a str> {
    let is_name = |name: &&str| !name.contains(|c: char| c != '_' && !c.is_alphanumeric());
    let named = quoted(document).filter(is_name).filter(|name| name.matches('_').count() >= 3);
    named.filter(|name| !is_test(name, sources)).collect()
}

/// Rows of the table of rules whose last cell names nothing, or something that is neither a test nor a planted mistake.
pub(crate) fn rules_without_proof(document: &str, sources: &[Source]) -> Vec<String> {
    let Some((_, table)) = document.split_once(RULES) else { return vec![format!("there is no `{RULES}`")] };
    let section = table.split("\n## ").next().unwrap_or_default();
    let rows = section.lines().filter(|line| line.starts_with("| ") && !line.starts_with("| rule "));
    let mut findings = Vec::new();
    let mut count = 0;
    for row in rows {
        count += 1;
        let cells: Vec<&str> = row.trim_matches('|').split('|').map(str::trim).collect();
        let [rule, _, proof] = cells[..] else {
            findings.push(format!("a rule has three cells: {row}"));
            continue;
        };
        let named: Vec<&str> = quoted(proof).collect();
        if named.is_empty() {
            findings.push(format!("nothing holds the rule: {rule}"));
        }
        let unknown = named.iter().filter(|name| !is_test(name, sources) && !is_mistake(name, sources));
        findings.extend(unknown.map(|name| format!("neither a test nor a planted mistake: `{name}`")));
    }
    if count == 0 {
        findings.push(format!("`{RULES}` has no rules"));
    }
    findings
}

#[test]
fn what_documents_promise_and_is_not_there_is_found() {
    let text = "#[test]\n// Why.\nfn one_thing_is_so() {}\n\nfn no_test_says_so() {}\n";
    let files = sources(&[("tests/a.rs", text), (PLANTED, "    OneThingIsNot,\n")]);
    assert_eq!(
        missing_tests("`one_thing_is_so`, `another_thing_is_so`, `no_test_says_so`, `a::b_c_d_e`", &files),
        ["another_thing_is_so", "no_test_says_so"]
    );
    let table = |proof: &str| {
        format!("{RULES}\n\n| rule | held | fails |\n|---|---|---|\n| R. | `x` | {proof} |\n\n## B\n| a |\n")
    };
    assert_eq!(rules_without_proof(&table("`one_thing_is_so`, `OneThingIsNot`"), &files), NO_FINDINGS);
    assert_eq!(rules_without_proof(&table("by design"), &files), ["nothing holds the rule: R."]);
    assert_eq!(rules_without_proof(&table("`OneThing`"), &files), ["neither a test nor a planted mistake: `OneThing`"]);
    assert_eq!(rules_without_proof("", &files).len(), 1);
    assert_eq!(rules_without_proof(RULES, &files).len(), 1);
}
