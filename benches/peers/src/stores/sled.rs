//! `sled`, whose flush does not wait for the disk's own cache.

use sled::{Batch, Config, Db};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Reading, missing};

pub(super) const KIND: Kind = Kind {
    name: "sled",
    package: "sled",
    durability: "**not durable**: a flush is `sync_file_range`, which a power cut may undo; no flushes in the background",
    crash_safe: false,
    open: |place| {
        let config = Config::new().path(place.folder()).cache_capacity(place.cache_bytes()).flush_every_ms(None);
        Ok(Box::new(Keyed::new(Sled { database: config.open()? })?))
    },
};

struct Sled {
    database: Db,
}

impl KeyedPages for Sled {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        let mut batch = Batch::default();
        for change in changes {
            batch.insert(&change.id.to_be_bytes(), change.page.as_slice());
        }
        for id in removed {
            batch.remove(&id.to_be_bytes());
        }
        self.database.apply_batch(batch)?;
        self.database.flush()?;
        Ok(())
    }

    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        Ok(Box::new(move || {
            let mut sum = 0u64;
            for id in &ids {
                let page = self.database.get(id.to_be_bytes())?.ok_or_else(|| missing(*id))?;
                sum = sum.wrapping_add(first_word(&page));
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.database.len() as u64)
    }
}
