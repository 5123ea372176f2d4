//! The cheapest candidate for the request.

use core::num::NonZeroU32;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, Generator, LoadBalancer, NanoUsd, Pool, Ratio,
    SelectContext,
};

use crate::load::{Capacities, LoadUnit, Meter, UNIT_WEIGHT, failing};

/// Failures of late from which on a candidate counts as full, however cheap it is: at most one in some two seconds
/// then.
const FAILING: u64 = 3;

/// Chooses the candidate at which the request at hand costs least: its own prompt, cached tokens and expected answer at
/// the candidate's prices, in whole nano-dollars.
///
/// Candidates within a tolerance of the least cost share by load. A cheap provider is filled up to its bound on
/// requests in flight and then the next cheapest is used, so that it is not drowned: the bound is the candidate's own
/// [`max_in_flight`](waypost_core::CandidateBuilder::max_in_flight), else `bound` per 100 of weight. One that failed
/// several times of late counts as full. When all are full the least loaded gets the request. Candidates of unknown
/// price are used only when no other is left.
///
/// ```
/// use waypost_balancers::CostOptimized;
/// use waypost_core::{BuildLoadBalancer, ModelName, Pool, ProviderCandidate, SeedSequence};
/// use waypost_testkit::SelectRig;
///
/// let dear = ProviderCandidate::custom("dear", "m").price_per_million(3.0, 15.0).build()?;
/// let cheap = ProviderCandidate::custom("cheap", "m").price_per_million(0.5, 1.5).build()?;
/// let pool = Pool::new(ModelName::new("m")?, [dear, cheap])?;
/// let balancer = CostOptimized::default().build(&pool, &mut SeedSequence::new(7).generator());
/// assert_eq!(SelectRig::new(7).select(&balancer, &pool.all()), pool.index_of("cheap"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Complexity
///
/// Linear in the set and in the distinct prices of the pool.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct CostOptimized {
    /// How much dearer than the cheapest still counts as equally cheap. Default: 0.05, a twentieth.
    pub tolerance: Ratio,
    /// Requests in flight per 100 of weight at which a candidate without a limit of its own counts as full. Default:
    /// 64.
    pub bound: NonZeroU32,
}

impl Default for CostOptimized {
    fn default() -> Self {
        Self { tolerance: Ratio::of(5, 100), bound: NonZeroU32::MIN.saturating_add(63) }
    }
}

impl BuildLoadBalancer for CostOptimized {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(CostOptimizedBalancer {
            config: *self,
            capacities: Capacities::of(pool),
            bounds: bounds(pool, self.bound),
        })
    }
}

/// What [`CostOptimized`] builds.
#[derive(Debug)]
pub struct CostOptimizedBalancer {
    config: CostOptimized,
    capacities: Capacities,
    /// Requests in flight from which on a candidate is full.
    bounds: Box<[u64]>,
}

fn bounds(pool: &Pool, bound: NonZeroU32) -> Box<[u64]> {
    let of = |candidate: &waypost_core::ProviderCandidate| match candidate.rate_limits().max_in_flight {
        Some(own) => own.get().into(),
        None => (u64::from(bound.get()) * u64::from(candidate.weight().get())).div_ceil(UNIT_WEIGHT.into()),
    };
    pool.candidates().iter().map(|candidate| of(candidate)).collect()
}

impl CostOptimizedBalancer {
    /// The members whose cost is within the tolerance of the least; `None` when no member has a known price.
    fn cheapest<'p>(&self, set: &CandidateSet<'p>, cx: &SelectContext<'_, '_>) -> Option<CandidateSet<'p>> {
        let usage = cx.decision.usage;
        let costs = || {
            let present = set.pool().price_classes().iter().filter(|class| set.intersects(&class.members));
            present.filter_map(|class| Some((class.pricing.as_ref()?.cost(usage), class)))
        };
        let least = costs().map(|(cost, _)| cost).min()?;
        let most = NanoUsd(least.0.saturating_add((least.0 as f64 * self.config.tolerance.get()) as u64));
        let mut cheap = *set;
        for class in set.pool().price_classes() {
            let is_cheap = class.pricing.as_ref().is_some_and(|pricing| pricing.cost(usage) <= most);
            if !is_cheap {
                cheap.drop_all(&class.members);
            }
        }
        Some(cheap)
    }

    /// Whether a candidate is below its bound, and did not fail several times of late: what fails at once is never
    /// full.
    fn has_room(&self, set: &CandidateSet<'_>, index: CandidateIndex, meter: Meter) -> bool {
        let live = set.pool().live(index);
        // Each read once: what is in flight may change between two readings.
        let (in_flight, failing) = (live.in_flight().requests, failing(live, meter.now()));
        in_flight + failing < self.bounds[index.get()] && failing < FAILING
    }
}

impl LoadBalancer for CostOptimizedBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let meter = Meter::new(LoadUnit::Requests, cx);
        let mut roomy = *set;
        roomy.retain(|index, _| self.has_room(set, index, meter));
        let mut priced = *set;
        set.pool().price_classes().iter().filter(|class| class.pricing.is_none()).for_each(|class| {
            priced.drop_all(&class.members);
        });
        let cheap = self.cheapest(&roomy, cx);
        // The cheapest with room; all full: the least loaded that has a price; none has a price: any.
        let among = cheap.as_ref().unwrap_or(if priced.is_empty() { set } else { &priced });
        self.capacities
            .least_loaded(among, meter, cx)
            .or_else(|| self.capacities.least_loaded(set, meter, cx))
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, load, record};
    use core::time::Duration;
    use waypost_core::{ModelName, Pricing, ProviderCandidate, RequestResult, Timestamp, TokenUsage, Tokens};
    use waypost_testkit::{SelectRig, conformance};

    fn usd(dollars: f64) -> NanoUsd {
        NanoUsd::from_usd(dollars).unwrap()
    }

    /// Candidates `p0`, `p1` … of these prices of input; an answer costs four times as much; zero is unknown.
    fn priced(prices: &[f64]) -> Pool {
        let candidate = |(i, &price): (usize, &f64)| {
            let builder = ProviderCandidate::custom(format!("p{i}"), "m");
            if price > 0.0 { builder.price_per_million(price, 4.0 * price) } else { builder }.build().unwrap()
        };
        Pool::new(ModelName::new("m").unwrap(), prices.iter().enumerate().map(candidate)).unwrap()
    }

    fn chosen(strategy: CostOptimized, pool: &Pool, seed: u64) -> Option<usize> {
        SelectRig::new(seed).select(&built(&strategy, pool, 0), &pool.all()).map(CandidateIndex::get)
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&CostOptimized::default(), pool, 3));
    }

    #[test]
    fn unknown_is_not_free() {
        let pool = priced(&[0.0, 3.0, 0.0]);
        assert!((0..20).all(|seed| chosen(CostOptimized::default(), &pool, seed) == Some(1)));
        let none_known = priced(&[0.0, 0.0]);
        assert!(chosen(CostOptimized::default(), &none_known, 1).is_some());
        let bound = CostOptimized { bound: NonZeroU32::MIN, ..CostOptimized::default() };
        let _leases = load(&pool, &[0, 9, 0]);
        assert_eq!(chosen(bound, &pool, 1), Some(1), "not even when those with a price are full");
    }

    #[test]
    fn the_request_decides_what_is_cheap() {
        // Cheap input and dear answers against the opposite, and a discount for cached input.
        let pricing = |input, output| Pricing::per_million(usd(input), usd(output)).unwrap();
        let candidates = [
            ("reads", pricing(1.0, 50.0)),
            ("writes", pricing(10.0, 5.0)),
            ("remembers", pricing(10.0, 50.0).cached_input(usd(0.01)).unwrap()),
        ];
        let candidate = |(name, pricing): (&str, Pricing)| {
            ProviderCandidate::custom(name, "m").pricing(pricing).build().unwrap()
        };
        let pool = Pool::new(ModelName::new("m").unwrap(), candidates.map(candidate)).unwrap();
        let balancer = built(&CostOptimized::default(), &pool, 0);
        let choice = |prompt, cached, completion| {
            let mut rig = SelectRig::new(1);
            rig.usage =
                TokenUsage { prompt: Tokens(prompt), cached: Tokens(cached), completion: Tokens(completion) };
            pool[rig.select(&balancer, &pool.all()).unwrap()].provider().to_string()
        };
        assert_eq!(choice(100_000, 0, 100), "reads");
        assert_eq!(choice(1_000, 0, 5_000), "writes");
        assert_eq!(choice(100_000, 99_000, 100), "remembers");
    }

    #[test]
    fn nearly_equal_prices_share_by_load() {
        let pool = priced(&[1.00, 1.04, 1.06]);
        let _leases = load(&pool, &[2, 1, 0]);
        assert_eq!(
            chosen(CostOptimized::default(), &pool, 1),
            Some(1),
            "4 % dearer and less loaded; 6 % is dearer"
        );
    }

    #[test]
    fn trap_3_the_cheapest_that_fails_at_once_is_full() {
        let pool = priced(&[1.0, 2.0]);
        let balancer = built(&CostOptimized::default(), &pool, 0);
        let at = |seconds| Timestamp::ORIGIN + Duration::from_secs(seconds);
        let mut rig = SelectRig::new(1);
        let refused = RequestResult::failure(Duration::ZERO, "refused");
        let mut to_cheapest = 0;
        for tenth in 0..600 {
            rig.now = Timestamp::from_nanos(tenth * 100_000_000);
            if rig.select(&balancer, &pool.all()) == pool.index(0) {
                to_cheapest += 1;
                record(&balancer, &pool, 0, &refused, rig.now);
            }
        }
        // Three failures fade to below two and a half in little more than a second, then one more is let through.
        assert!((3..60).contains(&to_cheapest), "{to_cheapest} of 600 in a minute");
        rig.now = at(120);
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(0), "forgiven after a while");
    }

    #[test]
    fn the_cheapest_is_filled_and_then_spills() {
        let pool = priced(&[1.0, 2.0, 3.0]);
        let bound = CostOptimized { bound: NonZeroU32::new(3).unwrap(), ..CostOptimized::default() };
        let mut leases = Vec::new();
        let mut order = Vec::new();
        for seed in 0..12 {
            let place = chosen(bound, &pool, seed).unwrap();
            order.push(place);
            let mut one = [0; 3];
            one[place] = 1;
            leases.extend(load(&pool, &one));
        }
        assert_eq!(order[..9], [0, 0, 0, 1, 1, 1, 2, 2, 2]);
        let mut rest = order[9..].to_vec();
        rest.sort_unstable();
        assert_eq!(rest, [0, 1, 2], "all full: by load");
    }
}
