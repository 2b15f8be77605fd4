//! `sanakirja`: a table from ids to pages of the file, which it allocates itself and replaces by new ones.
//!
//! Values of its trees are short, and its long ones (`Slice`) cannot have the length of one page: allocating a run of one
//! page fails an assertion of the library. So the content lies on pages from its allocator, and the tree has their offsets.

#![expect(unsafe_code, reason = "sanakirja leaves it to the caller that offsets name pages that are in use")]

use sanakirja::btree::{self, Db};
use sanakirja::{AllocPage, Commit, Env, LoadPage, MutTxn, RootDb};

use crate::outcome::{Failure, Outcome};
use crate::page::{Change, PAGE_LEN, Page, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Place, Reading, missing};

pub(super) const KIND: Kind = Kind {
    name: "sanakirja",
    package: "sanakirja",
    durability: "two versions; a commit syncs all maps of the file, then its first pages",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Sanakirja::open(place)?)?)),
};

type Table = Db<u64, u64>;

/// Where the root page of a version names the table.
const TABLE: usize = 0;

const VERSIONS: usize = 2;

struct Sanakirja {
    env: Env,
}

impl Sanakirja {
    fn open(place: &Place) -> Outcome<Self> {
        let env = Env::new(place.file(), 1 << 20, VERSIONS)?;
        let mut tx = Env::mut_txn_begin(&env)?;
        if tx.root_db::<u64, u64, btree::page::Page<u64, u64>>(TABLE).is_none() {
            // SAFETY: it asks for nothing but a transaction that can allocate.
            let table: Table = unsafe { btree::create_db(&mut tx) }?;
            tx.set_root(TABLE, table.db.into());
        }
        tx.commit()?;
        Ok(Sanakirja { env })
    }
}

fn no_table() -> Failure {
    "the file has no table of pages".into()
}

fn new_page(tx: &mut MutTxn<&Env, ()>, content: &Page) -> Outcome<u64> {
    // SAFETY: what it returns is recorded as allocated by this transaction and reaches the table or nobody.
    let page = unsafe { tx.alloc_page_no_dirty() }?;
    // SAFETY: `data` points at the 4096 bytes of a page in a map of the environment, which outlives the transaction; they
    // were free before, so nothing reads them, and nothing else writes while this transaction holds the lock of writers.
    unsafe { page.0.data.copy_from_nonoverlapping(content.as_ptr(), PAGE_LEN) };
    Ok(page.0.offset)
}

/// Takes an id out of the table and gives its page back.
fn remove(tx: &mut MutTxn<&Env, ()>, table: &mut Table, id: u64) -> Outcome<()> {
    let old = btree::get(tx, table, &id, None)?.filter(|(found, _)| **found == id).map(|(_, offset)| *offset);
    if let Some(offset) = old {
        btree::del(tx, table, &id, None)?;
        // SAFETY: the page was allocated by an earlier transaction, and the one entry that named it is gone.
        unsafe { tx.decr_rc(offset) }?;
    }
    Ok(())
}

impl KeyedPages for Sanakirja {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        let mut tx = Env::mut_txn_begin(&self.env)?;
        let mut table: Table = tx.root_db(TABLE).ok_or_else(no_table)?;
        for change in changes {
            remove(&mut tx, &mut table, change.id)?;
            let offset = new_page(&mut tx, &change.page)?;
            btree::put(&mut tx, &mut table, &change.id, &offset)?;
        }
        for id in removed {
            remove(&mut tx, &mut table, *id)?;
        }
        tx.set_root(TABLE, table.db.into());
        Ok(tx.commit()?)
    }

    /// One transaction for all of the sequence.
    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        Ok(Box::new(move || {
            let tx = Env::txn_begin(&self.env)?;
            let table: Table = tx.root_db(TABLE).ok_or_else(no_table)?;
            let mut sum = 0u64;
            for id in &ids {
                let found = btree::get(&tx, &table, id, None)?.filter(|(found, _)| *found == id);
                let (_, offset) = found.ok_or_else(|| missing(*id))?;
                // SAFETY: the table of this version names the page, so it stays in use while the transaction holds it.
                let page = unsafe { tx.load_page(*offset) }?;
                sum = sum.wrapping_add(first_word(page.as_page().data));
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        let tx = Env::txn_begin(&self.env)?;
        let table: Table = tx.root_db(TABLE).ok_or_else(no_table)?;
        let mut count = 0;
        for entry in btree::iter(&tx, &table, None)? {
            entry?;
            count += 1;
        }
        Ok(count)
    }
}
