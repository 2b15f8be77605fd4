//! What must hold after a crash, a failing call, and any sequence of operations, on the simulated disk.
//!
//! One [`Operation`](operation::Operation) enum serves all of it, one [`Model`](model::Model) is the naive twin, and one
//! function, [`verify`](verify::verify), says what must hold.

mod against_the_twin;
mod at_every_barrier;
mod failing_calls;
mod lab;
mod model;
mod operation;
#[cfg(diptych_planted)]
mod planted;
mod verify;
