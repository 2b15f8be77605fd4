//! The sizes at both ends build: this is what the other files must not differ from but in one thing.

use diptych::{PagerOptions, Result, SimDisk, SubPageAllocator};

fn touch<const P: usize>() -> Result<()> {
    let mut pager = PagerOptions::new().create_on::<P>(&SimDisk::new())?;
    let (id, protected) = (pager.alloc()?, pager.alloc_protected()?);
    let mut transaction = pager.transaction()?;
    transaction.overwrite(id)?[0] = 1;
    protected.get_mut(&mut transaction)?[0] = 2;
    transaction.commit()?;
    assert_eq!((id.get(&pager)?[0], protected.get(&pager)?[0]), (1, 2));
    pager.sync()?;
    pager.close()
}

fn touch_part<const P: usize, const S: usize>() -> Result<()> {
    let mut parts = SubPageAllocator::<P, S>::new(PagerOptions::new().create_on(&SimDisk::new())?);
    let id = parts.alloc()?;
    id.get_mut(&mut parts)?[S - 1] = 1;
    parts.free(id)?;
    parts.into_pager().close()
}

fn main() -> Result<()> {
    touch::<1024>()?;
    touch::<16777216>()?;
    touch_part::<1024, 8>()?;
    touch_part::<1024, 512>()?;
    touch_part::<16777216, 8>()?;
    touch_part::<16777216, 8388608>()
}
