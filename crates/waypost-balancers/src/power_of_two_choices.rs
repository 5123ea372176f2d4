//! The least loaded of a few.

use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool, SelectContext,
};

use crate::choices::Choices;
use crate::load::{Capacities, LoadPerWeight, LoadUnit, Meter};

/// Draws two candidates at random by weight, never the same twice, and chooses the one with the smaller load for its
/// weight (Mitzenmacher 2001). Nearly as even as looking at all, at the same cost whatever the number of candidates,
/// and robust when many gateways each see only their own requests.
///
/// ```
/// use waypost_balancers::PowerOfTwoChoices;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let three = PowerOfTwoChoices { choices: 3, ..PowerOfTwoChoices::default() };
/// let balancer = three.build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// One random word and one count per choice, for the pool as a whole and most subsets of it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PowerOfTwoChoices {
    /// How many are drawn, 1 to 16; other numbers count as the nearest. Default: 2. With 1 it is random by weight.
    pub choices: usize,
    /// What load is counted in. Default: requests.
    pub unit: LoadUnit,
}

impl Default for PowerOfTwoChoices {
    fn default() -> Self {
        Self { choices: 2, unit: LoadUnit::Requests }
    }
}

impl BuildLoadBalancer for PowerOfTwoChoices {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(PowerOfTwoChoicesBalancer {
            choices: Choices::of(pool, self.choices),
            capacities: Capacities::of(pool),
            unit: self.unit,
        })
    }
}

/// What [`PowerOfTwoChoices`] builds.
#[derive(Debug)]
pub struct PowerOfTwoChoicesBalancer {
    choices: Choices,
    capacities: Capacities,
    unit: LoadUnit,
}

impl LoadBalancer for PowerOfTwoChoicesBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let meter = Meter::new(self.unit, cx);
        let load = |index| {
            let live = set.pool().live(index);
            self.capacities
                .has_room(index)
                .then(|| LoadPerWeight::new(meter.weighed(live), self.capacities.weight(index)))
        };
        let drawn = self.choices.draw(set, &mut cx.rng);
        // The first drawn wins ties: it was drawn at random.
        let best = drawn.iter().filter_map(|index| Some((index, load(index)?)));
        let best = best.reduce(|best, next| if next.1.is_less_than(best.1) { next } else { best });
        best.map(|(index, _)| index).or_else(|| self.capacities.least_loaded(set, meter, cx))
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, counts, load, pool_of, subset};
    use waypost_core::{InFlightLease, Tokens};
    use waypost_testkit::{SelectRig, conformance};

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&PowerOfTwoChoices::default(), pool, 3));
        conformance::balancer(|pool| built(&PowerOfTwoChoices { choices: 5, ..Default::default() }, pool, 3));
    }

    #[test]
    fn p2c_5_empty_one_and_two_equal() {
        let pool = pool_of(&[1, 1]);
        let balancer = built(&PowerOfTwoChoices::default(), &pool, 0);
        let rig = SelectRig::new(1);
        assert_eq!(rig.select(&balancer, &subset(&pool, &[])), None);
        assert_eq!(rig.select(&balancer, &subset(&pool, &[1])), pool.index(1));
        assert!(counts(&balancer, &pool.all(), 100).iter().all(|&count| count > 0));
    }

    #[test]
    fn p2c_6_picks_are_ordered_by_inverse_load() {
        let pool = pool_of(&[1; 3]);
        let _leases = load(&pool, &[10, 5, 0]);
        let seen = counts(&built(&PowerOfTwoChoices::default(), &pool, 0), &pool.all(), 3_000);
        // The most loaded never wins a pair; the others win the pairs that they are the best of: 1/3 and 2/3, sigma 26.
        assert!(seen[0] == 0 && seen[1].abs_diff(1_000) < 177, "seed 42: {seen:?}");
    }

    #[test]
    fn trap_37_with_two_candidates_the_worse_one_is_never_chosen() {
        let pool = pool_of(&[1, 1]);
        let _leases = load(&pool, &[3, 2]);
        assert_eq!(counts(&built(&PowerOfTwoChoices::default(), &pool, 0), &pool.all(), 1_000), [0, 1_000]);
    }

    #[test]
    fn lc_2_more_choices_see_more() {
        let pool = pool_of(&[1; 4]);
        let _leases = load(&pool, &[4, 3, 2, 1]);
        let all = PowerOfTwoChoices { choices: 4, ..Default::default() };
        assert_eq!(counts(&built(&all, &pool, 0), &pool.all(), 500), [0, 0, 0, 500]);
    }

    #[test]
    fn p2c_7_and_trap_26_loads_are_compared_in_one_unit() {
        // Requests and tokens are counted for every candidate by its leases, so there is none that tells only one of
        // them: one long request against three short ones.
        let pool = pool_of(&[1, 1]);
        let _long = InFlightLease::acquire(pool.candidates()[0].clone(), Tokens(100_000));
        let _short = load(&pool, &[0, 3]);
        let by = |unit| built(&PowerOfTwoChoices { unit, ..PowerOfTwoChoices::default() }, &pool, 0);
        assert_eq!(counts(&by(LoadUnit::Tokens), &pool.all(), 100), [0, 100]);
        assert_eq!(counts(&by(LoadUnit::Requests), &pool.all(), 100), [100, 0]);
    }

    #[test]
    fn weights_decide_how_often_an_idle_candidate_is_chosen() {
        // Drawn by weight and compared by load over weight: 9 of 10 draws are the heavy one, and it wins every pair
        // that it is in, so it is always chosen; loaded nine times as much it ties.
        let pool = pool_of(&[9, 1]);
        assert_eq!(counts(&built(&PowerOfTwoChoices::default(), &pool, 0), &pool.all(), 100), [100, 0]);
        let _leases = load(&pool, &[17, 1]);
        let seen = counts(&built(&PowerOfTwoChoices::default(), &pool, 0), &pool.all(), 1_000);
        assert!(seen[0] > 0 && seen[1] > 0, "(17 + 1) / 9 = (1 + 1) / 1: {seen:?}");
    }

    #[test]
    fn when_those_drawn_are_full_another_is_found() {
        let candidate = |i: usize| {
            let builder = waypost_core::ProviderCandidate::custom(format!("p{i}"), "m");
            if i < 9 { builder.max_in_flight(1) } else { builder }.build().unwrap()
        };
        let pool = Pool::new(waypost_core::ModelName::new("m").unwrap(), (0..10).map(candidate)).unwrap();
        let _leases = load(&pool, &[1; 9]);
        let seen = counts(&built(&PowerOfTwoChoices::default(), &pool, 0), &pool.all(), 200);
        assert_eq!(seen[9], 200);
    }
}
