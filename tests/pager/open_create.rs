//! A file is created once, opened by one pager at a time, and whatever else there is is refused by name.

use std::fs;
use std::io::ErrorKind;
use std::sync::Barrier;
use std::thread;

use diptych::{CallKind, Durability, Error, FaultPlan, PageKind, Pager, PagerOptions, Result, SimDisk};

use crate::places::{Place, assert_whole, failure, page, shape};

fn create(place: &Place) -> Result<Pager<4096>> {
    Pager::create(place.path())
}

fn open(place: &Place) -> Result<Pager<4096>> {
    Pager::open(place.path())
}

fn open_or_create(place: &Place) -> Result<Pager<4096>> {
    Pager::open_or_create(place.path())
}

#[test]
fn a_new_file_is_empty_small_and_named_by_chance() {
    let place = Place::file();
    let pager = create(&place).expect("nothing is there");
    assert_eq!((pager.generation().to_u64(), pager.page_size(), pager.header()), (1, 4096, &[0; 128]));
    assert_eq!((pager.allocated_page_count(), pager.allocated_protected_page_count()), (0, 0));
    assert_eq!((pager.page_count(), pager.free_page_count()), (5 + 16, 16));
    assert!(pager.recovery().is_clean());
    assert_eq!(place.path().metadata().expect("it is there").len(), 21 * 4096);
    let other = create(&Place::file()).expect("nothing is there");
    assert_ne!(pager.file_id(), other.file_id());
    let id = pager.file_id();
    assert_whole(&pager);
    assert_eq!(place.reopen(pager).file_id(), id);
}

#[test]
fn in_a_new_file_the_reserved_region_is_the_engines_and_the_rest_is_free() {
    let pager = Place::sim().create::<4096>();
    for (raw, kind) in [(1, PageKind::Engine), (4, PageKind::Engine), (5, PageKind::Free)] {
        let error = failure(page::<4096>(raw).get(&pager));
        assert!(matches!(error, Error::WrongKind { found, .. } if found == kind), "{raw}: {error}");
    }
}

#[test]
fn create_replaces_nothing() {
    let place = Place::file();
    fs::write(place.path(), b"precious").expect("the directory is writable");
    let error = failure(create(&place));
    let Error::Io { op: "create", path, source } = &error else { panic!("{error}") };
    assert_eq!((path, source.kind()), (&place.path(), ErrorKind::AlreadyExists));
    assert_eq!(fs::read(place.path()).expect("it is there"), b"precious");

    let disk = SimDisk::new();
    let mut pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    pager.alloc().expect("there is room");
    let before = shape(&pager);
    drop(pager);
    let error = failure(PagerOptions::new().create_on::<4096>(&disk));
    assert!(matches!(&error, Error::Io { source, .. } if source.kind() == ErrorKind::AlreadyExists), "{error}");
    assert_eq!(shape(&PagerOptions::new().open_on::<4096>(&disk).expect("it is as it was")), before);
}

#[test]
fn a_path_that_leads_to_no_file_is_an_error_with_the_path() {
    let place = Place::file();
    let directory = place.path().parent().expect("it is in a directory").to_path_buf();
    for error in [failure(open(&place)), failure(Pager::<4096>::create(directory.join("no/such")))] {
        let Error::Io { path, source, .. } = &error else { panic!("{error}") };
        assert!(path.starts_with(&directory) && source.kind() == ErrorKind::NotFound && error.is_io(), "{error}");
    }
    let error = failure(Pager::<4096>::open_or_create(directory.join("no/such")));
    assert!(
        matches!(&error, Error::Io { op: "create", source, .. } if source.kind() == ErrorKind::NotFound),
        "{error}"
    );
    for result in [Pager::<4096>::open(&directory), Pager::create(&directory), Pager::open_or_create(&directory)] {
        let error = failure(result);
        assert!(matches!(&error, Error::Io { op: "open" | "create", path, .. } if *path == directory), "{error}");
    }
    assert_eq!(fs::read_dir(&directory).expect("it is there").count(), 0);
}

#[test]
fn a_second_pager_is_refused_until_the_first_is_gone() {
    let place = Place::file();
    let pager = create(&place).expect("nothing is there");
    for result in [open(&place), open_or_create(&place)] {
        let error = failure(result);
        assert!(matches!(&error, Error::Locked { path } if *path == place.path()), "{error}");
    }
    drop(pager);
    let pager = open(&place).expect("the lock is free");
    pager.close().expect("nothing is in the way");
    assert_whole(&open_or_create(&place).expect("the lock is free"));

    let disk = SimDisk::new();
    let pager = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
    assert!(matches!(failure(PagerOptions::new().open_on::<4096>(&disk)), Error::Locked { .. }));
    drop(pager);
    PagerOptions::new().open_on::<4096>(&disk).expect("the lock is free");
}

#[cfg(unix)]
#[test]
fn a_second_pager_is_refused_through_a_link_too() {
    let place = Place::file();
    let link = place.path().with_extension("link");
    std::os::unix::fs::symlink(place.path(), &link).expect("the directory is writable");
    // The link leads nowhere yet: opening finds nothing, creating finds the link, and trying again has an end.
    let error = failure(Pager::<4096>::open_or_create(&link));
    assert!(matches!(&error, Error::Io { op: "create", source, .. } if source.kind() == ErrorKind::AlreadyExists));
    let pager = create(&place).expect("nothing is there");
    assert!(matches!(failure(Pager::<4096>::open(&link)), Error::Locked { .. }));
    drop(pager);
    assert_whole(&Pager::<4096>::open(&link).expect("the lock is free"));
}

#[test]
fn open_or_create_does_what_is_needed() {
    let place = Place::file();
    let mut pager = open_or_create(&place).expect("nothing is there");
    let id = pager.alloc().expect("there is room");
    pager.close().expect("nothing is in the way");
    let pager = open_or_create(&place).expect("it is there");
    assert!(pager.is_allocated(id));
    assert_whole(&pager);
}

#[test]
fn of_many_that_create_at_once_one_gets_the_file() {
    let place = Place::file();
    for _ in 0..10 {
        let path = place.path();
        let (start, end) = (Barrier::new(8), Barrier::new(8));
        let created: usize = thread::scope(|scope| {
            let threads: Vec<_> = (0..8)
                .map(|_| {
                    scope.spawn(|| {
                        start.wait();
                        let result = Pager::<4096>::open_or_create(&path);
                        end.wait();
                        match result {
                            Ok(pager) => {
                                assert_whole(&pager);
                                1
                            }
                            Err(Error::Locked { .. }) => 0,
                            Err(error) => panic!("{error}"),
                        }
                    })
                })
                .collect();
            threads.into_iter().map(|thread| thread.join().expect("no panic")).sum()
        });
        assert_eq!(created, 1);
        fs::remove_file(path).expect("it is there");
    }
}

#[test]
fn what_is_no_pager_file_is_refused_by_name_and_left_alone() {
    let place = Place::file();
    type Expected = fn(&Error) -> bool;
    let cases: [(&[u8], Expected); 4] = [
        (b"", |error| matches!(error, Error::Empty { expected: 20480 })),
        (b"short", |error| matches!(error, Error::TooShort { expected: 20480, found: 5 })),
        (&[0; 20479], |error| matches!(error, Error::TooShort { .. })),
        (&[0xab; 40960], |error| matches!(error, Error::NotDiptych { found: 0xabab_abab_abab_abab, .. })),
    ];
    for (bytes, expected) in cases {
        fs::write(place.path(), bytes).expect("the directory is writable");
        for result in [open(&place), open_or_create(&place)] {
            let error = failure(result);
            assert!(expected(&error), "{error}");
        }
        assert_eq!(fs::read(place.path()).expect("it is there"), bytes);
    }
}

#[test]
fn a_file_of_another_page_size_is_refused_and_left_alone() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        pager.alloc_bulk(10).expect("there is room");
        let before = shape(&pager);
        pager.close().expect("nothing is in the way");
        let options = PagerOptions::new();
        let open = |place: &Place| match place {
            Place::File(_) => [
                options.open::<1024>(place.path()).map(drop),
                options.open::<8192>(place.path()).map(drop),
                options.open_or_create::<{ 16 << 20 }>(place.path()).map(drop),
            ],
            Place::Sim(disk) => [
                options.open_on::<1024>(disk).map(drop),
                options.open_on::<8192>(disk).map(drop),
                options.open_on::<{ 16 << 20 }>(disk).map(drop),
            ],
        };
        for (size, result) in [1024, 8192, 16 << 20].into_iter().zip(open(&place)) {
            let error = failure(result);
            assert!(matches!(error, Error::PageSize { expected, found: 4096 } if expected == size), "{error}");
        }
        assert_eq!(shape(&place.open::<4096>()), before.sealed());
    }
}

#[test]
fn a_file_that_was_cut_is_refused() {
    let place = Place::file();
    let mut pager = create(&place).expect("nothing is there");
    pager.alloc_bulk(100).expect("there is room");
    let len = pager.page_count() * 4096;
    drop(pager);
    let file = fs::OpenOptions::new().write(true).open(place.path()).expect("it is there");
    file.set_len(len - 1).expect("it can be cut");
    let error = failure(open(&place));
    assert!(matches!(error, Error::Truncated { expected, found } if (expected, found) == (len, len - 1)), "{error}");
    assert!(error.is_corruption());
}

#[test]
fn a_call_that_fails_while_creating_or_opening_is_an_error_and_lets_go_of_the_lock() {
    for kind in CallKind::ALL {
        let disk = SimDisk::new();
        let created = PagerOptions::new().create_on::<4096>(&disk).expect("the disk is empty");
        drop(created);
        disk.fail(FaultPlan::nth(kind, 1));
        let result = PagerOptions::new().open_on::<4096>(&disk).map(drop);
        assert_eq!(result.is_err(), disk.faults_fired() == 1 && kind != CallKind::Read, "{kind}: {result:?}");
        disk.clear_faults();
        assert!(!disk.is_attached());
        assert_whole(&PagerOptions::new().open_on::<4096>(&disk).expect("all is well again"));
    }
}

#[test]
fn an_older_state_is_taken_when_asked_for() {
    let disk = SimDisk::new();
    let mut pager =
        PagerOptions::new().durability(Durability::TwoBarriers).create_on::<4096>(&disk).expect("the disk is empty");
    let id = pager.alloc().expect("there is room");
    let (older, image) = (shape(&pager), disk.durable_image());
    pager.alloc().expect("there is room");
    let newest = pager.generation();
    drop(pager);
    // Spoil the metadata copy that the newest commit wrote.
    let mut spoilt = disk.durable_image();
    let (mut then, mut now) = ([0; 4096], [0; 4096]);
    let at = [12288, 16384].into_iter().find(|at| {
        image.read(*at, &mut then);
        spoilt.read(*at, &mut now);
        then != now
    });
    spoilt.flip_bit(at.expect("a commit writes a copy") + 100, 3);

    let disk = SimDisk::from_image(spoilt.clone());
    let error = failure(PagerOptions::new().open_on::<4096>(&disk));
    assert!(error.is_corruption(), "{error}");
    assert_eq!(disk.cached_image(), spoilt);
    let pager = PagerOptions::new().accept_older_state(true).open_on::<4096>(&disk).expect("the one before is whole");
    assert_eq!((shape(&pager), pager.recovery().passed_over), (older, Some(newest)));
    assert!(pager.is_allocated(id));
    assert_whole(&pager);
}

#[test]
fn a_limit_below_the_length_of_a_file_stops_its_growth_alone() {
    for place in Place::both() {
        let mut pager = place.create::<4096>();
        let ids = pager.alloc_bulk(100).expect("there is room");
        drop(pager);
        let mut pager = place.open_with::<4096>(&PagerOptions::new().max_file_bytes(1));
        assert!(ids.iter().all(|id| pager.is_allocated(*id)));
        assert!(matches!(failure(pager.alloc_bulk(500)), Error::Full { limit: 0, .. }));
        pager.free_bulk(ids).expect("they are allocated");
        pager.alloc_bulk(100).expect("they were freed");
        assert_whole(&pager);
    }
}

#[test]
fn growth_comes_in_steps_of_the_limit_at_most() {
    for place in Place::both() {
        let mut pager = place.create_with::<4096>(&PagerOptions::new().growth_limit(64 << 10));
        let mut before = pager.page_count();
        for _ in 0..200 {
            pager.alloc().expect("there is room");
            let after = pager.page_count();
            assert!(after - before <= 16 + 2, "{before} to {after}");
            before = after;
        }
        assert_whole(&pager);
    }
}

#[test]
fn a_file_that_begins_beyond_its_limit_is_not_made() {
    let disk = SimDisk::new();
    let error = failure(PagerOptions::new().max_file_bytes(80_000).create_on::<4096>(&disk));
    assert!(matches!(error, Error::Full { needed: 21, limit: 19 }), "{error}");
    assert!(disk.cached_image().is_empty());
}

/// The kernel's own files refuse even the superuser.
#[test]
#[cfg(target_os = "linux")]
fn a_file_or_directory_without_permission_is_an_error_with_the_path() {
    use std::path::Path;
    for (path, op) in [("/sys/kernel/notes", "open"), ("/sys/diptych", "create")] {
        let made = if op == "open" { Pager::<4096>::open(path) } else { Pager::<4096>::create(path) };
        let error = failure(made);
        let Error::Io { op: named, path: at, source } = &error else { panic!("{error}") };
        assert_eq!((*named, at.as_path(), source.kind()), (op, Path::new(path), ErrorKind::PermissionDenied));
    }
}
