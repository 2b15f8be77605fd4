use diptych::Pager;

fn both(pager: &mut Pager<4096>) {
    let one = pager.transaction().unwrap();
    let other = pager.transaction().unwrap();
    one.commit().unwrap();
    other.commit().unwrap();
}

fn main() {}
