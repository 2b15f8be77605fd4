//! The metadata: the root twin, from which everything in the file is found.
//!
//! A commit writes the copy that is not live, and its slot then names it with its checksum. The block says all that
//! must change together with the commit: the totals, the application header, the tops of the two tables, and which
//! regular pages the commit wrote. It repeats the identity, so that a file that lost its first block can be rebuilt
//! from here.
//!
//! # Metadata
//!
//! The five counts are in pages. Engine pages include the reserved region and the copies of protected pages; a
//! protected page counts once. The regular list state is 0 if the list names every regular page that the commit wrote,
//! and 1 if the commit wrote too many to list and passed a barrier of its own before this block; the list is empty
//! then. A row of the list is a page (8 bytes) and its keyed checksum (8 bytes). Pages ascend, rows past the length are
//! reserved.
//!
//! | offset | size | field               |
//! |-------:|-----:|---------------------|
//! |      0 |    8 | magic               |
//! |      8 |    4 | format version      |
//! |     12 |    4 | page size           |
//! |     16 |   16 | file id             |
//! |     32 |    8 | generation          |
//! |     40 |    8 | required features   |
//! |     48 |    8 | optional features   |
//! |     56 |   64 | reserved            |
//! |    120 |    8 | total pages         |
//! |    128 |    8 | regular pages       |
//! |    136 |    8 | engine pages        |
//! |    144 |    8 | table-owned pages   |
//! |    152 |    8 | protected pages     |
//! |    160 |  128 | application header  |
//! |    288 |    4 | regular list state  |
//! |    292 |    4 | regular list length |
//! |    296 |    4 | free-map height     |
//! |    300 |    4 | directory height    |
//! |    304 |  512 | free-map top        |
//! |    816 |  512 | directory top       |
//! |   1328 | 2560 | regular list        |
//! |   3888 |  204 | reserved            |
//! |   4092 |    4 | crc                 |

use super::checksum::{check_crc, put_crc};
use super::field::Field;
#[cfg(test)]
use super::field::FieldSpec;
use super::identity::{Identity, check_page_size};
use super::twin::{MAX_TABLE_HEIGHT, TwinEntry, decode_entries, encode_entries};
use super::void::Void;
use super::{BLOCK_LEN, BlockBytes, Defect, FORMAT_VERSION, HEADER_LEN, check_at_most, check_equal, check_generation};
use crate::ids::FileId;

/// Regular pages that a commit can list; one that writes more passes a barrier of its own instead.
pub(crate) const REGULAR_LIST_LEN: usize = 160;

/// Entries of a table that stand in the metadata.
pub(crate) const TOP_LEN: usize = 16;

/// The optional feature of a file of which parts may be holes, however many blocks it occupies: space was given back.
pub(crate) const MAY_HAVE_HOLES: u64 = 1;

const METADATA_MAGIC: u64 = u64::from_le_bytes(*b"DIPmeta\0");
const ROW_LEN: usize = 16;
const LISTED: u32 = 0;
const BEHIND_BARRIER: u32 = 1;

/// How many pages there are of each kind that is not free.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct PageCounts {
    /// Pages named by a `PageId`.
    pub(crate) regular: u64,
    /// Copies, nodes, leaves, and the reserved region.
    pub(crate) engine: u64,
    /// Pages of extents and sub-page parents.
    pub(crate) table_owned: u64,
    /// Protected pages, whose copies count as engine pages.
    pub(crate) protected: u64,
}

impl PageCounts {
    /// Pages that are not free.
    pub(crate) fn in_use(self) -> u64 {
        self.regular + self.engine + self.table_owned
    }

    /// These pages and others.
    pub(crate) fn plus(self, others: PageCounts) -> PageCounts {
        PageCounts {
            regular: self.regular + others.regular,
            engine: self.engine + others.engine,
            table_owned: self.table_owned + others.table_owned,
            protected: self.protected + others.protected,
        }
    }

    /// These pages without some that are among them.
    pub(crate) fn minus(self, some: PageCounts) -> PageCounts {
        PageCounts {
            regular: self.regular - some.regular,
            engine: self.engine - some.engine,
            table_owned: self.table_owned - some.table_owned,
            protected: self.protected - some.protected,
        }
    }
}

/// The part of a table that stands in the metadata.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(crate) struct TableTop {
    /// Levels of nodes between these entries and the table's twins.
    pub(crate) height: u32,
    /// The entries of the highest level.
    pub(crate) entries: [TwinEntry; TOP_LEN],
}

/// What a commit says about the regular pages that it wrote. Recovery needs it to adopt a commit that lost its slot.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum RegularList {
    /// All of them: page and keyed checksum, in strictly ascending order of pages.
    Listed(Vec<(u64, u64)>),
    /// They were too many, and passed a barrier before the metadata was written.
    BehindBarrier,
}

/// The root of a generation.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Metadata {
    /// What the identity block says.
    pub(crate) identity: Identity,
    /// The number of the commit.
    pub(crate) generation: u64,
    /// Features without which the file cannot be read. Whether they are known is for the caller to check.
    pub(crate) required_features: u64,
    /// Features that a reader may ignore.
    pub(crate) optional_features: u64,
    /// Pages in the file.
    pub(crate) total_pages: u64,
    /// What they are used for.
    pub(crate) counts: PageCounts,
    /// The bytes that belong to the user.
    pub(crate) header: [u8; HEADER_LEN],
    /// The table that finds the leaves of the free map.
    pub(crate) free_map: TableTop,
    /// The table of protected pages.
    pub(crate) directory: TableTop,
    /// The regular pages that this commit wrote.
    pub(crate) regular_list: RegularList,
}

impl Metadata {
    const MAGIC: Field<8> = Field::at(0);
    const VERSION: Field<4> = Self::MAGIC.then();
    const PAGE_SIZE: Field<4> = Self::VERSION.then();
    const FILE_ID: Field<16> = Self::PAGE_SIZE.then();
    const GENERATION: Field<8> = Self::FILE_ID.then();
    const REQUIRED_FEATURES: Field<8> = Self::GENERATION.then();
    const OPTIONAL_FEATURES: Field<8> = Self::REQUIRED_FEATURES.then();
    const RESERVED: Field<64> = Self::OPTIONAL_FEATURES.then();
    const TOTAL: Field<8> = Self::RESERVED.then();
    const REGULAR: Field<8> = Self::TOTAL.then();
    const ENGINE: Field<8> = Self::REGULAR.then();
    const TABLE_OWNED: Field<8> = Self::ENGINE.then();
    const PROTECTED: Field<8> = Self::TABLE_OWNED.then();
    const HEADER: Field<HEADER_LEN> = Self::PROTECTED.then();
    const LIST_STATE: Field<4> = Self::HEADER.then();
    const LIST_LEN: Field<4> = Self::LIST_STATE.then();
    const FREE_MAP_HEIGHT: Field<4> = Self::LIST_LEN.then();
    const DIRECTORY_HEIGHT: Field<4> = Self::FREE_MAP_HEIGHT.then();
    const FREE_MAP_TOP: Field<{ TOP_LEN * TwinEntry::LEN }> = Self::DIRECTORY_HEIGHT.then();
    const DIRECTORY_TOP: Field<{ TOP_LEN * TwinEntry::LEN }> = Self::FREE_MAP_TOP.then();
    const LIST: Field<{ REGULAR_LIST_LEN * ROW_LEN }> = Self::DIRECTORY_TOP.then();
    const RESERVED_TAIL: Field<204> = Self::LIST.then();
    const CRC: Field<4> = Self::RESERVED_TAIL.then();

    /// The rows of the table, for tests that damage each.
    #[cfg(test)]
    pub(crate) const FIELDS: &[FieldSpec] = &[
        Self::MAGIC.spec("magic"),
        Self::VERSION.spec("format version"),
        Self::PAGE_SIZE.spec("page size"),
        Self::FILE_ID.spec("file id"),
        Self::GENERATION.spec("generation"),
        Self::REQUIRED_FEATURES.spec("required features"),
        Self::OPTIONAL_FEATURES.spec("optional features"),
        Self::RESERVED.spec("reserved"),
        Self::TOTAL.spec("total pages"),
        Self::REGULAR.spec("regular pages"),
        Self::ENGINE.spec("engine pages"),
        Self::TABLE_OWNED.spec("table-owned pages"),
        Self::PROTECTED.spec("protected pages"),
        Self::HEADER.spec("application header"),
        Self::LIST_STATE.spec("regular list state"),
        Self::LIST_LEN.spec("regular list length"),
        Self::FREE_MAP_HEIGHT.spec("free-map height"),
        Self::DIRECTORY_HEIGHT.spec("directory height"),
        Self::FREE_MAP_TOP.spec("free-map top").made_of(TwinEntry::FIELDS),
        Self::DIRECTORY_TOP.spec("directory top").made_of(TwinEntry::FIELDS),
        Self::LIST.spec("regular list").made_of(ROW_FIELDS),
        Self::RESERVED_TAIL.spec("reserved"),
        Self::CRC.spec("crc"),
    ];

    /// The block at one of the [`METADATA_OFFSETS`](super::METADATA_OFFSETS).
    pub(crate) fn encode(&self) -> Box<BlockBytes> {
        assert_eq!(self.check(), Ok(()), "the engine commits what a reader accepts");
        let mut block = Box::new([0; BLOCK_LEN]);
        let bytes = block.as_mut_slice();
        Self::MAGIC.put_u64(bytes, METADATA_MAGIC);
        Self::VERSION.put_u32(bytes, FORMAT_VERSION);
        Self::PAGE_SIZE.put_u32(bytes, self.identity.page_size);
        Self::FILE_ID.put(bytes, self.identity.file_id.to_bytes());
        Self::GENERATION.put_u64(bytes, self.generation);
        Self::REQUIRED_FEATURES.put_u64(bytes, self.required_features);
        Self::OPTIONAL_FEATURES.put_u64(bytes, self.optional_features);
        Self::TOTAL.put_u64(bytes, self.total_pages);
        Self::REGULAR.put_u64(bytes, self.counts.regular);
        Self::ENGINE.put_u64(bytes, self.counts.engine);
        Self::TABLE_OWNED.put_u64(bytes, self.counts.table_owned);
        Self::PROTECTED.put_u64(bytes, self.counts.protected);
        Self::HEADER.put(bytes, self.header);
        Self::FREE_MAP_HEIGHT.put_u32(bytes, self.free_map.height);
        Self::DIRECTORY_HEIGHT.put_u32(bytes, self.directory.height);
        encode_entries(&self.free_map.entries, Self::FREE_MAP_TOP.bytes_mut(bytes));
        encode_entries(&self.directory.entries, Self::DIRECTORY_TOP.bytes_mut(bytes));
        self.regular_list.encode(bytes);
        put_crc(bytes, Self::CRC);
        block
    }

    fn decode(block: &BlockBytes) -> Result<Metadata, Defect> {
        check_equal("magic", METADATA_MAGIC, Self::MAGIC.get_u64(block))?;
        check_crc(block, Self::CRC)?;
        check_equal("format version", FORMAT_VERSION, Self::VERSION.get_u32(block))?;
        let metadata = Metadata {
            identity: Identity {
                page_size: Self::PAGE_SIZE.get_u32(block),
                file_id: FileId::new(Self::FILE_ID.get(block)),
            },
            generation: Self::GENERATION.get_u64(block),
            required_features: Self::REQUIRED_FEATURES.get_u64(block),
            optional_features: Self::OPTIONAL_FEATURES.get_u64(block),
            total_pages: Self::TOTAL.get_u64(block),
            counts: PageCounts {
                regular: Self::REGULAR.get_u64(block),
                engine: Self::ENGINE.get_u64(block),
                table_owned: Self::TABLE_OWNED.get_u64(block),
                protected: Self::PROTECTED.get_u64(block),
            },
            header: Self::HEADER.get(block),
            free_map: TableTop {
                height: Self::FREE_MAP_HEIGHT.get_u32(block),
                entries: decode_entries(Self::FREE_MAP_TOP.bytes(block))?,
            },
            directory: TableTop {
                height: Self::DIRECTORY_HEIGHT.get_u32(block),
                entries: decode_entries(Self::DIRECTORY_TOP.bytes(block))?,
            },
            regular_list: RegularList::decode(block)?,
        };
        metadata.check()?;
        Ok(metadata)
    }

    /// What every metadata block fulfils, read or written; twin entries check themselves.
    fn check(&self) -> Result<(), Defect> {
        check_page_size(self.identity.page_size)?;
        check_generation(self.generation)?;
        check_at_most("free-map height", MAX_TABLE_HEIGHT, self.free_map.height)?;
        check_at_most("directory height", MAX_TABLE_HEIGHT, self.directory.height)?;
        self.regular_list.check()
    }
}

const _: () = assert!(Metadata::CRC.end() == BLOCK_LEN, "the metadata is a block");

impl RegularList {
    fn encode(&self, block: &mut [u8]) {
        let RegularList::Listed(list) = self else {
            return Metadata::LIST_STATE.put_u32(block, BEHIND_BARRIER);
        };
        let len = u32::try_from(list.len()).expect("the list has at most 160 rows");
        Metadata::LIST_STATE.put_u32(block, LISTED);
        Metadata::LIST_LEN.put_u32(block, len);
        let (rows, _) = Metadata::LIST.bytes_mut(block).as_chunks_mut::<ROW_LEN>();
        for (row, (page, checksum)) in rows.iter_mut().zip(list) {
            ROW_PAGE.put_u64(row, *page);
            ROW_CHECKSUM.put_u64(row, *checksum);
        }
    }

    fn decode(block: &[u8]) -> Result<RegularList, Defect> {
        let len = Metadata::LIST_LEN.get_u32(block);
        match Metadata::LIST_STATE.get_u32(block) {
            LISTED => {}
            BEHIND_BARRIER => {
                check_equal("regular list length", 0u32, len)?;
                return Ok(RegularList::BehindBarrier);
            }
            found => {
                return Err(Defect {
                    field: "regular list state",
                    expected: BEHIND_BARRIER.into(),
                    found: found.into(),
                });
            }
        }
        let (rows, _) = Metadata::LIST.bytes(block).as_chunks::<ROW_LEN>();
        let Some(rows) = usize::try_from(len).ok().and_then(|len| rows.get(..len)) else {
            return Err(too_long(len.into()));
        };
        let list = rows.iter().map(|row| (ROW_PAGE.get_u64(row), ROW_CHECKSUM.get_u64(row)));
        Ok(RegularList::Listed(list.collect()))
    }

    fn check(&self) -> Result<(), Defect> {
        let RegularList::Listed(list) = self else {
            return Ok(());
        };
        if list.len() > REGULAR_LIST_LEN {
            return Err(too_long(u64::try_from(list.len()).unwrap_or(u64::MAX)));
        }
        for (before, after) in list.iter().zip(list.iter().skip(1)) {
            if after.0 <= before.0 {
                return Err(Defect { field: "regular list", expected: before.0.saturating_add(1), found: after.0 });
            }
        }
        Ok(())
    }
}

const ROW_PAGE: Field<8> = Field::at(0);
const ROW_CHECKSUM: Field<8> = ROW_PAGE.then();
const _: () = assert!(ROW_CHECKSUM.end() == ROW_LEN, "a row of the regular list is 16 bytes");

/// A row of the regular list, for tests that damage each.
#[cfg(test)]
const ROW_FIELDS: &[FieldSpec] = &[ROW_PAGE.spec("listed page"), ROW_CHECKSUM.spec("listed checksum")];

const _: () = assert!(REGULAR_LIST_LEN == 160);

fn too_long(found: u64) -> Defect {
    Defect { field: "regular list length", expected: 160, found }
}

/// What stands in a copy of the metadata.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum MetadataRecord {
    /// The root of a generation.
    Commit(Box<Metadata>),
    /// A refused copy was destroyed here, or nothing was ever written.
    Void {
        /// The generation that was refused; 0 where nothing was ever written.
        generation: u64,
        /// The file to which the record belongs.
        file_id: FileId,
    },
}

impl MetadataRecord {
    /// The record that a block holds. Whether its file id and its features are the right ones is for the caller to
    /// check: the identity may be lost, and be looked for here.
    pub(crate) fn decode(block: &BlockBytes) -> Result<Self, Defect> {
        if Void::is_claimed_by(block) {
            let Void { generation, file_id } = Void::decode(block)?;
            return Ok(MetadataRecord::Void { generation, file_id });
        }
        Metadata::decode(block).map(|metadata| MetadataRecord::Commit(Box::new(metadata)))
    }

    /// The file to which the record says that it belongs.
    pub(crate) fn file_id(&self) -> FileId {
        match self {
            MetadataRecord::Commit(metadata) => metadata.identity.file_id,
            MetadataRecord::Void { file_id, .. } => *file_id,
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::{Strategy, any, prop, proptest};

    use super::{
        Metadata, MetadataRecord, PageCounts, REGULAR_LIST_LEN, ROW_CHECKSUM, ROW_PAGE, RegularList, TOP_LEN, TableTop,
    };
    use crate::block::TwinCopy;
    use crate::format::identity::Identity;
    use crate::format::twin::TwinEntry;
    use crate::format::{BLOCK_LEN, Defect, HEADER_LEN, MAX_GENERATION, encode_void, specimen};
    use crate::ids::FileId;

    const FILE_ID: FileId = FileId::new(*b"0123456789abcdef");

    fn metadata() -> Metadata {
        let entry = |page, live| TwinEntry { copies: [page, page + 1], live, generation: 0x41, checksum: 0x5152 };
        let mut free_map = TableTop { height: 1, ..TableTop::default() };
        free_map.entries[0] = entry(0x61, TwinCopy::A);
        let mut directory = TableTop { height: 2, ..TableTop::default() };
        directory.entries[TOP_LEN - 1] = entry(0x71, TwinCopy::B);
        let mut header = [0; HEADER_LEN];
        header[..4].copy_from_slice(b"root");
        header[HEADER_LEN - 1] = 0xee;
        Metadata {
            identity: Identity { page_size: 16384, file_id: FILE_ID },
            generation: 0x42,
            required_features: 0x0102,
            optional_features: 0x0304,
            total_pages: 1000,
            counts: PageCounts { regular: 500, engine: 200, table_owned: 100, protected: 50 },
            header,
            free_map,
            directory,
            regular_list: RegularList::Listed(vec![(0x81, 0x8182_8384_8586_8788), (0x91, 0x9192_9394_9596_9798)]),
        }
    }

    fn commit(metadata: Metadata) -> Result<MetadataRecord, Defect> {
        Ok(MetadataRecord::Commit(Box::new(metadata)))
    }

    fn tops() -> impl Strategy<Value = TableTop> {
        let entries = prop::collection::vec(specimen::entries(), TOP_LEN);
        (0u32..=6, entries).prop_map(|(height, entries)| TableTop {
            height,
            entries: entries.try_into().expect("as many entries as a top has"),
        })
    }

    fn regular_lists() -> impl Strategy<Value = RegularList> {
        let list = prop::collection::btree_map(any::<u64>(), any::<u64>(), 0..=REGULAR_LIST_LEN);
        let list = list.prop_map(|list| RegularList::Listed(list.into_iter().collect()));
        prop::option::weighted(0.8, list).prop_map(|list| list.unwrap_or(RegularList::BehindBarrier))
    }

    fn any_metadata() -> impl Strategy<Value = Metadata> {
        let identity = (10u32..=24, any::<[u8; 16]>())
            .prop_map(|(power, id)| Identity { page_size: 1 << power, file_id: FileId::new(id) });
        let counts = any::<[u64; 4]>().prop_map(|[regular, engine, table_owned, protected]| PageCounts {
            regular,
            engine,
            table_owned,
            protected,
        });
        let header = prop::collection::vec(any::<u8>(), HEADER_LEN)
            .prop_map(|header| header.try_into().expect("as many bytes as a header has"));
        (identity, 1..=MAX_GENERATION, any::<[u64; 3]>(), counts, header, [tops(), tops()], regular_lists()).prop_map(
            |(identity, generation, [required, optional, total], counts, header, [free_map, directory], list)| {
                Metadata {
                    identity,
                    generation,
                    required_features: required,
                    optional_features: optional,
                    total_pages: total,
                    counts,
                    header,
                    free_map,
                    directory,
                    regular_list: list,
                }
            },
        )
    }

    #[test]
    fn the_table_is_the_chain() {
        let source = include_str!("metadata.rs");
        specimen::assert_table_matches_chain(source, "Metadata", Metadata::FIELDS, BLOCK_LEN);
    }

    #[test]
    fn golden_bytes() {
        assert_eq!(
            specimen::hex(&metadata().encode()[..]),
            [
                "0000: 4449506d657461000100000000400000",
                "0016: 30313233343536373839616263646566",
                "0032: 42000000000000000201000000000000",
                "0048: 04030000000000000000000000000000",
                "0112: 0000000000000000e803000000000000",
                "0128: f401000000000000c800000000000000",
                "0144: 64000000000000003200000000000000",
                "0160: 726f6f74000000000000000000000000",
                "0272: 000000000000000000000000000000ee",
                "0288: 00000000020000000100000002000000",
                "0304: 61000000000000006200000000000000",
                "0320: 82000000000000005251000000000000",
                "1296: 71000000000000007200000000000000",
                "1312: 83000000000000005251000000000000",
                "1328: 81000000000000008887868584838281",
                "1344: 91000000000000009897969594939291",
                "4080: 0000000000000000000000007d18c766"
            ]
        );
        let behind_barrier = Metadata { regular_list: RegularList::BehindBarrier, ..metadata() }.encode();
        assert_eq!(behind_barrier[288..296], [1, 0, 0, 0, 0, 0, 0, 0]);
    }

    #[test]
    fn every_flipped_bit_is_detected() {
        specimen::assert_every_flipped_bit_is_detected(&metadata().encode(), BLOCK_LEN, MetadataRecord::decode);
    }

    #[test]
    fn a_copy_that_was_destroyed_names_the_generation_and_the_file() {
        let record = MetadataRecord::decode(&encode_void(7, FILE_ID)).unwrap();
        assert_eq!(record, MetadataRecord::Void { generation: 7, file_id: FILE_ID });
        assert_eq!(record.file_id(), FILE_ID);
        assert_eq!(commit(metadata()).unwrap().file_id(), FILE_ID);
    }

    #[test]
    fn what_no_commit_writes_is_refused() {
        let defect_after = |change: fn(&mut [u8])| {
            let block = specimen::forged(&metadata().encode(), Metadata::CRC, change);
            MetadataRecord::decode(&block).unwrap_err()
        };
        let defect = |field, expected, found| Defect { field, expected, found };
        assert_eq!(defect_after(|block| Metadata::VERSION.put_u32(block, 2)), defect("format version", 1, 2));
        assert_eq!(defect_after(|block| Metadata::PAGE_SIZE.put_u32(block, 3000)), defect("page size", 4096, 3000));
        assert_eq!(defect_after(|block| Metadata::GENERATION.put_u64(block, 0)), defect("generation", 1, 0));
        assert_eq!(defect_after(|block| Metadata::FREE_MAP_HEIGHT.put_u32(block, 7)), defect("free-map height", 6, 7));
        assert_eq!(
            defect_after(|block| Metadata::DIRECTORY_HEIGHT.put_u32(block, u32::MAX)),
            defect("directory height", 6, u32::MAX.into())
        );
        assert_eq!(defect_after(|block| Metadata::FREE_MAP_TOP.bytes_mut(block)[0] = 0).field, "entry copy A");
        assert_eq!(
            defect_after(|block| Metadata::DIRECTORY_TOP.bytes_mut(block)[488] = 0).field,
            "entry generation and live"
        );
    }

    #[test]
    fn a_regular_list_that_no_commit_writes_is_refused() {
        let defect_after = |change: fn(&mut [u8])| {
            let block = specimen::forged(&metadata().encode(), Metadata::CRC, change);
            MetadataRecord::decode(&block).unwrap_err()
        };
        let defect = |field, expected, found| Defect { field, expected, found };
        assert_eq!(defect_after(|block| Metadata::LIST_STATE.put_u32(block, 2)), defect("regular list state", 1, 2));
        assert_eq!(defect_after(|block| Metadata::LIST_STATE.put_u32(block, 1)), defect("regular list length", 0, 2));
        assert_eq!(
            defect_after(|block| Metadata::LIST_LEN.put_u32(block, 161)),
            defect("regular list length", 160, 161)
        );
        assert_eq!(
            defect_after(|block| Metadata::LIST_LEN.put_u32(block, u32::MAX)),
            defect("regular list length", 160, u32::MAX.into())
        );
        // Rows past the two that were written are zeros, and no page repeats.
        assert_eq!(defect_after(|block| Metadata::LIST_LEN.put_u32(block, 3)), defect("regular list", 0x92, 0));
        assert_eq!(
            defect_after(|block| ROW_PAGE.put_u64(Metadata::LIST.bytes_mut(block), 0x91)),
            defect("regular list", 0x92, 0x91)
        );
    }

    #[test]
    fn features_are_passed_on_known_or_not() {
        let block = specimen::forged(&metadata().encode(), Metadata::CRC, |block| {
            Metadata::REQUIRED_FEATURES.put_u64(block, u64::MAX);
        });
        assert_eq!(MetadataRecord::decode(&block), commit(Metadata { required_features: u64::MAX, ..metadata() }));
    }

    #[test]
    fn reserved_bytes_are_ignored() {
        let block = specimen::forged(&metadata().encode(), Metadata::CRC, |block| {
            Metadata::RESERVED.bytes_mut(block).fill(0xff);
            Metadata::RESERVED_TAIL.bytes_mut(block).fill(0xff);
            let unused_row = &mut Metadata::LIST.bytes_mut(block)[2 * super::ROW_LEN..];
            ROW_PAGE.put_u64(unused_row, 1);
            ROW_CHECKSUM.put_u64(unused_row, 2);
        });
        assert_eq!(MetadataRecord::decode(&block), commit(metadata()));
    }

    #[test]
    #[should_panic(expected = "the engine commits what a reader accepts")]
    fn encoding_a_list_that_is_too_long_is_a_bug() {
        let list = (0..161).map(|page| (page, 0)).collect();
        Metadata { regular_list: RegularList::Listed(list), ..metadata() }.encode();
    }

    proptest! {
        #[test]
        fn what_is_encoded_is_decoded(metadata in any_metadata()) {
            assert_eq!(MetadataRecord::decode(&metadata.encode()), commit(metadata));
        }

        #[test]
        fn what_decodes_encodes_again(
            block in specimen::forgeries(*metadata().encode(), Metadata::FIELDS, Metadata::CRC)
        ) {
            if let Ok(MetadataRecord::Commit(metadata)) = MetadataRecord::decode(&block) {
                assert_eq!(MetadataRecord::decode(&metadata.encode()), commit(*metadata));
            }
        }

        #[test]
        fn noise_is_refused(block in specimen::noise(b"DIPmeta\0")) {
            assert!(MetadataRecord::decode(&block).is_err());
        }
    }
}
