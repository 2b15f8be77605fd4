use diptych::{PageAllocator, PageHandle, PageId, Pager};

fn keep<A: PageAllocator<H>, H: PageHandle<A>>(place: &mut A) -> H {
    place.alloc().unwrap()
}

fn main() {
    let mut pager = Pager::<4096>::create("no.dip").unwrap();
    let _: PageId<1024> = keep(&mut pager);
}
