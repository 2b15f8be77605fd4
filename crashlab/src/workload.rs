//! Sequences of operations on a file that looks like this or that, each with a name.

use std::fmt;
use std::str::FromStr;

use diptych::Durability;

use crate::lab::Start;
use crate::operation::{End, Operation, Step};

/// Each operation once, with arguments that make it do something on every start that has pages.
#[must_use]
pub fn each_operation() -> Vec<Operation> {
    use Operation::{
        Alloc, AllocBulk, AllocProtected, AllocProtectedBulk, Drop, DropProtected, Free, FreeBulk, FreeProtected,
        FreeProtectedBulk, Reopen, Store, Sync, Transaction, WriteProtected,
    };
    let everything = vec![
        Step::Alloc,
        Step::Write(200, 0x41),
        Step::AllocProtected,
        Step::WriteProtected(0, 0x42),
        Step::WriteProtected(1, 0x43),
        Step::Savepoint,
        Step::WriteProtected(0, 0x44),
        Step::Free(0),
        Step::AllocBulk(5),
        Step::Rollback(0),
        Step::Write(0, 0x45),
        Step::FreeProtected(1),
        Step::Free(1),
        Step::Header(0x46),
    ];
    vec![
        Alloc,
        AllocBulk(30),
        Free(0),
        FreeBulk(1, 7),
        AllocProtected,
        AllocProtectedBulk(9),
        FreeProtected(0),
        FreeProtectedBulk(0, 2),
        WriteProtected(1, 0x51),
        DropProtected(0, 0x52),
        Store(0, 0x53),
        Sync,
        Reopen,
        Drop,
        Transaction(everything.clone(), End::Commit),
        Transaction(everything, End::Drop),
        Transaction(vec![Step::Header(0x54)], End::Commit),
        Transaction(vec![Step::Write(0, 0x55), Step::Write(1, 0x56)], End::Commit),
        AllocBulk(250),
    ]
}

/// What the crash lab makes its sequences of: [`each_operation`], and transactions that take savepoints, grow the file,
/// never end, move copies, have extents, wait for the next durable commit, are durable in any case, or change a table of sub-pages;
/// compaction, and giving space back.
#[must_use]
pub fn operations() -> Vec<Operation> {
    let mut all = each_operation();
    let rolled_back = vec![
        Step::WriteProtected(0, 0x61),
        Step::Savepoint,
        Step::AllocProtected,
        Step::FreeProtected(0),
        Step::Header(0x62),
        Step::Rollback(0),
        Step::Alloc,
        Step::Savepoint,
        Step::ZeroProtected(1),
        Step::Rollback(0),
        Step::Rollback(0),
        Step::Write(255, 0x63),
    ];
    let grown =
        vec![Step::AllocBulk(120), Step::Write(250, 0x64), Step::Savepoint, Step::AllocBulk(120), Step::Rollback(0)];
    let freed = vec![Step::Free(0), Step::Alloc, Step::Free(1), Step::AllocNear(40), Step::ZeroProtected(0)];
    all.push(Operation::Transaction(rolled_back, End::Commit));
    all.push(Operation::Transaction(grown, End::Commit));
    all.push(Operation::Transaction(freed, End::Commit));
    all.push(Operation::Transaction(vec![Step::AllocProtected, Step::WriteProtected(255, 0x65)], End::Leak));
    // As many copies as get new places in a checkpoint.
    let moved = (0..9).map(|pick| Step::WriteProtected(pick, 0x66)).collect();
    all.push(Operation::Transaction(moved, End::Commit));
    all.push(Operation::Compact(3));
    all.push(Operation::Compact(40));
    all.push(Operation::Shrink);
    all.push(Operation::PunchHoles);
    let extents = vec![Step::AllocExtent(6), Step::WriteExtent(0, 0x6b), Step::AllocExtent(3)];
    let resized = vec![
        Step::ShortenExtent(0, 2),
        Step::Alloc,
        Step::Write(255, 0x6c),
        Step::LengthenExtent(1, 7),
        Step::WriteExtent(0, 0x6d),
        Step::AllocExtent(2),
        Step::FreeExtent(2),
    ];
    all.push(Operation::Transaction(extents, End::Commit));
    all.push(Operation::Transaction(resized, End::Commit));
    all.push(Operation::FreeExtent(0));
    all.push(Operation::StoreExtent(0, 0x6e));
    let waits = vec![
        Step::Wait,
        Step::WriteProtected(0, 0x66),
        Step::Free(0),
        Step::Alloc,
        Step::Write(254, 0x67),
        Step::Write(0, 0x68),
        Step::FreeProtected(1),
        Step::AllocProtected,
        Step::Header(0x69),
    ];
    all.push(Operation::Transaction(waits, End::Commit));
    all.push(Operation::Transaction(vec![Step::Durable, Step::WriteProtected(0, 0x6a), Step::Alloc], End::Commit));
    let sub_pages = vec![
        Step::AllocSubPages(1),
        Step::WriteSubPage(0, 0x6b),
        Step::AllocSubPages(9),
        Step::FreeSubPages(4, 1),
        Step::WriteSubPage(6, 0x6c),
        Step::WriteProtected(0, 0x6d),
    ];
    all.push(Operation::Transaction(sub_pages, End::Commit));
    // The last one of each page, so that the pages go back, and others come.
    let last = vec![Step::FreeSubPages(0, 255), Step::AllocSubPages(2), Step::WriteSubPage(1, 0x6e)];
    all.push(Operation::Transaction(last, End::Commit));
    all
}

/// Page sizes that the crash lab runs.
pub const PAGE_SIZES: [usize; 3] = [1024, 4096, 16384];

/// A sequence of operations of which the last is cut off. Its name, as in `4096/HalfFull/3,17`, is page size, start, and the
/// places of its operations in [`operations`]; `/two-barriers` follows if every commit is a checkpoint, `/none` if all wait
/// for a durable one, and `/write-back` if stores reach the disk between barriers.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Workload {
    /// Bytes in a page: one of [`PAGE_SIZES`].
    pub page_size: usize,
    /// What the file looks like before.
    pub start: Start,
    /// Places in [`operations`].
    pub sequence: Vec<usize>,
    /// How commits become durable.
    pub durability: Durability,
    /// Whether the kernel writes stores through the map back now and then, and not at barriers alone.
    pub write_back: bool,
}

impl Workload {
    /// All workloads of so many operations, with commits of one barrier, of two, and of none; those that store through the
    /// map a second time with spontaneous write-back.
    #[must_use]
    pub fn all(len: u32) -> Vec<Workload> {
        let stores: Vec<bool> = operations().iter().map(stores_through_the_map).collect();
        let count = stores.len();
        let mut all = Vec::new();
        for page_size in PAGE_SIZES {
            for start in Start::ALL {
                for number in 0..count.pow(len) {
                    let sequence: Vec<usize> = (0..len).rev().map(|digit| number / count.pow(digit) % count).collect();
                    let is_stored_to = sequence.iter().any(|place| stores[*place]);
                    for durability in DURABILITIES {
                        let (sequence, write_back) = (sequence.clone(), false);
                        let workload = Workload { page_size, start, sequence, durability, write_back };
                        if is_stored_to {
                            all.push(Workload { write_back: true, ..workload.clone() });
                        }
                        all.push(workload);
                    }
                }
            }
        }
        all
    }
}

/// Whether an operation makes bytes that are in the map before they are in the page cache.
fn stores_through_the_map(operation: &Operation) -> bool {
    match operation {
        Operation::Store(..) | Operation::StoreExtent(..) => true,
        Operation::Transaction(steps, _) => {
            steps.iter().any(|step| matches!(step, Step::Write(..) | Step::WriteExtent(..)))
        }
        _ => false,
    }
}

/// Each way in which commits become durable.
pub const DURABILITIES: [Durability; 3] = [Durability::OneBarrier, Durability::TwoBarriers, Durability::None];

/// Follows the sequence in the name of a workload without small commits.
const TWO_BARRIERS: &str = "/two-barriers";

/// Follows the sequence in the name of a workload whose commits wait.
const NONE: &str = "/none";

/// Ends the name of a workload with spontaneous write-back.
const WRITE_BACK: &str = "/write-back";

impl fmt::Display for Workload {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let sequence: Vec<String> = self.sequence.iter().map(usize::to_string).collect();
        let barriers = match self.durability {
            Durability::TwoBarriers => TWO_BARRIERS,
            Durability::None => NONE,
            _ => "",
        };
        let write_back = if self.write_back { WRITE_BACK } else { "" };
        write!(f, "{}/{:?}/{}{barriers}{write_back}", self.page_size, self.start, sequence.join(","))
    }
}

impl FromStr for Workload {
    type Err = String;

    fn from_str(name: &str) -> Result<Workload, String> {
        let wrong = || format!("{name} is no workload: one is called, for example, 4096/HalfFull/3,17");
        let write_back = name.ends_with(WRITE_BACK);
        let name = name.strip_suffix(WRITE_BACK).unwrap_or(name);
        let (name, durability) = match (name.strip_suffix(TWO_BARRIERS), name.strip_suffix(NONE)) {
            (Some(name), _) => (name, Durability::TwoBarriers),
            (_, Some(name)) => (name, Durability::None),
            _ => (name, Durability::OneBarrier),
        };
        let [page_size, start, sequence] = *name.split('/').collect::<Vec<_>>() else { return Err(wrong()) };
        let page_size = PAGE_SIZES.into_iter().find(|size| size.to_string() == page_size).ok_or_else(wrong)?;
        let start = start_called(start).ok_or_else(wrong)?;
        let sequence: Option<Vec<usize>> = sequence.split(',').map(|place| place.parse().ok()).collect();
        let sequence = sequence.filter(|places| places.iter().all(|place| *place < operations().len()));
        Ok(Workload { page_size, start, sequence: sequence.ok_or_else(wrong)?, durability, write_back })
    }
}

/// The start of that name.
#[must_use]
pub fn start_called(name: &str) -> Option<Start> {
    Start::ALL.into_iter().find(|start| format!("{start:?}") == name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_workload_is_found_by_its_name() {
        for workload in Workload::all(1) {
            assert_eq!(workload.to_string().parse(), Ok(workload));
        }
        assert!("4096/HalfFull/3,999".parse::<Workload>().is_err());
    }
}
