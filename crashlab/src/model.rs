//! The naive twin of a pager: maps of what every page holds.

use std::collections::BTreeMap;

/// What a page of the model holds: one byte, everywhere.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Regular {
    /// The byte.
    pub fill: u8,
    /// A barrier has passed since it was stored to or handed out.
    pub settled: bool,
    /// Until it is settled, what else it may hold: what it held when a barrier passed, and what was stored to it since. `None`
    /// is anything: no barrier has passed since it was handed out.
    earlier: Option<Bytes>,
}

impl Regular {
    /// A page that was just handed out.
    #[must_use]
    pub fn fresh() -> Self {
        Regular { fill: 0, settled: false, earlier: None }
    }

    /// A page that a barrier has passed.
    #[must_use]
    pub fn settled(fill: u8) -> Self {
        Regular { fill, settled: true, earlier: Some(Bytes::default()) }
    }

    /// Fills it through the map.
    pub fn store(&mut self, fill: u8) {
        if let Some(earlier) = &mut self.earlier {
            earlier.insert(self.fill);
        }
        *self = Regular { fill, settled: false, ..*self };
    }

    /// A barrier passed.
    pub fn settle(&mut self) {
        *self = Regular::settled(self.fill);
    }

    /// Nothing is known to have been stored to it since it was handed out, and no barrier has passed: the zeros that it shows
    /// may come to the disk after a commit.
    #[must_use]
    pub fn is_blank(&self) -> bool {
        !self.settled && self.earlier.is_none() && self.fill == 0
    }

    /// The bytes that its sectors may hold; `None` is anything.
    #[must_use]
    pub fn may_hold(&self) -> Option<Vec<u8>> {
        let mut earlier = self.earlier?;
        let mut fills = vec![self.fill];
        fills.extend(std::iter::from_fn(|| earlier.take()));
        Some(fills)
    }
}

/// A set of bytes.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
struct Bytes([u128; 2]);

impl Bytes {
    fn insert(&mut self, byte: u8) {
        self.0[usize::from(byte / 128)] |= 1 << (byte % 128);
    }

    /// Takes the least one out.
    fn take(&mut self) -> Option<u8> {
        let half = self.0.iter().position(|half| *half != 0)?;
        let bit = self.0[half].trailing_zeros();
        self.0[half] &= self.0[half] - 1;
        u8::try_from(half * 128).ok()?.checked_add(u8::try_from(bit).ok()?)
    }
}

/// What a table of sub-pages holds.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Table {
    /// Its id.
    pub id: u64,
    /// The byte that each live sub-page is full of, by id.
    pub live: BTreeMap<u64, u8>,
}

/// All that a pager is to show.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Model {
    /// The number of the last commit.
    pub generation: u64,
    /// Regular pages by id.
    pub regular: BTreeMap<u64, Regular>,
    /// The pages of extents, by the ids of these.
    pub extents: BTreeMap<u64, Vec<Regular>>,
    /// The byte that each protected page is full of, by id.
    pub protected: BTreeMap<u64, u8>,
    /// The table of sub-pages, if one was made.
    pub table: Option<Table>,
    /// Pages of the file that other tables own, of which nothing is known.
    pub foreign_pages: u64,
    /// The byte that the header is full of.
    pub header: u8,
    /// While the newest commits wait for the next durable one: the state that is durable.
    pub beneath: Option<Box<Model>>,
}

impl Model {
    /// The file was closed, which makes all stores durable and seals small commits with one of its own, and is open again.
    ///
    /// # Panics
    ///
    /// When that was more than one commit.
    pub fn reopen(&mut self, generation: u64) {
        assert!((self.generation..=self.generation + 1).contains(&generation), "closing is one commit at most");
        self.generation = generation;
        self.commit(|_| true);
    }

    /// What a crash at rest leaves, but for stores that may be lost.
    #[must_use]
    pub fn durable(&self) -> &Model {
        self.beneath.as_deref().unwrap_or(self)
    }

    /// The commits that wait are lost.
    pub fn crash(&mut self) {
        if let Some(durable) = self.beneath.take() {
            *self = *durable;
        }
    }

    /// A page that is not kept twice, by its name: the number of a regular page, or the [name](extent_page) of a page of an extent.
    #[must_use]
    pub fn stored(&self, name: u64) -> Option<&Regular> {
        if name & EXTENT == 0 {
            return self.regular.get(&name);
        }
        let at = usize::try_from(name % EXTENT_PAGES).expect("an extent of the model is short");
        self.extents.get(&((name & !EXTENT) / EXTENT_PAGES))?.get(at)
    }

    /// All of these pages with their names.
    pub fn stored_mut(&mut self) -> impl Iterator<Item = (u64, &mut Regular)> {
        let regular = self.regular.iter_mut().map(|(id, page)| (*id, page));
        let extents = self
            .extents
            .iter_mut()
            .flat_map(|(id, pages)| pages.iter_mut().enumerate().map(|(at, page)| (extent_page(*id, at), page)));
        regular.chain(extents)
    }

    /// A commit made everything durable, and its barriers settle the pages that are older than it. The zeros in those that
    /// commits that waited have handed out may come to the disk after it.
    pub fn commit(&mut self, is_older: impl Fn(u64) -> bool) {
        let waited = self.beneath.take().is_some();
        for (_, page) in self.stored_mut().filter(|(name, _)| is_older(*name)) {
            if !waited || !page.is_blank() {
                page.settle();
            }
        }
    }

    /// A commit that waits, or a store, made this model of the one `before` it.
    pub fn wait(&mut self, before: &Model) {
        let mut durable = before.durable().clone();
        for (name, page) in durable.stored_mut() {
            // These pages are written in place, whatever becomes of the commit.
            let now = before.stored(name).zip(self.stored(name));
            if let Some((_, now)) = now.filter(|(before, now)| before.fill != now.fill) {
                page.store(now.fill);
            }
        }
        self.beneath = Some(Box::new(durable));
    }

    /// A barrier passed.
    pub fn settle(&mut self) {
        self.stored_mut().for_each(|(_, page)| page.settle());
    }

    /// The id of the `pick`-th regular page, counted around.
    #[must_use]
    pub fn pick_regular(&self, pick: u8) -> Option<u64> {
        nth(&self.regular, pick)
    }

    /// The id of the `pick`-th extent, counted around.
    #[must_use]
    pub fn pick_extent(&self, pick: u8) -> Option<u64> {
        nth(&self.extents, pick)
    }

    /// The id of the `pick`-th protected page, counted around.
    #[must_use]
    pub fn pick_protected(&self, pick: u8) -> Option<u64> {
        nth(&self.protected, pick)
    }

    /// The id of the table and of its `pick`-th sub-page, counted around.
    #[must_use]
    pub fn pick_sub_page(&self, pick: u8) -> Option<(u64, u64)> {
        let table = self.table.as_ref()?;
        Some((table.id, nth(&table.live, pick)?))
    }

    /// Up to `count` different sub-pages.
    #[must_use]
    pub fn pick_many_sub_pages(&self, pick: u8, count: u8) -> Vec<u64> {
        self.table.as_ref().map_or_else(Vec::new, |table| many(&table.live, pick, count))
    }

    /// Up to `count` different regular pages.
    #[must_use]
    pub fn pick_many_regular(&self, pick: u8, count: u8) -> Vec<u64> {
        many(&self.regular, pick, count)
    }

    /// Up to `count` different protected pages.
    #[must_use]
    pub fn pick_many_protected(&self, pick: u8, count: u8) -> Vec<u64> {
        many(&self.protected, pick, count)
    }
}

/// Marks the name of a page of an extent.
const EXTENT: u64 = 1 << 63;

/// More pages than an extent of a model has.
const EXTENT_PAGES: u64 = 1 << 16;

/// A name for a page of an extent, which no regular page has.
#[must_use]
pub fn extent_page(id: u64, at: usize) -> u64 {
    EXTENT | (id * EXTENT_PAGES + at as u64)
}

fn nth<T>(map: &BTreeMap<u64, T>, pick: u8) -> Option<u64> {
    let at = usize::from(pick).checked_rem(map.len())?;
    map.keys().nth(at).copied()
}

fn many<T>(map: &BTreeMap<u64, T>, pick: u8, count: u8) -> Vec<u64> {
    let len = map.len();
    let first = usize::from(pick).checked_rem(len).unwrap_or(0);
    map.keys().cycle().skip(first).take(len.min(usize::from(count))).copied().collect()
}
