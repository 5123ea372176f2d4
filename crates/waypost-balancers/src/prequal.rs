//! Few in flight first, then fast.

use core::sync::atomic::{AtomicBool, Ordering};
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    Age, BuildLoadBalancer, CandidateId, CandidateIndex, CandidateSet, Generator, LoadBalancer, Outcome,
    Pool, Ratio, ResultEvent, SelectContext, StampedCell, Timestamp,
};

use crate::by_id::{for_each_in_both, ids_of};
use crate::choices::Choices;
use crate::fleet::{FleetMedian, millis};
use crate::least::Least;
use crate::load::{Capacities, LoadUnit, Meter};
use crate::probes::{ProbePool, Probed, Probes};

/// Candidates that are looked at: all of a small pool.
const SAMPLE: usize = 16;
/// Classes of requests in flight that latencies are kept apart by: 1, 2 to 3, 4 to 7 … 128 and more.
const CLASSES: usize = 8;
/// A failure counts as this many times what is usual.
const FAILURE_OVER_USUAL: f32 = 5.0;
/// How long until an average without samples is half of what is usual.
const HALF_LIFE: Age = Age::of(Duration::from_secs(10));
/// The least that a sample counts, so that a burst moves the average.
const LEAST_WEIGHT: f32 = 1.0 / 8.0;
/// Fewer probes than this say nothing; then the router's own signals decide.
const ENOUGH_PROBES: usize = 2;

/// Chooses by requests in flight among the busy and by latency among the rest (Prequal's hot-cold lexicographic rule,
/// Wydrowski et al., NSDI 2024).
///
/// Of sixteen candidates drawn by weight, those with more requests in flight for their weight than the 0.84 quantile of
/// the sample are *hot*. Among the others the one with the least latency at its present load is chosen; if all are hot,
/// the one with the fewest requests in flight. Latency is a time-decayed average of the time to first token, kept apart
/// by how many requests were in flight; what is not known is taken for the pool's median. Failures of late count as
/// requests in flight.
///
/// By default the signals are the router's own, which are exact when it is the only one in front of its providers.
/// Engines that can be asked are better asked: see [`Probes`].
///
/// ```
/// use waypost_balancers::Prequal;
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
/// let balancer = Prequal::default().build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// Sixteen random words and candidates, whatever the size of the pool.
#[derive(Debug, Clone)]
pub struct Prequal {
    /// The quantile of requests in flight above which a candidate is hot. Default: 2^−0.25, as in the paper.
    pub hot_quantile: Ratio,
    /// Where answers of engines that were asked come in. Default: nobody is asked.
    pub probes: Option<Probes>,
}

impl Default for Prequal {
    fn default() -> Self {
        Self { hot_quantile: Ratio::of(841, 1_000), probes: None }
    }
}

impl Prequal {
    /// Prefers the answers of engines that were asked over the router's own signals.
    pub fn with_probes(probes: &Probes) -> Self {
        Self { probes: Some(probes.clone()), ..Self::default() }
    }
}

impl BuildLoadBalancer for Prequal {
    fn build(&self, pool: &Pool, _rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        Arc::new(PrequalBalancer::new(pool, self.clone()))
    }
}

/// What [`Prequal`] builds.
#[derive(Debug)]
pub struct PrequalBalancer {
    config: Prequal,
    ids: Box<[CandidateId]>,
    choices: Choices,
    capacities: Capacities,
    histories: Box<[History]>,
    /// Milliseconds.
    usual: FleetMedian,
    probes: Option<Arc<ProbePool>>,
    /// Whether the next probe to be forgotten is the worst one, not the oldest.
    forget_worst: AtomicBool,
}

/// One candidate's latency by the requests that were in flight, in milliseconds.
#[derive(Debug, Default)]
struct History {
    by_class: [StampedCell; CLASSES],
    /// The latest of them.
    latest: StampedCell,
}

impl History {
    /// Moves the average at this load towards a sample, the further the longer there was none.
    fn record(&self, sample: f32, in_flight: u64, now: Timestamp) {
        let average = self.by_class[class_of(in_flight)].update(now, |before| {
            let Some((average, age)) = before else { return Some(sample) };
            Some(average + (sample - average) * LEAST_WEIGHT.max(1.0 - age.decay(HALF_LIFE)))
        });
        self.latest.update(now, |_| average);
    }

    /// Takes what is at least: raises what is known and begins nothing.
    fn raise(&self, bound: f32, in_flight: u64, now: Timestamp) {
        if self.by_class[class_of(in_flight)].get(now).is_some_and(|(average, _)| bound > average) {
            self.record(bound, in_flight, now);
        }
    }

    /// The latency at this load, else at the nearest load that is known. Without samples it fades to what is usual, so
    /// who was slow once is tried again.
    fn at(&self, in_flight: u64, now: Timestamp, usual: f32) -> f32 {
        let class = class_of(in_flight);
        let nearest = (0..CLASSES).flat_map(|step| [class.checked_sub(step), Some(class + step)]).flatten();
        let mut known = nearest.filter_map(|class| self.by_class.get(class)?.get(now));
        known.next().map_or(usual, |(average, age)| usual + (average - usual) * age.decay(HALF_LIFE))
    }
}

fn class_of(in_flight: u64) -> usize {
    (in_flight.max(1).ilog2() as usize).min(CLASSES - 1)
}

/// What one candidate is compared by.
#[derive(Debug, Clone, Copy, Default)]
struct Signal {
    /// Its place in the pool.
    place: usize,
    /// Requests in flight over weight.
    load: f32,
    /// Milliseconds.
    latency: f32,
}

impl PrequalBalancer {
    fn new(pool: &Pool, config: Prequal) -> Self {
        Self {
            ids: ids_of(pool),
            choices: Choices::of(pool, SAMPLE),
            capacities: Capacities::of(pool),
            histories: (0..pool.len()).map(|_| History::default()).collect(),
            usual: FleetMedian::default(),
            probes: config.probes.as_ref().map(|probes| probes.for_pool(pool)),
            forget_worst: AtomicBool::new(false),
            config,
        }
    }

    /// The hot-cold lexicographic rule.
    fn choose(&self, pool: &Pool, signals: &[Signal], rng: &mut Generator<'_>) -> Option<CandidateIndex> {
        let threshold = self.hot_above(signals)?;
        let (mut cold, mut hot) = (Least::default(), Least::default());
        for signal in signals {
            let Some(index) = pool.index(signal.place) else { continue };
            if signal.load > threshold {
                hot.offer((signal.load, signal.latency), index, rng);
            } else {
                cold.offer((signal.latency, signal.load), index, rng);
            }
        }
        cold.index().or_else(|| hot.index())
    }

    /// The load above which a signal is hot.
    fn hot_above(&self, signals: &[Signal]) -> Option<f32> {
        let mut loads = [0.0_f32; SAMPLE];
        let loads = loads.get_mut(..signals.len())?;
        loads.iter_mut().zip(signals).for_each(|(load, signal)| *load = signal.load);
        let last = signals.len().checked_sub(1)?;
        // Of one less than all: the busiest of a few is hot too, unless it ties with others.
        let place = (self.config.hot_quantile.get() * last as f64) as usize;
        Some(*loads.select_nth_unstable_by(place, f32::total_cmp).1)
    }

    fn signal(
        &self,
        set: &CandidateSet<'_>,
        index: CandidateIndex,
        meter: Meter,
        now: Timestamp,
    ) -> Option<Signal> {
        let live = set.pool().live(index);
        if !self.capacities.has_room(index) {
            return None;
        }
        let load = meter.load(live);
        let latency = self.histories[index.get()].at(load, now, self.usual.get(now).unwrap_or_default());
        let weight = f32::from(self.capacities.weight(index)) * meter.share(live);
        Some(Signal { place: index.get(), load: load as f32 / weight, latency })
    }

    /// By the router's own signals.
    fn by_own_signals(
        &self,
        set: &CandidateSet<'_>,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let (meter, now) = (Meter::new(LoadUnit::Requests, cx), cx.decision.now);
        let mut signals = Signals::default();
        let mut look_at = |index| {
            if let Some(signal) = self.signal(set, index, meter, now) {
                signals.push(signal);
            }
        };
        if set.len() <= SAMPLE {
            set.iter().for_each(&mut look_at);
        } else {
            self.choices.draw(set, &mut cx.rng).iter().for_each(&mut look_at);
        }
        self.choose(set.pool(), signals.as_slice(), &mut cx.rng)
            .or_else(|| self.capacities.least_loaded(set, meter, cx))
    }

    /// By what engines said; `None` when too few did.
    fn by_probes<'s>(
        &'s self,
        set: &CandidateSet<'_>,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<(&'s ProbePool, CandidateIndex)> {
        let pool = self.probes.as_ref()?;
        let mut signals = Signals::default();
        for Probed { index, in_flight, latency } in pool.fresh(cx.decision.now) {
            let Some(index) = set.pool().index(index).filter(|&index| set.contains(index)) else { continue };
            if self.capacities.has_room(index) {
                let load = (in_flight + 1) as f32 / f32::from(self.capacities.weight(index));
                signals.push(Signal { place: index.get(), load, latency: millis(latency) });
            }
        }
        if signals.as_slice().len() < ENOUGH_PROBES {
            return None;
        }
        Some((pool, self.choose(set.pool(), signals.as_slice(), &mut cx.rng)?))
    }
}

/// A few signals, side by side; as many as are looked at, and no more.
#[derive(Debug, Default)]
struct Signals {
    buffer: [Signal; SAMPLE],
    len: usize,
}

impl Signals {
    fn push(&mut self, signal: Signal) {
        if let Some(place) = self.buffer.get_mut(self.len) {
            *place = signal;
            self.len += 1;
        }
    }

    fn as_slice(&self) -> &[Signal] {
        &self.buffer[..self.len]
    }
}

impl LoadBalancer for PrequalBalancer {
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        let Some((probes, chosen)) = self.by_probes(set, cx) else { return self.by_own_signals(set, cx) };
        let worst = self.forget_worst.fetch_xor(true, Ordering::Relaxed);
        probes.used(chosen.get(), worst, cx.decision.now);
        Some(chosen)
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        self.by_probes(set, cx).map(|(_, chosen)| chosen).or_else(|| self.by_own_signals(set, cx))
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        let Some(history) = self.histories.get(event.index.get()) else { return };
        let result = event.result;
        let first = millis(result.time_to_first_token.unwrap_or(result.latency));
        let in_flight = event.pool.live(event.index).in_flight().requests;
        match result.outcome {
            Outcome::Success => history.record(first, in_flight, event.now),
            // What fails or is given up would have taken longer still; a failure as long as several usual answers.
            Outcome::Failure => {
                let usual = self.usual.get(event.now).unwrap_or_default();
                history.raise(first.max(usual * FAILURE_OVER_USUAL), in_flight, event.now);
            }
            Outcome::Cancelled => history.raise(first, in_flight, event.now),
        }
        let known = self.histories.iter().filter_map(|history| history.latest.get(event.now));
        self.usual.refresh(event.now, known.map(|(latency, _)| latency));
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        let next = Self::new(pool, self.config.clone());
        for_each_in_both(&self.ids, pool, |old, new| {
            next.histories[new].latest.copy_from(&self.histories[old].latest);
            for (to, from) in next.histories[new].by_class.iter().zip(&self.histories[old].by_class) {
                to.copy_from(from);
            }
        });
        next.usual.copy_from(&self.usual);
        Some(Arc::new(next))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{answer, built, load, pool_of, record};
    use waypost_core::RequestResult;
    use waypost_testkit::{SelectRig, conformance};

    fn at(millis: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_millis(millis)
    }

    fn rig(millis: u64) -> SelectRig {
        let mut rig = SelectRig::new(millis);
        rig.now = at(millis);
        rig
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&Prequal::default(), pool, 3));
        let probes = Probes::default();
        conformance::balancer(|pool| built(&Prequal::with_probes(&probes), pool, 3));
    }

    #[test]
    fn the_cold_are_compared_by_latency_and_the_hot_are_left_alone() {
        let pool = pool_of(&[1; 8]);
        let balancer = built(&Prequal::default(), &pool, 0);
        for place in 0..8 {
            answer(&balancer, &pool, place, if place == 5 { 10 } else { 100 + place as u64 }, at(300));
        }
        assert_eq!(rig(300).select(&balancer, &pool.all()), pool.index(5), "the fastest");
        // Of eight, the quantile is the sixth in order: who has more requests than that is hot.
        let _leases = load(&pool, &[1, 1, 1, 1, 1, 9, 1, 1]);
        assert_eq!(
            rig(301).select(&balancer, &pool.all()),
            pool.index(0),
            "the fastest is hot, the next is chosen"
        );
    }

    #[test]
    fn the_busier_of_two_is_hot_and_failures_make_nobody_fast() {
        let pool = pool_of(&[1; 2]);
        let balancer = built(&Prequal::default(), &pool, 0);
        answer(&balancer, &pool, 0, 10, at(300));
        answer(&balancer, &pool, 1, 500, at(300));
        assert_eq!(rig(300).select(&balancer, &pool.all()), pool.index(0));
        let busy = load(&pool, &[1, 0]);
        assert_eq!(rig(300).select(&balancer, &pool.all()), pool.index(1), "however slow the other is");
        drop(busy);
        let refused = RequestResult::failure(Duration::from_millis(1), "refused");
        (0..40).for_each(|_| record(&balancer, &pool, 0, &refused, at(300)));
        let forgiven = rig(300 + 60_000).select(&balancer, &pool.all());
        assert!(forgiven.is_some());
        assert_eq!(rig(301).select(&balancer, &pool.all()), pool.index(1));
    }

    #[test]
    fn latency_is_that_of_a_similar_load() {
        let history = History::default();
        history.record(10.0, 1, at(5));
        history.record(400.0, 40, at(5));
        assert_eq!(history.at(1, at(5), 77.0), 10.0);
        assert_eq!(history.at(50, at(5), 77.0), 400.0);
        assert_eq!(history.at(3, at(5), 77.0), 10.0, "the nearest known");
        assert_eq!(History::default().at(1, at(5), 77.0), 77.0, "unknown is usual");
        assert!((history.at(50, at(60_005), 77.0) - 77.0).abs() < 6.0, "and so is what was long ago");
    }

    #[test]
    fn what_engines_say_goes_before_what_the_router_sees() {
        let pool = pool_of(&[1; 4]);
        let probes = Probes::default();
        let balancer = built(&Prequal::with_probes(&probes), &pool, 0);
        let _leases = load(&pool, &[0, 0, 7, 7]);
        let id = |place: usize| pool.candidates()[place].id();
        probes.report(id(2), 3, Duration::from_millis(50), at(1_000));
        let one = rig(1_001).select(&balancer, &pool.all()).unwrap().get();
        assert!(one < 2, "one probe is too few");
        probes.report(id(2), 3, Duration::from_millis(50), at(1_000));
        probes.report(id(3), 3, Duration::from_millis(20), at(1_000));
        assert_eq!(rig(1_001).select(&balancer, &pool.all()), pool.index(3));
        assert!(
            rig(3_000).select(&balancer, &pool.all()).unwrap().get() < 2,
            "a second later they are too old"
        );
    }
}
