use diptych::{PageId, Savepoint, Transaction};

fn store(transaction: &mut Transaction<'_, 4096>, savepoint: &Savepoint, id: PageId<4096>) {
    let view = transaction.page_mut(id).unwrap();
    transaction.rollback_to(savepoint).unwrap();
    view[0] = 1;
}

fn main() {}
