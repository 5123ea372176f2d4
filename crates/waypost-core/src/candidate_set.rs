//! The candidates of a pool that are still in play.

use core::fmt;
use core::time::Duration;

use crate::{CandidateMask, Pool, ProviderCandidate};

/// A candidate's place in its pool. Meaningful only with the [`Pool`] that it came from.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct CandidateIndex(pub(crate) u16);

impl CandidateIndex {
    /// The place, from zero.
    pub const fn get(self) -> usize {
        self.0 as usize
    }
}

/// A subset of a [`Pool`]: what the stages of a decision narrow and a balancer chooses from. A fixed-size bitset;
/// nothing here allocates.
///
/// ```
/// use waypost_core::Pool;
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let mut set = pool.all();
/// set.remove(pool.index_of("b").unwrap());
/// assert_eq!(set.len(), 2);
/// assert_eq!(set.nth(1).map(|index| pool[index].provider().as_str()), Some("c"));
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// Every operation is linear in the pool's length over 64; a pool of at most 64 candidates is one word.
#[derive(Clone, Copy)]
pub struct CandidateSet<'p> {
    pool: &'p Pool,
    bits: CandidateMask,
}

impl<'p> CandidateSet<'p> {
    pub(crate) const fn new(pool: &'p Pool, bits: CandidateMask) -> Self {
        Self { pool, bits }
    }

    /// The pool that the set is a part of.
    pub const fn pool(&self) -> &'p Pool {
        self.pool
    }

    /// How many candidates are in the set.
    #[inline]
    pub fn len(&self) -> usize {
        self.bits.count(self.words())
    }

    /// Whether no candidate is left.
    #[inline]
    pub fn is_empty(&self) -> bool {
        self.bits.is_empty(self.words())
    }

    /// Whether the candidate is in the set.
    #[inline]
    pub fn contains(&self, index: CandidateIndex) -> bool {
        self.bits.contains(index.get())
    }

    /// Whether the set is everything that the pool can offer: every candidate that is not drained.
    #[inline]
    pub fn is_whole(&self) -> bool {
        self.bits.equals(self.pool.available(), self.words())
    }

    /// Takes a candidate out.
    pub fn remove(&mut self, index: CandidateIndex) {
        self.bits.remove(index.get());
    }

    /// Puts a candidate back in, if the pool has it.
    pub fn insert(&mut self, index: CandidateIndex) {
        if index.get() < self.pool.len() {
            self.bits.insert(index.get());
        }
    }

    /// Takes all candidates out.
    pub fn clear(&mut self) {
        self.bits = CandidateMask::EMPTY;
    }

    /// Keeps the candidates for which `keep` is true. Calls it once per candidate in the set.
    pub fn retain(&mut self, mut keep: impl FnMut(CandidateIndex, &'p ProviderCandidate) -> bool) {
        for index in self.iter() {
            if !keep(index, &self.pool[index]) {
                self.remove(index);
            }
        }
    }

    /// The `n`-th candidate of the set in pool order, counted from zero.
    #[inline]
    pub fn nth(&self, n: usize) -> Option<CandidateIndex> {
        self.bits.nth(n, self.words()).map(|index| CandidateIndex(index as u16))
    }

    /// The candidates in pool order.
    pub fn iter(&self) -> impl Iterator<Item = CandidateIndex> + use<> {
        self.bits.iter(self.words()).map(|index| CandidateIndex(index as u16))
    }

    /// The same set in a pool with the same candidates in the same places.
    ///
    /// # Panics
    ///
    /// When the pools differ in length.
    #[inline]
    pub fn in_pool<'q>(&self, pool: &'q Pool) -> CandidateSet<'q> {
        assert_eq!(self.pool.len(), pool.len(), "the pools have the same candidates");
        let mut set = pool.all();
        set.keep(&self.bits);
        set
    }

    /// The set as a mask, to keep or to drop from another set of the same pool.
    #[inline]
    pub const fn mask(&self) -> &CandidateMask {
        &self.bits
    }

    /// The set's bits, candidate 0 in the lowest bit of the first word; as many words as the pool needs.
    #[inline]
    pub fn as_words(&self) -> &[u64] {
        self.bits.words(self.words())
    }

    const fn words(&self) -> usize {
        self.pool.words()
    }

    /// Keeps what is also in `mask`; says how many fell out.
    #[inline]
    pub fn keep(&mut self, mask: &CandidateMask) -> usize {
        let words = self.words();
        self.bits.keep(mask, words)
    }

    /// Drops what is in `mask`; says how many fell out.
    #[inline]
    pub fn drop_all(&mut self, mask: &CandidateMask) -> usize {
        let words = self.words();
        self.bits.drop_all(mask, words)
    }

    /// Keeps what is also in `mask`, unless nothing is; says how many fell out if it did.
    #[inline]
    pub fn prefer(&mut self, mask: &CandidateMask) -> Option<usize> {
        self.intersects(mask).then(|| self.keep(mask))
    }

    /// Drops the candidates whose average time to first token is above `limit`, rounded to an eighth of a power of two
    /// (up to 13 %); says how many fell out. A candidate of which nothing is known stays. Reads one row of bits,
    /// however many candidates there are.
    #[inline]
    pub fn drop_slower_to_first_token_than(&mut self, limit: Duration) -> usize {
        let slow = self.pool.first_token_levels().slower_than(limit);
        self.bits.drop_row(slow)
    }

    /// Drops the same candidates, unless that would be all; says how many fell out if it did.
    #[inline]
    pub fn avoid_slower_to_first_token_than(&mut self, limit: Duration) -> Option<usize> {
        let slow = self.pool.first_token_levels().slower_than(limit);
        self.bits.avoid_row(slow)
    }

    /// Drops the candidates whose average time per output token is above `limit`, rounded to an eighth of a power of
    /// two (up to 13 %), unless that would be all; says how many fell out if it did. A candidate of which nothing is
    /// known stays.
    #[inline]
    pub fn avoid_slower_per_token_than(&mut self, limit: Duration) -> Option<usize> {
        let slow = self.pool.per_token_levels().slower_than(limit);
        self.bits.avoid_row(slow)
    }

    /// Whether some candidate is in both.
    #[inline]
    pub fn intersects(&self, mask: &CandidateMask) -> bool {
        self.bits.intersects(mask, self.words())
    }
}

impl fmt::Debug for CandidateSet<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter().map(|index| self.pool[index].id())).finish()
    }
}
