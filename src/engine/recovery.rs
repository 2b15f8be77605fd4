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
//!          ├─ not behind a barrier, and something that g wrote is not there: a commit in flight
//!          │       the other slot at g-1, all as it must be ──────────────────────────────────────────────────▶ g-1
//!          │       otherwise ─────────────────────────────────────────────────────────────────────────────────▶ refuse
//!          └─ otherwise: a promise is broken, that is no crash ───────────────────────────────────────────────▶ refuse
//!   no whole slot: the metadata copies under the same rules, the newer first; one that slots may have carried
//!          changes of is no state by itself ───────────────────────────────────────────────────────────────────▶ refuse
//! ```
//!
//! A commit that is all there is taken whether its slot was torn or never written: then a slot that the disk lost is
//! survived as well. Only a slot that is bad may have named a commit that was acknowledged, so only then a regular page that
//! differs, or a block that cannot be read, leaves two stories possible.
//!
//! A commit of one barrier proves itself while it is the newest, and only then: the next one may write over what it wrote.
//!
//! Everything refused is voided by the caller before anything is staged, and what the verdict rests on is written again.

use crate::block::{Block, TwinCopy};
use crate::error::Error;
use crate::format::{Defect, Slot};

use super::planted::{Mistake, is_planted};

/// What a whole slot claims.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Claim {
    pub(super) generation: u64,
    /// The metadata that it stands on.
    pub(super) copy: TwinCopy,
    pub(super) metadata_generation: u64,
    pub(super) metadata_checksum: u64,
    /// Otherwise it has to prove itself.
    pub(super) behind_barrier: bool,
    /// The keyed checksum of the whole slot.
    pub(super) checksum: u64,
}

impl Claim {
    pub(super) fn new(slot: &Slot, checksum: u64) -> Self {
        Claim {
            generation: slot.generation,
            copy: slot.copy,
            metadata_generation: slot.metadata_generation,
            metadata_checksum: slot.metadata_checksum,
            behind_barrier: slot.behind_barrier,
            checksum,
        }
    }
}

/// What a slot block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum SlotEvidence {
    Commit(Claim),
    Void { generation: u64 },
    Bad(Defect),
}

/// What a metadata block holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum MetadataEvidence {
    Commit {
        generation: u64,
        checksum: u64,
        /// Small commits may stand on it, so it is no state by itself.
        carries: bool,
    },
    Void,
    Bad(Defect),
}

/// What the reserved region says.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Evidence {
    pub(super) slots: [SlotEvidence; 2],
    pub(super) metadata: [MetadataEvidence; 2],
}

/// A state that the file may be at.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Candidate {
    /// What a slot says, on top of the metadata that it names.
    Slot(usize),
    /// What a copy of the metadata says by itself.
    Metadata(TwinCopy),
}

/// What has to be there before a candidate counts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Proof {
    /// Its writes were behind a barrier: what the engine needs to work.
    NotNeeded,
    /// They may not have been: everything that its commit wrote, protected and listed regular pages included.
    Needed,
}

/// What the caller found when it read what a candidate names.
#[derive(Debug)]
pub(super) enum Walk {
    Verifies,
    Fails(Error),
    /// What the engine needs is there, and a protected page that the commit wrote is not.
    Unproved(Error),
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
    pub(super) candidate: Candidate,
    pub(super) generation: u64,
    /// The copy of the metadata that it stands on.
    pub(super) copy: TwinCopy,
    /// The slot that names the state, or that has to if it was adopted.
    pub(super) slot: usize,
    /// The state counts because what its last commit wrote was found to be there, so nobody knows that it is durable.
    pub(super) proved: bool,
    /// A newer generation was passed over because the caller asked for the older state.
    pub(super) passed_over: Option<u64>,
    /// To be overwritten by void records: refused candidates and what cannot be read.
    pub(super) void_slots: [bool; 2],
    pub(super) void_metadata: [bool; 2],
}

impl Verdict {
    /// No slot named the state: it is written again, and the slot behind it.
    pub(super) fn is_adopted(&self) -> bool {
        matches!(self.candidate, Candidate::Metadata(_))
    }
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

/// Reads what a candidate names.
type Walker<'a> = &'a mut dyn FnMut(Candidate, Proof) -> Walk;

/// The name of a slot.
pub(super) fn slot_block(at: usize) -> Block {
    Block::Slot(u8::from(at != 0))
}

/// Decides. `take_older` accepts the state before a broken promise; `walk` reads what a candidate names.
pub(super) fn choose(evidence: &Evidence, take_older: bool, walk: Walker<'_>) -> Result<Verdict, Refusal> {
    let newest = match evidence.slots {
        [SlotEvidence::Commit(first), SlotEvidence::Commit(second)] => {
            if first.generation == second.generation && first.checksum != second.checksum {
                // I4: two commits of one generation cannot both have happened.
                let defect = Defect { field: "checksum", expected: first.checksum, found: second.checksum };
                return Err(Refusal::Block(slot_block(1), defect));
            }
            Some(if second.generation > first.generation { (1, second) } else { (0, first) })
        }
        [SlotEvidence::Commit(claim), _] => Some((0, claim)),
        [_, SlotEvidence::Commit(claim)] => Some((1, claim)),
        _ => None,
    };
    match newest {
        Some((at, claim)) => choose_from_slot(evidence, at, &claim, take_older, walk),
        None => choose_from_metadata(evidence, take_older, walk),
    }
}

/// How a slot fails to say where the file is.
enum Broken {
    /// What was behind a barrier is not there.
    Promise(Refusal),
    /// The commit was in flight.
    Unproved(Refusal),
}

/// Whether what a slot names is there.
fn keep_promise(evidence: &Evidence, at: usize, claim: &Claim, proof: Proof, walk: Walker<'_>) -> Result<(), Broken> {
    let block = Block::Metadata(claim.copy);
    // A small commit stands on metadata that was there before it.
    let wrote_all = proof == Proof::Needed && claim.generation == claim.metadata_generation;
    let broken = |refusal| if wrote_all { Broken::Unproved(refusal) } else { Broken::Promise(refusal) };
    let refuse = |field, expected, found| Err(broken(Refusal::Block(block, Defect { field, expected, found })));
    match evidence.metadata[claim.copy.index()] {
        MetadataEvidence::Bad(defect) => Err(broken(Refusal::Block(block, defect))),
        MetadataEvidence::Void => refuse("generation", claim.metadata_generation, 0),
        MetadataEvidence::Commit { generation, .. } if generation != claim.metadata_generation => {
            refuse("generation", claim.metadata_generation, generation)
        }
        MetadataEvidence::Commit { checksum, .. } if checksum != claim.metadata_checksum => {
            refuse("checksum", claim.metadata_checksum, checksum)
        }
        MetadataEvidence::Commit { .. } => match walk(Candidate::Slot(at), proof) {
            // A length was behind a barrier before any commit named pages of it.
            Walk::Fails(error @ Error::Truncated { .. }) => Err(Broken::Promise(Refusal::Walk(error))),
            Walk::Unreadable(error) => Err(Broken::Promise(Refusal::Walk(error))),
            Walk::Fails(error) => Err(broken(Refusal::Walk(error))),
            Walk::Unproved(error) => Err(Broken::Unproved(Refusal::Walk(error))),
            Walk::Verifies | Walk::PageDiffers { .. } => Ok(()),
        },
    }
}

fn choose_from_slot(
    evidence: &Evidence,
    at: usize,
    claim: &Claim,
    take_older: bool,
    walk: Walker<'_>,
) -> Result<Verdict, Refusal> {
    let other_at = 1 - at;
    let other = evidence.slots[other_at];
    // A later generation was refused here, so this one had been acknowledged by then.
    let is_sealed = matches!(other, SlotEvidence::Void { generation } if generation > claim.generation);
    let proof = if claim.behind_barrier || is_sealed { Proof::NotNeeded } else { Proof::Needed };
    let older = match other {
        SlotEvidence::Commit(older) if older.generation < claim.generation => Some(older),
        _ => None,
    };
    match keep_promise(evidence, at, claim, proof, walk) {
        Ok(()) => {
            // No commit writes what the other slot holds: that is a write that went astray, over a slot that is lost.
            let other_is_bad = match other {
                SlotEvidence::Bad(_) => true,
                SlotEvidence::Commit(other) => other.generation == claim.generation,
                SlotEvidence::Void { .. } => false,
            };
            let stands = Verdict { proved: proof == Proof::Needed, ..Verdict::named(at, claim) };
            choose_beyond(evidence, stands, claim, other_is_bad, take_older, walk)
        }
        Err(Broken::Unproved(refusal)) => {
            // What the one before names was acknowledged before this one began, and is not proved again.
            let before = older.filter(|older| older.generation + 1 == claim.generation);
            let Some(before) = before else { return Err(refusal) };
            if let Err(Broken::Promise(refusal) | Broken::Unproved(refusal)) =
                keep_promise(evidence, other_at, &before, Proof::NotNeeded, walk)
            {
                return Err(refusal);
            }
            let mut stands = Verdict::named(other_at, &before);
            stands.void_slots[at] = true;
            stands.void_metadata[before.copy.other().index()] = is_refused(evidence, &before);
            Ok(stands)
        }
        Err(Broken::Promise(refusal)) => {
            // Only on request: what the older state calls free may have been written to since.
            let falls_back = take_older || is_planted(Mistake::BrokenPromiseFallsBack);
            let Some(older) = older.filter(|_| falls_back) else { return Err(refusal) };
            if keep_promise(evidence, other_at, &older, Proof::NotNeeded, walk).is_err() {
                return Err(refusal);
            }
            let mut stands = Verdict { passed_over: Some(claim.generation), ..Verdict::named(other_at, &older) };
            stands.void_slots[at] = true;
            stands.void_metadata[older.copy.other().index()] = is_refused(evidence, &older);
            Ok(stands)
        }
    }
}

impl Verdict {
    /// The file is at what a slot names.
    fn named(at: usize, claim: &Claim) -> Verdict {
        Verdict {
            candidate: Candidate::Slot(at),
            generation: claim.generation,
            copy: claim.copy,
            slot: at,
            proved: false,
            passed_over: None,
            void_slots: [false; 2],
            void_metadata: [false; 2],
        }
    }
}

/// Whether the copy of the metadata that the slot does not name is that of the next commit, and all of it there.
fn choose_beyond(
    evidence: &Evidence,
    mut stands: Verdict,
    claim: &Claim,
    other_is_bad: bool,
    take_older: bool,
    walk: Walker<'_>,
) -> Result<Verdict, Refusal> {
    let other_at = 1 - stands.slot;
    let unnamed = claim.copy.other();
    let candidate = match evidence.metadata[unnamed.index()] {
        MetadataEvidence::Commit { generation, .. } => Some(generation),
        _ => None,
    };
    let any = candidate.is_some() && is_planted(Mistake::GenerationNotCompared);
    if candidate == Some(claim.generation + 1) || any {
        let generation = claim.generation + 1;
        match walk(Candidate::Metadata(unnamed), Proof::Needed) {
            Walk::Verifies => {
                let candidate = Candidate::Metadata(unnamed);
                return Ok(Verdict { candidate, generation, copy: unnamed, slot: other_at, proved: true, ..stands });
            }
            Walk::PageDiffers { page } if other_is_bad && !take_older => {
                return Err(Refusal::Ambiguous { candidate: generation, stands: claim.generation, page });
            }
            Walk::Unreadable(error) if other_is_bad => return Err(Refusal::Walk(error)),
            Walk::PageDiffers { .. } if other_is_bad => stands.passed_over = Some(generation),
            Walk::PageDiffers { .. } | Walk::Unreadable(_) | Walk::Unproved(_) | Walk::Fails(_) => {}
        }
    }
    stands.void_slots[other_at] = other_is_bad;
    stands.void_metadata[unnamed.index()] = is_refused(evidence, claim);
    Ok(stands)
}

/// Whether the copy of the metadata that a slot does not name is damaged, or from an attempt that failed.
fn is_refused(evidence: &Evidence, claim: &Claim) -> bool {
    match evidence.metadata[claim.copy.other().index()] {
        MetadataEvidence::Bad(_) => true,
        MetadataEvidence::Void => false,
        MetadataEvidence::Commit { .. } if is_planted(Mistake::OnlyBadMetadataVoided) => false,
        MetadataEvidence::Commit { generation, .. } => generation >= claim.metadata_generation,
    }
}

/// A copy of the metadata that is a commit, when no slot is.
#[derive(Clone, Copy)]
struct Unnamed {
    copy: TwinCopy,
    generation: u64,
    carries: bool,
}

fn choose_from_metadata(evidence: &Evidence, take_older: bool, walk: Walker<'_>) -> Result<Verdict, Refusal> {
    let unnamed = |copy: TwinCopy| match evidence.metadata[copy.index()] {
        MetadataEvidence::Commit { generation, carries, .. } => Some(Unnamed { copy, generation, carries }),
        _ => None,
    };
    let (newer, older) = match (unnamed(TwinCopy::A), unnamed(TwinCopy::B)) {
        (Some(a), Some(b)) if a.generation == b.generation => {
            let defect = Defect { field: "generation", expected: a.generation.saturating_add(1), found: b.generation };
            return Err(Refusal::Block(Block::Metadata(TwinCopy::B), defect));
        }
        (Some(a), Some(b)) => {
            if a.generation > b.generation {
                (a, Some(b))
            } else {
                (b, Some(a))
            }
        }
        (Some(one), None) | (None, Some(one)) => (one, None),
        (None, None) => {
            let copies = TwinCopy::BOTH.into_iter();
            let bad = copies.filter_map(|copy| match evidence.metadata[copy.index()] {
                MetadataEvidence::Bad(defect) => Some((copy, defect)),
                _ => None,
            });
            let nothing = (TwinCopy::A, Defect { field: "generation", expected: 1, found: 0 });
            let (copy, defect) = bad.into_iter().next().unwrap_or(nothing);
            return Err(Refusal::Block(Block::Metadata(copy), defect));
        }
    };
    if let MetadataEvidence::Bad(defect) = evidence.metadata[newer.copy.other().index()]
        && !take_older
    {
        // The copy that cannot be read may be the newer one, and was acknowledged then.
        return Err(Refusal::Block(Block::Metadata(newer.copy.other()), defect));
    }
    if newer.carries && !take_older {
        return Err(lost_slots(evidence));
    }
    let mut verdict = Verdict {
        candidate: Candidate::Metadata(newer.copy),
        generation: newer.generation,
        copy: newer.copy,
        slot: 0,
        proved: true,
        // What slots said on top of it is lost.
        passed_over: newer.carries.then_some(newer.generation.saturating_add(1)),
        void_slots: [false, true],
        void_metadata: evidence.metadata.map(|metadata| matches!(metadata, MetadataEvidence::Bad(_))),
    };
    // What small commits turned over since is not where the metadata has it.
    let proof = if newer.carries { Proof::NotNeeded } else { Proof::Needed };
    let refusal = match walk(Candidate::Metadata(newer.copy), proof) {
        Walk::Verifies => return Ok(verdict),
        Walk::PageDiffers { page } => {
            let stands = older.map_or(0, |older| older.generation);
            let refusal = Refusal::Ambiguous { candidate: newer.generation, stands, page };
            if !take_older {
                return Err(refusal);
            }
            verdict.passed_over = Some(newer.generation);
            refusal
        }
        Walk::Unreadable(error) => return Err(Refusal::Walk(error)),
        Walk::Fails(error) | Walk::Unproved(error) => Refusal::Walk(error),
    };
    let Some(older) = older else { return Err(refusal) };
    if older.carries && !take_older {
        return Err(lost_slots(evidence));
    }
    // The older copy was durable before the newer one was begun, so its regular pages need no proof.
    match walk(Candidate::Metadata(older.copy), Proof::NotNeeded) {
        Walk::Fails(error) | Walk::Unproved(error) | Walk::Unreadable(error) => Err(Refusal::Walk(error)),
        Walk::Verifies | Walk::PageDiffers { .. } => {
            verdict.void_metadata[newer.copy.index()] = true;
            let candidate = Candidate::Metadata(older.copy);
            Ok(Verdict { candidate, generation: older.generation, copy: older.copy, ..verdict })
        }
    }
}

/// No slot is whole, and what they said of changes is lost.
fn lost_slots(evidence: &Evidence) -> Refusal {
    let bad = evidence.slots.iter().enumerate().find_map(|(at, slot)| match slot {
        SlotEvidence::Bad(defect) => Some((at, *defect)),
        _ => None,
    });
    let (at, defect) = bad.unwrap_or((0, Defect { field: "generation", expected: 1, found: 0 }));
    Refusal::Block(slot_block(at), defect)
}

#[cfg(test)]
mod tests {
    use super::MetadataEvidence as Metadata;
    use super::SlotEvidence as Slots;
    use super::{Block, Candidate, Claim, Defect, Error, Evidence, Proof, Refusal, TwinCopy, Verdict, Walk, choose};

    const TORN: Defect = Defect { field: "crc", expected: 1, found: 2 };
    const A: TwinCopy = TwinCopy::A;
    const B: TwinCopy = TwinCopy::B;

    /// The slot of a checkpoint.
    fn slot(generation: u64, copy: TwinCopy) -> Slots {
        Slots::Commit(Claim {
            generation,
            copy,
            metadata_generation: generation,
            metadata_checksum: generation * 100,
            behind_barrier: true,
            checksum: generation * 1000 + copy.index() as u64,
        })
    }

    /// The slot of a small commit on the metadata that a checkpoint wrote to copy A.
    fn small(generation: u64, metadata_generation: u64) -> Slots {
        let Slots::Commit(checkpoint) = slot(metadata_generation, A) else { unreachable!() };
        Slots::Commit(Claim { generation, behind_barrier: false, checksum: generation * 1000 + 7, ..checkpoint })
    }

    fn metadata(generation: u64) -> Metadata {
        Metadata::Commit { generation, checksum: generation * 100, carries: false }
    }

    fn carrying(generation: u64) -> Metadata {
        Metadata::Commit { generation, checksum: generation * 100, carries: true }
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
        let copy_of = |candidate| match candidate {
            Candidate::Metadata(copy) => copy,
            Candidate::Slot(at) => match slots[at] {
                Slots::Commit(claim) => claim.copy,
                _ => unreachable!("only commits are walked"),
            },
        };
        let mut walk = |candidate, proof| match (finds[copy_of(candidate).index()], proof) {
            (Finds::Whole, _) | (Finds::OtherPage, Proof::NotNeeded) => Walk::Verifies,
            (Finds::Broken, _) => Walk::Fails(Error::Poisoned),
            (Finds::Unreadable, _) => Walk::Unreadable(Error::ForeignSavepoint),
            (Finds::OtherPage, Proof::Needed) => Walk::PageDiffers { page: 9 },
        };
        choose(&Evidence { slots, metadata }, older, &mut walk)
    }

    /// Small commits, where what the slots `unproved` names wrote is not all there.
    fn decide_small(slots: [Slots; 2], unproved: [bool; 2], older: bool) -> Result<Verdict, Refusal> {
        let metadata = [carrying(5), metadata(4)];
        choose(&Evidence { slots, metadata }, older, &mut |candidate, proof| match (candidate, proof) {
            (Candidate::Slot(at), Proof::Needed) if unproved[at] => Walk::Unproved(Error::Poisoned),
            (Candidate::Slot(_), _) => Walk::Verifies,
            (Candidate::Metadata(_), _) => unreachable!("no metadata is of the next generation"),
        })
    }

    #[track_caller]
    fn takes(verdict: Result<Verdict, Refusal>, generation: u64, slots: [bool; 2], metadata: [bool; 2]) -> Verdict {
        let verdict = verdict.expect("a state is taken");
        let found = (verdict.generation, verdict.void_slots, verdict.void_metadata);
        assert_eq!(found, (generation, slots, metadata));
        verdict
    }

    const NO_SLOT: Slots = Slots::Void { generation: 0 };
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
        let verdict = decide([slot(1, A), NO_SLOT], [metadata(1), Metadata::Void], WHOLE, false);
        takes(verdict, 1, NONE, NONE);
    }

    #[test]
    fn a_commit_that_is_all_there_is_adopted_though_its_slot_was_never_written() {
        for other in [slot(6, B), NO_SLOT] {
            let verdict = decide([slot(7, A), other], [metadata(7), metadata(8)], WHOLE, false);
            let verdict = takes(verdict, 8, NONE, NONE);
            assert_eq!((verdict.is_adopted(), verdict.slot, verdict.copy), (true, 1, B));
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
        assert_eq!((verdict.is_adopted(), verdict.slot, verdict.copy), (true, 1, B));
    }

    #[test]
    fn a_torn_slot_whose_commit_is_not_all_there_is_voided_with_its_metadata() {
        let verdict = decide([slot(7, A), Slots::Bad(TORN)], [metadata(7), metadata(8)], B_BROKEN, false);
        assert!(!takes(verdict, 7, SECOND, SECOND).is_adopted());
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
        let other = Metadata::Commit { generation: 7, checksum: 1, carries: false };
        let other = decide([slot(7, A), slot(6, B)], [other, metadata(6)], WHOLE, false);
        assert!(matches!(other, Err(Refusal::Block(Block::Metadata(A), Defect { field: "checksum", .. }))));
    }

    #[test]
    fn a_slot_that_repeats_the_other_one_has_lost_what_it_held() {
        let evidence = ([slot(7, A), slot(7, A)], [metadata(7), metadata(6)]);
        takes(decide(evidence.0, evidence.1, WHOLE, false), 7, SECOND, NONE);
        let evidence = ([slot(7, A), slot(7, A)], [metadata(7), metadata(8)]);
        assert!(takes(decide(evidence.0, evidence.1, WHOLE, false), 8, NONE, NONE).is_adopted());
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
        assert!(newest.is_adopted());
        let older = takes(decide(lost, [metadata(7), metadata(8)], B_BROKEN, false), 7, SECOND, SECOND);
        assert!(older.is_adopted());
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

    #[test]
    fn the_newest_small_commit_proves_itself() {
        for slots in [[small(8, 5), small(7, 5)], [small(6, 5), slot(5, A)], [small(8, 5), NO_SLOT]] {
            let verdict = decide_small(slots, NONE, false).expect("it is all there");
            assert_eq!((verdict.slot, verdict.proved, verdict.void_slots), (0, true, NONE));
        }
        let verdict = decide_small([small(8, 5), Slots::Bad(TORN)], NONE, false);
        assert!(takes(verdict, 8, SECOND, NONE).proved);
    }

    #[test]
    fn a_small_commit_in_flight_is_voided_and_the_one_before_is_not_proved_again() {
        let verdict = takes(decide_small([small(8, 5), small(7, 5)], [true, true], false), 7, FIRST, NONE);
        assert_eq!((verdict.slot, verdict.proved), (1, false));
        takes(decide_small([slot(5, A), small(6, 5)], SECOND, false), 5, SECOND, NONE);
    }

    #[test]
    fn a_checkpoint_of_one_barrier_is_in_flight_as_long_as_anything_of_it_is_missing() {
        let Slots::Commit(claim) = slot(7, A) else { unreachable!() };
        let proving = Slots::Commit(Claim { behind_barrier: false, ..claim });
        let other = Metadata::Commit { generation: 7, checksum: 1, carries: false };
        for (missing, void) in
            [(Metadata::Bad(TORN), FIRST), (Metadata::Void, NONE), (metadata(5), NONE), (other, FIRST)]
        {
            let verdict = decide([proving, slot(6, B)], [missing, metadata(6)], WHOLE, false);
            assert_eq!(takes(verdict, 6, FIRST, void).slot, 1);
        }
        let a_broken = [Finds::Broken, Finds::Whole];
        takes(decide([proving, slot(6, B)], [metadata(7), metadata(6)], a_broken, false), 6, FIRST, FIRST);
        assert!(decide([proving, Slots::Bad(TORN)], [metadata(7), metadata(6)], a_broken, false).is_err());
        assert!(takes(decide([proving, slot(6, B)], [metadata(7), metadata(6)], WHOLE, false), 7, NONE, NONE).proved);
        let a_unreadable = [Finds::Unreadable, Finds::Whole];
        let unreadable = decide([proving, slot(6, B)], [metadata(7), metadata(6)], a_unreadable, false);
        assert!(
            matches!(unreadable, Err(Refusal::Walk(Error::ForeignSavepoint))),
            "that says nothing of what is there"
        );
    }

    #[test]
    fn a_small_commit_behind_a_barrier_is_a_promise_and_so_is_one_that_another_followed() {
        let Slots::Commit(claim) = small(8, 5) else { unreachable!() };
        let behind = Slots::Commit(Claim { behind_barrier: true, ..claim });
        for slots in [[behind, small(7, 5)], [small(8, 5), Slots::Void { generation: 9 }]] {
            assert!(!takes(decide_small(slots, [true, true], false), 8, NONE, NONE).proved);
        }
    }

    #[test]
    fn a_small_commit_in_flight_with_nothing_before_it_is_refused() {
        for other in [Slots::Bad(TORN), NO_SLOT, Slots::Void { generation: 8 }, small(6, 5)] {
            let refused = decide_small([small(8, 5), other], FIRST, false);
            assert!(matches!(refused, Err(Refusal::Walk(Error::Poisoned))), "{other:?}");
        }
    }

    #[test]
    fn metadata_that_slots_carried_changes_of_is_no_state_by_itself() {
        let lost = [NO_SLOT, Slots::Bad(TORN)];
        let refused = decide(lost, [carrying(7), metadata(6)], WHOLE, false);
        assert!(matches!(refused, Err(Refusal::Block(Block::Slot(1), TORN))));
        takes(decide(lost, [carrying(7), metadata(6)], WHOLE, true), 7, SECOND, NONE);
        // The older copy counts only where the newer one was never finished.
        takes(decide(lost, [carrying(7), metadata(8)], WHOLE, false), 8, SECOND, NONE);
        let refused = decide(lost, [carrying(7), metadata(8)], B_BROKEN, false);
        assert!(matches!(refused, Err(Refusal::Block(Block::Slot(1), TORN))));
        takes(decide(lost, [carrying(7), metadata(8)], B_BROKEN, true), 7, SECOND, SECOND);
    }
}
