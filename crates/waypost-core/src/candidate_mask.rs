//! Which candidates of a pool share a property.

use core::fmt;

use crate::sync::{AtomicU64, Ordering};
use crate::{CandidateIndex, MAX_CANDIDATES};

/// Words of 64 bits for [`MAX_CANDIDATES`] bits.
const WORDS: usize = MAX_CANDIDATES / 64;

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

    /// The candidates whose bits are set, candidate 0 in the lowest bit of the first word.
    #[inline]
    pub const fn from_words(words: [u64; WORDS]) -> Self {
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

    #[inline]
    pub(crate) fn words(&self, words: usize) -> &[u64] {
        &self.0[..words]
    }

    #[inline]
    pub(crate) fn is_empty(&self, words: usize) -> bool {
        if words == 1 { self.0[0] == 0 } else { self.words(words).iter().all(|&word| word == 0) }
    }

    #[inline]
    pub(crate) fn equals(&self, other: &Self, words: usize) -> bool {
        if words == 1 { self.0[0] == other.0[0] } else { self.words(words) == other.words(words) }
    }

    #[inline]
    pub(crate) fn count(&self, words: usize) -> usize {
        if words == 1 { ones(self.0[0]) } else { self.words(words).iter().map(|&word| ones(word)).sum() }
    }

    /// Keeps what is also in `mask`; says how many fell out.
    #[inline]
    pub(crate) fn keep(&mut self, mask: &Self, words: usize) -> usize {
        if words == 1 {
            return keep_word(&mut self.0[0], mask.0[0]);
        }
        self.0[..words].iter_mut().zip(&mask.0[..words]).map(|(word, &mask)| keep_word(word, mask)).sum()
    }

    /// Drops what is in `mask`; says how many fell out.
    #[inline]
    pub(crate) fn drop_all(&mut self, mask: &Self, words: usize) -> usize {
        if words == 1 {
            return keep_word(&mut self.0[0], !mask.0[0]);
        }
        self.0[..words].iter_mut().zip(&mask.0[..words]).map(|(word, &mask)| keep_word(word, !mask)).sum()
    }

    /// Adds everything that is in `other`.
    pub fn union_with(&mut self, other: &Self) {
        for (word, other) in self.0.iter_mut().zip(&other.0) {
            *word |= other;
        }
    }

    #[inline]
    pub(crate) fn intersects(&self, other: &Self, words: usize) -> bool {
        if words == 1 {
            return self.0[0] & other.0[0] != 0;
        }
        self.words(words).iter().zip(other.words(words)).any(|(a, b)| a & b != 0)
    }

    /// Drops what is in the words of a row that others may be writing; missing words are zero.
    #[inline]
    pub(crate) fn drop_row(&mut self, row: &[AtomicU64]) -> usize {
        if let [only] = row {
            return keep_word(&mut self.0[0], !only.load(Ordering::Relaxed));
        }
        self.0.iter_mut().zip(row).map(|(word, drop)| keep_word(word, !drop.load(Ordering::Relaxed))).sum()
    }

    /// Drops the same, unless that would be everything.
    #[inline]
    pub(crate) fn avoid_row(&mut self, row: &[AtomicU64]) -> Option<usize> {
        if let [only] = row {
            let keep = !only.load(Ordering::Relaxed);
            return (self.0[0] & keep != 0).then(|| keep_word(&mut self.0[0], keep));
        }
        let mut rest = *self;
        let dropped = rest.drop_row(row);
        let some_left = dropped == 0 || !rest.is_empty(row.len());
        some_left.then(|| {
            *self = rest;
            dropped
        })
    }

    /// The index of the `n`-th set bit, counted from zero.
    #[inline]
    pub(crate) fn nth(&self, mut n: usize, words: usize) -> Option<usize> {
        if words == 1 {
            return (n < ones(self.0[0])).then(|| nth_in_word(self.0[0], n));
        }
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

#[inline]
const fn ones(word: u64) -> usize {
    word.count_ones() as usize
}

/// Few stages take anything out of a given word, and counting costs more than asking.
#[inline]
const fn keep_word(word: &mut u64, mask: u64) -> usize {
    let lost = *word & !mask;
    *word &= mask;
    if lost == 0 { 0 } else { ones(lost) }
}

/// The position of the `n`-th set bit of a word that has more than `n`, in constant time without a branch: byte-wise
/// prefix sums in one multiplication, then a table (broadword selection, Vigna 2008, algorithm 2).
#[inline]
const fn nth_in_word(word: u64, n: usize) -> usize {
    const ONES: u64 = 0x0101_0101_0101_0101;
    const HIGH: u64 = 0x8080_8080_8080_8080;
    let pairs = word - ((word >> 1) & 0x5555_5555_5555_5555);
    let nibbles = (pairs & 0x3333_3333_3333_3333) + ((pairs >> 2) & 0x3333_3333_3333_3333);
    let bytes = (nibbles + (nibbles >> 4)) & 0x0f0f_0f0f_0f0f_0f0f;
    let sums = bytes.wrapping_mul(ONES);
    // The high bit of each byte whose prefix sum is at most `n`: the target is in the byte after those.
    let at_most = (((n as u64 * ONES) | HIGH) - sums) & HIGH;
    let place = ((at_most >> 7).wrapping_mul(ONES) >> 53 & !7) as usize;
    let rank = n - ((sums << 8) >> place & 0xff) as usize;
    place + SELECT_IN_BYTE[rank][(word >> place & 0xff) as usize] as usize
}

/// `SELECT_IN_BYTE[n][byte]` is the position of the `n`-th set bit of a byte.
static SELECT_IN_BYTE: [[u8; 256]; 8] = {
    let mut table = [[0; 256]; 8];
    let mut byte = 0;
    while byte < 256 {
        let (mut bit, mut rank) = (0, 0);
        while bit < 8 {
            if byte >> bit & 1 == 1 {
                table[rank][byte] = bit as u8;
                rank += 1;
            }
            bit += 1;
        }
        byte += 1;
    }
    table
};

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
