//! Compaction, and giving space back: a file that was large becomes small again, while it is in use.

use std::fmt;

use crate::engine::Round;
use crate::error::{Error, Result};
use crate::ids::PageId;

use super::{Pager, Transaction};

/// What one commit of a compaction moves at the most, in bytes and in pages.
const STEP_BYTES: u64 = 16 << 20;
const STEP_PAGES: u64 = 4096;

/// What a [compaction](Pager::compact) did, and what is left to do.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct Compaction {
    /// Regular pages that were moved, and announced to the caller.
    pub moved: u64,
    /// Twins that got another place for one of their copies or both: protected pages, and blocks of the engine.
    pub moved_twins: u64,
    /// Pages of extents that were moved.
    pub moved_extents: u64,
    /// Pages in use that lie behind where those of a file without holes would end.
    pub left: u64,
    /// Free pages at the end of the file, which [`Pager::shrink`] gives back.
    pub freed: u64,
}

impl fmt::Display for Compaction {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Compaction { moved, moved_twins, moved_extents, left, freed } = self;
        let extents = format_args!("{moved_extents} pages of extents");
        write!(f, "{moved} pages, {extents} and {moved_twins} twins moved, {left} left, {freed} free at the end")
    }
}

impl Compaction {
    /// Everything that counts as a move.
    fn moves(&self) -> u64 {
        self.moved + self.moved_twins + self.moved_extents
    }
}

impl<const P: usize> Pager<P> {
    /// Moves pages from the end of the file into holes near its start, `max_moves` at the most.
    ///
    /// A regular page that moves gets another id: `moved` is called with the transaction, the old id and the new one, and
    /// changes in that transaction what refers to the page. Move and changes are in one commit. Protected pages, extents, and the
    /// blocks of the engine move by themselves, and ids of protected pages and of extents stay. An extent of `n` pages counts as `n`
    /// moves, and is moved in one commit whatever its length, if there is a free run for it: the last one may be more than was left
    /// of `max_moves`.
    ///
    /// `moved` may change, allocate and free whatever it likes, the page at its new place too; the page at its old place is freed
    /// already. Each step is durable, whatever durability it asks for, and so are then the commits that
    /// [waited](crate::Durability::None) before.
    ///
    /// It is done in steps of at most 16 MiB, each of them a commit, so it can end after any number of moves, and goes on where it
    /// ended when it is called again: [`Compaction::left`] is 0 when there is nothing more to move, or stays what it is where
    /// a page cannot be. The file is as long as before, with its free pages at the end: [`shrink`](Self::shrink) cuts them off.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk, Error};
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
    /// let ids = pager.alloc_bulk(1000)?;
    /// pager.page_mut(ids[999])?.fill(7);
    /// // Where the application keeps its page.
    /// let mut transaction = pager.transaction()?;
    /// transaction.set_header(&ids[999].to_u64().to_le_bytes())?;
    /// transaction.free_bulk(&ids[..999])?;
    /// transaction.commit()?;
    ///
    /// let done = pager.compact(u64::MAX, |transaction, from, to| {
    ///     assert_eq!(from, ids[999]);
    ///     transaction.set_header(&to.to_u64().to_le_bytes())
    /// })?;
    /// assert_eq!((done.moved, done.left), (1, 0));
    /// assert_eq!(pager.shrink()?, done.freed);
    /// assert!(pager.page_count() < 20);
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// Those of `moved`: the move that it was called for is taken back, those before it stay. Those of
    /// [`Transaction::commit`]: the moves of the step are taken back then, as if `moved` had not been called for them, and a
    /// program that keeps ids in memory reads them again; if `moved` panics, too. [`Error::Io`] when a protected page cannot
    /// be read, [`Error::StageFull`] where an eighth of what may be staged does not hold a page and what `moved` changes. A
    /// protected page whose content is damaged stays where it is.
    pub fn compact<E: From<Error>>(
        &mut self,
        max_moves: u64,
        mut moved: impl FnMut(&mut Transaction<'_, P>, PageId<P>, PageId<P>) -> Result<(), E>,
    ) -> Result<Compaction, E> {
        self.reader.engine.begin_moving()?;
        let end = self.reader.engine.compaction_end();
        let mut done = Compaction::default();
        let (mut before, mut round) = (u64::MAX, Round::new(end));
        loop {
            let most = max_moves - done.moves().min(max_moves);
            let step = self.compact_step(&mut before, &mut round, most, &mut moved)?;
            done.moved += step.moved;
            done.moved_twins += step.moved_twins;
            done.moved_extents += step.moved_extents;
            if round.is_last() || done.moves() >= max_moves {
                break;
            }
        }
        done.left = self.reader.engine.in_use_behind(end);
        done.freed = self.page_count() - self.reader.engine.end_of_use();
        Ok(done)
    }

    /// Gives the free pages at the end of the file back to the filesystem. Returns how many pages the file is shorter.
    ///
    /// Pages lie at its end because they were freed, because [`compact`](Self::compact) moved what was there, or because the
    /// file grew for more than was needed, be it for a transaction that was dropped. This takes up to two commits of two
    /// syncs, and makes commits that [wait](crate::Durability::None) durable, so it is not for every time that a page is
    /// freed. A file keeps as many pages as its last protected page is numbered.
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`]; [`Error::Io`] when the file cannot be cut, or something not be written or synced;
    /// [`Error::LastGeneration`]. What was durable stays.
    pub fn shrink(&mut self) -> Result<u64> {
        self.reader.engine.shrink()
    }

    /// Gives the space of free pages back to the filesystem, wherever they lie, and leaves holes in the file. Returns how many bytes
    /// less the file occupies, or `None` where the filesystem or the platform cannot do that.
    ///
    /// The file stays as long as it is; [`shrink`](Self::shrink) makes it shorter, where its end is free. Space is given back in
    /// blocks of the filesystem, so a free page that is smaller than one goes with its neighbours. From then on, in this pager
    /// and in all that open the file later, space is allocated before a page is handed out: on a full disk that is an error of the
    /// call that allocates, and never a signal of a store. It costs a call for each run of pages, and large commits leave copies of
    /// protected pages where they are.
    ///
    /// This makes commits that [wait](crate::Durability::None) durable and takes two commits of two syncs and a sync, so it is for
    /// now and then. Where nothing is free it costs nothing.
    ///
    /// ```
    /// # use diptych::{PagerOptions, SimDisk};
    /// # let mut pager = PagerOptions::new().create_on::<4096>(&SimDisk::new())?;
    /// let ids = pager.alloc_bulk(1000)?;
    /// pager.free_bulk(&ids[..900])?;
    /// let given_back = pager.punch_holes()?.expect("a simulated disk can");
    /// assert!(given_back >= 900 * 4096);
    /// assert_eq!(pager.alloc()?, ids[0], "the pages are still there");
    /// # Ok::<(), diptych::Error>(())
    /// ```
    ///
    /// # Errors
    ///
    /// [`Error::Poisoned`]; [`Error::LastGeneration`]; [`Error::Io`] when something cannot be written or synced, or with
    /// `op: "punch"` when a call that gives space back fails. What was durable stays, and what was given back stays free.
    pub fn punch_holes(&mut self) -> Result<Option<u64>> {
        self.reader.engine.punch_holes()
    }

    /// One commit of a compaction. Returns what it moved.
    fn compact_step<E: From<Error>>(
        &mut self,
        before: &mut u64,
        round: &mut Round,
        most: u64,
        moved: &mut impl FnMut(&mut Transaction<'_, P>, PageId<P>, PageId<P>) -> Result<(), E>,
    ) -> Result<Compaction, E> {
        let most = most.min((STEP_BYTES / P as u64).clamp(1, STEP_PAGES)).min(self.reader.engine.most_moved());
        let mut transaction = Transaction::for_moving(&mut self.reader.engine)?;
        let (moved_twins, moved_extents) = transaction.move_runs(round, most)?;
        let mut done = Compaction { moved_twins, moved_extents, ..Compaction::default() };
        let mut failed = None;
        while done.moves() < most {
            let savepoint = transaction.savepoint();
            let found = transaction.move_last_page(round.end(), *before);
            let (from, to) = match found {
                Ok(Some(ids)) => ids,
                Ok(None) => break,
                // What is staged already becomes durable, and makes room.
                Err(Error::StageFull { .. }) if done.moves() > 0 => break,
                Err(error) => return Err(error.into()),
            };
            if let Err(error) = moved(&mut transaction, from, to) {
                transaction.rollback_to(&savepoint)?;
                failed = Some(error);
                break;
            }
            transaction.release(&savepoint);
            *before = from.to_u64();
            round.pages_moved();
            done.moved += 1;
        }
        if failed.is_none() && done.moves() < most {
            match transaction.move_protected_pages(round, most - done.moves()) {
                Ok(protected) => done.moved_twins += protected,
                // What the caller was told of stays.
                Err(error) => failed = Some(error.into()),
            }
        }
        transaction.commit_moves()?;
        match failed {
            Some(error) => Err(error),
            None => Ok(done),
        }
    }
}
