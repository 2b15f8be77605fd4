//! What the fuzz targets of diptych are made of.
//!
//! ```text
//!   open_bytes     strips ─────────────▶ any bytes ──┐
//!                                                    ├─▶ hostile: opens, or is refused and unchanged; then goes on
//!   open_mutated   mutated ─▶ edits ─▶ checksums ────┘   as any pager, operations against a model included
//!
//!   operations     sequence: operations against a model, the last one cut off or failing, then recovered and verified
//! ```
//!
//! The targets in `fuzz_targets/` are one line each, so that all of this is an ordinary library that has tests.

pub mod strips;

pub mod layout;

pub mod checksums;

pub mod edits;

pub mod mutated;

pub mod hostile;

pub mod page_sizes;

pub mod sequence;
