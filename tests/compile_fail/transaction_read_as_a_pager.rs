use diptych::{PageReader, Transaction};

fn live<'a>(transaction: &'a Transaction<'_, 4096>) -> &'a PageReader<4096> {
    transaction
}

fn list(transaction: &Transaction<'_, 4096>) -> usize {
    transaction.iter_allocated_pages().count()
}

fn main() {}
