use diptych::SubPageMap;

fn main() {
    let _ = SubPageMap::<4096, 4>::new();
}
