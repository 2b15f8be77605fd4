use diptych::{PageId, Transaction};

fn look(transaction: Transaction<'_, 4096>, id: PageId<4096>) -> u8 {
    let view = transaction.page(id).unwrap();
    transaction.commit().unwrap();
    view[0]
}

fn main() {}
