//! Edits of a file that aim at what it is made of.

use arbitrary::Arbitrary;

use crate::checksums::{Site, metadata_copies, sites};
use crate::layout::{
    BLOCK_LEN, DIRECTORY_TOP, ENTRY_LEN, FREE_MAP_TOP, HIGH_PLANE, Kind, LEAF_MAGIC, LOW_PLANE, MAX_HEIGHT,
    NODE_ENTRIES, NODE_MAGIC, PAGES_PER_LEAF, RESERVED_BLOCKS, get_u32, get_u64, put,
};

/// The longest that an edit makes a file.
const MAX_LEN: usize = 4 << 20;

/// One edit. Sites, fields and places are taken modulo what there is.
#[derive(Clone, Debug, Arbitrary)]
pub enum Edit {
    /// A field of a structure gets a value.
    Field(u8, u16, Value),
    /// Bytes anywhere.
    Bytes(u32, [u8; 4]),
    /// A page gets another kind in the free map.
    PageKind(u16, u8),
    /// A copy of the metadata and the slots that name it get another generation.
    Generation(bool, Value),
    /// Two blocks change places.
    Swap(u8, u8),
    /// A block is copied over another.
    Copy(u8, u8),
    /// A block holds what it held before the last operation.
    Older(u8),
    /// A block holds zeros.
    Zero(u8),
    /// A table becomes higher than it needs to be: its top moves into a node. Of which copy, and whether the directory.
    Deepen(bool, bool),
    /// The file is cut or made longer, to so many sectors.
    Length(u16),
    /// A sector cannot be read.
    Unreadable(u16),
}

/// What a field becomes.
#[derive(Clone, Debug, Arbitrary)]
pub enum Value {
    /// All bits clear, or set.
    All(bool),
    /// A little more.
    Plus(u8),
    /// A little less.
    Minus(u8),
    /// One bit turned over.
    Flip(u8),
    /// A small number.
    Small(u8),
    /// A power of two, or one less.
    Power(u8, bool),
    /// Any number.
    Is(u64),
    /// Its bytes in the other order.
    Reversed,
    /// What another field holds.
    Same(u8, u16),
}

/// What is left of a file that was edited: its bytes, and which sectors cannot be read.
#[derive(Clone, Debug, Default)]
pub struct Edited {
    /// Its bytes.
    pub bytes: Vec<u8>,
    /// Sectors that cannot be read.
    pub unreadable: Vec<u64>,
}

impl Edited {
    /// Carries out an edit. `older` is the file as it was before the last operation.
    pub fn apply(&mut self, edit: &Edit, older: &[u8], page_size: usize) {
        let sites = sites(&self.bytes, page_size);
        let site = |pick: u8| sites.get(usize::from(pick) % sites.len().max(1)).copied();
        match edit {
            Edit::Field(pick, field, value) => {
                let Some((at, len)) = site(*pick).map(|site| field_of(site, *field)) else { return };
                let value = self.value(value, get(&self.bytes, at, len), &sites);
                put(&mut self.bytes, at, &value.to_le_bytes()[..len]);
            }
            Edit::Bytes(at, value) => {
                let at = usize::try_from(*at).unwrap_or(0) % self.bytes.len().max(1);
                put(&mut self.bytes, at, value);
            }
            Edit::PageKind(page, kind) => {
                let Some(leaf) = sites.iter().find(|site| site.kind == Kind::Leaf) else { return };
                set_kind(&mut self.bytes, leaf.offset, usize::from(*page), *kind);
            }
            Edit::Generation(second, value) => {
                let Some(copy) = self.metadata(*second) else { return };
                let value = self.value(value, get_u64(&self.bytes, copy + 32), &sites);
                put(&mut self.bytes, copy + 32, &value.to_le_bytes());
                let number = u32::from(copy == 4 * BLOCK_LEN);
                for slot in [BLOCK_LEN, 2 * BLOCK_LEN] {
                    if get_u32(&self.bytes, slot + 32) == number {
                        put(&mut self.bytes, slot + 24, &value.to_le_bytes());
                    }
                }
            }
            Edit::Swap(one, other) => {
                let (Some(one), Some(other)) = (site(*one), site(*other)) else { return };
                let (a, b) = (self.block(one), self.block(other));
                put(&mut self.bytes, one.offset, &b);
                put(&mut self.bytes, other.offset, &a);
            }
            Edit::Copy(from, to) => {
                let (Some(from), Some(to)) = (site(*from), site(*to)) else { return };
                let block = self.block(from);
                put(&mut self.bytes, to.offset, &block);
            }
            Edit::Older(pick) => {
                let Some(Site { offset, .. }) = site(*pick) else { return };
                let Some(block) = older.get(offset..offset + BLOCK_LEN) else { return };
                put(&mut self.bytes, offset, block);
            }
            Edit::Zero(pick) => {
                let Some(site) = site(*pick) else { return };
                put(&mut self.bytes, site.offset, &[0; BLOCK_LEN]);
            }
            Edit::Deepen(second, directory) => self.deepen(*second, *directory, page_size),
            Edit::Length(sectors) => {
                let len = usize::from(*sectors) * 512;
                self.bytes.resize(len.min(MAX_LEN), 0xa5);
            }
            Edit::Unreadable(sector) => self.unreadable.push((*sector).into()),
        }
    }

    fn block(&self, site: Site) -> Vec<u8> {
        self.bytes.get(site.offset..site.offset + BLOCK_LEN).unwrap_or_default().to_vec()
    }

    fn metadata(&self, second: bool) -> Option<usize> {
        let copies = metadata_copies(&self.bytes);
        if second { copies.last().copied() } else { copies.first().copied() }
    }

    fn value(&self, value: &Value, old: u64, sites: &[Site]) -> u64 {
        match *value {
            Value::All(set) => u64::MAX * u64::from(set),
            Value::Plus(by) => old.wrapping_add(by.into()),
            Value::Minus(by) => old.wrapping_sub(by.into()),
            Value::Flip(bit) => old ^ 1 << (bit % 64),
            Value::Small(value) => value.into(),
            Value::Power(bit, less) => (1 << (bit % 64)) - u64::from(less),
            Value::Is(value) => value,
            Value::Reversed => old.swap_bytes(),
            Value::Same(pick, field) => {
                let Some(site) = sites.get(usize::from(pick) % sites.len().max(1)) else { return old };
                let (at, len) = field_of(*site, field);
                get(&self.bytes, at, len)
            }
        }
    }

    /// Puts a node between the metadata and the entries of one of its tables, on pages that are free.
    fn deepen(&mut self, second: bool, directory: bool, page_size: usize) {
        let Some(copy) = self.metadata(second) else { return };
        let (top, height_at, table) = if directory { (DIRECTORY_TOP, 300, 2u32) } else { (FREE_MAP_TOP, 296, 1u32) };
        let height = get_u32(&self.bytes, copy + height_at);
        let leaf_page = get_u64(&self.bytes, copy + FREE_MAP_TOP.start);
        let leaf = sites(&self.bytes, page_size).into_iter().find(|site| site.kind == Kind::Leaf);
        let (Some(leaf), true) = (leaf, height < MAX_HEIGHT && leaf_page > 0) else { return };
        let run = BLOCK_LEN.div_ceil(page_size);
        let total = self.bytes.len() / page_size;
        let free = |page: &usize| (*page..page + run).all(|page| kind_of(&self.bytes, leaf.offset, page) == 0);
        let first = (RESERVED_BLOCKS * BLOCK_LEN).div_ceil(page_size).next_multiple_of(run);
        let pages: Vec<usize> = (first..total.saturating_sub(run)).step_by(run).filter(free).take(2).collect();
        let [a, b] = pages[..] else { return };
        for page in [a, b].into_iter().flat_map(|page| page..page + run) {
            set_kind(&mut self.bytes, leaf.offset, page, 2);
        }
        let mut node = vec![0; BLOCK_LEN];
        let generation = get_u64(&self.bytes, copy + 32);
        put(&mut node, 0, NODE_MAGIC);
        put(&mut node, 4, &table.to_le_bytes());
        put(&mut node, 8, &height.to_le_bytes());
        put(&mut node, 24, &generation.to_le_bytes());
        let entries = self.bytes[copy + top.start..copy + top.end].to_vec();
        put(&mut node, NODE_ENTRIES.start, &entries);
        put(&mut self.bytes, a * page_size, &node);
        let mut entry = [0; ENTRY_LEN];
        for (at, page) in [(0, a), (8, b)] {
            put(&mut entry, at, &u64::try_from(page).unwrap_or(0).to_le_bytes());
        }
        put(&mut entry, 16, &(generation << 1).to_le_bytes());
        self.bytes[copy + top.start..copy + top.end].fill(0);
        put(&mut self.bytes, copy + top.start, &entry);
        put(&mut self.bytes, copy + height_at, &(height + 1).to_le_bytes());
    }
}

fn field_of(site: Site, field: u16) -> (usize, usize) {
    let fields = site.kind.fields();
    let (at, len) = fields[usize::from(field) % fields.len()];
    (site.offset + at, len)
}

fn get(bytes: &[u8], at: usize, len: usize) -> u64 {
    if len == 4 { get_u32(bytes, at).into() } else { get_u64(bytes, at) }
}

fn bits_of(page: usize) -> (usize, u8) {
    let pages = usize::try_from(PAGES_PER_LEAF).expect("a leaf is in memory");
    let bit = page % pages;
    (bit / 8, 1 << (bit % 8))
}

fn kind_of(bytes: &[u8], leaf: usize, page: usize) -> u8 {
    let (at, mask) = bits_of(page);
    let bit = |plane: usize| u8::from(bytes[leaf + plane + at] & mask != 0);
    bit(LOW_PLANE.start) + 2 * bit(HIGH_PLANE.start)
}

fn set_kind(bytes: &mut [u8], leaf: usize, page: usize, kind: u8) {
    if !bytes[leaf..].starts_with(LEAF_MAGIC) {
        return;
    }
    let (at, mask) = bits_of(page);
    for (plane, set) in [(LOW_PLANE.start, kind & 1 != 0), (HIGH_PLANE.start, kind & 2 != 0)] {
        let byte = &mut bytes[leaf + plane + at];
        *byte = if set { *byte | mask } else { *byte & !mask };
    }
}
