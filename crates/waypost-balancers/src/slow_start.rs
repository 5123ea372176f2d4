//! Fewer requests at first for candidates that are new or back.

use core::time::Duration;
use std::fmt;
use std::sync::Arc;

use waypost_core::{
    BuildLoadBalancer, CandidateIndex, CandidateSet, Generator, LoadBalancer, Pool, Ramp, Ratio, ResultEvent,
    SelectContext,
};

/// Choices of the strategy within that may be turned down before one is taken as it is.
const ATTEMPTS: usize = 4;

/// Gives candidates that have just begun to serve less at first: after a time `t` of the window they count with
///
/// ```text
/// max(least, (t / window) ^ (1 / aggression))
/// ```
///
/// of their weight in another strategy (Envoy's slow start). Caches fill, connections open and schedulers warm up
/// meanwhile. It counts from when a candidate was added to a table in use, or was let back in
/// ([`LiveSlot::serves_from`](waypost_core::LiveSlot::serves_from)); candidates that were there when the router started
/// are not new, so a fleet that starts together is not slowed. Nor is anybody when too few are healthy
/// ([`SelectContext::panic`]): those who are back are all that serves.
///
/// ```
/// use core::time::Duration;
/// use waypost_balancers::{LeastConnections, SlowStart};
/// use waypost_core::{BuildLoadBalancer, Pool, SeedSequence};
///
/// let pool = Pool::from_weights([("a", 1), ("b", 1)])?;
/// let careful = SlowStart { window: Duration::from_secs(120), ..SlowStart::over(LeastConnections::default()) };
/// let balancer = careful.build(&pool, &mut SeedSequence::new(7).generator());
/// # let _ = balancer;
/// # Ok::<(), waypost_core::PoolError>(())
/// ```
///
/// # Complexity
///
/// That of the strategy within; while a candidate is new, up to four times that.
#[derive(Clone)]
pub struct SlowStart {
    /// The strategy that chooses.
    pub within: Arc<dyn BuildLoadBalancer>,
    /// How long a candidate is new. Default: 30 s.
    pub window: Duration,
    /// How the share grows: 1 evenly, more faster at first; numbers that are not positive count as 1. Default: 1.
    pub aggression: f32,
    /// The least share. Default: 0.1.
    pub least: Ratio,
}

impl SlowStart {
    /// Slow start over the choices of `within`.
    pub fn over(within: impl BuildLoadBalancer + 'static) -> Self {
        Self {
            within: Arc::new(within),
            window: Duration::from_secs(30),
            aggression: 1.0,
            least: Ratio::of(1, 10),
        }
    }
}

impl fmt::Debug for SlowStart {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SlowStart")
            .field("window", &self.window)
            .field("aggression", &self.aggression)
            .field("least", &self.least)
            .finish_non_exhaustive()
    }
}

impl BuildLoadBalancer for SlowStart {
    fn build(&self, pool: &Pool, rng: &mut Generator<'_>) -> Arc<dyn LoadBalancer> {
        let ramp = Ramp::new(self.window, self.aggression, self.least);
        Arc::new(SlowStartBalancer { within: self.within.build(pool, rng), ramp })
    }
}

/// What [`SlowStart`] builds.
#[derive(Debug)]
pub struct SlowStartBalancer {
    within: Arc<dyn LoadBalancer>,
    ramp: Ramp,
}

/// Whether a choice is taken: of a strategy that did not weigh it, as often as its share says.
fn accepts(set: &CandidateSet<'_>, index: CandidateIndex, cx: &mut SelectContext<'_, '_>) -> bool {
    // Taken: whoever asked for slow start around this one has its answer too.
    let Some(ramp) = cx.ramp.take() else { return true };
    let share = ramp.share_of(set.pool().live(index), cx.decision.now);
    share >= 1.0 || cx.rng.unit() < f64::from(share)
}

impl LoadBalancer for SlowStartBalancer {
    /// Strategies that compare loads weigh new candidates themselves. For others, by turn or at random, it chooses
    /// again among all of the set when a choice is turned down, so that shares are those of weights times ramps; one
    /// that makes the same choice again chooses among the others.
    fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if cx.panic {
            return self.within.select(set, cx);
        }
        cx.ramp = Some(self.ramp);
        let first = self.within.select(set, cx)?;
        if accepts(set, first, cx) { Some(first) } else { Some(self.again(set, first, cx)) }
    }

    fn peek(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
        if cx.panic {
            return self.within.peek(set, cx);
        }
        cx.ramp = Some(self.ramp);
        self.within.peek(set, cx).filter(|&index| accepts(set, index, cx))
    }

    fn record_result(&self, event: &ResultEvent<'_>) {
        self.within.record_result(event);
    }

    fn carried_over(&self, pool: &Pool) -> Option<Arc<dyn LoadBalancer>> {
        Some(Arc::new(Self { within: self.within.carried_over(pool)?, ramp: self.ramp }))
    }
}

impl SlowStartBalancer {
    /// Chooses again after the first choice was turned down.
    #[cold]
    fn again(
        &self,
        set: &CandidateSet<'_>,
        first: CandidateIndex,
        cx: &mut SelectContext<'_, '_>,
    ) -> CandidateIndex {
        let mut rest = *set;
        let mut turned_down = first;
        for _ in 1..ATTEMPTS {
            cx.ramp = Some(self.ramp);
            let Some(index) = self.within.select(&rest, cx) else { break };
            if turned_down == index {
                rest.remove(index);
            } else if accepts(set, index, cx) {
                return index;
            }
            turned_down = index;
        }
        turned_down
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::test_pools::{built, pool_of};
    use crate::{LeastConnections, RoundRobin};
    use waypost_core::Timestamp;
    use waypost_testkit::{Fleet, SelectRig, conformance};

    fn at(seconds: u64) -> Timestamp {
        Timestamp::ORIGIN + Duration::from_secs(seconds)
    }

    fn ten_seconds() -> SlowStart {
        SlowStart { window: Duration::from_secs(10), ..SlowStart::over(RoundRobin::default()) }
    }

    /// How often each of two candidates is chosen in 9,000 decisions, the second new since second 100.
    fn counts(strategy: &SlowStart, seconds: u64) -> [usize; 2] {
        let pool = pool_of(&[1, 1]);
        pool.candidates()[1].live().serves_from(at(100));
        let (balancer, mut rig) = (built(strategy, &pool, 0), SelectRig::new(42));
        rig.now = at(seconds);
        let mut counts = [0; 2];
        (0..9_000).for_each(|_| counts[rig.select(&balancer, &pool.all()).unwrap().get()] += 1);
        counts
    }

    #[test]
    fn behaves() {
        conformance::balancer(|pool| built(&ten_seconds(), pool, 3));
        conformance::balancer(|pool| built(&SlowStart::over(LeastConnections::default()), pool, 3));
    }

    #[test]
    fn ss_1_half_way_through_the_window_it_is_half_a_candidate() {
        // Two to one: 6,000 of 9,000 with sigma 45 at most; the band of 305 is 6.8 sigma.
        let counts_then = counts(&ten_seconds(), 105);
        assert!(counts_then[0].abs_diff(6_000) < 305, "seed 42: {counts_then:?}");
        assert_eq!(counts(&ten_seconds(), 110), [4_500, 4_500], "after the window as before");
    }

    #[test]
    fn trap_5_a_newcomer_at_high_load_is_let_in_slowly() {
        let first_seconds = |strategy: &dyn BuildLoadBalancer| {
            let fleet = |seed| Fleet::new(10, seed).load(0.9).last_joins_after(Duration::from_secs(10));
            let runs = (0..8).map(|seed| fleet(seed).run(|pool| built(strategy, pool, 3)));
            runs.map(|outcome| outcome.first_second).sum::<u64>()
        };
        // 45 a second are fair; of 360 in eight runs sigma is 19, so the two are far beyond chance.
        let slow = first_seconds(&SlowStart::over(LeastConnections::default()));
        let at_once = first_seconds(&LeastConnections::default());
        assert!(slow > 0 && 3 * slow < 2 * at_once, "seeds 0 to 7: {slow} {at_once}");
    }

    #[test]
    fn trap_31_a_fleet_that_starts_together_is_not_slowed() {
        let pool = pool_of(&[1; 3]);
        let (balancer, mut rig) = (built(&ten_seconds(), &pool, 0), SelectRig::new(1));
        rig.now = at(1);
        let mut counts = [0; 3];
        (0..300).for_each(|_| counts[rig.select(&balancer, &pool.all()).unwrap().get()] += 1);
        assert_eq!(counts, [100; 3]);
    }

    #[test]
    fn in_panic_nobody_is_let_in_slowly() {
        let pool = pool_of(&[1, 1]);
        pool.candidates()[1].live().serves_from(at(100));
        let (balancer, mut rig) = (built(&ten_seconds(), &pool, 0), SelectRig::new(1));
        rig.now = at(100);
        let seeds = waypost_core::SeedSequence::new(1);
        let decision =
            waypost_core::DecisionContext::new(&rig.request, &rig.context, None, rig.now, rig.usage);
        let mut counts = [0; 2];
        for _ in 0..100 {
            let mut cx = SelectContext::new(&decision, seeds.generator());
            cx.panic = true;
            counts[balancer.select(&pool.all(), &mut cx).unwrap().get()] += 1;
        }
        assert_eq!(counts, [50, 50]);
    }

    #[test]
    fn when_all_are_new_somebody_is_chosen_all_the_same() {
        let pool = pool_of(&[1; 3]);
        pool.candidates().iter().for_each(|candidate| candidate.live().serves_from(at(100)));
        let (balancer, mut rig) = (built(&ten_seconds(), &pool, 0), SelectRig::new(1));
        rig.now = at(100);
        assert!((0..1_000).all(|_| rig.select(&balancer, &pool.all()).is_some()));
    }
}
