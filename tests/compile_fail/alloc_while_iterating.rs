use diptych::Pager;

fn free_all(pager: &mut Pager<4096>) {
    for id in pager.iter_allocated_pages() {
        pager.free(id).unwrap();
    }
}

fn main() {}
