//! The operations that tests, crash lab and fuzzers run, on a pager and on its model at once.

use std::collections::BTreeMap;

use diptych::{
    Durability, Error, ExtentId, PageId, Pager, ProtectedPageId, Result, SubPageId, SubPageTableId, Transaction,
};

use crate::model::{Model, Regular, Table};

/// The size of the sub-pages in bytes: four in the smallest page that the lab has.
pub const SUB_PAGE: usize = 256;

/// One call of a pager, or one transaction. Picks are taken modulo what there is.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Operation {
    /// One regular page.
    Alloc,
    /// So many regular pages.
    AllocBulk(u8),
    /// The regular page picked.
    Free(u8),
    /// From the page picked on, so many.
    FreeBulk(u8, u8),
    /// One protected page.
    AllocProtected,
    /// So many protected pages.
    AllocProtectedBulk(u8),
    /// The protected page picked.
    FreeProtected(u8),
    /// From the page picked on, so many.
    FreeProtectedBulk(u8, u8),
    /// The protected page picked, filled with a byte and committed.
    WriteProtected(u8, u8),
    /// The same, and the writer dropped.
    DropProtected(u8, u8),
    /// Through the map, in place.
    Store(u8, u8),
    /// The extent picked.
    FreeExtent(u8),
    /// Through the map, in place: the extent picked.
    StoreExtent(u8, u8),
    /// A sync.
    Sync,
    /// Closed and opened again.
    Reopen,
    /// Dropped as a killed process drops it, and opened again.
    Drop,
    /// The power fails at rest; the number draws what of the unsynced stores arrives.
    PowerCut(u8),
    /// Moves up to so many pages and twins towards the start of the file.
    Compact(u8),
    /// Gives the free pages at the end of the file back.
    Shrink,
    /// Gives the space of free pages back, and leaves holes.
    PunchHoles,
    /// Steps, and what becomes of them.
    Transaction(Vec<Step>, End),
}

/// What becomes of a transaction.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum End {
    /// It is committed.
    Commit,
    /// It is dropped.
    Drop,
    /// `mem::forget`.
    Leak,
}

/// One call inside a transaction.
#[derive(Clone, Debug)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Step {
    /// One regular page.
    Alloc,
    /// One regular page near the page of that number.
    AllocNear(u8),
    /// So many regular pages.
    AllocBulk(u8),
    /// The regular page picked.
    Free(u8),
    /// One protected page.
    AllocProtected,
    /// The protected page picked.
    FreeProtected(u8),
    /// The protected page picked, filled with a byte.
    WriteProtected(u8, u8),
    /// The protected page picked, as zeros.
    ZeroProtected(u8),
    /// A regular page of this transaction, or with `overwrite` an older one.
    Write(u8, u8),
    /// An extent of so many pages.
    AllocExtent(u8),
    /// The extent picked.
    FreeExtent(u8),
    /// The extent picked, made so long if there is room.
    LengthenExtent(u8, u8),
    /// The extent picked, with no more pages than so many.
    ShortenExtent(u8, u8),
    /// The extent picked, filled with a byte.
    WriteExtent(u8, u8),
    /// So many sub-pages of the table, which is made if there is none.
    AllocSubPages(u8),
    /// From the sub-page picked on, so many.
    FreeSubPages(u8, u8),
    /// The sub-page picked, filled with a byte.
    WriteSubPage(u8, u8),
    /// The table, with all its sub-pages.
    FreeTable,
    /// The header, filled with a byte.
    Header(u8),
    /// The commit is to wait for the next durable one.
    Wait,
    /// The commit is to be durable.
    Durable,
    /// A savepoint.
    Savepoint,
    /// Back to the savepoint picked.
    Rollback(u8),
}

fn page<const P: usize>(id: u64) -> PageId<P> {
    PageId::from_u64(id).expect("the model holds ids")
}

fn protected<const P: usize>(id: u64) -> ProtectedPageId<P> {
    ProtectedPageId::from_u64(id).expect("the model holds ids")
}

fn extent<const P: usize>(id: u64) -> ExtentId<P> {
    ExtentId::from_u64(id).expect("the model holds ids")
}

/// Whether each page of an extent is full of what the model says.
fn is_extent(content: &[u8], pages: &[Regular]) -> bool {
    let len = content.len() / pages.len();
    content.chunks(len).zip(pages).all(|(content, page)| content.iter().all(|byte| *byte == page.fill))
}

fn insert<const P: usize>(model: &mut Model, id: PageId<P>) {
    let old = model.regular.insert(id.to_u64(), Regular::fresh());
    assert_eq!(old, None, "{id} is handed out while it is in use");
}

fn insert_protected<const P: usize>(model: &mut Model, id: ProtectedPageId<P>) {
    assert_eq!(model.protected.insert(id.to_u64(), 0), None, "{id} is handed out while it is in use");
}

/// Stores again what extents hold where it was not settled.
///
/// # Errors
///
/// Those of the pager.
pub fn restore_extents<const P: usize>(pager: &mut Pager<P>, model: &Model) -> Result<()> {
    for (id, pages) in &model.extents {
        for (content, page) in pager.extent_mut(extent(*id))?.chunks_mut(P).zip(pages).filter(|(_, page)| !page.settled)
        {
            content.fill(page.fill);
        }
    }
    Ok(())
}

/// The name of a table of the model.
///
/// # Panics
///
/// When the model holds no id.
#[must_use]
pub fn table_id<const P: usize>(table: &Table) -> SubPageTableId<P, SUB_PAGE> {
    SubPageTableId::from_u64(table.id).expect("the model holds ids")
}

/// The name of a sub-page of the model.
///
/// # Panics
///
/// When the model holds no id.
#[must_use]
pub fn sub_page<const P: usize>(id: u64) -> SubPageId<P, SUB_PAGE> {
    SubPageId::from_u64(id).expect("the model holds ids")
}

fn alloc_sub_pages<const P: usize>(tx: &mut Transaction<'_, P>, model: &mut Model, count: u8) -> Result<()> {
    if model.table.is_none() {
        let id = tx.create_sub_page_table::<SUB_PAGE>()?.to_u64();
        model.table = Some(Table { id, live: BTreeMap::new() });
    }
    let Some(table) = &mut model.table else { return Ok(()) };
    let mut parts = tx.sub_pages(table_id::<P>(table))?;
    let ids = if count == 1 { vec![parts.alloc()?] } else { parts.alloc_bulk(count.into())? };
    for id in ids {
        assert!(parts.page(id)?.iter().all(|byte| *byte == 0), "a fresh sub-page reads as zeros");
        assert_eq!(table.live.insert(id.to_u64(), 0), None, "{id} is handed out while it is in use");
    }
    Ok(())
}

/// Runs an operation that neither opens nor closes the pager. The model is changed as the pager has to be
/// when the call returns; after an error it is as before.
///
/// # Errors
///
/// Those of the pager.
///
/// # Panics
///
/// When the pager shows what the model does not hold.
pub fn apply<const P: usize>(pager: &mut Pager<P>, model: &mut Model, operation: &Operation) -> Result<()> {
    let mut after = model.clone();
    let commits = run(pager, &mut after, operation)?;
    let generation = pager.generation().to_u64();
    let most = match operation {
        // What moved, what that leaves empty, and the same state twice: the first commit is the one that shows.
        Operation::Compact(most) => 8 + u64::from(*most),
        Operation::Shrink | Operation::PunchHoles => 8,
        _ => u64::from(commits),
    };
    assert!((model.generation..=model.generation + most).contains(&generation), "so many commits at most");
    after.generation = generation;
    let durable = pager.durable_generation().to_u64();
    if durable < generation {
        after.wait(model);
    } else if durable > model.durable().generation {
        after.commit(|name| model.stored(name).is_some());
    }
    *model = after;
    Ok(())
}

fn run<const P: usize>(pager: &mut Pager<P>, model: &mut Model, operation: &Operation) -> Result<bool> {
    match *operation {
        Operation::Alloc => {
            let id = pager.alloc()?;
            assert!(pager.page(id)?.iter().all(|byte| *byte == 0), "a fresh page reads as zeros");
            insert(model, id);
        }
        Operation::AllocBulk(count) => {
            let ids = pager.alloc_bulk(count.into())?;
            assert_eq!(ids.len(), usize::from(count));
            for id in ids {
                assert!(pager.page(id)?.iter().all(|byte| *byte == 0), "a fresh page reads as zeros");
                insert(model, id);
            }
        }
        Operation::Free(pick) => {
            let Some(id) = model.pick_regular(pick) else { return Ok(false) };
            pager.free(page(id))?;
            model.regular.remove(&id);
        }
        Operation::FreeBulk(pick, count) => {
            let ids = model.pick_many_regular(pick, count);
            pager.free_bulk(ids.iter().map(|id| page(*id)).collect::<Vec<_>>())?;
            model.regular.retain(|id, _| !ids.contains(id));
        }
        Operation::AllocProtected => insert_protected(model, pager.alloc_protected()?),
        Operation::AllocProtectedBulk(count) => {
            let ids = pager.alloc_protected_bulk(count.into())?;
            ids.into_iter().for_each(|id| insert_protected(model, id));
        }
        Operation::FreeProtected(pick) => {
            let Some(id) = model.pick_protected(pick) else { return Ok(false) };
            pager.free_protected(protected(id))?;
            model.protected.remove(&id);
        }
        Operation::FreeProtectedBulk(pick, count) => {
            let ids = model.pick_many_protected(pick, count);
            pager.free_protected_bulk(ids.iter().map(|id| protected(*id)).collect::<Vec<_>>())?;
            model.protected.retain(|id, _| !ids.contains(id));
        }
        Operation::WriteProtected(pick, fill) => {
            let Some(id) = model.pick_protected(pick) else { return Ok(false) };
            let mut writer = pager.protected_mut(protected(id))?;
            assert!(
                writer.page().iter().all(|byte| *byte == model.protected[&id]),
                "a writer starts from what is live"
            );
            writer.page_mut().fill(fill);
            writer.commit()?;
            model.protected.insert(id, fill);
        }
        Operation::DropProtected(pick, fill) => {
            let Some(id) = model.pick_protected(pick) else { return Ok(false) };
            pager.protected_mut(protected(id))?.page_mut().fill(fill);
            return Ok(false);
        }
        Operation::Store(pick, fill) => {
            let Some(id) = model.pick_regular(pick) else { return Ok(false) };
            pager.page_mut(page(id))?.fill(fill);
            model.regular.get_mut(&id).expect("it was picked").store(fill);
            return Ok(false);
        }
        Operation::FreeExtent(pick) => {
            let Some(id) = model.pick_extent(pick) else { return Ok(false) };
            pager.free_extent(extent(id))?;
            model.extents.remove(&id);
        }
        Operation::StoreExtent(pick, fill) => {
            let Some(id) = model.pick_extent(pick) else { return Ok(false) };
            let content = pager.extent_mut(extent(id))?;
            let pages = model.extents.get_mut(&id).expect("it was picked");
            assert!(is_extent(content, pages), "an extent shows what was stored to it");
            content.fill(fill);
            pages.iter_mut().for_each(|page| page.store(fill));
            return Ok(false);
        }
        Operation::Sync => {
            pager.sync()?;
            assert_eq!(pager.durable_generation(), pager.generation(), "a sync leaves nothing to wait");
            if model.beneath.is_none() {
                model.settle();
            }
            return Ok(false);
        }
        Operation::Compact(most) => {
            let mut moves = Vec::new();
            pager.compact(most.into(), |_, from, to| {
                moves.push((from.to_u64(), to.to_u64()));
                Ok::<(), Error>(())
            })?;
            for (from, to) in moves {
                let page = model.regular.remove(&from).expect("what moves was there");
                // Written in a transaction it is durable with it.
                let old = model.regular.insert(to, Regular::settled(page.fill));
                assert_eq!(old, None, "page {to} is handed out while it is in use");
            }
        }
        Operation::Shrink => {
            pager.shrink()?;
        }
        Operation::PunchHoles => {
            assert!(pager.punch_holes()?.is_some(), "a simulated disk can");
        }
        Operation::Transaction(ref steps, end) => {
            let before = model.clone();
            let mut transaction = pager.transaction()?;
            run_steps(&mut transaction, model, steps)?;
            match end {
                End::Commit => {
                    transaction.commit()?;
                    let is_durable = pager.durable_generation() == pager.generation();
                    let asked = steps.iter().rfind(|step| matches!(step, Step::Wait | Step::Durable));
                    assert!(is_durable || !matches!(asked, Some(Step::Durable)), "a durable commit waits");
                }
                End::Drop => drop(transaction),
                End::Leak => std::mem::forget(transaction),
            }
            if end != End::Commit {
                *model = before;
                return Ok(false);
            }
        }
        Operation::Reopen | Operation::Drop | Operation::PowerCut(_) => unreachable!("the lab opens and closes pagers"),
    }
    Ok(true)
}

fn run_steps<const P: usize>(tx: &mut Transaction<'_, P>, model: &mut Model, steps: &[Step]) -> Result<()> {
    let before = model.clone();
    let mut savepoints = Vec::new();
    for step in steps {
        match *step {
            Step::Alloc => insert(model, tx.alloc()?),
            Step::AllocNear(near) => insert(model, tx.alloc_near(u64::from(near))?),
            Step::AllocBulk(count) => tx.alloc_bulk(count.into())?.into_iter().for_each(|id| insert(model, id)),
            Step::Free(pick) => {
                let Some(id) = model.pick_regular(pick) else { continue };
                tx.free(page(id))?;
                model.regular.remove(&id);
                assert!(tx.page(page(id)).is_err(), "a freed page is gone");
            }
            Step::AllocProtected => insert_protected(model, tx.alloc_protected()?),
            Step::FreeProtected(pick) => {
                let Some(id) = model.pick_protected(pick) else { continue };
                tx.free_protected(protected(id))?;
                model.protected.remove(&id);
                assert!(tx.protected(protected(id)).is_err(), "a freed page is gone");
            }
            Step::WriteProtected(pick, fill) => {
                let Some(id) = model.pick_protected(pick) else { continue };
                let content = tx.protected_mut(protected(id))?;
                assert!(content.iter().all(|byte| *byte == model.protected[&id]));
                content.fill(fill);
                model.protected.insert(id, fill);
            }
            Step::ZeroProtected(pick) => {
                let Some(id) = model.pick_protected(pick) else { continue };
                assert!(tx.protected_zeroed(protected(id))?.iter().all(|byte| *byte == 0));
                model.protected.insert(id, 0);
            }
            Step::Write(pick, fill) => {
                let Some(id) = model.pick_regular(pick) else { continue };
                let is_older = before.regular.contains_key(&id);
                let content = if is_older { tx.overwrite(page(id))? } else { tx.page_mut(page(id))? };
                assert!(content.iter().all(|byte| *byte == model.regular[&id].fill));
                content.fill(fill);
                // Written in a transaction it is durable with it.
                model.regular.insert(id, Regular::settled(fill));
            }
            Step::AllocExtent(pages) => {
                let id = tx.alloc_extent(pages.max(1).into())?;
                let pages = vec![Regular::fresh(); pages.max(1).into()];
                let old = model.extents.insert(id.to_u64(), pages);
                assert_eq!(old, None, "{id} is handed out while it is in use");
            }
            Step::FreeExtent(pick) => {
                let Some(id) = model.pick_extent(pick) else { continue };
                tx.free_extent(extent(id))?;
                model.extents.remove(&id);
                assert!(tx.extent(extent(id)).is_err(), "a freed extent is gone");
            }
            Step::LengthenExtent(pick, len) => {
                let Some(id) = model.pick_extent(pick) else { continue };
                let pages = model.extents.get_mut(&id).expect("it was picked");
                let is_staged = tx.extent(extent(id)).is_ok() && !before.extents.contains_key(&id);
                if tx.lengthen_extent(extent(id), len.into())? && usize::from(len) > pages.len() {
                    // What is staged grows with zeros that are staged.
                    pages.resize(len.into(), if is_staged { Regular::settled(0) } else { Regular::fresh() });
                }
            }
            Step::ShortenExtent(pick, len) => {
                let Some(id) = model.pick_extent(pick) else { continue };
                tx.shorten_extent(extent(id), len.max(1).into())?;
                model.extents.get_mut(&id).expect("it was picked").truncate(len.max(1).into());
            }
            Step::WriteExtent(pick, fill) => {
                let Some(id) = model.pick_extent(pick) else { continue };
                let is_older = before.extents.contains_key(&id);
                let content = if is_older { tx.overwrite_extent(extent(id))? } else { tx.extent_mut(extent(id))? };
                let pages = model.extents.get_mut(&id).expect("it was picked");
                assert!(is_extent(content, pages), "an extent starts from what it holds");
                content.fill(fill);
                pages.fill(Regular::settled(fill));
            }
            Step::AllocSubPages(count) => alloc_sub_pages(tx, model, count)?,
            Step::FreeSubPages(pick, count) => {
                let ids = model.pick_many_sub_pages(pick, count);
                let Some(table) = &mut model.table else { continue };
                let mut parts = tx.sub_pages(table_id(table))?;
                match ids[..] {
                    [id] => parts.free(sub_page(id))?,
                    _ => parts.free_bulk(ids.iter().map(|id| sub_page(*id)).collect::<Vec<_>>())?,
                }
                table.live.retain(|id, _| !ids.contains(id));
            }
            Step::WriteSubPage(pick, fill) => {
                let Some((_, id)) = model.pick_sub_page(pick) else { continue };
                let Some(table) = &mut model.table else { continue };
                let mut parts = tx.sub_pages(table_id(table))?;
                let content = parts.page_mut(sub_page(id))?;
                assert!(content.iter().all(|byte| *byte == table.live[&id]), "a sub-page starts from what is live");
                content.fill(fill);
                table.live.insert(id, fill);
            }
            Step::FreeTable => {
                let Some(table) = model.table.take() else { continue };
                tx.free_sub_page_table(table_id::<P>(&table))?;
            }
            Step::Header(fill) => {
                tx.set_header(&[fill; 128])?;
                model.header = fill;
            }
            Step::Wait => tx.set_durability(Durability::None),
            Step::Durable => tx.set_durability(Durability::OneBarrier),
            Step::Savepoint => savepoints.push((tx.savepoint(), model.clone())),
            Step::Rollback(pick) => {
                let Some(at) = usize::from(pick).checked_rem(savepoints.len()) else { continue };
                tx.rollback_to(&savepoints[at].0)?;
                *model = savepoints[at].1.clone();
                savepoints.truncate(at + 1);
            }
        }
    }
    for (id, content) in &model.regular {
        assert!(tx.page(page(*id))?.iter().all(|byte| *byte == content.fill), "a transaction sees its own writes");
    }
    for (id, pages) in &model.extents {
        match tx.extent(extent(*id)) {
            Ok(content) => assert!(is_extent(content, pages), "a transaction sees its own writes"),
            Err(Error::Unwritten { .. }) => assert!(pages.iter().any(|page| page.fill == 0)),
            Err(error) => return Err(error),
        }
    }
    Ok(())
}
