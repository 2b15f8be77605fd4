//! The mistakes that a worker's pager can be made to make, so that it is known that the power cuts would find them.

/// Mistakes that some hundred cuts find for sure. Most others need a tear or a loss that no filesystem makes here, or show
/// without any cut.
#[cfg(diptych_planted)]
const PLANTED: [diptych::Mistake; 4] = [
    diptych::Mistake::FirstBarrierDropped,
    diptych::Mistake::SlotWrittenBeforeTheBarrier,
    diptych::Mistake::StoreThroughTheMapForgotten,
    diptych::Mistake::LiveCopyWritten,
];

/// Their names; none if this program was built without them.
pub(crate) fn names() -> Vec<String> {
    #[cfg(diptych_planted)]
    return PLANTED.iter().map(|mistake| format!("{mistake:?}")).collect();
    #[cfg(not(diptych_planted))]
    Vec::new()
}

/// Has every pager of this thread make the mistake of that name. Whether there is one.
pub(crate) fn plant(name: &str) -> bool {
    #[cfg(diptych_planted)]
    {
        let found = PLANTED.into_iter().find(|mistake| format!("{mistake:?}") == name);
        diptych::plant(found);
        found.is_some()
    }
    #[cfg(not(diptych_planted))]
    {
        let _ = name;
        false
    }
}
