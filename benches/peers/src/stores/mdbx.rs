//! libmdbx, built only with the feature `mdbx`.

use std::borrow::Cow;

use libmdbx::{Database, DatabaseOptions, Mode, NoWriteMap, ReadWriteOptions, SyncMode, TableFlags, WriteFlags};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Place, Reading, missing};

pub(super) const KIND: Kind = Kind {
    name: "mdbx",
    package: "libmdbx",
    durability: "`SyncMode::Durable`, without a writable map",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Mdbx::open(place)?)?)),
};

struct Mdbx {
    database: Database<NoWriteMap>,
}

impl Mdbx {
    fn open(place: &Place) -> Outcome<Self> {
        let file = ReadWriteOptions {
            sync_mode: SyncMode::Durable,
            max_size: Some(isize::try_from(place.max_bytes())?),
            ..ReadWriteOptions::default()
        };
        let options = DatabaseOptions { mode: Mode::ReadWrite(file), ..DatabaseOptions::default() };
        let database = Database::open_with_options(place.folder(), options)?;
        let tx = database.begin_rw_txn()?;
        tx.create_table(None, TableFlags::default())?;
        tx.commit()?;
        Ok(Mdbx { database })
    }
}

impl KeyedPages for Mdbx {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        let tx = self.database.begin_rw_txn()?;
        let table = tx.open_table(None)?;
        for change in changes {
            tx.put(&table, change.id.to_be_bytes(), change.page.as_slice(), WriteFlags::UPSERT)?;
        }
        for id in removed {
            tx.del(&table, id.to_be_bytes(), None)?;
        }
        tx.commit()?;
        Ok(())
    }

    /// One transaction for all of the sequence, and values that are not copied.
    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        Ok(Box::new(move || {
            let tx = self.database.begin_ro_txn()?;
            let table = tx.open_table(None)?;
            let mut sum = 0u64;
            for id in &ids {
                let page: Cow<'_, [u8]> = tx.get(&table, id.to_be_bytes())?.ok_or_else(|| missing(*id))?;
                sum = sum.wrapping_add(first_word(&page));
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        let tx = self.database.begin_ro_txn()?;
        let table = tx.open_table(None)?;
        Ok(tx.table_stat(&table)?.entries() as u64)
    }
}
