//! A pager on a real file, with its model beside it, and what must hold of the file afterwards.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use diptych::{PageId, Pager, PagerOptions, Result, SimImage, SubPageTableId};

use crate::model::{Model, Regular, Table};
use crate::operation::{Operation, SUB_PAGE, apply, restore_extents};
use crate::verify::{compare, verify};

/// A pager on a real file, and what it has to show.
#[derive(Debug)]
pub struct FileLab<const P: usize> {
    options: PagerOptions,
    path: PathBuf,
    /// The pager, unless it failed to open.
    pub pager: Option<Pager<P>>,
    /// What the pager has to show.
    pub model: Model,
}

impl<const P: usize> FileLab<P> {
    /// A new file, made and opened with the options.
    ///
    /// # Errors
    ///
    /// Those of the pager.
    pub fn create(options: PagerOptions, path: &Path) -> Result<Self> {
        let pager = options.create(path)?;
        let model = Model { generation: 1, ..Model::default() };
        Ok(FileLab { options, path: path.to_path_buf(), pager: Some(pager), model })
    }

    /// A file that is there, opened with the options. The model is what it shows.
    ///
    /// # Errors
    ///
    /// Those of the pager.
    pub fn open(options: PagerOptions, path: &Path) -> Result<Self> {
        let pager = options.open(path)?;
        let model = shown(&pager)?;
        Ok(FileLab { options, path: path.to_path_buf(), pager: Some(pager), model })
    }

    /// Runs an operation on the pager and on the model. After an error the model is what it was.
    ///
    /// # Errors
    ///
    /// Those of the pager.
    ///
    /// # Panics
    ///
    /// When no pager is open, the pager shows what the model does not hold, or the operation is a power cut.
    pub fn run(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Reopen => {
                self.pager.take().expect("it is open").close()?;
                let pager = self.pager.insert(self.options.open(&self.path)?);
                self.model.reopen(pager.generation().to_u64());
            }
            Operation::Drop => {
                self.pager = None;
                self.model.crash();
                let pager = self.pager.insert(self.options.open(&self.path)?);
                // As a lab on a simulated disk does, which has lost stores by then.
                for (id, page) in self.model.regular.iter().filter(|(_, page)| !page.settled) {
                    let id = PageId::from_u64(*id).expect("the model holds ids");
                    pager.page_mut(id)?.fill(page.fill);
                }
                restore_extents(pager, &self.model)?;
                pager.sync()?;
                self.model.settle();
            }
            operation => apply(self.pager.as_mut().expect("it is open"), &mut self.model, operation)?,
        }
        Ok(())
    }
}

/// What a pager shows, as a model: each page is full of one byte.
///
/// # Errors
///
/// Those of the pager.
pub fn shown<const P: usize>(pager: &Pager<P>) -> Result<Model> {
    let mut model = Model { generation: pager.generation().to_u64(), header: pager.header()[0], ..Model::default() };
    for id in pager.iter_allocated_pages() {
        model.regular.insert(id.to_u64(), Regular::settled(pager.page(id)?[0]));
    }
    for id in pager.iter_allocated_protected_pages() {
        model.protected.insert(id.to_u64(), pager.protected(id)?[0]);
    }
    for id in pager.iter_allocated_extents() {
        let pages = pager.extent(id)?.chunks(P).map(|page| Regular::settled(page[0]));
        model.extents.insert(id.to_u64(), pages.collect());
    }
    model.table = table(pager)?;
    Ok(model)
}

/// The table of sub-pages, should there be one: its root is in the directory, which has no more entries than there are pages.
fn table<const P: usize>(pager: &Pager<P>) -> Result<Option<Table>> {
    let roots = (1..=pager.page_count()).filter_map(SubPageTableId::<P, SUB_PAGE>::from_u64);
    let Some((id, view)) = roots.filter_map(|id| Some((id, pager.sub_pages(id).ok()?))).next() else { return Ok(None) };
    let mut table = Table { id: id.to_u64(), live: BTreeMap::new() };
    for id in view.iter_allocated() {
        let id = id?;
        table.live.insert(id.to_u64(), view.page(id)?[0]);
    }
    Ok(Some(table))
}

/// Verifies a copy of the file's bytes as any other image, then opens the file itself. Returns the model of the two that the
/// file is in, with all stores put right and durable, and whether recovery had work to do.
///
/// # Panics
///
/// With what does not hold.
pub fn verify_file<const P: usize>(path: &Path, before: &Model, after: &Model) -> (Model, bool) {
    let bytes = fs::read(path).expect("the file can be read");
    let recovered = verify::<P>(SimImage::from(bytes), before, after, 0);
    let open = || PagerOptions::new().open::<P>(path).unwrap_or_else(|error| panic!("the file does not open: {error}"));
    let pager = open();
    assert_eq!(pager.recovery().is_clean(), !recovered, "the file and a copy of its bytes are one to recovery");
    let generation = pager.generation().to_u64();
    let model = if generation == after.durable().generation { after } else { before }.durable();
    assert_eq!(pager.check(), [], "a check finds nothing");
    drop(pager);
    let settled = fs::read(path).expect("the file can be read");
    let mut pager = open();
    assert!(pager.recovery().is_clean(), "{:?}", pager.recovery());
    assert!(fs::read(path).expect("the file can be read") == settled, "opening again changes bytes");
    // Stores that no barrier covered may be there or not, in any part: `verify` has looked at the others.
    let mut model = model.clone();
    for (id, page) in &model.regular {
        let id = PageId::from_u64(*id).expect("the model holds ids");
        pager.page_mut(id).expect("it is allocated").fill(page.fill);
    }
    restore_extents(&mut pager, &model).expect("they are allocated");
    pager.sync().expect("nothing fails");
    model.settle();
    compare(&pager, &model, &|_, page| Some(vec![page.fill]), 0);
    (model, recovered)
}
