//! What the structures in the file are called.
//!
//! Errors, findings and reports name blocks and kinds by these types, so that one thing has one name everywhere.

use std::fmt;

/// One of the two copies of a twin.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum TwinCopy {
    /// The first copy.
    A,
    /// The second copy.
    B,
}

impl TwinCopy {
    /// Both copies, in the order in which they stand in the file.
    pub const BOTH: [TwinCopy; 2] = [TwinCopy::A, TwinCopy::B];

    /// The copy that is not this one.
    #[must_use]
    pub const fn other(self) -> TwinCopy {
        match self {
            TwinCopy::A => TwinCopy::B,
            TwinCopy::B => TwinCopy::A,
        }
    }

    /// 0 for copy A, 1 for copy B.
    #[must_use]
    pub const fn index(self) -> usize {
        match self {
            TwinCopy::A => 0,
            TwinCopy::B => 1,
        }
    }
}

impl fmt::Display for TwinCopy {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            TwinCopy::A => "A",
            TwinCopy::B => "B",
        })
    }
}

/// A structure in the file, as errors and findings name it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Block {
    /// The identity block of the superblock, at offset 0.
    Identity,
    /// Commit slot 0 or 1 of the superblock.
    Slot(u8),
    /// A copy of the metadata, the root twin.
    Metadata(TwinCopy),
    /// A node of the table that finds the free-map leaves.
    FreeMapNode {
        /// Levels above the leaves' entries; 0 is a node that holds entries of leaves.
        level: u32,
        /// Index of the node among those of its level.
        index: u64,
    },
    /// A leaf of the free map.
    FreeMapLeaf {
        /// Index of the leaf.
        index: u64,
    },
    /// A node of the directory of protected pages.
    DirectoryNode {
        /// Levels above the pages' entries; 0 is a node that holds entries of protected pages.
        level: u32,
        /// Index of the node among those of its level.
        index: u64,
    },
    /// A protected page.
    ProtectedPage {
        /// The raw value of its `ProtectedPageId`.
        id: u64,
    },
    /// A page that a table keeps something in.
    TablePage {
        /// One more than its place in the directory, as the id of a protected page is.
        id: u64,
    },
    /// An extent.
    Extent {
        /// The raw value of its `ExtentId`.
        id: u64,
    },
    /// A regular page.
    RegularPage,
}

impl fmt::Display for Block {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Block::Identity => f.write_str("identity block"),
            Block::Slot(slot) => write!(f, "commit slot {slot}"),
            Block::Metadata(copy) => write!(f, "metadata copy {copy}"),
            Block::FreeMapNode { level, index } => write!(f, "free-map node {index} of level {level}"),
            Block::FreeMapLeaf { index } => write!(f, "free-map leaf {index}"),
            Block::DirectoryNode { level, index } => write!(f, "directory node {index} of level {level}"),
            Block::ProtectedPage { id } => write!(f, "protected page {id}"),
            Block::TablePage { id } => write!(f, "table page {id}"),
            Block::Extent { id } => write!(f, "extent {id}"),
            Block::RegularPage => f.write_str("regular page"),
        }
    }
}

/// What a page is used for, as the free map records it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum PageKind {
    /// Nobody owns the page.
    Free,
    /// The page is named by a `PageId`.
    Regular,
    /// The page is reserved, or a copy, a node or a leaf.
    Engine,
    /// The page belongs to an extent or a sub-page parent.
    TableOwned,
}

impl fmt::Display for PageKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            PageKind::Free => "free",
            PageKind::Regular => "regular",
            PageKind::Engine => "the engine's own",
            PageKind::TableOwned => "owned by a table",
        })
    }
}
