use diptych::{Pager, SubPageAllocator, SubPageId, SubPageMap};

fn read(parts: &SubPageAllocator<4096, 512>, id: SubPageId<4096, 256>) {
    id.get(parts).unwrap();
}

fn free(pager: &mut Pager<4096>, map: &mut SubPageMap<4096, 512>, id: SubPageId<1024, 512>) {
    map.free(pager, id).unwrap();
}

fn alloc(pager: &mut Pager<1024>, map: &mut SubPageMap<4096, 512>) {
    map.alloc(pager).unwrap();
}

fn main() {}
