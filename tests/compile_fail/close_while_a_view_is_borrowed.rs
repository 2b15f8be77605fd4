use diptych::{PageId, Pager};

fn look(pager: Pager<4096>, id: PageId<4096>) -> u8 {
    let view = id.get(&pager).unwrap();
    pager.close().unwrap();
    view[0]
}

fn main() {}
