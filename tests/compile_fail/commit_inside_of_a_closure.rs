use diptych::SharedPager;

fn commit(pager: &SharedPager<4096>) {
    pager.transact(|transaction| transaction.commit()).unwrap();
}

fn main() {}
