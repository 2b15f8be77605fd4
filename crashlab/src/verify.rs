//! What must hold of an image: one function, used by the crash tests and the crash lab.

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};

use diptych::{Block, CrashPoint, PageId, Pager, PagerOptions, ProtectedPageId, Recovery, SimDisk, SimImage, TornUnit};

use crate::model::{Model, Regular};

/// Opens what a crash left and compares it with the states that it may be in. Returns whether recovery had work to do.
/// `damaged` sectors of pages that were being overwritten in place may hold anything.
///
/// # Panics
///
/// With the invariant that does not hold.
pub fn verify<const P: usize>(image: SimImage, before: &Model, after: &Model, damaged: usize) -> bool {
    let (disk, recovery) = verify_once::<P>(image, before, after, damaged);
    verify_again::<P>(&disk);
    !recovery.is_clean()
}

/// [`verify`] without opening a second time. Returns the disk, closed, and what recovery did.
///
/// # Panics
///
/// With the invariant that does not hold.
pub fn verify_once<const P: usize>(
    image: SimImage,
    before: &Model,
    after: &Model,
    damaged: usize,
) -> (SimDisk, Recovery) {
    let disk = SimDisk::from_image(image);
    disk.record(false);
    let pager =
        PagerOptions::new().open_on::<P>(&disk).unwrap_or_else(|error| panic!("the image does not open: {error}"));
    let recovery = pager.recovery().clone();
    // A commit writes the slot that is not live, so no crash leaves two bad ones.
    let rebuilt = recovery.adopted && recovery.voided.contains(&Block::Slot(1));
    assert!(!rebuilt, "no slot is whole");
    let generation = pager.generation().to_u64();
    let model = match generation {
        _ if generation == after.generation => after,
        _ if generation == before.generation => before,
        _ => panic!("generation {generation} is neither {} nor {}", before.generation, after.generation),
    };
    compare(&pager, model, &unsettled(before, after), damaged);
    assert_eq!(pager.check(), [], "a check finds nothing");
    drop(pager);
    (disk, recovery)
}

/// Opening again changes no byte and reports nothing.
///
/// # Panics
///
/// When it does.
pub fn verify_again<const P: usize>(disk: &SimDisk) {
    let settled = disk.cached_image().fingerprint();
    let pager = PagerOptions::new().open_on::<P>(disk).unwrap_or_else(|error| panic!("it opens only once: {error}"));
    assert!(pager.recovery().is_clean(), "{:?}", pager.recovery());
    drop(pager);
    assert_eq!(disk.cached_image().fingerprint(), settled, "opening again changes bytes");
}

/// A full cycle works afterwards.
///
/// # Panics
///
/// When it does not.
pub fn verify_cycle<const P: usize>(image: SimImage) {
    let disk = SimDisk::from_image(image);
    let mut pager = PagerOptions::new().open_on::<P>(&disk).expect("the image was opened before");
    let count = usize::try_from(pager.free_page_count()).expect("a small file") + 3;
    let ids = pager.alloc_bulk(count).expect("there is space");
    let id = pager.alloc_protected().expect("there is space");
    let mut writer = pager.protected_mut(id).expect("it was allocated");
    writer.page_mut().fill(0x77);
    writer.commit().expect("nothing fails");
    pager.page_mut(ids[0]).expect("it was allocated").fill(0x78);
    pager.close().expect("nothing fails");
    let pager = PagerOptions::new().open_on::<P>(&disk).expect("it was closed");
    assert!(pager.protected(id).expect("it was written").iter().all(|byte| *byte == 0x77));
    assert!(pager.page(ids[0]).expect("it was written").iter().all(|byte| *byte == 0x78));
    assert!(pager.recovery().is_clean());
    assert_eq!(pager.check(), []);
}

/// Which fills each sector of a regular page may hold: `None` is anything.
pub fn unsettled(before: &Model, after: &Model) -> impl Fn(u64, Regular) -> Option<Vec<u8>> {
    move |id, page| {
        let (old, new) = (before.regular.get(&id), after.regular.get(&id));
        if [old, new].into_iter().flatten().any(|page| !page.settled) {
            return None;
        }
        let mut fills = vec![page.fill];
        fills.extend([old, new].into_iter().flatten().map(|page| page.fill));
        Some(fills)
    }
}

/// Compares all that a pager shows with a model. `allowed` says which fills each sector of a page may hold, `None` being
/// anything; of a page that was being overwritten, `damaged` sectors may hold none of them.
///
/// # Panics
///
/// When they differ.
pub fn compare<const P: usize>(
    pager: &Pager<P>,
    model: &Model,
    allowed: &dyn Fn(u64, Regular) -> Option<Vec<u8>>,
    damaged: usize,
) {
    compare_lists(pager, model);
    for (id, fill) in &model.protected {
        let id = ProtectedPageId::from_u64(*id).expect("the model holds ids");
        let content = pager.protected(id).unwrap_or_else(|error| panic!("{id}: {error}"));
        assert!(is_filled(&content[..], *fill), "{id} does not hold {fill:#x}");
    }
    for (id, page) in &model.regular {
        let Some(fills) = allowed(*id, *page) else { continue };
        let id = PageId::from_u64(*id).expect("the model holds ids");
        let content = pager.page(id).unwrap_or_else(|error| panic!("{id}: {error}"));
        let is_whole = |sector: &&[u8]| fills.contains(&sector[0]) && is_filled(sector, sector[0]);
        let wrong = content.chunks(512).filter(|sector| !is_whole(sector)).count();
        let overwritten = fills.iter().any(|fill| *fill != page.fill);
        assert!(wrong <= if overwritten { damaged } else { 0 }, "{wrong} sectors of {id} hold none of {fills:x?}");
    }
}

/// The part of [`compare`] that reads no page: which pages there are, and the header.
///
/// # Panics
///
/// When they differ.
pub fn compare_lists<const P: usize>(pager: &Pager<P>, model: &Model) {
    let regular: Vec<u64> = pager.iter_allocated_pages().map(PageId::to_u64).collect();
    assert_eq!(regular, model.regular.keys().copied().collect::<Vec<_>>(), "regular pages");
    let protected: Vec<u64> = pager.iter_allocated_protected_pages().map(ProtectedPageId::to_u64).collect();
    assert_eq!(protected, model.protected.keys().copied().collect::<Vec<_>>(), "protected pages");
    assert_eq!(pager.header(), &[model.header; 128], "the header");
}

/// Compared in large parts, which is quicker by far than byte by byte.
pub(crate) fn is_filled(bytes: &[u8], fill: u8) -> bool {
    bytes.chunks(512).all(|part| *part == [fill; 512][..part.len()])
}

/// How many sectors a crash may leave as nobody wrote them.
#[must_use]
pub fn damaged_sectors(point: &CrashPoint) -> usize {
    match (point.damage, point.torn_unit) {
        (None, _) => 0,
        (Some(_), TornUnit::Sector) => 1,
        (Some(_), _) => 8,
    }
}

/// Names the crash that a failing check is about.
pub fn reported<T>(point: CrashPoint, check: impl FnOnce() -> T) -> T {
    catch_unwind(AssertUnwindSafe(check)).unwrap_or_else(|panic| {
        eprintln!("after {point:?}");
        resume_unwind(panic)
    })
}

/// What a failing check says.
///
/// # Errors
///
/// The message of the panic.
pub fn caught<T>(check: impl FnOnce() -> T) -> Result<T, String> {
    catch_unwind(AssertUnwindSafe(check)).map_err(|panic| match panic.downcast::<String>() {
        Ok(message) => *message,
        Err(panic) => panic.downcast_ref::<&str>().map_or_else(|| "a panic".to_owned(), |text| (*text).to_owned()),
    })
}
