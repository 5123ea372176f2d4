use proptest::prelude::*;
use waypost_core::Ratio;

use super::*;

fn at(millis: u64) -> Timestamp {
    Timestamp::ORIGIN + Duration::from_millis(millis)
}

/// A breaker of which one kind of trip is switched on by the test.
fn config() -> BreakerConfig {
    BreakerConfig {
        consecutive_failures: 0,
        failure_ratio: None,
        open_for: Duration::from_secs(1),
        jitter: Ratio::ZERO,
        ..BreakerConfig::default()
    }
}

fn ratio(part: u64, whole: u64) -> Ratio {
    Ratio::of(part, whole)
}

/// Sends one request, if it may.
fn send(breaker: &CircuitBreaker, outcome: CallOutcome, millis: u64) -> bool {
    let permit = breaker.try_acquire(at(millis));
    permit.map(|(permit, _)| breaker.record(permit, outcome, at(millis), || 0.5)).is_some()
}

fn send_all(breaker: &CircuitBreaker, good: usize, bad: usize) {
    (0..bad).for_each(|_| assert!(send(breaker, Failure, 0)));
    (0..good).for_each(|_| assert!(send(breaker, Success, 0)));
}

use CallOutcome::{Failure, Ignored, RateLimited, SlowSuccess, Success};
use CircuitState::{Closed, HalfOpen, Open};

#[test]
fn cb_1_shut_probe_longer_shut_probe_open() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 2, ..config() });
    let (late, _) = breaker.try_acquire(at(0)).unwrap();
    assert!(send(&breaker, Failure, 0) && send(&breaker, Failure, 0));
    assert!(!send(&breaker, Success, 999));
    assert_eq!(breaker.record(late, Success, at(999), || 0.5), None, "a late success");
    assert_eq!(breaker.state(), Open);
    let (probe, changed) = breaker.try_acquire(at(1_002)).unwrap();
    assert_eq!(changed.map(|change| change.to), Some(HalfOpen));
    assert!(!send(&breaker, Success, 1_002), "a single permit");
    let opened = breaker.record(probe, Failure, at(1_010), || 0.5).unwrap();
    assert_eq!((opened.to, opened.reason, opened.streak), (Open, Some(TripReason::ProbesFailed), 2));
    assert!(!send(&breaker, Success, 3_009), "twice as long");
    assert!(send(&breaker, Success, 3_012));
    assert_eq!(breaker.state(), Closed);
    assert!(send(&breaker, Success, 3_012) && send(&breaker, Success, 3_012));
}

#[test]
fn cb_3_rate_limits_count_in_the_ratio_if_asked_and_both_at_once_is_in_a_row() {
    let counted = BreakerConfig {
        consecutive_failures: 3,
        failure_ratio: Some(ratio(1, 2)),
        min_volume: 4,
        rate_limited_counts: true,
        settled_after: Duration::ZERO,
        ..config()
    };
    let breaker = CircuitBreaker::new(counted);
    for _ in 0..3 {
        assert!(send(&breaker, RateLimited, 0));
    }
    assert_eq!((breaker.state(), breaker.consecutive_failures()), (Closed, 0), "never in a row");
    assert!(send(&breaker, RateLimited, 0));
    assert_eq!(breaker.state(), Open, "four of four");

    let without = CircuitBreaker::new(BreakerConfig { failure_ratio: None, ..counted });
    (0..50).for_each(|_| assert!(send(&without, RateLimited, 0)));
    assert_eq!(without.state(), Closed, "no ratio, no trip");

    let both = CircuitBreaker::new(BreakerConfig { min_volume: 3, ..counted });
    send_all(&both, 0, 2);
    let (permit, _) = both.try_acquire(at(0)).unwrap();
    let opened = both.record(permit, Failure, at(0), || 0.5).unwrap();
    assert_eq!((opened.reason, opened.failures), (Some(TripReason::ConsecutiveFailures), 3));

    // What settles at once opens for the first time again.
    assert!(send(&both, Success, 1_002));
    send_all_at(&both, 3, 1_003);
    let (_, reopened) = both.try_acquire(at(2_006)).unwrap();
    assert_eq!(reopened.map(|change| change.streak), Some(1));
    assert!(both.try_acquire(at(2_006)).is_none(), "only one probe");
}

fn send_all_at(breaker: &CircuitBreaker, bad: usize, millis: u64) {
    (0..bad).for_each(|_| assert!(send(breaker, Failure, millis)));
}

#[test]
fn trap_33_rate_limits_do_not_trip_by_default() {
    let breaker = CircuitBreaker::new(BreakerConfig::default());
    (0..1_000).for_each(|_| assert!(send(&breaker, RateLimited, 0)));
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn cb_4_three_of_five_open_and_four_say_nothing() {
    let by_ratio = BreakerConfig { failure_ratio: Some(ratio(1, 2)), min_volume: 5, ..config() };
    let breaker = CircuitBreaker::new(by_ratio);
    send_all(&breaker, 1, 3);
    assert_eq!(breaker.state(), Closed, "four are too few");
    let (permit, _) = breaker.try_acquire(at(0)).unwrap();
    let opened = breaker.record(permit, Success, at(0), || 0.5).unwrap();
    assert_eq!((opened.reason, opened.failures, opened.of), (Some(TripReason::FailureRatio), 3, 5));
}

/// A half-open breaker with four places and a ratio of three quarters.
fn four_places() -> (CircuitBreaker, Vec<Permit>) {
    let config = BreakerConfig {
        failure_ratio: Some(ratio(3, 4)),
        slow_ratio: Some(ratio(3, 4)),
        min_volume: 1,
        half_open_max_requests: 4,
        half_open_lease: Duration::from_secs(1),
        ..config()
    };
    let breaker = CircuitBreaker::new(config);
    assert!(send(&breaker, Failure, 0));
    let permits = (0..4).map(|_| breaker.try_acquire(at(1_002)).expect("a place").0).collect();
    assert!(breaker.try_acquire(at(1_002)).is_none(), "only four calls");
    (breaker, permits)
}

#[test]
fn cb_5_four_calls_decide() {
    let ends = |outcomes: [CallOutcome; 4]| {
        let (breaker, permits) = four_places();
        for (permit, outcome) in permits.into_iter().zip(outcomes) {
            breaker.record(permit, outcome, at(1_100), || 0.5);
        }
        breaker.state()
    };
    assert_eq!(ends([Failure, Success, Failure, Failure]), Open, "75 %");
    assert_eq!(ends([Failure, Success, Success, Success]), Closed);
    assert_eq!(ends([SlowSuccess, Success, SlowSuccess, SlowSuccess]), Open, "three of four slow");
    assert_eq!(ends([Success, Success, Success, Ignored]), HalfOpen, "three decide nothing");

    let (breaker, mut permits) = four_places();
    breaker.record(permits.pop().unwrap(), Ignored, at(1_100), || 0.5);
    assert!(breaker.try_acquire(at(1_100)).is_some(), "an ignored call gives its permit back");
    assert!(breaker.try_acquire(at(1_100)).is_none());
    assert!(breaker.try_acquire(at(2_200)).is_some(), "and what is lost does not last");
}

#[test]
fn cb_7_the_threshold_is_inclusive_and_the_volume_too() {
    let opens = |total: usize, failed: usize, min_volume, percent| {
        let by_ratio = BreakerConfig { failure_ratio: Some(ratio(percent, 100)), min_volume, ..config() };
        let breaker = CircuitBreaker::new(by_ratio);
        send_all(&breaker, 0, failed);
        (0..total - failed).for_each(|_| _ = send(&breaker, Success, 0));
        breaker.state() == Open
    };
    assert!(!opens(10, 0, 10, 10));
    assert!(opens(10, 1, 10, 10));
    assert!(opens(11, 3, 10, 10));
    assert!(!opens(9, 1, 10, 10));
}

#[test]
fn cb_9_one_test_an_abandoned_one_recovers_and_low_volume_does_nothing() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 5, ..config() });
    send_all(&breaker, 0, 4);
    assert_eq!(breaker.state(), Closed, "four of five");
    assert!(send(&breaker, Failure, 0));
    let (abandoned, _) = breaker.try_acquire(at(1_002)).unwrap();
    assert!(breaker.try_acquire(at(1_002)).is_none());
    breaker.release(abandoned);
    assert!(send(&breaker, Success, 1_003));
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn cb_10_five_of_ten_trip_four_do_not() {
    let of_ten = |failed| {
        let by_ratio = BreakerConfig { failure_ratio: Some(ratio(1, 2)), min_volume: 10, ..config() };
        let breaker = CircuitBreaker::new(by_ratio);
        send_all(&breaker, 10 - failed, failed);
        breaker.state()
    };
    assert_eq!((of_ten(5), of_ten(4)), (Open, Closed));
}

#[test]
fn cb_10_of_ten_at_once_with_three_permits_seven_are_refused_and_change_nothing() {
    let three = BreakerConfig { consecutive_failures: 1, half_open_max_requests: 3, ..config() };
    let breaker = CircuitBreaker::new(three);
    assert!(send(&breaker, Failure, 0));
    let admitted = at_once(&breaker, 10, at(1_002));
    assert_eq!(admitted.len(), 3);
    for permit in admitted {
        breaker.record(permit, Success, at(1_010), || 0.5);
    }
    assert_eq!(breaker.state(), Closed);
}

/// What `n` threads get that ask at the same time.
fn at_once(breaker: &CircuitBreaker, n: usize, now: Timestamp) -> Vec<Permit> {
    let barrier = std::sync::Barrier::new(n);
    let asks = || {
        barrier.wait();
        breaker.try_acquire(now).map(|(permit, _)| permit)
    };
    std::thread::scope(|scope| {
        let threads: Vec<_> = (0..n).map(|_| scope.spawn(asks)).collect();
        threads.into_iter().filter_map(|thread| thread.join().expect("no panic")).collect()
    })
}

#[test]
fn k01_a_thousand_callers_at_the_deadline_make_one_probe() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
    assert!(send(&breaker, Failure, 0));
    let mut probes = at_once(&breaker, 1_000, at(1_002));
    assert_eq!(probes.len(), 1);
    assert!(breaker.record(probes.remove(0), Success, at(1_010), || 0.5).is_some());
}

#[test]
fn k02_and_trap_23_a_probe_that_never_returns_frees_its_place_with_its_lease() {
    let lease =
        BreakerConfig { consecutive_failures: 1, half_open_lease: Duration::from_secs(2), ..config() };
    let breaker = CircuitBreaker::new(lease);
    assert!(send(&breaker, Failure, 0));
    let (lost, _) = breaker.try_acquire(at(1_002)).unwrap();
    assert!(breaker.try_acquire(at(3_000)).is_none());
    let (second, changed) = breaker.try_acquire(at(3_005)).unwrap();
    assert_eq!(changed, None, "half-open it was");
    breaker.release(lost);
    assert!(breaker.try_acquire(at(3_006)).is_none(), "the place is no longer the lost one's to give back");
    breaker.record(second, Success, at(3_010), || 0.5);
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn k03_results_of_before_the_opening_change_nothing() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
    let late: Vec<_> = (0..4).map(|_| breaker.try_acquire(at(0)).unwrap().0).collect();
    assert!(send(&breaker, Failure, 0));
    let (probe, _) = breaker.try_acquire(at(1_002)).unwrap();
    let mut outcomes = [Success, Failure, Ignored, SlowSuccess].into_iter();
    for permit in late {
        assert_eq!(breaker.record(permit, outcomes.next().unwrap(), at(1_003), || 0.5), None);
        assert_eq!(breaker.state(), HalfOpen);
        assert!(breaker.try_acquire(at(1_003)).is_none(), "the probe's place is taken still");
    }
    breaker.record(probe, Success, at(1_004), || 0.5);
    assert_eq!((breaker.state(), breaker.consecutive_failures()), (Closed, 0));
}

#[test]
fn od_6_dead_probing_closed_and_dead_again_with_the_next_backoff() {
    let settles_at_once =
        BreakerConfig { consecutive_failures: 1, settled_after: Duration::ZERO, ..config() };
    let breaker = CircuitBreaker::new(settles_at_once);
    assert!(send(&breaker, Failure, 0));
    let mut now = 0;
    for seconds in [1, 2, 4] {
        now += seconds * 1_000 + 3;
        assert!(!send(&breaker, Failure, now - 10), "{seconds} s");
        let (probe, _) = breaker.try_acquire(at(now)).unwrap();
        breaker.record(probe, Ignored, at(now), || 0.5);
        assert_eq!(breaker.state(), HalfOpen, "an ignored result lets the next one probe");
        assert!(send(&breaker, Failure, now));
        assert_eq!(breaker.state(), Open);
    }
    now += 8_003;
    assert!(send(&breaker, Success, now), "alive again");
    assert!(send(&breaker, Failure, now + 1));
    assert!(send(&breaker, Success, now + 1_005), "after a success from the start");
}

#[test]
fn u22_flapping_makes_the_open_time_grow_until_it_is_settled() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
    let mut now = 0;
    for seconds in [1, 2, 4, 8] {
        assert!(send(&breaker, Failure, now));
        assert!(!send(&breaker, Success, now + seconds * 1_000 - 5));
        now += seconds * 1_000 + 3;
        assert!(send(&breaker, Success, now), "closed after {seconds} s");
    }
    now += 61_000;
    assert!(send(&breaker, Failure, now));
    assert!(send(&breaker, Success, now + 1_003), "settled for a minute: from the start");
}

#[test]
fn slow_answers_open_it_too() {
    let by_slow = BreakerConfig { slow_ratio: Some(ratio(1, 2)), min_volume: 4, ..config() };
    let breaker = CircuitBreaker::new(by_slow);
    assert!(send(&breaker, SlowSuccess, 0) && send(&breaker, Success, 0) && send(&breaker, Success, 0));
    let (permit, _) = breaker.try_acquire(at(0)).unwrap();
    let opened = breaker.record(permit, SlowSuccess, at(0), || 0.5).unwrap();
    assert_eq!((opened.reason, opened.failures, opened.of), (Some(TripReason::SlowRatio), 2, 4));
}

#[test]
fn failures_expire_with_the_window_and_a_later_success_may_complete_the_volume() {
    let by_ratio = BreakerConfig {
        failure_ratio: Some(ratio(1, 2)),
        min_volume: 4,
        window: Duration::from_secs(2),
        ..config()
    };
    let breaker = CircuitBreaker::new(by_ratio);
    send_all(&breaker, 0, 3);
    for _ in 0..9 {
        assert!(send(&breaker, Failure, 2_300) || breaker.state() == Open);
        if breaker.state() == Open {
            break;
        }
    }
    assert_eq!(
        (breaker.state(), breaker.window.counts(0, at(2_300)).failed),
        (Open, 4),
        "the first three do not count"
    );
    let breaker = CircuitBreaker::new(by_ratio);
    send_all(&breaker, 0, 3);
    assert!(send(&breaker, Success, 1_500));
    assert_eq!(breaker.state(), Open, "the fourth result completes the volume");
    let breaker = CircuitBreaker::new(by_ratio);
    send_all(&breaker, 0, 3);
    (0..50).for_each(|_| assert!(send(&breaker, Success, 2_500)));
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn thresholds_are_inclusive_whatever_is_rounded() {
    let percent = BreakerConfig { failure_ratio: Some(ratio(28, 100)), min_volume: 25, ..config() };
    let breaker = CircuitBreaker::new(percent);
    send_all(&breaker, 0, 7);
    (0..18).for_each(|_| _ = send(&breaker, Success, 0));
    assert_eq!(breaker.state(), Open);
}

#[test]
fn a_slow_answer_in_panic_closes_it_too() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
    assert!(send(&breaker, Failure, 0));
    let (anyway, _) = breaker.acquire_anyway(at(10));
    breaker.record(anyway, SlowSuccess, at(20), || 0.5);
    assert_eq!(breaker.state(), Closed);
}

#[test]
fn a_slow_answer_closes_it_unless_slowness_opens_it() {
    for (slow_ratio, ends) in [(None, Closed), (Some(ratio(1, 2)), Open)] {
        let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, slow_ratio, ..config() });
        assert!(send(&breaker, Failure, 0) && send(&breaker, SlowSuccess, 1_002));
        assert_eq!(breaker.state(), ends);
    }
}

#[test]
fn a_success_let_in_while_open_closes_it_and_one_of_before_does_not() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
    let (before, _) = breaker.try_acquire(at(0)).unwrap();
    assert!(send(&breaker, Failure, 0));
    let (anyway, _) = breaker.acquire_anyway(at(10));
    assert_eq!(breaker.record(before, Success, at(20), || 0.5), None);
    assert_eq!(breaker.record(anyway, Success, at(20), || 0.5).map(|change| change.to), Some(Closed));
    assert!(send(&breaker, Failure, 30));
    let (failing, _) = breaker.acquire_anyway(at(40));
    assert_eq!(breaker.record(failing, Failure, at(50), || 0.5), None, "it is open as it was");
}

#[test]
fn an_administrator_closes_it_and_a_check_lets_it_be_tried() {
    let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
    assert!(send(&breaker, Failure, 0));
    assert_eq!(breaker.let_try(at(5)).map(|change| change.to), Some(HalfOpen));
    assert_eq!(breaker.let_try(at(5)), None);
    let (probe, _) = breaker.try_acquire(at(5)).unwrap();
    assert_eq!(breaker.reset(at(6)).map(|change| change.to), Some(Closed));
    assert_eq!(breaker.reset(at(6)), None);
    assert_eq!(breaker.record(probe, Failure, at(7), || 0.5), None);
    assert_eq!((breaker.state(), breaker.streak()), (Closed, 0));
}

#[test]
fn a_month_of_idleness_ends_every_deadline() {
    for days in [1, 26, 49, 60, 365] {
        let breaker = CircuitBreaker::new(BreakerConfig { consecutive_failures: 1, ..config() });
        assert!(send(&breaker, Failure, 1_000));
        assert!(send(&breaker, Success, 1_000 + days * 86_400_000), "{days} days");
    }
}

#[test]
fn extreme_settings_do_not_panic() {
    for extreme in [Duration::ZERO, Duration::MAX] {
        let breaker = CircuitBreaker::new(BreakerConfig {
            consecutive_failures: 1,
            failure_ratio: Some(Ratio::ZERO),
            window: extreme,
            open_for: extreme,
            open_at_most: extreme,
            settled_after: extreme,
            half_open_lease: extreme,
            half_open_max_requests: 0,
            min_volume: 0,
            ..config()
        });
        for millis in [0, 1, 10_000_000, u64::MAX / 1_000_000] {
            for outcome in [Success, Failure, SlowSuccess, RateLimited, Ignored] {
                send(&breaker, outcome, millis);
            }
        }
    }
}

/// What may happen to a breaker.
#[derive(Debug, Clone, Copy)]
enum Step {
    Acquire,
    Anyway,
    /// Ends the n-th of those under way.
    End(usize, CallOutcome),
    Release(usize),
    Lose(usize),
    Wait(u64),
    Reset,
    LetTry,
}

fn step() -> impl Strategy<Value = Step> {
    let outcome = prop::sample::select(vec![Success, SlowSuccess, Failure, RateLimited, Ignored]);
    prop_oneof![
        6 => Just(Step::Acquire),
        1 => Just(Step::Anyway),
        6 => (0..8_usize, outcome).prop_map(|(n, outcome)| Step::End(n, outcome)),
        2 => (0..8_usize).prop_map(Step::Release),
        1 => (0..8_usize).prop_map(Step::Lose),
        3 => (0..3_000_u64).prop_map(Step::Wait),
        1 => Just(Step::Reset),
        1 => Just(Step::LetTry),
    ]
}

proptest! {
    /// Promise 4 over random histories: never more permits than places in a generation, none lost, and a result of
    /// another generation changes nothing.
    #[test]
    fn promise_4_permits_and_generations(steps in prop::collection::vec(step(), 1..200), places in 1_u8..4) {
        let lease = Duration::from_secs(2);
        let config = BreakerConfig {
            consecutive_failures: 2, half_open_max_requests: places, half_open_lease: lease, ..config()
        };
        let breaker = CircuitBreaker::new(config);
        let (mut now, mut under_way) = (0_u64, Vec::<Permit>::new());
        for step in steps {
            let before = Word(breaker.word.load(Ordering::Relaxed));
            match step {
                Step::Acquire => under_way.extend(breaker.try_acquire(at(now)).map(|(permit, _)| permit)),
                Step::Anyway => under_way.push(breaker.acquire_anyway(at(now)).0),
                Step::End(n, outcome) if n < under_way.len() => {
                    let permit = under_way.swap_remove(n);
                    let stale = permit.generation != before.generation();
                    let changed = breaker.record(permit, outcome, at(now), || 0.5);
                    if stale {
                        prop_assert_eq!(changed, None);
                        prop_assert_eq!(Word(breaker.word.load(Ordering::Relaxed)), before);
                    }
                }
                Step::Release(n) if n < under_way.len() => breaker.release(under_way.swap_remove(n)),
                Step::Lose(n) if n < under_way.len() => drop(under_way.swap_remove(n)),
                Step::Wait(millis) => now += millis,
                Step::Reset => drop(breaker.reset(at(now))),
                Step::LetTry => drop(breaker.let_try(at(now))),
                _ => {}
            }
            let word = Word(breaker.word.load(Ordering::Relaxed));
            let held = under_way.iter().filter(|p| p.held && p.generation == word.generation()).count();
            prop_assert!(word.permits() <= u32::from(places) && held as u32 <= word.permits());
        }
        // Whatever was: when every deadline is over, somebody may try.
        now += 400_000;
        prop_assert!(breaker.try_acquire(at(now)).is_some());
    }
}
