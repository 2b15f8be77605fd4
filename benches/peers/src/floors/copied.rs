//! Copying whole pages out of a map: what a store pays at least that hands out content of its own.

use std::hint::black_box;

use crate::outcome::Outcome;
use crate::page::{PAGE_LEN, first_word};
use crate::stores::Reading;

use super::mapped::{Mapped, starts};

/// Copies each page, and reads eight bytes of the copy.
pub(crate) fn reading<'m>(mapped: &'m Mapped, ids: &[u64]) -> Outcome<Reading<'m>> {
    let starts = starts(ids)?;
    let mut copy = Box::new([0; PAGE_LEN]);
    Ok(Box::new(move || {
        let mut sum = 0u64;
        for start in &starts {
            copy.copy_from_slice(&mapped.bytes()[*start..*start + PAGE_LEN]);
            sum = sum.wrapping_add(first_word(black_box(copy.as_slice())));
        }
        Ok(sum)
    }))
}
