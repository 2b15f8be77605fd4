use diptych::{PageId, Pager, ProtectedPageId};

fn free(pager: &mut Pager<4096>, id: PageId<4096>, protected: ProtectedPageId<4096>) {
    pager.free(protected).unwrap();
    pager.free_protected(id).unwrap();
}

fn main() {}
