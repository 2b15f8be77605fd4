use diptych::{MappedPage, PageId, SharedPager};

fn keep(pager: &SharedPager<4096>, id: PageId<4096>) -> &MappedPage<4096> {
    let guard = pager.read();
    guard.page(id).unwrap()
}

fn main() {}
