//! How busy candidates are, and who is the least.

use core::cmp::Ordering;

use waypost_core::{
    CandidateIndex, CandidateSet, Generator, LiveSlot, Pool, Ramp, SelectContext, Timestamp, TokenUsage,
};

use crate::weighted_draw::weights_of;

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
    /// A meter of loads that are compared: slow start is taken into account, and so from the context.
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
        let failing = live.recent_failures(self.now).ceil() as u64;
        match self.unit {
            LoadUnit::Requests => in_flight.requests + failing + 1,
            LoadUnit::Tokens => in_flight.tokens.0 + (failing + 1) * self.own,
        }
    }

    /// The same, as heavy as it is for a candidate of which only a share may be used yet.
    #[inline]
    pub(crate) fn weighed(self, live: &LiveSlot) -> u64 {
        let (load, share) = (self.load(live), self.share(live));
        if share < 1.0 { (load as f32 / share) as u64 } else { load }
    }

    /// The share of a candidate's weight that counts yet.
    #[inline]
    pub(crate) fn share(self, live: &LiveSlot) -> f32 {
        self.ramp.map_or(1.0, |ramp| ramp.share_of(live, self.now).max(LEAST_SHARE))
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

    /// Whether this is a smaller share of the weight than the other, and whether it is the same. INVARIANT: loads are below
    /// 2^53 and weights below 2^10, so products fit.
    #[inline]
    pub(crate) fn cmp(self, other: Self) -> Ordering {
        (self.load * other.weight).cmp(&(other.load * self.weight))
    }
}

/// Weights and limits of a pool's candidates, side by side for scanning.
#[derive(Debug)]
pub(crate) struct Capacities(Box<[Capacity]>);

#[derive(Debug, Clone, Copy)]
pub(crate) struct Capacity {
    /// Requests in flight that the candidate takes at most.
    most: u32,
    /// Zero for candidates that take no requests.
    weight: u16,
}

impl Capacities {
    pub(crate) fn of(pool: &Pool) -> Self {
        let most = pool.candidates().iter().map(|candidate| {
            candidate.rate_limits().max_in_flight.map_or(u32::MAX, core::num::NonZeroU32::get)
        });
        Self(weights_of(pool).iter().zip(most).map(|(&weight, most)| Capacity { most, weight }).collect())
    }

    #[inline]
    pub(crate) fn weight(&self, index: CandidateIndex) -> u16 {
        self.0[index.get()].weight
    }

    /// Whether the candidate takes requests and its limit leaves room for one more.
    #[inline]
    pub(crate) fn has_room(&self, index: CandidateIndex, live: &LiveSlot) -> bool {
        let Capacity { most, weight } = self.0[index.get()];
        weight > 0 && (most == u32::MAX || live.in_flight().requests < most.into())
    }

    /// The member with the least load for its weight that has room; ties are broken at random, each as likely.
    pub(crate) fn least_loaded(
        &self,
        set: &CandidateSet<'_>,
        meter: Meter,
        cx: &mut SelectContext<'_, '_>,
    ) -> Option<CandidateIndex> {
        let mut leaders = Leaders::none_of(set);
        for index in set.iter() {
            let live = set.pool().live(index);
            if self.has_room(index, live) {
                leaders.offer(LoadPerWeight::new(meter.weighed(live), self.weight(index)), index);
            }
        }
        leaders.any(&mut cx.rng)
    }
}

/// Those with the least load so far. Kept as a set, so that a pool of a thousand idle candidates costs one random word
/// and not a thousand.
struct Leaders<'p> {
    least: Option<(LoadPerWeight, CandidateIndex)>,
    /// All of them, once there are two.
    all: CandidateSet<'p>,
    len: usize,
}

impl<'p> Leaders<'p> {
    #[inline]
    fn none_of(set: &CandidateSet<'p>) -> Self {
        Self { least: None, all: *set, len: 0 }
    }

    #[inline]
    fn offer(&mut self, load: LoadPerWeight, index: CandidateIndex) {
        let Some((least, first)) = self.least else {
            (self.least, self.len) = (Some((load, index)), 1);
            return;
        };
        match load.cmp(least) {
            Ordering::Less => (self.least, self.len) = (Some((load, index)), 1),
            Ordering::Equal => {
                if self.len == 1 {
                    self.all.clear();
                    self.all.insert(first);
                }
                self.all.insert(index);
                self.len += 1;
            }
            Ordering::Greater => {}
        }
    }

    /// One of them, each as likely.
    #[inline]
    fn any(&self, rng: &mut Generator<'_>) -> Option<CandidateIndex> {
        if self.len > 1 { self.all.nth(rng.below(self.len)) } else { self.least.map(|(_, first)| first) }
    }
}
