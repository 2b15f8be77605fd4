//! What a transaction holds: a changed clone of the live state, contents, and what is to be freed.
//!
//! ```text
//!   live state --clone--> state  + contents of pages  + frees, applied at commit
//!                           |          |                    |
//!   savepoint  --------> a clone   what they were      how many there were
//! ```
//!
//! A stage belongs to the transaction value and to nothing else. Dropping it rolls back; so does leaking it, since the
//! engine knows nothing of it. A page that the live generation owns and that is freed here stays in use in the staged
//! state until the commit: nothing can hand it out before that commit is durable (I2).

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::ops::Range;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use crate::block::PageKind;
use crate::error::{Error, Result};

use super::geometry::Geometry;
use super::options::Durability;
pub(crate) use super::owned::Owned;
use super::page_buffer::PageBuffer;
use super::planted::{Mistake, is_planted};
use super::state::State;

/// What a page will hold after the commit.
#[derive(Clone, Debug)]
pub(super) enum Content {
    /// Zeros that nobody has looked at yet take no memory.
    Zeros,
    Bytes(PageBuffer),
    /// What its pages hold already: an extent that was moved.
    Placed,
    /// What this page of the live state holds, which the same commit frees: a regular page that was moved. It takes no memory.
    Moved(u64),
}

/// A point to which a transaction can be rolled back.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SavepointToken {
    stage: u64,
    number: u64,
}

#[derive(Debug)]
struct Savepoint {
    number: u64,
    state: State,
    freed: usize,
    staged_bytes: u64,
    /// The contents that were changed since, as they were.
    before: HashMap<Owned, Option<Content>>,
}

/// See the head of this file.
#[derive(Debug)]
pub(crate) struct Stage {
    id: u64,
    max_bytes: u64,
    /// What may be staged: `max_bytes` for each part.
    most_bytes: u64,
    geometry: Geometry,
    pub(super) state: State,
    durability: Durability,
    /// Copies are written where their entries say, though there may be better places.
    pub(super) keeps_places: bool,
    contents: HashMap<Owned, Content>,
    /// Freed by commits that wait: in use in the state, and gone for everybody.
    waiting: Option<Arc<BTreeSet<Owned>>>,
    /// In the order in which they were freed, so that a savepoint is a length.
    freed: Vec<Owned>,
    freed_set: HashSet<Owned>,
    savepoints: Vec<Savepoint>,
    next_savepoint: u64,
    staged_bytes: u64,
}

static NEXT_STAGE: AtomicU64 = AtomicU64::new(1);

impl Stage {
    pub(super) fn new(
        base: &State,
        waiting: Option<Arc<BTreeSet<Owned>>>,
        geometry: Geometry,
        durability: Durability,
        max_bytes: u64,
    ) -> Self {
        Stage {
            id: NEXT_STAGE.fetch_add(1, Ordering::Relaxed),
            max_bytes,
            most_bytes: max_bytes,
            geometry,
            state: base.clone(),
            durability,
            keeps_places: false,
            contents: HashMap::new(),
            waiting,
            freed: Vec::new(),
            freed_set: HashSet::new(),
            savepoints: Vec::new(),
            next_savepoint: 1,
            staged_bytes: 0,
        }
    }

    pub(crate) fn state(&self) -> &State {
        &self.state
    }

    pub(super) fn content(&self, owned: Owned) -> Option<&Content> {
        self.contents.get(&owned)
    }

    /// How the commit is to become durable.
    pub(crate) fn set_durability(&mut self, durability: Durability) {
        self.durability = durability;
    }

    pub(crate) fn durability(&self) -> Durability {
        self.durability
    }

    /// What the commit frees.
    pub(super) fn freed(&self) -> &[Owned] {
        &self.freed
    }

    /// The state as the commit will make it live once what it frees is [released](Owned::release_from), that, and the contents to
    /// be written, in an order that is the same in every run.
    pub(super) fn into_commit(self) -> (State, Vec<Owned>, BTreeMap<Owned, Content>) {
        (self.state, self.freed, self.contents.into_iter().collect())
    }

    /// Whether the stage holds anything that a commit would write, apart from the state itself.
    pub(super) fn is_empty(&self) -> bool {
        self.contents.is_empty() && self.freed.is_empty()
    }

    pub(crate) fn is_freed(&self, owned: Owned) -> bool {
        self.freed_set.contains(&owned) || self.waiting.as_ref().is_some_and(|waiting| waiting.contains(&owned))
    }

    /// The kind that a page will have after the commit.
    pub(crate) fn kind(&self, page: u64) -> PageKind {
        if self.is_freed(Owned::Page(page)) { PageKind::Free } else { self.state.kind(self.geometry, page) }
    }

    /// Frees a regular page that [`kind`](Self::kind) says is one.
    pub(super) fn free_page(&mut self, live: &State, page: u64) {
        self.drop_content(Owned::Page(page));
        let at_once = is_planted(Mistake::PageReusedByTheCommitThatFreesIt);
        if live.kind(self.geometry, page) == PageKind::Free || at_once {
            self.state.release(page, PageKind::Regular);
        } else {
            self.push_freed(Owned::Page(page));
        }
    }

    /// Frees a twin that is there and not freed already.
    pub(super) fn free_twin(&mut self, live: &State, index: u64) {
        self.drop_content(Owned::Protected(index));
        if live.twin(index).is_none() {
            self.state.release_twin(index);
        } else {
            self.push_freed(Owned::Protected(index));
        }
    }

    /// Frees an extent that is there and not freed already.
    pub(super) fn free_extent(&mut self, live: &State, index: u64) {
        self.drop_content(Owned::Extent(index));
        if live.extent(index).is_none() {
            self.state.release_extent(index);
        } else {
            self.push_freed(Owned::Extent(index));
        }
    }

    /// Frees pages that an extent has left, its last ones: those that the live state has after the commit.
    pub(super) fn leave_run(&mut self, live: &State, index: u64, pages: Range<u64>) {
        let at_once = is_planted(Mistake::TailOfAnExtentReusedByItsCommit);
        let live_end = match (live.extent(index), self.state.extent(index)) {
            (Some(live), Some(staged)) if live.start == staged.start && !at_once => live.end,
            _ => pages.start,
        };
        let (start, end) = (live_end.clamp(pages.start, pages.end), pages.end);
        if pages.start < start {
            self.push_freed(Owned::Left { start: pages.start, end: start });
        }
        if start < end {
            self.state.release_run(start..end);
        }
    }

    /// Moves an extent that the live state has to free pages, which hold its content.
    pub(super) fn move_extent(&mut self, live: &State, index: u64, to: &Range<u64>, generation: u64) {
        let from = self.state.extent(index).expect("an extent that is moved is there");
        assert_eq!(
            live.extent(index),
            Some(from.clone()),
            "an extent is moved once in a transaction, and first of all"
        );
        self.state.take_pages(to.clone());
        self.state.place_extent(index, to, generation);
        self.push_freed(Owned::Left { start: from.start, end: from.end });
        self.remember(Owned::Extent(index));
        self.contents.insert(Owned::Extent(index), Content::Placed);
    }

    /// Has a page that was taken just now hold what a page of the live state does, which is freed. Says whether that is enough: what
    /// is staged, or fresh, has to be copied.
    pub(super) fn move_page(&mut self, live: &State, from: u64, to: u64) -> bool {
        let is_live =
            live.kind(self.geometry, from) == PageKind::Regular && !self.contents.contains_key(&Owned::Page(from));
        if is_live {
            self.remember(Owned::Page(to));
            self.contents.insert(Owned::Page(to), Content::Moved(from));
            self.free_page(live, from);
        }
        is_live
    }

    /// Frees a page of the engine's that a twin has left.
    pub(super) fn give_up(&mut self, page: u64) {
        self.push_freed(Owned::Copy(page));
    }

    fn push_freed(&mut self, owned: Owned) {
        self.freed.push(owned);
        self.freed_set.insert(owned);
    }

    /// The contents to change, no two of them the same, made by `start` where none is staged. After an error nothing has
    /// changed.
    pub(super) fn contents_mut<const K: usize>(
        &mut self,
        owned: [Owned; K],
        start: impl Fn(Owned) -> Result<PageBuffer>,
    ) -> Result<[&mut [u8]; K]> {
        let before = self.savepoints.last().map(|savepoint| &savepoint.before);
        let remembers = |owned: &Owned| before.is_some_and(|before| !before.contains_key(owned));
        let is_staged = |owned: &Owned| matches!(self.contents.get(owned), Some(Content::Bytes(_)));
        // A buffer that is there is copied for the savepoint, one that is not is made: as many bytes either way.
        let more = owned.iter().filter(|owned| !is_staged(owned) || remembers(owned)).map(|owned| self.len_of(*owned));
        let needed = more.fold(self.staged_bytes, u64::saturating_add);
        self.check_room(needed)?;
        let mut made = Vec::new();
        for owned in owned {
            match self.contents.get(&owned) {
                Some(Content::Bytes(_)) => {}
                Some(Content::Zeros) => made.push((owned, PageBuffer::zeroed(self.geometry.page_len()))),
                Some(Content::Moved(from)) => made.push((owned, start(Owned::Page(*from))?)),
                Some(Content::Placed) | None => made.push((owned, start(owned)?)),
            }
        }
        self.staged_bytes = needed;
        for owned in owned {
            self.remember(owned);
        }
        self.contents.extend(made.into_iter().map(|(owned, buffer)| (owned, Content::Bytes(buffer))));
        let contents = self.contents.get_disjoint_mut(std::array::from_fn::<_, K, _>(|at| &owned[at]));
        Ok(contents.map(|content| match content {
            Some(Content::Bytes(buffer)) => buffer.as_bytes_mut(),
            _ => unreachable!("every content was staged just now"),
        }))
    }

    /// Stages zeros, whatever the content is now.
    pub(super) fn set_zeros(&mut self, owned: Owned) {
        self.drop_content(owned);
        self.contents.insert(owned, Content::Zeros);
    }

    fn drop_content(&mut self, owned: Owned) {
        // The savepoint's copy takes the place of the content, so the bytes stay counted.
        if !self.remember(owned)
            && let Some(Content::Bytes(buffer)) = self.contents.get(&owned)
        {
            self.staged_bytes -= buffer.len() as u64;
        }
        self.contents.remove(&owned);
    }

    fn check_room(&self, needed: u64) -> Result<()> {
        if needed > self.most_bytes { Err(Error::StageFull { needed, limit: self.most_bytes }) } else { Ok(()) }
    }

    /// Bytes of a content.
    fn len_of(&self, owned: Owned) -> u64 {
        let pages = match owned {
            Owned::Extent(index) => self.state.extent(index).map_or(0, |pages| pages.end - pages.start),
            _ => 1,
        };
        pages * u64::from(self.geometry.page_size())
    }

    /// What would be staged if a content, should there be one, had so many bytes.
    fn bytes_resized(&self, owned: Owned, len: usize) -> u64 {
        let Some(Content::Bytes(buffer)) = self.contents.get(&owned) else { return self.staged_bytes };
        let remembers = self.savepoints.last().is_some_and(|savepoint| !savepoint.before.contains_key(&owned));
        let stays = if remembers { 0 } else { buffer.len() as u64 };
        (self.staged_bytes - stays).saturating_add(len as u64)
    }

    /// Whether there is room for what [`resize_content`](Self::resize_content) does.
    pub(super) fn check_resized(&self, owned: Owned, len: usize) -> Result<()> {
        self.check_room(self.bytes_resized(owned, len))
    }

    /// Makes a content that is staged longer, with zeros, or shorter.
    pub(super) fn resize_content(&mut self, owned: Owned, len: usize) {
        let staged_bytes = self.bytes_resized(owned, len);
        let Some(Content::Bytes(buffer)) = self.contents.get(&owned) else { return };
        let resized = Content::Bytes(buffer.resized(len));
        self.remember(owned);
        self.contents.insert(owned, resized);
        self.staged_bytes = staged_bytes;
    }

    /// Keeps a content as it is for the newest savepoint, unless that has been done. Says whether it did.
    fn remember(&mut self, owned: Owned) -> bool {
        let Some(savepoint) = self.savepoints.last_mut() else { return false };
        if savepoint.before.contains_key(&owned) {
            return false;
        }
        savepoint.before.insert(owned, self.contents.get(&owned).cloned());
        true
    }

    /// Begins a part that is kept or taken back as a whole: a transaction of its own to the one who makes it, committed together
    /// with others. Its savepoints are no other part's.
    pub(crate) fn begin_part(&mut self, durability: Durability) -> SavepointToken {
        self.id = NEXT_STAGE.fetch_add(1, Ordering::Relaxed);
        self.most_bytes = self.staged_bytes.saturating_add(self.max_bytes);
        self.durability = durability;
        self.savepoint()
    }

    pub(crate) fn keep_part(&mut self) {
        self.savepoints.clear();
        let bytes = self.contents.values().map(|content| match content {
            Content::Bytes(buffer) => buffer.len() as u64,
            Content::Zeros | Content::Placed | Content::Moved(_) => 0,
        });
        self.staged_bytes = bytes.sum();
    }

    pub(crate) fn take_back_part(&mut self, begun: SavepointToken) {
        self.rollback_to(begun).expect("a part is taken back once, to where it began");
        self.keep_part();
    }

    /// Bytes of pages in memory.
    pub(crate) fn staged_bytes(&self) -> u64 {
        self.staged_bytes
    }

    pub(crate) fn savepoint(&mut self) -> SavepointToken {
        let number = self.next_savepoint;
        self.next_savepoint += 1;
        self.savepoints.push(Savepoint {
            number,
            state: self.state.clone(),
            freed: self.freed.len(),
            staged_bytes: self.staged_bytes,
            before: HashMap::new(),
        });
        SavepointToken { stage: self.id, number }
    }

    /// Forgets a savepoint to which nobody will go back. What it remembers goes to the one before it, if that needs it.
    pub(crate) fn release(&mut self, token: SavepointToken) {
        let Ok(at) = self.savepoints.binary_search_by_key(&token.number, |savepoint| savepoint.number) else { return };
        let released = self.savepoints.remove(at);
        let (earlier, later) = self.savepoints.split_at_mut(at);
        let mut gone = 0;
        for (owned, content) in released.before {
            let bytes = if let Some(Content::Bytes(buffer)) = &content { buffer.len() as u64 } else { 0 };
            match earlier.last_mut() {
                Some(earlier) if !earlier.before.contains_key(&owned) => {
                    earlier.before.insert(owned, content);
                }
                _ => gone += bytes,
            }
        }
        self.staged_bytes -= gone;
        // They were taken when this was staged already.
        later.iter_mut().for_each(|savepoint| savepoint.staged_bytes -= gone);
    }

    /// Makes the stage what it was at the savepoint, which stays and can be rolled back to again.
    pub(crate) fn rollback_to(&mut self, token: SavepointToken) -> Result<()> {
        if token.stage != self.id {
            return Err(Error::ForeignSavepoint);
        }
        let Ok(at) = self.savepoints.binary_search_by_key(&token.number, |savepoint| savepoint.number) else {
            return Err(Error::StaleSavepoint);
        };
        while let Some(newest) = self.savepoints.pop() {
            for (owned, content) in newest.before {
                match content {
                    _ if is_planted(Mistake::RollbackForgetsContents) => None,
                    Some(content) => self.contents.insert(owned, content),
                    None => self.contents.remove(&owned),
                };
            }
            if self.savepoints.len() == at {
                self.freed.drain(newest.freed..).for_each(|owned| {
                    self.freed_set.remove(&owned);
                });
                // Pages that the file gained since stay: they are there, and free.
                let total_pages = self.state.total_pages;
                self.state = newest.state;
                self.state.total_pages = total_pages;
                self.staged_bytes = newest.staged_bytes;
                self.savepoints.push(Savepoint {
                    number: token.number,
                    state: self.state.clone(),
                    freed: self.freed.len(),
                    staged_bytes: newest.staged_bytes,
                    before: HashMap::new(),
                });
                break;
            }
        }
        Ok(())
    }
}
