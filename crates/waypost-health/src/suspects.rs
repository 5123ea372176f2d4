//! Which candidates of a pool are not certain to be well.

use std::sync::{Arc, Weak};

use arc_swap::ArcSwap;
use waypost_core::CandidateIndex;

use crate::sync::{AtomicU64, Ordering};

/// Two bits per candidate of a pool that may not be well: one for itself, one for those that it shares something with.
/// Whoever has none is well, and needs no further look. A bit that is set says only that one must look.
#[derive(Debug)]
pub(crate) struct Suspects {
    own: Box<[AtomicU64]>,
    shared: Box<[AtomicU64]>,
}

/// Where one must look.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    /// At the candidate.
    Own,
    /// Also at those that it shares something with.
    Shared,
}

impl Suspects {
    pub(crate) fn new(len: usize) -> Self {
        let words = || (0..len.div_ceil(64)).map(|_| AtomicU64::new(0)).collect();
        Self { own: words(), shared: words() }
    }

    #[inline]
    pub(crate) fn is_empty(&self) -> bool {
        self.words().all(|(own, shared)| own | shared == 0)
    }

    #[inline]
    pub(crate) fn has(&self, index: CandidateIndex) -> bool {
        has(&self.own, index) || has(&self.shared, index)
    }

    /// Whether those that it shares something with must be looked at.
    #[inline]
    pub(crate) fn has_shared(&self, index: CandidateIndex) -> bool {
        has(&self.shared, index)
    }

    /// The words of both kinds, candidate 0 in the lowest bit of the first.
    #[inline]
    pub(crate) fn words(&self) -> impl Iterator<Item = (u64, u64)> + '_ {
        let words = self.own.iter().zip(&self.shared);
        words.map(|(own, shared)| (own.load(Ordering::Relaxed), shared.load(Ordering::Relaxed)))
    }

    /// Somebody is not well. Release: who takes the bit away after this sees why it was set.
    pub(crate) fn add(&self, index: usize, kind: Kind) {
        let words = if kind == Kind::Own { &self.own } else { &self.shared };
        words[index / 64].fetch_or(bit(index), Ordering::Release);
    }

    /// Takes the bits away because `is_well` says so, and looks again: somebody may have set them in between.
    pub(crate) fn remove_if(&self, index: usize, is_well: impl Fn() -> bool) {
        if !is_well() {
            return;
        }
        // Acquire: if this takes away a bit that was set for a reason, the reason is seen by the second look.
        self.own[index / 64].fetch_and(!bit(index), Ordering::AcqRel);
        self.shared[index / 64].fetch_and(!bit(index), Ordering::AcqRel);
        if !is_well() {
            // Whatever the reason is, both places are looked at.
            self.add(index, Kind::Shared);
        }
    }
}

fn has(words: &[AtomicU64], index: CandidateIndex) -> bool {
    let word = words.get(index.get() / 64);
    word.is_some_and(|word| word.load(Ordering::Relaxed) & bit(index.get()) != 0)
}

const fn bit(index: usize) -> u64 {
    1 << (index % 64)
}

/// Where it is written that something is not well: the bits, in every pool, of the candidates that it concerns.
#[derive(Debug, Default)]
pub(crate) struct Marks {
    rows: ArcSwap<Vec<Row>>,
}

/// The bits of one pool.
#[derive(Debug, Clone)]
struct Row {
    suspects: Weak<Suspects>,
    members: Arc<[usize]>,
    kind: Kind,
}

impl Marks {
    /// Says which bits of one more pool to set. Forgets pools that are gone.
    pub(crate) fn watch(&self, suspects: &Arc<Suspects>, members: &Arc<[usize]>, kind: Kind) {
        self.rows.rcu(|rows| {
            let alive = rows.iter().filter(|row| row.suspects.strong_count() > 0).cloned();
            let new = Row { suspects: Arc::downgrade(suspects), members: Arc::clone(members), kind };
            alive.chain([new]).collect::<Vec<_>>()
        });
    }

    pub(crate) fn set(&self) {
        for row in self.rows.load().iter() {
            if let Some(suspects) = row.suspects.upgrade() {
                row.members.iter().for_each(|&member| suspects.add(member, row.kind));
            }
        }
    }
}
