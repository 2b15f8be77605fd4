//! Mistakes that the engine makes on request, so that the crash tests can show that they would find them.
//!
//! Only with `--cfg diptych_planted` can one be planted, for the thread that plants it. Without, [`is_planted`] is `false` at
//! compile time and the hooks are no code at all. What each mistake is, which test found it and how fast is a table in
//! `docs/proof.md`.

#[cfg(diptych_planted)]
use std::cell::Cell;

/// A mistake, called for what is then the fact. Invariants are those of `docs/design.md`, section 4.
#[cfg_attr(not(diptych_planted), expect(unreachable_pub, reason = "public with the cfg only"))]
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum Mistake {
    /// I3: no barrier between what a slot names and the slot.
    FirstBarrierDropped,
    /// I3: a commit returns before its slot is behind a barrier.
    SecondBarrierDropped,
    /// I3: the slot is written in the window of what it names.
    SlotWrittenBeforeTheBarrier,
    /// I5: the first barrier of a commit failed and the commit goes on.
    FirstBarrierFailureIgnored,
    /// I5: the second barrier of a commit failed and the commit says that it succeeded.
    SecondBarrierFailureIgnored,
    /// I5: the first barrier of a commit failed, and is called again.
    FirstBarrierRetried,
    /// I5: the second barrier of a commit failed, and is called again.
    SecondBarrierRetried,
    /// I5: the pager goes on after the barrier of a sync or a growth failed.
    FailedSyncLeavesThePagerUsable,
    /// I5: a failure while the metadata is written, or at the barrier behind it, leaves the pager usable.
    PoisonedOnlyFromTheSlotOn,
    /// I5: a failure while live pages are overwritten leaves the pager usable.
    OverwriteDoesNotPoison,
    /// I1: a twin is written to the copy that is live.
    LiveCopyWritten,
    /// I1: every commit writes the same slot.
    OneSlotOnly,
    /// I1: the slot follows from the generation modulo two, not from which one is live.
    SlotByParity,
    /// I2: a page is handed out by the transaction that freed it.
    PageReusedByTheCommitThatFreesIt,
    /// I2: what an extent leaves when it is made shorter is handed out by the same transaction.
    TailOfAnExtentReusedByItsCommit,
    /// I3: the commit that moves an extent does not wait for what was copied.
    MovedExtentNotOrdered,
    /// I2: a checkpoint writes copies to pages that its own commit has freed.
    PlacedOnPagesThatThisCommitFrees,
    /// I3: more regular pages than the metadata lists pass no barrier of their own.
    ManyRegularPagesWithoutABarrier,
    /// Section 7 of the design: metadata names pages of a length that no barrier has covered.
    TotalNamedBeforeTheLengthIsSynced,
    /// Section 7: growth passes a barrier of the bytes, which says nothing of the length.
    GrowthSyncedWithoutItsLength,
    /// I2: a commit fills the pages that it frees with zeros, before it is durable.
    FreedPagesZeroedByTheirCommit,
    /// Section 8: a fresh page of zeros that was written is left to the zeros that come after the commit.
    WrittenZerosElided,
    /// Section 8: a page that somebody had before shows what that one wrote.
    RecycledPagesNotZeroed,
    /// Section 8: a sync does not know of stores through the map.
    StoreThroughTheMapForgotten,
    /// Section 5: what a savepoint remembers of contents is not put back.
    RollbackForgetsContents,
    /// Section 5: a page that a transaction allocates stays in use when it is dropped or leaked; its commit puts that right.
    LeakedTransactionPersists,
    /// I5: recovery passes a barrier and writes nothing again.
    RecoverySyncsInsteadOfWriting,
    /// I5: no write is made whose bytes the page cache shows already.
    WriteElidedWhereTheCacheAgrees,
    /// I4: what recovery wrote is not behind a barrier when the pager is handed out.
    RecoveryWithoutABarrier,
    /// I5: the barrier behind what recovery wrote failed, and the pager is handed out.
    RecoveryBarrierFailureIgnored,
    /// I4: metadata that was refused is voided where it is bad, and not where it is newer than the verdict.
    OnlyBadMetadataVoided,
    /// I4: a refused metadata copy stays as it is, though the report says that it is void.
    RefusedMetadataLeftStanding,
    /// I4: a refused slot stays as it is, though the report says that it is void.
    RefusedSlotLeftStanding,
    /// I3: an adopted state and the slot that names it are written in one window.
    AdoptionInOneWindow,
    /// I3: an adopted state is not written again before a slot names it.
    AdoptionWithoutRewriting,
    /// I3: a commit without a slot is adopted though its pages were not compared with their checksums.
    AdoptionWithoutProof,
    /// I3: a commit without a slot is adopted though its regular pages were not compared with the list.
    AdoptionWithoutTheListOfRegularPages,
    /// I3: the list is not looked at where there are no protected pages.
    ChecksumsSkippedWhereACountIsZero,
    /// I3: a slot whose metadata is bad makes recovery take the state before, unasked.
    BrokenPromiseFallsBack,
    /// I4: any whole metadata that no slot names is taken for the next generation.
    GenerationNotCompared,
    /// Section 7: the file is cut though one slot still names pages behind the cut.
    CutAfterOneCommit,
    /// I2: pages are punched that the durable state names, and commits that wait have freed.
    PunchedWhileCommitsWait,
    /// Section 7: pages are punched that the state before the newest names, though nothing has sealed the newest.
    PunchedUnsealed,
    /// I4: a leaf counts whatever its checksum and its generation are.
    StaleLeafAccepted,
    /// I4: a protected page is not compared with its checksum.
    StaleProtectedPageAccepted,
    /// Section 6: opening does not sync the directory.
    NoDirectorySyncAtOpen,
    /// Section 6: coherence is probed in the block of a slot before the verdict is durable.
    ProbeBeforeTheVerdictIsDurable,
    /// Section 6: the block in which coherence is probed is still in flight in the first commit.
    ProbeLeftInFlight,
    /// I3: a small commit passes one barrier though stores through the map wait for one.
    OneBarrierDespiteStores,
    /// I3: a small commit passes one barrier though it writes regular pages.
    OneBarrierDespiteRegularPages,
    /// I3: a commit of one barrier counts whether or not the protected pages that it wrote are there.
    NewestCommitWithoutProof,
    /// Section 6: a small commit that proved itself is not written again.
    ProvedCommitNotWrittenAgain,
    /// Section 5: a slot says what its own commit changed, and not what those before it did.
    RowsOfTheLastCommitAlone,
    /// Section 5: a commit that waits for the next durable one writes a slot.
    WaitingCommitWritesASlot,
    /// I2: what a commit that waits has freed is handed out before it is durable.
    WaitingPagesHandedOut,
    /// I1: the second commit of a group turns a protected page over again, onto the durable copy.
    TurnedOverTwiceInAGroup,
    /// I3: the durable commit does not know of the regular pages that commits before it wrote.
    WaitingPagesNotOrdered,
    /// I5: a failure while the only live copy of a protected page is rewritten leaves the pager usable.
    RewritingDoesNotPoison,
}

#[cfg(diptych_planted)]
thread_local! {
    static PLANTED: Cell<Option<Mistake>> = const { Cell::new(None) };
}

/// Makes every engine on this thread make this mistake from now on, or none.
#[cfg(diptych_planted)]
pub fn plant(mistake: Option<Mistake>) {
    PLANTED.set(mistake);
}

/// Whether the engine is to make this mistake.
#[cfg(diptych_planted)]
pub(super) fn is_planted(mistake: Mistake) -> bool {
    PLANTED.get() == Some(mistake)
}

/// Whether the engine is to make this mistake: never.
#[cfg(not(diptych_planted))]
#[inline(always)]
pub(super) const fn is_planted(_mistake: Mistake) -> bool {
    false
}

/// For [`Mistake::LeakedTransactionPersists`]: the live state before the transaction that is going on.
#[cfg(diptych_planted)]
#[derive(Debug)]
pub(super) struct BeforeStage<S>(Option<S>);

#[cfg(diptych_planted)]
impl<S> BeforeStage<S> {
    pub(super) const NOTHING: Self = BeforeStage(None);

    pub(super) fn keep(&mut self, live: &S)
    where
        S: Clone,
    {
        self.0.get_or_insert_with(|| live.clone());
    }

    pub(super) fn take(&mut self) -> Option<S> {
        self.0.take()
    }
}
