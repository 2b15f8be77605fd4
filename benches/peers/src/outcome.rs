//! What can go wrong: the stores have errors of their own each, and here they are only shown.

use std::error::Error;

pub(crate) type Failure = Box<dyn Error + Send + Sync>;

pub(crate) type Outcome<T> = Result<T, Failure>;

/// Fails with what `says` makes, unless it holds. What was measured is checked with it, so that nobody is measured doing
/// nothing.
pub(crate) fn ensure(holds: bool, says: impl FnOnce() -> String) -> Outcome<()> {
    if holds { Ok(()) } else { Err(says().into()) }
}
