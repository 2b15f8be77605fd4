use diptych::{PagerOptions, SimDisk};

fn main() {
    let _ = PagerOptions::new().open_on::<3000>(&SimDisk::new());
}
