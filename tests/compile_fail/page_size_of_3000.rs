use diptych::Pager;

fn main() {
    let _ = Pager::<3000>::create("no.dip");
}
