//! What all measurements share: where files lie, which stores take part, how often everything is done.

use std::path::PathBuf;

use tempfile::TempDir;

use crate::measure::Effort;
use crate::outcome::Outcome;
use crate::random::Random;
use crate::stores::{Kind, Place, Store, Work, check_content};

pub(crate) struct Bench {
    pub(crate) dir: PathBuf,
    pub(crate) rounds: usize,
    pub(crate) seed: u64,
    pub(crate) kinds: Vec<&'static Kind>,
}

/// A store that is filled.
pub(crate) struct Filled {
    pub(crate) kind: &'static Kind,
    /// Its file, if it keeps all in one.
    pub(crate) file: PathBuf,
    pub(crate) store: Box<dyn Store>,
    pub(crate) ids: Vec<u64>,
}

impl Bench {
    /// A folder that is removed when it is dropped.
    pub(crate) fn folder(&self) -> Outcome<TempDir> {
        Ok(tempfile::Builder::new().prefix("peers-").tempdir_in(&self.dir)?)
    }

    pub(crate) fn effort(&self, calls: usize) -> Effort {
        Effort { rounds: self.rounds, calls }
    }

    pub(crate) fn random(&self) -> Random {
        Random::new(self.seed)
    }

    pub(crate) fn has(&self, name: &str) -> bool {
        self.kinds.iter().any(|kind| kind.name == name)
    }

    /// All stores that take part, with so many pages each. Those that cannot be filled leave a reason.
    pub(crate) fn filled(&self, folder: &TempDir, pages: u64) -> Outcome<(Vec<Filled>, Vec<String>)> {
        let (mut filled, mut reasons) = (Vec::new(), Vec::new());
        for kind in &self.kinds {
            let place = Place::new(folder.path().join(kind.name), pages)?;
            match Filled::new(kind, &place, pages) {
                Ok(store) => filled.push(store),
                Err(error) => reasons.push(format!("{}: {error}", kind.name)),
            }
        }
        Ok((filled, reasons))
    }
}

impl Filled {
    pub(crate) fn new(kind: &'static Kind, place: &Place, pages: u64) -> Outcome<Self> {
        let mut store = (kind.open)(place)?;
        let ids = store.fill(pages)?;
        check_content(store.as_ref(), &ids, 0)?;
        Ok(Filled { kind, file: place.file(), store, ids })
    }
}

/// Those that can do some work, and why the others cannot.
pub(crate) fn able(stores: &mut [Filled], work: Work) -> (Vec<&mut Filled>, Vec<String>) {
    let (mut able, mut reasons) = (Vec::new(), Vec::new());
    for filled in stores {
        match filled.store.cannot(work) {
            None => able.push(filled),
            Some(reason) => reasons.push(format!("{}: {reason}", filled.kind.name)),
        }
    }
    (able, reasons)
}
