//! A whole file, edited where it hurts, with its checksums mended.

use std::cell::RefCell;
use std::collections::HashMap;

use arbitrary::Arbitrary;
use crashlab::lab::{Lab, Start};
use crashlab::operation::Operation;
use diptych::{PagerOptions, SimDisk, SimImage};

use crate::checksums::{Mending, mend};
use crate::edits::{Edit, Edited};
use crate::hostile::hostile;
use crate::page_sizes::PageSize;
use crate::with_page_size;

/// The most operations and edits that are carried out.
const MOST: usize = 12;

/// What a case of `open_mutated` is made from.
#[derive(Clone, Debug, Arbitrary)]
pub struct Mutated {
    page_size: PageSize,
    start: Start,
    mending: Mending,
    edits: Vec<Edit>,
    /// What the file goes through before it is edited.
    before: Vec<Operation>,
    /// What is done with it if it opens.
    after: Vec<Operation>,
}

impl Mutated {
    /// Runs the case.
    ///
    /// # Panics
    ///
    /// With what does not hold.
    pub fn run(&self) {
        with_page_size!(self.page_size, run(self));
    }
}

fn run<const P: usize>(case: &Mutated) {
    let (newest, older) = edited_from::<P>(case.start, &case.before);
    let mut edited = Edited { bytes: newest.to_vec(), ..Edited::default() };
    let older = older.to_vec();
    for edit in case.edits.iter().take(MOST) {
        edited.apply(edit, &older, P);
    }
    mend(&mut edited.bytes, P, case.mending);
    let mut image = SimImage::from(edited.bytes);
    for sector in edited.unreadable {
        if image.len() >= (sector + 1) * 512 {
            image.set_unreadable(sector, sector);
        }
    }
    hostile::<P>(&image, case.after.get(..MOST).unwrap_or(&case.after));
}

thread_local! {
    /// The files to start from, which take long to make, by page size and place in [`Start::ALL`].
    static STARTS: RefCell<HashMap<(usize, usize), SimImage>> = RefCell::default();
}

/// A file after these operations, and before the last of them.
fn edited_from<const P: usize>(start: Start, operations: &[Operation]) -> (SimImage, SimImage) {
    let place = Start::ALL.iter().position(|known| *known == start).expect("all are listed");
    let image = STARTS.with_borrow_mut(|starts| {
        starts.entry((P, place)).or_insert_with(|| Lab::<P>::start(start).disk.cached_image()).clone()
    });
    let disk = SimDisk::from_image(image);
    disk.record(false);
    let mut pager = PagerOptions::new().open_on::<P>(&disk).expect("a file to start from opens");
    let model = crate::hostile::take_over(&mut pager).expect("a file to start from has no limit");
    let mut older = disk.cached_image();
    let mut lab = Lab::around(disk, pager, model);
    for operation in operations.iter().take(MOST) {
        older = lab.disk.cached_image();
        lab.run(operation).expect("nothing fails");
    }
    lab.pager = None;
    (lab.disk.cached_image(), older)
}
