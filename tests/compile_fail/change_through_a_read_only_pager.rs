use diptych::{PageId, ProtectedPageId, ReadOnlyPager};

fn change(pager: &mut ReadOnlyPager<4096>, id: PageId<4096>, protected: ProtectedPageId<4096>) {
    pager.alloc().unwrap();
    pager.page_mut(id).unwrap()[0] = 1;
    pager.protected_mut(protected).unwrap();
    pager.transaction().unwrap();
}

fn main() {}
