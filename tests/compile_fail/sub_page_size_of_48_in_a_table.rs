use diptych::{Pager, SubPageTableId};

fn main() {
    let pager = Pager::<4096>::open("no.dip").unwrap();
    let _ = pager.sub_pages(SubPageTableId::<4096, 48>::from_u64(1).unwrap());
}
