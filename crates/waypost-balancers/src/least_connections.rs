//! The least loaded candidate.

use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool, SelectContext,
};

use crate::load::{Capacities, LoadUnit, Meter};

/// Chooses the candidate with the fewest requests in flight for its weight, the one at hand included: the least `(in
/// flight + 1) / weight`, compared by cross-multiplication. Ties are broken at random, each as likely; the first of
/// equals would be every gateway's choice at once.
///
/// A candidate at its own limit on requests in flight
/// ([`max_in_flight`](waypost_core::CandidateBuilder::max_in_flight)) is passed over; when all are, none is chosen.
/// Failures of late count as requests in flight, so a candidate that fails at once does not look idle.
///
/// ```
/// use waypost_balancers::LeastConnections;
/// use waypost_core::{BuildLoadBalancer, InFlightLease, Pool, SeedSequence, Tokens};
/// use waypost_testkit::SelectRig;
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1)])?;
/// let balancer = LeastConnections::default().build(&pool, &mut SeedSequence::new(7).generator());
/// let busy = InFlightLease::acquire(pool.candidates()[0].clone(), Tokens(10));
/// assert_eq!(SelectRig::new(7).select(&balancer, &pool.all()), pool.index_of("b"));
/// # drop(busy);
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// Linear in the set: every member's count is read. For sets of hundreds and more, or counts that many gateways share,
/// see [`PowerOfTwoChoices`](crate::PowerOfTwoChoices).
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeastConnections {
    /// What load is counted in. Default: requests.
    pub unit: LoadUnit,
}

/// Like [`LeastConnections`], counting tokens in flight: prompts and expected answers.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct LeastTokens;

impl BuildLoadBalancer for LeastConnections {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(LeastConnectionsBalancer { capacities: Capacities::of(pool), unit: self.unit })
    }
}

impl BuildLoadBalancer for LeastTokens {
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        LeastConnections { unit: LoadUnit::Tokens }.build(pool, rng)
    }
}

/// What [`LeastConnections`] and [`LeastTokens`] build.
#[derive(Debug)]
pub struct LeastConnectionsBalancer {
    capacities: Capacities,
    unit: LoadUnit,
}

impl LoadBalancer for LeastConnectionsBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let meter = Meter::new(self.unit, cx);
        self.capacities.least_loaded(set, meter, cx)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, load, pool_of};
    use proptest::prelude::*;
    use waypost_core::{InFlightLease, ProviderCandidate, RequestResult, Timestamp, Tokens};
    use waypost_testkit::{SelectRig, conformance};

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&LeastConnections::default(), pool, 3));
        conformance::balancer(|pool| built(&LeastTokens, pool, 3));
    }

    #[test]
    fn lc_3_the_least_of_five_is_chosen() {
        let pool = pool_of(&[1; 5]);
        let _leases = load(&pool, &[4, 3, 2, 1, 5]);
        let balancer = built(&LeastConnections::default(), &pool, 0);
        let rig = SelectRig::new(1);
        assert!((0..50).all(|_| rig.select(&balancer, &pool.all()) == pool.index(3)));
    }

    #[test]
    fn trap_1_ties_are_broken_evenly() {
        // 60,000 choices among three idle candidates that are unevenly spaced: 20,000 with sigma 115; the band of 785
        // is 6.8 sigma.
        let pool = pool_of(&[1; 9]);
        let _leases = load(&pool, &[0, 1, 1, 1, 1, 0, 0, 1, 1]);
        let balancer = built(&LeastConnections::default(), &pool, 0);
        let rig = SelectRig::new(42);
        let mut counts = [0_u32; 9];
        (0..60_000).for_each(|_| counts[rig.select(&balancer, &pool.all()).unwrap().get()] += 1);
        assert!(
            [0, 5, 6].iter().all(|&place| counts[place as usize].abs_diff(20_000) < 785),
            "seed 42: {counts:?}"
        );
    }

    #[test]
    fn trap_14_a_weight_above_the_scale_is_not_rounded_to_nothing() {
        // 1000 / 1000 and 1000 / 999 are the same in integers; (n + 1) / weight is not.
        let pool = pool_of(&[999, 1_000]);
        let _leases = load(&pool, &[5, 5]);
        let balancer = built(&LeastConnections::default(), &pool, 0);
        let rig = SelectRig::new(3);
        assert!((0..50).all(|_| rig.select(&balancer, &pool.all()) == pool.index(1)));
    }

    #[test]
    fn tokens_and_requests_are_different_loads() {
        let pool = pool_of(&[1, 1]);
        let one_long = InFlightLease::acquire(pool.candidates()[0].clone(), Tokens(100_000));
        let two_short: Vec<_> =
            (0..2).map(|_| InFlightLease::acquire(pool.candidates()[1].clone(), Tokens(100))).collect();
        let rig = SelectRig::new(1);
        assert_eq!(rig.select(&built(&LeastConnections::default(), &pool, 0), &pool.all()), pool.index(0));
        assert_eq!(rig.select(&built(&LeastTokens, &pool, 0), &pool.all()), pool.index(1));
        drop((one_long, two_short));
    }

    #[test]
    fn a_full_candidate_is_passed_over_and_all_full_gives_nobody() {
        let candidate = |name: &str| ProviderCandidate::custom(name, "m").max_in_flight(2).build().unwrap();
        let model = waypost_core::ModelName::new("m").unwrap();
        let pool = Pool::new(model, [candidate("a"), candidate("b")]).unwrap();
        let balancer = built(&LeastConnections::default(), &pool, 0);
        let rig = SelectRig::new(1);
        let mut leases = load(&pool, &[2, 1]);
        assert!((0..20).all(|_| rig.select(&balancer, &pool.all()) == pool.index(1)));
        leases.extend(load(&pool, &[0, 1]));
        assert_eq!(rig.select(&balancer, &pool.all()), None);
    }

    #[test]
    fn trap_3_a_candidate_that_just_failed_is_not_idle() {
        let pool = pool_of(&[1, 1]);
        let _leases = load(&pool, &[0, 1]);
        let balancer = built(&LeastConnections::default(), &pool, 0);
        let rig = SelectRig::new(1);
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(0));
        for _ in 0..3 {
            pool.candidates()[0]
                .live()
                .record(&RequestResult::failure(core::time::Duration::ZERO, "x"), Timestamp::ORIGIN);
        }
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(1));
    }

    proptest! {
        /// The oracle compares exact fractions.
        #[test]
        fn nobody_else_has_a_smaller_share(loads in prop::collection::vec((0_usize..6, 1_i32..=1_000), 1..20), seed: u64) {
            let pool = pool_of(&loads.iter().map(|&(_, weight)| weight).collect::<Vec<_>>());
            let _leases = load(&pool, &loads.iter().map(|&(load, _)| load).collect::<Vec<_>>());
            let chosen = SelectRig::new(seed).select(&built(&LeastConnections::default(), &pool, 0), &pool.all());
            let (load, weight) = loads[chosen.unwrap().get()];
            for &(other, other_weight) in &loads {
                prop_assert!((load + 1) * other_weight as usize <= (other + 1) * weight as usize);
            }
        }
    }
}
