use diptych::{Pager, Transaction};

fn assign(pager: &mut Pager<4096>, other: Pager<1024>) {
    *pager = other;
}

fn stage(transaction: Transaction<'_, 1024>) -> Transaction<'_, 4096> {
    transaction
}

fn main() {}
