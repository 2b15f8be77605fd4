use diptych::{PageId, Pager};

fn look(mut pager: Pager<4096>, id: PageId<4096>) -> u8 {
    let view = id.get(&pager).unwrap();
    pager.transaction().unwrap().commit().unwrap();
    view[0]
}

fn main() {}
