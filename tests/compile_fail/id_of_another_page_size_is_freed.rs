use diptych::{PageId, Pager, ProtectedPageId};

fn free(pager: &mut Pager<4096>, id: PageId<1024>, protected: ProtectedPageId<1024>) {
    pager.free(id).unwrap();
    pager.free_protected(protected).unwrap();
    pager.transaction().unwrap().free(id).unwrap();
}

fn main() {}
