//! Which candidates of a pool share a property.

use core::fmt;

use crate::{CandidateIndex, MAX_CANDIDATES};

/// Words of 64 bits for [`MAX_CANDIDATES`] bits.
pub(crate) const WORDS: usize = MAX_CANDIDATES / 64;

/// A set of places in a pool, such as all candidates of one region: what a stage keeps or drops in one step. A plain
/// bitset of [`MAX_CANDIDATES`] bits, meaningful only with the [`Pool`](crate::Pool) that it was made for.
///
/// ```
/// use waypost_core::{CandidateMask, Pool};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let mask: CandidateMask = [pool.index_of("a").unwrap(), pool.index_of("c").unwrap()].into_iter().collect();
/// let mut set = pool.all();
/// assert_eq!(set.keep(&mask), 1);
/// assert_eq!(set.len(), 2);
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
// Private operations take the number of words in use, so that a pool of eight costs one word, not sixteen.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct CandidateMask([u64; WORDS]);

impl CandidateMask {
    /// No candidate.
    pub const EMPTY: Self = Self([0; WORDS]);

    /// The words that `len` candidates need.
    pub(crate) const fn words_for(len: usize) -> usize {
        len.div_ceil(64)
    }

    #[cfg(test)]
    fn of(indices: impl IntoIterator<Item = usize>) -> Self {
        let mut bits = Self::EMPTY;
        indices.into_iter().for_each(|index| bits.insert(index));
        bits
    }

    pub(crate) const fn from_words(words: [u64; WORDS]) -> Self {
        Self(words)
    }

    /// Whether the candidate is in the mask.
    pub fn has(&self, index: CandidateIndex) -> bool {
        self.contains(index.get())
    }

    pub(crate) fn insert(&mut self, index: usize) {
        self.0[index / 64] |= 1 << (index % 64);
    }

    pub(crate) fn remove(&mut self, index: usize) {
        self.0[index / 64] &= !(1 << (index % 64));
    }

    pub(crate) fn contains(&self, index: usize) -> bool {
        index < MAX_CANDIDATES && self.0[index / 64] & (1 << (index % 64)) != 0
    }

    pub(crate) fn words(&self, words: usize) -> &[u64] {
        &self.0[..words]
    }

    pub(crate) fn words_mut(&mut self, words: usize) -> &mut [u64] {
        &mut self.0[..words]
    }

    pub(crate) fn is_empty(&self, words: usize) -> bool {
        self.words(words).iter().all(|&word| word == 0)
    }

    pub(crate) fn count(&self, words: usize) -> usize {
        self.words(words).iter().map(|word| word.count_ones() as usize).sum()
    }

    /// Adds everything that is in `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    pub(crate) fn intersects(&self, other: &Self, words: usize) -> bool {
        self.words(words).iter().zip(other.words(words)).any(|(a, b)| a & b != 0)
    }

    /// The index of the `n`-th set bit, counted from zero.
    pub(crate) fn nth(&self, mut n: usize, words: usize) -> Option<usize> {
        for (position, &word) in self.words(words).iter().enumerate() {
            let ones = word.count_ones() as usize;
            if n < ones {
                return Some(position * 64 + nth_in_word(word, n));
            }
            n -= ones;
        }
        None
    }

    pub(crate) fn iter(&self, words: usize) -> impl Iterator<Item = usize> + use<> {
        let words = &self.0[..words];
        let mut copy = [0; WORDS];
        copy[..words.len()].copy_from_slice(words);
        let mut position = 0;
        let used = words.len();
        core::iter::from_fn(move || {
            while position < used {
                let word = copy[position];
                if word != 0 {
                    copy[position] &= word - 1;
                    return Some(position * 64 + word.trailing_zeros() as usize);
                }
                position += 1;
            }
            None
        })
    }
}

impl FromIterator<CandidateIndex> for CandidateMask {
    fn from_iter<I: IntoIterator<Item = CandidateIndex>>(iter: I) -> Self {
        let mut bits = Self::EMPTY;
        iter.into_iter().for_each(|index| bits.insert(index.get()));
        bits
    }
}

impl fmt::Debug for CandidateMask {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.iter(WORDS)).finish()
    }
}

/// The position of the `n`-th set bit of a word that has more than `n`: halves the word by population count (the
/// select of Vigna 2008, without its tables), so the cost does not grow with `n`.
fn nth_in_word(mut word: u64, mut n: usize) -> usize {
    let mut position = 0;
    for width in [32, 16, 8] {
        let low = (word & ((1 << width) - 1)).count_ones() as usize;
        if n >= low {
            n -= low;
            word >>= width;
            position += width;
        }
    }
    for _ in 0..n {
        word &= word - 1;
    }
    position + word.trailing_zeros() as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;
    use std::collections::BTreeSet;

    proptest! {
        /// The oracle is a `BTreeSet`.
        #[test]
        fn behaves_like_a_sorted_set(a: BTreeSet<u16>, b: BTreeSet<u16>) {
            let set = |s: &BTreeSet<u16>| -> BTreeSet<usize> { s.iter().map(|&i| usize::from(i) % MAX_CANDIDATES).collect() };
            let (a, b) = (set(&a), set(&b));
            let (bits_a, bits_b): (CandidateMask, CandidateMask) = (CandidateMask::of(a.iter().copied()), CandidateMask::of(b.iter().copied()));

            prop_assert_eq!(bits_a.count(WORDS), a.len());
            prop_assert_eq!(bits_a.is_empty(WORDS), a.is_empty());
            prop_assert!(bits_a.iter(WORDS).eq(a.iter().copied()));
            prop_assert_eq!(bits_a.intersects(&bits_b, WORDS), a.intersection(&b).next().is_some());
            for (n, &index) in a.iter().enumerate() {
                prop_assert_eq!(bits_a.nth(n, WORDS), Some(index));
                prop_assert!(bits_a.contains(index));
            }
            prop_assert_eq!(bits_a.nth(a.len(), WORDS), None);
            let mut union = bits_a;
            union.union_with(&bits_b);
            prop_assert!(union.iter(WORDS).eq(a.union(&b).copied()));
        }
    }
}
