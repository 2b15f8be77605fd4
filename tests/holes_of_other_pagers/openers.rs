//! Two openers of one file: the second is refused, however it comes, before it reads or changes a byte.

use std::collections::BTreeMap;
use std::fs;
use std::io::{self, BufRead, BufReader, Write};
use std::path::Path;
use std::thread;
use std::time::Duration;

use diptych::{CallKind, Error, PageId, Pager, PagerOptions, SimDisk};
use tempfile::TempDir;

use crate::second_process::{file_of_second_process, start_again};

#[test]
fn a_second_opener_is_refused_before_it_reads_a_byte() {
    let disk = SimDisk::new();
    let pager = PagerOptions::new().create_on::<4096>(&disk).unwrap();
    let made = disk.log().len();
    assert!(matches!(PagerOptions::new().open_on::<4096>(&disk), Err(Error::Locked { .. })));
    let calls: Vec<CallKind> = disk.log()[made..].iter().map(|call| call.kind).collect();
    assert_eq!(calls, [CallKind::Lock]);
    drop(pager);
    // And an opener that is alone asks for the lock before anything else.
    let made = disk.log().len();
    PagerOptions::new().open_on::<4096>(&disk).unwrap();
    assert_eq!(disk.log()[made].kind, CallKind::Lock);
}

/// Opens the file as often as it gets it, each time for one page that it writes its name to.
fn race(path: &Path) {
    let name = std::process::id();
    for _ in 0..20 {
        let mut pager = loop {
            match Pager::<4096>::open(path) {
                Ok(pager) => break pager,
                Err(Error::Locked { .. }) => thread::sleep(Duration::from_micros(50)),
                Err(error) => panic!("{error}"),
            }
        };
        let page = pager.alloc().unwrap();
        pager.page_mut(page).unwrap()[..4].copy_from_slice(&name.to_le_bytes());
        pager.close().unwrap();
        println!("allocated {name} {}", page.to_u64());
    }
}

#[test]
fn of_processes_that_race_to_open_no_two_get_the_same_page() {
    const TEST: &str = "openers::of_processes_that_race_to_open_no_two_get_the_same_page";
    if let Some(path) = file_of_second_process() {
        race(&path);
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    Pager::<4096>::create(&path).unwrap().close().unwrap();
    let children: Vec<_> = (0..3).map(|_| start_again(TEST, &path, "")).collect();
    let mut owners = BTreeMap::new();
    for mut child in children {
        for line in BufReader::new(child.stdout.take().unwrap()).lines() {
            let line = line.unwrap();
            let Some((_, allocated)) = line.split_once("allocated ") else { continue };
            let (name, page) = allocated.split_once(' ').unwrap();
            let page: u64 = page.parse().unwrap();
            assert_eq!(owners.insert(page, name.parse::<u32>().unwrap()), None, "page {page} was handed out twice");
        }
        assert!(child.wait().unwrap().success());
    }
    assert_eq!(owners.len(), 60);
    let pager = Pager::<4096>::open(&path).unwrap();
    assert_eq!(
        pager.iter_allocated_pages().map(PageId::to_u64).collect::<Vec<_>>(),
        owners.keys().copied().collect::<Vec<_>>()
    );
    for (page, name) in owners {
        let content = pager.page(PageId::from_u64(page).unwrap()).unwrap();
        assert_eq!(content[..4], name.to_le_bytes(), "page {page}");
    }
}

#[test]
fn a_second_opener_is_refused_in_this_process_in_another_and_through_a_link() {
    const TEST: &str = "openers::a_second_opener_is_refused_in_this_process_in_another_and_through_a_link";
    if let Some(path) = file_of_second_process() {
        let _pager = Pager::<4096>::open(&path).unwrap();
        println!("locked");
        let mut line = String::new();
        io::stdin().read_line(&mut line).unwrap();
        return;
    }
    let directory = TempDir::new().unwrap();
    let path = directory.path().join("file");
    let (symlink, hard_link) = (directory.path().join("symlink"), directory.path().join("hard link"));
    let pager = Pager::<4096>::create(&path).unwrap();
    std::os::unix::fs::symlink(&path, &symlink).unwrap();
    fs::hard_link(&path, &hard_link).unwrap();
    let assert_locked = || {
        let before = fs::read(&path).unwrap();
        for name in [&path, &symlink, &hard_link] {
            match Pager::<4096>::open(name).unwrap_err() {
                Error::Locked { path: named } => assert_eq!(&named, name),
                other => panic!("{other}"),
            }
        }
        assert!(matches!(PagerOptions::new().open_or_create::<4096>(&path), Err(Error::Locked { .. })));
        assert_eq!(fs::read(&path).unwrap(), before);
    };
    assert_locked();
    drop(pager);

    let mut child = start_again(TEST, &path, "");
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    assert!(lines.any(|line| line.unwrap().contains("locked")));
    assert_locked();
    child.stdin.take().unwrap().write_all(b"go on\n").unwrap();
    child.wait().unwrap();
    assert!(Pager::<4096>::open(&path).unwrap().recovery().is_clean());
}
