//! Which implementation runs: found once, kept in a token.

use crate::scalar;

/// An instruction set that the kernels are written for.
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
    table: &'static Table,
}

/// One implementation of everything.
#[derive(Debug)]
struct Table {
    level: Level,
    min: fn(&[u64]) -> Option<u64>,
    argmin: fn(&[f32]) -> Option<usize>,
    masked_argmin: fn(&[f32], &[u64]) -> Option<usize>,
    weighted_scores: fn(&[f32], &[f32], &mut [f32]),
}

static SCALAR: Table = Table {
    level: Level::Scalar,
    min: scalar::min,
    argmin: scalar::argmin,
    masked_argmin: scalar::masked_argmin,
    weighted_scores: scalar::weighted_scores,
};

impl Kernels {
    /// The fastest implementation that this processor has.
    pub fn detect() -> Self {
        Self::scalar()
    }

    /// The reference.
    pub const fn scalar() -> Self {
        Self { table: &SCALAR }
    }

    /// Which implementation it is.
    pub const fn level(self) -> Level {
        self.table.level
    }

    /// The least number; `None` of an empty slice.
    pub fn min(self, values: &[u64]) -> Option<u64> {
        (self.table.min)(values)
    }

    /// Where the least number is, the first of equals; NaN is passed over. `None` when there is no number.
    pub fn argmin(self, values: &[f32]) -> Option<usize> {
        (self.table.argmin)(values)
    }

    /// Like [`argmin`](Self::argmin) among the places whose bit is set in `mask`, place 0 in the lowest bit of the
    /// first word. Missing words are zero; bits beyond the slice are ignored.
    pub fn masked_argmin(self, values: &[f32], mask: &[u64]) -> Option<usize> {
        (self.table.masked_argmin)(values, mask)
    }

    /// Writes `(load + 1) / weight` for each place; a weight that is not positive gives infinity, so that a drained
    /// place never wins.
    ///
    /// # Panics
    ///
    /// When the slices differ in length.
    pub fn weighted_scores(self, loads: &[f32], weights: &[f32], scores: &mut [f32]) {
        assert!(loads.len() == weights.len() && loads.len() == scores.len(), "slices of one length");
        (self.table.weighted_scores)(loads, weights, scores);
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
            for kernels in [Kernels::scalar(), Kernels::detect()] {
                prop_assert_eq!(kernels.argmin(&values), least(&values, |_| true));
                prop_assert_eq!(kernels.masked_argmin(&values, &mask), least(&values, bit));
                prop_assert_eq!(kernels.masked_argmin(&values, &mask[..1]), least(&values, |i| i < 64 && bit(i)));
            }
        }

        #[test]
        fn min_is_the_least(values: Vec<u64>) {
            prop_assert_eq!(Kernels::detect().min(&values), values.iter().copied().min());
        }
    }

    #[test]
    fn a_drained_place_never_wins() {
        let mut scores = [0.0; 4];
        Kernels::detect().weighted_scores(&[0.0, 9.0, 0.0, 0.0], &[0.0, 1.0, -1.0, f32::NAN], &mut scores);
        assert_eq!(scores, [f32::INFINITY, 10.0, f32::INFINITY, f32::INFINITY]);
    }
}
