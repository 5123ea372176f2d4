//! A small simulation: how a strategy spreads requests over candidates that are busy, slow, new or broken.

use core::cmp::Reverse;
use core::time::Duration;
use std::collections::BinaryHeap;
use std::sync::Arc;

use waypost_core::{
    Generator, InFlightLease, LoadBalancer, ModelName, Pool, ProviderCandidate, RequestResult, ResultEvent,
    SeedSequence, Timestamp, TokenUsage, Tokens, UserId,
};

use crate::SelectRig;

/// What a request takes on average at a candidate of usual speed.
const SERVICE: Duration = Duration::from_millis(20);
/// What a request takes at a candidate that fails at once.
const FAILS_AFTER: Duration = Duration::from_millis(1);
/// Users that requests come from.
const USERS: usize = 1_000;

/// Candidates that serve one request at a time, in the order of arrival, in virtual time; requests that arrive at
/// random (Poisson) from a thousand users. The same settings always give the same run.
///
/// ```
/// use waypost_core::{CandidateIndex, CandidateSet, LoadBalancer, SelectContext};
/// use waypost_testkit::Fleet;
///
/// /// Any member, each as likely.
/// #[derive(Debug)]
/// struct Any;
///
/// impl LoadBalancer for Any {
///     fn select(&self, set: &CandidateSet<'_>, cx: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
///         set.nth(cx.rng.below(set.len()))
///     }
/// }
///
/// let outcome = Fleet::new(4, 7).black_hole(0).run(|_pool| Any);
/// assert!((0.2..0.3).contains(&outcome.share(0)));
/// ```
#[derive(Debug, Clone)]
pub struct Fleet {
    seed: u64,
    load: f64,
    duration: Duration,
    slowness: Vec<f64>,
    broken: Vec<bool>,
    /// When the last candidate joins.
    joins: Option<Duration>,
    gateways: usize,
}

/// What came of a [`Fleet`]'s run.
#[derive(Debug, Clone, Default, PartialEq)]
#[non_exhaustive]
pub struct FleetOutcome {
    /// Requests that each candidate was chosen for.
    pub chosen: Vec<u64>,
    /// Requests that each candidate answered.
    pub served: Vec<u64>,
    /// Requests for which nobody was chosen.
    pub refused: u64,
    /// The mean time from arrival to the end of the answer.
    pub mean_latency: Duration,
    /// Requests that the candidate which joined was chosen for in its first second.
    pub first_second: u64,
    /// Requests in flight when all had ended: zero, unless a lease was lost.
    pub in_flight_at_end: u64,
}

impl FleetOutcome {
    /// The share of requests that a candidate was chosen for.
    pub fn share(&self, place: usize) -> f64 {
        self.chosen[place] as f64 / self.chosen.iter().sum::<u64>().max(1) as f64
    }
}

impl Fleet {
    /// `n` candidates of equal speed and weight at a load of 0.8, for 20 s.
    pub fn new(n: usize, seed: u64) -> Self {
        Self {
            seed,
            load: 0.8,
            duration: Duration::from_secs(20),
            slowness: vec![1.0; n],
            broken: vec![false; n],
            joins: None,
            gateways: 1,
        }
    }

    /// How much of the time candidates are busy on average, if all are of usual speed. Default: 0.8.
    pub const fn load(mut self, load: f64) -> Self {
        self.load = load;
        self
    }

    /// How many routers send requests there, each of which counts only its own. Default: 1.
    ///
    /// # Panics
    ///
    /// When there is none.
    pub const fn gateways(mut self, gateways: usize) -> Self {
        assert!(gateways > 0, "somebody must send requests");
        self.gateways = gateways;
        self
    }

    /// Lets a candidate take `factor` times as long.
    pub fn slower(mut self, place: usize, factor: f64) -> Self {
        self.slowness[place] = factor;
        self
    }

    /// Lets a candidate fail every request after a millisecond.
    pub fn black_hole(mut self, place: usize) -> Self {
        self.broken[place] = true;
        self
    }

    /// Lets the last candidate join when the others have been busy for a while.
    pub const fn last_joins_after(mut self, time: Duration) -> Self {
        self.joins = Some(time);
        self
    }

    /// Runs the requests through the balancers that `make` builds.
    ///
    /// # Panics
    ///
    /// When the fleet has more candidates than a pool holds.
    pub fn run<B: LoadBalancer + 'static>(&self, make: impl Fn(&Pool) -> B) -> FleetOutcome {
        let mut run = Run::new(self, &make);
        let seeds = SeedSequence::new(self.seed);
        let mut now = Timestamp::ORIGIN;
        let end = Timestamp::ORIGIN + self.duration;
        let rate = self.load * self.slowness.len() as f64 / SERVICE.as_secs_f64();
        loop {
            let mut rng = seeds.generator();
            now = now + exponential(1.0 / rate, rng.unit());
            if now > end {
                break;
            }
            run.finish_until(now);
            run.join_if_due(now, &make);
            run.arrive(now, &mut rng);
        }
        run.finish_until(Timestamp::MAX);
        run.outcome()
    }
}

/// A duration with this mean in seconds, by inversion of a number in `0.0..1.0`.
fn exponential(mean: f64, uniform: f64) -> Duration {
    Duration::from_secs_f64(-mean * (1.0 - uniform).ln())
}

/// A request under way.
struct UnderWay {
    gateway: usize,
    place: usize,
    arrived: Timestamp,
    started: Timestamp,
    lease: InFlightLease<Arc<ProviderCandidate>>,
}

/// One router: it knows the candidates by what it sent them itself.
struct Gateway {
    candidates: Vec<Arc<ProviderCandidate>>,
    pool: Pool,
    balancer: Arc<dyn LoadBalancer>,
    rig: SelectRig,
}

impl Gateway {
    fn new<B: LoadBalancer + 'static>(
        n: usize,
        at_first: usize,
        seed: u64,
        make: impl Fn(&Pool) -> B,
    ) -> Self {
        let candidates: Vec<_> = (0..n).map(candidate).collect();
        let pool = pool_of(&candidates[..at_first]);
        Self { balancer: Arc::new(make(&pool)), pool, candidates, rig: SelectRig::new(seed) }
    }

    fn let_last_join<B: LoadBalancer + 'static>(&mut self, now: Timestamp, make: impl Fn(&Pool) -> B) {
        self.candidates[self.candidates.len() - 1].live().serves_from(now);
        self.pool = pool_of(&self.candidates);
        let anew = || Arc::new(make(&self.pool)) as Arc<dyn LoadBalancer>;
        self.balancer = self.balancer.carried_over(&self.pool).unwrap_or_else(anew);
    }

    fn select(
        &mut self,
        now: Timestamp,
        user: &UserId,
    ) -> Option<(usize, InFlightLease<Arc<ProviderCandidate>>)> {
        self.rig.now = now;
        self.rig.context.user_id = Some(user.clone());
        let place = self.rig.select(&self.balancer, &self.pool.all())?.get();
        let candidate = Arc::clone(&self.pool.candidates()[place]);
        Some((place, InFlightLease::acquire(candidate, self.rig.usage.total())?))
    }

    fn record(&self, place: usize, result: &RequestResult, now: Timestamp) {
        let index = self.pool.index(place).expect("candidates only join");
        let event = ResultEvent::new(&self.pool, index, result, now);
        event.candidate().live().record(result, now);
        self.balancer.record_result(&event);
    }
}

struct Run<'f> {
    fleet: &'f Fleet,
    gateways: Vec<Gateway>,
    users: Vec<UserId>,
    /// When each candidate has done what it has.
    free_at: Vec<Timestamp>,
    ends: BinaryHeap<Reverse<(Timestamp, usize)>>,
    under_way: Vec<Option<UnderWay>>,
    joined: Option<Timestamp>,
    waited: Duration,
    outcome: FleetOutcome,
}

impl<'f> Run<'f> {
    fn new<B: LoadBalancer + 'static>(fleet: &'f Fleet, make: impl Fn(&Pool) -> B) -> Self {
        let n = fleet.slowness.len();
        let at_first = n - usize::from(fleet.joins.is_some());
        let gateway = |i: usize| Gateway::new(n, at_first, fleet.seed + i as u64, &make);
        Self {
            fleet,
            gateways: (0..fleet.gateways).map(gateway).collect(),
            users: (0..USERS)
                .map(|user| UserId::new(format!("user-{user}")).expect("a valid name"))
                .collect(),
            free_at: vec![Timestamp::ORIGIN; n],
            ends: BinaryHeap::new(),
            under_way: Vec::new(),
            joined: None,
            waited: Duration::ZERO,
            outcome: FleetOutcome { chosen: vec![0; n], served: vec![0; n], ..FleetOutcome::default() },
        }
    }

    fn join_if_due<B: LoadBalancer + 'static>(&mut self, now: Timestamp, make: impl Fn(&Pool) -> B) {
        let due = self.fleet.joins.is_some_and(|time| now >= Timestamp::ORIGIN + time);
        if due && self.joined.is_none() {
            self.joined = Some(now);
            self.gateways.iter_mut().for_each(|gateway| gateway.let_last_join(now, &make));
        }
    }

    fn arrive(&mut self, now: Timestamp, rng: &mut Generator<'_>) {
        let (gateway, user, uniform) = (rng.below(self.gateways.len()), rng.below(USERS), rng.unit());
        let Some((place, lease)) = self.gateways[gateway].select(now, &self.users[user]) else {
            self.outcome.refused += 1;
            return;
        };
        self.outcome.chosen[place] += 1;
        let is_new = self.joined.is_some_and(|joined| now < joined + Duration::from_secs(1));
        if is_new && place + 1 == self.free_at.len() {
            self.outcome.first_second += 1;
        }
        let is_broken = self.fleet.broken[place];
        let started = if is_broken { now } else { self.free_at[place].max(now) };
        let takes = exponential(SERVICE.as_secs_f64() * self.fleet.slowness[place], uniform);
        let ends = started + if is_broken { FAILS_AFTER } else { takes };
        self.free_at[place] = self.free_at[place].max(ends);
        self.ends.push(Reverse((ends, self.under_way.len())));
        self.under_way.push(Some(UnderWay { gateway, place, arrived: now, started, lease }));
    }

    fn finish_until(&mut self, now: Timestamp) {
        while let Some(&Reverse((ended, request))) = self.ends.peek().filter(|end| end.0.0 <= now) {
            self.ends.pop();
            if let Some(under_way) = self.under_way[request].take() {
                self.finish(under_way, ended);
            }
        }
    }

    fn finish(&mut self, request: UnderWay, ended: Timestamp) {
        let UnderWay { gateway, place, arrived, started, lease } = request;
        let latency = ended.since(arrived);
        self.waited += latency;
        let result = if self.fleet.broken[place] {
            RequestResult::failure(latency, "broken").status(503)
        } else {
            self.outcome.served[place] += 1;
            let first = started.since(arrived) + ended.since(started) / 4;
            RequestResult::success(latency, TokenUsage::new(Tokens(1_000), Tokens(200)))
                .first_token_after(first)
        };
        self.gateways[gateway].record(place, &result, ended);
        drop(lease);
    }

    fn outcome(mut self) -> FleetOutcome {
        let requests = self.outcome.chosen.iter().sum::<u64>().max(1);
        self.outcome.mean_latency = Duration::from_secs_f64(self.waited.as_secs_f64() / requests as f64);
        let candidates = self.gateways.iter().flat_map(|gateway| &gateway.candidates);
        self.outcome.in_flight_at_end =
            candidates.map(|candidate| candidate.live().in_flight().requests).sum();
        self.outcome
    }
}

fn candidate(i: usize) -> Arc<ProviderCandidate> {
    let builder = ProviderCandidate::custom(format!("p{i}"), "model").price_per_million(1.0, 3.0);
    Arc::new(builder.build().expect("a valid candidate"))
}

fn pool_of(candidates: &[Arc<ProviderCandidate>]) -> Pool {
    let model = ModelName::new("model").expect("a valid name");
    Pool::new(model, candidates.iter().cloned()).expect("as many candidates as a pool holds")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::testing::Any;

    #[test]
    fn random_splitting_waits_as_queueing_theory_says() {
        // M/M/1 at load 0.5: a mean of 2 service times, 40 ms. 200 s of 4 candidates are 20,000 requests; over 16 seeds
        // the standard deviation of the mean was 0.7 ms, so the band is 6 of them.
        let mut fleet = Fleet::new(4, 11).load(0.5);
        fleet.duration = Duration::from_secs(200);
        let mean = fleet.run(|_| Any).mean_latency.as_secs_f64() * 1e3;
        assert!((mean - 40.0).abs() < 4.2, "seed 11: {mean} ms");
    }

    #[test]
    fn the_same_seed_gives_the_same_run_and_nothing_is_lost() {
        let fleet = Fleet::new(5, 3).black_hole(1).last_joins_after(Duration::from_secs(5));
        let outcome = fleet.run(|_| Any);
        assert_eq!(outcome, fleet.run(|_| Any));
        assert_eq!((outcome.in_flight_at_end, outcome.refused, outcome.served[1]), (0, 0, 0));
        assert!(outcome.chosen[1] > 0 && outcome.first_second > 0);
    }
}
