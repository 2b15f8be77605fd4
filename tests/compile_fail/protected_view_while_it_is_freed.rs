use diptych::{Pager, ProtectedPageId};

fn look(pager: &mut Pager<4096>, id: ProtectedPageId<4096>) -> u8 {
    let view = id.get(pager).unwrap();
    pager.free_protected(id).unwrap();
    view[0]
}

fn main() {}
