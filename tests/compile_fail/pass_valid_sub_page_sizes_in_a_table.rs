use diptych::{PagerOptions, Result, SimDisk};

fn works<const P: usize, const S: usize>() -> Result<()> {
    let mut pager = PagerOptions::new().create_on::<P>(&SimDisk::new())?;
    let mut transaction = pager.transaction()?;
    let table = transaction.create_sub_page_table::<S>()?;
    let id = transaction.sub_pages(table)?.alloc()?;
    transaction.commit()?;
    assert_eq!(pager.sub_pages(table)?.page(id)?.len(), S);
    Ok(())
}

fn main() {
    works::<1024, 8>().unwrap();
    works::<1024, 512>().unwrap();
    works::<65536, 8>().unwrap();
    works::<{ 1 << 24 }, 8>().unwrap();
    works::<{ 1 << 24 }, { 1 << 23 }>().unwrap();
}
