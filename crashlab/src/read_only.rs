//! A pager that only reads shows of any image what a pager shows that recovers it, and writes nothing.

use std::collections::BTreeMap;

use diptych::{CallKind, MappedPage, PageReader, PagerOptions, Recovery, SimDisk, SimImage};

/// Everything that can be read, and what each page holds or why it cannot be read.
#[derive(Debug, PartialEq, Eq)]
struct Shown {
    counts: [u64; 7],
    header: [u8; 128],
    pages: BTreeMap<(bool, u64), Result<Vec<u8>, String>>,
    extents: Vec<Vec<u8>>,
    findings: Vec<String>,
}

fn shown<const P: usize>(pager: &PageReader<P>) -> Shown {
    let regular = pager.iter_allocated_pages().map(|id| ((false, id.to_u64()), pager.page(id)));
    let protected = pager.iter_allocated_protected_pages().map(|id| ((true, id.to_u64()), pager.protected(id)));
    let content = |page: diptych::Result<&MappedPage<P>>| {
        page.map(|page| page.as_bytes().to_vec()).map_err(|error| error.to_string())
    };
    Shown {
        counts: [
            pager.generation().to_u64(),
            pager.durable_generation().to_u64(),
            pager.page_count(),
            pager.free_page_count(),
            pager.allocated_page_count(),
            pager.allocated_protected_page_count(),
            pager.table_owned_page_count(),
        ],
        extents: pager.iter_allocated_extents().filter_map(|id| Some(pager.extent(id).ok()?.to_vec())).collect(),
        header: *pager.header(),
        pages: regular.chain(protected).map(|(name, page)| (name, content(page))).collect(),
        findings: pager.check().iter().map(ToString::to_string).collect(),
    }
}

/// Opens an image both ways and compares what is shown, what is reported, and what is refused. Returns what
/// recovery has to do, if the image opens.
///
/// # Panics
///
/// With what differs, or when reading makes a call that can change something.
pub fn verify_read_only<const P: usize>(options: &PagerOptions, image: &SimImage) -> Option<Recovery> {
    let (disk, other) = (SimDisk::from_image(image.clone()), SimDisk::from_image(image.clone()));
    let read = options.open_read_only_on::<P>(&disk);
    let found = match (read, options.open_on::<P>(&other)) {
        (Ok(reader), Ok(pager)) => {
            assert!(!reader.recovery().durable && pager.recovery().durable, "only what is written is durable");
            assert_eq!(reader.recovery().is_clean(), pager.recovery().is_clean());
            let mut would_be = reader.recovery().clone();
            would_be.durable = true;
            assert_eq!(would_be, *pager.recovery(), "the reports differ");
            assert_eq!(shown(&reader), shown(&pager), "a pager that only reads shows something else");
            Some(reader.recovery().clone())
        }
        (Err(reading), Err(writing)) => {
            assert_eq!(reading.to_string(), writing.to_string(), "it is refused for another reason");
            None
        }
        (reading, writing) => panic!("reading: {reading:?}, writing: {writing:?}"),
    };
    let changing = [
        CallKind::Write,
        CallKind::Grow,
        CallKind::Cut,
        CallKind::Allocate,
        CallKind::Punch,
        CallKind::Barrier,
        CallKind::SyncDirectory,
    ];
    assert!(changing.into_iter().all(|kind| disk.calls(kind) == 0), "reading makes a call that can change something");
    assert!(disk.cached_image() == *image && disk.durable_image() == *image, "reading changes bytes");
    assert!(!disk.is_attached());
    found
}
