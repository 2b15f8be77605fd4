use diptych::Pager;

fn main() {
    let _ = Pager::<0>::create("no.dip");
}
