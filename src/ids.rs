//! Typed names: pages by size, protected pages by size, sub-pages by both sizes, generations, files.
//!
//! An id is a number with a type. The page size is part of the type, so that ids of pagers of different sizes do not mix.
//! Zero is never an id: page 0 is always reserved, and with it the first sub-page of a file; protected ids begin at 1.

use std::fmt;
use std::num::NonZeroU64;

macro_rules! page_id {
    ($(#[$doc:meta])* $name:ident<$($size:ident),+>, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name<$(const $size: usize),+>(NonZeroU64);

        impl<$(const $size: usize),+> $name<$($size),+> {
            /// The raw value, for storing the id in a page.
            #[must_use]
            pub const fn to_u64(self) -> u64 {
                self.0.get()
            }

            /// The id of a raw value; `None` for zero. Whether the id names a page is checked where it is used.
            #[must_use]
            pub const fn from_u64(raw: u64) -> Option<Self> {
                match NonZeroU64::new(raw) {
                    Some(raw) => Some(Self(raw)),
                    None => None,
                }
            }
        }

        impl<$(const $size: usize),+> fmt::Debug for $name<$($size),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                let sizes = [$($size),+].map(|size| size.to_string());
                write!(f, concat!(stringify!($name), "<{}>({})"), sizes.join(", "), self.0)
            }
        }

        impl<$(const $size: usize),+> fmt::Display for $name<$($size),+> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($what, " {}"), self.0)
            }
        }
    };
}

page_id! {
    /// The name of a regular page of `P` bytes: its position in the file, counted in pages.
    PageId<P>, "page"
}

page_id! {
    /// The name of a protected page of `P` bytes: its entry in the directory, stable for life wherever its copies lie.
    ProtectedPageId<P>, "protected page"
}

page_id! {
    /// The name of a table that keeps in the file which sub-pages of `S` bytes, in pages of `P` bytes, are live.
    SubPageTableId<P, S>, "sub-page table"
}

page_id! {
    /// The name of a sub-page of `S` bytes in a page of `P` bytes.
    ///
    /// Of a [`SubPageMap`](crate::SubPageMap) it is the position in the file, counted in units of `S` bytes. So it says by itself
    /// in which page the sub-page lies, and stays what it is when the file is opened again. Of a
    /// [`SubPageTable`](crate::SubPageTable) it is a place in the table, whose pages may lie anywhere: it stays what it is when
    /// they are moved.
    ///
    /// `S` is a power of two from 8 bytes up to half of `P`; another size is an error of the build where it is first used. Eight
    /// bytes hold one id: what is smaller is better kept in an array.
    SubPageId<P, S>, "sub-page"
}

impl<const P: usize, const S: usize> SubPageId<P, S> {
    /// Sub-pages in a page. Everything about sub-pages goes through here, so sizes that cannot be are an error of the build.
    pub(crate) const SLOTS: u64 = {
        assert!(P.is_power_of_two() && P <= 1 << 24, "a page size is a power of two of at most 16 MiB");
        assert!(S.is_power_of_two(), "a sub-page size is a power of two");
        assert!(S >= 8, "a sub-page has at least 8 bytes");
        assert!(S < P, "a sub-page is smaller than its page");
        1 << (P.trailing_zeros() - S.trailing_zeros())
    };

    /// The page in which it lies, of a [`SubPageMap`](crate::SubPageMap); `None` where that is page 0, which is always reserved:
    /// such an id names nothing. Of a [`SubPageTable`](crate::SubPageTable) it is the number that the table gave the page, which
    /// is no page of the file.
    ///
    /// ```
    /// use diptych::SubPageId;
    ///
    /// let id = SubPageId::<4096, 64>::from_u64(7 * 64 + 3).expect("not zero");
    /// assert_eq!((id.parent().map(|page| page.to_u64()), id.slot()), (Some(7), 3));
    /// ```
    #[must_use]
    pub const fn parent(self) -> Option<PageId<P>> {
        PageId::from_u64(self.to_u64() / Self::SLOTS)
    }

    /// Which sub-page of the page it is, counted from 0: it begins `slot() * S` bytes into the page.
    #[must_use]
    pub const fn slot(self) -> u64 {
        self.to_u64() % Self::SLOTS
    }
}

page_id! {
    /// The name of an extent, contiguous pages of `P` bytes: its entry in the directory, stable for life wherever the pages lie.
    ExtentId<P>, "extent"
}

/// The name of a page of `P` bytes of either kind, for calls that take both.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub enum AnyPageId<const P: usize> {
    /// A regular page.
    Regular(PageId<P>),
    /// A protected page.
    Protected(ProtectedPageId<P>),
}

impl<const P: usize> From<PageId<P>> for AnyPageId<P> {
    fn from(id: PageId<P>) -> Self {
        AnyPageId::Regular(id)
    }
}

impl<const P: usize> From<ProtectedPageId<P>> for AnyPageId<P> {
    fn from(id: ProtectedPageId<P>) -> Self {
        AnyPageId::Protected(id)
    }
}

impl<const P: usize> fmt::Display for AnyPageId<P> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AnyPageId::Regular(id) => id.fmt(f),
            AnyPageId::Protected(id) => id.fmt(f),
        }
    }
}

/// The number of a commit. Generations only grow; the first commit of a file is 1.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
pub struct Generation(u64);

impl Generation {
    pub(crate) const fn new(raw: u64) -> Self {
        Generation(raw)
    }

    /// The raw number.
    #[must_use]
    pub const fn to_u64(self) -> u64 {
        self.0
    }

    /// The generation of a raw number that was noted somewhere; `None` for zero and from 2^63 on. Whether a file ever was at it
    /// is not known.
    #[must_use]
    pub const fn from_u64(raw: u64) -> Option<Self> {
        if raw == 0 || raw >= 1 << 63 { None } else { Some(Generation(raw)) }
    }
}

impl fmt::Display for Generation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.fmt(f)
    }
}

/// Sixteen random bytes that name a file from its creation on.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct FileId([u8; 16]);

impl FileId {
    pub(crate) const fn new(bytes: [u8; 16]) -> Self {
        FileId(bytes)
    }

    /// The bytes as they stand in the file.
    #[must_use]
    pub const fn to_bytes(self) -> [u8; 16] {
        self.0
    }
}

impl fmt::Display for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.0.iter().try_for_each(|byte| write!(f, "{byte:02x}"))
    }
}

impl fmt::Debug for FileId {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "FileId({self})")
    }
}
