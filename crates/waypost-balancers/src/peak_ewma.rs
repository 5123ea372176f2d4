//! Slowness times load, of a few.

use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    Age, BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Generator, LoadBalancer, Outcome,
    Pool, RequestResult, ResultEvent, SelectContext, StampedCell, Timestamp,
};

use crate::by_id::{for_each_in_both, ids_of};
use crate::choices::Choices;
use crate::fleet::{FleetMedian, millis};
use crate::least::Least;
use crate::load::{Capacities, LoadUnit, Meter};

/// What a failure is taken to have cost at least, as in linkerd.
const PENALTY: Duration = Duration::from_secs(5);
/// The most that a provider's wish to be left alone counts, as in linkerd.
const MOST_PENALTY: Duration = Duration::from_secs(300);
/// What a candidate counts as, in milliseconds, that nothing is known of and that has a request already: more than any
/// that is known.
const ALREADY_TRIED: f32 = 1e15;
/// And at least this many times what is usual: a penalty below others' costs would attract.
const PENALTY_OVER_USUAL: f32 = 5.0;

/// Draws two candidates at random by weight and chooses the one with the smaller product of its slowness and its
/// requests in flight, the one at hand included.
///
/// Slowness is an exponentially weighted average of the time to first token (of the whole answer where that is not
/// told) that jumps to every peak and sinks slowly (Finagle's peak EWMA). Without samples it sinks towards the pool's
/// median, so a candidate that was slow is tried again, and none is flooded because it was idle. A failure by too many
/// requests (429), a server error (5xx), a timeout or a broken connection counts as five seconds, as five times the
/// pool's median, or as the provider's `Retry-After` up to five minutes, whichever is most: a candidate that fails at
/// once is slow (linkerd's load biaser). Other failures count as what they waited. A cancelled request counts as what
/// it waited.
///
/// A candidate of which nothing is known is taken for the median while it is idle; with a request in flight it loses to
/// every candidate that is known, so it gets one at a time until it answers.
///
/// ```
/// use core::time::Duration;
/// use waypost_balancers::PeakEwma;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let calm = PeakEwma { decay: Duration::from_secs(30), ..PeakEwma::default() };
/// let balancer = calm.build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// That of two choices: a random word, a count and an average for each, whatever the number of candidates.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct PeakEwma {
    /// The time in which a peak sinks to 1/e of itself. Default: 10 s, as in Finagle, linkerd and Envoy.
    pub decay: Duration,
    /// What a candidate is taken for while nothing is known of any. Default: 1 s.
    pub default_latency: Duration,
    /// How many are drawn, 1 to 16. Default: 2.
    pub choices: usize,
}

impl Default for PeakEwma {
    fn default() -> Self {
        Self { decay: Duration::from_secs(10), default_latency: Duration::from_secs(1), choices: 2 }
    }
}

impl BuildLoadBalancer for PeakEwma {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(PeakEwmaBalancer::new(pool, *self))
    }
}

/// What [`PeakEwma`] builds.
#[derive(Debug)]
pub struct PeakEwmaBalancer {
    config: PeakEwma,
    ids: Box<[CandidateId]>,
    choices: Choices,
    capacities: Capacities,
    /// Milliseconds.
    peaks: Box<[Peak]>,
    usual: FleetMedian,
}

/// The average of one candidate that jumps to peaks and sinks, in milliseconds.
#[derive(Debug, Default)]
struct Peak(StampedCell);

impl Peak {
    /// The average as it has sunk by now, towards `rest` if it was above.
    #[inline]
    fn get(&self, now: Timestamp, decay: Age, rest: f32) -> Option<f32> {
        self.0.get(now).map(|(peak, age)| sunk(peak, age, decay, rest))
    }

    fn record(&self, sample: f32, now: Timestamp, decay: Age, rest: f32) {
        self.0.update(now, |before| {
            let Some((peak, age)) = before else { return Some(sample) };
            let (average, kept) = (sunk(peak, age, decay, rest), remains(age, decay));
            Some(if sample > average { sample } else { average * kept + sample * (1.0 - kept) })
        });
    }

    /// Takes what is at least: raises what is known and begins nothing.
    fn raise(&self, bound: f32, now: Timestamp, decay: Age, rest: f32) {
        if self.get(now, decay, rest).is_some_and(|average| bound > average) {
            self.record(bound, now, decay, rest);
        }
    }
}

#[inline]
fn sunk(peak: f32, age: Age, decay: Age, rest: f32) -> f32 {
    let rest = rest.min(peak);
    rest + (peak - rest) * remains(age, decay)
}

#[inline]
fn remains(age: Age, decay: Age) -> f32 {
    if age == Age::ZERO { 1.0 } else { (-age.over(decay)).exp() }
}

impl PeakEwmaBalancer {
    fn new(pool: &Pool, config: PeakEwma) -> Self {
        Self {
            config,
            ids: ids_of(pool),
            choices: Choices::of(pool, config.choices),
            capacities: Capacities::of(pool),
            peaks: (0..pool.len()).map(|_| Peak::default()).collect(),
            usual: FleetMedian::default(),
        }
    }

    fn decay(&self) -> Age {
        Age::of(self.config.decay)
    }

    fn usual(&self, now: Timestamp) -> f32 {
        self.usual.get(now).unwrap_or_else(|| millis(self.config.default_latency))
    }

    /// Slowness times load over weight; `None` when the candidate has no room.
    fn cost(
        &self,
        set: &CandidateSet<'_>,
        index: CandidateIndex,
        meter: Meter,
        now: Timestamp,
    ) -> Option<f32> {
        let live = set.pool().live(index);
        let usual = self.usual(now);
        let load = meter.load(live) as f32;
        let slowness = match self.peaks[index.get()].get(now, self.decay(), usual) {
            Some(slowness) => slowness,
            None if load > 1.0 && self.usual.get(now).is_some() => ALREADY_TRIED,
            None => usual,
        };
        let weight = f32::from(self.capacities.weight(index)) * meter.share(live);
        self.capacities.has_room(index).then(|| slowness * load / weight)
    }

    fn least(
        &self,
        set: &CandidateSet<'_>,
        of: impl Iterator<Item = CandidateIndex>,
        meter: Meter,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let now = cx.decision.now;
        let mut least = Least::default();
        for index in of {
            if let Some(cost) = self.cost(set, index, meter, now) {
                least.offer(cost, index, &mut cx.rng);
            }
        }
        least.index()
    }

    /// What a failure is taken to have cost: a penalty if the provider is overloaded, broken or not there, else what
    /// the request waited.
    fn cost_of_failure(&self, result: &RequestResult, now: Timestamp) -> f32 {
        let waited = result.latency.min(MOST_PENALTY);
        let asked = result.retry_after.map_or(Duration::ZERO, |time| time.min(MOST_PENALTY));
        if is_providers_fault(result.status_code) {
            millis(PENALTY.max(asked).max(waited)).max(self.usual(now) * PENALTY_OVER_USUAL)
        } else {
            millis(asked.max(waited))
        }
    }
}

/// Too many requests, a server error, or no answer at all. linkerd takes a connection that fails for what it waited;
/// one that is refused at once would then look fast.
fn is_providers_fault(status: Option<u16>) -> bool {
    matches!(status, None | Some(408 | 429 | 500..=599))
}

impl LoadBalancer for PeakEwmaBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let meter = Meter::new(LoadUnit::Requests, cx);
        let drawn = self.choices.draw(set, &mut cx.rng);
        self.least(set, drawn.iter(), meter, cx).or_else(|| self.least(set, set.iter(), meter, cx))
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.select(set, cx)
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        let Some(peak) = self.peaks.get(event.index.get()) else { return };
        let (now, decay, usual) = (event.now, self.decay(), self.usual(event.now));
        let first_content = millis(event.result.time_to_first_token.unwrap_or(event.result.latency));
        match event.result.outcome {
            Outcome::Success => peak.record(first_content, now, decay, usual),
            Outcome::Failure => peak.raise(self.cost_of_failure(event.result, now), now, decay, usual),
            Outcome::Cancelled => peak.raise(first_content, now, decay, usual),
        }
        let known = self.peaks.iter().filter_map(|peak| peak.get(now, decay, usual));
        self.usual.refresh(now, known);
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let next = Self::new(pool, self.config);
        for_each_in_both(&self.ids, pool, |old, new| next.peaks[new].0.copy_from(&self.peaks[old].0));
        next.usual.copy_from(&self.usual);
        Some(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{answer, built, load, pool_of, record};
    use waypost_core::TokenUsage;
    use waypost_testkit::{Fleet, SelectRig, conformance};

    fn at(millis: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_millis(millis)
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&PeakEwma::default(), pool, 3));
    }

    #[test]
    fn pk_3_sinks_as_towers_does() {
        // A peak of 10 ms and a decay of 1 s, sinking towards nothing: 9 to 10 ms after 100 ms, 8 to 9 after 200.
        let (peak, second) = (Peak::default(), Age::of(Duration::from_secs(1)));
        peak.record(10.0, at(0), second, 0.0);
        let after = |millis| peak.get(at(millis), second, 0.0).unwrap();
        assert!((9.0..10.0).contains(&after(100)) && (8.0..9.0).contains(&after(200)));
        // 400 ms, then 200 ms at once: stays at the peak; below 100 ms after 1.5 s, below 0.1 ms after 10 s.
        let peak = Peak::default();
        peak.record(400.0, at(0), second, 0.0);
        peak.record(200.0, at(0), second, 0.0);
        assert_eq!(peak.get(at(0), second, 0.0), Some(400.0));
        assert!(
            peak.get(at(1_500), second, 0.0) < Some(100.0) && peak.get(at(10_000), second, 0.0) < Some(0.1)
        );
    }

    #[test]
    fn pk_4_costs_are_slowness_times_load() {
        let pool = pool_of(&[1, 1, 1, 1]);
        let balancer = PeakEwmaBalancer::new(
            &pool,
            PeakEwma { default_latency: Duration::from_millis(10), ..PeakEwma::default() },
        );
        let meter = Meter::at(LoadUnit::Requests, TokenUsage::default(), at(5));
        let cost = |place| balancer.cost(&pool.all(), pool.index(place).unwrap(), meter, at(5)).unwrap();
        assert_eq!(cost(3), 10.0, "idle and unknown");
        balancer.peaks[0].record(20.0, at(5), balancer.decay(), 0.0);
        balancer.peaks[1].record(30.0, at(5), balancer.decay(), 0.0);
        let _leases = load(&pool, &[5, 0, 3, 0]);
        balancer.usual.refresh(at(5), [20.0, 30.0].into_iter());
        assert_eq!((cost(0), cost(1)), (120.0, 30.0));
        assert!(cost(2) > 1_000_000.0, "unknown and tried already");
    }

    #[test]
    fn linkerds_penalty_sinks_and_is_raised_by_what_the_provider_asks() {
        let pool = pool_of(&[1, 1]);
        let balancer = PeakEwmaBalancer::new(&pool, PeakEwma::default());
        let peak =
            |place: usize, millis| balancer.peaks[place].get(at(millis), balancer.decay(), 0.0).unwrap();
        for place in [0, 1] {
            answer(&balancer, &pool, place, 100, at(0));
        }
        record(
            &balancer,
            &pool,
            0,
            &RequestResult::failure(Duration::from_millis(2), "overloaded").status(503),
            at(0),
        );
        assert_eq!(peak(0, 0), 5_000.0);
        assert!((peak(0, 10_000) - 1_840.0).abs() < 5.0, "5 s over e after the decay: {}", peak(0, 10_000));
        let asked = RequestResult::failure(Duration::ZERO, "slow down")
            .status(429)
            .retry_after(Duration::from_secs(900));
        record(&balancer, &pool, 1, &asked, at(0));
        assert_eq!(peak(1, 0), 300_000.0);
    }

    #[test]
    fn pk_1_an_unknown_candidate_is_probed_at_most_once() {
        let pool = pool_of(&[1, 1]);
        let balancer = built(&PeakEwma::default(), &pool, 0);
        (0..3).for_each(|_| answer(&balancer, &pool, 0, 5_000, at(300)));
        let mut rig = SelectRig::new(1);
        rig.now = at(300);
        // The known one is slow and busy, and still the unknown one gets no second request before it has answered.
        let mut leases = load(&pool, &[50, 0]);
        assert_eq!(rig.select(&balancer, &pool.all()), pool.index(1));
        leases.extend(load(&pool, &[0, 1]));
        assert!((0..50).all(|_| rig.select(&balancer, &pool.all()) == pool.index(0)));
    }

    #[test]
    fn pk_2_twice_the_latency_gets_about_half_the_load() {
        // In the simulation of the conformance suite: eight candidates, the last of twice the latency, at half load.
        let shares = Fleet::new(8, 7).slower(7, 2.0).run(|pool| built(&PeakEwma::default(), pool, 3));
        let slow = shares.share(7) / ((1.0 - shares.share(7)) / 7.0);
        assert!((0.3..0.8).contains(&slow), "seed 7: {slow} of another's share");
    }

    #[test]
    fn trap_6_an_idle_one_sinks_to_what_is_usual_and_not_to_nothing() {
        let (peak, second) = (Peak::default(), Age::of(Duration::from_secs(1)));
        peak.record(900.0, at(0), second, 50.0);
        assert!((peak.get(at(60_000), second, 50.0).unwrap() - 50.0).abs() < 0.1);
        let fast = Peak::default();
        fast.record(20.0, at(0), second, 50.0);
        assert_eq!(fast.get(at(60_000), second, 50.0), Some(20.0), "a fast one stays fast");
    }

    #[test]
    fn ew_1_threads_store_only_numbers() {
        let (peak, second) = (Peak::default(), Age::of(Duration::from_secs(1)));
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let peak = &peak;
                scope.spawn(move || {
                    (0..5_000)
                        .for_each(|i| peak.record((i + thread) as f32, at(u64::from(i as u32)), second, 3.0));
                });
            }
        });
        assert!(peak.get(at(5_000), second, 3.0).unwrap().is_finite());
    }
}
