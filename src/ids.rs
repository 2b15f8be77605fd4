//! Typed names: pages by size, protected pages by size, generations, files.
//!
//! An id is a number with a type. The page size is part of the type, so that ids of pagers of different sizes do not mix.
//! Zero is never an id: page 0 is always reserved, and protected ids begin at 1.

use std::fmt;
use std::num::NonZeroU64;

macro_rules! page_id {
    ($(#[$doc:meta])* $name:ident, $what:literal) => {
        $(#[$doc])*
        #[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
        #[repr(transparent)]
        pub struct $name<const P: usize>(NonZeroU64);

        impl<const P: usize> $name<P> {
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

        impl<const P: usize> fmt::Debug for $name<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!(stringify!($name), "<{}>({})"), P, self.0)
            }
        }

        impl<const P: usize> fmt::Display for $name<P> {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, concat!($what, " {}"), self.0)
            }
        }
    };
}

page_id! {
    /// The name of a regular page of `P` bytes: its position in the file, counted in pages.
    PageId, "page"
}

page_id! {
    /// The name of a protected page of `P` bytes: its entry in the directory, stable for life wherever its copies lie.
    ProtectedPageId, "protected page"
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
