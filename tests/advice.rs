//! Advice changes nothing that can be read, and reaches the operating system.

use diptych::{AccessPattern, PageId, Pager, PagerOptions, ProtectedPageId, SimDisk};
use tempfile::TempDir;

/// A pager with pages that hold their own numbers.
fn numbered(mut pager: Pager<4096>) -> (Pager<4096>, Vec<PageId<4096>>, ProtectedPageId<4096>) {
    let ids = pager.alloc_bulk(600).unwrap();
    for id in &ids {
        pager.page_mut(*id).unwrap()[..8].copy_from_slice(&id.to_u64().to_le_bytes());
    }
    let root = pager.alloc_protected().unwrap();
    let mut writer = pager.protected_mut(root).unwrap();
    writer.page_mut().fill(7);
    writer.commit().unwrap();
    (pager, ids, root)
}

#[track_caller]
fn assert_numbered(pager: &Pager<4096>, ids: &[PageId<4096>], root: ProtectedPageId<4096>) {
    assert!(ids.iter().all(|id| id.get(pager).unwrap()[..8] == id.to_u64().to_le_bytes()));
    assert_eq!(root.get(pager).unwrap()[..], [7; 4096]);
}

#[test]
fn all_advice_leaves_every_page_as_it_is() {
    let directory = TempDir::new().unwrap();
    let simulated = PagerOptions::new().create_on(&SimDisk::new()).unwrap();
    for pager in [Pager::create(directory.path().join("file")).unwrap(), simulated] {
        let (mut pager, ids, root) = numbered(pager);
        // Views are alive meanwhile.
        let view = ids[20].get(&pager).unwrap();
        for pattern in [AccessPattern::Random, AccessPattern::Sequential, AccessPattern::Normal] {
            pager.advise(pattern);
            pager.drop_from_memory(..);
            assert_numbered(&pager, &ids, root);
            pager.prefetch_range(..);
            pager.prefetch([root]);
            pager.prefetch(ids.iter().copied());
            pager.drop_from_memory(ids[10]..=ids[30]);
            assert_numbered(&pager, &ids, root);
        }
        assert_eq!(view[..8], ids[20].to_u64().to_le_bytes());
        // A store that nobody synced is not lost with the memory through which it was made.
        pager.page_mut(ids[3]).unwrap()[100] = 9;
        pager.drop_from_memory(..);
        assert_eq!(ids[3].get(&pager).unwrap()[100], 9);
        pager.close().unwrap();
    }
}

#[test]
fn what_names_no_page_is_passed_over() {
    let directory = TempDir::new().unwrap();
    let (mut pager, ids, root) = numbered(Pager::create(directory.path().join("file")).unwrap());
    let far = [1, pager.page_count(), u64::MAX].map(|raw| PageId::<4096>::from_u64(raw).unwrap());
    pager.free(ids[5]).unwrap();
    pager.prefetch([ids[5], ids[5], ids[6]].into_iter().chain(far));
    pager.prefetch([2, u64::MAX].map(|raw| ProtectedPageId::<4096>::from_u64(raw).unwrap()));
    pager.prefetch(Vec::<PageId<4096>>::new());
    pager.prefetch_range(far[1]..far[2]);
    pager.prefetch_range(far[2]..);
    pager.prefetch_range(ids[9]..ids[3]);
    pager.drop_from_memory(far[1]..=far[2]);
    pager.drop_from_memory(ids[9]..ids[3]);
    assert_numbered(&pager, &ids[6..], root);
}

#[cfg(target_os = "linux")]
mod linux {
    use std::fs::{self, File};
    use std::path::Path;

    use diptych::{AccessPattern, Pager, PagerOptions};
    use tempfile::TempDir;

    use super::numbered;

    /// A pager whose map is known by the name of its file, which a file has that was opened and not made just now.
    fn reopened(options: &PagerOptions, path: &Path) -> Pager<4096> {
        options.create::<4096>(path).unwrap().close().unwrap();
        options.open(path).unwrap()
    }

    /// The line that begins with `field` of the map of a file, as the kernel describes it.
    fn of_the_map(path: &Path, field: &str) -> String {
        let maps = fs::read_to_string("/proc/self/smaps").unwrap();
        let mut lines = maps.lines().skip_while(|line| !line.ends_with(path.to_str().unwrap()));
        lines.find_map(|line| line.strip_prefix(field)).expect("the file is mapped").trim().to_owned()
    }

    #[test]
    fn the_map_is_advised_and_stays_so_when_it_moves() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file");
        let options = PagerOptions::new().address_space(0);
        let (mut pager, _, _) = numbered(reopened(&options, &path));
        let flags = || of_the_map(&path, "VmFlags:");
        let has = |flag: &str| flags().split(' ').any(|found| found == flag);
        assert!(!has("rr") && !has("sr"));
        pager.advise(AccessPattern::Random);
        assert!(has("rr"));
        // There are no addresses ahead of the file, so the map is made again.
        pager.alloc_bulk(100_000).unwrap();
        assert!(has("rr"));
        pager.advise(AccessPattern::Sequential);
        assert!(has("sr") && !has("rr"));
        pager.advise(AccessPattern::Normal);
        assert!(!has("rr") && !has("sr"));
    }

    /// Bytes that this process has had the disk read.
    fn bytes_read() -> u64 {
        let counters = fs::read_to_string("/proc/self/io").unwrap();
        let line = counters.lines().find_map(|line| line.strip_prefix("read_bytes:")).expect("the kernel counts them");
        line.trim().parse().unwrap()
    }

    #[test]
    fn dropped_pages_leave_memory_and_prefetched_ones_come_back() {
        let directory = TempDir::new().unwrap();
        let path = directory.path().join("file");
        let (mut pager, ids, root) = numbered(reopened(&PagerOptions::new(), &path));
        pager.sync().unwrap();
        let resident = || of_the_map(&path, "Rss:").trim_end_matches(" kB").parse::<u64>().unwrap();
        assert!(resident() > 2000, "{} KiB", resident());
        pager.drop_from_memory(..);
        assert!(resident() < 100, "{} KiB", resident());
        if rustix::fs::fstatfs(File::open(&path).unwrap()).unwrap().f_type == 0x0102_1994 {
            // A filesystem in memory keeps all that it has.
            return super::assert_numbered(&pager, &ids, root);
        }
        let before = bytes_read();
        pager.prefetch(ids[200..260].iter().copied());
        // Somebody else may hold a few of the pages for a moment.
        assert!(bytes_read() - before >= 40 * 4096, "{} bytes", bytes_read() - before);
        let before = bytes_read();
        assert!(ids[400..].iter().all(|id| id.get(&pager).unwrap()[8] == 0));
        assert!(bytes_read() - before >= 100 * 4096, "{} bytes", bytes_read() - before);
        super::assert_numbered(&pager, &ids, root);
    }
}
