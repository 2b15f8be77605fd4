use diptych::{PageReader, ReadOnlyPager};

fn reader(pager: &mut ReadOnlyPager<4096>) -> &mut PageReader<4096> {
    &mut *pager
}

fn main() {}
