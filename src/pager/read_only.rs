//! A pager that only reads.

use std::fmt;
use std::ops::Deref;
use std::path::Path;

use static_assertions::assert_impl_all;

use crate::engine::Engine;
#[cfg(doc)]
use crate::error::Error;
use crate::error::Result;
use crate::storage::{FileStorage, SimDisk};

use super::PageReader;
use super::options::{PagerOptions, page_size};

/// A file of pages of `P` bytes, open for reading: everything that [`PageReader`] has, and no method that writes.
///
/// It holds a shared lock of the file: any number of them may have it open, in one process and in several, and no [`Pager`]
/// meanwhile. It needs no right to write, so it opens files on read-only media and such as the user may only read.
///
/// Not one byte of the file changes. A file that a crash left unfinished is recovered in memory, every time again:
/// [`recovery`](PageReader::recovery) says what a [`Pager`] would do about it, and is never
/// [durable](crate::Recovery::durable). [`check`](PageReader::check) does not repeat what stands there.
///
/// ```
/// use diptych::{Error, Pager, ReadOnlyPager};
///
/// # let directory = tempfile::tempdir()?;
/// # let path = directory.path().join("index.db");
/// let mut pager = Pager::<4096>::create(&path)?;
/// let id = pager.alloc()?;
/// pager.page_mut(id)?.fill(7);
/// assert!(matches!(ReadOnlyPager::<4096>::open(&path), Err(Error::Locked { .. })));
/// pager.close()?;
///
/// let (one, other) = (ReadOnlyPager::<4096>::open(&path)?, ReadOnlyPager::<4096>::open(&path)?);
/// assert_eq!(one.page(id)?, id.get(&other)?);
/// assert!(one.recovery().is_clean() && !one.recovery().durable);
/// assert!(matches!(Pager::<4096>::open(&path), Err(Error::Locked { .. })));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// [`Pager`]: crate::Pager
pub struct ReadOnlyPager<const P: usize> {
    reader: PageReader<P>,
}

assert_impl_all!(ReadOnlyPager<4096>: Send, Sync);

impl<const P: usize> ReadOnlyPager<P> {
    /// [Opens](PagerOptions::open_read_only) a file with the default options.
    ///
    /// # Errors
    ///
    /// Those of [`PagerOptions::open_read_only`].
    pub fn open(path: impl AsRef<Path>) -> Result<Self> {
        PagerOptions::new().open_read_only(path)
    }
}

impl PagerOptions {
    /// Opens a file with pages of `P` bytes for reading alone, with a lock that it shares with others who do so. It writes
    /// nothing: where a crash left the file unfinished, it is recovered in memory. [`verification`](Self::verification) and
    /// [`accept_older_state`](Self::accept_older_state) say what they say of [`open`](Self::open); no other option matters.
    ///
    /// # Errors
    ///
    /// Those of [`open`](Self::open) but `Incoherent`, in the same cases; [`Error::Locked`] when a [`Pager`] has it, and not when
    /// others read it.
    ///
    /// [`Pager`]: crate::Pager
    pub fn open_read_only<const P: usize>(&self, path: impl AsRef<Path>) -> Result<ReadOnlyPager<P>> {
        let page_size = page_size::<P>();
        let storage = FileStorage::open_read_only(path.as_ref())?;
        Engine::open_read_only(Box::new(storage), page_size, self.engine).map(around)
    }

    /// Opens the file of a simulated disk for reading, as [`open_read_only`](Self::open_read_only) opens a file.
    ///
    /// # Errors
    ///
    /// Those of [`open_read_only`](Self::open_read_only).
    pub fn open_read_only_on<const P: usize>(&self, disk: &SimDisk) -> Result<ReadOnlyPager<P>> {
        let page_size = page_size::<P>();
        Engine::open_read_only(disk.attach_read_only()?, page_size, self.engine).map(around)
    }
}

fn around<const P: usize>(engine: Engine) -> ReadOnlyPager<P> {
    ReadOnlyPager { reader: PageReader { engine } }
}

impl<const P: usize> Deref for ReadOnlyPager<P> {
    type Target = PageReader<P>;

    #[inline]
    fn deref(&self) -> &PageReader<P> {
        &self.reader
    }
}

impl<const P: usize> fmt::Debug for ReadOnlyPager<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_tuple("ReadOnlyPager").field(&self.reader).finish()
    }
}
