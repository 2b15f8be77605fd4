//! One pager for many threads.

mod reentry;
mod stress;
mod transactions;
