//! `fjall`: a log, and trees that are merged behind it.

use fjall::config::CompressionPolicy;
use fjall::{CompressionType, Database, Keyspace, KeyspaceCreateOptions, PersistMode};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Place, Reading, missing};

pub(super) const KIND: Kind = Kind {
    name: "fjall",
    package: "fjall",
    durability: "batches with `PersistMode::SyncData` (`fdatasync` of the log), without compression",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Fjall::open(place)?)?)),
};

struct Fjall {
    database: Database,
    pages: Keyspace,
}

impl Fjall {
    fn open(place: &Place) -> Outcome<Self> {
        let database = Database::builder(place.folder())
            .cache_size(place.cache_bytes())
            .journal_compression(CompressionType::None)
            .open()?;
        let options = || KeyspaceCreateOptions::default().data_block_compression_policy(CompressionPolicy::disabled());
        let pages = database.keyspace("pages", options)?;
        Ok(Fjall { database, pages })
    }
}

impl KeyedPages for Fjall {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        let mut batch = self.database.batch().durability(Some(PersistMode::SyncData));
        for change in changes {
            batch.insert(&self.pages, change.id.to_be_bytes(), change.page.as_slice());
        }
        for id in removed {
            batch.remove(&self.pages, id.to_be_bytes());
        }
        Ok(batch.commit()?)
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                let page = self.pages.get(id.to_be_bytes())?.ok_or_else(|| missing(*id))?;
                sum = sum.wrapping_add(first_word(&page));
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.pages.len()? as u64)
    }
}
