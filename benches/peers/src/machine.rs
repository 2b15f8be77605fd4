//! What a run stood on: numbers mean nothing without it.

use std::env;
use std::fs;
use std::path::Path;

use crate::report::Report;
use crate::stores::Kind;
use crate::table::Table;

/// The lock file of this package, which says what was built.
const LOCK: &str = include_str!("../Cargo.lock");

/// Says which machine, filesystem and versions these numbers come from.
pub(crate) fn describe(report: &mut Report, dir: &Path, kinds: &[&Kind]) {
    let arguments: Vec<String> = env::args().skip(1).collect();
    report.line("# diptych and its peers\n");
    let mut table = Table::of_words(&["", ""]);
    let mut row = |name: &str, value: String| table.row(vec![name.to_owned(), value]);
    row("command", format!("`peers {}`", arguments.join(" ")));
    row("processor", processor());
    row(
        "processors",
        std::thread::available_parallelism().map_or_else(|_| "unknown".into(), |count| count.to_string()),
    );
    row("kernel", read_line("/proc/sys/kernel/osrelease"));
    row("filesystem", filesystem(dir));
    report.table(&table);

    let mut table = Table::of_words(&["store", "version", "configured as"]);
    for kind in kinds {
        table.row(vec![
            kind.name.into(),
            format!("{} {}", kind.package, version(kind.package)),
            kind.durability.into(),
        ]);
    }
    report.table(&table);
}

fn read_line(path: &str) -> String {
    fs::read_to_string(path).map_or_else(|_| "unknown".into(), |text| text.trim().to_owned())
}

fn processor() -> String {
    let text = fs::read_to_string("/proc/cpuinfo").unwrap_or_default();
    let model = text.lines().find_map(|line| line.strip_prefix("model name")?.split_once(": "));
    model.map_or_else(|| "unknown".into(), |(_, model)| model.to_owned())
}

/// The type of the filesystem that is mounted nearest above the folder.
fn filesystem(dir: &Path) -> String {
    let dir = fs::canonicalize(dir).unwrap_or_else(|_| dir.to_owned());
    let mounts = fs::read_to_string("/proc/self/mounts").unwrap_or_default();
    let fields = mounts.lines().filter_map(|line| {
        let mut fields = line.split(' ').skip(1);
        Some((fields.next()?, fields.next()?))
    });
    let above = fields.filter(|(place, _)| dir.starts_with(place));
    // Of two that are mounted at one place, the later one is seen.
    above.max_by_key(|(place, _)| place.len()).map_or_else(|| "unknown".into(), |(_, name)| name.to_owned())
}

/// The newest version of a package in the lock file.
fn version(package: &str) -> &'static str {
    let name = format!("name = \"{package}\"");
    let packages = LOCK.split("[[package]]").filter(|entry| entry.lines().any(|line| line == name));
    let versions = packages.filter_map(|entry| entry.lines().find_map(|line| line.strip_prefix("version = ")));
    versions.last().map_or("unknown", |version| version.trim_matches('"'))
}

#[cfg(test)]
mod tests {
    use super::version;
    use crate::stores::KINDS;

    #[test]
    fn the_version_of_each_store_is_known() {
        assert!(KINDS.iter().all(|kind| version(kind.package) != "unknown"));
    }
}
