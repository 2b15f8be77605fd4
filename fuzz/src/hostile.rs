//! What must hold of a file that may hold anything.
//!
//! It is refused with an error that opening documents, and not a byte of it changed; or it opens, and from there on is a pager
//! as any other: what it shows agrees with itself, a check finds nothing but protected pages that do not verify, an audit that
//! reads the image by itself agrees, opening it again shows the same, and operations do with it what they do with the model.

use std::collections::{BTreeMap, BTreeSet};

use crashlab::audit::audit;
use crashlab::lab::Lab;
use crashlab::model::{Model, Regular};
use crashlab::operation::Operation;
use diptych::{Block, Error, ExtentId, PageId, Pager, PagerOptions, ProtectedPageId, Result, SimDisk, SimImage};
use xxhash_rust::xxh3::xxh3_64;

/// Opens a file of any bytes, and goes on with it if it opens.
///
/// # Panics
///
/// With what does not hold.
pub fn hostile<const P: usize>(image: &SimImage, operations: &[Operation]) {
    let refused = !opens::<P>(image, false, operations);
    if refused {
        opens::<P>(image, true, operations);
    }
}

/// Bytes that the file may grow to: enough for a few pages of any size, so that memory is bounded.
fn options<const P: usize>(len: u64) -> PagerOptions {
    let page = u64::try_from(P).expect("usize fits u64");
    // Addresses are reserved for some, so that both ways of growing are taken.
    PagerOptions::new().max_file_bytes((len + 4 * page).max(2 << 20)).address_space((len & 512) << 20)
}

fn opens<const P: usize>(image: &SimImage, older: bool, operations: &[Operation]) -> bool {
    let options = options::<P>(image.len());
    let disk = SimDisk::from_image(image.clone());
    disk.record(false);
    let mut pager = match options.clone().accept_older_state(older).open_on::<P>(&disk) {
        Ok(pager) => pager,
        Err(error) => {
            assert!(is_refusal(&error, image), "opening fails with {error:?}");
            assert!(!error.to_string().is_empty());
            assert!(disk.cached_image() == *image, "a failed open changes bytes");
            return false;
        }
    };
    assert!(older || pager.recovery().passed_over.is_none(), "nobody asked for the older state");
    assert!(pager.page_count() * u64::try_from(P).expect("usize fits u64") <= image.len(), "pages past the end");
    let shown = Shown::by(&pager);

    // What lies behind the last page is cut off.
    drop(pager);
    let settled = disk.cached_image();
    audit(&settled).unwrap_or_else(|wrong| panic!("the file opens, and an audit finds: {wrong}"));
    pager = options.open_on::<P>(&disk).expect("what was opened opens again");
    assert!(pager.recovery().is_clean(), "there is nothing left to do: {:?}", pager.recovery());
    assert_eq!(Shown::by(&pager), shown, "it shows the same when it is opened again");
    assert!(disk.cached_image() == settled, "opening again changes bytes");

    match take_over(&mut pager) {
        Ok(model) => go_on(Lab::around(disk, pager, model).reopened_with(options), operations),
        Err(error) => assert!(is_limit(&error), "writing fails with {error:?}"),
    }
    true
}

/// Whether opening says that it may fail like this, for reasons that lie in the file.
fn is_refusal(error: &Error, image: &SimImage) -> bool {
    match error {
        Error::Empty { .. }
        | Error::TooShort { .. }
        | Error::NotDiptych { .. }
        | Error::FormatVersion { .. }
        | Error::UnknownFeatures { .. }
        | Error::PageSize { .. }
        | Error::Truncated { .. }
        | Error::Corrupt { .. }
        | Error::Ambiguous { .. } => true,
        Error::Io { op, .. } => *op == "read" && image.unreadable_sectors().next().is_some(),
        _ => false,
    }
}

/// Whether a change may fail like this.
fn is_limit(error: &Error) -> bool {
    matches!(error, Error::Full { .. } | Error::LastGeneration { .. })
}

/// All that a pager shows.
#[derive(Clone, Debug, PartialEq, Eq)]
struct Shown {
    generation: u64,
    pages: u64,
    header: [u8; diptych::HEADER_LEN],
    regular: BTreeMap<u64, u64>,
    /// Nothing where the page does not verify.
    protected: BTreeMap<u64, Option<u64>>,
}

impl Shown {
    /// Reads everything and compares it with itself.
    fn by<const P: usize>(pager: &Pager<P>) -> Self {
        let mut bad = BTreeSet::new();
        for finding in pager.check() {
            match finding.block {
                Block::ProtectedPage { id } => {
                    bad.insert(id);
                }
                // Nobody knows of which table, so nobody can read it.
                Block::TablePage { .. } => {}
                _ => panic!("after opening a check finds {finding}"),
            }
        }
        let mut regular = BTreeMap::new();
        for id in pager.iter_allocated_pages() {
            assert!(pager.is_allocated(id) && id.to_u64() < pager.page_count());
            let content = pager.page(id).expect("an allocated page can be read");
            assert_eq!(regular.insert(id.to_u64(), xxh3_64(&content[..])), None, "{id} comes twice");
        }
        assert_eq!(wide(regular.len()), pager.allocated_page_count());
        let mut protected = BTreeMap::new();
        for id in pager.iter_allocated_protected_pages() {
            assert!(pager.is_allocated(id));
            let content = match pager.protected(id) {
                Ok(content) => Some(xxh3_64(&content[..])),
                Err(Error::Corrupt { block: Block::ProtectedPage { .. }, .. } | Error::Io { op: "read", .. }) => None,
                Err(error) => panic!("reading {id} fails with {error:?}"),
            };
            assert_eq!(content.is_none(), bad.contains(&id.to_u64()), "{id}: a check and a touch say the same");
            assert_eq!(protected.insert(id.to_u64(), content), None, "{id} comes twice");
        }
        assert_eq!(wide(protected.len()), pager.allocated_protected_page_count());
        assert!(bad.iter().all(|id| protected.contains_key(id)), "a check finds a page that is not there");
        let beyond = PageId::<P>::from_u64(pager.page_count()).expect("a file has pages");
        assert!(matches!(pager.page(beyond), Err(Error::OutOfRange { .. })));
        let (generation, pages) = (pager.generation().to_u64(), pager.page_count());
        Shown { generation, pages, header: *pager.header(), regular, protected }
    }
}

/// Fills all pages of a file that somebody else made, which heals those that do not verify, and says what it holds then.
///
/// # Errors
///
/// Those of the pager.
///
/// # Panics
///
/// When the pager does not have a page that it lists.
pub fn take_over<const P: usize>(pager: &mut Pager<P>) -> Result<Model> {
    let regular: Vec<u64> = pager.iter_allocated_pages().map(PageId::to_u64).collect();
    let protected: Vec<ProtectedPageId<P>> = pager.iter_allocated_protected_pages().collect();
    let mut model = Model { header: 0x5a, ..Model::default() };
    let mut transaction = pager.transaction()?;
    transaction.set_header(&[model.header; diptych::HEADER_LEN])?;
    for id in protected {
        let fill = fill_of(id.to_u64());
        transaction.protected_zeroed(id)?.fill(fill);
        model.protected.insert(id.to_u64(), fill);
    }
    transaction.commit()?;
    for id in regular {
        let fill = fill_of(id);
        pager.page_mut(PageId::from_u64(id).expect("it was listed"))?.fill(fill);
        model.regular.insert(id, Regular::settled(fill));
    }
    let extents: Vec<ExtentId<P>> = pager.iter_allocated_extents().collect();
    for id in extents {
        let fill = fill_of(id.to_u64());
        let content = pager.extent_mut(id)?;
        content.fill(fill);
        let pages = vec![Regular::settled(fill); content.len() / P];
        model.extents.insert(id.to_u64(), pages);
    }
    pager.sync()?;
    model.generation = pager.generation().to_u64();
    let of_extents: usize = model.extents.values().map(Vec::len).sum();
    model.foreign_pages = pager.table_owned_page_count() - of_extents as u64;
    Ok(model)
}

fn fill_of(id: u64) -> u8 {
    id.to_le_bytes()[0]
}

fn go_on<const P: usize>(mut lab: Lab<P>, operations: &[Operation]) {
    lab.compare();
    let always =
        [Operation::Alloc, Operation::AllocProtected, Operation::WriteProtected(255, 0x77), Operation::Free(1)];
    for operation in always.iter().chain(operations) {
        if let Err(error) = lab.run(operation) {
            assert!(is_limit(&error), "{operation:?} fails with {error:?}");
        }
        lab.compare();
    }
    assert_whole(lab.pager.as_ref().expect("it is open"));
    lab.run(&Operation::Reopen).expect("an orderly close, and the file opens");
    lab.compare();
    let pager = lab.pager.as_ref().expect("it is open");
    assert!(pager.recovery().is_clean());
    assert_whole(pager);
}

/// Everything was written, so a check finds nothing, but for pages of tables that were there before.
fn assert_whole<const P: usize>(pager: &Pager<P>) {
    let mut found = pager.check();
    found.retain(|finding| !matches!(finding.block, Block::TablePage { .. }));
    assert_eq!(found, []);
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("usize fits u64")
}
