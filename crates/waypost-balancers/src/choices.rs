//! A few candidates at random, no two the same.

use waypost_core::{CandidateIndex, CandidateSet, Generator, Pool};

use crate::weighted_draw::WeightedDraw;

/// The most that are drawn.
const MOST: usize = 16;
/// Draws that may repeat what was drawn before the rest of the set is drawn from.
const REPEATS: usize = 8;

/// Draws a fixed number of distinct candidates, each in proportion to its weight.
#[derive(Debug)]
pub(crate) struct Choices {
    draw: WeightedDraw,
    number: usize,
}

/// What was drawn, in order; fewer than asked for when the set has fewer.
#[derive(Debug)]
pub(crate) struct Drawn {
    indices: [Option<CandidateIndex>; MOST],
    len: usize,
}

impl Drawn {
    #[inline]
    pub(crate) fn iter(&self) -> impl Iterator<Item = CandidateIndex> + use<'_> {
        self.indices[..self.len].iter().copied().flatten()
    }

    fn has(&self, index: CandidateIndex) -> bool {
        self.indices[..self.len].contains(&Some(index))
    }
}

impl Choices {
    /// Draws `number` of a pool's candidates, at least one and at most sixteen.
    pub(crate) fn of(pool: &Pool, number: usize) -> Self {
        Self { draw: WeightedDraw::by_weight(pool), number: number.clamp(1, MOST) }
    }

    #[inline]
    pub(crate) fn draw(&self, set: &CandidateSet<'_>, rng: &mut Generator<'_>) -> Drawn {
        let mut drawn = Drawn { indices: [None; MOST], len: 0 };
        while drawn.len < self.number {
            let next = (0..REPEATS).find_map(|_| self.draw.draw(set, rng).filter(|&next| !drawn.has(next)));
            let Some(next) = next.or_else(|| self.draw_rest(set, &drawn, rng)) else { break };
            drawn.indices[drawn.len] = Some(next);
            drawn.len += 1;
        }
        drawn
    }

    /// Draws from what was not drawn yet.
    #[cold]
    fn draw_rest(
        &self,
        set: &CandidateSet<'_>,
        drawn: &Drawn,
        rng: &mut Generator<'_>,
    ) -> Option<CandidateIndex> {
        let mut rest = *set;
        drawn.iter().for_each(|index| rest.remove(index));
        self.draw.draw(&rest, rng)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{pool_of, subset};
    use waypost_core::SeedSequence;

    fn draws(choices: &Choices, set: &CandidateSet<'_>, n: u32) -> Vec<Vec<usize>> {
        let seeds = SeedSequence::new(42);
        let draw = |_| choices.draw(set, &mut seeds.generator()).iter().map(CandidateIndex::get).collect();
        (0..n).map(draw).collect()
    }

    #[test]
    fn samp_1_distinct_and_every_pair_as_likely() {
        // 15,000 draws of 2 of 6: each of 30 ordered pairs 500 times with sigma 22; the band of 150 is 6.8 sigma.
        let pool = pool_of(&[1; 6]);
        let mut counts = [[0_u32; 6]; 6];
        for pair in draws(&Choices::of(&pool, 2), &pool.all(), 15_000) {
            counts[pair[0]][pair[1]] += 1;
        }
        for (a, row) in counts.iter().enumerate() {
            for (b, &count) in row.iter().enumerate() {
                assert!(
                    if a == b { count == 0 } else { count.abs_diff(500) < 150 },
                    "seed 42: {a} {b} {count}"
                );
            }
        }
    }

    #[test]
    fn a_set_of_fewer_is_drawn_whole() {
        let pool = pool_of(&[1_000, 1, 1]);
        for drawn in draws(&Choices::of(&pool, 5), &pool.all(), 50) {
            let mut sorted = drawn.clone();
            sorted.sort_unstable();
            assert_eq!(sorted, [0, 1, 2]);
        }
        assert!(draws(&Choices::of(&pool, 2), &subset(&pool, &[]), 1)[0].is_empty());
    }
}
