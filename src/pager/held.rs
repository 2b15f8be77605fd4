//! What a transaction has of its pager: the engine, borrowed, or a share of it beside readers.

use std::sync::Arc;

use crate::engine::{Engine, Holder};
use crate::error::Result;

use super::Pager;
use super::lock::Lock;
use super::reentry;

/// See the head of this file.
pub(super) enum Held<'p, const P: usize> {
    Alone(&'p mut Engine),
    Shared(Share<P>),
}

/// Of the one who writes.
pub(super) struct Share<const P: usize> {
    lock: Arc<Lock<P>>,
    /// None while its owner is alone.
    pager: Option<Arc<Pager<P>>>,
}

impl<const P: usize> Held<'_, P> {
    pub(super) fn shared(lock: &Arc<Lock<P>>) -> Self {
        Held::Shared(Share { lock: Arc::clone(lock), pager: Some(lock.share()) })
    }

    pub(super) fn get(&self) -> &Engine {
        match self {
            Held::Alone(engine) => engine,
            Held::Shared(share) => share.engine(),
        }
    }

    pub(super) fn holder(&mut self) -> &mut dyn Holder {
        match self {
            Held::Alone(engine) => *engine,
            Held::Shared(share) => share,
        }
    }
}

impl<const P: usize> Holder for Share<P> {
    fn engine(&self) -> &Engine {
        let pager = self.pager.as_ref().expect("a share is given back only to be alone");
        &pager.reader.engine
    }

    fn check_alone(&self) -> Result<()> {
        reentry::check_no_guard(self.lock.id(), "grow")
    }

    fn alone(&mut self, act: &mut dyn FnMut(&mut Engine)) {
        self.pager = None;
        self.lock.alone(|pager| act(&mut pager.reader.engine));
        self.pager = Some(self.lock.share());
    }
}
