//! The files that are damaged: what they hold, and where each of their structures stands.

use crate::block::{Block, PageKind, TwinCopy};
use crate::engine::geometry::{Geometry, to_index};
use crate::engine::twin_table::node_block;
use crate::engine::{Durability, Engine, EngineOptions, NewFile, Owned, Stage};
use crate::format::{
    BLOCK_LEN, BlockBytes, Cell, ChecksumKey, IDENTITY_OFFSET, METADATA_OFFSETS, SLOT_OFFSETS, Structure, TableKind,
    TwinEntry,
};
use crate::ids::FileId;
use crate::storage::{SimDisk, SimImage};

use super::outcome::{Shown, first_regular, options};

/// The id of every file that is damaged.
pub(super) const FILE_ID: FileId = FileId::new([7; 16]);

/// The sites of the reserved region come first.
const RESERVED_SITES: usize = 5;

/// How a file to be damaged came about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Content {
    /// Created and closed: void records in one slot and one copy of the metadata, no leaf, no node.
    Fresh,
    /// Regular and protected pages, so many that the directory has a node; both slots hold commits.
    HalfFull,
    /// The same, and both tables are two levels of nodes high.
    Deep,
    /// The same as half full, by small commits, and not closed: what slots say of changes counts. Only the reserved region
    /// is damaged, because where the twins are is not for the metadata to say.
    Small,
}

/// A block in which a structure, or a protected page, stands.
#[derive(Debug)]
pub(super) struct Site {
    pub(super) block: Block,
    pub(super) offset: u64,
    /// Length in bytes: a block, or a page.
    pub(super) len: usize,
    /// None is a protected page.
    pub(super) structure: Option<&'static Structure>,
    /// The newest state rests on it.
    pub(super) is_live: bool,
    /// Who holds its checksum: two, where the newest commit and the one before it share it.
    pub(super) parents: Vec<Parent>,
    /// Where the other copy stands, if anything does there.
    pub(super) other: Option<usize>,
}

impl Site {
    /// Whether it lies in the reserved region.
    pub(super) fn is_reserved(&self) -> bool {
        matches!(self.block, Block::Identity | Block::Slot(_) | Block::Metadata(_))
    }
}

/// What names a block and holds its checksum.
#[derive(Clone, Copy, Debug)]
pub(super) struct Parent {
    pub(super) site: usize,
    pub(super) checksum: Cell,
    /// Where the generation of the block stands: whole in a slot, beside the live copy in an entry.
    pub(super) generation: Cell,
}

/// See the head of this file.
#[derive(Debug)]
pub(super) struct Start {
    pub(super) content: Content,
    pub(super) page_size: u32,
    pub(super) image: SimImage,
    /// The images one commit before, two, and so on.
    pub(super) older: Vec<SimImage>,
    pub(super) shown: Shown,
    /// What the commit before shows.
    pub(super) shown_before: Option<Shown>,
    pub(super) sites: Vec<Site>,
    /// Pages that ids may name instead of their own: the reserved ones, one of each owner, and those around the end.
    pub(super) landmarks: Vec<u64>,
}

pub(super) fn key() -> ChecksumKey {
    ChecksumKey::new(FILE_ID)
}

/// A block of an image.
pub(super) fn block_at(image: &SimImage, offset: u64) -> BlockBytes {
    let mut block = [0; BLOCK_LEN];
    image.read(offset, &mut block);
    block
}

impl Start {
    pub(super) fn new(content: Content, page_size: u32) -> Start {
        let disk = SimDisk::new();
        disk.record(false);
        let new = NewFile::new(page_size, FILE_ID);
        let storage = disk.create(&new.reserved, new.len, false).expect("nothing fails");
        // The newest commit of the others is a promise, as it is in every file that was closed.
        let is_small = content == Content::Small;
        let durability = if is_small { Durability::OneBarrier } else { Durability::TwoBarriers };
        let options = EngineOptions { durability, ..options() };
        let mut engine = Engine::create(storage, &new, options).expect("nothing fails");
        let (mut older, mut shown_before) = (Vec::new(), None);
        if content != Content::Fresh {
            fill(&mut engine);
            if content == Content::Deep {
                raise_tables(&mut engine);
            }
            for round in 1..5 {
                older.insert(0, disk.cached_image());
                shown_before = Some(Shown::of(&engine));
                commit_round(&mut engine, round);
            }
        }
        let shown = Shown::of(&engine);
        let landmarks = landmarks(&engine);
        let unclosed = disk.cached_image();
        engine.close().expect("nothing fails");
        let image = if is_small { unclosed } else { disk.cached_image() };
        let mut sites = sites(&image, Geometry::new(page_size));
        if is_small {
            sites.truncate(RESERVED_SITES);
            sites.iter_mut().for_each(|site| site.parents.retain(|parent| parent.site < RESERVED_SITES));
        }
        Start { content, page_size, image, older, shown, shown_before, sites, landmarks }
    }

    /// The copy of the metadata that the newest slot names.
    pub(super) fn live_metadata(&self) -> Option<Block> {
        let named = self.sites[3..5].iter().filter_map(|site| {
            let slot = site.parents.first()?;
            Some((slot.generation.get(&block_at(&self.image, self.sites[slot.site].offset)), site.block))
        });
        named.max().map(|(_, block)| block)
    }

    /// The slot of the newest commit.
    pub(super) fn newest_slot(&self) -> Block {
        let generation = |site: &&Site| {
            let cell = site.structure.and_then(|structure| structure.cell("generation"));
            cell.map_or(0, |cell| cell.get(&block_at(&self.image, site.offset)))
        };
        self.sites[1..3].iter().max_by_key(generation).expect("there are two").block
    }

    /// Whether a block is the newest metadata, or named by it.
    pub(super) fn is_of_the_newest(&self, site: usize) -> bool {
        let site = &self.sites[site];
        if site.is_reserved() { Some(site.block) == self.live_metadata() } else { site.is_live }
    }

    /// How many entries stand behind an entry in its table's block.
    pub(super) fn places_behind(&self, parent: &Parent) -> usize {
        let fields = self.sites[parent.site].structure.map_or(&[][..], |structure| structure.fields);
        let end = parent.checksum.offset + parent.checksum.len;
        let table = fields
            .iter()
            .find(|field| field.parts == TwinEntry::FIELDS && (field.offset + 1..=field.end()).contains(&end));
        table.map_or(0, |table| (table.end() - end) / TwinEntry::LEN)
    }

    /// The sites of structures, with their numbers in [`sites`](Self::sites).
    pub(super) fn structures(&self) -> impl Iterator<Item = (usize, &Site, &'static Structure)> {
        let sites = self.sites.iter().enumerate();
        sites.filter_map(|(at, site)| Some((at, site, site.structure?)))
    }
}

fn stage_fill(engine: &Engine, stage: &mut Stage, owned: Owned, fill: u8) {
    engine.staged_mut(stage, owned, true).expect("it is there").fill(fill);
}

/// Twenty protected pages, more than the metadata has entries for, and a dozen regular ones.
fn fill(engine: &mut Engine) {
    let mut stage = engine.stage().expect("not poisoned");
    for index in engine.alloc_protected(&mut stage, 20).expect("there is space") {
        stage_fill(engine, &mut stage, Owned::Protected(index), 0x40 | u8::try_from(index).expect("twenty"));
    }
    for (at, page) in engine.alloc_bulk(&mut stage, 12).expect("there is space").pages().enumerate() {
        stage_fill(engine, &mut stage, Owned::Page(page), 0x80 | u8::try_from(at).expect("a dozen"));
    }
    engine.commit(stage).expect("nothing fails");
}

/// Two levels of nodes above all entries of both tables, as a table has that was large once.
fn raise_tables(engine: &mut Engine) {
    let geometry = engine.geometry();
    let mut stage = engine.stage().expect("not poisoned");
    // So that there is room for the nodes.
    let grown: Vec<u64> =
        engine.alloc_bulk(&mut stage, 8 * geometry.pages_per_block() + 4).expect("there is space").pages().collect();
    engine.free(&mut stage, &grown).expect("they were allocated");
    while stage.state.leaf_table.height() < 2 {
        let copies = stage.state.take_node(geometry).expect("there is room");
        stage.state.leaf_table.raise(copies);
    }
    while stage.state.directory.height() < 2 {
        let copies = stage.state.take_node(geometry).expect("there is room");
        stage.state.directory.raise(copies);
    }
    engine.commit(stage).expect("nothing fails");
}

/// A commit that changes every twin of the engine, a few pages of each kind, and the header.
fn commit_round(engine: &mut Engine, round: u8) {
    let mut stage = engine.stage().expect("not poisoned");
    engine.free(&mut stage, &[first_regular(engine).expect("there are regular pages")]).expect("it is regular");
    for (at, page) in engine.alloc_bulk(&mut stage, 2).expect("there is space").pages().enumerate() {
        stage_fill(engine, &mut stage, Owned::Page(page), 0xa0 | round << 1 | u8::try_from(at).expect("two"));
    }
    for index in [0, 7, 19] {
        stage_fill(engine, &mut stage, Owned::Protected(index), round);
    }
    engine.set_header(&mut stage, &[round; 100]).expect("it fits");
    engine.commit(stage).expect("nothing fails");
}

/// One page of each kind and owner, what lies in the reserved region, and the pages around both ends.
fn landmarks(engine: &Engine) -> Vec<u64> {
    let (geometry, state) = (engine.geometry(), engine.live());
    let total = state.total_pages();
    let mut pages = [SLOT_OFFSETS, METADATA_OFFSETS].as_flattened().to_vec();
    pages.iter_mut().for_each(|offset| *offset = geometry.page_at(*offset));
    pages.extend([geometry.first_page() - 1, geometry.first_page()]);
    for kind in [PageKind::Free, PageKind::Regular] {
        pages.extend((0..total).find(|page| state.kind(geometry, *page) == kind));
    }
    // The first and the last twin of each sort.
    let sort = |block: &Block| std::mem::discriminant(block);
    let twins: Vec<_> = state.twins().collect();
    for (at, (block, entry)) in twins.iter().enumerate() {
        let is_edge = [at.checked_sub(1), Some(at + 1)].into_iter().any(|next| {
            let next = next.and_then(|next| twins.get(next));
            next.is_none_or(|(next, _)| sort(next) != sort(block))
        });
        if is_edge {
            pages.extend(entry.copies);
        }
    }
    let capacity = geometry.capacity();
    pages.extend([total - 1, total, total + 1, 2 * total, capacity - 1, capacity, capacity + 1]);
    pages.sort_unstable();
    pages.dedup();
    pages
}

/// Finds every structure that either commit names, the newest commit's first.
struct Walk<'i> {
    image: &'i SimImage,
    geometry: Geometry,
    sites: Vec<Site>,
}

fn sites(image: &SimImage, geometry: Geometry) -> Vec<Site> {
    let mut walk = Walk { image, geometry, sites: Vec::new() };
    let blocks =
        [(Block::Identity, IDENTITY_OFFSET), (Block::Slot(0), SLOT_OFFSETS[0]), (Block::Slot(1), SLOT_OFFSETS[1])];
    let metadata = TwinCopy::BOTH.map(|copy| (Block::Metadata(copy), METADATA_OFFSETS[copy.index()]));
    for (block, offset) in blocks.into_iter().chain(metadata) {
        walk.add(block, offset, true);
    }
    walk.sites[1].other = Some(2);
    walk.sites[2].other = Some(1);
    walk.sites[3].other = Some(4);
    walk.sites[4].other = Some(3);
    let mut slots: Vec<(u64, usize)> = Vec::new();
    for at in [1, 2] {
        let block = block_at(image, walk.sites[at].offset);
        let slot = walk.sites[at].structure.expect("a slot holds a record");
        let Some((copy, checksum)) = slot.cell("metadata copy").zip(slot.cell("metadata checksum")) else { continue };
        let generation = slot.cell("generation").expect("a slot has a generation");
        let metadata = 3 + to_index(copy.get(&block));
        walk.sites[metadata].parents.push(Parent { site: at, checksum, generation });
        slots.push((generation.get(&block), metadata));
    }
    slots.sort_unstable();
    for (at, (_, metadata)) in slots.iter().rev().enumerate() {
        walk.metadata(*metadata, at == 0);
    }
    walk.pair_copies();
    walk.sites
}

impl Walk<'_> {
    fn add(&mut self, block: Block, offset: u64, is_live: bool) -> usize {
        let is_page = matches!(block, Block::ProtectedPage { .. });
        let len = if is_page { self.geometry.page_len() } else { BLOCK_LEN };
        let structure = if is_page { None } else { Structure::of(&block_at(self.image, offset)) };
        assert!(is_page || structure.is_some(), "a start has a structure where {block} should be");
        self.sites.push(Site { block, offset, len, structure, is_live, parents: Vec::new(), other: None });
        self.sites.len() - 1
    }

    fn metadata(&mut self, site: usize, is_live: bool) {
        let structure = self.sites[site].structure.expect("a structure");
        let block = block_at(self.image, self.sites[site].offset);
        let tops = structure.fields.iter().filter(|field| field.parts == TwinEntry::FIELDS);
        let tables = [(TableKind::FreeMap, "free-map height"), (TableKind::Directory, "directory height")];
        for (field, (kind, height)) in tops.zip(tables) {
            let height = structure.cell(height).expect("the metadata has heights").get(&block);
            self.entries((site, &block), field.offset, (kind, to_index(height), 0), is_live);
        }
    }

    /// The twins that the entries from `start` on name; `level` is how many nodes lie between them and the items.
    fn entries(
        &mut self,
        (parent, block): (usize, &BlockBytes),
        start: usize,
        (kind, level, first): (TableKind, usize, u64),
        is_live: bool,
    ) {
        let structure = self.sites[parent].structure.expect("a structure");
        let field = structure.fields.iter().find(|field| field.offset == start).expect("a field begins there");
        let (places, _) = block[start..field.end()].as_chunks::<{ TwinEntry::LEN }>();
        for (at, place) in places.iter().enumerate() {
            let entry = TwinEntry::decode(place).expect("a start is whole");
            if entry.is_empty() {
                continue;
            }
            let index = first + u64::try_from(at).expect("an index");
            let block = match (level, kind) {
                (0, TableKind::FreeMap) => Block::FreeMapLeaf { index },
                (0, TableKind::Directory) => Block::ProtectedPage { id: index + 1 },
                _ => node_block(kind, level - 1, index),
            };
            let offset = self.geometry.offset(entry.live_page());
            let known = self.sites.iter().position(|site| site.offset == offset);
            let site = known.unwrap_or_else(|| self.add(block, offset, is_live));
            let [.., generation, checksum] = TwinEntry::FIELDS else { panic!("an entry ends with its checksum") };
            let [generation, checksum] = [generation, checksum].map(|part| {
                let offset = start + at * TwinEntry::LEN + part.offset;
                Cell { name: part.name, offset, len: part.len }
            });
            self.sites[site].parents.push(Parent { site: parent, checksum, generation });
            if level > 0 && known.is_none() {
                let node = block_at(self.image, offset);
                let entries = self.sites[site]
                    .structure
                    .and_then(|node| node.fields.iter().find(|field| field.parts == TwinEntry::FIELDS));
                let start = entries.expect("a node has entries").offset;
                let fanout = u64::try_from(crate::format::NODE_FANOUT).expect("a small number");
                self.entries((site, &node), start, (kind, level - 1, index * fanout), is_live);
            }
        }
    }

    fn pair_copies(&mut self) {
        for at in 5..self.sites.len() {
            let block = self.sites[at].block;
            self.sites[at].other =
                (5..self.sites.len()).find(|other| *other != at && self.sites[*other].block == block);
        }
    }
}
