//! First choices first, and stand-ins as far as those are not healthy.

use std::fmt;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateMask, CandidateSet, Generator, LoadBalancer, Pool,
    ResultEvent, SelectContext,
};

use crate::WeightedRoundRobin;

/// Sends requests to the candidates of the first [tier](waypost_core::CandidateBuilder::tier), and to later tiers as
/// far as the first is not healthy; within a tier any other strategy chooses (Envoy's priority levels).
///
/// A tier's health is the share of its eligible candidates that are still in play, times the overprovisioning factor,
/// at most all. Each tier in turn gets its health's part of what is left; if all together are not healthy enough, they
/// share in proportion. With the factor of 1.4 the first tier keeps everything until fewer than 71 % of it are healthy.
///
/// What is eligible is what was in play before health and limits narrowed it
/// ([`SelectContext::eligible`]), so a request that may use only one candidate of a tier does not make it look ill. In panic
/// ([`SelectContext::panic`]) tiers do not count: all are chosen from as one.
///
/// ```
/// use waypost_balancers::{LeastConnections, PriorityTiers};
/// use waypost_core::{BuildLoadBalancer, ModelName, Pool, ProviderCandidate, SeedSequence};
/// use waypost_testkit::SelectRig;
///
/// let own = ProviderCandidate::custom("own-gpus", "m").build()?;
/// let rented = ProviderCandidate::custom("rented", "m").tier(1).build()?;
/// let pool = Pool::new(ModelName::new("m")?, [own, rented])?;
/// let balancer = PriorityTiers::over(LeastConnections::default()).build(&pool, &mut SeedSequence::new(7).generator());
/// assert_eq!(SelectRig::new(7).select(&balancer, &pool.all()), pool.index_of("own-gpus"));
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
///
/// # Complexity
///
/// That of the strategy within, and a few words per tier; one random number when more than one tier is used.
#[derive(Clone)]
pub struct PriorityTiers {
    /// Chooses within a tier. Default: weighted round robin.
    pub within: Arc<dyn BuildLoadBalancer>,
    /// How many times its healthy share a tier can carry, at least 1; other numbers count as 1. Default: 1.4, as in
    /// Envoy.
    pub overprovisioning: f64,
}

impl PriorityTiers {
    /// Tiers within which `within` chooses.
    pub fn over(within: impl BuildLoadBalancer + 'static) -> Self {
        Self { within: Arc::new(within), overprovisioning: 1.4 }
    }
}

impl Default for PriorityTiers {
    fn default() -> Self {
        Self::over(WeightedRoundRobin::default())
    }
}

impl fmt::Debug for PriorityTiers {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("PriorityTiers")
            .field("overprovisioning", &self.overprovisioning)
            .finish_non_exhaustive()
    }
}

impl BuildLoadBalancer for PriorityTiers {
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(PriorityTiersBalancer::new(self.within.build(pool, rng), self.overprovisioning, pool))
    }
}

/// What [`PriorityTiers`] builds.
#[derive(Debug)]
pub struct PriorityTiersBalancer {
    within: Arc<dyn LoadBalancer>,
    overprovisioning: f64,
    /// The members of each tier, first choices first.
    tiers: Box<[CandidateMask]>,
}

impl PriorityTiersBalancer {
    fn new(within: Arc<dyn LoadBalancer>, overprovisioning: f64, pool: &Pool) -> Self {
        let mut numbers: Vec<u8> = pool.candidates().iter().map(|candidate| candidate.tier()).collect();
        numbers.sort_unstable();
        numbers.dedup();
        let members = |tier: &u8| {
            let of_tier = (0..pool.len()).filter(|&place| pool.candidates()[place].tier() == *tier);
            of_tier.filter_map(|place| pool.index(place)).collect()
        };
        let tiers = numbers.iter().map(members).collect();
        // NaN counts as 1 too.
        Self { within, overprovisioning: overprovisioning.max(1.0), tiers }
    }

    /// What a tier can carry, 0 to 1: its healthy share, overprovisioned.
    fn health(&self, tier: &CandidateMask, set: &CandidateSet<'_>, eligible: &CandidateSet<'_>) -> f64 {
        let (healthy, all) = (within(set, tier).len(), within(eligible, tier).len());
        if all == 0 { 0.0 } else { (self.overprovisioning * healthy as f64 / all as f64).min(1.0) }
    }

    /// The members of the tier that gets this request.
    fn tier_for<'p>(
        &self,
        set: &CandidateSet<'p>,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateSet<'p>> {
        // Nobody's health is believed: everybody by weight, so that tiers get what their candidates carry.
        if cx.panic {
            return Some(*set);
        }
        let mut eligible = set.pool().all();
        if let Some(mask) = cx.eligible {
            eligible.keep(mask);
        }
        let health = |tier| self.health(tier, set, &eligible);
        // Mostly the first tier that anybody is left of can carry everything, and the others need not be looked at.
        let first = self.tiers.iter().find(|tier| set.intersects(tier))?;
        let of_first = health(first);
        let total = if of_first < 1.0 { self.tiers.iter().map(health).sum::<f64>().min(1.0) } else { 1.0 };
        if of_first >= total {
            return Some(within(set, first));
        }
        let mut rest = cx.rng.unit() * total;
        let drawn = self.tiers.iter().find(|tier| {
            rest -= health(tier);
            rest < 0.0
        });
        Some(within(set, drawn.unwrap_or(first)))
    }
}

fn within<'p>(set: &CandidateSet<'p>, tier: &CandidateMask) -> CandidateSet<'p> {
    let mut members = *set;
    members.keep(tier);
    members
}

impl LoadBalancer for PriorityTiersBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let members = self.tier_for(set, cx)?;
        self.within.select(&members, cx).or_else(|| self.within.select(set, cx))
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let members = self.tier_for(set, cx)?;
        self.within.peek(&members, cx).or_else(|| self.within.peek(set, cx))
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        self.within.record_result(event);
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let within = self.within.carried_over(pool)?;
        Some(Arc::new(Self::new(within, self.overprovisioning, pool)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, subset};
    use crate::{PowerOfTwoChoices, RoundRobin};
    use waypost_core::{ModelName, ProviderCandidate};
    use waypost_testkit::{SelectRig, conformance};

    /// A pool of candidates of these tiers.
    fn pool_of_tiers(tiers: &[u8]) -> Pool {
        let candidate = |(i, &tier): (usize, &u8)| {
            ProviderCandidate::custom(format!("p{i}"), "m").tier(tier).build().unwrap()
        };
        Pool::new(ModelName::new("m").unwrap(), tiers.iter().enumerate().map(candidate)).unwrap()
    }

    /// The share of 20,000 requests that each tier gets, in percent: sigma below 0.36, so the band of 2.5 is 6.9 sigma.
    fn shares(factor: f64, pool: &Pool, in_play: &[usize]) -> Vec<f64> {
        let strategy = PriorityTiers { overprovisioning: factor, ..PriorityTiers::default() };
        let (balancer, rig) = (built(&strategy, pool, 0), SelectRig::new(42));
        let set = subset(pool, in_play);
        let mut counts = [0.0; 3];
        for _ in 0..20_000 {
            let chosen = rig.select(&balancer, &set).unwrap();
            counts[usize::from(pool[chosen].tier())] += 100.0 / 20_000.0;
        }
        counts.to_vec()
    }

    fn assert_shares(seen: &[f64], expected: [f64; 3]) {
        assert!(
            seen.iter().zip(expected).all(|(seen, expected)| (seen - expected).abs() < 2.5),
            "{seen:?} {expected:?}"
        );
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&PriorityTiers::default(), pool, 3));
        conformance::fair(|pool| built(&PriorityTiers::over(RoundRobin::default()), pool, 3));
        conformance::balancer(|pool| built(&PriorityTiers::over(PowerOfTwoChoices::default()), pool, 3));
    }

    #[test]
    fn pn_1_half_healthy_tiers_share_seventy_to_thirty() {
        let pool = pool_of_tiers(&[0, 0, 0, 0, 1, 1, 1, 1]);
        assert_shares(&shares(1.4, &pool, &[0, 1, 4, 5]), [70.0, 30.0, 0.0]);
        assert_shares(&shares(1.0, &pool, &[0, 1, 4, 5]), [50.0, 50.0, 0.0]);
    }

    #[test]
    fn a_healthy_first_tier_keeps_everything() {
        let pool = pool_of_tiers(&[0, 0, 0, 0, 1, 1]);
        assert_eq!(shares(1.4, &pool, &[0, 1, 2, 4, 5])[1], 0.0, "three of four are 105 %");
        assert_shares(&shares(f64::NAN, &pool, &[0, 1, 2, 4, 5]), [75.0, 25.0, 0.0]);
    }

    #[test]
    fn tiers_that_are_not_enough_share_in_proportion() {
        let pool = pool_of_tiers(&[0, 0, 0, 0, 0, 0, 0, 0, 0, 0, 1, 1, 1, 1, 1, 1, 1, 1, 1, 1]);
        // 14 % and 28 % of 42.
        assert_shares(&shares(1.4, &pool, &[0, 10, 11]), [33.3, 66.7, 0.0]);
        assert_shares(&shares(1.4, &pool, &[10, 11]), [0.0, 100.0, 0.0]);
    }

    #[test]
    fn a_request_that_may_use_few_does_not_make_a_tier_look_ill() {
        let pool = pool_of_tiers(&[0, 0, 0, 0, 1, 1]);
        let balancer = built(&PriorityTiers::default(), &pool, 0);
        let (set, rig, seeds) =
            (subset(&pool, &[0, 4]), SelectRig::new(1), waypost_core::SeedSequence::new(1));
        let decision =
            waypost_core::DecisionContext::new(&rig.request, &rig.context, None, rig.now, rig.usage);
        for _ in 0..200 {
            let mut cx = SelectContext::new(&decision, seeds.generator()).with_eligible(set.mask());
            assert_eq!(balancer.select(&set, &mut cx), pool.index(0));
        }
    }
}
