//! Which implementation runs: found once, kept in a token.

use crate::scalar;

/// An instruction set that the kernels are written for, the slowest first.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[non_exhaustive]
pub enum Level {
    /// Plain Rust: the reference.
    Scalar,
}

/// The kernels of one instruction set.
///
/// ```
/// use waypost_simd_kernels::{Kernels, Level};
///
/// assert_eq!(Kernels::scalar().level(), Level::Scalar);
/// assert!(Kernels::detect().level() >= Level::Scalar);
/// ```
#[derive(Debug, Clone, Copy)]
pub struct Kernels {
    level: Level,
}

impl Kernels {
    /// The fastest implementation that this processor has.
    pub const fn detect() -> Self {
        Self::scalar()
    }

    /// The reference.
    pub const fn scalar() -> Self {
        Self { level: Level::Scalar }
    }

    /// Which implementation it is.
    pub const fn level(self) -> Level {
        self.level
    }

    /// The least number; of floats, NaN is passed over. `None` when there is no number.
    ///
    /// For a least latency in nanoseconds, over whole slices of any length.
    pub fn min<T: Copy + PartialOrd>(self, values: &[T]) -> Option<T> {
        scalar::min(values)
    }

    /// Where the least number is, the first of equals; of floats, NaN is passed over. `None` when there is no number.
    pub fn argmin<T: Copy + PartialOrd>(self, values: &[T]) -> Option<usize> {
        scalar::argmin(values)
    }

    /// Like [`argmin`](Self::argmin) among the places whose bit is set in `mask`, place 0 in the lowest bit of the
    /// first word. Missing words are zero; bits beyond the slice are ignored.
    pub fn masked_argmin<T: Copy + PartialOrd>(self, values: &[T], mask: &[u64]) -> Option<usize> {
        scalar::masked_argmin(values, mask)
    }

    /// Marks every place with the least number among those in `mask`, so that the caller can draw one of them; says how
    /// many they are. `ties` is overwritten.
    ///
    /// # Panics
    ///
    /// When `ties` has fewer bits than there are values.
    pub fn masked_argmins<T: Copy + PartialOrd>(self, values: &[T], mask: &[u64], ties: &mut [u64]) -> usize {
        assert!(ties.len() * 64 >= values.len(), "a bit for each value");
        scalar::masked_argmins(values, mask, ties)
    }

    /// Writes `(load + 1) / weight` for each place; a weight that is not positive gives infinity, so that a drained
    /// place never wins.
    ///
    /// # Panics
    ///
    /// When the slices differ in length.
    pub fn weighted_scores(self, loads: &[f32], weights: &[f32], scores: &mut [f32]) {
        assert!(loads.len() == weights.len() && loads.len() == scores.len(), "slices of one length");
        scalar::weighted_scores(loads, weights, scores);
    }

    /// Marks every place with the least load for its weight, compared by cross-multiplication in 64 bits, so exactly;
    /// says how many they are. A place of weight zero is never marked. `ties` is overwritten.
    ///
    /// ```
    /// use waypost_simd_kernels::Kernels;
    ///
    /// let mut ties = [0];
    /// let least = Kernels::detect().least_loaded(&[4, 2, 0, 6], &[2, 1, 0, 4], &mut ties);
    /// assert_eq!((least, ties), (1, [0b1000]), "1.5 is less than 2");
    /// ```
    ///
    /// # Panics
    ///
    /// When the slices differ in length or `ties` has fewer bits than there are places.
    pub fn least_loaded(self, loads: &[u32], weights: &[u32], ties: &mut [u64]) -> usize {
        assert!(loads.len() == weights.len(), "slices of one length");
        assert!(ties.len() * 64 >= loads.len(), "a bit for each place");
        scalar::least_loaded(loads, weights, ties)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    /// Numbers with everything that confuses comparisons.
    fn value() -> impl Strategy<Value = f32> {
        prop_oneof![
            any::<f32>(),
            (0_u8..4).prop_map(f32::from),
            Just(f32::NAN),
            Just(f32::INFINITY),
            Just(-0.0),
        ]
    }

    /// Sorting is the oracle: stable, so the first of equals comes first.
    fn least(values: &[f32], allowed: impl Fn(usize) -> bool) -> Option<usize> {
        let mut places: Vec<usize> =
            (0..values.len()).filter(|&i| allowed(i) && !values[i].is_nan()).collect();
        places.sort_by(|&a, &b| values[a].partial_cmp(&values[b]).unwrap());
        places.first().copied()
    }

    proptest! {
        #[test]
        fn argmin_is_the_first_of_the_least(values in prop::collection::vec(value(), 0..70), mask: [u64; 2]) {
            let bit = |i: usize| mask[i / 64] & (1 << (i % 64)) != 0;
            let kernels = Kernels::detect();
            prop_assert_eq!(kernels.argmin(&values), least(&values, |_| true));
            prop_assert_eq!(kernels.masked_argmin(&values, &mask), least(&values, bit));
            prop_assert_eq!(kernels.masked_argmin(&values, &mask[..1]), least(&values, |i| i < 64 && bit(i)));
            let mut ties = [u64::MAX; 2];
            let count = kernels.masked_argmins(&values, &mask, &mut ties);
            let expected = least(&values, bit).map(|first| values[first]);
            for (i, &value) in values.iter().enumerate() {
                let marked = ties[i / 64] & (1 << (i % 64)) != 0;
                prop_assert_eq!(marked, bit(i) && Some(value) == expected);
            }
            prop_assert_eq!(ties.iter().map(|word| word.count_ones() as usize).sum::<usize>(), count);
        }

        #[test]
        fn min_is_the_least(values: Vec<u64>) {
            prop_assert_eq!(Kernels::detect().min(&values), values.iter().copied().min());
        }
    }

    /// Numbers that meet the edges of 32 and 64 bits, and small ones that tie.
    fn number() -> impl Strategy<Value = u32> {
        prop_oneof![any::<u32>(), 0_u32..4, 0_u32..1_001, Just(u32::MAX), Just(1 << 31)]
    }

    proptest! {
        /// The oracle compares exact fractions in 128 bits; every length has every tail.
        #[test]
        fn least_loaded_marks_the_least_and_nobody_else(shares in prop::collection::vec((number(), number()), 0..70)) {
            let (loads, weights): (Vec<u32>, Vec<u32>) = shares.iter().copied().unzip();
            let product = |one: (u32, u32), other: (u32, u32)| u128::from(one.0) * u128::from(other.1);
            let served = || shares.iter().copied().filter(|share| share.1 > 0);
            let least = |share: (u32, u32)| share.1 > 0 && served().all(|other| product(share, other) <= product(other, share));
            for kernels in [Kernels::scalar(), Kernels::detect()] {
                let mut ties = [u64::MAX; 2];
                let count = kernels.least_loaded(&loads, &weights, &mut ties);
                for (i, &share) in shares.iter().enumerate() {
                    prop_assert_eq!(ties[i / 64] & (1 << (i % 64)) != 0, least(share), "{:?}: {} of {:?}", kernels.level(), i, shares);
                }
                prop_assert_eq!(ties.iter().map(|word| word.count_ones() as usize).sum::<usize>(), count);
            }
        }
    }

    #[test]
    fn a_drained_place_never_wins() {
        let mut scores = [0.0; 4];
        Kernels::detect().weighted_scores(&[0.0, 9.0, 0.0, 0.0], &[0.0, 1.0, -1.0, f32::NAN], &mut scores);
        assert_eq!(scores, [f32::INFINITY, 10.0, f32::INFINITY, f32::INFINITY]);
    }
}
