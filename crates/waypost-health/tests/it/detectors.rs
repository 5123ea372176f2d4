//! Each setting has an effect; each detector takes out whom it should.

use core::time::Duration;

use waypost_core::{CandidateIndex, LeftOutReason, Ratio, Timestamp};
use waypost_health::{EjectionConfig, HealthConfig, LatencySignal, ScoreWeights};

use LatencySignal::{TimeToFirstToken, Total};

use crate::rig::{Rig, answered, answered_after, failed, only_ejection};

/// Sends to everybody for some seconds: to each of `n` candidates `per_second` requests, of which those of candidate
/// `place` fail where `fails` says so of their number.
fn run(rig: &mut Rig, seconds: u64, per_second: usize, place: usize, fails: impl Fn(usize) -> bool) {
    for _ in 0..seconds {
        for number in 0..per_second {
            for other in 0..rig.pool.len() {
                let result = if other == place && fails(number) { failed(500) } else { answered() };
                rig.send(other, &result);
            }
            rig.wait(1_000 / per_second as u64);
        }
    }
}

/// Who is ejected of `n` candidates, the first of which fails three of ten.
fn ejected(config: HealthConfig, n: usize) -> Vec<usize> {
    let mut rig = Rig::of(config, n);
    run(&mut rig, 4, 50, 0, |number| number % 10 < 3);
    let out = |place: &usize| {
        let why = rig.of_pool.exclusion(rig.index(*place), rig.now);
        why.is_some_and(|why| why.reason == LeftOutReason::Ejected)
    };
    (0..n).filter(out).collect()
}

fn ejection(change: impl FnOnce(&mut EjectionConfig)) -> HealthConfig {
    let mut config = only_ejection();
    change(config.ejection.as_mut().unwrap());
    config
}

#[test]
fn u16_three_of_ten_failing_are_ejected_from_pools_of_any_size() {
    for n in [2, 3, 4, 5, 14, 70] {
        assert_eq!(ejected(only_ejection(), n), [0], "of {n}");
    }
    assert_eq!(ejected(only_ejection(), 1), [0; 0], "never all");
}

#[test]
fn od_2_one_of_three_with_five_calls_each() {
    let few = |change: fn(&mut EjectionConfig), min_samples| {
        let config = HealthConfig { min_samples, min_health_threshold: Ratio::ZERO, ..ejection(change) };
        let mut rig = Rig::of(config, 3);
        for _ in 0..5 {
            rig.send_all(1, 1, &answered());
            rig.send_all(2, 1, &answered());
            rig.send_all(0, 1, &failed(500));
        }
        rig.wait(1_001);
        (0..3).for_each(|place| rig.send_all(place, 1, &if place == 0 { failed(500) } else { answered() }));
        let out = !rig.places().contains(&0);
        rig.wait(31_000);
        assert!(rig.places().contains(&0), "back");
        out
    };
    assert!(few(|_| (), 5));
    assert!(!few(|_| (), 7), "below the volume");
    assert!(!few(|ejection| ejection.max_ejected = Ratio::ZERO, 5), "none may be out");
    assert!(few(|ejection| ejection.success_rate = None, 5), "by percentage alone");
    assert!(few(|ejection| ejection.failure_percentage = None, 5), "by comparison alone");
    let neither =
        |ejection: &mut EjectionConfig| (ejection.success_rate, ejection.failure_percentage) = (None, None);
    assert!(!few(neither, 5), "a detector that is off ejects nobody");
}

#[test]
fn od_3_results_of_the_old_time_do_not_count_in_the_new_and_threads_lose_none() {
    let mut rig = Rig::of(only_ejection(), 3);
    let before = rig.admit(0).unwrap();
    run(&mut rig, 3, 50, 0, |_| true);
    assert!(!rig.places().contains(&0));
    rig.wait(31_000);
    assert!(rig.admit(0).is_some());
    before.settle(&failed(500), rig.now);
    let report = rig.of_pool.report(rig.index(0), rig.now);
    assert_eq!((report.failed, report.consecutive_failures), (0, 0), "it was sent before the ejection");

    let rig = Rig::of(HealthConfig { ejection: None, breaker: None, ..HealthConfig::default() }, 2);
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                (0..500).for_each(|_| assert!(rig.send(0, &failed(500)) && rig.send(1, &answered())));
            });
        }
    });
    let counts = |place| {
        let report = rig.of_pool.report(rig.index(place), rig.now);
        (report.succeeded, report.failed)
    };
    assert_eq!((counts(0), counts(1)), ((0, 2_000), (2_000, 0)));
}

#[test]
fn trap_10_what_all_do_ejects_nobody() {
    let mut rig = Rig::of(only_ejection(), 4);
    for number in 0..400 {
        (0..4).for_each(|place| {
            rig.send(place, &if number % 10 < 3 { failed(500) } else { answered_after(20_000) });
        });
        rig.wait(20);
    }
    assert_eq!(rig.told(), [""; 0], "a shared fault is nobody's");
    assert_eq!(rig.places(), [0, 1, 2, 3]);
}

#[test]
fn trap_10_however_bad_never_more_than_half_are_out() {
    let mut rig = Rig::of(only_ejection(), 5);
    for _ in 0..1_000 {
        (0..5).for_each(|place| {
            rig.send(place, &if place > 0 { failed(500) } else { answered() });
        });
        rig.wait(10);
        let out = (0..5).filter(|&place| rig.of_pool.exclusion(rig.index(place), rig.now).is_some());
        assert!(out.count() <= 2);
    }
    assert!(rig.told().iter().any(|told| told.contains("ejected")));
}

#[test]
fn trap_11_the_cap_is_each_pools_own() {
    let mut rig = Rig::of(only_ejection(), 4);
    let other = crate::rig::pool("other", ["x", "y", "z"].map(crate::rig::candidate));
    let of_other = rig.health.attach(&other, rig.now);
    run(&mut rig, 2, 50, 0, |_| true);
    run(&mut rig, 2, 50, 1, |_| true);
    assert_eq!(rig.places(), [2, 3]);
    let x = other.index(0).unwrap();
    for number in 0..100 {
        (0..3).for_each(|place| {
            let result = if place == 0 { failed(500) } else { answered() };
            of_other.update_health(other.index(place).unwrap(), &result, rig.now);
        });
        rig.now = rig.now + Duration::from_millis(20 + number % 2);
    }
    assert_eq!(of_other.exclusion(x, rig.now).unwrap().reason, LeftOutReason::Ejected);
}

#[test]
fn u16_a_third_failing_does_not_flap() {
    let mut rig = Rig::of(HealthConfig::default(), 4);
    run(&mut rig, 60, 50, 0, |number| number % 10 < 3);
    let told = rig.told();
    let times: Vec<_> =
        told.iter().filter(|told| told.contains("ejected for") || told.contains("circuit open")).collect();
    assert!((1..=3).contains(&times.len()), "{told:#?}");
}

#[test]
fn min_success_rate_excuses() {
    let excused = HealthConfig { min_success_rate: Ratio::of(6, 10), ..only_ejection() };
    assert_eq!(ejected(excused, 4), [0; 0]);
}

#[test]
fn health_window_is_the_time_that_counts() {
    let after = |window| {
        let config = HealthConfig { health_window: Duration::from_secs(window), ..only_ejection() };
        let mut rig = Rig::of(HealthConfig { ejection: None, ..config }, 2);
        rig.send_all(0, 30, &failed(500));
        rig.wait(8_000);
        rig.of_pool.report(rig.index(0), rig.now).failed
    };
    assert_eq!((after(10), after(5)), (30, 0));
}

#[test]
fn ewma_half_life_is_how_fast_the_score_forgets() {
    let after = |seconds| {
        let config = HealthConfig { ewma_half_life: Duration::from_secs(seconds), ..HealthConfig::off() };
        let mut rig = Rig::of(HealthConfig { enabled: true, breaker: None, ejection: None, ..config }, 2);
        rig.send_all(0, 100, &failed(500));
        rig.wait(5_000);
        rig.send_all(0, 100, &answered());
        rig.of_pool.report(rig.index(0), rig.now).success_rate.unwrap().get()
    };
    assert!((after(5) - 2.0 / 3.0).abs() < 0.01 && after(1) > 0.95, "{} {}", after(5), after(1));
}

#[test]
fn failure_threshold_halves_the_score_and_min_health_threshold_ejects_by_it() {
    let score = |failure_threshold| {
        let config =
            HealthConfig { failure_threshold, breaker: None, ejection: None, ..HealthConfig::default() };
        let rig = Rig::of(config, 2);
        rig.send_all(0, 1_000, &answered());
        rig.send_all(0, 5, &failed(500));
        rig.of_pool.report(rig.index(0), rig.now).overall_score.get()
    };
    assert!((score(5) / score(6) - 0.5).abs() < 0.02, "{} {}", score(5), score(6));

    // Nobody fails; the first takes six of ten seconds to its first token, and latency is all that counts.
    let slow_first = |threshold| {
        let weights = ScoreWeights { success_rate: 0.0, p50_latency: 1.0, p95_latency: 0.0 };
        let config = HealthConfig { weights, min_health_threshold: threshold, ..only_ejection() };
        let mut rig = Rig::of(config, 4);
        for _ in 0..100 {
            (0..4)
                .for_each(|place| _ = rig.send(place, &answered_after(if place == 0 { 6_000 } else { 100 })));
            rig.wait(50);
        }
        (rig.places(), rig.told())
    };
    assert_eq!(slow_first(Ratio::of(3, 10)).0, [0, 1, 2, 3]);
    let (left, told) = slow_first(Ratio::of(7, 10));
    assert_eq!(left, [1, 2, 3]);
    assert!(told[0].contains("(score 0."), "{told:?}");
}

#[test]
fn max_latencies_eject_by_the_signal_that_is_asked_for() {
    let told = |max_p50: u64, max_p95: u64, latency| {
        let config = HealthConfig {
            max_p50_latency: Duration::from_secs(max_p50),
            max_p95_latency: Duration::from_secs(max_p95),
            min_health_threshold: Ratio::ZERO,
            latency,
            ..only_ejection()
        };
        let mut rig = Rig::of(config, 3);
        for number in 0..200 {
            let slow = if number % 10 == 0 { 9_000 } else { 3_000 };
            rig.send(0, &answered_after(slow).first_token_after(Duration::from_millis(slow / 2)));
            (1..3).for_each(|place| _ = rig.send(place, &answered()));
            rig.wait(50);
        }
        rig.told().first().cloned().unwrap_or_default()
    };
    assert!(told(1, 60, TimeToFirstToken).contains("median latency 1.5 s"));
    assert!(told(10, 4, TimeToFirstToken).contains("p95 latency 4."));
    assert_eq!(told(2, 5, TimeToFirstToken), "");
    assert!(told(2, 60, Total).contains("median latency 3."));
}

#[test]
fn slow_after_and_slow_ratio_open_the_breaker() {
    let slow = |after| {
        let breaker = waypost_health::BreakerConfig {
            slow_ratio: Some(Ratio::of(1, 2)),
            slow_after: Duration::from_secs(after),
            ..waypost_health::BreakerConfig::default()
        };
        let rig =
            Rig::of(HealthConfig { breaker: Some(breaker), ejection: None, ..HealthConfig::default() }, 3);
        (0..20).for_each(|_| rig.of_pool.update_health(rig.index(0), &answered_after(4_000), rig.now));
        rig.told()
    };
    assert_eq!(slow(5), [""; 0]);
    assert!(slow(3)[0].ends_with("(20 of 20 slow)"), "{:?}", slow(3));
}

#[test]
fn ejection_interval_is_how_often_a_pool_is_looked_at() {
    let told_after = |seconds| {
        let mut rig = Rig::of(ejection(|ejection| ejection.interval = Duration::from_secs(seconds)), 4);
        run(&mut rig, 5, 50, 0, |_| true);
        rig.told().len()
    };
    assert_eq!((told_after(1), told_after(9)), (1, 0));
}

#[test]
fn who_was_ejected_for_its_score_is_not_ejected_again_for_what_histograms_remember() {
    let weights = ScoreWeights { success_rate: 0.0, p50_latency: 1.0, p95_latency: 0.0 };
    let mut rig = Rig::of(HealthConfig { weights, ..only_ejection() }, 4);
    let mut slow_first = |seconds: u64, millis: u64| {
        for _ in 0..seconds * 20 {
            (0..4).for_each(|place| {
                _ = rig.send(place, &answered_after(if place == 0 { millis } else { 100 }));
            });
            rig.wait(50);
        }
        rig.told()
    };
    let slow = slow_first(5, 6_000);
    assert!(slow.len() == 1 && slow[0].contains("(score 0."), "{slow:?}");
    assert_eq!(slow_first(80, 100), ["p0/m: back from ejection"]);
}

#[test]
fn u16_threads_that_fail_while_the_pool_is_looked_at_eject_nobody_for_nothing() {
    let config = HealthConfig { min_samples: 1, ..ejection(|ejection| ejection.interval = Duration::ZERO) };
    let rig = Rig::of(config, 2);
    std::thread::scope(|scope| {
        for place in 0..2 {
            let rig = &rig;
            scope.spawn(move || {
                for number in 0..3_000 {
                    let result = if number % 20 == 0 { failed(500) } else { answered() };
                    rig.of_pool.update_health(rig.index(place), &result, rig.now);
                }
            });
        }
    });
    // One in twenty fails, of both: what differs is chance.
    assert!(rig.told().len() <= 1, "{:?}", rig.told());
}

#[test]
fn consecutive_failures_eject_when_asked_to() {
    let rig = Rig::of(ejection(|ejection| ejection.consecutive_failures = Some(3)), 3);
    rig.send_all(0, 2, &failed(500));
    rig.send_all(0, 1, &answered());
    rig.send_all(0, 2, &failed(500));
    assert_eq!(rig.places(), [0, 1, 2]);
    rig.send_all(0, 1, &failed(500));
    assert_eq!(rig.places(), [1, 2]);
    let told = rig.told();
    assert!(told[0].ends_with("(3 failures in a row)"), "{told:?}");
}

#[test]
fn an_ejected_candidate_returns_by_slow_start_with_a_clean_slate() {
    let mut rig = Rig::of(only_ejection(), 3);
    run(&mut rig, 2, 50, 0, |_| true);
    assert_eq!(rig.pool.live(rig.index(0)).serving_since(), None, "in other pools it is not new");
    rig.wait(30_500);
    assert_eq!(rig.places(), [0, 1, 2]);
    rig.send_all(0, 1, &answered());
    assert_eq!(rig.pool.live(rig.index(0)).serving_since(), Some(rig.now));
    assert_eq!(rig.told().last().unwrap(), "p0/m: back from ejection");
    let report = rig.of_pool.report(rig.index(0), rig.now);
    assert_eq!((report.succeeded, report.failed), (1, 0));
    assert!(report.overall_score.get() > 0.8);
}

#[test]
fn a_reset_forgets_the_window_too() {
    let rig = Rig::of(HealthConfig::default(), 2);
    rig.send_all(0, 4, &failed(500));
    let id = rig.pool[rig.index(0)].id();
    assert_eq!(rig.of_pool.report(rig.index(0), rig.now).failed, 4);
    assert!(rig.health.reset(id, rig.now));
    let report = rig.of_pool.report(rig.index(0), rig.now);
    assert_eq!((report.failed, report.consecutive_failures), (0, 0));
}

#[test]
fn a_report_says_what_is_known() {
    let mut rig = Rig::of(HealthConfig { breaker: None, ejection: None, ..HealthConfig::default() }, 2);
    rig.send_all(0, 30, &answered_after(200));
    rig.send_all(0, 10, &failed(529));
    rig.wait(2_000);
    rig.send_all(0, 1, &failed(529));
    let report = rig.health.health_report(rig.pool[rig.index(0)].id(), rig.now).unwrap();
    assert_eq!((report.succeeded, report.failed, report.consecutive_failures), (30, 11, 11));
    let (rate, errors) = (report.success_rate.unwrap().get(), report.error_rate.unwrap().get());
    assert!((rate + errors - 1.0).abs() < 1e-9 && (0.7..0.75).contains(&rate), "{rate}");
    assert!((report.p50_latency.unwrap().as_secs_f64() - 0.2).abs() < 0.01);
    assert!(report.p95_latency >= report.p50_latency && report.idle == Some(Duration::ZERO));
    assert_eq!(rig.pool.live(rig.index(0)).health(), report.overall_score, "strategies see the same");
    let unknown = rig.of_pool.report(rig.index(1), Timestamp::ORIGIN);
    assert_eq!((unknown.success_rate, unknown.p50_latency, unknown.idle), (None, None, None));
    assert_eq!(rig.places(), [0, 1].map(|i| rig.index(i)).map(CandidateIndex::get));
}
