//! Any candidate, by weight.

use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool, SelectContext,
};

use crate::weighted_draw::WeightedDraw;

/// Chooses any candidate of the set, each as likely as its weight says. It keeps no state, so it suits many gateways
/// that do not know of each other; its load is uneven by the square root of the number of requests.
///
/// ```
/// use waypost_balancers::Random;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 3), ("b", 1)])?;
/// let balancer = Random::default().build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// One random word for the pool as a whole (alias method, Walker 1977), and for a narrowed set of equal weights. One of
/// different weights costs a word per miss, after eight misses a scan of the set.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Random {
    /// Whether weights count for nothing and each candidate is equally likely. Default: no.
    pub ignore_weights: bool,
}

impl Random {
    /// Each candidate equally likely, whatever its weight, drained ones excepted.
    pub const fn even() -> Self {
        Self { ignore_weights: true }
    }
}

impl BuildLoadBalancer for Random {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        let draw = if self.ignore_weights { WeightedDraw::even(pool) } else { WeightedDraw::by_weight(pool) };
        Arc::new(RandomBalancer { draw })
    }
}

/// What [`Random`] builds.
#[derive(Debug)]
pub struct RandomBalancer {
    draw: WeightedDraw,
}

impl LoadBalancer for RandomBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.draw.draw(set, &mut cx.rng)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, counts, pool_of, subset};
    use waypost_testkit::{SelectRig, conformance};

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&Random::default(), pool, 3));
        conformance::balancer(|pool| built(&Random::even(), pool, 3));
    }

    #[test]
    fn wrr_6_random_picks_follow_weights() {
        // 100,000 draws, weights 8, 1, 1: the heavy one's count is 80,000 with sigma 126. The band of 860 is 6.8 sigma;
        // a share that is 1.1 % off (1,067 picks, 8.4 sigma) is found with 95 % power and more.
        let pool = pool_of(&[8, 1, 1]);
        let seen = counts(&built(&Random::default(), &pool, 1), &pool.all(), 100_000);
        assert!(seen[0].abs_diff(80_000) < 860, "seed 42: {seen:?}");
        let seen = counts(&built(&Random::even(), &pool, 1), &pool.all(), 100_000);
        assert!(seen.iter().all(|count| count.abs_diff(33_333) < 1_014), "seed 42, sigma 149: {seen:?}");
    }

    #[test]
    fn narrow_sets_keep_their_weights_and_nobody_else_is_chosen() {
        // Members weigh 1 and 3 of 2,002: draws miss and the scan decides. 40,000 draws: 10,000 with sigma 87; the band
        // of 590 is 6.8 sigma.
        let pool = pool_of(&[1_000, 1, 3, 998]);
        let seen = counts(&built(&Random::default(), &pool, 1), &subset(&pool, &[1, 2]), 40_000);
        assert!(seen[0] == 0 && seen[3] == 0 && seen[1].abs_diff(10_000) < 590, "seed 42: {seen:?}");
    }

    #[test]
    fn a_pool_of_drained_candidates_gives_nobody() {
        let pool = pool_of(&[0, 0]);
        let mut set = pool.all();
        assert!(set.is_empty());
        set.insert(pool.index(0).unwrap());
        assert_eq!(SelectRig::new(1).select(&built(&Random::default(), &pool, 1), &set), None);
    }
}
