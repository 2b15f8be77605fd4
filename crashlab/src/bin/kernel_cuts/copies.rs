//! Snapshots that a worker makes between its operations, and what is left of them: none or all of each.

use std::fs;
use std::ops::ControlFlow;
use std::path::{Path, PathBuf};

use crashlab::verify::caught;
use diptych::{Error, Pager, PagerOptions, SnapshotOptions};

/// Copies that a worker makes: all of them fit beside the file.
pub(crate) const MOST_COPIES: usize = 3;

fn name(path: &Path, number: usize) -> PathBuf {
    path.with_extension(format!("copy-{number}"))
}

/// What a worker says when a copy is made.
pub(crate) fn line(number: usize) -> String {
    format!("copy {number}")
}

/// Makes a copy that shares the space of the file, if it may and the filesystem can.
///
/// # Errors
///
/// Those of a snapshot.
pub(crate) fn make<const P: usize>(pager: &Pager<P>, path: &Path, number: usize, share: bool) -> Result<(), Error> {
    let options = SnapshotOptions::new().share_space(share);
    pager.snapshot_with(name(path, number), &options, |_| ControlFlow::Continue(())).map(drop)
}

/// Opens and checks what is left of copies, and removes it. Those in `sure` were acknowledged. Returns how many there are.
///
/// # Errors
///
/// A copy that is not there, or not whole; one that cannot be removed.
pub(crate) fn check<const P: usize>(path: &Path, sure: &[String]) -> Result<u64, String> {
    let mut found = 0;
    for number in 0..MOST_COPIES {
        let copy = name(path, number);
        if !copy.exists() {
            if sure.contains(&line(number)) {
                return Err(format!("{} was acknowledged and is gone", copy.display()));
            }
            continue;
        }
        found += 1;
        let checked = caught(|| {
            let pager = PagerOptions::new().open::<P>(&copy).unwrap_or_else(|error| panic!("a copy: {error}"));
            let recovery = pager.recovery();
            assert!(recovery.voided.is_empty() && !recovery.adopted && recovery.tail_bytes == 0, "{recovery:?}");
            assert_eq!(pager.check(), []);
        });
        checked.map_err(|message| format!("{}: {message}", copy.display()))?;
        // Or the next power cut brings it back.
        let removed =
            fs::remove_file(&copy).and_then(|()| fs::File::open(path.parent().expect("a folder"))?.sync_all());
        removed.map_err(|error| format!("{}: {error}", copy.display()))?;
    }
    Ok(found)
}
