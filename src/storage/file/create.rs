//! Making a file: whole under its final name, or absent.
//!
//! ```text
//!  nameless (O_TMPFILE) ─┐                                              ┌─ linkat
//!                        ├─▶ locked ─▶ space, content ─▶ full sync ─▶ named ─▶ directory synced
//!  temporary name ───────┘                                              └─ rename without replacing, or link
//! ```
//!
//! The file is locked before anyone can find it, synced before it has its name, and never replaces anything: a crash at any
//! point leaves the final name absent or a whole file. Where a nameless file cannot be made or named, a crash may leave a
//! file called `.diptych-` and sixteen hexadecimal digits beside it, which nobody refers to and anybody may remove.

use std::ffi::OsStr;
use std::fs::{self, File};
use std::io;
use std::path::{Path, PathBuf};

use super::{platform, space};

/// What a new file holds: `reserved` at its beginning, zeros up to `len`.
#[derive(Clone, Copy, Debug)]
pub(super) struct Content<'a> {
    pub(super) reserved: &'a [u8],
    pub(super) len: u64,
    pub(super) sparse: bool,
}

/// Creates `name` in `directory`, locked and durable. An existing name of whatever kind is `AlreadyExists` and stays as it is.
pub(super) fn create(directory: &Path, name: &OsStr, content: Content<'_>) -> io::Result<File> {
    let (file, ()) = make(directory, name, &mut |file| fill(file, content))?;
    Ok(file)
}

/// Makes a file that `fill` fills, and names it when it is durable. An existing name is `AlreadyExists` and stays as it is.
/// `fill` is called again, on another empty file, where a nameless one turns out not to get a name.
pub(super) fn make<T, E: From<io::Error>>(
    directory: &Path,
    name: &OsStr,
    fill: &mut dyn FnMut(&File) -> Result<T, E>,
) -> Result<(File, T), E> {
    let path = directory.join(name);
    let made = make_linked(directory, &path, fill)?;
    if let Err(error) = platform::sync_directory(directory) {
        // Not known to be durable: no file is the better answer to a failed call. The lock shows that it is ours.
        let _ = fs::remove_file(&path);
        return Err(error.into());
    }
    Ok(made)
}

fn make_linked<T, E: From<io::Error>>(
    directory: &Path,
    path: &Path,
    fill: &mut dyn FnMut(&File) -> Result<T, E>,
) -> Result<(File, T), E> {
    #[cfg(any(target_os = "linux", target_os = "android"))]
    if let Ok(file) = nameless::open(directory) {
        let filled = complete(&file, fill)?;
        match nameless::link(&file, path) {
            Ok(()) => return Ok((file, filled)),
            Err(error) if error.kind() == io::ErrorKind::AlreadyExists => return Err(error.into()),
            // No `/proc`, or a filesystem that makes nameless files and cannot name them.
            Err(_) => drop(file),
        }
    }
    // Whatever kept a nameless file from being made, this says why if it goes for this one, too.
    make_renamed(directory, path, fill)
}

/// The way without nameless files.
fn make_renamed<T, E: From<io::Error>>(
    directory: &Path,
    path: &Path,
    fill: &mut dyn FnMut(&File) -> Result<T, E>,
) -> Result<(File, T), E> {
    let (file, name) = TemporaryName::create(directory)?;
    let filled = complete(&file, fill)?;
    name.rename(path)?;
    Ok((file, filled))
}

/// Locks the file, has it filled, and syncs it.
fn complete<T, E: From<io::Error>>(file: &File, fill: &mut dyn FnMut(&File) -> Result<T, E>) -> Result<T, E> {
    file.try_lock().map_err(io::Error::from)?;
    let filled = fill(file)?;
    file.sync_all()?;
    Ok(filled)
}

/// Gives a new file its length and content.
fn fill(file: &File, content: Content<'_>) -> io::Result<()> {
    space::extend(file, 0, content.len, content.sparse)?;
    platform::write_parts_at(file, &[content.reserved], 0)
}

/// Files that have no name until they are given one: a crash before that leaves nothing.
#[cfg(any(target_os = "linux", target_os = "android"))]
mod nameless {
    use std::fs::{File, OpenOptions};
    use std::io;
    use std::os::fd::AsRawFd;
    use std::os::unix::fs::OpenOptionsExt;
    use std::path::Path;

    use rustix::fs::{AtFlags, CWD, OFlags, linkat};

    pub(super) fn open(directory: &Path) -> io::Result<File> {
        let flags = OFlags::TMPFILE.bits().cast_signed();
        OpenOptions::new().read(true).write(true).custom_flags(flags).open(directory)
    }

    /// Gives the file its first name. The direct way takes a privilege or a recent kernel, the other one a mounted `/proc`.
    pub(super) fn link(file: &File, path: &Path) -> io::Result<()> {
        linkat(file, "", CWD, path, AtFlags::EMPTY_PATH).or_else(|_| link_through_proc(file, path))?;
        Ok(())
    }

    pub(super) fn link_through_proc(file: &File, path: &Path) -> rustix::io::Result<()> {
        linkat(CWD, format!("/proc/self/fd/{}", file.as_raw_fd()), CWD, path, AtFlags::SYMLINK_FOLLOW)
    }
}

/// A random name, removed when this is dropped unless the file was renamed.
#[derive(Debug)]
struct TemporaryName {
    path: PathBuf,
}

impl TemporaryName {
    fn create(directory: &Path) -> io::Result<(File, TemporaryName)> {
        let mut random = [0; 8];
        getrandom::fill(&mut random).map_err(|error| io::Error::other(error.to_string()))?;
        let path = directory.join(format!(".diptych-{:016x}", u64::from_le_bytes(random)));
        let file = File::options().read(true).write(true).create_new(true).open(&path)?;
        Ok((file, TemporaryName { path }))
    }

    /// Gives the file its final name, which must be new, in one step where the system can do that; else both names stand
    /// for a moment, and a crash then leaves both.
    fn rename(self, path: &Path) -> io::Result<()> {
        #[cfg(any(target_os = "linux", target_os = "android", target_vendor = "apple"))]
        {
            use rustix::fs::{CWD, RenameFlags, renameat_with};
            use rustix::io::Errno;
            match renameat_with(CWD, &self.path, CWD, path, RenameFlags::NOREPLACE) {
                Ok(()) => return Ok(()),
                Err(Errno::EXIST) => return Err(Errno::EXIST.into()),
                Err(_) => {}
            }
        }
        fs::hard_link(&self.path, path)
    }
}

impl Drop for TemporaryName {
    fn drop(&mut self) {
        // After a rename there is nothing to remove, and nobody else comes to 64 random bits of ours.
        let _ = fs::remove_file(&self.path);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const CONTENT: Content<'_> = Content { reserved: b"reserved", len: 100_000, sparse: false };

    fn create_linked(directory: &Path, path: &Path, content: Content<'_>) -> io::Result<File> {
        make_linked(directory, path, &mut |file| fill(file, content)).map(|(file, ())| file)
    }

    fn create_renamed(directory: &Path, path: &Path, content: Content<'_>) -> io::Result<File> {
        make_renamed(directory, path, &mut |file| fill(file, content)).map(|(file, ())| file)
    }

    fn names(directory: &Path) -> Vec<String> {
        fs::read_dir(directory).unwrap().map(|entry| entry.unwrap().file_name().into_string().unwrap()).collect()
    }

    /// What stands at `path` before a creation that must not touch it, and a check that it did not.
    fn occupied(make: impl Fn(&Path), unchanged: impl Fn(&Path) -> bool) {
        for create in [create_linked, create_renamed] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("f");
            make(&path);
            let error = create(directory.path(), &path, CONTENT).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::AlreadyExists);
            assert!(unchanged(&path));
            assert_eq!(names(directory.path()), ["f"], "no temporary name is left");
        }
    }

    #[test]
    fn an_existing_file_is_refused_and_left_untouched() {
        occupied(|path| fs::write(path, b"mine").unwrap(), |path| fs::read(path).unwrap() == b"mine");
    }

    #[test]
    fn an_existing_directory_is_refused() {
        occupied(|path| fs::create_dir(path).unwrap(), |path| path.is_dir());
    }

    #[test]
    #[cfg(unix)]
    fn an_existing_symlink_is_refused_even_if_it_names_nothing() {
        let link = |path: &Path| std::os::unix::fs::symlink("nowhere", path).unwrap();
        occupied(link, |path| fs::read_link(path).unwrap() == Path::new("nowhere") && !path.exists());
    }

    #[test]
    fn both_ways_make_a_whole_locked_file_and_no_other_name() {
        for create in [create_linked, create_renamed] {
            let directory = tempfile::tempdir().unwrap();
            let path = directory.path().join("f");
            let file = create(directory.path(), &path, CONTENT).unwrap();
            assert_eq!(names(directory.path()), ["f"]);
            assert!(File::open(&path).unwrap().try_lock().is_err(), "the file is locked");
            let found = fs::read(&path).unwrap();
            assert_eq!(found.len(), 100_000);
            assert!(found.starts_with(b"reserved") && found[8..].iter().all(|&byte| byte == 0));
            drop(file);
        }
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_crash_before_the_link_leaves_no_name_at_all() {
        let directory = tempfile::tempdir().unwrap();
        let file = nameless::open(directory.path()).expect("the temporary directory supports O_TMPFILE");
        fill(&file, CONTENT).unwrap();
        assert_eq!(names(directory.path()), [""; 0]);
        drop(file);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    #[cfg(target_os = "linux")]
    fn a_nameless_file_gets_its_name_without_privileges_too_and_replaces_nothing() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        let file = nameless::open(directory.path()).unwrap();
        fill(&file, CONTENT).unwrap();
        nameless::link_through_proc(&file, &path).unwrap();
        assert!(platform::is_named(&file, &path).unwrap());
        let second = nameless::open(directory.path()).unwrap();
        assert_eq!(nameless::link_through_proc(&second, &path).unwrap_err(), rustix::io::Errno::EXIST);
        assert!(platform::is_named(&file, &path).unwrap());
    }

    #[test]
    fn a_crash_before_the_rename_leaves_nothing_under_the_final_name() {
        let directory = tempfile::tempdir().unwrap();
        let (file, name) = TemporaryName::create(directory.path()).unwrap();
        fill(&file, CONTENT).unwrap();
        let left = names(directory.path());
        assert!(matches!(&left[..], [only] if only.starts_with(".diptych-")), "{left:?}");
        drop(name);
        assert_eq!(names(directory.path()), [""; 0]);
    }

    #[test]
    fn a_failure_on_the_way_leaves_no_name() {
        let directory = tempfile::tempdir().unwrap();
        let path = directory.path().join("f");
        for create in [create_linked, create_renamed] {
            let error = create(directory.path(), &path, Content { len: u64::MAX, ..CONTENT }).unwrap_err();
            assert_eq!(error.kind(), io::ErrorKind::FileTooLarge);
            assert_eq!(names(directory.path()), [""; 0]);
        }
    }

    #[test]
    #[cfg(unix)]
    fn permissions_are_those_of_any_new_file() {
        use std::os::unix::fs::PermissionsExt;
        let directory = tempfile::tempdir().unwrap();
        let mode_of = |name: &str| fs::metadata(directory.path().join(name)).unwrap().permissions().mode();
        File::create(directory.path().join("ordinary")).unwrap();
        create_linked(directory.path(), &directory.path().join("linked"), CONTENT).unwrap();
        create_renamed(directory.path(), &directory.path().join("renamed"), CONTENT).unwrap();
        assert_eq!((mode_of("linked"), mode_of("renamed")), (mode_of("ordinary"), mode_of("ordinary")));
    }

    #[test]
    #[cfg(unix)]
    fn a_sparse_file_takes_no_space_for_its_zeros() {
        let directory = tempfile::tempdir().unwrap();
        let content = Content { len: 1 << 30, sparse: true, ..CONTENT };
        let file = create(directory.path(), OsStr::new("f"), content).unwrap();
        assert_eq!(file.metadata().unwrap().len(), 1 << 30);
        assert!(platform::allocated_bytes(&file).unwrap().unwrap() < 1 << 20);
    }
}
