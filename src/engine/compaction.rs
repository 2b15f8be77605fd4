//! Moving what lies behind the pages that a file needs into holes before them.
//!
//! ```text
//!   0                         end                              total
//!   ├── in use and holes ─────┼── in use here and there ────────┤       end: pages in use, if there were no holes
//!              ▲                        │
//!              └── a regular page: copied, the old one freed
//!              └── an extent: copied to a run before `end` that is long enough, else to the first one before it
//!              └── a twin: its spare copy gets a place before `end`, and the live one is turned over to it;
//!                  then the other one is the spare copy
//!   a leaf behind `end` that holds nothing but its own copies becomes one that was never touched, a node without entries goes
//! ```
//!
//! All of it is part of a transaction: it writes where the state before has nothing (I1), and what it leaves is free after
//! its commit (I2). A step that is repeated until it moves nothing leaves the pages behind `end` free.

use crate::block::PageKind;
use crate::error::{Error, Result};
use crate::format::{NODE_FANOUT, PAGES_PER_LEAF, TableKind, TwinEntry};

use super::geometry::{Geometry, to_index};
use super::page_buffer::PageBuffer;
use super::stage::{Owned, Stage};
use super::state::State;
use super::twin_table::NodeAt;
use super::{Engine, Holder};

/// Rounds without one page less behind the end, after which what is left cannot be moved: of a twin the first one moves the live
/// copy, the second one the other, and the third one takes away what that leaves empty.
const MOST_VAIN: u32 = 4;

/// Pages that a step may stage for each page that it moves: the page itself, and what a caller changes and a savepoint keeps.
const STAGED_WITH_A_MOVE: u64 = 8;

/// How far moving twins has come. A twin whose copies both lie behind the end takes two commits, and what that leaves empty
/// another one, so it goes round until there is nothing to move.
#[derive(Debug)]
pub(crate) struct Round {
    end: u64,
    /// The index of the protected page to go on with.
    next: u64,
    moves: bool,
    /// Pages behind the end after the last round, and rounds since that became fewer.
    left: u64,
    vain: u32,
    is_last: bool,
}

impl Round {
    pub(crate) fn new(end: u64) -> Self {
        Round { end, next: 0, moves: false, left: u64::MAX, vain: 0, is_last: false }
    }

    /// Regular pages were moved: what they leave is free after the commit, so this is not the last round.
    pub(crate) fn pages_moved(&mut self) {
        self.moves = true;
    }

    /// The page before which everything is to lie.
    pub(crate) fn end(&self) -> u64 {
        self.end
    }

    /// Nothing was left to move.
    pub(crate) fn is_last(&self) -> bool {
        self.is_last
    }
}

impl Engine {
    /// Where the pages in use would end if there were no holes before it.
    pub(crate) fn compaction_end(&self) -> u64 {
        let state = self.base();
        let block = 2 * self.geometry.pages_per_block();
        let leaves = state.leaf_table.iter().count() as u64;
        let in_use = state.total_pages - state.free_pages();
        let content = in_use - block * (leaves + state.leaf_table.node_count());
        let mut end = content;
        loop {
            let leaves = end.div_ceil(PAGES_PER_LEAF);
            let height = state.leaf_table.height();
            let nodes = (0..height).scan(leaves, |below, _| {
                *below = below.div_ceil(NODE_FANOUT as u64);
                Some(*below)
            });
            let with_map = content + block * (leaves + nodes.sum::<u64>());
            if with_map <= end {
                return end;
            }
            end = with_map;
        }
    }

    /// Before a compaction: what waits becomes durable, so that what it freed is free.
    pub(crate) fn begin_moving(&mut self) -> Result<()> {
        self.check_usable()?;
        let durability = self.options.durability;
        if self.group.is_some() { <dyn Holder>::commit_group(self, durability) } else { Ok(()) }
    }

    /// A transaction's stage for moving: copies stay where they are put.
    pub(crate) fn stage_for_moving(&self) -> Result<Stage> {
        let mut stage = self.stage()?;
        stage.keeps_places = true;
        Ok(stage)
    }

    /// The commit of a stage will not wait.
    pub(crate) fn make_durable(&self, stage: &mut Stage) {
        stage.set_durability(stage.durability().now());
    }

    /// Pages that a step may move, so that there is room for what a caller changes with each.
    pub(crate) fn most_moved(&self) -> u64 {
        let staged = self.geometry.whole_pages(self.options.max_staged_bytes);
        (staged / STAGED_WITH_A_MOVE).max(1)
    }

    /// Moves the last regular page of `end..before` to the lowest free page, if that lies before `end`. Returns both.
    pub(crate) fn move_last_page(&self, stage: &mut Stage, end: u64, before: u64) -> Result<Option<(u64, u64)>> {
        self.check_usable()?;
        let mut before = before.min(stage.state.total_pages);
        let from = loop {
            if before <= end {
                return Ok(None);
            }
            let Some(page) = stage.state.free_map.last_of_kind(end..before, PageKind::Regular) else { return Ok(None) };
            if stage.kind(page) == PageKind::Regular {
                break page;
            }
            before = page;
        };
        let Some(to) = stage.state.take_page(self.geometry, 0, PageKind::Regular) else { return Ok(None) };
        if to >= end {
            stage.state.release(to, PageKind::Regular);
            return Ok(None);
        }
        if stage.move_page(&self.live, from, to) {
            return Ok(Some((from, to)));
        }
        let copied = self.staged_page(stage, from).map(PageBuffer::copy_of);
        let staged = copied.and_then(|copy| stage.contents_mut([Owned::Page(to)], |_| Ok(copy.clone())).map(drop));
        if let Err(error) = staged {
            stage.state.release(to, PageKind::Regular);
            return Err(error);
        }
        stage.free_page(&self.live, from);
        Ok(Some((from, to)))
    }

    /// Moves what takes several pages side by side before the end of the round, which comes before anything else, while there are
    /// whole runs: copies of nodes, and extents. Returns how many nodes, and how many pages of extents. An extent that is longer
    /// than `most` is moved alone, unless that is nothing.
    pub(crate) fn move_runs(&self, stage: &mut Stage, round: &mut Round, most: u64) -> Result<(u64, u64)> {
        self.check_usable()?;
        let nodes = self.move_nodes(stage, round, most);
        let (mut moved, mut next) = (nodes, 0);
        while moved < most
            && let Some((index, pages)) = stage.state.next_extent(next)
        {
            next = index + 1;
            let len = pages.end - pages.start;
            if pages.end <= round.end || moved > 0 && moved.saturating_add(len) > most {
                continue;
            }
            if self.move_extent(stage, round.end, index)? {
                moved += len;
                round.moves = true;
            }
        }
        Ok((nodes, moved - nodes))
    }

    fn move_nodes(&self, stage: &mut Stage, round: &mut Round, most: u64) -> u64 {
        let tables = [TableKind::Directory, TableKind::FreeMap];
        let moved = tables.iter().fold(0, |moved, table| {
            moved + move_nodes(stage, self.geometry, round.end, *table, most.saturating_sub(moved))
        });
        round.moves |= moved > 0;
        moved
    }

    /// Moves copies of at most `most` protected pages before the end of the round; behind the last of them what nobody needs any
    /// more is [trimmed](Self::trim). Returns of how many. The last thing that a stage does.
    pub(crate) fn move_protected_pages(&self, stage: &mut Stage, round: &mut Round, most: u64) -> Result<u64> {
        self.check_usable()?;
        let (end, mut moved) = (round.end, 0);
        while let Some((index, entry)) = stage.state.directory.next(round.next) {
            if moved >= most {
                return Ok(moved);
            }
            if entry.is_twin()
                && entry.copies.iter().any(|page| *page >= end)
                && !stage.is_freed(Owned::Protected(index))
            {
                let is_moved = match self.move_protected(stage, end, index, entry) {
                    // What is staged already becomes durable, and makes room.
                    Err(Error::StageFull { .. }) if !stage.is_empty() => return Ok(moved),
                    tried => tried?,
                };
                moved += u64::from(is_moved);
                round.moves |= is_moved;
            }
            round.next = index + 1;
        }
        round.moves |= self.trim(stage, end);
        let left = self.in_use_behind(end);
        let vain = if left < round.left { 0 } else { round.vain + 1 };
        *round = Round { next: 0, moves: false, left, vain, is_last: !round.moves || vain > MOST_VAIN, ..*round };
        Ok(moved)
    }

    /// Gives the spare copy of a protected page a place before `end`, and has the commit turn over to it if the live copy lies
    /// behind. A page whose live copy is damaged stays.
    fn move_protected(&self, stage: &mut Stage, end: u64, index: u64, entry: TwinEntry) -> Result<bool> {
        let spare = entry.live.other().index();
        let kind = stage.state.kind_of(&entry);
        let place = if entry.copies[spare] < end {
            None
        } else {
            let Some(page) = stage.state.take_before(self.geometry, end, 1, entry.live_page(), kind.page_kind()) else {
                return Ok(false);
            };
            Some(page)
        };
        if entry.live_page() >= end {
            let staged = stage
                .contents_mut([Owned::Protected(index)], |_| self.twin_content(kind, index).map(PageBuffer::copy_of));
            match staged.map(drop) {
                Ok(()) => {}
                Err(Error::Corrupt { .. }) if place.is_some() => {}
                Err(error) => {
                    place.into_iter().for_each(|page| stage.state.release(page, kind.page_kind()));
                    return if matches!(error, Error::Corrupt { .. }) { Ok(false) } else { Err(error) };
                }
            }
        }
        if let Some(page) = place {
            stage.give_up(entry.copies[spare]);
            let mut moved = entry;
            moved.copies[spare] = page;
            stage.state.directory.set(index, moved);
        }
        Ok(true)
    }

    /// Takes away nodes without entries, and leaves behind `end` that hold nothing but their own copies. Nothing may be handed out
    /// afterwards: what it takes away belongs to the state before.
    fn trim(&self, stage: &mut Stage, end: u64) -> bool {
        let block = self.geometry.pages_per_block();
        let State { directory, leaf_table, .. } = &mut stage.state;
        let nodes = [directory.take_empty_nodes(), leaf_table.take_empty_nodes()].concat();
        let trims = !nodes.is_empty();
        nodes.into_iter().flatten().flat_map(|copy| copy..copy + block).for_each(|page| stage.give_up(page));

        let first = end.div_ceil(PAGES_PER_LEAF);
        let behind: Vec<u64> =
            stage.state.leaf_table.iter().map(|(leaf, _)| leaf).filter(|leaf| *leaf >= first).collect();
        behind.into_iter().fold(trims, |trims, leaf| {
            let untouched = stage.state.untouch(self.geometry, leaf);
            let is_gone = untouched.is_some();
            untouched.into_iter().flatten().for_each(|page| stage.give_up(page));
            trims || is_gone
        })
    }

    /// Pages behind `end` that are in use.
    pub(crate) fn in_use_behind(&self, end: u64) -> u64 {
        let free_map = &self.live.free_map;
        let first = end / PAGES_PER_LEAF;
        let leaves = free_map.leaves().filter(|(index, _)| *index >= first);
        leaves.map(|(index, leaf)| leaf.in_use_from(end.saturating_sub(index * PAGES_PER_LEAF))).sum()
    }
}

/// The entry of a node with its spare copy before `end`. `None` if there is no room for it.
fn move_spare(stage: &mut Stage, geometry: Geometry, end: u64, entry: &TwinEntry) -> Option<TwinEntry> {
    let len = geometry.pages_per_block();
    let spare = entry.live.other().index();
    let old = entry.copies[spare];
    if old < end {
        return Some(*entry);
    }
    let page = stage.state.take_before(geometry, end, len, entry.live_page(), PageKind::Engine)?;
    (old..old + len).for_each(|page| stage.give_up(page));
    let mut moved = *entry;
    moved.copies[spare] = page;
    Some(moved)
}

/// Moves copies of at most `most` nodes of a table before `end`. Returns of how many.
fn move_nodes(stage: &mut Stage, geometry: Geometry, end: u64, kind: TableKind, most: u64) -> u64 {
    let behind = |(_, entry): &(NodeAt, TwinEntry)| entry.copies.iter().any(|page| *page >= end);
    let nodes: Vec<(NodeAt, TwinEntry)> = stage.state.table(kind).node_entries().into_iter().filter(behind).collect();
    let mut moved = 0;
    for (node, entry) in nodes.into_iter().take(to_index(most)) {
        let Some(spare) = move_spare(stage, geometry, end, &entry) else { return moved };
        let table = stage.state.table_mut(kind);
        table.set_node_entry(node, spare);
        if entry.live_page() >= end {
            table.touch_node(node);
        }
        moved += 1;
    }
    moved
}
