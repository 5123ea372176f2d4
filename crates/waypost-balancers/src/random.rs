//! Any candidate, each equally likely.

use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool, SelectContext,
};

/// Chooses any candidate of the set, each equally likely. It needs no state, so it suits many gateways that do not
/// know of each other; its load is uneven by the square root of the number of requests.
///
/// ```
/// use waypost_balancers::Random;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1)])?;
/// let balancer = Random.build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Random;

impl BuildLoadBalancer for Random {
    fn build(&self, _pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(RandomBalancer)
    }
}

/// What [`Random`] builds.
#[derive(Debug, Clone, Copy)]
pub struct RandomBalancer;

impl LoadBalancer for RandomBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        set.nth(cx.rng.below(set.len()))
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use waypost_testkit::{SelectRig, conformance};

    #[test]
    fn behaves() {
        conformance::balancer(|_| RandomBalancer);
    }

    #[test]
    fn every_member_is_equally_likely_and_no_other_is_chosen() {
        // 100,000 picks over 5 of 8: a fair count is 20,000 with sigma 126; the band of 690 is 5.5 sigma, so a fair
        // choice fails once in 10^7 runs, and a member that is 7 % off (11 sigma) is found every time.
        let pool = Pool::from_weights((0..8).map(|i| (format!("p{i}"), 1))).unwrap();
        let mut set = pool.all();
        [1, 4, 7].into_iter().for_each(|n| set.remove(pool.index(n).unwrap()));
        let rig = SelectRig::new(42);
        let mut counts = [0_u32; 8];
        for _ in 0..100_000 {
            counts[rig.select(&RandomBalancer, &set).unwrap().get()] += 1;
        }
        for (n, count) in counts.into_iter().enumerate() {
            let fair = if set.contains(pool.index(n).unwrap()) { 20_000 } else { 0 };
            assert!(
                count.abs_diff(fair) <= 690 * u32::from(fair > 0),
                "seed 42: {n} was chosen {count} times"
            );
        }
    }
}
