//! What must hold of an image: one function, used by the crash tests and the crash lab.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::time::{Duration, Instant};

use diptych::{
    Block, CallKind, CrashPoint, CrashState, ExtentId, PageId, Pager, PagerOptions, ProtectedPageId, Recovery, SimDisk,
    SimImage, SubPageId, TwinCopy,
};

use crate::audit::audit;
use crate::model::{Model, Regular, extent_page};
use crate::operation::{sub_page, table_id};

/// Of so many images that are opened twice, one goes through a full cycle. Their bytes decide which.
const CYCLES: u64 = 32;

/// Opens what a crash left and compares it with the durable states that it may be in. Returns whether recovery had work to do.
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
    let waiting = before;
    let (before, after) = (before.durable(), after.durable());
    let found = image.clone();
    let disk = SimDisk::from_image(image);
    disk.record(false);
    let begun = Instant::now();
    let pager =
        PagerOptions::new().open_on::<P>(&disk).unwrap_or_else(|error| panic!("the image does not open: {error}"));
    opened_with_little_work::<P>(&disk, begun.elapsed(), &found);
    let recovery = pager.recovery().clone();
    // A commit writes the slot that is not live, so no crash leaves two bad ones.
    let rebuilt = recovery.adopted && recovery.voided.contains(&Block::Slot(1));
    assert!(!rebuilt, "no slot is whole");
    let generation = pager.generation().to_u64();
    // Where an operation is more than one commit, the first one makes durable what waits, if anything does, and those behind
    // the one that shows change nothing that does.
    let between =
        Model { generation, beneath: None, ..if generation == waiting.generation { waiting } else { after }.clone() };
    let model = match generation {
        _ if generation == after.generation => after,
        _ if generation == before.generation => before,
        _ if (before.generation..after.generation).contains(&generation) => &between,
        _ => panic!("generation {generation} is neither {} nor {}", before.generation, after.generation),
    };
    let reached = if generation < after.generation { &between } else { after };
    compare(
        &pager,
        model,
        &unsettled(before, if generation > before.generation { reached } else { after }, generation),
        damaged,
    );
    assert_eq!(pager.check(), [], "a check finds nothing");
    drop(pager);
    let settled = disk.cached_image();
    reports_what_it_changed(&found, &settled, &recovery);
    audit(&settled).unwrap_or_else(|wrong| panic!("an audit finds: {wrong}"));
    (disk, recovery)
}

/// Opening makes a number of calls that the length of the file bounds, and takes under a second.
fn opened_with_little_work<const P: usize>(disk: &SimDisk, took: Duration, found: &SimImage) {
    const LIMIT: Duration = Duration::from_secs(1);
    // Five blocks in three attempts; of two candidates every page once for a walk, once to prove it, twice to write it again.
    let most = 40 + 6 * (found.len() / u64::try_from(P).expect("usize fits u64"));
    let calls = disk.calls(CallKind::Read) + disk.calls(CallKind::Write);
    assert!(calls <= most, "opening {} bytes makes {calls} calls", found.len());
    if took > LIMIT {
        // Perhaps it was this process that had to wait.
        let (again, begun) = (SimDisk::from_image(found.clone()), Instant::now());
        drop(PagerOptions::new().open_on::<P>(&again));
        assert!(begun.elapsed() <= LIMIT, "opening {} bytes takes {took:?}", found.len());
    }
}

/// What opening changed is in its report, and what is in its report was there to be changed: of the five blocks of the reserved
/// region, of the length, and nothing else.
///
/// # Panics
///
/// When it is not.
pub fn reports_what_it_changed(found: &SimImage, settled: &SimImage, recovery: &Recovery) {
    const BLOCK: u64 = 4096;
    let slot = |at: u8| recovery.adopted || recovery.voided.contains(&Block::Slot(at));
    let metadata = |copy: TwinCopy| recovery.voided.contains(&Block::Metadata(copy));
    let reported = [recovery.identity_rebuilt, slot(0), slot(1), metadata(TwinCopy::A), metadata(TwinCopy::B)];
    let mut expected = found.clone();
    for (at, _) in (0..).zip(reported).filter(|(_, reported)| *reported) {
        let mut block = [0; 4096];
        settled.read(at * BLOCK, &mut block);
        expected.write(at * BLOCK, &block);
    }
    assert!(settled.len() <= found.len() && found.len() - settled.len() <= recovery.tail_bytes, "a tail is reported");
    expected.set_len(settled.len());
    assert!(expected == *settled, "opening changes bytes that its report does not name: {recovery:?}");
    let clean = recovery.is_clean();
    assert!(clean || *found != *settled || recovery.adopted, "a report of nothing: {recovery:?}");
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
    if settled.is_multiple_of(CYCLES) {
        verify_cycle::<P>(disk.cached_image());
    }
}

/// A full cycle works afterwards, and changes nothing that was there.
///
/// # Panics
///
/// When it does not.
pub fn verify_cycle<const P: usize>(image: SimImage) {
    let disk = SimDisk::from_image(image);
    disk.record(false);
    let mut pager = PagerOptions::new().open_on::<P>(&disk).expect("the image was opened before");
    let (before, generation) = (shown(&pager), pager.generation());
    let count = usize::try_from(pager.free_page_count()).expect("a small file") + 3;
    let ids = pager.alloc_bulk(count).expect("there is space");
    let id = pager.alloc_protected().expect("there is space");
    let mut writer = pager.protected_mut(id).expect("it was allocated");
    writer.page_mut().fill(0x77);
    writer.commit().expect("nothing fails");
    pager.page_mut(ids[0]).expect("it was allocated").fill(0x78);
    assert!(pager.generation() > generation, "a commit is newer than what was durable");
    assert!(ids.iter().all(|id| !before.contains_key(&(false, id.to_u64()))), "a page is handed out twice");
    pager.close().expect("nothing fails");
    let mut pager = PagerOptions::new().open_on::<P>(&disk).expect("it was closed");
    assert!(pager.protected(id).expect("it was written").iter().all(|byte| *byte == 0x77));
    assert!(pager.page(ids[0]).expect("it was written").iter().all(|byte| *byte == 0x78));
    assert!(pager.recovery().is_clean());
    pager.free_bulk(&ids).expect("they are in use");
    pager.free_protected(id).expect("it is in use");
    assert!(shown(&pager) == before, "a cycle changes what was there");
    assert_eq!(pager.check(), []);
}

/// A number for the content of every page, by whether it is protected and by id.
fn shown<const P: usize>(pager: &Pager<P>) -> BTreeMap<(bool, u64), u64> {
    let number = |content: &[u8; P]| SimImage::from(&content[..]).fingerprint();
    let regular = pager.iter_allocated_pages().map(|id| (false, id.to_u64(), pager.page(id).expect("it is listed")));
    let protected = pager
        .iter_allocated_protected_pages()
        .map(|id| (true, id.to_u64(), pager.protected(id).expect("it was verified")));
    let pages = regular.chain(protected).map(|(kind, id, content)| ((kind, id), number(content)));
    let extents = pager.iter_allocated_extents().map(|id| {
        let content = SimImage::from(pager.extent(id).expect("it is listed"));
        // The ids of extents are names of protected pages that there are not.
        ((true, id.to_u64()), content.fingerprint())
    });
    pages.chain(extents).collect()
}

/// Which fills each sector of a page of that name may hold in a generation: `None` is anything.
pub fn unsettled(before: &Model, after: &Model, generation: u64) -> impl Fn(u64, Regular) -> Option<Vec<u8>> {
    let committed = generation <= after.generation && generation > before.generation;
    move |id, page| {
        let known = [before.stored(id), after.stored(id)].into_iter().flatten();
        let mut fills = vec![page.fill];
        if committed && page.settled && !before.stored(id).is_some_and(Regular::is_blank) {
            // What the commit overwrote in place, and what was stored before it, was there before anything could name it.
            return Some(fills);
        }
        // Where a store is on its way, it may have arrived or not.
        for page in known {
            if page.settled {
                fills.push(page.fill);
            } else {
                fills.extend(page.may_hold()?);
            }
        }
        Some(fills)
    }
}

/// Compares all that a pager shows with a model. `allowed` says which fills each sector of a page may hold, `None` being
/// anything; of pages that were being overwritten, `damaged` sectors in all may hold none of them.
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
    compare_after_failure(pager, model, allowed, damaged, &|_| false);
}

/// The same where a call has failed: protected pages that may be `spoilt` hold what the model does, or say that they do not.
///
/// # Panics
///
/// When they differ.
pub fn compare_after_failure<const P: usize>(
    pager: &Pager<P>,
    model: &Model,
    allowed: &dyn Fn(u64, Regular) -> Option<Vec<u8>>,
    damaged: usize,
    spoilt: &dyn Fn(u64) -> bool,
) {
    compare_lists(pager, model);
    for (id, fill) in &model.protected {
        let may_be_spoilt = spoilt(*id);
        let id = ProtectedPageId::from_u64(*id).expect("the model holds ids");
        match pager.protected(id) {
            Ok(content) => assert!(is_filled(&content[..], *fill), "{id} does not hold {fill:#x}"),
            Err(error) => assert!(may_be_spoilt && error.is_corruption(), "{id}: {error}"),
        }
    }
    compare_table(pager, model, spoilt);
    let mut left = damaged;
    let regular =
        model.regular.iter().map(|(id, page)| (*id, *page, &pager.page(page_id(*id)).expect("it is listed")[..]));
    let extents = model.extents.iter().flat_map(|(id, pages)| {
        let content = pager.extent(extent_id(*id)).expect("it is listed").chunks(P);
        pages.iter().zip(content).enumerate().map(|(at, (page, content))| (extent_page(*id, at), *page, content))
    });
    for (id, page, content) in regular.chain(extents) {
        let Some(fills) = allowed(id, page) else { continue };
        let is_whole = |sector: &&[u8]| fills.contains(&sector[0]) && is_filled(sector, sector[0]);
        let wrong = content.chunks(512).filter(|sector| !is_whole(sector)).count();
        let overwritten = fills.iter().any(|fill| *fill != page.fill);
        assert!(wrong <= if overwritten { left } else { 0 }, "{wrong} sectors of {id:#x} hold none of {fills:x?}");
        left -= wrong;
    }
}

/// The table of sub-pages: which are live, what they hold, that it agrees with itself, and that nobody else has pages of
/// tables. One that may be `spoilt` may say that it is.
fn compare_table<const P: usize>(pager: &Pager<P>, model: &Model, spoilt: &dyn Fn(u64) -> bool) {
    let of_extents = model.extents.values().map(|pages| pages.len() as u64);
    let others = model.foreign_pages + of_extents.sum::<u64>();
    let Some(table) = &model.table else {
        return assert_eq!(pager.table_owned_page_count(), others, "pages of no table");
    };
    let compared = || -> diptych::Result<()> {
        let view = pager.sub_pages(table_id::<P>(table))?;
        view.check()?;
        let listed: Vec<u64> = view.iter_allocated().map(|id| id.map(SubPageId::to_u64)).collect::<Result<_, _>>()?;
        assert_eq!(listed, table.live.keys().copied().collect::<Vec<_>>(), "live sub-pages");
        for (id, fill) in &table.live {
            let content = view.page(sub_page(*id))?;
            assert!(is_filled(&content[..], *fill), "sub-page {id} does not hold {fill:#x}");
        }
        let owned = others + 2 * view.page_count()?;
        assert_eq!(pager.table_owned_page_count(), owned, "pages of the table");
        Ok(())
    };
    if let Err(error) = compared() {
        assert!(spoilt(table.id) && error.is_corruption(), "the table: {error}");
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
    let lens = |id| pager.extent(id).expect("it is listed").len() / P;
    let extents: Vec<(u64, usize)> = pager.iter_allocated_extents().map(|id| (id.to_u64(), lens(id))).collect();
    let expected: Vec<(u64, usize)> = model.extents.iter().map(|(id, pages)| (*id, pages.len())).collect();
    assert_eq!(extents, expected, "extents");
    assert_eq!(pager.header(), &[model.header; 128], "the header");
}

fn page_id<const P: usize>(id: u64) -> PageId<P> {
    PageId::from_u64(id).expect("the model holds ids")
}

fn extent_id<const P: usize>(id: u64) -> ExtentId<P> {
    ExtentId::from_u64(id).expect("the model holds ids")
}

/// Compared in large parts, which is quicker by far than byte by byte.
pub(crate) fn is_filled(bytes: &[u8], fill: u8) -> bool {
    bytes.chunks(512).all(|part| *part == [fill; 512][..part.len()])
}

/// How many sectors a crash may leave as nobody wrote them.
#[must_use]
pub fn damaged_sectors(state: &CrashState) -> usize {
    let bytes = state.damaged();
    usize::try_from(bytes.end - bytes.start).expect("a unit") / SimImage::SECTOR_LEN
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

/// For each thing that must hold, an image or a model for which it does not.
#[cfg(test)]
mod tests {
    use diptych::{PagerOptions, SimDisk, SimImage};

    use super::{caught, opened_with_little_work, reports_what_it_changed, verify, verify_again, verify_cycle};
    use crate::forgery::{BLOCK, DIRECTORY_TOP, Forgery, SLOT_METADATA_GENERATION};
    use crate::lab::{Lab, Start};
    use crate::model::Model;
    use crate::operation::{End, Operation, Step};

    const P: usize = 4096;

    fn closed(lab: &mut Lab<P>) -> (SimImage, Model) {
        lab.run(&Operation::Reopen).expect("nothing fails");
        (lab.disk.durable_image(), lab.model.clone())
    }

    /// A file at rest, what it holds, and the same after one operation more.
    fn around(operation: Operation) -> [(SimImage, Model); 2] {
        let mut lab = Lab::<P>::start(Start::HalfFull);
        let before = closed(&mut lab);
        lab.run(&operation).expect("nothing fails");
        [before, closed(&mut lab)]
    }

    #[track_caller]
    fn flagged(image: &SimImage, before: &Model, after: &Model, expected: &str) {
        let message = caught(|| verify::<P>(image.clone(), before, after, 0)).expect_err("it is flagged");
        assert!(message.contains(expected), "{message}");
    }

    #[test]
    fn a_file_that_is_whole_is_not_flagged() {
        let [(image, model), (_, after)] = around(Operation::Alloc);
        assert!(!verify::<P>(image.clone(), &model, &after, 0));
        verify_cycle::<P>(image);
    }

    #[test]
    fn an_image_that_does_not_open_is_flagged() {
        let [(mut image, model), _] = around(Operation::Alloc);
        image.write(3 * BLOCK, &[0x55; 8192]);
        flagged(&image, &model, &model, "does not open");
    }

    #[test]
    fn an_opening_of_many_calls_is_flagged() {
        let [(image, _), _] = around(Operation::Alloc);
        let disk = SimDisk::from_image(image.clone());
        // Calls of all openings are counted together.
        let open = || drop(PagerOptions::new().open_on::<P>(&disk).expect("it is whole"));
        let checked = |disk| opened_with_little_work::<P>(disk, std::time::Duration::ZERO, &image);
        open();
        checked(&disk);
        (0..50).for_each(|_| open());
        assert!(caught(|| checked(&disk)).expect_err("it is flagged").contains("calls"));
    }

    #[test]
    fn a_state_older_than_what_was_acknowledged_is_flagged() {
        let [(image, older), (_, model)] = around(Operation::Alloc);
        flagged(&image, &model, &model, "is neither");
        let newer = Model { generation: model.generation + 1, ..model.clone() };
        flagged(&image, &model, &newer, "is neither");
        verify::<P>(image, &older, &model, 0);
    }

    #[test]
    fn a_mixture_of_two_states_is_flagged() {
        let [(image, model), (_, after)] =
            around(Operation::Transaction(vec![Step::Header(9), Step::Free(0)], End::Commit));
        flagged(&image, &Model { header: after.header, ..model.clone() }, &after, "the header");
        flagged(&image, &Model { regular: after.regular.clone(), ..model.clone() }, &after, "regular pages");
        let mut other = model.clone();
        other.protected.insert(77, 0);
        flagged(&image, &other, &after, "protected pages");
    }

    #[test]
    fn an_overwritten_page_that_is_old_in_the_new_generation_is_flagged() {
        let [(image, before), (mut newer, after)] =
            around(Operation::Transaction(vec![Step::Write(0, 0x91)], End::Commit));
        let page = *before.regular.keys().next().expect("it is half full") * BLOCK;
        let mut sector = [0; 512];
        image.read(page, &mut sector);
        newer.write(page, &sector);
        flagged(&newer, &before, &after, "sectors of");
        // In the generation before, it may have been begun.
        let mut begun = image.clone();
        begun.write(page, &[0x91; 512]);
        verify::<P>(begun, &before, &after, 0);
    }

    #[test]
    fn two_damaged_sectors_of_two_pages_are_more_than_the_one_that_a_power_cut_damages() {
        let writes = vec![Step::Write(0, 0x91), Step::Write(1, 0x92)];
        let [(mut image, before), (_, after)] = around(Operation::Transaction(writes, End::Commit));
        for (at, page) in before.regular.keys().take(2).enumerate() {
            let checked = caught(|| verify::<P>(image.clone(), &before, &after, 1));
            assert_eq!(checked, Ok(false), "with {at} damaged sectors");
            image.write(page * BLOCK, &[0xee; 512]);
        }
        let message = caught(|| verify::<P>(image, &before, &after, 1)).expect_err("it is flagged");
        assert!(message.contains("sectors of"), "{message}");
    }

    #[test]
    fn a_protected_page_that_rots_or_holds_something_else_is_flagged() {
        let [(image, model), _] = around(Operation::Alloc);
        let mut forgery = Forgery::of(&image);
        let entry = forgery.live_metadata() + DIRECTORY_TOP + 32;
        forgery.image.write(forgery.live_copy(entry), &[0x99; 4096]);
        flagged(&forgery.image, &model, &model, "checksum");
        forgery.name_copy(entry, BLOCK);
        forgery.mend_block(forgery.live_metadata());
        forgery.name_metadata();
        flagged(&forgery.image, &model, &model, "does not hold");
    }

    #[test]
    fn a_freed_page_that_is_changed_before_its_commit_is_durable_is_flagged() {
        let [(mut image, before), (_, after)] = around(Operation::Free(0));
        let page = *before.regular.keys().next().expect("it is half full");
        image.write(page * BLOCK, &[0xee; 512]);
        flagged(&image, &before, &after, "sectors of");
    }

    #[test]
    fn a_crash_that_leaves_no_slot_whole_is_flagged() {
        let [(mut image, model), _] = around(Operation::Alloc);
        image.write(BLOCK, &[0x55; 8192]);
        flagged(&image, &model, &model, "no slot is whole");
    }

    #[test]
    fn an_opening_that_is_not_the_last_one_that_changes_bytes_is_flagged() {
        let [(mut image, _), _] = around(Operation::Alloc);
        let slot = Forgery::of(&image).live_slot();
        image.flip_bit(3 * BLOCK - slot + 8, 1);
        assert!(caught(|| verify_again::<P>(&SimDisk::from_image(image))).is_err());
    }

    #[test]
    fn a_file_with_which_nothing_can_be_done_is_flagged() {
        let [(image, _), _] = around(Operation::Alloc);
        let mut last = Forgery::of(&image);
        // Generations end there.
        let (slot, metadata) = (last.live_slot(), last.live_metadata());
        last.put_u64(slot + 24, (1 << 63) - 1);
        last.put_u64(slot + SLOT_METADATA_GENERATION, (1 << 63) - 1);
        last.put_u64(metadata + 32, (1 << 63) - 1);
        last.mend_block(metadata);
        last.name_metadata();
        assert!(caught(|| verify_cycle::<P>(last.image)).is_err());
    }

    #[test]
    fn a_repair_that_is_not_reported_and_a_report_of_none_are_flagged() {
        let [(whole, _), _] = around(Operation::Alloc);
        let other = 3 * BLOCK - Forgery::of(&whole).live_slot();
        let mut torn = whole.clone();
        torn.flip_bit(other + 8, 1);
        let disk = SimDisk::from_image(torn.clone());
        let repair = PagerOptions::new().open_on::<P>(&disk).expect("the other slot counts").recovery().clone();
        let settled = disk.cached_image();
        let nothing = PagerOptions::new().open_on::<P>(&disk).expect("it was opened").recovery().clone();
        reports_what_it_changed(&torn, &settled, &repair);
        reports_what_it_changed(&whole, &whole, &nothing);
        for (found, settled, recovery) in
            [(&torn, &settled, &nothing), (&whole, &whole, &repair), (&settled, &whole, &nothing)]
        {
            assert!(caught(|| reports_what_it_changed(found, settled, recovery)).is_err());
        }
        // Nothing behind the reserved region is ever repaired.
        let mut elsewhere = settled.clone();
        elsewhere.flip_bit(settled.len() - 1, 1);
        assert!(caught(|| reports_what_it_changed(&torn, &elsewhere, &repair)).is_err());
    }
}
