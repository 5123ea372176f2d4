//! Turns of the subsets that callers are narrowed to.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::OnceLock;

use crossbeam_utils::CachePadded;
use waypost_core::CandidateSet;

/// Subsets that have a turn of their own, per pool. Rules, tenants and regions make a handful; retries and one-off
/// exclusions beyond these are spread at random.
const SUBSETS: usize = 64;
/// Places that a subset looks at for its own.
const PROBES: usize = 8;
/// Where the hash of a subset begins: any constant.
const SUBSET_SEED: u64 = 0x726f_756e_6472_6f62;
/// An odd multiplier with bits all over (2^64 over the golden ratio, Knuth): each step is a bijection of the word, so
/// subsets of a pool of at most 64 never share a hash.
const FOLD: u64 = 0x9e37_79b9_7f4a_7c15;

/// A table of turns, one per subset in use. A subset that is no longer asked for gives its place to a newcomer.
#[derive(Debug, Default)]
pub(crate) struct Subsets {
    /// Made when the first subset is seen.
    places: OnceLock<Box<[CachePadded<Subset>]>>,
}

/// One subset's turn.
#[derive(Debug, Default)]
struct Subset {
    /// The hash of the subset; zero when the place is free.
    key: AtomicU64,
    next: AtomicU64,
    /// Whether it was asked since a newcomer last looked for a place (second chance, Corbató 1968).
    asked: AtomicBool,
}

impl Subsets {
    /// The turn of a subset, new if need be; `None` when all its places were asked of late.
    #[inline]
    pub(crate) fn turn_of(&self, set: &CandidateSet<'_>) -> Option<&AtomicU64> {
        let key = key_of(set);
        let subsets = self.places.get_or_init(|| (0..SUBSETS).map(|_| CachePadded::default()).collect());
        let found = find(subsets, key).or_else(|| places(subsets, key).find(|subset| subset.claim(key)));
        match found {
            Some(subset) if !subset.asked.load(Ordering::Relaxed) => {
                subset.asked.store(true, Ordering::Relaxed);
            }
            Some(_) => {}
            None => places(subsets, key).for_each(|subset| subset.asked.store(false, Ordering::Relaxed)),
        }
        found.map(|subset| &subset.next)
    }

    /// What the turn of a subset stands at, without taking a place; `None` when it would get none.
    pub(crate) fn foresee(&self, set: &CandidateSet<'_>) -> Option<u64> {
        let Some(subsets) = self.places.get() else { return Some(0) };
        let key = key_of(set);
        let place = find(subsets, key).or_else(|| places(subsets, key).find(|subset| subset.is_vacant()));
        place.map(|subset| subset.next.load(Ordering::Relaxed))
    }

    #[cfg(test)]
    pub(crate) fn is_made(&self) -> bool {
        self.places.get().is_some()
    }
}

fn find(subsets: &[CachePadded<Subset>], key: u64) -> Option<&Subset> {
    places(subsets, key).find(|subset| subset.key.load(Ordering::Relaxed) == key)
}

/// The places that a subset looks at for its own.
fn places(subsets: &[CachePadded<Subset>], key: u64) -> impl Iterator<Item = &Subset> {
    (0..PROBES).map(move |probe| &*subsets[(key as usize).wrapping_add(probe) % SUBSETS])
}

impl Subset {
    /// Whether a newcomer may have the place: nobody asked for it of late.
    fn is_vacant(&self) -> bool {
        self.key.load(Ordering::Relaxed) == 0 || !self.asked.load(Ordering::Relaxed)
    }

    /// Takes the place if it is vacant.
    fn claim(&self, key: u64) -> bool {
        let seen = self.key.load(Ordering::Relaxed);
        if !self.is_vacant() {
            return false;
        }
        // Relaxed: a turn is useful whoever draws it, so the claim publishes nothing. Whoever held the place and
        // draws meanwhile only skips a turn of the newcomer's.
        let claimed = self.key.compare_exchange(seen, key, Ordering::Relaxed, Ordering::Relaxed);
        claimed.is_ok() || claimed == Err(key)
    }
}

/// A hash of the subset, never zero: the one subset whose hash would be zero shares the place of another.
fn key_of(set: &CandidateSet<'_>) -> u64 {
    let fold = |key: u64, &word: &u64| (key ^ word).wrapping_mul(FOLD).rotate_left(31);
    set.as_words().iter().fold(SUBSET_SEED, fold).max(1)
}
