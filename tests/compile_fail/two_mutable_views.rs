use diptych::{PageId, Pager};

fn store(pager: &mut Pager<4096>, a: PageId<4096>, b: PageId<4096>) {
    let one = a.get_mut(pager).unwrap();
    let other = b.get_mut(pager).unwrap();
    one[0] = other[0];
}

fn main() {}
