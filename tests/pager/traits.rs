//! One generic function runs over both kinds of page, through a pager and through a transaction.

use diptych::{
    BulkPageAllocator, Error, PageAllocator, PageHandle, PageId, PageMut, PageReader, Pager, ProtectedPageId,
    ReadHandle,
};

use crate::places::{Place, assert_whole};

/// Allocates, writes, reads, frees: everything the traits can do. Leaves one page full of `fill`.
fn exercise<A, H>(place: &mut A, fill: u8) -> Result<H, A::Error>
where
    A: BulkPageAllocator<H>,
    H: PageHandle<A> + Copy + PartialEq + std::fmt::Debug,
{
    let kept = place.alloc()?;
    let others = place.alloc_bulk(4)?;
    assert!(others.len() == 4 && !others.contains(&kept));
    for id in &others {
        assert!(id.get(place)?.as_ref().iter().all(|byte| *byte == 0));
        let mut page = id.get_mut(place)?;
        page.page_mut().as_mut().fill(fill + 1);
        page.commit()?;
        assert!(id.get(place)?.as_ref().iter().all(|byte| *byte == fill + 1));
    }
    // A list of ids and a vector of them, as they come.
    place.free_bulk(&others[..3])?;
    place.free_bulk(vec![others[3]])?;
    assert!(others.iter().all(|id| id.get(place).is_err()));
    let extra = place.alloc()?;
    place.free(extra)?;
    assert!(place.free(extra).is_err());

    let mut page = kept.get_mut(place)?;
    page.page_mut().as_mut().fill(fill);
    page.commit()?;
    Ok(kept)
}

fn first_byte<A: ?Sized, H: ReadHandle<A>>(place: &A, id: H) -> Result<u8, H::Error> {
    Ok(id.get(place)?.as_ref()[0])
}

#[test]
fn one_function_runs_over_both_kinds_through_a_pager_and_through_a_transaction() {
    for place in Place::both() {
        let mut pager: Pager<4096> = place.create();
        let regular: PageId<4096> = exercise(&mut pager, 10).expect("there is room");
        let protected: ProtectedPageId<4096> = exercise(&mut pager, 20).expect("there is room");
        assert_whole(&pager);

        let generation = pager.generation().to_u64();
        let mut transaction = pager.transaction().expect("nothing is wrong");
        let in_transaction: PageId<4096> = exercise(&mut transaction, 30).expect("there is room");
        let protected_in_transaction: ProtectedPageId<4096> = exercise(&mut transaction, 40).expect("there is room");
        assert_eq!(first_byte(&transaction, in_transaction).expect("staged"), 30);
        assert_eq!(first_byte(&transaction, regular).expect("live"), 10);
        assert_eq!(first_byte(&transaction, protected_in_transaction).expect("staged"), 40);
        transaction.commit().expect("there is room");
        assert_eq!(pager.generation().to_u64(), generation + 1);

        let pager = place.reopen(pager);
        let reader: &PageReader<4096> = &pager;
        for (fill, id) in [(10, regular), (30, in_transaction)] {
            assert_eq!(first_byte(&pager, id).expect("committed"), fill);
            assert_eq!(first_byte(reader, id).expect("committed"), fill);
        }
        for (fill, id) in [(20, protected), (40, protected_in_transaction)] {
            assert_eq!(first_byte(&pager, id).expect("committed"), fill);
            assert_eq!(first_byte(reader, id).expect("committed"), fill);
        }
        assert_whole(&pager);
    }
}

#[test]
fn a_change_through_the_traits_that_is_not_committed_is_discarded_where_there_is_a_guard() {
    fn start<A, H: PageHandle<A>>(place: &mut A, id: &H) -> Result<(), H::Error>
    where
        H::Page: AsMut<[u8]>,
    {
        id.get_mut(place)?.page_mut().as_mut()[0] = 1;
        Ok(())
    }
    let mut pager: Pager<1024> = Place::sim().create();
    let (regular, protected) = (pager.alloc().expect("there is room"), pager.alloc_protected().expect("there is room"));
    start(&mut pager, &regular).expect("allocated");
    start(&mut pager, &protected).expect("allocated");
    assert_eq!(first_byte(&pager, regular).expect("in place"), 1);
    assert_eq!(first_byte(&pager, protected).expect("as it was"), 0);
    assert_whole(&pager);
}

#[test]
fn an_error_of_a_handle_becomes_the_error_of_the_place() {
    fn touch<A, H>(place: &mut A, id: H) -> Result<(), A::Error>
    where
        A: PageAllocator<H>,
        H: PageHandle<A> + Copy,
    {
        place.free(id)?;
        id.get(place)?;
        Ok(())
    }
    let mut pager: Pager<1024> = Place::sim().create();
    let id = pager.alloc().expect("there is room");
    let error: Result<(), Error> = touch(&mut pager, id);
    assert!(matches!(error, Err(Error::WrongKind { .. })));
    let id = pager.alloc_protected().expect("there is room");
    let error: Box<dyn std::error::Error + Send + Sync> = touch(&mut pager, id).expect_err("it is freed").into();
    assert_eq!(error.to_string(), "protected page 1 is not allocated");
    assert_whole(&pager);
}
