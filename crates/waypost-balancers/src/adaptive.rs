//! Learning from results which candidate is best.

use core::sync::atomic::{AtomicU32, Ordering};
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Ewma, Generator, LoadBalancer, NanoUsd,
    Outcome, Pool, Ratio, RequestResult, ResultEvent, SelectContext, Tokens,
};

use crate::by_id::{for_each_in_both, ids_of};
use crate::choices::Choices;
use crate::least::Least;
use crate::load::{Capacities, LoadUnit, Meter, UNIT_WEIGHT};
use crate::posterior::Posterior;

/// Sets up to this size are looked at whole; of larger ones as many candidates as this are drawn, and the last best one
/// is looked at besides.
const LOOK_AT_ALL: usize = 64;
const DRAWN: usize = 16;
/// Of a thousand decisions this many, times the exploration factor, go to any candidate.
const EXPLORE_PER_MILLE: f64 = 5.0;
/// Requests in flight per 100 of weight at which a candidate counts half: its draw is divided by
/// `1 + in flight / (16 × weight / 100)`.
const HALF_LOAD: f32 = 16.0;
/// The greatest place, kept as "none yet".
const NOBODY: u32 = u32::MAX;

/// Learns from results which candidates are best, and keeps learning (Thompson sampling with capped evidence).
///
/// Each result gives a reward from 0 to 1:
///
/// ```text
/// failure:  0
/// success:  1 − latency_weight × min(1, latency / (2 × target)) − cost_weight × min(1, cost / (2 × usual cost))
/// ```
///
/// `latency` is the time to first token, or the total where that is not told; `target` is `latency_target`, or what is
/// usual in the pool; `cost` is per token, at the candidate's prices, and what is usual where they are unknown; what is
/// usual are averages over the pool with a half-life of 10 s. A request that is cancelled before its first token counts
/// as slow if it waited for more than twice the target; other cancellations teach nothing.
///
/// Of every candidate a Beta posterior over its reward is kept, of at most 100 results' worth: new evidence pushes out
/// old. Without results it fades by half in ten minutes, so that a candidate which has healed is tried again. A
/// decision draws a reward from each posterior and chooses the greatest `draw / (1 + in flight / capacity)`, with a
/// capacity of 16 per 100 of weight: the best is not saturated. Requests under way count as half a failure each, so an
/// unknown candidate is not flooded before its first answer.
///
/// ```
/// use waypost_balancers::Adaptive;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 100), ("b", 100)])?;
/// let balancer = Adaptive::default().build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// One random word per candidate of sets up to 64; above, sixteen are drawn by weight and compared with the one that
/// was chosen last.
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Adaptive {
    /// How far draws may be from what is known, 0 to 1: 0 always takes the best so far, 1 explores as much as the
    /// posterior says, and half a percent of decisions go to any candidate. Default: 1.
    pub exploration_factor: Ratio,
    /// The latency at which half of `latency_weight` is lost. Default: what is usual in the pool.
    pub latency_target: Option<Duration>,
    /// How much of the reward latency can cost. Default: 0.5.
    pub latency_weight: Ratio,
    /// How much of the reward money can cost. Default: 0.2.
    pub cost_weight: Ratio,
}

impl Default for Adaptive {
    fn default() -> Self {
        Self {
            exploration_factor: Ratio::ONE,
            latency_target: None,
            latency_weight: Ratio::of(1, 2),
            cost_weight: Ratio::of(1, 5),
        }
    }
}

impl BuildLoadBalancer for Adaptive {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(AdaptiveBalancer::new(pool, *self, Arc::default()))
    }
}

/// What [`Adaptive`] builds.
#[derive(Debug)]
pub struct AdaptiveBalancer {
    config: Adaptive,
    ids: Box<[CandidateId]>,
    choices: Choices,
    capacities: Capacities,
    posteriors: Box<[Posterior]>,
    usual: Arc<Usual>,
    /// The place of the last choice.
    last_best: AtomicU32,
}

/// What is usual in the pool.
#[derive(Debug, Default)]
struct Usual {
    latency: Ewma,
    /// Nano-dollars per thousand tokens, kept as nanoseconds.
    cost: Ewma,
}

impl AdaptiveBalancer {
    fn new(pool: &Pool, config: Adaptive, usual: Arc<Usual>) -> Self {
        Self {
            config,
            ids: ids_of(pool),
            choices: Choices::of(pool, DRAWN),
            capacities: Capacities::of(pool),
            posteriors: (0..pool.len()).map(|_| Posterior::new()).collect(),
            usual,
            last_best: AtomicU32::new(NOBODY),
        }
    }

    /// The reward of a success; what is usual learns from it.
    fn reward(&self, event: &ResultEvent<'_>) -> f64 {
        let (result, now) = (event.result, event.now);
        let latency = result.time_to_first_token.unwrap_or(result.latency);
        let usual = self.usual.latency.record(latency, now);
        let target = self.config.latency_target.unwrap_or(usual);
        let slowness = over_twice(latency.as_secs_f64(), target.as_secs_f64());
        // An unknown price is taken for what is usual: unknown is not free.
        let dearness = cost_per_thousand(event).map_or(0.5, |cost| {
            let usual = self.usual.cost.record(Duration::from_nanos(cost), now);
            over_twice(cost as f64, usual.as_nanos() as f64)
        });
        1.0 - self.config.latency_weight.get() * slowness - self.config.cost_weight.get() * dearness
    }

    /// A caller who gave up before the first token, and later than what is slow, says that the candidate is slow; any
    /// other says nothing.
    fn record_cancelled(&self, event: &ResultEvent<'_>, posterior: &Posterior) {
        let usual = self.config.latency_target.or_else(|| self.usual.latency.get(event.now));
        let waited = event.result.latency;
        if event.result.time_to_first_token.is_none() && usual.is_some_and(|usual| waited > usual * 2) {
            posterior.record((1.0 - self.config.latency_weight.get()) as f32, event.now);
        }
    }

    fn choose(
        &self,
        set: &CandidateSet<'_>,
        among: impl Iterator<Item = CandidateIndex>,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let (meter, now) = (Meter::new(LoadUnit::Requests, cx), cx.decision.now);
        let spread = self.config.exploration_factor.get() as f32;
        let mut best = Least::default();
        for index in among {
            let live = set.pool().live(index);
            if !self.capacities.has_room(index) {
                continue;
            }
            let under_way = (meter.load(live) - 1) as f32;
            let belief = self.posteriors[index.get()].get(now).belief(under_way);
            let draw = if spread > 0.0 { belief.draw(spread, &mut cx.rng) } else { belief.mean() };
            let weight = f32::from(self.capacities.weight(index)) * meter.share(live);
            let capacity = HALF_LOAD * weight / f32::from(UNIT_WEIGHT);
            best.offer(-draw / (1.0 + under_way / capacity), index, &mut cx.rng);
        }
        best.index()
    }

    fn decide(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let factor = self.config.exploration_factor.get();
        if factor > 0.0 && cx.rng.unit() * 1_000.0 < EXPLORE_PER_MILLE * factor {
            let any = self.choices.draw(set, &mut cx.rng).iter().next();
            let has_room = |&index: &CandidateIndex| self.capacities.has_room(index);
            if let Some(any) = any.filter(has_room) {
                return Some(any);
            }
        }
        if set.len() <= LOOK_AT_ALL {
            return self.choose(set, set.iter(), cx);
        }
        let drawn = self.choices.draw(set, &mut cx.rng);
        let last = set.pool().index(self.last_best.load(Ordering::Relaxed) as usize);
        let last = last.filter(|&last| set.contains(last) && drawn.iter().all(|index| index != last));
        self.choose(set, drawn.iter().chain(last), cx).or_else(|| self.choose(set, set.iter(), cx))
    }
}

impl LoadBalancer for AdaptiveBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let chosen = self.decide(set, cx)?;
        let place = chosen.get() as u32;
        if set.len() > LOOK_AT_ALL && self.last_best.load(Ordering::Relaxed) != place {
            self.last_best.store(place, Ordering::Relaxed);
        }
        Some(chosen)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.decide(set, cx)
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        let Some(posterior) = self.posteriors.get(event.index.get()) else { return };
        match event.result.outcome {
            Outcome::Success => posterior.record(self.reward(event) as f32, event.now),
            Outcome::Failure => posterior.record(0.0, event.now),
            Outcome::Cancelled => self.record_cancelled(event, posterior),
        }
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let next = Self::new(pool, self.config, Arc::clone(&self.usual));
        for_each_in_both(&self.ids, pool, |old, new| next.posteriors[new].copy_from(&self.posteriors[old]));
        Some(Arc::new(next))
    }
}

/// `value / (2 × usual)`, at most one; of nothing usual nothing is known, so it is half.
fn over_twice(value: f64, usual: f64) -> f64 {
    if usual > 0.0 { (value / (2.0 * usual)).min(1.0) } else { 0.5 }
}

/// Nano-dollars per thousand tokens of a result; `None` when prices are unknown or nothing was used.
fn cost_per_thousand(event: &ResultEvent<'_>) -> Option<u64> {
    let RequestResult { tokens, .. } = event.result;
    let Tokens(total) = tokens.total();
    let NanoUsd(cost) = event.candidate().cost(*tokens)?;
    cost.saturating_mul(1_000).checked_div(total)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, counts_at, load, pool_of, record};
    use waypost_core::Timestamp;
    use waypost_core::{ModelName, ProviderCandidate, TokenUsage};
    use waypost_testkit::{Fleet, SelectRig, conformance};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    fn success(millis: u64) -> RequestResult {
        RequestResult::success(Duration::from_millis(millis), TokenUsage::new(Tokens(1_000), Tokens(100)))
    }

    fn failure() -> RequestResult {
        RequestResult::failure(Duration::from_millis(1), "overloaded")
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&Adaptive::default(), pool, 3));
    }

    #[test]
    fn failures_latency_and_cost_all_teach() {
        type Results = fn(usize) -> RequestResult;
        let cases: [(&str, Results); 2] = [
            ("failures", |place| if place == 0 { success(100) } else { failure() }),
            ("latency", |place| success(if place == 0 { 100 } else { 400 })),
        ];
        for (what, result) in cases {
            let pool = pool_of(&[100, 100]);
            let balancer = built(&Adaptive::default(), &pool, 0);
            (0..200).for_each(|i| record(&balancer, &pool, i % 2, &result(i % 2), at(1)));
            // The ghosts of failures fade in a minute; what was learnt stays.
            assert!(counts_at(at(90), &balancer, &pool.all(), 1_000)[0] > 900, "{what}");
        }
        let candidate = |name, price| {
            ProviderCandidate::custom(name, "m").price_per_million(price, price).build().unwrap()
        };
        let pool =
            Pool::new(ModelName::new("m").unwrap(), [candidate("a", 1.0), candidate("b", 8.0)]).unwrap();
        let balancer = built(&Adaptive::default(), &pool, 0);
        (0..400).for_each(|i| record(&balancer, &pool, i % 2, &success(100), at(1)));
        assert!(counts_at(at(1), &balancer, &pool.all(), 1_000)[0] > 850, "cost");
    }

    #[test]
    fn the_exploration_factor_has_an_effect() {
        let pool = pool_of(&[100, 100]);
        let factor =
            |factor| Adaptive { exploration_factor: Ratio::new(factor).unwrap(), ..Adaptive::default() };
        let explored = |strategy: Adaptive| {
            let balancer = built(&strategy, &pool, 0);
            for i in 0..12 {
                record(&balancer, &pool, i % 2, &success(if i % 2 == 0 { 100 } else { 180 }), at(1));
            }
            counts_at(at(1), &balancer, &pool.all(), 2_000)[1]
        };
        let (none, some, full) = (explored(factor(0.0)), explored(factor(0.3)), explored(factor(1.0)));
        assert!(none == 0 && none < some && some < full, "{none} {some} {full}");
    }

    #[test]
    fn trap_25_a_candidate_that_healed_is_used_again() {
        let pool = pool_of(&[100, 100]);
        let balancer = built(&Adaptive::default(), &pool, 0);
        (0..400).for_each(|i| {
            record(&balancer, &pool, i % 2, &if i % 2 == 0 { success(100) } else { failure() }, at(1));
        });
        let mut rig = SelectRig::new(7);
        // From now on both are well, the second even faster; a request a second for two hours.
        let mut healed = [0; 2];
        for second in 1..7_200 {
            rig.now = at(second);
            let chosen = rig.select(&balancer, &pool.all()).unwrap().get();
            record(&balancer, &pool, chosen, &success(if chosen == 0 { 100 } else { 60 }), at(second));
            if second > 5_400 {
                healed[chosen] += 1;
            }
        }
        assert!(healed[1] > healed[0], "seed 7: {healed:?}");
    }

    #[test]
    fn trap_25_it_never_freezes() {
        let pool = pool_of(&[100, 100]);
        let balancer = built(&Adaptive::default(), &pool, 0);
        (0..20_000).for_each(|i| {
            record(&balancer, &pool, i % 2, &success(if i % 2 == 0 { 100 } else { 200 }), at(1));
        });
        assert!(counts_at(at(1), &balancer, &pool.all(), 500)[0] > 400);
        (0..400).for_each(|i| {
            record(&balancer, &pool, i % 2, &success(if i % 2 == 0 { 200 } else { 100 }), at(60));
        });
        assert!(counts_at(at(60), &balancer, &pool.all(), 500)[1] > 400);
    }

    #[test]
    fn trap_25_delayed_answers_do_not_flood_the_unknown() {
        // Nobody has answered yet: twenty requests in flight must be spread.
        let pool = pool_of(&[100; 4]);
        let balancer = built(&Adaptive::default(), &pool, 0);
        let rig = SelectRig::new(7);
        let mut leases = Vec::new();
        let mut counts = [0; 4];
        for _ in 0..20 {
            let chosen = rig.select(&balancer, &pool.all()).unwrap().get();
            counts[chosen] += 1;
            let mut one = [0; 4];
            one[chosen] = 1;
            leases.extend(load(&pool, &one));
        }
        assert!(counts.iter().all(|&count| (2..=9).contains(&count)), "seed 7: {counts:?}");
    }

    #[test]
    fn the_favourite_is_not_saturated() {
        let shares = Fleet::new(4, 7).slower(3, 0.8).run(|pool| built(&Adaptive::default(), pool, 3));
        let total: u64 = shares.served.iter().sum();
        assert!(shares.served[3] * 2 < total, "seed 7: {shares:?}");
    }

    #[test]
    fn a_thousand_candidates_are_drawn_from() {
        let pool = pool_of(&[100; 200]);
        let balancer = built(&Adaptive::default(), &pool, 0);
        for place in 0..200 {
            (0..60).for_each(|_| {
                record(&balancer, &pool, place, &success(if place == 77 { 20 } else { 400 }), at(1));
            });
        }
        assert!(counts_at(at(1), &balancer, &pool.all(), 2_000)[77] > 1_400, "the best is remembered");
    }
}
