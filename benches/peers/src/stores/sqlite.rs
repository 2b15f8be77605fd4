//! SQLite through `rusqlite`: a table of blobs.

use std::path::{Path, PathBuf};
use std::sync::{Mutex, MutexGuard, PoisonError};

use rusqlite::{CachedStatement, Connection};

use crate::outcome::Outcome;
use crate::page::{Change, first_word};

use super::keyed::{Keyed, KeyedPages};
use super::{Kind, Place, Reading, missing};

pub(super) const KIND: Kind = Kind {
    name: "sqlite",
    package: "libsqlite3-sys",
    durability: "`journal_mode=WAL`, `synchronous=FULL`: a commit syncs the log",
    crash_safe: true,
    open: |place| Ok(Box::new(Keyed::new(Sqlite::open(place)?)?)),
};

/// Threads cannot share a connection, so a sequence of reads has one of its own.
struct Sqlite {
    writer: Mutex<Connection>,
    path: PathBuf,
    cache_bytes: u64,
}

fn connect(path: &Path, cache_bytes: u64) -> Outcome<Connection> {
    let connection = Connection::open(path)?;
    connection.pragma_update(None, "journal_mode", "WAL")?;
    connection.pragma_update(None, "synchronous", "FULL")?;
    // A negative number is one of KiB.
    connection.pragma_update(None, "cache_size", -i64::try_from(cache_bytes >> 10)?)?;
    Ok(connection)
}

impl Sqlite {
    fn open(place: &Place) -> Outcome<Self> {
        let (path, cache_bytes) = (place.file(), place.cache_bytes());
        let writer = connect(&path, cache_bytes)?;
        writer.execute_batch("CREATE TABLE IF NOT EXISTS pages (id INTEGER PRIMARY KEY, content BLOB NOT NULL)")?;
        Ok(Sqlite { writer: Mutex::new(writer), path, cache_bytes })
    }

    fn writer(&self) -> MutexGuard<'_, Connection> {
        self.writer.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

fn read_one(statement: &mut CachedStatement<'_>, id: u64) -> Outcome<u64> {
    let mut rows = statement.query([i64::try_from(id)?])?;
    let row = rows.next()?.ok_or_else(|| missing(id))?;
    Ok(first_word(row.get_ref(0)?.as_blob()?))
}

impl KeyedPages for Sqlite {
    fn apply(&mut self, changes: &[Change], removed: &[u64]) -> Outcome<()> {
        let mut writer = self.writer();
        let tx = writer.transaction()?;
        {
            let mut put = tx.prepare_cached("INSERT OR REPLACE INTO pages (id, content) VALUES (?1, ?2)")?;
            for change in changes {
                put.execute((i64::try_from(change.id)?, change.page.as_slice()))?;
            }
            let mut delete = tx.prepare_cached("DELETE FROM pages WHERE id = ?1")?;
            for id in removed {
                delete.execute([i64::try_from(*id)?])?;
            }
        }
        Ok(tx.commit()?)
    }

    /// One transaction for all of the sequence.
    fn reading(&self, ids: Vec<u64>) -> Outcome<Reading<'_>> {
        let connection = connect(&self.path, self.cache_bytes)?;
        Ok(Box::new(move || {
            let tx = connection.unchecked_transaction()?;
            let mut statement = tx.prepare_cached("SELECT content FROM pages WHERE id = ?1")?;
            let mut sum = 0u64;
            for id in &ids {
                sum = sum.wrapping_add(read_one(&mut statement, *id)?);
            }
            Ok(sum)
        }))
    }

    fn page_count(&self) -> Outcome<u64> {
        let count: i64 = self.writer().query_row("SELECT count(*) FROM pages", [], |row| row.get(0))?;
        Ok(u64::try_from(count)?)
    }
}
