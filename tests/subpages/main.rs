//! The promises of the sub-page tier.

mod allocators;
mod bad_ids;
mod changes;
mod full_places;
mod recovery;
mod sizes;
mod table;
mod table_bad;
mod table_twin;
mod twin;

use diptych::{Error, Pager, PagerOptions, Result, SimDisk, SubPageId};

pub(crate) fn pager<const P: usize>() -> Pager<P> {
    PagerOptions::new().create_on(&SimDisk::new()).expect("the disk is empty")
}

/// Any number but 0, as it might stand in a file.
pub(crate) fn id<const P: usize, const S: usize>(raw: u64) -> SubPageId<P, S> {
    SubPageId::from_u64(raw).expect("not zero")
}

/// What a call failed with.
pub(crate) fn failure<T>(result: Result<T>) -> Error {
    match result {
        Ok(_) => panic!("the call succeeded"),
        Err(error) => error,
    }
}

pub(crate) fn assert_whole<const P: usize>(pager: &Pager<P>, pages: u64) {
    assert_eq!(pager.check(), []);
    assert_eq!(pager.allocated_page_count(), pages);
}
