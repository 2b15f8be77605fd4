//! What must hold of a diptych pager after a power cut and a failing call, on the simulated disk, and all the cases of it.
//!
//! One [`Operation`](operation::Operation) enum serves the tests, the crash lab and fuzzers; one [`Model`](model::Model) is
//! the naive twin; one function, [`verify`](verify::verify), says what must hold. The program enumerates workloads
//! ([`Workload`](workload::Workload)), the states that a power cut leaves of each ([`interrupted`], [`power_cut`]), sectors that rot ([`rot`]),
//! and calls that fail ([`failing_call`]). On a real file there is [`FileLab`](file_lab::FileLab); the program
//! `kernel_cuts` runs it on filesystems that stop.

pub mod model;

pub mod operation;

pub mod verify;

pub mod read_only;

pub mod lab;

pub mod draws;

pub mod file_lab;

pub mod workload;

pub mod interrupted;

mod run;

pub mod power_cut;

pub mod failing_call;

pub mod rot;

pub mod replay;

pub mod forgery;

pub mod audit;
