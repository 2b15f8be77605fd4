//! What must not compile does not, and says why.
//!
//! The one file that passes makes the run a build and not a check: the bounds of a page size are asserted when a function is
//! compiled for one.

#[test]
fn mistakes_do_not_compile() {
    let cases = trybuild::TestCases::new();
    cases.pass("tests/compile_fail/pass_*.rs");
    for what in ["page_size_*", "sub_page_size_*", "opening_*", "id_*", "pager_*", "handle_*"] {
        cases.compile_fail(format!("tests/compile_fail/{what}.rs"));
    }
    for what in ["*_while_*", "two_*", "*_outlives_*", "transaction_read_*", "change_*", "commit_*", "guard_*"] {
        cases.compile_fail(format!("tests/compile_fail/{what}.rs"));
    }
}
