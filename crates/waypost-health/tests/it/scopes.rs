//! Cool-downs and faults that reach further than one candidate.

use core::time::Duration;

use waypost_core::{FaultScope, LeftOutReason};
use waypost_health::{CoolDownConfig, HealthConfig};

use crate::rig::{Rig, answered, candidate, failed, only_breakers};

fn seconds(seconds: u64) -> Duration {
    Duration::from_secs(seconds)
}

#[test]
fn u12_a_429_cools_down_and_does_not_trip() {
    let mut rig = Rig::of(HealthConfig::default(), 4);
    rig.send_all(0, 1, &failed(429).retry_after(seconds(7)));
    let left = rig.left();
    assert_eq!((left.places, left.retry_after), (vec![1, 2, 3], Some(seconds(7))));
    assert_eq!(rig.of_pool.exclusion(rig.index(0), rig.now).unwrap().reason, LeftOutReason::CoolingDown);
    // Those that were under way when the first came back.
    (0..50).for_each(|_| rig.of_pool.update_health(rig.index(0), &failed(429), rig.now));
    assert_eq!(rig.left().retry_after, Some(seconds(7)), "a shorter rest does not shorten a longer one");
    rig.wait(7_000);
    assert!(rig.places() == [0, 1, 2, 3] && rig.told().is_empty());
    let report = rig.of_pool.report(rig.index(0), rig.now);
    assert_eq!((report.failed, report.consecutive_failures), (0, 0), "it is well");
}

#[test]
fn u12_a_sink_that_does_not_say_how_long_gets_less_than_one_request_a_second() {
    let mut rig = Rig::of(HealthConfig::default(), 4);
    let mut sent = 0;
    for _ in 0..3_000 {
        let place = rig.places()[0];
        sent += usize::from(place == 0);
        rig.send_all(place, 1, &if place == 0 { failed(429) } else { answered() });
        rig.wait(20);
    }
    assert!((28..=60).contains(&sent), "{sent} in a minute");
}

#[test]
fn u12_zero_is_no_hint_and_the_times_are_the_settings() {
    let cool_down =
        CoolDownConfig { without_hint: seconds(3), at_most: seconds(40), refused_credential: seconds(50) };
    let mut rig = Rig::of(HealthConfig { cool_down, ..HealthConfig::default() }, 5);
    rig.send_all(0, 1, &failed(429).retry_after(Duration::ZERO));
    rig.send_all(1, 1, &failed(429));
    rig.send_all(2, 1, &failed(429).retry_after(seconds(60)));
    rig.send_all(3, 1, &failed(401));
    let mut back = Vec::new();
    for second in 1..=60 {
        rig.wait(1_000);
        back.push((second, rig.places().len()));
    }
    back.dedup_by_key(|(_, left)| *left);
    assert_eq!(back, [(1, 1), (3, 3), (40, 4), (50, 5)]);
}

#[test]
fn a_late_refusal_of_a_key_that_was_reset_benches_nobody() {
    let rig = two_by_two();
    let late = rig.admit(0).unwrap();
    rig.send_all(1, 1, &failed(401));
    assert!(rig.health.reset(rig.pool[rig.index(0)].id(), rig.now));
    late.settle(&failed(401), rig.now);
    assert_eq!(rig.places().len(), 9);
}

#[test]
fn u13_all_limited_is_an_empty_set_with_the_shortest_wait_and_no_panic() {
    let rig = Rig::of(HealthConfig::default(), 3);
    for (place, wait) in [(0, 30), (1, 3), (2, 60)] {
        rig.send_all(place, 1, &failed(429).retry_after(seconds(wait)));
    }
    let left = rig.left();
    assert_eq!((left.places.len(), left.panic, left.retry_after), (0, false, Some(seconds(3))));
}

#[test]
fn u14_nonsense_in_retry_after_is_clamped() {
    let mut rig = Rig::of(HealthConfig::default(), 3);
    rig.send_all(0, 1, &failed(429).retry_after(Duration::MAX));
    rig.send_all(1, 1, &failed(503).retry_after(Duration::ZERO));
    let left = rig.left();
    assert_eq!((left.places, left.retry_after), (vec![1, 2], Some(seconds(300))));
    rig.wait(300_001);
    assert_eq!(rig.places(), [0, 1, 2]);
}

#[test]
fn a_503_that_says_when_to_come_back_is_obeyed_and_counts() {
    let rig = Rig::of(HealthConfig::default(), 3);
    rig.send_all(0, 1, &failed(503).retry_after(seconds(4)));
    assert_eq!(rig.left().retry_after, Some(seconds(4)));
    assert_eq!(rig.of_pool.report(rig.index(0), rig.now).consecutive_failures, 1);
}

#[test]
fn what_is_not_the_providers_fault_moves_nothing() {
    let rig = Rig::of(HealthConfig::default(), 3);
    for status in [400, 404, 413, 422, 499] {
        rig.send_all(0, 50, &failed(status));
    }
    rig.send_all(0, 50, &failed(500).reaching(FaultScope::Request));
    rig.send_all(0, 50, &waypost_core::RequestResult::cancelled(seconds(1)));
    let report = rig.of_pool.report(rig.index(0), rig.now);
    assert_eq!((report.succeeded, report.failed, report.idle, report.exclusion), (0, 0, None, None));
    assert!(rig.told().is_empty());
}

/// Two providers with two models each; of the first, two candidates use one credential of a name.
fn two_by_two() -> Rig {
    let at = |provider: &str, model: &str| waypost_core::ProviderCandidate::azure(provider, model);
    Rig::with(
        only_breakers(),
        [
            at("a", "m").credential("team").region("eu"),
            at("a", "n").credential("team").region("us"),
            at("a", "o").credential("other").region("us"),
            at("b", "m").region("eu"),
            at("b", "n").region("us"),
            candidate("c"),
            candidate("d"),
            candidate("e"),
            candidate("f"),
        ],
    )
}

#[test]
fn u30_a_refused_key_benches_its_candidates_and_nobody_else() {
    let mut rig = two_by_two();
    rig.send_all(0, 1, &failed(401));
    assert_eq!(rig.places(), [2, 3, 4, 5, 6, 7, 8]);
    assert_eq!(
        rig.of_pool.exclusion(rig.index(1), rig.now).unwrap().reason,
        LeftOutReason::CredentialRefused
    );
    rig.send_all(4, 1, &failed(402));
    assert_eq!(rig.places(), [2, 5, 6, 7, 8], "without a name, a provider has one credential");
    rig.wait(300_001);
    rig.send_all(3, 1, &failed(403));
    assert_eq!(rig.places(), [0, 1, 2, 4, 5, 6, 7, 8], "permissions are a model's");
}

#[test]
fn faults_of_a_provider_open_a_breaker_for_all_its_models() {
    let mut rig = two_by_two();
    for _ in 0..2 {
        rig.send_all(0, 1, &failed(529).reaching(FaultScope::Provider));
        rig.send_all(1, 1, &failed(529).reaching(FaultScope::Provider));
    }
    assert_eq!(rig.places().len(), 9);
    rig.send_all(2, 1, &failed(529).reaching(FaultScope::Provider));
    assert_eq!(rig.places(), [3, 4, 5, 6, 7, 8]);
    assert_eq!(rig.told(), ["provider a: circuit open for 5.0 s (5 failures in a row)"]);
    rig.wait(5_010);
    let probe = rig.admit(1).unwrap();
    assert!(rig.admit(0).is_none() && rig.admit(2).is_none(), "one tries for all");
    assert_eq!(rig.places(), [3, 4, 5, 6, 7, 8]);
    probe.settle(&answered(), rig.now);
    assert_eq!(rig.places().len(), 9);
}

#[test]
fn k03_late_results_change_no_shared_breaker() {
    let mut rig = two_by_two();
    let late: Vec<_> = (0..5).map(|_| rig.admit(1).unwrap()).collect();
    let fault = failed(529).reaching(FaultScope::Provider);
    (0..5).for_each(|number| rig.send_all(if number % 2 == 0 { 0 } else { 2 }, 1, &fault));
    rig.wait(5_010);
    rig.send_all(2, 1, &answered());
    let told = ["circuit open for 5.0 s (5 failures in a row)", "circuit half-open", "circuit closed"];
    assert_eq!(rig.told(), told.map(|what| format!("provider a: {what}")));
    late.into_iter().for_each(|admission| admission.settle(&fault, rig.now));
    assert!(rig.told().iter().all(|what| what.starts_with("a/n")), "its own at most");
}

#[test]
fn faults_of_a_region_stay_there_and_successes_of_others_keep_it_closed() {
    let rig = two_by_two();
    for _ in 0..4 {
        rig.send_all(1, 1, &failed(503).reaching(FaultScope::Region));
    }
    rig.send_all(4, 1, &answered());
    rig.send_all(2, 1, &failed(503).reaching(FaultScope::Region));
    assert_eq!(rig.places().len(), 9, "another candidate there answered in between");
    rig.send_all(2, 4, &failed(503).reaching(FaultScope::Region));
    assert_eq!(rig.places(), [0, 3, 5, 6, 7, 8]);
    // A request that never got to the region's breaker brings its own permit back.
    assert!(rig.admit(4).is_none());
    assert_eq!(rig.of_pool.exclusion(rig.index(4), rig.now).unwrap().reason, LeftOutReason::CircuitOpen);
}

#[test]
fn a_cool_down_rests_whom_its_scope_says() {
    let rig = two_by_two();
    rig.send_all(0, 1, &failed(429).reaching(FaultScope::Credential).retry_after(seconds(5)));
    assert_eq!(rig.places(), [2, 3, 4, 5, 6, 7, 8]);
    rig.send_all(5, 1, &failed(429).reaching(FaultScope::Region).retry_after(seconds(5)));
    assert_eq!(rig.places(), [2, 3, 4, 6, 7, 8], "without a region it is its own");
}
