//! What must hold after a crash, a failing call, and any sequence of operations, on the simulated disk.
//!
//! One [`Operation`](crashlab::operation::Operation) enum serves all of it, one [`Model`](crashlab::model::Model) is the naive
//! twin, and one function, [`verify`](crashlab::verify::verify), says what must hold. They are in the package in `crashlab/`,
//! whose program enumerates far more than can be tested each time.

mod against_the_twin;
mod at_every_barrier;
mod failing_calls;
mod incrementals;
#[cfg(diptych_planted)]
mod planted;
mod punching;
mod snapshots;
mod strategy;
