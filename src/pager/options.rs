//! How a file is made and opened.

use std::io;
use std::path::Path;

use crate::engine::{Durability, Engine, EngineOptions, NewFile, Verification};
use crate::error::{Error, Result};
use crate::ids::FileId;
use crate::storage::{DEFAULT_RESERVE, FileStorage, SimDisk};

use super::{PageReader, Pager};

const KIB: u64 = 1024;
const MIB: u64 = 1024 * KIB;

/// How often [`PagerOptions::open_or_create`] looks again at a file that comes and goes.
const ATTEMPTS: usize = 8;

/// What can be chosen about a pager. None of it is kept in the file: the next one to open it chooses again.
///
/// ```
/// use diptych::{PagerOptions, Verification};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("queue.db");
/// let options = PagerOptions::new().growth_limit(8 << 20).verification(Verification::Always);
/// let mut pager = options.create::<16384>(&path)?;
/// let id = pager.alloc()?;
/// pager.close()?;
/// assert!(options.open::<16384>(&path)?.is_allocated(id));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Clone, Debug)]
#[must_use = "options do nothing until a file is created or opened with them"]
pub struct PagerOptions {
    pub(super) engine: EngineOptions,
}

impl Default for PagerOptions {
    fn default() -> Self {
        PagerOptions::new()
    }
}

impl PagerOptions {
    /// The defaults, which [`Pager::create`], [`Pager::open`] and [`Pager::open_or_create`] use.
    pub const fn new() -> Self {
        PagerOptions {
            engine: EngineOptions {
                durability: Durability::OneBarrier,
                growth_limit: 64 * MIB,
                sparse: false,
                verification: Verification::FirstTouch,
                reserve: DEFAULT_RESERVE,
                max_staged_bytes: u64::MAX,
                max_file_bytes: u64::MAX,
                take_older: false,
            },
        }
    }

    /// How a commit becomes durable, if its transaction does not [say](super::Transaction::set_durability) otherwise.
    /// [`Durability::OneBarrier`] if not said otherwise.
    pub const fn durability(mut self, durability: Durability) -> Self {
        self.engine.durability = durability;
        self
    }

    /// The most bytes by which the file grows at once, unless a call needs more. Up to this size it doubles. 64 MiB if not
    /// said otherwise.
    pub const fn growth_limit(mut self, bytes: u64) -> Self {
        self.engine.growth_limit = bytes;
        self
    }

    /// Whether the file grows without taking space on the disk, which is taken for the pages of a commit before it hands
    /// them out. Slower, and sparing where most of a file is never used. `false` if not said otherwise.
    ///
    /// In either mode a full disk is an error of the call that allocates.
    pub const fn sparse(mut self, sparse: bool) -> Self {
        self.engine.sparse = sparse;
        self
    }

    /// When the content of a protected page is compared with its checksum. [`Verification::FirstTouch`] if not said otherwise.
    pub const fn verification(mut self, verification: Verification) -> Self {
        self.engine.verification = verification;
        self
    }

    /// Bytes of addresses to reserve ahead of the file, where the platform allows: while the file is not longer, growing it
    /// does not move the mapping. It takes no memory. 64 GiB on 64-bit Linux, else 0, if not said otherwise.
    pub const fn address_space(mut self, bytes: u64) -> Self {
        self.engine.reserve = bytes;
        self
    }

    /// The most bytes of pages that a transaction may hold in memory; a call that needs more is
    /// [`Error::StageFull`]. Without a limit if not said otherwise.
    pub const fn max_staged_bytes(mut self, bytes: u64) -> Self {
        self.engine.max_staged_bytes = bytes;
        self
    }

    /// The most bytes that the file may grow to; a call that needs more is [`Error::Full`]. A file that is longer already is
    /// opened and does not grow. Without a limit if not said otherwise.
    pub const fn max_file_bytes(mut self, bytes: u64) -> Self {
        self.engine.max_file_bytes = bytes;
        self
    }

    /// Whether a file whose newest state is damaged is opened at the state before it, if that is whole, which
    /// [`Recovery::passed_over`](crate::Recovery::passed_over) reports. The newest commits are lost then. `false` if not said
    /// otherwise: opening such a file is an error.
    pub const fn accept_older_state(mut self, accept: bool) -> Self {
        self.engine.take_older = accept;
        self
    }

    /// Creates a file with pages of `P` bytes, a power of two from 1 KiB to 16 MiB, and locks it. When this returns the file
    /// is durable and holds nothing; before, nothing stands under its name.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], of the kind `AlreadyExists` when the path names anything, of the kind `NotFound` when the directory
    /// does not exist; [`Error::Full`] when even an empty file is longer than [`max_file_bytes`](Self::max_file_bytes).
    pub fn create<const P: usize>(&self, path: impl AsRef<Path>) -> Result<Pager<P>> {
        let path = path.as_ref();
        let mut file_id = [0; 16];
        getrandom::fill(&mut file_id).map_err(|error| Error::io("get random bytes", path, to_io_error(error)))?;
        let new = self.new_file::<P>(file_id)?;
        let storage = FileStorage::create(path, &new.reserved, new.len, self.engine.sparse)?;
        Engine::create(Box::new(storage), &new, self.engine).map(around)
    }

    /// Opens a file with pages of `P` bytes, locks it, and recovers it where a crash left it unfinished: what that took is in
    /// [`recovery`](PageReader::recovery).
    ///
    /// # Errors
    ///
    /// Each of these but `Incoherent`, and `Io` from a write or a sync, leaves the file byte for byte as it was.
    ///
    /// * [`Error::Io`]: of the kind `NotFound` when there is no such file; when the path names a directory or a device; when the
    ///   operating system refuses a call.
    /// * [`Error::Locked`]: another pager has it, be it to read.
    /// * [`Error::Empty`], [`Error::TooShort`], [`Error::NotDiptych`], [`Error::FormatVersion`], [`Error::UnknownFeatures`]: it
    ///   is not a file of this version of this crate.
    /// * [`Error::PageSize`]: its pages have another size.
    /// * [`Error::Corrupt`], [`Error::Truncated`], [`Error::Ambiguous`]: it is damaged as no crash damages a file.
    /// * [`Error::Incoherent`]: it lies on a filesystem where a mapping does not show what is written.
    pub fn open<const P: usize>(&self, path: impl AsRef<Path>) -> Result<Pager<P>> {
        let page_size = page_size::<P>();
        let storage = FileStorage::open(path.as_ref())?;
        Engine::open(Box::new(storage), page_size, self.engine).map(around)
    }

    /// Opens a file, or creates it where there is none.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) and [`create`](Self::create).
    pub fn open_or_create<const P: usize>(&self, path: impl AsRef<Path>) -> Result<Pager<P>> {
        let path = path.as_ref();
        let mut attempt = 1;
        loop {
            match self.open(path) {
                Err(Error::Io { op: "open", source, .. }) if source.kind() == io::ErrorKind::NotFound => {}
                opened => return opened,
            }
            match self.create(path) {
                // Somebody else was quicker. A link that leads nowhere looks like that, too, so there is an end to it.
                Err(Error::Io { source, .. })
                    if source.kind() == io::ErrorKind::AlreadyExists && attempt < ATTEMPTS => {}
                created => return created,
            }
            attempt += 1;
        }
    }

    /// Creates the file of a simulated disk, whose seed gives the file its id.
    ///
    /// # Errors
    ///
    /// [`Error::Io`], of the kind `AlreadyExists` when the disk has a file, or as the disk's plans for failing calls say.
    pub fn create_on<const P: usize>(&self, disk: &SimDisk) -> Result<Pager<P>> {
        let mut file_id = [0; 16];
        disk.next_random(&mut file_id);
        let new = self.new_file::<P>(file_id)?;
        let storage = disk.create(&new.reserved, new.len, self.engine.sparse)?;
        Engine::create(storage, &new, self.engine).map(around)
    }

    fn new_file<const P: usize>(&self, file_id: [u8; 16]) -> Result<NewFile> {
        let page_size = page_size::<P>();
        let new = NewFile::new(page_size, FileId::new(file_id));
        let [needed, limit] = [new.len, self.engine.max_file_bytes].map(|bytes| bytes / u64::from(page_size));
        if needed > limit { Err(Error::Full { needed, limit }) } else { Ok(new) }
    }

    /// Opens the file of a simulated disk, as [`open`](Self::open) opens a file.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open).
    pub fn open_on<const P: usize>(&self, disk: &SimDisk) -> Result<Pager<P>> {
        let page_size = page_size::<P>();
        Engine::open(disk.attach()?, page_size, self.engine).map(around)
    }
}

fn around<const P: usize>(engine: Engine) -> Pager<P> {
    Pager { reader: PageReader { engine } }
}

/// The page size as a value. Every pager comes from here, so a size that cannot be is an error of the build.
pub(super) fn page_size<const P: usize>() -> u32 {
    const { assert!(P.is_power_of_two(), "a page size is a power of two") };
    const { assert!(P >= 1 << 10, "a page has at least 1 KiB") };
    const { assert!(P <= 1 << 24, "a page has at most 16 MiB") };
    u32::try_from(P).expect("16 MiB fit")
}

fn to_io_error(error: getrandom::Error) -> io::Error {
    error.raw_os_error().map_or_else(|| io::Error::other(error.to_string()), io::Error::from_raw_os_error)
}
