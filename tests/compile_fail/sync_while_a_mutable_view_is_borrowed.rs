use diptych::{PageId, Pager};

fn store(pager: &mut Pager<4096>, id: PageId<4096>) {
    let view = id.get_mut(pager).unwrap();
    pager.sync().unwrap();
    view[0] = 1;
}

fn main() {}
