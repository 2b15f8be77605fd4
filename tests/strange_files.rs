//! What a path may lead to that is no pager's file, or is one with holes: pipes, devices, other formats, files nobody may
//! read. A typed error that says what is wrong, at once, and nothing is changed.

#![cfg(target_os = "linux")]

use std::env;
use std::fs::{self, File, OpenOptions, Permissions};
use std::io;
use std::os::unix::fs::{FileTypeExt, MetadataExt, PermissionsExt};
use std::os::unix::net::UnixListener;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::Command;

use diptych::{Block, Error, Pager};
use rustix::fs::{CWD, FallocateFlags, FileType, Mode, fallocate, mknodat};
use tempfile::TempDir;

const P: usize = 4096;
const TEBIBYTE: u64 = 1 << 40;

/// The user that a test becomes who must not be root.
const NOBODY: u32 = 65534;
const FILE: &str = "DIPTYCH_STRANGE_FILE";

/// That opening fails in the call that opens, with the path, and the kind of error that it carries.
#[track_caller]
fn refused_at_the_door(path: &Path) -> io::Error {
    match Pager::<P>::open(path) {
        Err(Error::Io { op: "open", path: named, source }) => {
            assert_eq!(named, path);
            source
        }
        other => panic!("{}: {other:?}", path.display()),
    }
}

#[test]
fn what_is_no_regular_file_is_refused_without_waiting_for_anybody() {
    let directory = TempDir::new().unwrap();
    let pipe = directory.path().join("pipe");
    mknodat(CWD, &pipe, FileType::Fifo, Mode::from_raw_mode(0o600), 0).unwrap();
    refused_at_the_door(&pipe);
    assert!(fs::metadata(&pipe).unwrap().file_type().is_fifo());

    let socket = directory.path().join("socket");
    let _listener = UnixListener::bind(&socket).unwrap();
    refused_at_the_door(&socket);
    for device in ["/dev/null", "/dev/zero", "/dev/full"] {
        refused_at_the_door(Path::new(device));
    }
    assert_eq!(refused_at_the_door(directory.path()).kind(), io::ErrorKind::IsADirectory);
}

#[test]
fn a_link_that_leads_nowhere_or_to_itself_is_refused() {
    let directory = TempDir::new().unwrap();
    let [dangling, circle] = ["dangling", "circle"].map(|name| directory.path().join(name));
    std::os::unix::fs::symlink("missing", &dangling).unwrap();
    std::os::unix::fs::symlink("circle", &circle).unwrap();
    assert_eq!(refused_at_the_door(&dangling).kind(), io::ErrorKind::NotFound);
    refused_at_the_door(&circle);
    assert!(!directory.path().join("missing").exists());
}

#[test]
fn a_file_of_another_format_is_refused_by_its_first_eight_bytes() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let heads: [&[u8]; 8] = [
        b"SQLite format 3\0",
        b"\x7fELF\x02\x01\x01\0",
        b"\x89PNG\r\n\x1a\n",
        b"\x1f\x8b\x08\0\0\0\0\0",
        b"PK\x03\x04\x14\0\0\0",
        b"%PDF-1.7\n",
        b"redb\x1a\x0a\xa9\x0d",
        b"plain text, as people write it\n",
    ];
    for head in heads {
        // All in one piece, and in front of zeros: whatever stands in the blocks behind the first.
        for content in [head.repeat(40_000 / head.len()), [head, &vec![0; 40_000]].concat()] {
            fs::write(&path, &content).unwrap();
            let expected = u64::from_le_bytes(head[..8].try_into().unwrap());
            let error = Pager::<P>::open(&path).unwrap_err();
            assert!(matches!(error, Error::NotDiptych { found, .. } if found == expected), "{error}");
            assert!(!error.is_corruption());
            assert_eq!(fs::read(&path).unwrap(), content);
        }
    }
}

#[test]
fn a_hole_of_a_tebibyte_is_no_pager_and_costs_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("hole");
    File::create(&path).unwrap().set_len(TEBIBYTE).unwrap();
    assert!(matches!(Pager::<P>::open(&path), Err(Error::NotDiptych { found: 0, .. })));
    let after = fs::metadata(&path).unwrap();
    assert_eq!((after.len(), after.blocks()), (TEBIBYTE, 0));
}

#[test]
fn a_hole_of_a_tebibyte_behind_a_file_is_a_tail_that_is_reported_and_cut() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut pager = Pager::<P>::create(&path).unwrap();
    let id = pager.alloc().unwrap();
    pager.page_mut(id).unwrap().fill(7);
    pager.close().unwrap();
    let len = fs::metadata(&path).unwrap().len();
    OpenOptions::new().write(true).open(&path).unwrap().set_len(TEBIBYTE).unwrap();

    let pager = Pager::<P>::open(&path).unwrap();
    assert_eq!(pager.recovery().tail_bytes, TEBIBYTE - len);
    assert_eq!(pager.check(), []);
    assert!(pager.page(id).unwrap().iter().all(|byte| *byte == 7));
    pager.close().unwrap();
    assert_eq!(fs::metadata(&path).unwrap().len(), len);
}

#[test]
fn a_hole_in_any_block_is_survived_or_named() {
    let directory = TempDir::new().unwrap();
    let (whole, path) = (directory.path().join("whole"), directory.path().join("holed"));
    let mut pager = Pager::<P>::create(&whole).unwrap();
    let ids = pager.alloc_protected_bulk(20).unwrap();
    for round in 1..4 {
        let mut writer = pager.protected_mut(ids[3]).unwrap();
        writer.page_mut().fill(round);
        writer.commit().unwrap();
    }
    pager.close().unwrap();
    let generation = Pager::<P>::open(&whole).unwrap().generation();
    let content = fs::read(&whole).unwrap();
    let mut refused = 0;
    for offset in (0..fs::metadata(&whole).unwrap().len()).step_by(P) {
        fs::write(&path, &content).unwrap();
        let file = OpenOptions::new().write(true).open(&path).unwrap();
        let punched = fallocate(&file, FallocateFlags::PUNCH_HOLE | FallocateFlags::KEEP_SIZE, offset, 4096);
        if let Err(error) = punched {
            eprintln!("!!!!!!!! SKIPPED: this filesystem punches no holes ({error}) !!!!!!!!");
            return;
        }
        drop(file);
        let holed = fs::read(&path).unwrap();
        match Pager::<P>::open(&path) {
            Ok(pager) => {
                assert_eq!(pager.generation(), generation, "a hole at {offset}");
                for id in &ids {
                    let fill = if *id == ids[3] { 3 } else { 0 };
                    match pager.protected(*id) {
                        Ok(page) => assert!(page.iter().all(|byte| *byte == fill), "{id}, a hole at {offset}"),
                        Err(Error::Corrupt { block: Block::ProtectedPage { .. }, page, field: "checksum", .. }) => {
                            assert_eq!(page * 4096, offset);
                        }
                        Err(error) => panic!("a hole at {offset}: {error}"),
                    }
                }
            }
            Err(Error::Corrupt { page, field, .. }) => {
                assert_eq!(page * 4096, offset, "{field}");
                assert_eq!(fs::read(&path).unwrap(), holed);
                refused += 1;
            }
            Err(error) => panic!("a hole at {offset}: {error}"),
        }
    }
    assert_eq!(refused, 3, "the live metadata, the leaf and the node have no second copy of their newest state");
}

/// What this user may not read or not write is refused, and stays as it is.
fn look_at_forbidden_files(path: &Path) {
    for mode in [0o000, 0o400] {
        fs::set_permissions(path, Permissions::from_mode(mode)).unwrap();
        assert_eq!(refused_at_the_door(path).kind(), io::ErrorKind::PermissionDenied, "mode {mode:o}");
    }
    // What was refused for its mode alone is opened with another one.
    fs::set_permissions(path, Permissions::from_mode(0o600)).unwrap();
    Pager::<P>::open(path).unwrap().close().unwrap();
}

/// Permissions do not bind root, so there the test starts itself again as somebody else.
#[test]
fn a_file_without_permission_or_read_only_is_refused_and_stays() {
    if let Some(path) = env::var_os(FILE) {
        return look_at_forbidden_files(Path::new(&path));
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<P>::create(&path).unwrap().close().unwrap();
    let before = fs::read(&path).unwrap();
    if fs::metadata("/proc/self").unwrap().uid() != 0 {
        look_at_forbidden_files(&path);
        assert_eq!(fs::read(&path).unwrap(), before);
        return;
    }
    // Where the tests are built may be closed to others, so the program goes along.
    let program = directory.path().join("program");
    fs::copy(env::current_exe().unwrap(), &program).unwrap();
    for place in [directory.path(), &path, &program] {
        fs::set_permissions(place, Permissions::from_mode(0o755)).unwrap();
        std::os::unix::fs::chown(place, Some(NOBODY), Some(NOBODY)).unwrap();
    }
    let mut again = Command::new(&program);
    again.args(["--exact", "a_file_without_permission_or_read_only_is_refused_and_stays"]).env(FILE, &path);
    match again.uid(NOBODY).gid(NOBODY).output() {
        Ok(output) => assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout)),
        Err(error) => eprintln!("!!!!!!!! SKIPPED: this process cannot become another user ({error}) !!!!!!!!"),
    }
    assert_eq!(fs::read(&path).unwrap(), before);
}
