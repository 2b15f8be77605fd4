use diptych::{Pager, Result, SubPageAllocator, SubPageId, SubPageMap};

fn owned(parts: &mut SubPageAllocator<4096, 512>, id: SubPageId<4096, 512>) -> Result<u8> {
    let page = id.get(parts)?;
    parts.alloc()?;
    Ok(page[0])
}

fn apart(pager: &mut Pager<4096>, map: &mut SubPageMap<4096, 512>, id: SubPageId<4096, 512>) -> Result<u8> {
    let page = map.page(pager, id)?;
    map.alloc(pager)?;
    Ok(page[0])
}

fn main() {}
