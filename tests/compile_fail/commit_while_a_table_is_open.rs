use diptych::{Pager, SubPageTableId};

fn write(pager: &mut Pager<4096>, table: SubPageTableId<4096, 64>) {
    let mut transaction = pager.transaction().unwrap();
    let mut parts = transaction.sub_pages(table).unwrap();
    transaction.commit().unwrap();
    parts.alloc().unwrap();
}

fn main() {}
