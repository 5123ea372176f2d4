//! The candidate that should answer first.

use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    Age, BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Generator, LatencyMetric, LiveSlot,
    LoadBalancer, Pool, Ratio, ResultEvent, SelectContext, StampedCell, Timestamp,
};

use crate::by_id::{for_each_in_both, ids_of};
use crate::fleet::{FleetMedian, REFRESH, millis};
use crate::least::Least;
use crate::load::{Capacities, LoadUnit, Meter, UNIT_WEIGHT};

/// Samples that what is usual in the pool counts for: a candidate's own quantile of `n` samples counts `n / (n + 5)`.
/// One lucky answer makes nobody the fastest.
const PRIOR_SAMPLES: f32 = 5.0;
/// Estimates without a result for this long are forgotten: the histogram behind them is empty by then, and a candidate
/// that was slow is tried again.
const FORGET_AFTER: Age = Age::of(Duration::from_secs(60));
/// The lowest health that is told apart from none.
const LEAST_HEALTH: f32 = 0.01;

/// Chooses the candidate that should answer the request at hand first:
///
/// ```text
/// (time to first token + time per token × tokens of the answer) × (in flight + 1) / (weight / 100 × health)
/// ```
///
/// Both times are quantiles of the last minute, the median or the 95th percentile, drawn towards the pool's median
/// while samples are few. Failures of late count as requests in flight. Ties are broken at random.
///
/// Candidates of which nothing is known are taken for the pool's median. One that is idle and did not fail of late is
/// tried at once, but only one at a time: while another of them has a request in flight, it counts as twice the median.
/// When none is known, the least loaded is chosen. Where answers do not tell when their first token came, the time of
/// whole answers stands for both parts.
///
/// A [`latency_target`](waypost_core::RoutingContext::latency_target) narrows the choice to candidates whose time to
/// first token is within it; when nobody's is, the best of all is chosen.
///
/// ```
/// use waypost_balancers::LeastLatency;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 100), ("b", 100)])?;
/// let balancer = LeastLatency::p95().build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// Linear in the set. A result takes its candidate's quantiles anew, two microseconds, at most four times a second.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct LeastLatency {
    /// The quantile that stands for a candidate. Default: 0.5, the median.
    pub quantile: Ratio,
}

impl LeastLatency {
    /// Compares 95th percentiles, for those who care about the slowest answers.
    pub fn p95() -> Self {
        Self { quantile: Ratio::of(95, 100) }
    }
}

impl Default for LeastLatency {
    fn default() -> Self {
        Self { quantile: Ratio::of(1, 2) }
    }
}

impl BuildLoadBalancer for LeastLatency {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(LeastLatencyBalancer::new(pool, self.quantile))
    }
}

/// What [`LeastLatency`] builds.
#[derive(Debug)]
pub struct LeastLatencyBalancer {
    quantile: Ratio,
    ids: Box<[CandidateId]>,
    capacities: Capacities,
    estimates: Box<[Estimate]>,
    first_token: FleetMedian,
    per_token: FleetMedian,
    total: FleetMedian,
}

/// What is known of one candidate, in milliseconds.
#[derive(Debug, Default)]
struct Estimate {
    first_token: StampedCell,
    per_token: StampedCell,
    /// Of whole answers, for those that do not tell their parts.
    total: StampedCell,
}

impl Estimate {
    /// Takes a quantile anew if it is time to, drawn towards what is usual; whether it did.
    fn refresh(
        cell: &StampedCell,
        metric: &LatencyMetric,
        quantile: Ratio,
        usual: &FleetMedian,
        now: Timestamp,
    ) -> bool {
        if cell.get(now).is_some_and(|(_, age)| age < REFRESH) {
            return false;
        }
        let Some((value, samples)) = metric.histogram().quantile_with_len(quantile.get(), now) else {
            return false;
        };
        let (own, samples) = (millis(value), samples as f32);
        let usual = usual.get(now).unwrap_or(own);
        cell.update(now, |_| Some((own * samples + usual * PRIOR_SAMPLES) / (samples + PRIOR_SAMPLES)));
        true
    }

    /// What the candidate should take for the request, to the first token and in all; `None` when nothing is known of
    /// it.
    #[inline]
    fn expected(&self, by: &Comparison) -> Option<(f32, f32)> {
        let Some(first_token) = Estimate::known(&self.first_token, by.now) else {
            // Whole answers are not compared with parts of answers: where parts are not told, the whole is all.
            return Estimate::known(&self.total, by.now).map(|total| (0.0, total));
        };
        let per_token = Estimate::known(&self.per_token, by.now).unwrap_or(by.usual_per_token);
        Some((first_token, first_token + per_token * by.further_tokens))
    }

    fn known(cell: &StampedCell, now: Timestamp) -> Option<f32> {
        cell.get(now).filter(|&(_, age)| age < FORGET_AFTER).map(|(value, _)| value)
    }
}

/// What one decision compares candidates by.
struct Comparison {
    meter: Meter,
    now: Timestamp,
    /// Tokens of the answer after the first.
    further_tokens: f32,
    /// What a candidate is taken for that nothing is known of: to the first token, and in all.
    usual: Option<(f32, f32)>,
    usual_per_token: f32,
    target: Option<f32>,
}

/// How a candidate compares; the order of the variants is the order of preference.
#[derive(Debug, Clone, Copy, PartialEq, PartialOrd)]
enum Rank {
    /// Its score, within the target.
    InTime(f32),
    /// Its score, beyond the target.
    Late(f32),
}

impl LeastLatencyBalancer {
    fn new(pool: &Pool, quantile: Ratio) -> Self {
        Self {
            quantile,
            ids: ids_of(pool),
            capacities: Capacities::of(pool),
            estimates: (0..pool.len()).map(|_| Estimate::default()).collect(),
            first_token: FleetMedian::default(),
            per_token: FleetMedian::default(),
            total: FleetMedian::default(),
        }
    }

    fn comparison(&self, cx: &mut SelectContext<'_, '_>) -> Comparison {
        let now = cx.decision.now;
        let further_tokens = cx.decision.usage.completion.0.saturating_sub(1) as f32;
        let usual_per_token = self.per_token.get(now).unwrap_or_default();
        let by_parts =
            self.first_token.get(now).map(|first| (first, first + usual_per_token * further_tokens));
        Comparison {
            meter: Meter::new(LoadUnit::Requests, cx),
            now,
            further_tokens,
            usual: by_parts.or_else(|| self.total.get(now).map(|total| (0.0, total))),
            usual_per_token,
            target: cx.decision.context.latency_target.map(millis),
        }
    }

    #[inline]
    fn rank(
        &self,
        index: CandidateIndex,
        live: &LiveSlot,
        (first_token, expected): (f32, f32),
        by: &Comparison,
    ) -> Rank {
        let health = (live.health().get() as f32).max(LEAST_HEALTH);
        let capacity = f32::from(self.capacities.weight(index)) / f32::from(UNIT_WEIGHT) * health;
        let score = expected * by.meter.weighed(live) as f32 / capacity;
        let in_time = by.target.is_none_or(|target| first_token <= target);
        if in_time { Rank::InTime(score) } else { Rank::Late(score) }
    }
}

impl LoadBalancer for LeastLatencyBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let by = self.comparison(cx);
        let Some(usual) = by.usual else { return self.capacities.least_loaded(set, by.meter, cx) };
        let mut best = Least::default();
        let mut untried = *set;
        let (mut tries, mut under_way) = (0, false);
        for index in set.iter() {
            let live = set.pool().live(index);
            if !self.capacities.has_room(index) {
                untried.remove(index);
                continue;
            }
            let mut known = self.estimates[index.get()].expected(&by);
            if known.is_none() && by.meter.load(live) == 1 {
                tries += 1;
                // While another is tried, it is for when those that are known have more than that to do.
                known = Some((usual.0, 2.0 * usual.1));
            } else {
                untried.remove(index);
                under_way |= known.is_none() && live.in_flight().requests > 0;
            }
            best.offer(self.rank(index, live, known.unwrap_or(usual), &by), index, &mut cx.rng);
        }
        if tries > 0 && !under_way { untried.nth(cx.rng.below(tries)) } else { best.index() }
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        let (latency, now) = (event.pool.live(event.index).latency(), event.now);
        let Some(estimate) = self.estimates.get(event.index.get()) else { return };
        let refresh = |cell: fn(&Estimate) -> &StampedCell, metric, usual: &FleetMedian| {
            if Estimate::refresh(cell(estimate), metric, self.quantile, usual, now) {
                let known = self.estimates.iter().filter_map(|estimate| Estimate::known(cell(estimate), now));
                usual.refresh(now, known);
            }
        };
        refresh(|estimate| &estimate.first_token, &latency.time_to_first_token, &self.first_token);
        refresh(|estimate| &estimate.per_token, &latency.time_per_output_token, &self.per_token);
        refresh(|estimate| &estimate.total, &latency.total, &self.total);
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let next = Self::new(pool, self.quantile);
        for_each_in_both(&self.ids, pool, |old, new| {
            let (from, to) = (&self.estimates[old], &next.estimates[new]);
            to.first_token.copy_from(&from.first_token);
            to.per_token.copy_from(&from.per_token);
            to.total.copy_from(&from.total);
        });
        next.first_token.copy_from(&self.first_token);
        next.per_token.copy_from(&self.per_token);
        next.total.copy_from(&self.total);
        Some(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{answer, built, load, pool_of};
    use waypost_core::{RequestResult, Timestamp};
    use waypost_testkit::{SelectRig, conformance};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    /// A balancer that has seen `n` answers a second of these times to first token, for ten seconds.
    fn taught(pool: &Pool, millis: &[u64]) -> Arc<dyn LoadBalancer> {
        let balancer = built(&LeastLatency::default(), pool, 0);
        for second in 1..=10 {
            for (place, &millis) in millis.iter().enumerate().filter(|&(_, &millis)| millis > 0) {
                (0..3).for_each(|_| answer(&balancer, pool, place, millis, at(second)));
            }
        }
        balancer
    }

    fn rig_at(seconds: u64) -> SelectRig {
        let mut rig = SelectRig::new(seconds);
        rig.now = at(seconds);
        rig
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&LeastLatency::default(), pool, 3));
        conformance::balancer(|pool| built(&LeastLatency::p95(), pool, 3));
    }

    #[test]
    fn the_faster_one_is_chosen_until_it_is_loaded_in_proportion() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[200, 850]);
        let mut leases = Vec::new();
        for expected in [0, 0, 0, 1] {
            assert_eq!(rig_at(10).select(&balancer, &pool.all()), pool.index(expected), "{leases:?}");
            leases.extend(load(&pool, if expected == 0 { &[1, 0] } else { &[0, 1] }));
        }
    }

    #[test]
    fn the_request_at_hand_decides_between_a_fast_start_and_a_fast_stream() {
        let pool = pool_of(&[100, 100]);
        let balancer = built(&LeastLatency::default(), &pool, 0);
        for second in 1..=10 {
            for (place, first, per_token) in [(0, 100, 40), (1, 600, 10)] {
                let tokens =
                    waypost_core::TokenUsage::new(waypost_core::Tokens(10), waypost_core::Tokens(101));
                let total = Duration::from_millis(first + 100 * per_token);
                let result =
                    RequestResult::success(total, tokens).first_token_after(Duration::from_millis(first));
                crate::test_pools::record(&balancer, &pool, place, &result, at(second));
            }
        }
        let mut rig = rig_at(10);
        rig.usage.completion = waypost_core::Tokens(5);
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(0));
        rig.usage.completion = waypost_core::Tokens(500);
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(1));
    }

    #[test]
    fn trap_38_a_candidate_that_got_the_long_requests_is_not_slow() {
        let pool = pool_of(&[100, 100]);
        let balancer = built(&LeastLatency::default(), &pool, 0);
        for second in 1..=10 {
            for (place, tokens) in [(0, 1_001), (1, 11)] {
                let usage =
                    waypost_core::TokenUsage::new(waypost_core::Tokens(10), waypost_core::Tokens(tokens));
                let total = Duration::from_millis(200 + 20 * (tokens - 1));
                let result =
                    RequestResult::success(total, usage).first_token_after(Duration::from_millis(200));
                crate::test_pools::record(&balancer, &pool, place, &result, at(second));
            }
        }
        // Both are the same to the first token and from token to token, so each is chosen half of the time: 500 of
        // 1,000 with sigma 16; the band of 108 is 6.8 sigma.
        let rig = rig_at(10);
        let first = (0..1_000).filter(|_| rig.select(&balancer, &pool.all()) == pool.index(0)).count();
        assert!(first.abs_diff(500) < 108, "seed 10: {first}");
    }

    #[test]
    fn pk_1_and_trap_5_the_unknown_are_tried_one_at_a_time() {
        let pool = pool_of(&[100; 4]);
        let balancer = taught(&pool, &[200, 300, 0, 0]);
        let tried = rig_at(10).select(&balancer, &pool.all()).unwrap();
        assert!(tried.get() >= 2, "somebody must try it");
        let mut in_flight = [0; 4];
        in_flight[tried.get()] = 1;
        let _leases = load(&pool, &in_flight);
        for seed in 0..50 {
            let mut rig = SelectRig::new(seed);
            rig.now = at(10);
            assert_eq!(rig.select(&balancer, &pool.all()), pool.index(0), "one at a time");
        }
    }

    #[test]
    fn a_try_that_fails_is_not_repeated_at_once() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[200, 0]);
        let refused = RequestResult::failure(Duration::from_millis(1), "refused");
        crate::test_pools::record(&balancer, &pool, 1, &refused, at(10));
        assert!((0..20).all(|_| rig_at(10).select(&balancer, &pool.all()) == pool.index(0)));
    }

    #[test]
    fn trap_6_a_slow_one_is_tried_again_after_a_minute() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[200, 5_000]);
        assert_eq!(rig_at(11).select(&balancer, &pool.all()), pool.index(0));
        (11..80).for_each(|second| answer(&balancer, &pool, 0, 200, at(second)));
        assert_eq!(rig_at(80).select(&balancer, &pool.all()), pool.index(1));
    }

    #[test]
    fn trap_4_failing_fast_makes_nobody_fast() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[400, 300]);
        for _ in 0..100 {
            let failed = RequestResult::failure(Duration::from_millis(1), "overloaded").status(503);
            crate::test_pools::record(&balancer, &pool, 1, &failed, at(11));
        }
        assert_eq!(rig_at(11).select(&balancer, &pool.all()), pool.index(0));
    }

    #[test]
    fn health_scales() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[200, 300]);
        pool.candidates()[0].live().set_health(Ratio::of(1, 2));
        assert_eq!(rig_at(10).select(&balancer, &pool.all()), pool.index(1));
    }

    #[test]
    fn a_target_narrows_and_nobody_within_it_is_no_failure() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[400, 900]);
        let _leases = load(&pool, &[5, 0]);
        let mut rig = rig_at(10);
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(1), "the loaded one would take longer");
        rig.context = rig.context.with_latency_target(Duration::from_millis(500));
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(0));
        rig.context = rig.context.with_latency_target(Duration::from_millis(100));
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(1));
    }

    #[test]
    fn what_is_known_is_carried_over() {
        let pool = pool_of(&[100, 100]);
        let balancer = taught(&pool, &[900, 200]).carried_over(&pool_of(&[100, 100, 100])).unwrap();
        let next = pool_of(&[100, 100, 100]);
        let _tried = load(&next, &[0, 0, 1]);
        assert_eq!(rig_at(10).select(&balancer, &next.all()), next.index(1));
    }
}
