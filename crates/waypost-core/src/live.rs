//! The live side of a candidate: what is in flight, what happened, how fast.

use core::fmt;
use core::num::NonZeroU32;
use core::time::Duration;

use crossbeam_utils::CachePadded;

use crate::sync::{AtomicU64, Ordering};
use crate::{Age, LatencyStats, Outcome, Ratio, RequestResult, StampedCell, Timestamp, Tokens};

/// Bits of the in-flight word that count tokens; the higher ones count requests.
const TOKEN_BITS: u32 = 44;
const TOKEN_MASK: u64 = (1 << TOKEN_BITS) - 1;
/// One request in the in-flight word.
const ONE_REQUEST: u64 = 1 << TOKEN_BITS;

/// The most requests in flight at one candidate. Half of what the word can count: the other half is room for callers
/// that race to the limit and step back.
pub const MAX_IN_FLIGHT: u64 = 1 << 19;
/// The most tokens that one lease accounts for; with [`MAX_IN_FLIGHT`] leases and as many stepping back the sum still
/// fits its bits.
const MAX_LEASE_TOKENS: u64 = (1 << 24) - 1;

/// How long until a failure counts half: about what a request takes that does not fail.
const FAILURE_HALF_LIFE: Age = Age::of(Duration::from_secs(5));

/// A candidate's state that changes while requests run. It is made once per candidate and carried over from snapshot
/// to snapshot by the candidate's id, so counts and learnt statistics survive every update.
///
/// What decisions of load read, the in-flight count above all, is on a cache line of its own.
#[derive(Default)]
pub struct LiveSlot {
    load: CachePadded<Load>,
    outcomes: CachePadded<Outcomes>,
    latency: LatencyStats,
}

/// What decisions read about a candidate.
struct Load {
    /// Requests and tokens in flight in one word: a reader never sees one without the other.
    in_flight: AtomicU64,
    /// Failures, each fading with [`FAILURE_HALF_LIFE`].
    failures: StampedCell,
    /// Bits of an `f64`.
    health: AtomicU64,
    /// Nanoseconds plus one; zero is since ever.
    serving_since: AtomicU64,
}

struct Outcomes {
    succeeded: AtomicU64,
    failed: AtomicU64,
    cancelled: AtomicU64,
    /// Nanoseconds of the last failure plus one; zero before the first.
    last_failure: AtomicU64,
}

impl Default for Load {
    fn default() -> Self {
        Self {
            in_flight: AtomicU64::new(0),
            failures: StampedCell::new(),
            health: AtomicU64::new(Ratio::ONE.get().to_bits()),
            serving_since: AtomicU64::new(0),
        }
    }
}

impl Default for Outcomes {
    fn default() -> Self {
        let zero = || AtomicU64::new(0);
        Self { succeeded: zero(), failed: zero(), cancelled: zero(), last_failure: zero() }
    }
}

/// What is in flight at a candidate.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct InFlight {
    /// Requests that were selected and have not finished.
    pub requests: u64,
    /// Their estimated tokens.
    pub tokens: Tokens,
}

/// How requests at a candidate ended so far.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
#[non_exhaustive]
pub struct OutcomeCounts {
    /// Requests that were answered.
    pub succeeded: u64,
    /// Requests that the provider or the network failed.
    pub failed: u64,
    /// Requests that the caller gave up.
    pub cancelled: u64,
    /// When the last failure was recorded.
    pub last_failure: Option<Timestamp>,
}

impl OutcomeCounts {
    /// All requests that ended.
    pub const fn total(&self) -> u64 {
        self.succeeded + self.failed + self.cancelled
    }
}

impl LiveSlot {
    /// What is in flight now.
    #[inline]
    pub fn in_flight(&self) -> InFlight {
        let word = self.load.in_flight.load(Ordering::Relaxed);
        InFlight { requests: word >> TOKEN_BITS, tokens: Tokens(word & TOKEN_MASK) }
    }

    /// How requests ended so far.
    pub fn outcomes(&self) -> OutcomeCounts {
        let last_failure = self.outcomes.last_failure.load(Ordering::Relaxed);
        OutcomeCounts {
            succeeded: self.outcomes.succeeded.load(Ordering::Relaxed),
            failed: self.outcomes.failed.load(Ordering::Relaxed),
            cancelled: self.outcomes.cancelled.load(Ordering::Relaxed),
            last_failure: last_failure.checked_sub(1).map(Timestamp::from_nanos),
        }
    }

    /// How many requests failed of late: each counts one and fades by half in every 5 s.
    ///
    /// A candidate that fails at once has nothing in flight and looks idle. Strategies of load count these failures as
    /// requests still in flight, so such a candidate gets less than others instead of everything.
    #[inline]
    pub fn recent_failures(&self, now: Timestamp) -> f32 {
        self.load.failures.get(now).map_or(0.0, |(count, age)| count * age.decay(FAILURE_HALF_LIFE))
    }

    /// How healthy the candidate is, as last published; one until something is.
    #[inline]
    pub fn health(&self) -> Ratio {
        Ratio::new(f64::from_bits(self.load.health.load(Ordering::Relaxed))).unwrap_or(Ratio::ONE)
    }

    /// Publishes how healthy the candidate is, for strategies that prefer healthy ones.
    pub fn set_health(&self, health: Ratio) {
        self.load.health.store(health.get().to_bits(), Ordering::Relaxed);
    }

    /// Since when the candidate serves; `None` when it did from the start.
    pub fn serving_since(&self) -> Option<Timestamp> {
        self.load.serving_since.load(Ordering::Relaxed).checked_sub(1).map(Timestamp::from_nanos)
    }

    /// Says that the candidate serves anew from now on: it was added to a table in use, or is back after an outage.
    /// Slow start counts from here.
    pub fn serves_from(&self, now: Timestamp) {
        self.load.serving_since.store(now.as_nanos().saturating_add(1), Ordering::Relaxed);
    }

    /// How fast answers came.
    pub const fn latency(&self) -> &LatencyStats {
        &self.latency
    }

    /// Counts a finished request and learns from it. Does not touch what is in flight.
    #[inline]
    pub fn record(&self, result: &RequestResult, now: Timestamp) {
        let counter = match result.outcome {
            Outcome::Success => &self.outcomes.succeeded,
            Outcome::Failure => &self.outcomes.failed,
            Outcome::Cancelled => &self.outcomes.cancelled,
        };
        counter.fetch_add(1, Ordering::Relaxed);
        if result.outcome == Outcome::Failure {
            self.outcomes.last_failure.fetch_max(now.as_nanos().saturating_add(1), Ordering::Relaxed);
            self.load.failures.update(now, |before| {
                let faded = before.map_or(0.0, |(count, age)| count * age.decay(FAILURE_HALF_LIFE));
                Some((faded + 1.0).min(MAX_IN_FLIGHT as f32))
            });
        }
        self.latency.record(result, now);
    }

    /// Adds to what is in flight, or leaves no trace when [`MAX_IN_FLIGHT`] is reached.
    #[inline]
    fn acquire(&self, units: u64) -> bool {
        // INVARIANT: every addition is undone by exactly one subtraction of the same units, so the word never wraps.
        // Relaxed: the word guards no other memory; its modification order alone makes the count exact.
        let before = self.load.in_flight.fetch_add(units, Ordering::Relaxed);
        let admitted = before >> TOKEN_BITS < MAX_IN_FLIGHT;
        if !admitted {
            self.release(units);
        }
        admitted
    }

    /// Adds to what is in flight if fewer than `limit` requests are. A refusal leaves no trace, not even for a moment.
    #[inline]
    fn acquire_within(&self, units: u64, limit: u64) -> bool {
        let below = |word: u64| (word >> TOKEN_BITS < limit.min(MAX_IN_FLIGHT)).then(|| word + units);
        self.load.in_flight.fetch_update(Ordering::Relaxed, Ordering::Relaxed, below).is_ok()
    }

    #[inline]
    fn release(&self, units: u64) {
        self.load.in_flight.fetch_sub(units, Ordering::Relaxed);
    }
}

impl fmt::Debug for LiveSlot {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LiveSlot")
            .field("in_flight", &self.in_flight())
            .field("outcomes", &self.outcomes())
            .finish_non_exhaustive()
    }
}

/// One request in flight at a candidate. Dropping it, on whatever path, takes the request out of the count exactly
/// once.
///
/// The holder keeps the slot alive: an `Arc` of the candidate, or of the pool with an index.
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{InFlightLease, ProviderCandidate, Tokens};
///
/// let candidate = Arc::new(ProviderCandidate::openai("openai-main", "gpt-4o").build()?);
/// let lease = InFlightLease::acquire(Arc::clone(&candidate), Tokens(1_200)).expect("the first request");
/// assert_eq!(candidate.live().in_flight().requests, 1);
/// drop(lease);
/// assert_eq!(candidate.live().in_flight().requests, 0);
/// # Ok::<(), waypost_core::CandidateError>(())
/// ```
#[derive(Debug)]
#[must_use = "dropping the lease at once takes the request out of flight"]
pub struct InFlightLease<S: AsRef<LiveSlot>> {
    holder: S,
    units: u64,
}

impl<S: AsRef<LiveSlot>> InFlightLease<S> {
    /// Puts one request with `tokens` estimated tokens in flight; `None` when [`MAX_IN_FLIGHT`] requests already are.
    /// More than 16 million tokens count as 16 million.
    pub fn acquire(holder: S, tokens: Tokens) -> Option<Self> {
        let units = units(tokens);
        holder.as_ref().acquire(units).then(|| Self { holder, units })
    }

    /// Like [`acquire`](Self::acquire) with a limit on the requests in flight, which is never exceeded, however many
    /// callers race for the last place.
    pub fn acquire_within(holder: S, tokens: Tokens, limit: NonZeroU32) -> Option<Self> {
        let units = units(tokens);
        holder.as_ref().acquire_within(units, limit.get().into()).then(|| Self { holder, units })
    }

    /// What keeps the slot alive.
    pub const fn holder(&self) -> &S {
        &self.holder
    }

    /// What keeps the slot alive, to change something else in it.
    pub const fn holder_mut(&mut self) -> &mut S {
        &mut self.holder
    }
}

const fn units(tokens: Tokens) -> u64 {
    ONE_REQUEST | if tokens.0 < MAX_LEASE_TOKENS { tokens.0 } else { MAX_LEASE_TOKENS }
}

impl<S: AsRef<LiveSlot>> Drop for InFlightLease<S> {
    fn drop(&mut self) {
        self.holder.as_ref().release(self.units);
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::sync::Arc;

    #[test]
    #[cfg_attr(miri, ignore = "half a million leases take Miri an hour")]
    fn the_limit_admits_exactly_its_number_and_a_refusal_leaves_no_trace() {
        let slot = Arc::new(LiveSlot::default());
        let tokens = Tokens(u64::MAX);
        let leases: Vec<_> =
            (0..MAX_IN_FLIGHT).map(|_| InFlightLease::acquire(Arc::clone(&slot), tokens).unwrap()).collect();
        assert!(InFlightLease::acquire(Arc::clone(&slot), tokens).is_none());
        let full = InFlight { requests: MAX_IN_FLIGHT, tokens: Tokens(MAX_IN_FLIGHT * MAX_LEASE_TOKENS) };
        assert_eq!(slot.in_flight(), full);
        drop(leases);
        assert_eq!(slot.in_flight(), InFlight::default());
    }

    #[test]
    fn a_failure_fades() {
        let slot = LiveSlot::default();
        let at = |seconds| Timestamp::ORIGIN + Duration::from_secs(seconds);
        assert_eq!(slot.recent_failures(at(0)), 0.0);
        for _ in 0..8 {
            slot.record(&RequestResult::failure(Duration::ZERO, "refused"), at(1));
        }
        slot.record(&RequestResult::success(Duration::ZERO, crate::TokenUsage::default()), at(1));
        slot.record(&RequestResult::cancelled(Duration::ZERO), at(1));
        assert_eq!(slot.recent_failures(at(1)), 8.0);
        assert!((slot.recent_failures(at(16)) - 1.0).abs() < 0.01, "three half-lives later");
    }

    #[test]
    fn a_panic_between_select_and_finish_releases() {
        let slot = Arc::new(LiveSlot::default());
        let holder = Arc::clone(&slot);
        let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(move || {
            let _lease = InFlightLease::acquire(holder, Tokens(5)).unwrap();
            panic!("the caller's bug");
        }));
        assert!(panicked.is_err());
        assert_eq!(slot.in_flight(), InFlight::default());
    }
}
