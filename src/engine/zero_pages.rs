//! Which pages are known to hold zeros: those that the file grew by, or that were punched, and that were never handed out since.
//!
//! A page that somebody had before has to be filled with zeros when it is handed out again; a page of this set need not. The
//! set is forgotten when the file is closed. Pages leave it when a commit that hands them out begins to write, whatever
//! becomes of the commit.

use std::collections::BTreeMap;
use std::ops::Range;

use super::runs::Runs;

/// Disjoint runs of pages, by their first page.
#[derive(Debug, Default)]
pub(super) struct ZeroPages {
    ends: BTreeMap<u64, u64>,
}

impl ZeroPages {
    /// Adds pages that hold zeros.
    pub(super) fn insert(&mut self, run: Range<u64>) {
        if !run.is_empty() {
            self.remove_run(run.clone(), &mut Runs::default());
            self.ends.insert(run.start, run.end);
        }
    }

    /// Forgets the pages at and behind `end`.
    pub(super) fn cut(&mut self, end: u64) {
        self.ends.split_off(&end);
        if let Some(mut last) = self.ends.last_entry() {
            let cut = end.min(*last.get());
            last.insert(cut);
        }
    }

    /// Takes pages out of the set and returns those that were not in it, ascending.
    pub(super) fn remove(&mut self, pages: &Runs) -> Runs {
        let mut unknown = Runs::default();
        for run in pages.iter() {
            self.remove_run(run, &mut unknown);
        }
        unknown
    }

    fn remove_run(&mut self, run: Range<u64>, unknown: &mut Runs) {
        let mut at = run.start;
        if let Some((&start, &end)) = self.ends.range(..run.start).next_back()
            && end > run.start
        {
            self.ends.insert(start, run.start);
            if end > run.end {
                self.ends.insert(run.end, end);
            }
            at = end.min(run.end);
        }
        while let Some((&start, &end)) = self.ends.range(at..run.end).next() {
            self.ends.remove(&start);
            if end > run.end {
                self.ends.insert(run.end, end);
            }
            if start > at {
                unknown.push(at, start - at);
            }
            at = end.min(run.end);
        }
        if at < run.end {
            unknown.push(at, run.end - at);
        }
    }
}

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use proptest::prelude::{prop, proptest};

    use super::{Runs, ZeroPages};

    proptest! {
        /// The naive twin is a set of pages.
        #[test]
        fn behaves_like_a_set(
            grown in prop::collection::vec(0u64..40, 0..6),
            removed in prop::collection::vec(prop::collection::btree_set(0u64..200, 0..30), 0..12),
            punched in prop::collection::vec((0u64..200, 0u64..50), 12),
        ) {
            let (mut pages, mut set, mut end) = (ZeroPages::default(), BTreeSet::new(), 5);
            for len in grown {
                pages.insert(end..end + len);
                set.extend(end..end + len);
                end += len + 3;
            }
            for (removed, (start, len)) in removed.into_iter().zip(punched) {
                pages.insert(start..start + len);
                set.extend(start..start + len);
                let mut runs = Runs::default();
                removed.iter().for_each(|page| runs.push(*page, 1));
                let unknown = pages.remove(&runs);
                assert!(unknown.iter().all(|run| !run.is_empty()) && pages.ends.iter().all(|(start, end)| start < end));
                let unknown: Vec<u64> = unknown.pages().collect();
                assert_eq!(unknown, removed.difference(&set).copied().collect::<Vec<_>>());
                set.retain(|page| !removed.contains(page));
            }
            let left: Vec<u64> = pages.ends.iter().flat_map(|(start, end)| *start..*end).collect();
            assert_eq!(left, set.into_iter().collect::<Vec<_>>());
        }
    }
}
