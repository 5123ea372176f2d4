//! How busy candidates are, and who is the least.

use std::sync::Arc;

use waypost_core::{
    CandidateIndex, CandidateMask, CandidateSet, Generator, InFlight, LiveSlot, MAX_CANDIDATES, Pool,
    ProviderCandidate, Ramp, SelectContext, Timestamp, TokenUsage,
};

use crate::weighted_draw::weights_of;

/// The most that a weighed load counts: it keeps products with weights within 64 bits.
const MOST_WEIGHED: u64 = 1 << 53;
/// The weight that stands for one unit of capacity: the default.
pub(crate) const UNIT_WEIGHT: u16 = 100;
/// The least share that is told apart from none: it keeps weighed loads within their bits.
const LEAST_SHARE: f32 = 0.01;

/// What load is counted in.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub enum LoadUnit {
    /// Requests in flight.
    #[default]
    Requests,
    /// Tokens in flight, prompts and expected answers: a request of 100,000 tokens is not one of 100.
    Tokens,
}

/// What one request adds, and when it is asked: read once per decision.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Meter {
    unit: LoadUnit,
    /// What the request at hand adds, at least one.
    own: u64,
    now: Timestamp,
    /// Slow start to weigh new candidates by.
    ramp: Option<Ramp>,
}

impl Meter {
    /// A meter of loads that are compared. It takes slow start from the context and weighs new candidates by it.
    #[inline]
    pub(crate) fn new(unit: LoadUnit, cx: &mut SelectContext<'_, '_>) -> Self {
        Self { ramp: cx.ramp.take(), ..Self::at(unit, cx.decision.usage, cx.decision.now) }
    }

    /// A meter that knows nothing of slow start.
    #[inline]
    pub(crate) fn at(unit: LoadUnit, usage: TokenUsage, now: Timestamp) -> Self {
        let own = match unit {
            LoadUnit::Requests => 1,
            // No lease accounts for more; it keeps products with weights within 64 bits.
            LoadUnit::Tokens => usage.total().0.clamp(1, 1 << 24),
        };
        Self { unit, own, now, ramp: None }
    }

    /// What is in flight with the request at hand added. A failure of late counts as a request that is still in flight:
    /// a candidate that fails at once is not idle.
    #[inline]
    pub(crate) fn load(self, live: &LiveSlot) -> u64 {
        let in_flight = live.in_flight();
        let failing = failing(live, self.now);
        match self.unit {
            LoadUnit::Requests => in_flight.requests + failing + 1,
            LoadUnit::Tokens => in_flight.tokens.0 + (failing + 1) * self.own,
        }
    }

    /// The same, as heavy as it is for a candidate of which only a share may be used yet. With slow start all are in
    /// sixteenths, so that a share of 0.9 is told apart from all.
    #[inline]
    pub(crate) fn weighed(self, live: &LiveSlot) -> u64 {
        let load = self.load(live);
        match self.ramp {
            None => load,
            Some(_) => ((load as f32 * 16.0 / self.share(live)) as u64).min(MOST_WEIGHED),
        }
    }

    pub(crate) const fn now(self) -> Timestamp {
        self.now
    }

    /// The share of a candidate's weight that counts yet.
    #[inline]
    pub(crate) fn share(self, live: &LiveSlot) -> f32 {
        self.ramp.map_or(1.0, |ramp| ramp.share_of(live, self.now).max(LEAST_SHARE))
    }
}

/// Failures of late, as requests: a single one counts for a half-life.
#[inline]
pub(crate) fn failing(live: &LiveSlot, now: Timestamp) -> u64 {
    match live.recent_failures(now) {
        0.0 => 0,
        failures => failures.round() as u64,
    }
}

/// A load and the weight that carries it, compared by cross-multiplication: no division, so nothing is rounded away.
#[derive(Debug, Clone, Copy)]
pub(crate) struct LoadPerWeight {
    load: u64,
    weight: u64,
}

impl LoadPerWeight {
    #[inline]
    pub(crate) fn new(load: u64, weight: u16) -> Self {
        Self { load, weight: weight.into() }
    }

    /// Numbers that compare as the two shares do. INVARIANT: loads are below 2^53 and weights below 2^10, so products
    /// fit.
    #[inline]
    const fn crossed(self, other: Self) -> (u64, u64) {
        (self.load * other.weight, other.load * self.weight)
    }

    /// Whether this is a smaller share of the weight than the other.
    #[inline]
    pub(crate) const fn is_less_than(self, other: Self) -> bool {
        let (mine, others) = self.crossed(other);
        mine < others
    }
}

/// What scanning a pool's candidates for load needs, side by side.
#[derive(Debug)]
pub(crate) struct Capacities(Box<[Capacity]>);

#[derive(Debug)]
struct Capacity {
    live: Arc<LiveSlot>,
    /// Requests in flight that the candidate takes at most; none when it takes no requests.
    most: u32,
    weight: u16,
}

impl Capacity {
    #[inline]
    fn has_room(&self) -> bool {
        self.live.in_flight().requests < self.most.into()
    }
}

impl Capacities {
    pub(crate) fn of(pool: &Pool) -> Self {
        let capacity = |((weight, candidate), live): ((&u16, &Arc<ProviderCandidate>), &Arc<LiveSlot>)| {
            let most = candidate.rate_limits().max_in_flight.map_or(u32::MAX, core::num::NonZeroU32::get);
            Capacity { live: Arc::clone(live), most: if *weight == 0 { 0 } else { most }, weight: *weight }
        };
        Self(weights_of(pool).iter().zip(pool.candidates()).zip(pool.live_slots()).map(capacity).collect())
    }

    /// The weight of a candidate, zero when it takes no requests.
    #[inline]
    pub(crate) fn weight(&self, index: CandidateIndex) -> u16 {
        self.0[index.get()].weight
    }

    /// Whether the candidate takes requests and its limit leaves room for one more.
    #[inline]
    pub(crate) fn has_room(&self, index: CandidateIndex) -> bool {
        self.0[index.get()].has_room()
    }

    /// The member with the least load for its weight that has room; ties are broken at random, each as likely.
    #[inline]
    pub(crate) fn least_loaded(
        &self,
        set: &CandidateSet<'_>,
        meter: Meter,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        match meter {
            // The same as below, without asking at every candidate what is counted.
            Meter { unit: LoadUnit::Requests, ramp: None, now, .. } => {
                self.least_by(set, |live, in_flight| in_flight.requests + failing(live, now) + 1, &mut cx.rng)
            }
            _ => self.least_by(set, |live, _| meter.weighed(live), &mut cx.rng),
        }
    }

    /// Keeps all those with the least load as bits beside the set's own, so that a pool of a thousand idle candidates
    /// costs one random word and not a thousand.
    #[inline]
    fn least_by(
        &self,
        set: &CandidateSet<'_>,
        load: impl Fn(&LiveSlot, InFlight) -> u64,
        rng: &mut Generator<'_>,
    ) -> Option<CandidateIndex> {
        // Nobody yet: a load over no weight, which every other is less than.
        let mut least = LoadPerWeight { load: 1, weight: 0 };
        let mut leaders = [0; MAX_CANDIDATES / 64];
        let mut since = 0;
        for (position, (&word, leading)) in set.as_words().iter().zip(&mut leaders).enumerate() {
            let mut rest = word;
            while rest != 0 {
                let bit = rest & rest.wrapping_neg();
                rest ^= bit;
                let capacity = &self.0[position * 64 + bit.trailing_zeros() as usize];
                let in_flight = capacity.live.in_flight();
                if in_flight.requests >= capacity.most.into() {
                    continue;
                }
                let own = LoadPerWeight::new(load(&capacity.live, in_flight), capacity.weight);
                let (mine, others) = own.crossed(least);
                // Most are neither less nor equal: one branch for them.
                if mine <= others {
                    if mine < others {
                        (least, since, *leading) = (own, position, 0);
                    }
                    *leading |= bit;
                }
            }
        }
        leaders[..since].fill(0);
        let mut leading = *set;
        leading.keep(&CandidateMask::from_words(leaders));
        match leading.len() {
            1 => leading.nth(0),
            len => leading.nth(rng.below(len)),
        }
    }
}
