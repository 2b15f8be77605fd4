//! The promises of the pager tier, a file each, on real files and on the simulated disk.

mod alloc_free;
mod calls;
mod compaction;
mod extents;
mod iteration;
mod open_create;
mod places;
mod protected_pages;
mod punching;
mod regular_pages;
mod threads;
mod traits;
mod transactions;
mod waiting;
