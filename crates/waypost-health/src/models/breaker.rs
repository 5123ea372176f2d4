//! CB1 to CB11: the circuit breaker.

use core::time::Duration;
use std::sync::Arc;

use loom::sync::atomic::{AtomicU64, Ordering};
use loom::thread;
use waypost_core::Ratio;

use super::{at, is_caught};
use crate::{BreakerConfig, CallOutcome, CircuitBreaker, CircuitState, Permit};

/// A breaker as models see it: it opens for a second, and leases last ten.
trait Breaker: Send + Sync + 'static {
    type Permit: Send + 'static;

    /// A permit, and whether this caller made it half-open.
    fn try_acquire(&self, second: u64) -> Option<(Self::Permit, bool)>;
    /// Whether this result changed the state.
    fn record(&self, permit: Self::Permit, outcome: CallOutcome, second: u64) -> bool;
    fn release(&self, permit: Self::Permit);
    fn reset(&self, second: u64);
    /// Would it let somebody pass?
    fn looks_free(&self, second: u64) -> bool;
    fn state(&self) -> CircuitState;
    fn permits(&self) -> u64;
    fn generation(&self) -> u64;
}

impl Breaker for CircuitBreaker {
    type Permit = Permit;

    fn try_acquire(&self, second: u64) -> Option<(Permit, bool)> {
        let (permit, transition) = CircuitBreaker::try_acquire(self, at(second))?;
        Some((permit, transition.is_some()))
    }

    fn record(&self, permit: Permit, outcome: CallOutcome, second: u64) -> bool {
        CircuitBreaker::record(self, permit, outcome, at(second), || 0.5).is_some()
    }

    fn release(&self, permit: Permit) {
        CircuitBreaker::release(self, permit);
    }

    fn reset(&self, second: u64) {
        let _ = CircuitBreaker::reset(self, at(second));
    }

    fn looks_free(&self, second: u64) -> bool {
        self.would_admit(at(second))
    }

    fn state(&self) -> CircuitState {
        CircuitBreaker::state(self)
    }

    fn permits(&self) -> u64 {
        self.places_taken().into()
    }

    fn generation(&self) -> u64 {
        self.current_generation().into()
    }
}

fn shipped(failures: u32) -> CircuitBreaker {
    CircuitBreaker::new(BreakerConfig {
        consecutive_failures: failures,
        failure_ratio: None,
        open_for: Duration::from_secs(1),
        half_open_lease: Duration::from_secs(10),
        jitter: Ratio::ZERO,
        ..BreakerConfig::default()
    })
}

/// The known bugs, by the invariant that each breaks.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Flaw {
    /// CB1: looks whether a place is free, then takes it.
    TakesInTwoSteps,
    /// CB2: stores the half-open state instead of swapping it.
    StoresHalfOpen,
    /// CB3: has no lease, so what is lost stays lost.
    NeverReclaims,
    /// CB4: a dropped permit frees nothing.
    KeepsTheDropped,
    /// CB5: takes results of any generation.
    IgnoresGenerations,
    /// CB6: an outcome that says nothing is a failure.
    CountsNeutral,
    /// CB7: reads the count of failures, then writes the next.
    LosesFailures,
    /// CB8: looks by taking a permit.
    LooksByTaking,
    /// CB9: stores the deadline after the state.
    DeadlineComesLater,
    /// CB10: a permit that was reclaimed frees a place when it is dropped late.
    FreesTheReclaimed,
    /// CB11: looks whether a place is taken, then frees it.
    FreesInTwoSteps,
}

/// A small breaker with one flaw: state 8 bits, generation 16, permits 8, deadline in seconds 32.
struct Flawed {
    flaw: Flaw,
    threshold: u64,
    word: AtomicU64,
    failures: AtomicU64,
}

const CLOSED: u64 = 0;
const OPEN: u64 = 1;
const HALF_OPEN: u64 = 2;
const ONE_PERMIT: u64 = 1 << 32;

const fn word(state: u64, generation: u64, permits: u64, deadline: u64) -> u64 {
    state << 56 | (generation & 0xffff) << 40 | (permits & 0xff) << 32 | deadline
}

const fn parts(word: u64) -> (u64, u64, u64, u64) {
    (word >> 56, word >> 40 & 0xffff, word >> 32 & 0xff, word & 0xffff_ffff)
}

impl Flawed {
    fn new(flaw: Flaw, threshold: u64) -> Self {
        Self { flaw, threshold, word: AtomicU64::new(0), failures: AtomicU64::new(0) }
    }

    fn load(&self) -> u64 {
        self.word.load(Ordering::Relaxed)
    }

    fn swap(&self, from: u64, to: u64) -> bool {
        self.word.compare_exchange(from, to, Ordering::Relaxed, Ordering::Relaxed).is_ok()
    }

    fn count_failure(&self) -> u64 {
        if self.flaw == Flaw::LosesFailures {
            let count = self.failures.load(Ordering::Relaxed) + 1;
            self.failures.store(count, Ordering::Relaxed);
            return count;
        }
        self.failures.fetch_add(1, Ordering::Relaxed) + 1
    }

    fn open(&self, from: u64, second: u64) -> bool {
        let (_, generation, ..) = parts(from);
        if self.flaw == Flaw::DeadlineComesLater {
            let opened = self.swap(from, word(OPEN, generation + 1, 0, 0));
            if opened {
                self.word.fetch_add(second + 1, Ordering::Relaxed);
            }
            return opened;
        }
        self.swap(from, word(OPEN, generation + 1, 0, second + 1))
    }
}

impl Breaker for Flawed {
    /// The generation, and whether it holds a place.
    type Permit = (u64, bool);

    fn try_acquire(&self, second: u64) -> Option<((u64, bool), bool)> {
        loop {
            let seen = self.load();
            let (state, generation, permits, deadline) = parts(seen);
            let first = word(HALF_OPEN, generation + 1, 1, second + 10);
            match state {
                CLOSED => return Some(((generation, false), false)),
                OPEN if second < deadline => return None,
                OPEN if self.flaw == Flaw::StoresHalfOpen => {
                    self.word.store(first, Ordering::Relaxed);
                    return Some(((generation + 1, true), true));
                }
                OPEN if self.swap(seen, first) => return Some(((generation + 1, true), true)),
                HALF_OPEN if permits == 0 && self.flaw == Flaw::TakesInTwoSteps => {
                    self.word.fetch_add(ONE_PERMIT, Ordering::Relaxed);
                    return Some(((generation, true), false));
                }
                HALF_OPEN if permits == 0 => {
                    if self.swap(seen, word(HALF_OPEN, generation, 1, second + 10)) {
                        return Some(((generation, true), false));
                    }
                }
                HALF_OPEN if second < deadline || self.flaw == Flaw::NeverReclaims => return None,
                HALF_OPEN if self.swap(seen, first) => return Some(((generation + 1, true), false)),
                _ => {}
            }
        }
    }

    fn record(&self, permit: (u64, bool), outcome: CallOutcome, second: u64) -> bool {
        let seen = self.load();
        let (state, generation, ..) = parts(seen);
        if generation != permit.0 && self.flaw != Flaw::IgnoresGenerations {
            return false;
        }
        match (outcome, state) {
            (CallOutcome::Ignored, _) if self.flaw != Flaw::CountsNeutral => {
                self.release(permit);
                false
            }
            (CallOutcome::Success, HALF_OPEN) => self.swap(seen, word(CLOSED, generation + 1, 0, 0)),
            (CallOutcome::Success, _) => false,
            (_, CLOSED) => self.count_failure() >= self.threshold && self.open(seen, second),
            (_, HALF_OPEN) => self.open(seen, second),
            _ => false,
        }
    }

    fn release(&self, (of, held): (u64, bool)) {
        if !held || self.flaw == Flaw::KeepsTheDropped {
            return;
        }
        loop {
            let seen = self.load();
            let (state, generation, permits, deadline) = parts(seen);
            let is_mine = generation == of || self.flaw == Flaw::FreesTheReclaimed;
            if !is_mine || state != HALF_OPEN || permits == 0 {
                return;
            }
            if self.flaw == Flaw::FreesInTwoSteps {
                self.word.fetch_sub(ONE_PERMIT, Ordering::Relaxed);
                return;
            }
            if self.swap(seen, word(state, generation, permits - 1, deadline)) {
                return;
            }
        }
    }

    fn reset(&self, _: u64) {
        loop {
            let seen = self.load();
            let (_, generation, ..) = parts(seen);
            if self.swap(seen, word(CLOSED, generation + 1, 0, 0)) {
                return;
            }
        }
    }

    fn looks_free(&self, second: u64) -> bool {
        if self.flaw == Flaw::LooksByTaking {
            return self.try_acquire(second).is_some();
        }
        let (state, _, permits, deadline) = parts(self.load());
        state == CLOSED || second >= deadline || (state == HALF_OPEN && permits == 0)
    }

    fn state(&self) -> CircuitState {
        match parts(self.load()).0 {
            CLOSED => CircuitState::Closed,
            OPEN => CircuitState::Open,
            _ => CircuitState::HalfOpen,
        }
    }

    fn permits(&self) -> u64 {
        parts(self.load()).2
    }

    fn generation(&self) -> u64 {
        parts(self.load()).1
    }
}

/// Runs a model on the shipped breaker, which opens after so many failures, and on a mutant, which it must catch.
macro_rules! check {
    ($model:ident, $failures:expr, $flaw:expr) => {
        loom::model(|| $model(Arc::new(shipped($failures))));
        let is_caught = is_caught(|| $model(Arc::new(Flawed::new($flaw, $failures))));
        assert!(is_caught, "{:?} is not caught", $flaw);
    };
}

/// Fails until the breaker is open, in second 0: until second 1.
fn open<B: Breaker>(breaker: &B) {
    while breaker.state() != CircuitState::Open {
        let (permit, _) = breaker.try_acquire(0).expect("it is closed");
        breaker.record(permit, CallOutcome::Failure, 0);
    }
}

/// Runs on so many threads at once, this one among them.
fn at_once<T: Send + 'static>(n: usize, run: impl Fn() -> T + Clone + Send + 'static) -> Vec<T> {
    let others: Vec<_> = (1..n).map(|_| thread::spawn(run.clone())).collect();
    let mine = run();
    let others = others.into_iter().map(|thread| thread.join().expect("no panic"));
    others.chain([mine]).collect()
}

/// CB1: with one place, of three who come at the deadline, while one brings its permit back, no two hold one at a time.
fn one_place_is_one<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let (first, _) = breaker.try_acquire(3).expect("the first");
    breaker.release(first);
    let taken = {
        let breaker = Arc::clone(&breaker);
        at_once(3, move || breaker.try_acquire(3).is_some())
    };
    assert_eq!(taken.into_iter().filter(|&taken| taken).count(), 1);
    assert_eq!(breaker.permits(), 1);
}

#[test]
fn cb_1_at_most_the_places_are_taken() {
    check!(one_place_is_one, 1, Flaw::TakesInTwoSteps);
}

/// CB2: of two who come at the deadline one makes it half-open; the generation rises by one.
fn one_transition_per_expiry<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let before = breaker.generation();
    let changed = {
        let breaker = Arc::clone(&breaker);
        at_once(2, move || breaker.try_acquire(3).is_some_and(|(_, changed)| changed))
    };
    assert_eq!(changed.into_iter().filter(|&changed| changed).count(), 1);
    assert_eq!(breaker.generation(), before + 1);
}

#[test]
fn cb_2_one_transition_per_expiry() {
    check!(one_transition_per_expiry, 1, Flaw::StoresHalfOpen);
}

/// CB3: whatever two threads did and lost, after the lease somebody may try.
fn nothing_wedges<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let loses = Arc::clone(&breaker);
    at_once(2, move || drop(loses.try_acquire(3)));
    assert!(breaker.try_acquire(20).is_some());
}

#[test]
fn cb_3_nothing_wedges_it() {
    check!(nothing_wedges, 1, Flaw::NeverReclaims);
}

/// CB4: a permit that is dropped while another caller asks frees its place exactly once.
fn a_dropped_permit_frees_its_place<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let (permit, _) = breaker.try_acquire(3).expect("the first");
    let drops = {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || breaker.release(permit))
    };
    let second = breaker.try_acquire(3);
    drops.join().expect("no panic");
    assert_eq!(breaker.permits(), u64::from(second.is_some()));
    assert_eq!(breaker.try_acquire(3).is_some(), second.is_none());
}

#[test]
fn cb_4_a_dropped_permit_frees_its_place_once() {
    check!(a_dropped_permit_frees_its_place, 1, Flaw::KeepsTheDropped);
}

/// CB5: a late success of before the opening, and a late failure, change nothing while a probe is under way.
fn late_results_change_nothing<B: Breaker>(breaker: Arc<B>) {
    let late = [breaker.try_acquire(0), breaker.try_acquire(0)].map(|permit| permit.expect("closed").0);
    open(&*breaker);
    let (probe, _) = breaker.try_acquire(3).expect("the first");
    let mut outcomes = [CallOutcome::Success, CallOutcome::Failure].into_iter();
    let threads: Vec<_> = late
        .into_iter()
        .map(|permit| {
            let (breaker, outcome) = (Arc::clone(&breaker), outcomes.next().expect("two"));
            thread::spawn(move || breaker.record(permit, outcome, 3))
        })
        .collect();
    let meanwhile = breaker.state();
    let changed: Vec<_> = threads.into_iter().map(|thread| thread.join().expect("no panic")).collect();
    assert_eq!((meanwhile, changed), (CircuitState::HalfOpen, vec![false, false]));
    assert!(breaker.record(probe, CallOutcome::Success, 4), "the probe decides");
}

#[test]
fn cb_5_results_of_another_generation_change_nothing() {
    check!(late_results_change_nothing, 1, Flaw::IgnoresGenerations);
}

/// CB6: an outcome that says nothing frees the place, whoever asks meanwhile, and changes no state.
fn neutral_is_neutral<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let (probe, _) = breaker.try_acquire(3).expect("the first");
    let ends = {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || breaker.record(probe, CallOutcome::Ignored, 3))
    };
    let second = breaker.try_acquire(3);
    assert!(!ends.join().expect("no panic"));
    assert_eq!(breaker.state(), CircuitState::HalfOpen);
    assert!(second.is_some() || breaker.try_acquire(3).is_some());
}

#[test]
fn cb_6_what_says_nothing_moves_nothing() {
    check!(neutral_is_neutral, 1, Flaw::CountsNeutral);
}

/// CB7: three failures at once at a threshold of three: one opening, none lost.
fn no_failure_is_lost<B: Breaker>(breaker: Arc<B>) {
    let fails = {
        let breaker = Arc::clone(&breaker);
        move || {
            let (permit, _) = breaker.try_acquire(0).expect("closed");
            breaker.record(permit, CallOutcome::Failure, 0)
        }
    };
    let opened = at_once(3, fails);
    assert_eq!(breaker.state(), CircuitState::Open);
    assert_eq!(opened.into_iter().filter(|&opened| opened).count(), 1);
}

#[test]
fn cb_7_failures_at_the_threshold_open_it_once() {
    check!(no_failure_is_lost, 3, Flaw::LosesFailures);
}

/// CB8: while somebody looks, nobody loses a place.
fn looking_takes_nothing<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let looks = {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || breaker.looks_free(3))
    };
    let asked = breaker.try_acquire(3);
    looks.join().expect("no panic");
    assert!(asked.is_some(), "the one who asks gets it");
}

#[test]
fn cb_8_looking_takes_no_permit() {
    check!(looking_takes_nothing, 1, Flaw::LooksByTaking);
}

/// CB9: nobody sees it open with a deadline of before: between opening and deadline nobody is let in to try.
fn state_and_deadline_are_one<B: Breaker>(breaker: Arc<B>) {
    let (permit, _) = breaker.try_acquire(5).expect("closed");
    let asks = {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || breaker.try_acquire(5).is_some_and(|(_, changed)| changed))
    };
    assert!(breaker.record(permit, CallOutcome::Failure, 5), "it opens");
    assert!(!asks.join().expect("no panic"), "tried before its deadline");
}

#[test]
fn cb_9_state_and_deadline_are_of_one_moment() {
    check!(state_and_deadline_are_one, 1, Flaw::DeadlineComesLater);
}

/// CB10: a permit whose lease is over is dropped while another takes its place: that place stays taken.
fn the_reclaimed_frees_nothing<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let (lost, _) = breaker.try_acquire(3).expect("the first");
    let drops = {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || breaker.release(lost))
    };
    let second = breaker.try_acquire(20);
    drops.join().expect("no panic");
    assert!(second.is_some());
    assert_eq!(breaker.permits(), 1, "of the second");
}

#[test]
fn cb_10_a_reclaimed_permit_frees_nothing() {
    check!(the_reclaimed_frees_nothing, 1, Flaw::FreesTheReclaimed);
}

/// CB11: an administrator closes it while a permit is dropped: no count goes below zero, and it is closed.
fn reset_and_drop_agree<B: Breaker>(breaker: Arc<B>) {
    open(&*breaker);
    let (permit, _) = breaker.try_acquire(3).expect("the first");
    let drops = {
        let breaker = Arc::clone(&breaker);
        thread::spawn(move || breaker.release(permit))
    };
    breaker.reset(3);
    drops.join().expect("no panic");
    assert_eq!((breaker.state(), breaker.permits()), (CircuitState::Closed, 0));
}

#[test]
fn cb_11_a_reset_and_a_late_drop_agree() {
    check!(reset_and_drop_agree, 1, Flaw::FreesInTwoSteps);
}
