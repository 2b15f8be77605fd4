//! Operations on a pager and on its model, of which a power cut or a failing call ends the last.

#![no_main]

use diptych_fuzz::sequence::Sequence;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|case: Sequence| case.run());
