//! A file in few bytes: its length, and the parts of it that are not zeros.
//!
//! Most of a pager's file is zeros, so a seed of a kibibyte makes a file that opens. Every file of up to [`MAX_LEN`] bytes can
//! be written like this.
//!
//! | size | what                                                                                        |
//! |-----:|---------------------------------------------------------------------------------------------|
//! |    1 | page size: see [`with_any_page_size`](crate::with_any_page_size)                            |
//! |    4 | least length of the file                                                                    |
//! |    3 | where a strip begins, in units of 64 bytes, taken modulo [`MAX_LEN`]                        |
//! |    1 | its length, minus 1                                                                         |
//! |  ... | its bytes, or as many as are left; further strips follow, later ones over earlier ones      |

use diptych::SimImage;

/// The longest file that is made: room for the reserved region and one page of the largest size.
pub const MAX_LEN: u64 = 40 << 20;

const UNIT: u64 = 64;
const LONGEST: usize = 256;

/// The choice of the page size, and the file.
#[must_use]
pub fn decode(input: &[u8]) -> (u8, SimImage) {
    let mut image = SimImage::default();
    let Some((&page_size, rest)) = input.split_first() else { return (0, image) };
    let Some((len, mut rest)) = rest.split_first_chunk() else { return (page_size, image) };
    image.set_len(u64::from(u32::from_le_bytes(*len)) % (MAX_LEN + 1));
    while let Some(([a, b, c, len], after)) = rest.split_first_chunk() {
        let at = u64::from(u32::from_le_bytes([*a, *b, *c, 0])) % (MAX_LEN / UNIT) * UNIT;
        let (strip, after) = after.split_at(after.len().min(usize::from(*len) + 1));
        let end = (at + wide(strip.len())).min(MAX_LEN);
        if image.len() < end {
            image.set_len(end);
        }
        image.write(at, &strip[..narrow(end - at)]);
        rest = after;
    }
    (page_size, image)
}

/// What [`decode`] makes this file of.
///
/// # Panics
///
/// When the file is longer than [`MAX_LEN`].
#[must_use]
pub fn encode(page_size: u8, image: &SimImage) -> Vec<u8> {
    assert!(image.len() <= MAX_LEN, "the file is too long");
    let mut input = vec![page_size];
    input.extend(u32::try_from(image.len()).expect("the longest fits").to_le_bytes());
    let bytes = image.to_vec();
    let mut at = 0;
    while at < bytes.len() {
        let unit = narrow(UNIT);
        let is_zero = |part: &[u8]| part.iter().all(|byte| *byte == 0);
        let end = (at + LONGEST).min(bytes.len());
        let used = bytes[at..end].chunks(unit).take_while(|part| !is_zero(part)).map(<[u8]>::len).sum::<usize>();
        if used == 0 {
            at += unit;
            continue;
        }
        let strip = &bytes[at..at + used];
        let kept = used - strip.iter().rev().take_while(|byte| **byte == 0).count();
        input.extend(&u32::try_from(wide(at) / UNIT).expect("the longest fits").to_le_bytes()[..3]);
        input.push(u8::try_from(kept - 1).expect("a strip has at most 256 bytes"));
        input.extend(&strip[..kept]);
        at += used;
    }
    input
}

fn wide(len: usize) -> u64 {
    u64::try_from(len).expect("usize fits u64")
}

fn narrow(len: u64) -> usize {
    usize::try_from(len).expect("a file that is made fits into memory")
}

#[cfg(test)]
mod tests {
    use super::{MAX_LEN, decode, encode};
    use crate::with_any_page_size;
    use diptych::{PagerOptions, SimDisk, SimImage};

    #[test]
    fn a_file_is_what_it_was_after_encoding_and_decoding() {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<4096>(&disk).unwrap();
        pager.alloc_protected_bulk(20).unwrap();
        pager.close().unwrap();
        let images = [disk.cached_image(), SimImage::default(), SimImage::from(vec![7; 1001])];
        for image in images {
            let input = encode(2, &image);
            assert!(input.len() < 5000, "{} bytes", input.len());
            assert_eq!(decode(&input), (2, image));
        }
    }

    fn opens<const P: usize>(image: &SimImage) -> bool {
        PagerOptions::new().open_on::<P>(&SimDisk::from_image(image.clone())).is_ok()
    }

    #[test]
    fn every_seed_opens() {
        let folder = concat!(env!("CARGO_MANIFEST_DIR"), "/seeds/open_bytes");
        let seeds: Vec<_> = std::fs::read_dir(folder).unwrap().map(|entry| entry.unwrap().path()).collect();
        assert!(seeds.len() > 20);
        for seed in seeds {
            let (page_size, image) = decode(&std::fs::read(&seed).unwrap());
            assert!(with_any_page_size!(page_size, opens(&image)), "{}", seed.display());
        }
    }

    #[test]
    fn any_input_makes_a_file_that_is_not_too_long() {
        for input in [vec![], vec![3], vec![0xff; 6], vec![0xff; 40], vec![0; 9]] {
            assert!(decode(&input).1.len() <= MAX_LEN);
        }
    }
}
