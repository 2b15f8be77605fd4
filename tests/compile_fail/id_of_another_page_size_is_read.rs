use diptych::{PageId, Pager};

fn read(pager: &Pager<4096>, id: PageId<1024>) -> u8 {
    id.get(pager).unwrap()[0]
}

fn main() {}
