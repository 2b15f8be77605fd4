use diptych::{MappedPage, PageId, Pager, Transaction};

fn page<'p>(transaction: &Transaction<'p, 4096>, id: PageId<4096>) -> &'p MappedPage<4096> {
    transaction.page(id).unwrap()
}

fn protected(pager: &mut Pager<4096>) -> &MappedPage<4096> {
    let mut transaction = pager.transaction().unwrap();
    let id = transaction.alloc_protected().unwrap();
    transaction.protected(id).unwrap()
}

fn main() {}
