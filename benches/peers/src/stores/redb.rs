//! `redb`, with one phase a commit, which is its default, and with two.

use redb::{Builder, Database, ReadableDatabase, ReadableTableMetadata, TableDefinition};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Place, Reading, missing};

pub(super) const ONE_PHASE: Kind = Kind {
    name: "redb",
    package: "redb",
    durability: "`Durability::Immediate`, one phase: both are the defaults",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Redb::open(place, false)?)?)),
};

pub(super) const TWO_PHASES: Kind = Kind {
    name: "redb-two-phases",
    package: "redb",
    durability: "`Durability::Immediate`, two phases",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Redb::open(place, true)?)?)),
};

const PAGES: TableDefinition<'_, u64, &[u8]> = TableDefinition::new("pages");

struct Redb {
    database: Database,
    two_phases: bool,
}

impl Redb {
    fn open(place: &Place, two_phases: bool) -> Outcome<Self> {
        let database = Builder::new().set_cache_size(usize::try_from(place.cache_bytes())?).create(place.file())?;
        let mut redb = Redb { database, two_phases };
        // Makes the table.
        redb.apply(&[], &[])?;
        Ok(redb)
    }
}

impl KeyedPages for Redb {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        let mut tx = self.database.begin_write()?;
        tx.set_two_phase_commit(self.two_phases);
        {
            let mut table = tx.open_table(PAGES)?;
            for change in changes {
                table.insert(change.id, change.page.as_slice())?;
            }
            for id in removed {
                table.remove(id)?;
            }
        }
        Ok(tx.commit()?)
    }

    /// One transaction for all of the sequence.
    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        Ok(Box::new(move || {
            let table = self.database.begin_read()?.open_table(PAGES)?;
            let mut sum = 0u64;
            for id in &ids {
                let page = table.get(id)?.ok_or_else(|| missing(*id))?;
                sum = sum.wrapping_add(first_word(page.value()));
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.database.begin_read()?.open_table(PAGES)?.len()?)
    }
}
