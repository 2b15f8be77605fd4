//! The sizes at both ends build: this is what the other files must not differ from but in one thing.

use diptych::{PagerOptions, Result, SimDisk};

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

fn main() -> Result<()> {
    touch::<1024>()?;
    touch::<16777216>()
}
