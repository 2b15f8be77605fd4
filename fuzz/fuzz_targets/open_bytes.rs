//! Any bytes, opened as a file of any page size.

#![no_main]

use diptych_fuzz::hostile::hostile;
use diptych_fuzz::strips::decode;
use diptych_fuzz::with_any_page_size;
use libfuzzer_sys::fuzz_target;

fuzz_target!(|input: &[u8]| {
    let (page_size, image) = decode(input);
    with_any_page_size!(page_size, hostile(&image, &[]));
});
