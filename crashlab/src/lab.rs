//! A pager on a simulated disk, with its model beside it.

use diptych::{Pager, PagerOptions, Result, SimDisk};

use crate::model::Model;
use crate::operation::{Operation, apply, restore_extents};
use crate::verify::{compare, is_filled};

/// A pager on a simulated disk, and what it has to show.
#[derive(Debug)]
pub struct Lab<const P: usize> {
    options: PagerOptions,
    /// The disk.
    pub disk: SimDisk,
    /// The pager, unless it failed to open.
    pub pager: Option<Pager<P>>,
    /// What the pager has to show.
    pub model: Model,
}

impl<const P: usize> Lab<P> {
    /// A new file.
    #[must_use]
    pub fn new() -> Self {
        Lab::with_options(PagerOptions::new())
    }

    /// A new file, made and opened with the given options.
    ///
    /// # Panics
    ///
    /// When the options do not allow even an empty file.
    #[must_use]
    pub fn with_options(options: PagerOptions) -> Self {
        let disk = SimDisk::new();
        let pager = options.create_on(&disk).expect("nothing fails");
        Lab { options, disk, pager: Some(pager), model: Model { generation: 1, ..Model::default() } }
    }

    /// A file that is open already, and what it holds.
    pub fn around(disk: SimDisk, pager: Pager<P>, model: Model) -> Self {
        Lab { options: PagerOptions::new(), disk, pager: Some(pager), model }
    }

    /// The same, opened with the given options from now on.
    #[must_use]
    pub fn reopened_with(self, options: PagerOptions) -> Self {
        Lab { options, ..self }
    }

    /// A file to start from: fresh, half full, full, or just grown.
    ///
    /// # Panics
    ///
    /// When the pager shows what the model does not hold.
    #[must_use]
    pub fn start(state: Start) -> Self {
        Lab::start_with(PagerOptions::new(), state)
    }

    /// The same, made and opened with the given options.
    ///
    /// # Panics
    ///
    /// When the pager shows what the model does not hold, or the options do not allow the start.
    #[must_use]
    pub fn start_with(options: PagerOptions, state: Start) -> Self {
        let mut lab = Lab::with_options(options);
        lab.disk.record(false);
        let free = |lab: &Lab<P>| lab.pager.as_ref().expect("it is open").free_page_count();
        match state {
            Start::Fresh => {}
            Start::HalfFull => {
                let steps = [
                    Operation::AllocProtectedBulk(3),
                    Operation::AllocBulk(4),
                    Operation::WriteProtected(1, 0x21),
                    Operation::Store(2, 0x31),
                    Operation::Store(1, 0x32),
                    Operation::Sync,
                    Operation::Free(1),
                    Operation::Sync,
                ];
                steps.iter().for_each(|operation| lab.run(operation).expect("nothing fails"));
            }
            Start::Full => {
                lab.run(&Operation::AllocProtectedBulk(2)).expect("nothing fails");
                while free(&lab) > 0 {
                    let count = u8::try_from(free(&lab).min(200)).expect("at most 200");
                    lab.run(&Operation::AllocBulk(count)).expect("nothing fails");
                }
                lab.run(&Operation::Sync).expect("nothing fails");
            }
            Start::JustGrown => {
                let count = u8::try_from(free(&lab).min(200) + 1).expect("at most 201");
                lab.run(&Operation::AllocProtectedBulk(2)).expect("nothing fails");
                lab.run(&Operation::AllocBulk(count)).expect("nothing fails");
                lab.run(&Operation::FreeBulk(0, count)).expect("nothing fails");
                lab.run(&Operation::AllocBulk(3)).expect("nothing fails");
            }
        }
        if lab.model.beneath.is_some() {
            lab.run(&Operation::Sync).expect("nothing fails");
        }
        lab.disk.record(true);
        lab
    }

    /// Runs an operation on the pager and on the model. After an error the model is what it was.
    ///
    /// # Errors
    ///
    /// Those of the pager.
    ///
    /// # Panics
    ///
    /// When no pager is open, or it shows what the model does not hold.
    pub fn run(&mut self, operation: &Operation) -> Result<()> {
        match operation {
            Operation::Reopen => {
                self.pager.take().expect("it is open").close()?;
                let pager = self.pager.insert(self.options.open_on(&self.disk)?);
                self.model.reopen(pager.generation().to_u64());
            }
            Operation::Drop => {
                self.pager = None;
                self.model.crash();
                self.pager = Some(self.options.open_on(&self.disk)?);
                // Stores that no call has seen are in no image of the simulated disk; a page that a call has seen is in it whole.
                let pager = self.pager.as_mut().expect("it is open");
                for (id, page) in self.model.regular.iter_mut().filter(|(_, page)| !page.settled) {
                    let id = diptych::PageId::from_u64(*id).expect("the model holds ids");
                    let content = pager.page_mut(id)?;
                    let found = is_filled(&content[..], content[0]).then_some(content[0]);
                    match (page.may_hold(), found) {
                        (None, None) => content.fill(page.fill),
                        (None, Some(found)) => page.fill = found,
                        (Some(fills), found) => {
                            let known = found.filter(|found| fills.contains(found));
                            page.fill = known.unwrap_or_else(|| panic!("{id} holds none of {fills:x?} after a kill"));
                        }
                    }
                }
                restore_extents(pager, &self.model)?;
                pager.sync()?;
                self.model.settle();
            }
            Operation::PowerCut(seed) => {
                self.pager = None;
                self.model.crash();
                let image = self.disk.crash_now(|sector| sector.wrapping_mul(u64::from(*seed) | 1) & 4 == 0);
                self.disk = SimDisk::from_image(image);
                self.disk.record(false);
                let pager = self.pager.insert(self.options.open_on(&self.disk)?);
                // What was not settled may be anything, a mixture too, so it is stored again, durably.
                for (id, page) in self.model.regular.iter().filter(|(_, page)| !page.settled) {
                    let id = diptych::PageId::from_u64(*id).expect("the model holds ids");
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

    /// Compares everything that the pager shows with the model.
    ///
    /// # Panics
    ///
    /// When no pager is open, or they differ.
    pub fn compare(&self) {
        let pager = self.pager.as_ref().expect("it is open");
        assert_eq!(pager.generation().to_u64(), self.model.generation);
        compare(pager, &self.model, &|_, page| Some(vec![page.fill]), 0);
    }
}

/// What a file looks like before the operation that is crashed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[cfg_attr(feature = "arbitrary", derive(arbitrary::Arbitrary))]
pub enum Start {
    /// Nothing was done yet.
    Fresh,
    /// Some pages of each kind, some of them written, one freed.
    HalfFull,
    /// No page is free.
    Full,
    /// The file grew in its last commits.
    JustGrown,
}

impl Start {
    /// All of them.
    pub const ALL: [Start; 4] = [Start::Fresh, Start::HalfFull, Start::Full, Start::JustGrown];
}

impl<const P: usize> Default for Lab<P> {
    fn default() -> Self {
        Lab::new()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verify::caught;

    #[test]
    fn a_page_that_holds_after_a_kill_what_nobody_stored_to_it_is_flagged() {
        for (found, is_known) in [(0x91, true), (0x99, false)] {
            let mut lab = Lab::<4096>::start(Start::HalfFull);
            lab.run(&Operation::Store(0, 0x91)).expect("nothing fails");
            let id = diptych::PageId::from_u64(lab.model.pick_regular(0).expect("it is half full")).expect("an id");
            let pager = lab.pager.as_mut().expect("it is open");
            pager.page_mut(id).expect("it is allocated").fill(found);
            pager.sync().expect("nothing fails");
            assert_eq!(caught(|| lab.run(&Operation::Drop).expect("nothing fails")).is_ok(), is_known);
        }
    }
}
