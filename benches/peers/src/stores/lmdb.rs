//! LMDB through `heed`.

use heed::byteorder::BigEndian;
use heed::types::{Bytes, U64};
use heed::{CommitOrAbort, Database, Env, EnvOpenOptions};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Place, Reading, missing};

pub(super) const KIND: Kind = Kind {
    name: "lmdb",
    package: "heed",
    durability: "defaults: a commit syncs the file and then its meta page",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Lmdb { env: open_env(place)? })?)),
};

type Pages<'e> = Database<'e, U64<BigEndian>, Bytes>;

/// The unnamed database, whose handle borrows the environment: it is asked for again each time, which reads no page.
struct Lmdb {
    env: Env,
}

impl Lmdb {
    fn pages(&self) -> Outcome<Pages<'_>> {
        let opened = self.env.open_databases_and_commit(self.env.read_txn()?, |opener, tx| -> heed::Result<_> {
            Ok(CommitOrAbort::<_, ()>::Commit(opener.open_database(tx, None)?))
        })?;
        Ok(opened.commit().flatten().ok_or("there is no database in the environment")?)
    }
}

#[expect(unsafe_code, reason = "heed cannot know what else happens to the file")]
fn open_env(place: &Place) -> Outcome<Env> {
    let mut options = EnvOpenOptions::new();
    options.map_size(usize::try_from(place.max_bytes())?);
    // SAFETY: the file lies in a folder of this process that is named at random. Nothing else opens it, no flag weakens the
    // locks, and it is not removed before the environment is closed.
    Ok(unsafe { options.open(place.folder()) }?)
}

impl KeyedPages for Lmdb {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        self.env.create_databases_and_commit(self.env.write_txn()?, |opener, tx| -> heed::Result<_> {
            let pages: Pages<'_> = opener.create_database(tx, None)?;
            for change in changes {
                pages.put(tx, &change.id, change.page.as_slice())?;
            }
            for id in removed {
                pages.delete(tx, id)?;
            }
            Ok(CommitOrAbort::<_, ()>::Commit(pages))
        })?;
        Ok(())
    }

    /// One transaction for all of the sequence.
    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let pages = self.pages()?;
        Ok(Box::new(move || {
            let tx = self.env.read_txn()?;
            let mut sum = 0u64;
            for id in &ids {
                let page = pages.get(&tx, id)?.ok_or_else(|| missing(*id))?;
                sum = sum.wrapping_add(first_word(page));
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        Ok(self.pages()?.len(&*self.env.read_txn()?)?)
    }
}
