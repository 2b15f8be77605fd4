//! What is measured: one file a subcommand.

pub(crate) mod access;
pub(crate) mod alloc;
pub(crate) mod bars;
pub(crate) mod calls;
pub(crate) mod durable;
pub(crate) mod extents;
pub(crate) mod iterate;
pub(crate) mod memory;
pub(crate) mod open;
pub(crate) mod shared;
pub(crate) mod sparse;
pub(crate) mod subpages;
