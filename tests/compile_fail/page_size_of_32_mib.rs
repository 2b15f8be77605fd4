use diptych::Pager;

fn main() {
    let _ = Pager::<33554432>::create("no.dip");
}
