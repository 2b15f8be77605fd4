use diptych::{Pager, SubPageId, SubPageTableId};

fn sub_page(pager: &Pager<4096>, table: SubPageTableId<4096, 64>, id: SubPageId<4096, 128>) {
    let _ = pager.sub_pages(table).unwrap().page(id);
}

fn main() {}
