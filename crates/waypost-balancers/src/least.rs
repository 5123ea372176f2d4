//! The least of what is offered one by one.

use core::cmp::Ordering;

use waypost_core::{CandidateIndex, Generator};

/// Keeps the candidate with the least score; of several, each is kept as likely (reservoir sampling, Vitter 1985).
#[derive(Debug)]
pub(crate) struct Least<S> {
    kept: Option<(S, CandidateIndex)>,
    ties: usize,
}

impl<S> Default for Least<S> {
    fn default() -> Self {
        Self { kept: None, ties: 0 }
    }
}

impl<S: PartialOrd> Least<S> {
    /// Offers a candidate. A score that compares with nothing is never kept.
    #[inline]
    pub(crate) fn offer(&mut self, score: S, index: CandidateIndex, rng: &mut Generator<'_>) {
        let order = match &self.kept {
            None => score.partial_cmp(&score).map(|_| Ordering::Less),
            Some((least, _)) => score.partial_cmp(least),
        };
        match order {
            Some(Ordering::Less) => (self.kept, self.ties) = (Some((score, index)), 1),
            Some(Ordering::Equal) => {
                self.ties += 1;
                if rng.below(self.ties) == 0 {
                    self.kept = Some((score, index));
                }
            }
            _ => {}
        }
    }

    #[inline]
    pub(crate) fn index(&self) -> Option<CandidateIndex> {
        self.kept.as_ref().map(|&(_, index)| index)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::pool_of;
    use waypost_core::SeedSequence;

    #[test]
    fn keeps_each_of_the_least_as_likely_and_no_nan() {
        // 60,000 times three equals among others: 20,000 each with sigma 115; the band of 785 is 6.8 sigma.
        let (pool, seeds) = (pool_of(&[1; 6]), SeedSequence::new(42));
        let mut counts = [0_u32; 6];
        for _ in 0..60_000 {
            let (mut least, mut rng) = (Least::default(), seeds.generator());
            for (place, score) in [f32::NAN, 1.0, 0.5, 0.5, f32::NAN, 0.5].into_iter().enumerate() {
                least.offer(score, pool.index(place).unwrap(), &mut rng);
            }
            counts[least.index().unwrap().get()] += 1;
        }
        assert!(
            [2, 3, 5].iter().all(|&place| counts[place as usize].abs_diff(20_000) < 785),
            "seed 42: {counts:?}"
        );
    }
}
