//! Writes seeds of `open_bytes` into a folder: whole files of several page sizes, as a handful of operations leave them.
//!
//! ```text
//! cargo run --manifest-path fuzz/Cargo.toml --example seeds -- fuzz/seeds/open_bytes
//! ```

use std::error::Error;
use std::path::{Path, PathBuf};

use crashlab::lab::{Lab, Start};
use crashlab::operation::Operation;
use diptych_fuzz::strips::{MAX_LEN, encode};

fn main() -> Result<(), Box<dyn Error>> {
    let folder = std::env::args_os().nth(1).ok_or("which folder are the seeds to be written to?")?;
    let folder = PathBuf::from(folder);
    write::<1024>(&folder, 0)?;
    write::<2048>(&folder, 1)?;
    write::<4096>(&folder, 2)?;
    write::<16384>(&folder, 4)?;
    write::<65536>(&folder, 6)?;
    write::<1_048_576>(&folder, 10)?;
    write::<16_777_216>(&folder, 14)?;
    Ok(())
}

fn write<const P: usize>(folder: &Path, choice: u8) -> Result<(), Box<dyn Error>> {
    let few = [
        Operation::Alloc,
        Operation::AllocProtected,
        Operation::WriteProtected(0, 0),
        Operation::AllocProtectedBulk(20),
        Operation::FreeProtectedBulk(0, 7),
    ];
    for count in [0, 1, 3, few.len()] {
        let mut lab = Lab::<P>::start(Start::Fresh);
        for operation in &few[..count] {
            lab.run(operation)?;
        }
        drop(lab.pager);
        let image = lab.disk.cached_image();
        let name = folder.join(format!("{P}_after_{count}"));
        if image.len() <= MAX_LEN {
            let seed = encode(choice, &image);
            println!("{}: {} bytes", name.display(), seed.len());
            std::fs::write(name, seed)?;
        }
    }
    Ok(())
}
