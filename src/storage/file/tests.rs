//! What [`FileStorage`] promises, on a real file.

use tempfile::TempDir;

use super::*;

const KIB: u64 = 1024;

struct Place {
    directory: TempDir,
}

impl Place {
    fn new() -> Place {
        Place { directory: tempfile::tempdir().unwrap() }
    }

    fn path(&self) -> PathBuf {
        self.directory.path().join("f")
    }

    /// A new file of `len` bytes, shown whole, with addresses for `reserve`.
    fn storage(&self, len: u64, reserve: u64) -> (FileStorage, Region) {
        let mut storage = FileStorage::create(&self.path(), b"reserved", len, false).unwrap();
        let region = storage.map(len, reserve).unwrap();
        (storage, region)
    }
}

fn bytes_at(storage: &FileStorage, offset: u64, len: usize) -> Vec<u8> {
    let mut bytes = vec![0xee; len];
    storage.read_at(&mut bytes, offset).unwrap();
    bytes
}

#[track_caller]
fn assert_refused(result: Result<FileStorage>, path: &Path, expected_op: &str, expected_kind: Option<io::ErrorKind>) {
    match result.unwrap_err() {
        Error::Io { op, path: named, source } => {
            assert_eq!((op, named.as_path()), (expected_op, path));
            assert!(expected_kind.is_none_or(|kind| kind == source.kind()), "{source:?}");
        }
        other => panic!("{other:?}"),
    }
}

#[test]
fn create_refuses_an_existing_file_and_leaves_it_untouched() {
    let place = Place::new();
    fs::write(place.path(), b"mine").unwrap();
    let refused = FileStorage::create(&place.path(), b"x", 8192, false);
    assert_refused(refused, &place.path(), "create", Some(io::ErrorKind::AlreadyExists));
    assert_eq!(fs::read(place.path()).unwrap(), b"mine");
}

#[test]
fn create_refuses_paths_without_a_name_and_missing_directories() {
    let place = Place::new();
    for (path, kind) in [
        (PathBuf::new(), io::ErrorKind::InvalidInput),
        (PathBuf::from("/"), io::ErrorKind::AlreadyExists),
        (place.directory.path().join(".."), io::ErrorKind::AlreadyExists),
        (place.directory.path().join("missing/f"), io::ErrorKind::NotFound),
    ] {
        assert_refused(FileStorage::create(&path, b"", 8192, false), &path, "create", Some(kind));
    }
}

#[test]
fn a_bare_file_name_lies_in_the_working_directory() {
    let (directory, name) = resolve_new(Path::new("f.db")).unwrap();
    assert_eq!(directory, fs::canonicalize(std::env::current_dir().unwrap()).unwrap());
    assert_eq!(name, "f.db");
}

#[test]
fn a_second_opener_is_refused_until_the_first_is_dropped() {
    let place = Place::new();
    let (storage, region) = place.storage(8 * KIB, 0);
    for _ in 0..2 {
        assert!(matches!(FileStorage::open(&place.path()), Err(Error::Locked { path }) if path == place.path()));
    }
    drop((storage, region));
    let reopened = FileStorage::open(&place.path()).unwrap();
    assert!(matches!(FileStorage::open(&place.path()), Err(Error::Locked { .. })));
    assert_eq!(bytes_at(&reopened, 0, 8), b"reserved");
}

#[test]
fn a_file_that_is_opened_for_reading_refuses_every_call_that_would_change_something() {
    let place = Place::new();
    drop(place.storage(8 * KIB, 0));
    let mut storage = FileStorage::open_read_only(&place.path()).unwrap();
    let mut region = storage.map(8 * KIB, 1 << 20).unwrap();
    let before = fs::read(place.path()).unwrap();
    for refused in [
        storage.write_at(&region, &[b"x"], 0),
        storage.grow(&mut region, 16 * KIB, false),
        storage.cut(&mut region, 4 * KIB),
        storage.allocate(0, 4 * KIB),
        storage.remove(),
        storage.barrier(&region, Barrier::Bytes),
        storage.sync_directory(),
    ] {
        assert_eq!(refused.unwrap_err().kind(), io::ErrorKind::PermissionDenied);
    }
    assert_eq!((region.len(), region.capacity()), (8 * KIB, 8 * KIB));
    assert_eq!(bytes_at(&storage, 0, 8), b"reserved");
    assert!(fs::read(place.path()).unwrap() == before);
}

#[test]
fn readers_share_the_lock_and_a_writer_shares_it_with_nobody() {
    let place = Place::new();
    let (storage, region) = place.storage(8 * KIB, 0);
    assert!(matches!(FileStorage::open_read_only(&place.path()), Err(Error::Locked { .. })));
    drop((storage, region));
    let readers = [(); 2].map(|()| FileStorage::open_read_only(&place.path()).unwrap());
    for reader in readers {
        assert!(matches!(FileStorage::open(&place.path()), Err(Error::Locked { .. })));
        drop(reader);
    }
    FileStorage::open(&place.path()).unwrap();
}

#[test]
#[cfg(unix)]
fn dropping_unlocks_although_an_inherited_descriptor_is_open_but_not_in_a_child() {
    let place = Place::new();
    let (mut storage, region) = place.storage(8 * KIB, 0);
    let inherited = storage.file.try_clone().unwrap();
    storage.locked_by ^= 1;
    drop(storage);
    assert!(matches!(FileStorage::open(&place.path()), Err(Error::Locked { .. })), "another process holds the lock");
    drop(inherited);
    assert!(matches!(FileStorage::open(&place.path()), Err(Error::Locked { .. })), "a map keeps the lock, too");
    drop(region);
    let mut storage = FileStorage::open(&place.path()).unwrap();
    let _region = storage.map(8 * KIB, 0).unwrap();
    let _inherited = storage.file.try_clone().unwrap();
    drop(storage);
    FileStorage::open(&place.path()).unwrap();
}

#[test]
fn opening_what_is_not_there_or_no_file_is_a_clear_error() {
    let place = Place::new();
    assert_refused(FileStorage::open(&place.path()), &place.path(), "open", Some(io::ErrorKind::NotFound));
    fs::create_dir(place.path()).unwrap();
    assert_refused(FileStorage::open(&place.path()), &place.path(), "open", None);
}

#[test]
#[cfg(target_os = "linux")]
fn opening_a_pipe_or_a_device_is_a_clear_error_and_does_not_hang() {
    let place = Place::new();
    let pipe = rustix::fs::FileType::Fifo;
    rustix::fs::mknodat(rustix::fs::CWD, place.path(), pipe, rustix::fs::Mode::from_raw_mode(0o600), 0).unwrap();
    for path in [place.path(), PathBuf::from("/dev/null")] {
        assert_refused(FileStorage::open(&path), &path, "open", Some(io::ErrorKind::InvalidInput));
    }
}

#[test]
#[cfg(unix)]
fn opening_through_a_link_syncs_the_directory_of_the_file() {
    let place = Place::new();
    let (storage, _) = place.storage(8 * KIB, 0);
    drop(storage);
    let elsewhere = tempfile::tempdir().unwrap();
    let link = elsewhere.path().join("link");
    std::os::unix::fs::symlink(place.path(), &link).unwrap();
    let mut storage = FileStorage::open(&link).unwrap();
    assert_eq!(storage.path(), link);
    assert_eq!(storage.directory, fs::canonicalize(place.directory.path()).unwrap());
    storage.sync_directory().unwrap();
}

#[test]
fn opening_changes_no_byte_and_no_length() {
    let place = Place::new();
    fs::write(place.path(), b"anything at all").unwrap();
    let storage = FileStorage::open(&place.path()).unwrap();
    assert_eq!(storage.len().unwrap(), 15);
    drop(storage);
    assert_eq!(fs::read(place.path()).unwrap(), b"anything at all");
}

#[test]
fn the_region_shows_what_is_written_and_a_read_what_is_stored() {
    let place = Place::new();
    let (storage, mut region) = place.storage(64 * KIB, 1 << 20);
    storage.write_at(&region, &[b"wri", b"", b"tten"], 4094).unwrap();
    assert_eq!(region.bytes(4094, 7), b"written");
    region.bytes_mut(60_000, 6).copy_from_slice(b"stored");
    assert_eq!(bytes_at(&storage, 60_000, 6), b"stored");
    storage.barrier(&region, Barrier::Bytes).unwrap();
    assert_eq!(bytes_at(&storage, 0, 8), b"reserved");
}

#[test]
fn a_map_longer_than_the_file_is_refused() {
    let place = Place::new();
    let (mut storage, _) = place.storage(8 * KIB, 0);
    assert_eq!(storage.map(8 * KIB + 1, 1 << 20).unwrap_err().kind(), io::ErrorKind::UnexpectedEof);
}

#[test]
fn growth_adds_zeros_even_where_the_file_had_a_tail_of_junk() {
    for sparse in [false, true] {
        let place = Place::new();
        let (mut storage, mut region) = place.storage(8 * KIB, 1 << 20);
        region.bytes_mut(8 * KIB - 1, 1)[0] = 7;
        platform::write_parts_at(&storage.file, &[&[0xaa; 20_000]], 8 * KIB).unwrap();
        storage.grow(&mut region, 64 * KIB, sparse).unwrap();
        assert_eq!((storage.len().unwrap(), region.len()), (64 * KIB, 64 * KIB));
        assert_eq!(region.bytes(8 * KIB - 1, 1), [7]);
        assert!(region.bytes(8 * KIB, 56 * 1024).iter().all(|&byte| byte == 0));
        assert!(bytes_at(&storage, 8 * KIB, 56 * 1024).iter().all(|&byte| byte == 0));
    }
}

#[test]
fn growth_at_a_length_inside_a_system_page_adds_zeros() {
    let place = Place::new();
    let (mut storage, mut region) = place.storage(21 * KIB, 1 << 20);
    platform::write_parts_at(&storage.file, &[&[0xaa; 300]], 21 * KIB).unwrap();
    storage.grow(&mut region, 22 * KIB, false).unwrap();
    assert_eq!(region.bytes(21 * KIB, 1024), [0; 1024]);
}

#[test]
fn growth_beyond_the_reserved_addresses_remaps_and_keeps_content() {
    let place = Place::new();
    let (mut storage, mut region) = place.storage(8 * KIB, 16 * KIB);
    region.bytes_mut(5000, 4).copy_from_slice(b"kept");
    for len in [16 * KIB, 1 << 20, 4 << 20] {
        storage.grow(&mut region, len, false).unwrap();
        assert_eq!(region.bytes(5000, 4), b"kept");
        region.bytes_mut(len - 1, 1)[0] = 9;
        assert_eq!(bytes_at(&storage, len - 1, 1), [9]);
        storage.barrier(&region, Barrier::Bytes).unwrap();
    }
    assert_eq!(bytes_at(&storage, 0, 8), b"reserved");
}

#[test]
fn a_failed_growth_leaves_file_and_region_as_they_were() {
    let place = Place::new();
    let (mut storage, mut region) = place.storage(8 * KIB, 1 << 20);
    for sparse in [false, true] {
        // No file is as long as that.
        storage.grow(&mut region, 1 << 63, sparse).unwrap_err();
        assert_eq!((storage.len().unwrap(), region.len()), (8 * KIB, 8 * KIB));
    }
    assert_eq!(region.bytes(0, 8), b"reserved");
    storage.grow(&mut region, 16 * KIB, false).unwrap();
}

#[test]
fn growing_a_file_that_somebody_cut_is_an_error() {
    let place = Place::new();
    let (mut storage, mut region) = place.storage(8 * KIB, 1 << 20);
    storage.file.set_len(4 * KIB).unwrap();
    let error = storage.grow(&mut region, 16 * KIB, false).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    assert_eq!(storage.len().unwrap(), 4 * KIB);
}

#[test]
fn a_cut_shortens_file_and_region_and_what_grows_back_is_zeros() {
    let place = Place::new();
    let (mut storage, mut region) = place.storage(64 * KIB, 1 << 20);
    region.bytes_mut(0, 64 * 1024).fill(5);
    storage.cut(&mut region, 21 * KIB).unwrap();
    assert_eq!((storage.len().unwrap(), region.len()), (21 * KIB, 21 * KIB));
    storage.grow(&mut region, 64 * KIB, false).unwrap();
    assert!(region.bytes(0, 21 * 1024).iter().all(|&byte| byte == 5));
    assert!(region.bytes(21 * KIB, 43 * 1024).iter().all(|&byte| byte == 0));
}

#[test]
#[cfg(unix)]
fn a_file_has_holes_where_it_grew_sparse_until_they_are_allocated() {
    let place = Place::new();
    let (mut storage, mut region) = place.storage(64 * KIB, 1 << 24);
    assert!(!storage.has_holes().unwrap());
    storage.grow(&mut region, 1 << 20, false).unwrap();
    assert!(!storage.has_holes().unwrap());
    storage.grow(&mut region, 1 << 22, true).unwrap();
    assert!(storage.has_holes().unwrap());
    region.bytes_mut(2 << 20, 4).copy_from_slice(b"kept");
    storage.allocate(1 << 20, 3 << 20).unwrap();
    assert!(!storage.has_holes().unwrap());
    assert_eq!(region.bytes((2 << 20) - 1, 6), b"\0kept\0");
    assert_eq!(storage.len().unwrap(), 1 << 22);
}

#[test]
fn reading_past_the_end_is_unexpected_eof() {
    let place = Place::new();
    let (storage, _) = place.storage(8 * KIB, 0);
    let error = storage.read_at(&mut [0; 2], 8 * KIB - 1).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
}

/// The child of a fork holds a copy of all that its parent holds, the number of the process apart.
#[test]
fn another_process_than_the_one_that_opened_the_file_changes_nothing() {
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let mut storage = FileStorage::create(&path, b"begins", 8192, false).unwrap();
    let mut region = storage.map(8192, 0).unwrap();
    storage.locked_by ^= 1;
    let refused = [
        storage.cut(&mut region, 4096),
        storage.write_at(&region, &[b"x"], 0),
        storage.grow(&mut region, 16384, false),
        storage.allocate(0, 4096),
        storage.remove(),
    ];
    assert!(refused.iter().all(|call| call.as_ref().is_err_and(|e| e.kind() == io::ErrorKind::PermissionDenied)));
    drop((region, storage));
    let content = fs::read(&path).unwrap();
    assert!(content.len() == 8192 && content.starts_with(b"begins"));
}
