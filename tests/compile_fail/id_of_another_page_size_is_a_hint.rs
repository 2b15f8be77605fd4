use diptych::{PageId, Pager};

fn near(pager: &mut Pager<4096>, id: PageId<1024>) {
    pager.alloc_near(id).unwrap();
}

fn main() {}
