//! What becomes of a damaged file, and what must not.

use std::collections::BTreeMap;
use std::panic::{AssertUnwindSafe, catch_unwind};

use crate::block::Block;
use crate::engine::{Engine, EngineOptions, Owned, Recovery, Verification, tests};
use crate::error::{Error, Result};
use crate::format::{HEADER_LEN, MAX_GENERATION, MIN_PAGE_SIZE};
use crate::storage::{CallKind, SimDisk, SimImage};

use super::start::{Start, key};

/// Failures that are shown; the rest are counted.
const SHOWN_FAILURES: usize = 25;

pub(super) fn options() -> EngineOptions {
    EngineOptions { reserve: 1 << 20, growth_limit: 64 << 10, verification: Verification::Always, ..tests::options() }
}

/// All that a file shows: pages by number, with the checksum of what they hold.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(super) struct Shown {
    pub(super) generation: u64,
    total_pages: u64,
    regular: Vec<(u64, u64)>,
    /// None is a page that does not verify.
    protected: Vec<(u64, Option<u64>)>,
    header: [u8; HEADER_LEN],
}

impl Shown {
    pub(super) fn of(engine: &Engine) -> Shown {
        let (state, key) = (engine.live(), key());
        let mut regular = Vec::new();
        let mut from = 0;
        while let Some((at, mut word)) = state.next_regular_word(from) {
            while word != 0 {
                let page = 64 * at + u64::from(word.trailing_zeros());
                let content = engine.page(page).expect("a page of the word is regular");
                regular.push((page, key.checksum(content)));
                word &= word - 1;
            }
            from = at + 1;
        }
        let mut protected = Vec::new();
        let mut from = 0;
        while let Some(index) = state.next_protected(from) {
            let content = match engine.protected(index) {
                Ok(content) => Some(key.checksum(content)),
                Err(Error::Corrupt { block, field: "checksum", .. }) => {
                    assert_eq!(block, Block::ProtectedPage { id: index + 1 });
                    None
                }
                Err(error) => panic!("protected page {}: {error}", index + 1),
            };
            protected.push((index, content));
            from = index + 1;
        }
        let (generation, total_pages) = (state.generation(), state.total_pages());
        Shown { generation, total_pages, regular, protected, header: *state.header() }
    }
}

impl Shown {
    /// The same with a protected page that does not verify.
    fn without(&self, index: u64) -> Shown {
        let mut rotten = self.clone();
        rotten.protected.iter_mut().filter(|(at, _)| *at == index).for_each(|(_, content)| *content = None);
        rotten
    }
}

/// What has to become of a damaged file.
#[derive(Clone, Copy, Debug)]
pub(super) enum Expect {
    /// The newest state, whole, or a refusal: of this block, if one is named.
    Right {
        names: Option<Block>,
        /// Something was repaired, so a file that opens says so.
        is_reported: bool,
    },
    /// The newest state, but for the content of this protected page, which touching it and checking report.
    Rotten { index: u64 },
    /// As [`Right`](Expect::Right), or the state before, and it says that it passed one over: the options allow it.
    RightOrOlder,
    /// The newest state or the one before, or a refusal: no slot is left to say which was acknowledged.
    RightOrBefore,
    /// A refusal: what is forged contradicts something that is not.
    Refused,
    /// The file was forged, so it may show what it likes: no panic, no write before a verdict, and a pager that works.
    Safe,
}

/// What became of the damaged files, counted.
#[derive(Debug, Default)]
pub(super) struct Tally {
    pub(super) cases: u64,
    pub(super) refused: BTreeMap<String, u64>,
    pub(super) survived_with_a_report: u64,
    pub(super) survived_untouched: u64,
    pub(super) opened_as_forged: u64,
    /// How often each field of each structure was damaged.
    pub(super) damaged: BTreeMap<(&'static str, &'static str), u64>,
    failures: Vec<String>,
}

impl Tally {
    /// Runs a case. `name` says which it is, should it fail. Returns the refusal.
    pub(super) fn run(
        &mut self,
        start: &Start,
        image: &SimImage,
        expect: Expect,
        name: impl FnOnce() -> String,
    ) -> Option<Error> {
        self.cases += 1;
        let disk = SimDisk::from_image(image.clone());
        disk.record(false);
        let ran = catch_unwind(AssertUnwindSafe(|| run(start, &disk, image, expect, self.cases)));
        let failure = match ran {
            Ok(Ok(Became::Refused(error))) => {
                *self.refused.entry(variant(&error)).or_default() += 1;
                return Some(error);
            }
            Ok(Ok(became)) => {
                match became {
                    Became::Reported => self.survived_with_a_report += 1,
                    Became::Untouched => self.survived_untouched += 1,
                    _ => self.opened_as_forged += 1,
                }
                return None;
            }
            Ok(Err(failure)) => failure,
            Err(panic) => format!("a panic: {}", message(panic.as_ref())),
        };
        self.failures.push(format!("{:?} of {}, {}: {failure}", start.content, start.page_size, name()));
        None
    }

    /// Prints the counts.
    ///
    /// # Panics
    ///
    /// If a case failed, or there were fewer than `at_least`.
    pub(super) fn finish(&self, title: &str, at_least: u64) {
        println!("\n{title}: {} cases", self.cases);
        println!("{:>8}  survived with a report", self.survived_with_a_report);
        println!("{:>8}  survived untouched", self.survived_untouched);
        println!("{:>8}  opened as forged, and safe", self.opened_as_forged);
        println!("{:>8}  refused", self.refused.values().sum::<u64>());
        for (variant, count) in &self.refused {
            println!("{count:>8}    {variant}");
        }
        let shown = self.failures.iter().take(SHOWN_FAILURES).cloned().collect::<Vec<_>>().join("\n");
        assert!(self.failures.is_empty(), "{} cases failed:\n{shown}", self.failures.len());
        assert!(self.cases >= at_least, "{title}: {} cases of at least {at_least}", self.cases);
    }
}

enum Became {
    Refused(Error),
    Reported,
    Untouched,
    Forged,
}

/// The variant of an error, with the field where there is one.
fn variant(error: &Error) -> String {
    match error {
        Error::Corrupt { field, .. } => format!("Corrupt: {field}"),
        Error::Truncated { .. } => "Truncated".to_owned(),
        Error::Ambiguous { .. } => "Ambiguous".to_owned(),
        Error::NotDiptych { .. } => "NotDiptych".to_owned(),
        Error::FormatVersion { .. } => "FormatVersion".to_owned(),
        Error::UnknownFeatures { .. } => "UnknownFeatures".to_owned(),
        Error::PageSize { .. } => "PageSize".to_owned(),
        Error::Empty { .. } => "Empty".to_owned(),
        Error::TooShort { .. } => "TooShort".to_owned(),
        other => format!("{other:?}"),
    }
}

fn message(panic: &(dyn std::any::Any + Send)) -> &str {
    let text = panic.downcast_ref::<String>().map(String::as_str);
    text.or_else(|| panic.downcast_ref::<&str>().copied()).unwrap_or("without a message")
}

/// Opened for reading, the file shows, reports or refuses the same, and stays as it is.
fn read_only(start: &Start, image: &SimImage, options: EngineOptions) -> Result<(), String> {
    let [disk, other] = [(); 2].map(|()| SimDisk::from_image(image.clone()));
    let read = Engine::open_read_only(disk.attach_read_only().expect("nobody holds it"), start.page_size, options);
    let written = Engine::open(other.attach().expect("nobody holds it"), start.page_size, options);
    match (&read, &written) {
        (Ok(read), Ok(written)) => {
            ensure(Shown::of(read) == Shown::of(written), || "a reader is shown something else".to_owned())?;
            let would_be = Recovery { durable: true, ..read.recovery().clone() };
            ensure(would_be == *written.recovery(), || format!("a reader is told {would_be:?}"))?;
            ensure(read.check() == written.check(), || format!("a check of a reader finds {:?}", read.check()))?;
        }
        (Err(read), Err(written)) => {
            ensure(read.to_string() == written.to_string(), || format!("a reader is refused with {read}"))?;
        }
        _ => return Err(format!("for reading: {:?}, for writing: {:?}", read.is_ok(), written.is_ok())),
    }
    drop(read);
    ensure(disk.cached_image() == *image, || "opening for reading changes bytes".to_owned())
}

fn run(start: &Start, disk: &SimDisk, image: &SimImage, expect: Expect, number: u64) -> Result<Became, String> {
    let take_older = matches!(expect, Expect::RightOrOlder);
    let options = EngineOptions { take_older, ..options() };
    if number.is_multiple_of(4) {
        read_only(start, image, options)?;
    }
    let opened = Engine::open(disk.attach().expect("nobody holds it"), start.page_size, options);
    // Each walk reads a block or a page once; the reserved region and the pages that prove a commit come on top.
    let places = image.len() / u64::try_from(MIN_PAGE_SIZE).expect("a small number") + 1;
    let reads = disk.calls(CallKind::Read);
    ensure(reads <= 3 * places + 15, || format!("opening made {reads} reads of {places} places"))?;
    let engine = match opened {
        Ok(engine) => engine,
        Err(error) => {
            refused(start, disk, image, expect, &error)?;
            return Ok(Became::Refused(error));
        }
    };
    let bytes = engine.geometry().offset(engine.live().total_pages());
    ensure(bytes <= image.len(), || format!("{bytes} bytes are claimed of {}", image.len()))?;
    let is_clean = engine.recovery().is_clean();
    let shown = Shown::of(&engine);
    let is_right = shown == start.shown;
    let findings = engine.check();
    match expect {
        Expect::Safe => {}
        Expect::Refused => return Err("the file opens".to_owned()),
        Expect::Right { is_reported, .. } => {
            ensure(is_right, || format!("a wrong state: {shown:?}"))?;
            ensure(!is_reported || !is_clean, || "a repair is not in the report".to_owned())?;
            ensure(findings.is_empty(), || format!("a check finds {findings:?}"))?;
        }
        Expect::Rotten { index } => {
            ensure(shown == start.shown.without(index), || format!("a wrong state: {shown:?}"))?;
            let [finding] = &findings[..] else { return Err(format!("a check finds {findings:?}")) };
            let named = (finding.block, finding.field) == (Block::ProtectedPage { id: index + 1 }, "checksum");
            ensure(named, || format!("a check finds {finding}"))?;
        }
        Expect::RightOrBefore => {
            let is_before = Some(&shown) == start.shown_before.as_ref();
            ensure((is_right || is_before) && !is_clean, || format!("a wrong state: {shown:?}"))?;
            ensure(findings.is_empty(), || format!("a check finds {findings:?}"))?;
        }
        Expect::RightOrOlder => {
            let passed_over = engine.recovery().passed_over.map(|generation| generation.to_u64());
            let is_before = Some(&shown) == start.shown_before.as_ref() && passed_over == Some(start.shown.generation);
            ensure(is_right || is_before, || format!("a wrong state: {shown:?}"))?;
            ensure(findings.is_empty(), || format!("a check finds {findings:?}"))?;
        }
    }
    // What is right was seen to work before; a sample of it is enough.
    if !is_right || number.is_multiple_of(16) {
        exercise(engine, disk, start.page_size, number.is_multiple_of(64)).map_err(|error| error.to_string())?;
    }
    Ok(match (expect, is_right, is_clean) {
        (Expect::Safe, false, _) => Became::Forged,
        (_, _, true) => Became::Untouched,
        (_, _, false) => Became::Reported,
    })
}

fn ensure(holds: bool, otherwise: impl FnOnce() -> String) -> Result<(), String> {
    if holds { Ok(()) } else { Err(otherwise()) }
}

/// A refusal is typed, says where, and has changed nothing.
fn refused(start: &Start, disk: &SimDisk, image: &SimImage, expect: Expect, error: &Error) -> Result<(), String> {
    let writes = disk.calls(CallKind::Write) + disk.calls(CallKind::Cut) + disk.calls(CallKind::Grow);
    ensure(writes == 0 && disk.cached_image() == *image, || format!("a failed open changes the file: {error}"))?;
    let is_of_the_file = matches!(
        error,
        Error::NotDiptych { .. }
            | Error::FormatVersion { .. }
            | Error::UnknownFeatures { .. }
            | Error::PageSize { .. }
            | Error::Empty { .. }
            | Error::TooShort { .. }
    );
    ensure(error.is_corruption() || is_of_the_file, || format!("an error of another sort: {error:?}"))?;
    let Error::Corrupt { block, field, page, .. } = error else {
        return match expect {
            Expect::Right { names: Some(block), .. } => Err(format!("damage of {block} is reported as {error:?}")),
            _ => Ok(()),
        };
    };
    ensure(!field.is_empty(), || format!("{error} names no field"))?;
    let Expect::Right { names: Some(named), .. } = expect else { return Ok(()) };
    ensure(*block == named, || format!("damage of {named} is reported as {error}"))?;
    let site = start.sites.iter().find(|site| site.block == named && site.is_live);
    let at = site.map(|site| site.offset / u64::from(start.page_size));
    ensure(at.is_none_or(|at| at == *page), || format!("{error} names another page than {at:?}"))
}

/// The first regular page.
pub(super) fn first_regular(engine: &Engine) -> Option<u64> {
    engine.live().next_regular_word(0).map(|(at, word)| 64 * at + u64::from(word.trailing_zeros()))
}

/// Everything that a pager is for: allocate, free, store, commit, close, and find it again.
fn exercise(mut engine: Engine, disk: &SimDisk, page_size: u32, grow: bool) -> Result<()> {
    let live = engine.live();
    let regular = first_regular(&engine);
    let protected = live.next_protected(0);
    let is_last = live.generation() == MAX_GENERATION;
    let mut stage = engine.stage()?;
    let page = engine.alloc(&mut stage, 0)?;
    let index = engine.alloc_protected(&mut stage, 1)?[0];
    if grow {
        let count = stage.state().free_pages() + 3;
        engine.alloc_bulk(&mut stage, count)?;
    }
    engine.staged_mut(&mut stage, Owned::Page(page), true)?.fill(0x5a);
    engine.staged_zeroed(&mut stage, index)?.fill(0xa5);
    if let Some(regular) = regular {
        engine.free(&mut stage, &[regular])?;
    }
    if let Some(protected) = protected {
        engine.free_protected(&mut stage, &[protected])?;
    }
    engine.set_header(&mut stage, &[0x3c; HEADER_LEN])?;
    match engine.commit(stage) {
        Err(Error::LastGeneration { generation: MAX_GENERATION }) if is_last => {
            engine.close()?;
            Engine::open(disk.attach()?, page_size, options())?;
            return Ok(());
        }
        committed => committed?,
    }
    let shown = Shown::of(&engine);
    engine.page_mut(page)?[0] = 0x5b;
    engine.sync()?;
    engine.close()?;
    let engine = Engine::open(disk.attach()?, page_size, options())?;
    assert!(engine.recovery().is_clean(), "{:?}", engine.recovery());
    assert_eq!(engine.page(page)?[..2], [0x5b, 0x5a]);
    assert!(engine.protected(index)?.iter().all(|byte| *byte == 0xa5));
    let again = Shown::of(&engine);
    assert_eq!((again.protected, again.regular.len()), (shown.protected, shown.regular.len()));
    let findings = engine.check();
    let is_content = |block: &Block| matches!(block, Block::ProtectedPage { .. } | Block::Identity);
    assert!(findings.iter().all(|finding| is_content(&finding.block)), "after a commit: {findings:?}");
    Ok(())
}
