use diptych::{Pager, SubPageAllocator};

fn main() {
    let _ = SubPageAllocator::<4096, 8192>::new(Pager::create("no.dip").unwrap());
}
