//! The state of a simulated disk: the page cache, the epoch that goes on, and those that ended.
//!
//! ```text
//!  region ──comparison──▶ cache ──successful barrier──▶ base of the next epoch
//!  (stores)               (reads, writes)               (certain after a power cut)
//!                              └──failed barrier──▶ carried: on disk or not, until it is written again
//! ```
//!
//! The region belongs to the engine and is seen only during the calls that bring it along.

use std::collections::BTreeSet;
use std::io;
use std::mem;
use std::sync::Arc;

use super::super::{Barrier, Region};
use super::calls::{CallKind, CallLog};
use super::epoch::{Epoch, EpochEnd, SectorWrite};
use super::faults::{Fault, Faults, media_error};
use super::holders::Holders;
use super::image::{BLOCK_LEN, SECTOR_LEN, SimImage, narrow, sectors_of, wide};
use super::random::SplitMix64;
use super::space::Space;

/// What the handle and the attached storage share.
#[derive(Debug)]
pub(super) struct Disk {
    pub(super) recording: bool,
    pub(super) faults: Faults,
    pub(super) space: Space,
    pub(super) random: SplitMix64,
    /// Draws whether the kernel writes stores back at a call that is no barrier.
    pub(super) write_back: Option<SplitMix64>,
    pub(super) calls: CallLog,
    pub(super) holders: Holders,
    cache: SimImage,
    epoch: Epoch,
    /// The sectors of `epoch.carried`.
    uncertain: BTreeSet<u64>,
    /// Recorded epochs that ended, ascending by index.
    ended: Vec<Arc<Epoch>>,
    sequence: u64,
}

impl Disk {
    pub(super) fn new(image: SimImage) -> Self {
        Disk {
            recording: true,
            faults: Faults::default(),
            space: Space::default(),
            random: SplitMix64::new(0),
            write_back: None,
            calls: CallLog::default(),
            holders: Holders::Nobody,
            cache: image.clone(),
            epoch: Epoch::first(image),
            uncertain: BTreeSet::new(),
            ended: Vec::new(),
            sequence: 0,
        }
    }

    pub(super) fn cache(&self) -> &SimImage {
        &self.cache
    }

    pub(super) fn durable(&self) -> SimImage {
        let mut durable = self.epoch.base.clone();
        durable.set_len(self.epoch.lengths[0]);
        durable
    }

    /// The index of the epoch that goes on.
    pub(super) fn epoch_index(&self) -> usize {
        self.epoch.index
    }

    /// An epoch that was recorded, or the one that goes on.
    pub(super) fn epoch(&self, index: usize) -> Option<Arc<Epoch>> {
        if index == self.epoch.index {
            let mut open = self.epoch.clone();
            open.calls.end = self.calls.made();
            return Some(Arc::new(open));
        }
        let at = self.ended.binary_search_by_key(&index, |epoch| epoch.index).ok()?;
        Some(Arc::clone(&self.ended[at]))
    }

    pub(super) fn forget_history(&mut self) {
        self.ended.clear();
        self.calls.forget();
    }

    /// Numbers and counts a call, and lets it fail if it is its turn: `act` is told how.
    pub(super) fn call<T>(
        &mut self,
        kind: CallKind,
        range: (u64, u64),
        act: impl FnOnce(&mut Self, Option<Fault>) -> io::Result<T>,
    ) -> io::Result<T> {
        let number = self.calls.begin(kind, range, self.epoch.index, self.recording);
        let fault = self.faults.on_call(kind);
        let result = act(self, fault);
        if let Err(error) = &result {
            self.calls.failed(number, error.kind());
        }
        result
    }

    pub(super) fn read(&self, buffer: &mut [u8], offset: u64) -> io::Result<()> {
        if offset.checked_add(wide(buffer.len())).is_none_or(|end| end > self.cache.len()) {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        if self.cache.has_unreadable(offset, buffer.len()) {
            return Err(media_error());
        }
        self.cache.read(offset, buffer);
        Ok(())
    }

    /// Whether a write must fail because it would have to read the rest of an unreadable sector first.
    pub(super) fn needs_unreadable(&self, offset: u64, len: usize) -> bool {
        let end = offset + wide(len);
        self.cache.has_unreadable(offset, len)
            && sectors_of(offset, len).any(|sector| {
                let start = sector * wide(SECTOR_LEN);
                let stop = (start + wide(SECTOR_LEN)).min(self.cache.len());
                (start < offset || end < stop) && self.cache.is_unreadable(sector)
            })
    }

    pub(super) fn next_sequence(&mut self) -> u64 {
        self.sequence += 1;
        self.sequence
    }

    /// Notes the blocks that a write covers only a part of: those at its ends.
    pub(super) fn part_blocks(&mut self, offset: u64, len: usize) {
        let ends = [offset, offset + wide(len)].into_iter().filter(|end| !end.is_multiple_of(wide(BLOCK_LEN)));
        self.epoch.parted.extend(ends.map(|end| end / wide(BLOCK_LEN)));
    }

    /// Puts bytes into the cache. A sector that holds them already is left alone, unless it needs to be written again.
    pub(super) fn put(&mut self, offset: u64, bytes: &[u8], sequence: u64) {
        let end = offset + wide(bytes.len());
        for sector in sectors_of(offset, bytes.len()) {
            let start = (sector * wide(SECTOR_LEN)).max(offset);
            let stop = ((sector + 1) * wide(SECTOR_LEN)).min(end);
            let part = &bytes[narrow(start - offset)..narrow(stop - offset)];
            let within = narrow(start - sector * wide(SECTOR_LEN));
            let held = self.cache.sector(sector)[within..][..part.len()] == *part;
            if held && !self.uncertain.contains(&sector) && !self.cache.is_unreadable(sector) {
                continue;
            }
            self.cache.write(start, part);
            self.note(sector, sequence);
        }
    }

    /// Compares what the region shows with the cache, where it was handed out to be stored to since the last time: the
    /// kernel writes dirty pages of the mapping back.
    ///
    /// # Panics
    /// If a store lies in a hole and the disk is full: a process would die of a bus error at the store itself.
    pub(super) fn notice_stores(&mut self, region: &Region) {
        let len = region.len().min(self.cache.len());
        let mut sequence = None;
        for block in region.take_touched() {
            let start = wide(block) * wide(BLOCK_LEN);
            if start >= len {
                break;
            }
            let shown = region.bytes(start, narrow((len - start).min(wide(BLOCK_LEN))));
            if *shown == self.cache.block(block)[..shown.len()] {
                continue;
            }
            let filled = self.space.fill(start, wide(shown.len()), self.cache.len());
            assert!(filled.is_ok(), "bus error: a store to block {block}, a hole, while the disk is full");
            self.epoch.parted.insert(wide(block));
            let sequence = *sequence.get_or_insert_with(|| self.next_sequence());
            for (at, bytes) in shown.chunks(SECTOR_LEN).enumerate() {
                let at = start + wide(at * SECTOR_LEN);
                if self.cache.sector(at / wide(SECTOR_LEN))[..bytes.len()] != *bytes {
                    self.put(at, bytes, sequence);
                }
            }
        }
    }

    /// The kernel writes dirty pages back when it likes: at about every fourth call, if it is let.
    pub(super) fn notice_stores_sometimes(&mut self, region: &Region) {
        if self.write_back.as_mut().is_some_and(|random| random.once_in(4)) {
            self.notice_stores(region);
        }
    }

    /// Changes the length in the cache. What is cut off reads as zeros if the file grows again.
    pub(super) fn set_len(&mut self, len: u64) {
        let old = self.cache.len();
        if len == old {
            return;
        }
        let furthest = self.epoch.lengths.iter().copied().max().expect("a file has a length");
        self.cache.set_len(len);
        self.epoch.lengths.push(len);
        if len < old {
            self.space.cut(len);
        } else if furthest > old {
            // The file was longer before: the disk may still have there what was cut off.
            let sequence = self.next_sequence();
            for sector in old / wide(SECTOR_LEN)..furthest.min(len).div_ceil(wide(SECTOR_LEN)) {
                self.note(sector, sequence);
            }
        }
    }

    /// Ends the epoch as its barrier did. After a success all that it wrote is certain, and only that: what an earlier
    /// failed barrier left uncertain and nobody wrote since stays so. The length does unless the barrier covers it.
    pub(super) fn end_epoch(&mut self, covers: Barrier, fault: Option<Fault>) -> io::Result<()> {
        let (end, outcome) = match fault {
            None => (EpochEnd::Synced, Ok(())),
            Some(fault) => (EpochEnd::Failed, Err(fault.error)),
        };
        let mut next = Epoch::first(self.epoch.base.clone());
        next.lengths = self.epoch.lengths.clone();
        if end == EpochEnd::Failed {
            next.carried = self.epoch.carried.iter().chain(&self.epoch.writes).cloned().collect();
            next.parted = self.epoch.parted.clone();
        } else {
            next.base = self.settled();
            if covers == Barrier::Length {
                next.lengths = vec![next.base.len()];
            }
            if !self.uncertain.is_empty() {
                let written: BTreeSet<u64> = self.epoch.writes.iter().map(|write| write.sector).collect();
                let sectors = next.base.len().div_ceil(wide(SECTOR_LEN));
                next.carried = self.epoch.carried.clone();
                next.carried.retain(|write| write.sector < sectors && !written.contains(&write.sector));
                next.parted = self.epoch.parted.clone();
            }
        }
        self.turn_over(end, next);
        outcome
    }

    /// Gives an empty disk its file, whole and durable in one step: a file has no name before it is synced.
    pub(super) fn create(&mut self, image: SimImage, sparse: bool) -> io::Result<()> {
        let len = image.len();
        let fails = |fault: Option<Fault>| fault.map_or(Ok(()), |fault| Err(fault.error));
        self.call(CallKind::Grow, (0, len), |disk, fault| {
            fails(fault)?;
            disk.space.extend(0, len, sparse)
        })?;
        let made = self
            .call(CallKind::Write, (0, len), |_, fault| fails(fault))
            .and_then(|()| self.call(CallKind::Barrier, (0, len), |_, fault| fails(fault)))
            .and_then(|()| self.call(CallKind::SyncDirectory, (0, 0), |_, fault| fails(fault)));
        if made.is_err() {
            self.space.cut(0);
            return made;
        }
        self.appear(image);
        Ok(())
    }

    /// A file stands on the empty disk, durable.
    pub(super) fn appear(&mut self, image: SimImage) {
        self.cache = image.clone();
        self.turn_over(EpochEnd::Synced, Epoch::first(image));
    }

    /// Takes the file back, durably: the disk is empty again.
    pub(super) fn remove(&mut self) {
        self.space.cut(0);
        self.cache = SimImage::default();
        self.turn_over(EpochEnd::Synced, Epoch::first(SimImage::default()));
    }

    /// Begins the next epoch and records the one that ended.
    fn turn_over(&mut self, end: EpochEnd, mut next: Epoch) {
        next.index = self.epoch.index + 1;
        next.calls = self.calls.made()..self.calls.made();
        self.uncertain = next.carried.iter().map(|write| write.sector).collect();
        let mut ended = mem::replace(&mut self.epoch, next);
        if self.recording {
            ended.end = end;
            ended.calls.end = self.calls.made();
            self.ended.push(Arc::new(ended));
        }
    }

    /// What is certain once everything that this epoch wrote is on disk.
    fn settled(&self) -> SimImage {
        if self.uncertain.is_empty() {
            return self.cache.clone();
        }
        let mut base = self.epoch.base.clone();
        base.set_len(self.cache.len());
        self.epoch.writes.iter().for_each(|write| base.copy_sector(&self.cache, write.sector));
        base
    }

    /// Notes in the epoch what the cache holds of a sector.
    fn note(&mut self, sector: u64, sequence: u64) {
        let bytes = *self.cache.sector(sector);
        match self.epoch.writes.last_mut() {
            Some(last) if last.sequence == sequence && last.sector == sector => last.bytes = bytes,
            _ => self.epoch.writes.push(SectorWrite { sequence, sector, bytes }),
        }
    }
}
