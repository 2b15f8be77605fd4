//! A whole file with edits whose checksums are mended, opened.

#![no_main]

use diptych_fuzz::mutated::Mutated;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Mutated| case.run());
