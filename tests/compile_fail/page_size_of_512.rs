use diptych::Pager;

fn main() {
    let _ = Pager::<512>::create("no.dip");
}
