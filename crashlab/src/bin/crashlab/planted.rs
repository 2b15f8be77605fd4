//! Planted mistakes: the battery of the crash tests, in a build in which the engine makes mistakes on request.

use std::path::Path;
use std::process::Command;

/// Builds the engine so that it can make mistakes, beside the build that makes none, and runs the battery. Returns how many
/// mistakes there are and how many were caught.
pub(crate) fn run() -> Result<(usize, usize), String> {
    let package = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let target = std::env::var_os("CARGO_TARGET_DIR").map_or_else(|| package.join("target"), Into::into);
    let output = Command::new("cargo")
        .args(["test", "--release", "--test", "crash", "planted", "--", "--nocapture", "--test-threads=1"])
        .current_dir(&package)
        .env("RUSTFLAGS", "--cfg diptych_planted")
        .env("CARGO_TARGET_DIR", target.join("planted"))
        .output()
        .map_err(|error| format!("cargo: {error}"))?;
    let table = String::from_utf8_lossy(&output.stdout);
    let rows: Vec<&str> = table.lines().filter(|line| line.starts_with("| `")).collect();
    rows.iter().for_each(|row| println!("{row}"));
    let caught = rows.iter().filter(|row| !row.contains("| nothing |")).count();
    if rows.is_empty() || !output.status.success() && caught == rows.len() {
        return Err(format!("{table}\n{}", String::from_utf8_lossy(&output.stderr)));
    }
    Ok((rows.len(), caught))
}
