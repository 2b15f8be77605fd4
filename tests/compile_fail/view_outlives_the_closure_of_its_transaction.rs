use diptych::{Error, PageId, SharedPager};

fn keep(pager: &SharedPager<4096>, id: PageId<4096>) {
    let mut kept = None;
    pager
        .transact(|transaction| {
            kept = Some(transaction.page(id)?);
            Ok::<_, Error>(())
        })
        .unwrap();
    println!("{kept:?}");
}

fn main() {}
