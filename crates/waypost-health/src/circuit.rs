//! The circuit breaker.

use core::fmt;
use core::time::Duration;

use waypost_core::{Age, Stamp, Timestamp};

use crate::config::{BreakerConfig, LONGEST, ROUNDING, jittered};
use crate::sync::{AtomicU64, Ordering};
use crate::window::{Counted, Counts, OutcomeWindow};

/// Where a circuit breaker is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
pub enum CircuitState {
    /// Requests pass.
    Closed,
    /// Requests are refused.
    Open,
    /// A few requests may try.
    HalfOpen,
}

impl fmt::Display for CircuitState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            Self::Closed => "closed",
            Self::Open => "open",
            Self::HalfOpen => "half-open",
        })
    }
}

/// Why a breaker opened.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum TripReason {
    /// Failures in a row.
    ConsecutiveFailures,
    /// The share of failures over the window.
    FailureRatio,
    /// The share of slow answers over the window.
    SlowRatio,
    /// The requests that tried it half-open failed.
    ProbesFailed,
}

/// How a request that passed a breaker ended, as the breaker sees it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum CallOutcome {
    /// Answered in time.
    Success,
    /// Answered too slowly.
    SlowSuccess,
    /// Failed by the provider.
    Failure,
    /// Refused for now by a provider that is well.
    RateLimited,
    /// Says nothing of the provider: the request was at fault, or the caller gave up.
    Ignored,
}

/// What a caller that a breaker lets pass brings back with the result: whose generation it was admitted under, and
/// whether it holds one of the few places of a half-open breaker.
#[derive(Debug, PartialEq, Eq)]
#[must_use = "a permit is brought back by `record` or `release`"]
pub struct Permit {
    generation: u32,
    held: bool,
}

/// One change of a breaker's state: exactly one caller sees each.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct Transition {
    /// The state that it came into.
    pub to: CircuitState,
    /// Why it opened; `None` when it did not.
    pub reason: Option<TripReason>,
    /// Failures that made it open: in a row, or in the window.
    pub failures: u32,
    /// Results among which those failures were.
    pub of: u32,
    /// Until when it stays open; of other states, when it changed.
    #[cfg_attr(feature = "serde", serde(skip))]
    pub until: Timestamp,
    /// How often it opened in a row.
    pub streak: u32,
}

/// A circuit breaker whose state, generation, permits and deadline are one atomic word: a reader never sees one without
/// the others, and each change is one compare-and-swap.
///
/// It opens on failures in a row, on a share of failures over a time with a minimum of results, or on slow answers.
/// Open, it refuses everything for a time that doubles with each opening in a row. The first caller after that makes it
/// half-open; as many requests as may try it decide whether it closes. A permit that is lost is given out again when its
/// lease is over, so nothing wedges it. Results of another generation change nothing: a late success does not close it,
/// a late failure does not open it again.
///
/// ```
/// use core::time::Duration;
/// use waypost_core::Timestamp;
/// use waypost_health::{BreakerConfig, CallOutcome, CircuitBreaker, CircuitState};
///
/// let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 2, ..BreakerConfig::default() });
/// let now = Timestamp::ORIGIN;
/// for _ in 0..2 {
///     let permit = breaker.try_acquire(now).expect("closed").0;
///     breaker.record(permit, CallOutcome::Failure, now, || 0.5);
/// }
/// assert_eq!(breaker.state(), CircuitState::Open);
/// assert!(breaker.try_acquire(now).is_none());
///
/// let later = now + Duration::from_secs(6);
/// let probe = breaker.try_acquire(later).expect("the first after five seconds may try").0;
/// assert!(breaker.try_acquire(later).is_none(), "and nobody else");
/// breaker.record(probe, CallOutcome::Success, later, || 0.5);
/// assert_eq!(breaker.state(), CircuitState::Closed);
/// ```
///
/// # Complexity
///
/// Admission is one load while closed. A result is one compare-and-swap; while the window holds a failure or a slow
/// answer, and twenty loads.
// In this order: what admission and most successes read shares a cache line, which they do not write.
#[derive(Debug)]
#[repr(C)]
pub struct CircuitBreaker {
    /// A [`Word`].
    word: AtomicU64,
    /// Results since the last change that matter: a [`Tally`].
    tally: AtomicU64,
    /// Until when the window holds a failure or a slow answer, in nanoseconds.
    spotless_from: AtomicU64,
    config: BreakerConfig,
    window: OutcomeWindow,
}

/// State 2 bits, openings in a row 4, generation 18, permits 8, time 32: of an open breaker the end, of a half-open one
/// the end of the latest permit's lease, of a closed one when it closed.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
struct Word(u64);

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const PERMIT_SHIFT: u32 = 32;
const GENERATION_SHIFT: u32 = 40;
const GENERATION_MASK: u32 = (1 << 18) - 1;
const STREAK_SHIFT: u32 = 58;
const MAX_STREAK: u32 = 15;
const STATE_SHIFT: u32 = 62;

impl Word {
    const fn new(state: u64, streak: u32, generation: u32, permits: u32, time: u32) -> Self {
        let generation = (generation & GENERATION_MASK) as u64;
        Self(
            state << STATE_SHIFT
                | (streak as u64) << STREAK_SHIFT
                | generation << GENERATION_SHIFT
                | (permits as u64) << PERMIT_SHIFT
                | time as u64,
        )
    }

    const fn state(self) -> u64 {
        self.0 >> STATE_SHIFT
    }

    const fn streak(self) -> u32 {
        (self.0 >> STREAK_SHIFT) as u32 & MAX_STREAK
    }

    const fn generation(self) -> u32 {
        (self.0 >> GENERATION_SHIFT) as u32 & GENERATION_MASK
    }

    const fn permits(self) -> u32 {
        (self.0 >> PERMIT_SHIFT) as u32 & 0xff
    }

    /// How long it is until the time in the word.
    fn remaining(self, now: Timestamp) -> Option<Age> {
        Stamp::in_word(self.0)?.remaining_at(Stamp::of(now))
    }

    /// How long ago the time in the word was.
    fn age(self, now: Timestamp) -> Duration {
        Stamp::in_word(self.0).map_or(Duration::ZERO, |time| time.age_at(Stamp::of(now)).as_duration())
    }

    /// The next generation.
    const fn next(self, state: u64, permits: u32, time: Stamp) -> Self {
        Self::new(state, self.streak(), self.generation() + 1, permits, time.to_bits())
    }

    const fn with_permits(self, permits: u32, time: u32) -> Self {
        Self::new(self.state(), self.streak(), self.generation(), permits, time)
    }
}

/// Generation 32 bits, good results 16, failures 16. Of a closed breaker failures in a row, of a half-open one what the
/// requests that tried it brought.
#[derive(Debug, Clone, Copy)]
struct Tally(u64);

impl Tally {
    const fn of(word: u64, generation: u32) -> Self {
        if word >> 32 == generation as u64 { Self(word) } else { Self((generation as u64) << 32) }
    }

    const fn good(self) -> u32 {
        (self.0 >> 16) as u32 & 0xffff
    }

    const fn failed(self) -> u32 {
        self.0 as u32 & 0xffff
    }

    const fn one_more(self, good: bool) -> Self {
        match good {
            true if self.good() < 0xffff => Self(self.0 + (1 << 16)),
            false if self.failed() < 0xffff => Self(self.0 + 1),
            _ => self,
        }
    }
}

/// What a breaker would say to a caller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Gate {
    Closed,
    /// Somebody may try.
    Ready,
    /// Everybody who may try does; nobody knows for how long.
    Busy,
    Open {
        until: Timestamp,
    },
}

impl CircuitBreaker {
    /// A closed breaker.
    pub fn new(config: BreakerConfig) -> Self {
        let zero = || AtomicU64::new(0);
        let window = OutcomeWindow::new(config.window);
        Self { word: zero(), tally: zero(), spotless_from: zero(), config, window }
    }

    /// Where it is. An open breaker whose time is over is open until somebody tries.
    pub fn state(&self) -> CircuitState {
        match self.load().state() {
            CLOSED => CircuitState::Closed,
            OPEN => CircuitState::Open,
            _ => CircuitState::HalfOpen,
        }
    }

    /// Failures in a row since it closed.
    pub fn consecutive_failures(&self) -> u32 {
        let word = self.load();
        if word.state() == CLOSED { self.tally(word.generation()).failed() } else { 0 }
    }

    /// Whether it would let a caller pass now; takes no permit.
    pub fn would_admit(&self, now: Timestamp) -> bool {
        matches!(self.gate(now), Gate::Closed | Gate::Ready)
    }

    /// How often it opened in a row.
    pub fn streak(&self) -> u32 {
        self.load().streak()
    }

    /// Lets a caller pass, or not. Says so when this caller made an open breaker half-open.
    #[inline]
    pub fn try_acquire(&self, now: Timestamp) -> Option<(Permit, Option<Transition>)> {
        let word = self.load();
        if word.state() == CLOSED {
            return Some((Permit { generation: word.generation(), held: false }, None));
        }
        self.try_probe(word, now)
    }

    /// Brings a result back. Says so when it changed the state. `draw` is asked for a number from 0 to 1 when the
    /// breaker opens, for the jitter.
    #[inline]
    pub fn record(
        &self,
        permit: Permit,
        outcome: CallOutcome,
        now: Timestamp,
        draw: impl FnOnce() -> f64,
    ) -> Option<Transition> {
        let word = self.load();
        if word.generation() != permit.generation {
            return None;
        }
        match (outcome, word.state()) {
            (CallOutcome::RateLimited, CLOSED) if self.config.rate_limited_counts => {
                self.record_closed(word, outcome, now, draw)
            }
            (CallOutcome::Ignored | CallOutcome::RateLimited, _) => {
                self.release(permit);
                None
            }
            (outcome, CLOSED) => self.record_closed(word, outcome, now, draw),
            (outcome, HALF_OPEN) => self.record_probe(word, outcome, now, draw),
            // Let in although it is open, because too few are healthy.
            (outcome, _) if self.is_good(outcome) => self.revive(word, now),
            _ => None,
        }
    }

    /// Brings a permit back without a result: the caller gave up. A permit of another generation is nobody's any more.
    #[expect(clippy::needless_pass_by_value, reason = "a permit is brought back once")]
    pub fn release(&self, permit: Permit) {
        self.update(|word| {
            let taken = word.state() == HALF_OPEN && word.permits() > 0;
            let is_mine = permit.held && word.generation() == permit.generation && taken;
            is_mine.then(|| word.with_permits(word.permits() - 1, word.0 as u32))
        });
    }

    /// Closes it, whatever was. Says so when it was not closed.
    pub fn reset(&self, now: Timestamp) -> Option<Transition> {
        let closed = |word: Word| Word::new(CLOSED, 0, word.generation() + 1, 0, Stamp::of(now).to_bits());
        let (before, after) = self.update(|word| Some(closed(word)))?;
        (before.state() != CLOSED).then(|| transition(after, now))
    }

    /// Lets an open breaker be tried at once: something else says that the provider is back.
    pub fn let_try(&self, now: Timestamp) -> Option<Transition> {
        let word = self.load();
        let tried = (word.state() == OPEN).then(|| word.next(HALF_OPEN, 0, Stamp::of(now)))?;
        self.change(word, tried, now)
    }

    /// What it would say, without changing anything.
    #[inline]
    pub(crate) fn gate(&self, now: Timestamp) -> Gate {
        let word = self.load();
        match (word.state(), word.remaining(now)) {
            (CLOSED, _) => Gate::Closed,
            (OPEN, Some(remaining)) => Gate::Open { until: now + remaining },
            (HALF_OPEN, Some(_)) if word.permits() >= self.places() => Gate::Busy,
            _ => Gate::Ready,
        }
    }

    /// Lets a caller pass whatever the state is: with a place if there is one.
    pub(crate) fn acquire_anyway(&self, now: Timestamp) -> (Permit, Option<Transition>) {
        self.try_acquire(now)
            .unwrap_or_else(|| (Permit { generation: self.load().generation(), held: false }, None))
    }

    /// A permit for somebody who did not ask: a result that came without one counts for the present state, but not for an
    /// open one, because it may be of before.
    pub(crate) fn unasked(&self) -> Option<Permit> {
        let word = self.load();
        (word.state() != OPEN).then(|| Permit { generation: word.generation(), held: false })
    }

    #[cfg(all(test, loom))]
    pub(crate) fn places_taken(&self) -> u32 {
        self.load().permits()
    }

    #[cfg(all(test, loom))]
    pub(crate) fn current_generation(&self) -> u32 {
        self.load().generation()
    }

    fn load(&self) -> Word {
        Word(self.word.load(Ordering::Relaxed))
    }

    fn tally(&self, generation: u32) -> Tally {
        Tally::of(self.tally.load(Ordering::Relaxed), generation)
    }

    /// Relaxed: whatever belongs to a state is in the word or carries its generation.
    fn swap(&self, from: Word, to: Word) -> Result<(), Word> {
        let swapped = self.word.compare_exchange(from.0, to.0, Ordering::Relaxed, Ordering::Relaxed);
        swapped.map(drop).map_err(Word)
    }

    fn places(&self) -> u32 {
        u32::from(self.config.half_open_max_requests.max(1))
    }

    fn lease_end(&self, now: Timestamp) -> Stamp {
        Stamp::not_before(now + self.config.half_open_lease.min(LONGEST))
    }

    #[cold]
    fn try_probe(&self, mut word: Word, now: Timestamp) -> Option<(Permit, Option<Transition>)> {
        loop {
            let lease = self.lease_end(now);
            let next = match (word.state(), word.remaining(now)) {
                (CLOSED, _) => return Some((Permit { generation: word.generation(), held: false }, None)),
                (HALF_OPEN, _) if word.permits() < self.places() => {
                    word.with_permits(word.permits() + 1, lease.to_bits())
                }
                (_, Some(_)) => return None,
                // An open breaker's time is over, or all permits of a half-open one are lost.
                _ => word.next(HALF_OPEN, 1, lease),
            };
            match self.swap(word, next) {
                Ok(()) => {
                    let permit = Permit { generation: next.generation(), held: true };
                    let changed = (word.state() == OPEN).then(|| transition(next, now));
                    return Some((permit, changed));
                }
                Err(seen) => word = seen,
            }
        }
    }

    fn record_closed(
        &self,
        word: Word,
        outcome: CallOutcome,
        now: Timestamp,
        draw: impl FnOnce() -> f64,
    ) -> Option<Transition> {
        let counted = match outcome {
            CallOutcome::Success => Counted::Success,
            CallOutcome::SlowSuccess => Counted::SlowSuccess,
            _ => Counted::Failure,
        };
        // A rate limit neither makes a row of failures longer nor ends it.
        let in_a_row = match outcome {
            CallOutcome::RateLimited => 0,
            outcome => self.count_in_a_row(word.generation(), outcome == CallOutcome::Failure),
        };
        self.window.record(word.generation(), counted, now);
        if counted != Counted::Success {
            self.spotless_from.fetch_max((now + self.config.window).as_nanos(), Ordering::Relaxed);
        } else if self.spotless_from.load(Ordering::Relaxed) < now.as_nanos() {
            return None;
        }
        let counts = self.window.counts(word.generation(), now);
        let threshold = self.config.consecutive_failures;
        let trip = if threshold > 0 && in_a_row >= threshold {
            Some((TripReason::ConsecutiveFailures, in_a_row, in_a_row))
        } else {
            self.ratio_reached(counts)
        };
        self.open(word, trip?, now, draw)
    }

    /// Why the window's counts open the breaker, if they do: the reason, how many, of how many.
    fn ratio_reached(&self, counts: Counts) -> Option<(TripReason, u32, u32)> {
        let total = counts.total();
        let reached = |part: u32, ratio: Option<waypost_core::Ratio>| {
            ratio
                .is_some_and(|ratio| part > 0 && f64::from(part) + ROUNDING >= ratio.get() * f64::from(total))
        };
        if total < self.config.min_volume {
            None
        } else if reached(counts.failed, self.config.failure_ratio) {
            Some((TripReason::FailureRatio, counts.failed, total))
        } else if reached(counts.slow, self.config.slow_ratio) {
            Some((TripReason::SlowRatio, counts.slow, total))
        } else {
            None
        }
    }

    /// Failures in a row after this result.
    fn count_in_a_row(&self, generation: u32, failed: bool) -> u32 {
        if !failed && self.tally(generation).failed() == 0 {
            return 0;
        }
        let none = Tally::of(0, generation);
        let next = |tally: Tally| if failed { tally.one_more(false) } else { none };
        self.update_tally(generation, next).failed()
    }

    /// Changes the tally of a generation; one of a later generation stays as it is.
    fn update_tally(&self, generation: u32, next: impl Fn(Tally) -> Tally) -> Tally {
        let mut word = self.tally.load(Ordering::Relaxed);
        loop {
            let ahead = generation.wrapping_sub((word >> 32) as u32) & GENERATION_MASK;
            if ahead > GENERATION_MASK / 2 {
                return Tally::of(0, generation);
            }
            let updated = next(Tally::of(word, generation));
            match self.tally.compare_exchange_weak(word, updated.0, Ordering::Relaxed, Ordering::Relaxed) {
                Ok(_) => return updated,
                Err(seen) => word = seen,
            }
        }
    }

    fn record_probe(
        &self,
        word: Word,
        outcome: CallOutcome,
        now: Timestamp,
        draw: impl FnOnce() -> f64,
    ) -> Option<Transition> {
        let good = self.is_good(outcome);
        let tally = self.update_tally(word.generation(), |tally| tally.one_more(good));
        let (failed, decided) = (tally.failed(), tally.failed() + tally.good());
        if failed >= self.failures_that_open() {
            return self.open(word, (TripReason::ProbesFailed, failed, decided), now, draw);
        }
        if decided < self.places() { None } else { self.close(word, now) }
    }

    /// Whether a result speaks for the provider: slow answers do unless slowness opens the breaker.
    fn is_good(&self, outcome: CallOutcome) -> bool {
        let slow_is_good = self.config.slow_ratio.is_none();
        outcome == CallOutcome::Success || (outcome == CallOutcome::SlowSuccess && slow_is_good)
    }

    /// Failures among the requests that may try from which the ratio is reached, whatever the others bring.
    fn failures_that_open(&self) -> u32 {
        let ratio =
            self.config.failure_ratio.or(self.config.slow_ratio).map_or(0.0, waypost_core::Ratio::get);
        ((ratio * f64::from(self.places()) - ROUNDING).ceil() as u32).max(1)
    }

    /// Opens from whatever the word of this generation is; exactly one caller does.
    fn open(
        &self,
        word: Word,
        (reason, failures, of): (TripReason, u32, u32),
        now: Timestamp,
        draw: impl FnOnce() -> f64,
    ) -> Option<Transition> {
        let settled = word.state() == CLOSED && word.age(now) >= self.config.settled_after;
        let streak = if settled { 1 } else { (word.streak() + 1).min(MAX_STREAK) };
        let time = self.config.open_for.saturating_mul(1 << (streak - 1));
        let until = now + jittered(time, self.config.open_at_most, self.config.jitter, draw());
        let deadline = Stamp::not_before(until).to_bits();
        let open = |word: Word| Word::new(OPEN, streak, word.generation() + 1, 0, deadline);
        let opened = self.change_of(word.generation(), open, until)?;
        Some(Transition { reason: Some(reason), failures, of, ..opened })
    }

    fn close(&self, word: Word, now: Timestamp) -> Option<Transition> {
        self.change_of(word.generation(), |word| word.next(CLOSED, 0, Stamp::of(now)), now)
    }

    /// Ends a generation; exactly one caller does. Others may take and bring back places meanwhile.
    fn change_of(&self, generation: u32, to: impl Fn(Word) -> Word, until: Timestamp) -> Option<Transition> {
        let (_, after) = self.update(|word| (word.generation() == generation).then(|| to(word)))?;
        Some(transition(after, until))
    }

    /// Replaces the word by what `next` makes of it, if it makes something of it; what it was, and what it is now.
    fn update(&self, next: impl Fn(Word) -> Option<Word>) -> Option<(Word, Word)> {
        let mut word = self.load();
        loop {
            let updated = next(word)?;
            match self.swap(word, updated) {
                Ok(()) => return Some((word, updated)),
                Err(seen) => word = seen,
            }
        }
    }

    /// An open breaker's provider answers: it closes, or is tried by as many as may if that is more than one.
    fn revive(&self, word: Word, now: Timestamp) -> Option<Transition> {
        let state = if self.places() == 1 { CLOSED } else { HALF_OPEN };
        self.change(word, word.next(state, 0, Stamp::of(now)), now)
    }

    fn change(&self, from: Word, to: Word, now: Timestamp) -> Option<Transition> {
        self.swap(from, to).is_ok().then(|| transition(to, now))
    }
}

fn transition(word: Word, until: Timestamp) -> Transition {
    let to = match word.state() {
        CLOSED => CircuitState::Closed,
        OPEN => CircuitState::Open,
        _ => CircuitState::HalfOpen,
    };
    Transition { to, reason: None, failures: 0, of: 0, until, streak: word.streak() }
}

#[cfg(all(test, not(loom)))]
mod tests;
