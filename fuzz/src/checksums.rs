//! Mends the checksums of a file after it was edited, so that what reads it gets to see the edits.
//!
//! Every block that counts is covered twice: by its own CRC-32, and by the keyed checksum that its parent holds of it. So a
//! file is mended from the leaves up: a block's CRC, its checksum in the parent's entry, the parent's CRC, up to the slots.

use std::collections::BTreeSet;

use arbitrary::Arbitrary;
use xxhash_rust::xxh3::{xxh3_64, xxh3_64_with_seed};

use crate::layout::{
    BLOCK_LEN, COUNTS, DIRECTORY_TOP, ENTRY_LEN, FREE_MAP_TOP, HIGH_PLANE, Kind, LEAF_MAGIC, LIST, LIST_ROWS,
    LOW_PLANE, MAX_HEIGHT, METADATA_MAGIC, NODE_ENTRIES, NODE_MAGIC, RESERVED_BLOCKS, SLOT_MAGIC, SLOT_TOTALS, TOTALS,
    VOID_MAGIC, get_u32, get_u64, put,
};

/// The most blocks and pages that are followed from one copy of the metadata, whatever it names.
const MOST: usize = 4096;

/// What is mended.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Arbitrary)]
pub enum Mending {
    /// All checksums, and how many pages of each kind the metadata counts.
    ChecksumsAndCounts,
    /// All checksums.
    Checksums,
    /// The CRC of each block, so that parents find that it is not the one that they mean.
    Crcs,
    /// Nothing.
    Nothing,
}

/// A block or a page that the file uses.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Site {
    /// Where it begins.
    pub offset: usize,
    /// What it is taken for.
    pub kind: Kind,
}

/// A page or block, and where its parent keeps its checksum.
#[derive(Clone, Copy, Debug)]
struct Named {
    site: Site,
    len: usize,
    checksum_at: usize,
    /// One of the directory's, and not a regular page of the list.
    in_directory: bool,
}

/// All that a file uses: the reserved region, and what each copy of the metadata names.
#[must_use]
pub fn sites(bytes: &[u8], page_size: usize) -> Vec<Site> {
    let mut sites: Vec<Site> = (0..RESERVED_BLOCKS).map(|block| reserved(bytes, block)).collect();
    for copy in metadata_copies(bytes) {
        sites.extend(named_by(bytes, page_size, copy).into_iter().map(|named| named.site));
    }
    sites.retain(|site| site.offset + BLOCK_LEN <= bytes.len());
    sites
}

fn reserved(bytes: &[u8], block: usize) -> Site {
    let is_void = bytes.get(block * BLOCK_LEN..).is_some_and(|bytes| bytes.starts_with(VOID_MAGIC));
    let kind = match block {
        0 => Kind::Identity,
        _ if is_void => Kind::Void,
        1 | 2 => Kind::Slot,
        _ => Kind::Metadata,
    };
    Site { offset: block * BLOCK_LEN, kind }
}

/// Where the copies of the metadata begin that look like one.
#[must_use]
pub fn metadata_copies(bytes: &[u8]) -> Vec<usize> {
    let begins = |block: &usize| bytes.get(block * BLOCK_LEN..).is_some_and(|bytes| bytes.starts_with(METADATA_MAGIC));
    (3..RESERVED_BLOCKS).filter(begins).map(|block| block * BLOCK_LEN).collect()
}

/// Mends a file with pages of that size.
pub fn mend(bytes: &mut [u8], page_size: usize, mending: Mending) {
    if mending == Mending::Nothing {
        return;
    }
    for copy in metadata_copies(bytes) {
        let key = key(bytes, copy);
        let named = named_by(bytes, page_size, copy);
        // Children come behind their parents.
        for child in named.iter().rev() {
            mend_crc(bytes, child.site);
            if mending != Mending::Crcs {
                let checksum = checksum(bytes, child.site.offset, child.len, key);
                put(bytes, child.checksum_at, &checksum.to_le_bytes());
            }
        }
        if mending == Mending::ChecksumsAndCounts {
            mend_counts(bytes, page_size, copy, &named);
        }
    }
    for block in (0..RESERVED_BLOCKS).rev() {
        let site = reserved(bytes, block);
        if site.kind == Kind::Slot && mending != Mending::Crcs {
            mend_slot(bytes, site.offset, mending);
        }
        mend_crc(bytes, site);
    }
}

/// The seed of a file's checksums. The identity may have been edited away.
fn key(bytes: &[u8], metadata: usize) -> u64 {
    let block = if bytes.starts_with(b"DIPTYCH\0") { 0 } else { metadata };
    bytes.get(block + 16..block + 32).map_or(0, xxh3_64)
}

fn checksum(bytes: &[u8], offset: usize, len: usize, key: u64) -> u64 {
    bytes.get(offset..offset.saturating_add(len)).map_or(0, |block| xxh3_64_with_seed(block, key))
}

fn mend_crc(bytes: &mut [u8], Site { offset, kind }: Site) {
    let Some(block) = bytes.get_mut(offset..).and_then(|rest| rest.get_mut(..BLOCK_LEN)) else { return };
    if let Some(crc) = kind.crc() {
        let value = crc32fast::hash(&block[..crc]);
        put(block, crc, &value.to_le_bytes());
    }
}

fn mend_slot(bytes: &mut [u8], slot: usize, mending: Mending) {
    let is_slot = bytes.get(slot..).is_some_and(|bytes| bytes.starts_with(SLOT_MAGIC));
    let copy = match get_u32(bytes, slot + 32) {
        0 => 3 * BLOCK_LEN,
        1 => 4 * BLOCK_LEN,
        _ => return,
    };
    if is_slot {
        let checksum = checksum(bytes, copy, BLOCK_LEN, key(bytes, copy));
        put(bytes, slot + 40, &checksum.to_le_bytes());
        let is_checkpoint = get_u64(bytes, slot + 24) == get_u64(bytes, slot + 48);
        if is_checkpoint && mending == Mending::ChecksumsAndCounts && bytes.len() >= copy + BLOCK_LEN {
            bytes.copy_within(copy + TOTALS.start..copy + TOTALS.end, slot + SLOT_TOTALS);
        }
    }
}

fn mend_counts(bytes: &mut [u8], page_size: usize, copy: usize, named: &[Named]) {
    let mut counts = [0u64; 4];
    let mut first_leaf_is_there = false;
    for leaf in named.iter().filter(|named| named.site.kind == Kind::Leaf) {
        let at = leaf.site.offset;
        first_leaf_is_there |= get_u64(bytes, at + 8) == 0;
        for word in (0..LOW_PLANE.len()).step_by(8) {
            let (low, high) =
                (get_u64(bytes, at + LOW_PLANE.start + word), get_u64(bytes, at + HIGH_PLANE.start + word));
            for (count, bits) in counts.iter_mut().zip([low & !high, high & !low, low & high]) {
                *count += u64::from(bits.count_ones());
            }
        }
    }
    if !first_leaf_is_there {
        counts[1] += wide((RESERVED_BLOCKS * BLOCK_LEN).div_ceil(page_size));
    }
    counts[3] = wide(named.iter().filter(|named| named.in_directory).count());
    for (at, count) in counts.iter().enumerate() {
        put(bytes, copy + COUNTS + 8 * at, &count.to_le_bytes());
    }
}

/// What a copy of the metadata names, parents before children.
fn named_by(bytes: &[u8], page_size: usize, copy: usize) -> Vec<Named> {
    let mut named = Vec::new();
    for (top, height_at, bottom) in [(FREE_MAP_TOP, 296, Kind::Leaf), (DIRECTORY_TOP, 300, Kind::Protected)] {
        let height = get_u32(bytes, copy + height_at).min(MAX_HEIGHT);
        let mut parents = vec![(copy + top.start, copy + top.end)];
        let mut seen = BTreeSet::new();
        for level in (0..=height).rev() {
            let kind = if level == 0 { bottom } else { Kind::Node };
            let children: Vec<Named> = parents
                .drain(..)
                .flat_map(|(start, end)| (start..end).step_by(ENTRY_LEN))
                .filter_map(|entry| child(bytes, page_size, entry, kind))
                .take(MOST)
                .collect();
            let nodes = children.iter().filter(|child| kind == Kind::Node && seen.insert(child.site.offset));
            let nodes = nodes.map(|node| node.site.offset);
            parents.extend(nodes.map(|node| (node + NODE_ENTRIES.start, node + NODE_ENTRIES.end)));
            named.extend(children);
        }
    }
    let rows = usize::try_from(get_u32(bytes, copy + 292)).map_or(LIST_ROWS, |rows| rows.min(LIST_ROWS));
    named.extend((0..rows).filter_map(|row| {
        let row = copy + LIST + 16 * row;
        let offset = place_of(bytes, page_size, get_u64(bytes, row), page_size)?;
        let site = Site { offset, kind: Kind::Protected };
        Some(Named { site, len: page_size, checksum_at: row + 8, in_directory: false })
    }));
    named
}

/// The live copy that an entry names, if it lies inside the file and begins like what it has to be.
fn child(bytes: &[u8], page_size: usize, entry: usize, kind: Kind) -> Option<Named> {
    let live = usize::from(get_u64(bytes, entry + 16) & 1 == 1);
    let page = get_u64(bytes, entry + 8 * live);
    let len = if kind == Kind::Protected { page_size } else { BLOCK_LEN };
    let offset = (page > 0).then(|| place_of(bytes, page_size, page, len)).flatten()?;
    let begins_with = match kind {
        Kind::Node => NODE_MAGIC,
        Kind::Leaf => LEAF_MAGIC,
        _ => &[],
    };
    let fits = bytes.get(offset..)?.starts_with(begins_with) && offset >= RESERVED_BLOCKS * BLOCK_LEN;
    let site = Site { offset, kind };
    fits.then_some(Named { site, len, checksum_at: entry + 24, in_directory: kind == Kind::Protected })
}

/// Where a page begins, if so many bytes from there on are in the file.
fn place_of(bytes: &[u8], page_size: usize, page: u64, len: usize) -> Option<usize> {
    let offset = usize::try_from(page).ok()?.checked_mul(page_size)?;
    bytes.get(offset..offset.checked_add(len)?).map(|_| offset)
}

fn wide(count: usize) -> u64 {
    u64::try_from(count).expect("usize fits u64")
}

#[cfg(test)]
mod tests {
    use super::{Kind, Mending, mend, sites};
    use diptych::{PagerOptions, SimDisk};

    fn file<const P: usize>() -> Vec<u8> {
        let disk = SimDisk::new();
        let mut pager = PagerOptions::new().create_on::<P>(&disk).unwrap();
        let protected = pager.alloc_protected_bulk(200).unwrap();
        for id in &protected[150..] {
            let mut writer = pager.protected_mut(*id).unwrap();
            writer.page_mut().fill(7);
            writer.commit().unwrap();
        }
        let mut transaction = pager.transaction().unwrap();
        let id = transaction.alloc().unwrap();
        transaction.page_mut(id).unwrap().fill(9);
        transaction.commit().unwrap();
        pager.close().unwrap();
        disk.cached_image().to_vec()
    }

    fn a_whole_file_is_mended_already_with_pages_of<const P: usize>() {
        let whole = file::<P>();
        let kinds = sites(&whole, P).into_iter().map(|site| site.kind);
        assert!(kinds.filter(|kind| *kind == Kind::Protected).count() > 200, "the nodes of the directory are followed");
        for mending in [Mending::ChecksumsAndCounts, Mending::Checksums, Mending::Crcs, Mending::Nothing] {
            let mut mended = whole.clone();
            mend(&mut mended, P, mending);
            assert!(mended == whole, "{mending:?} changes a whole file");
        }
    }

    #[test]
    fn a_whole_file_is_mended_already() {
        a_whole_file_is_mended_already_with_pages_of::<1024>();
        a_whole_file_is_mended_already_with_pages_of::<4096>();
        a_whole_file_is_mended_already_with_pages_of::<16384>();
    }

    #[test]
    fn all_checksums_that_count_are_mended() {
        let whole = file::<4096>();
        let mut damaged = whole.clone();
        for site in sites(&whole, 4096) {
            if let Some(crc) = site.kind.crc() {
                damaged[site.offset + crc] ^= 1;
            }
        }
        // The keyed checksums cover the CRCs, so all of them are wrong as well.
        assert!(PagerOptions::new().open_on::<4096>(&SimDisk::from_image(damaged.as_slice())).is_err());
        mend(&mut damaged, 4096, Mending::Checksums);
        assert!(damaged == whole);
    }
}
