//! Which generation a file is at: a pure choice among candidates.
//!
//! What the superblock and the metadata copies hold is the *evidence*; whether everything that a candidate names is really
//! there is asked of the caller, who reads the file. The choice itself touches nothing, so a table of cases tests it.
//!
//! ```text
//!   newest whole slot at g ── its metadata whole, its twins verify ──┬─ no metadata at g+1 ──────────────────▶ g
//!          │                                                         └─ metadata at g+1 whole:
//!          │                                                               all that g+1 wrote is there ───────▶ g+1
//!          │                                                               its twins are not ─────────────────▶ g
//!          │                                                               only a regular page differs
//!          │                                                                 and the other slot is bad ───────▶ refuse
//!          │                                                                 and it is whole ─────────────────▶ g
//!          └─ otherwise: a promise is broken, that is no crash ───────────────────────────────────────────────▶ refuse
//!   no whole slot: the metadata copies under the same rules, the newer first
//! ```
//!
//! A commit that is all there is taken whether its slot was torn or never written: then a slot that the disk lost is
//! survived as well. Only a slot that is bad may have named a commit that was acknowledged, so only then a regular page that
//! differs, or a block that cannot be read, leaves two stories possible.
//!
//! Everything refused is voided by the caller before anything is staged, and what the verdict rests on is written again.

use crate::block::{Block, TwinCopy};
use crate::error::Error;
use crate::format::{Defect, Slot};

use super::planted::{Mistake, is_planted};

/// What a slot block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotEvidence {
    Commit(Slot),
    Void,
    Bad(Defect),
}

/// What a metadata block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetadataEvidence {
    Commit { generation: u64, checksum: u64 },
    Void,
    Bad(Defect),
}

/// What the reserved region says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) slots: [SlotEvidence; 2],
    pub(super) metadata: [MetadataEvidence; 2],
}

/// What has to be there before a candidate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// A slot names the candidate, so its writes were behind a barrier: what the engine needs to work.
    Named,
    /// No slot does: everything that its commit wrote, protected and regular pages included.
    Unnamed,
}

/// What the caller found when it read what a metadata copy names.
#[derive(Debug)]
pub(super) enum Walk {
    Verifies,
    Fails(Error),
    /// A call failed, which says nothing about what is there.
    Unreadable(Error),
    /// All twins verify, and a regular page does not hold what the commit wrote.
    PageDiffers {
        page: u64,
    },
}

/// Which state the file is at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Verdict {
    pub(super) copy: TwinCopy,
    pub(super) generation: u64,
    /// The slot that names the state, or that has to if it was adopted.
    pub(super) slot: usize,
    /// No slot named the state: it is written again, and the slot behind it.
    pub(super) adopted: bool,
    /// A newer generation was passed over because the caller asked for the older state.
    pub(super) passed_over: Option<u64>,
    /// To be overwritten by void records: refused candidates and what cannot be read.
    pub(super) void_slots: [bool; 2],
    pub(super) void_metadata: [bool; 2],
}

/// Why there is no verdict.
#[derive(Debug)]
pub(super) enum Refusal {
    /// A block that a whole slot promises is not what it must be, or nothing is left to start from.
    Block(Block, Defect),
    /// Something below the metadata is not.
    Walk(Error),
    /// See [`Error::Ambiguous`].
    Ambiguous { candidate: u64, stands: u64, page: u64 },
}

fn slot_block(at: usize) -> Block {
    Block::Slot(u8::from(at != 0))
}

/// Decides. `take_older` accepts the state before a broken promise; `walk` reads what a copy names.
pub(super) fn choose(
    evidence: &Evidence,
    take_older: bool,
    walk: &mut dyn FnMut(TwinCopy, Proof) -> Walk,
) -> Result<Verdict, Refusal> {
    let newest = match evidence.slots {
        [SlotEvidence::Commit(first), SlotEvidence::Commit(second)] => {
            if first.generation == second.generation && first != second {
                // I4: two commits of one generation cannot both have happened.
                let found = second.metadata_checksum;
                let defect = Defect { field: "metadata checksum", expected: first.metadata_checksum, found };
                return Err(Refusal::Block(slot_block(1), defect));
            }
            Some(if second.generation > first.generation { (1, second) } else { (0, first) })
        }
        [SlotEvidence::Commit(slot), _] => Some((0, slot)),
        [_, SlotEvidence::Commit(slot)] => Some((1, slot)),
        _ => None,
    };
    match newest {
        Some((at, slot)) => choose_from_slot(evidence, at, &slot, take_older, walk),
        None => choose_from_metadata(evidence, take_older, walk),
    }
}

/// Whether what a slot names is there.
fn keep_promise(
    evidence: &Evidence,
    slot: &Slot,
    walk: &mut dyn FnMut(TwinCopy, Proof) -> Walk,
) -> Result<(), Refusal> {
    let refuse =
        |field, expected, found| Err(Refusal::Block(Block::Metadata(slot.copy), Defect { field, expected, found }));
    match evidence.metadata[slot.copy.index()] {
        MetadataEvidence::Bad(defect) => Err(Refusal::Block(Block::Metadata(slot.copy), defect)),
        MetadataEvidence::Void => refuse("generation", slot.generation, 0),
        MetadataEvidence::Commit { generation, .. } if generation != slot.generation => {
            refuse("generation", slot.generation, generation)
        }
        MetadataEvidence::Commit { checksum, .. } if checksum != slot.metadata_checksum => {
            refuse("checksum", slot.metadata_checksum, checksum)
        }
        MetadataEvidence::Commit { .. } => match walk(slot.copy, Proof::Named) {
            Walk::Fails(error) | Walk::Unreadable(error) => Err(Refusal::Walk(error)),
            Walk::Verifies | Walk::PageDiffers { .. } => Ok(()),
        },
    }
}

fn choose_from_slot(
    evidence: &Evidence,
    at: usize,
    slot: &Slot,
    take_older: bool,
    walk: &mut dyn FnMut(TwinCopy, Proof) -> Walk,
) -> Result<Verdict, Refusal> {
    let other_at = 1 - at;
    let mut stays = Verdict {
        copy: slot.copy,
        generation: slot.generation,
        slot: at,
        adopted: false,
        passed_over: None,
        void_slots: [false; 2],
        void_metadata: [false; 2],
    };
    if let Err(refusal) = keep_promise(evidence, slot, walk) {
        // Only on request: what the older state calls free may have been written to since.
        let SlotEvidence::Commit(older) = evidence.slots[other_at] else { return Err(refusal) };
        let falls_back = take_older || is_planted(Mistake::BrokenPromiseFallsBack);
        let older_is_whole = falls_back && older.copy != slot.copy && keep_promise(evidence, &older, walk).is_ok();
        if !older_is_whole {
            return Err(refusal);
        }
        stays.void_slots[at] = true;
        stays.void_metadata[slot.copy.index()] = true;
        let passed_over = Some(slot.generation);
        return Ok(Verdict { copy: older.copy, generation: older.generation, slot: other_at, passed_over, ..stays });
    }

    let unnamed = slot.copy.other();
    // No commit writes what the other slot holds: that is a write that went astray, over a slot that is lost.
    let other_is_bad = match evidence.slots[other_at] {
        SlotEvidence::Bad(_) => true,
        SlotEvidence::Commit(other) => other.generation == slot.generation,
        SlotEvidence::Void => false,
    };
    let candidate = match evidence.metadata[unnamed.index()] {
        MetadataEvidence::Commit { generation, .. } => Some(generation),
        _ => None,
    };
    let any = candidate.is_some() && is_planted(Mistake::GenerationNotCompared);
    if candidate == Some(slot.generation + 1) || any {
        let generation = slot.generation + 1;
        match walk(unnamed, Proof::Unnamed) {
            Walk::Verifies => {
                return Ok(Verdict { copy: unnamed, generation, slot: other_at, adopted: true, ..stays });
            }
            Walk::PageDiffers { page } if other_is_bad && !take_older => {
                return Err(Refusal::Ambiguous { candidate: generation, stands: slot.generation, page });
            }
            Walk::Unreadable(error) if other_is_bad => return Err(Refusal::Walk(error)),
            Walk::PageDiffers { .. } if other_is_bad => stays.passed_over = Some(generation),
            Walk::PageDiffers { .. } | Walk::Unreadable(_) | Walk::Fails(_) => {}
        }
    }
    stays.void_slots[other_at] = other_is_bad;
    stays.void_metadata[unnamed.index()] = match evidence.metadata[unnamed.index()] {
        MetadataEvidence::Bad(_) => true,
        MetadataEvidence::Void => false,
        MetadataEvidence::Commit { .. } if is_planted(Mistake::OnlyBadMetadataVoided) => false,
        MetadataEvidence::Commit { generation, .. } => generation >= slot.generation,
    };
    Ok(stays)
}

fn choose_from_metadata(
    evidence: &Evidence,
    take_older: bool,
    walk: &mut dyn FnMut(TwinCopy, Proof) -> Walk,
) -> Result<Verdict, Refusal> {
    let (newer, generation, older) = match evidence.metadata {
        [MetadataEvidence::Commit { generation: a, .. }, MetadataEvidence::Commit { generation: b, .. }] => {
            if a == b {
                let defect = Defect { field: "generation", expected: a.saturating_add(1), found: b };
                return Err(Refusal::Block(Block::Metadata(TwinCopy::B), defect));
            }
            if a > b { (TwinCopy::A, a, Some(b)) } else { (TwinCopy::B, b, Some(a)) }
        }
        [MetadataEvidence::Commit { generation, .. }, MetadataEvidence::Void] => (TwinCopy::A, generation, None),
        [MetadataEvidence::Void, MetadataEvidence::Commit { generation, .. }] => (TwinCopy::B, generation, None),
        // The copy that cannot be read may be the newer one, and was acknowledged then.
        [MetadataEvidence::Bad(defect), MetadataEvidence::Commit { generation, .. }] => {
            if !take_older {
                return Err(Refusal::Block(Block::Metadata(TwinCopy::A), defect));
            }
            (TwinCopy::B, generation, None)
        }
        [MetadataEvidence::Commit { generation, .. }, MetadataEvidence::Bad(defect)] => {
            if !take_older {
                return Err(Refusal::Block(Block::Metadata(TwinCopy::B), defect));
            }
            (TwinCopy::A, generation, None)
        }
        [MetadataEvidence::Bad(defect), _] => return Err(Refusal::Block(Block::Metadata(TwinCopy::A), defect)),
        [_, MetadataEvidence::Bad(defect)] => return Err(Refusal::Block(Block::Metadata(TwinCopy::B), defect)),
        [MetadataEvidence::Void, MetadataEvidence::Void] => {
            let defect = Defect { field: "generation", expected: 1, found: 0 };
            return Err(Refusal::Block(Block::Metadata(TwinCopy::A), defect));
        }
    };
    let mut verdict = Verdict {
        copy: newer,
        generation,
        slot: 0,
        adopted: true,
        passed_over: None,
        void_slots: [false, true],
        void_metadata: evidence.metadata.map(|metadata| matches!(metadata, MetadataEvidence::Bad(_))),
    };
    let refusal = match walk(newer, Proof::Unnamed) {
        Walk::Verifies => return Ok(verdict),
        Walk::PageDiffers { page } => {
            let refusal = Refusal::Ambiguous { candidate: generation, stands: older.unwrap_or(0), page };
            if !take_older {
                return Err(refusal);
            }
            verdict.passed_over = Some(generation);
            refusal
        }
        Walk::Unreadable(error) => return Err(Refusal::Walk(error)),
        Walk::Fails(error) => Refusal::Walk(error),
    };
    // The older copy was durable before the newer one was begun, so its regular pages need no proof.
    let Some(older) = older else { return Err(refusal) };
    match walk(newer.other(), Proof::Named) {
        Walk::Fails(error) | Walk::Unreadable(error) => Err(Refusal::Walk(error)),
        Walk::Verifies | Walk::PageDiffers { .. } => {
            verdict.void_metadata[newer.index()] = true;
            Ok(Verdict { copy: newer.other(), generation: older, ..verdict })
        }
    }
}

#[cfg(test)]
mod tests {
    use super::MetadataEvidence as Metadata;
    use super::SlotEvidence as Slots;
    use super::{Block, Defect, Error, Evidence, Proof, Refusal, Slot, TwinCopy, Verdict, Walk, choose};

    const TORN: Defect = Defect { field: "crc", expected: 1, found: 2 };
    const A: TwinCopy = TwinCopy::A;
    const B: TwinCopy = TwinCopy::B;

    fn slot(generation: u64, copy: TwinCopy) -> Slots {
        Slots::Commit(Slot { generation, copy, metadata_checksum: generation * 100 })
    }

    fn metadata(generation: u64) -> Metadata {
        Metadata::Commit { generation, checksum: generation * 100 }
    }

    /// What walking a copy would find, as in a table of cases.
    #[derive(Clone, Copy)]
    enum Finds {
        Whole,
        Broken,
        Unreadable,
        OtherPage,
    }

    fn decide(slots: [Slots; 2], metadata: [Metadata; 2], finds: [Finds; 2], older: bool) -> Result<Verdict, Refusal> {
        choose(&Evidence { slots, metadata }, older, &mut |copy, proof| match (finds[copy.index()], proof) {
            (Finds::Whole, _) | (Finds::OtherPage, Proof::Named) => Walk::Verifies,
            (Finds::Broken, _) => Walk::Fails(Error::Poisoned),
            (Finds::Unreadable, _) => Walk::Unreadable(Error::ForeignSavepoint),
            (Finds::OtherPage, Proof::Unnamed) => Walk::PageDiffers { page: 9 },
        })
    }

    #[track_caller]
    fn takes(verdict: Result<Verdict, Refusal>, generation: u64, slots: [bool; 2], metadata: [bool; 2]) -> Verdict {
        let verdict = verdict.expect("a state is taken");
        let found = (verdict.generation, verdict.void_slots, verdict.void_metadata);
        assert_eq!(found, (generation, slots, metadata));
        verdict
    }

    const NONE: [bool; 2] = [false, false];
    const FIRST: [bool; 2] = [true, false];
    const SECOND: [bool; 2] = [false, true];
    const WHOLE: [Finds; 2] = [Finds::Whole, Finds::Whole];
    const B_BROKEN: [Finds; 2] = [Finds::Whole, Finds::Broken];

    #[test]
    fn the_newest_whole_slot_stands_whichever_slot_it_is_in() {
        let verdict = decide([slot(7, A), slot(6, B)], [metadata(7), metadata(6)], WHOLE, false);
        assert_eq!(takes(verdict, 7, NONE, NONE).slot, 0);
        let verdict = decide([slot(7, A), slot(8, B)], [metadata(7), metadata(8)], WHOLE, false);
        assert_eq!(takes(verdict, 8, NONE, NONE).slot, 1);
    }

    #[test]
    fn a_new_file_has_one_slot_and_one_metadata() {
        let verdict = decide([slot(1, A), Slots::Void], [metadata(1), Metadata::Void], WHOLE, false);
        takes(verdict, 1, NONE, NONE);
    }

    #[test]
    fn a_commit_that_is_all_there_is_adopted_though_its_slot_was_never_written() {
        for other in [slot(6, B), Slots::Void] {
            let verdict = decide([slot(7, A), other], [metadata(7), metadata(8)], WHOLE, false);
            let verdict = takes(verdict, 8, NONE, NONE);
            assert_eq!((verdict.adopted, verdict.slot, verdict.copy), (true, 1, B));
        }
    }

    #[test]
    fn an_unfinished_commit_is_voided() {
        for finds in [Finds::Broken, Finds::OtherPage, Finds::Unreadable] {
            let finds = [Finds::Whole, finds];
            let verdict = decide([slot(7, A), slot(6, B)], [metadata(7), metadata(8)], finds, false);
            assert_eq!(takes(verdict, 7, NONE, SECOND).passed_over, None, "it never was a state");
        }
        let torn = decide([slot(7, A), slot(6, B)], [metadata(7), Metadata::Bad(TORN)], WHOLE, false);
        takes(torn, 7, NONE, SECOND);
    }

    #[test]
    fn a_torn_slot_with_whole_metadata_behind_it_is_adopted() {
        let verdict = decide([slot(7, A), Slots::Bad(TORN)], [metadata(7), metadata(8)], WHOLE, false);
        let verdict = takes(verdict, 8, NONE, NONE);
        assert_eq!((verdict.adopted, verdict.slot, verdict.copy), (true, 1, B));
    }

    #[test]
    fn a_torn_slot_whose_commit_is_not_all_there_is_voided_with_its_metadata() {
        let verdict = decide([slot(7, A), Slots::Bad(TORN)], [metadata(7), metadata(8)], B_BROKEN, false);
        assert!(!takes(verdict, 7, SECOND, SECOND).adopted);
    }

    #[test]
    fn a_torn_slot_without_metadata_of_the_next_generation_is_voided() {
        let verdict = decide([slot(7, A), Slots::Bad(TORN)], [metadata(7), metadata(6)], WHOLE, false);
        takes(verdict, 7, SECOND, NONE);
        let verdict = decide([Slots::Bad(TORN), slot(7, B)], [metadata(9), metadata(7)], WHOLE, false);
        takes(verdict, 7, FIRST, FIRST);
    }

    #[test]
    fn a_regular_page_that_differs_makes_a_lost_slot_ambiguous() {
        let finds = [Finds::Whole, Finds::OtherPage];
        let evidence = ([slot(7, A), Slots::Bad(TORN)], [metadata(7), metadata(8)]);
        let refused = decide(evidence.0, evidence.1, finds, false);
        assert!(matches!(refused, Err(Refusal::Ambiguous { candidate: 8, stands: 7, page: 9 })));
        takes(decide(evidence.0, evidence.1, finds, true), 7, SECOND, SECOND);
    }

    #[test]
    fn a_call_that_fails_refuses_no_commit_that_may_have_been_acknowledged() {
        let finds = [Finds::Whole, Finds::Unreadable];
        let unreadable = decide([slot(7, A), Slots::Bad(TORN)], [metadata(7), metadata(8)], finds, true);
        assert!(matches!(unreadable, Err(Refusal::Walk(Error::ForeignSavepoint))));
        let lost = [Slots::Bad(TORN), Slots::Bad(TORN)];
        let unreadable = decide(lost, [metadata(7), metadata(8)], finds, true);
        assert!(matches!(unreadable, Err(Refusal::Walk(Error::ForeignSavepoint))));
    }

    #[test]
    fn a_whole_slot_with_bad_metadata_is_refused_by_name() {
        let evidence = ([slot(7, A), slot(6, B)], [Metadata::Bad(TORN), metadata(6)]);
        let refused = decide(evidence.0, evidence.1, WHOLE, false);
        assert!(matches!(refused, Err(Refusal::Block(Block::Metadata(A), TORN))));
        let older = takes(decide(evidence.0, evidence.1, WHOLE, true), 6, FIRST, FIRST);
        assert_eq!((older.passed_over, older.slot), (Some(7), 1));
    }

    #[test]
    fn a_whole_slot_whose_twins_do_not_verify_is_refused_by_name() {
        let evidence = ([slot(6, A), slot(7, B)], [metadata(6), metadata(7)]);
        assert!(matches!(decide(evidence.0, evidence.1, B_BROKEN, false), Err(Refusal::Walk(Error::Poisoned))));
        takes(decide(evidence.0, evidence.1, B_BROKEN, true), 6, SECOND, SECOND);
    }

    #[test]
    fn metadata_of_another_generation_or_checksum_than_its_slot_says_is_refused() {
        let stale = decide([slot(7, A), slot(6, B)], [metadata(5), metadata(6)], WHOLE, false);
        assert!(matches!(stale, Err(Refusal::Block(Block::Metadata(A), Defect { field: "generation", .. }))));
        let other = Metadata::Commit { generation: 7, checksum: 1 };
        let other = decide([slot(7, A), slot(6, B)], [other, metadata(6)], WHOLE, false);
        assert!(matches!(other, Err(Refusal::Block(Block::Metadata(A), Defect { field: "checksum", .. }))));
    }

    #[test]
    fn a_slot_that_repeats_the_other_one_has_lost_what_it_held() {
        let evidence = ([slot(7, A), slot(7, A)], [metadata(7), metadata(6)]);
        takes(decide(evidence.0, evidence.1, WHOLE, false), 7, SECOND, NONE);
        let evidence = ([slot(7, A), slot(7, A)], [metadata(7), metadata(8)]);
        assert!(takes(decide(evidence.0, evidence.1, WHOLE, false), 8, NONE, NONE).adopted);
        let finds = [Finds::Whole, Finds::OtherPage];
        let refused = decide(evidence.0, evidence.1, finds, false);
        assert!(matches!(refused, Err(Refusal::Ambiguous { candidate: 8, stands: 7, page: 9 })));
    }

    #[test]
    fn two_slots_of_one_generation_that_differ_are_refused() {
        let refused = decide([slot(7, A), slot(7, B)], [metadata(7), metadata(7)], WHOLE, false);
        assert!(matches!(refused, Err(Refusal::Block(Block::Slot(1), _))));
    }

    #[test]
    fn without_slots_the_newest_metadata_that_is_all_there_is_adopted() {
        let lost = [Slots::Bad(TORN), Slots::Bad(TORN)];
        let newest = takes(decide(lost, [metadata(7), metadata(8)], WHOLE, false), 8, SECOND, NONE);
        assert!(newest.adopted);
        let older = takes(decide(lost, [metadata(7), metadata(8)], B_BROKEN, false), 7, SECOND, SECOND);
        assert!(older.adopted);
        takes(decide(lost, [metadata(1), Metadata::Void], WHOLE, false), 1, SECOND, NONE);
        let ambiguous = decide(lost, [metadata(7), metadata(8)], [Finds::Whole, Finds::OtherPage], false);
        assert!(matches!(ambiguous, Err(Refusal::Ambiguous { candidate: 8, stands: 7, page: 9 })));
    }

    #[test]
    fn without_slots_a_metadata_copy_that_cannot_be_read_may_be_the_newer_one() {
        let lost = [Slots::Bad(TORN), Slots::Bad(TORN)];
        let refused = decide(lost, [metadata(7), Metadata::Bad(TORN)], WHOLE, false);
        assert!(matches!(refused, Err(Refusal::Block(Block::Metadata(B), TORN))));
        takes(decide(lost, [metadata(7), Metadata::Bad(TORN)], WHOLE, true), 7, SECOND, SECOND);
        let refused = decide(lost, [Metadata::Bad(TORN), metadata(7)], WHOLE, false);
        assert!(matches!(refused, Err(Refusal::Block(Block::Metadata(A), TORN))));
        takes(decide(lost, [Metadata::Bad(TORN), metadata(7)], WHOLE, true), 7, SECOND, FIRST);
        assert!(decide(lost, [Metadata::Bad(TORN), Metadata::Void], WHOLE, true).is_err());
        assert!(decide(lost, [Metadata::Void, Metadata::Void], WHOLE, true).is_err());
    }
}
