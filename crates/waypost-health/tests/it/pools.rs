//! Who is left of a decision, panic, administrators, new versions of a pool.

use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    CandidateId, Directives, LeftOutReason, Ratio, RoutingSnapshot, RoutingTable, RoutingTableUpdate,
};
use waypost_health::{Admission, CheckOutcome, CircuitState, HealthConfig};

use crate::rig::{Rig, answered, candidate, failed, only_breakers, pool};

#[test]
fn an_open_breaker_leaves_out_until_its_time_is_over_and_one_may_try() {
    let mut rig = Rig::of(only_breakers(), 4);
    rig.send_all(1, 5, &failed(503));
    let left = rig.left();
    assert_eq!((left.places, left.panic), (vec![0, 2, 3], false));
    assert_eq!(left.retry_after.unwrap().as_secs_f64().round(), 5.0);
    assert_eq!(rig.told(), ["p1/m: circuit open for 5.0 s (5 failures in a row)"]);
    let why = rig.of_pool.exclusion(rig.index(1), rig.now).unwrap();
    assert_eq!((why.reason, why.times, why.last_status), (LeftOutReason::CircuitOpen, 1, Some(503)));
    assert_eq!(why.to_string(), "circuit open for 5.0 s (last status 503)");

    rig.wait(5_010);
    assert_eq!(rig.places(), [0, 1, 2, 3], "somebody may try");
    let probe = rig.admit(1).unwrap();
    assert_eq!(rig.places(), [0, 2, 3], "and does");
    assert!(rig.admit(1).is_none());
    probe.settle(&answered(), rig.now);
    assert_eq!(rig.places(), [0, 1, 2, 3]);
    assert_eq!(rig.told(), ["p1/m: circuit half-open", "p1/m: circuit closed"]);
    assert_eq!(rig.pool.live(rig.index(1)).serving_since(), Some(rig.now), "slow start begins");
}

#[test]
fn cb_8_looking_takes_no_permit() {
    let mut rig = Rig::of(only_breakers(), 4);
    rig.send_all(1, 5, &failed(503));
    rig.wait(5_010);
    for _ in 0..100 {
        assert_eq!(rig.places(), [0, 1, 2, 3]);
        assert!(rig.of_pool.exclusion(rig.index(1), rig.now).is_none());
    }
    assert!(rig.told().len() == 1 && rig.admit(1).is_some());
}

#[test]
fn k02_a_dropped_admission_gives_its_place_back() {
    let mut rig = Rig::of(only_breakers(), 4);
    rig.send_all(1, 5, &failed(503));
    rig.wait(5_010);
    drop(rig.admit(1).unwrap());
    let panicked = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
        let _admission = rig.admit(1).unwrap();
        panic!("the caller's bug");
    }));
    assert!(panicked.is_err() && rig.admit(1).is_some());
}

#[test]
fn trap_10_a_shared_outage_is_panic_and_over_with_the_first_answers() {
    let mut rig = Rig::of(HealthConfig::default(), 4);
    (0..4).for_each(|place| {
        (0..5).for_each(|_| assert!(rig.send(place, &failed(503))));
    });
    let left = rig.left();
    assert_eq!((left.places.len(), left.panic, left.retry_after), (4, true, None));
    assert!(rig.send(0, &failed(503)), "panic sends to everybody");
    // The last to fail was alone before.
    assert!(rig.told().contains(&"pool m: panic, 1 of 4 are healthy".to_owned()));
    rig.wait(1_000);
    for place in 0..2 {
        assert!(rig.left().panic, "{place} of 4");
        assert!(rig.send(place, &answered()));
    }
    assert_eq!(rig.left().places, [0, 1], "half are healthy: no panic");
    assert!(rig.send(0, &answered()));
    assert_eq!(rig.told().last().unwrap(), "pool m: panic is over");
}

#[test]
fn pn_3_all_sick_is_panic_and_a_threshold_of_zero_is_none() {
    let all_sick = |threshold| {
        let rig = Rig::of(HealthConfig { panic_threshold: threshold, ..only_breakers() }, 10);
        for place in 0..10 {
            let index = rig.index(place);
            (0..5).for_each(|_| rig.of_pool.update_health(index, &failed(503), rig.now));
        }
        rig.left()
    };
    let left = all_sick(Ratio::of(1, 2));
    assert_eq!((left.places.len(), left.panic), (10, true));
    let left = all_sick(Ratio::ZERO);
    assert_eq!((left.places.len(), left.panic, left.retry_after.is_some()), (0, false, true));
}

#[test]
fn trap_32_panic_ignores_what_was_seen_and_nothing_else() {
    let mut rig = Rig::of(only_breakers(), 8);
    rig.send_all(0, 5, &failed(503));
    rig.send_all(1, 5, &failed(503));
    rig.send_all(2, 5, &failed(503));
    assert!(rig.health.disable(rig.pool[rig.index(3)].id()));
    rig.send_all(4, 1, &failed(401));
    for _ in 0..3 {
        rig.health.report_check(rig.pool[rig.index(5)].id(), CheckOutcome::Failed, rig.now);
    }
    rig.send_all(6, 1, &failed(429).retry_after(Duration::from_secs(9)));
    let left = rig.left();
    // One of the four that could be healthy is.
    assert_eq!((left.places, left.panic), (vec![0, 1, 2, 7], true));
    assert_eq!(
        left.retry_after,
        Some(Duration::from_secs(9)),
        "when the first of those that are out is back"
    );
    for place in [3, 4, 5, 6] {
        let index = rig.index(place);
        assert!(
            Admission::new(Arc::clone(&rig.of_pool), index, rig.now, true).is_none(),
            "{place}, even in panic"
        );
    }
    rig.wait(9_001);
    assert!(rig.places().contains(&6));
}

#[test]
fn an_administrators_word_wins_over_every_detector() {
    let mut rig = Rig::of(only_breakers(), 4);
    let id = rig.pool[rig.index(1)].id().clone();
    assert!(rig.health.disable(&id));
    assert_eq!(rig.places(), [0, 2, 3]);
    let why = rig.of_pool.exclusion(rig.index(1), rig.now).unwrap();
    assert_eq!((why.reason, why.remaining), (LeftOutReason::Disabled, None));
    for _ in 0..5 {
        rig.of_pool.update_health(rig.index(1), &answered(), rig.now);
        rig.health.report_check(&id, CheckOutcome::Passed, rig.now);
    }
    rig.wait(86_400_000);
    assert!(rig.places() == [0, 2, 3] && rig.admit(1).is_none());
    assert!(rig.health.enable(&id));
    assert!(rig.places() == [0, 1, 2, 3] && rig.admit(1).is_some());

    rig.send_all(1, 5, &failed(503));
    assert_eq!(rig.places(), [0, 2, 3]);
    rig.told();
    assert!(rig.health.reset(&id, rig.now));
    assert_eq!(rig.places(), [0, 1, 2, 3]);
    assert_eq!(rig.told(), ["p1/m: circuit closed"]);
    assert_eq!(rig.pool.live(rig.index(1)).serving_since(), Some(waypost_core::Timestamp::ORIGIN));
    let stranger = CandidateId { provider: "x".parse().unwrap(), model: "m".parse().unwrap() };
    assert!(!rig.health.disable(&stranger) && !rig.health.reset(&stranger, rig.now));
    assert!(rig.health.health_report(&stranger, rig.now).is_none());
}

#[test]
fn what_is_known_survives_new_versions_of_the_pool_and_a_newcomer_starts_from_nothing() {
    let health = waypost_health::HealthAwareRouter::new(only_breakers(), 1);
    let now = waypost_core::Timestamp::ORIGIN + Duration::from_secs(5);
    let add = |name: &str| RoutingTableUpdate::add(candidate(name).build().unwrap());
    let table = RoutingTable::default().updated(["a", "b", "c"].map(add)).unwrap();
    let first = RoutingSnapshot::compile(&table, None, now);
    let before = health.attach(&first.pools()[0], now);
    let b = first.pools()[0].index_of("b").unwrap();
    let late = Admission::new(&before, b, now, false).unwrap();
    (0..5).for_each(|_| before.update_health(b, &failed(503), now));

    let removed = RoutingTableUpdate::RemoveProvider { provider: "a".parse().unwrap(), model: None };
    let table = table.updated([removed, add("d")]).unwrap();
    let second = RoutingSnapshot::compile(&table, Some(&first), now);
    let after = health.attach(&second.pools()[0], now);
    let left = || {
        let mut set = second.pools()[0].all();
        after.filter_healthy(&mut set, now, &mut Directives::default());
        set.iter().map(|index| second.pools()[0][index].provider().to_string()).collect::<Vec<_>>()
    };
    assert_eq!(left(), ["c", "d"]);
    late.settle(&answered(), now);
    assert_eq!(left(), ["c", "d"], "a late success clears nothing");
    // What the old version learns, the new one knows.
    let c = first.pools()[0].index_of("c").unwrap();
    (0..5).for_each(|_| before.update_health(c, &failed(503), now));
    let new_c = second.pools()[0].index_of("c").unwrap();
    assert_eq!(after.exclusion(new_c, now).unwrap().reason, LeftOutReason::CircuitOpen);

    // Taken out and put in again: another candidate of the same name.
    let b = || "b".parse().unwrap();
    let table = table.updated([RoutingTableUpdate::RemoveProvider { provider: b(), model: None }]).unwrap();
    let third = RoutingSnapshot::compile(&table, Some(&second), now);
    let table = table.updated([add("b")]).unwrap();
    let fourth = RoutingSnapshot::compile(&table, Some(&third), now);
    let again = health.attach(&fourth.pools()[0], now);
    let report = again.report(fourth.pools()[0].index_of("b").unwrap(), now);
    assert_eq!((report.circuit, report.failed, report.exclusion), (CircuitState::Closed, 0, None));
}

#[test]
fn trap_21_threads_that_record_while_the_pool_is_replaced_lose_nothing() {
    let rig = Rig::of(HealthConfig { breaker: None, ejection: None, ..HealthConfig::default() }, 3);
    std::thread::scope(|scope| {
        for place in 0..2 {
            let rig = &rig;
            scope.spawn(move || {
                for number in 0..2_000 {
                    // Every result goes to the version that is newest to this thread.
                    let version = rig.health.attach(&rig.pool, rig.now);
                    let result = if number % 4 == 0 { failed(500) } else { answered() };
                    version.update_health(rig.index(place), &result, rig.now);
                }
            });
        }
    });
    for place in 0..2 {
        let report = rig.of_pool.report(rig.index(place), rig.now);
        assert_eq!((report.succeeded, report.failed), (1_500, 500));
        assert_eq!(report.success_rate, Ratio::new(0.75).ok());
    }
}

#[test]
fn a_candidate_of_two_models_is_sick_in_both() {
    let rig = Rig::of(only_breakers(), 3);
    let shared = Arc::clone(&rig.pool.candidates()[0]);
    let others = pool("other", ["x", "y"].map(candidate));
    let both = others.candidates().iter().map(Arc::clone).chain([shared]);
    let other = Arc::new(waypost_core::Pool::new("other".parse().unwrap(), both).unwrap());
    let of_other = rig.health.attach(&other, rig.now);
    rig.send_all(0, 5, &failed(503));
    let mut set = other.all();
    assert_eq!(of_other.filter_healthy(&mut set, rig.now, &mut Directives::default()), 1);
    assert!(!set.contains(other.index_of("p0").unwrap()));
}

#[test]
fn off_is_off() {
    let rig = Rig::of(HealthConfig::off(), 3);
    rig.send_all(0, 100, &failed(503));
    rig.send_all(1, 100, &failed(401));
    assert!(rig.places() == [0, 1, 2] && rig.told().is_empty());
    rig.health.reset(rig.pool[rig.index(0)].id(), rig.now);
    assert_eq!(rig.pool.live(rig.index(0)).health(), Ratio::ONE);
}

#[test]
fn until_when_is_until_the_last_reason_is_over_and_a_try_tells_nothing() {
    let mut rig = Rig::of(only_breakers(), 4);
    (0..5).for_each(|_| {
        let both =
            failed(503).reaching(waypost_core::FaultScope::Provider).retry_after(Duration::from_secs(2));
        rig.of_pool.update_health(rig.index(0), &both, rig.now);
    });
    let why = rig.of_pool.exclusion(rig.index(0), rig.now).unwrap();
    assert_eq!(
        (why.reason, why.remaining.unwrap().as_secs()),
        (LeftOutReason::CoolingDown, 5),
        "the breaker's"
    );
    rig.wait(5_010);
    let _probe = rig.admit(0).unwrap();
    let why = rig.of_pool.exclusion(rig.index(0), rig.now).unwrap();
    assert_eq!((why.reason, why.remaining), (LeftOutReason::CircuitHalfOpen, None));
    assert_eq!(rig.left().retry_after, None);
}

#[test]
fn a_detached_request_keeps_its_place_until_its_result_comes() {
    let mut rig = Rig::of(only_breakers(), 4);
    rig.send_all(0, 5, &failed(503));
    rig.wait(5_010);
    let mut probe = rig.admit(0).unwrap();
    probe.detach();
    drop(probe);
    assert!(rig.admit(0).is_none(), "it is under way");
    rig.of_pool.update_health(rig.index(0), &answered(), rig.now);
    assert!(rig.admit(0).is_some());
}

#[test]
fn a_listener_may_ask_about_health_whatever_it_hears() {
    let health = Arc::new(std::sync::OnceLock::<Arc<waypost_health::HealthAwareRouter>>::new());
    let (asks, heard) = (Arc::clone(&health), Arc::new(std::sync::atomic::AtomicU64::new(0)));
    let count = Arc::clone(&heard);
    let router = waypost_health::HealthAwareRouter::new(only_breakers(), 1).on_event(move |event| {
        let waypost_health::Subject::Candidate(id) = event.subject else { return };
        assert!(asks.get().unwrap().health_report(id, event.now).is_some());
        count.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
    });
    let router = Arc::new(router);
    health.set(Arc::clone(&router)).unwrap();
    let pool = pool("m", ["a", "b"].map(candidate));
    let now = waypost_core::Timestamp::ORIGIN + Duration::from_secs(5);
    let of_pool = router.attach(&pool, now);
    (0..5).for_each(|_| of_pool.update_health(pool.index(0).unwrap(), &failed(503), now));
    assert!(router.reset(pool.candidates()[0].id(), now));
    (0..3).for_each(|_| _ = router.report_check(pool.candidates()[0].id(), CheckOutcome::Failed, now));
    assert_eq!(heard.load(std::sync::atomic::Ordering::Relaxed), 3);
}

#[test]
fn when_a_pool_shrinks_those_who_are_out_beyond_the_cap_are_back() {
    let config = HealthConfig { min_samples: 5, ..crate::rig::only_ejection() };
    let mut rig = Rig::of(config, 4);
    for number in 0..60 {
        for place in 0..4 {
            rig.send(place, &if place < 2 { failed(500) } else { answered() });
        }
        rig.wait(40 + number % 2);
    }
    assert_eq!(rig.places(), [2, 3]);
    let first_two = rig.pool.candidates()[..2].iter().map(Arc::clone);
    let smaller = Arc::new(waypost_core::Pool::new("m".parse().unwrap(), first_two).unwrap());
    let of_smaller = rig.health.attach(&smaller, rig.now);
    let mut set = smaller.all();
    of_smaller.filter_healthy(&mut set, rig.now, &mut Directives::default());
    assert_eq!(set.len(), 1, "never all");
}

#[test]
fn off_leaves_administrators_and_checks_their_word() {
    let rig = Rig::of(HealthConfig::off(), 3);
    rig.health.disable(rig.pool[rig.index(0)].id());
    let checked = rig.pool[rig.index(1)].id();
    (0..3).for_each(|_| assert!(rig.health.report_check(checked, CheckOutcome::Failed, rig.now)));
    assert!(rig.places() == [2] && rig.admit(0).is_none() && rig.admit(1).is_none());
    assert_eq!(rig.left().retry_after, None, "nobody can tell");
}

#[test]
fn a_success_that_nobody_admitted_does_not_close_an_open_breaker() {
    let mut rig = Rig::of(only_breakers(), 3);
    rig.send_all(0, 5, &failed(503));
    (0..9).for_each(|_| rig.of_pool.update_health(rig.index(0), &answered(), rig.now));
    assert_eq!(rig.places(), [1, 2]);
    // Half-open it may be of the one who tries: callers that cannot hold an admission would never close it otherwise.
    rig.wait(5_010);
    drop(rig.admit(0).unwrap());
    rig.of_pool.update_health(rig.index(0), &answered(), rig.now);
    assert_eq!(rig.of_pool.report(rig.index(0), rig.now).circuit, CircuitState::Closed);
}

#[test]
fn what_is_published_goes_to_unknown_when_nobody_asks() {
    for config in [HealthConfig::default(), HealthConfig { ejection: None, ..HealthConfig::default() }] {
        let mut rig = Rig::of(HealthConfig { breaker: None, ..config }, 3);
        rig.send_all(0, 15, &failed(503));
        let published = |rig: &Rig| rig.pool.live(rig.index(0)).health().get();
        assert!(published(&rig) < 0.5);
        for _ in 0..120 {
            rig.wait(1_000);
            rig.send_all(1, 1, &answered());
        }
        assert!((published(&rig) - 0.85).abs() < 0.01, "{}", published(&rig));
    }
}

#[test]
fn active_checks_take_out_and_bring_back_and_let_an_open_breaker_be_tried() {
    let mut rig = Rig::of(only_breakers(), 3);
    let id = rig.pool[rig.index(0)].id().clone();
    rig.send_all(0, 5, &failed(503));
    let check = |outcome, times: usize| {
        (0..times).for_each(|_| assert!(rig.health.report_check(&id, outcome, rig.now)));
    };
    check(CheckOutcome::Failed, 3);
    assert_eq!(rig.of_pool.exclusion(rig.index(0), rig.now).unwrap().reason, LeftOutReason::ChecksFailed);
    check(CheckOutcome::Passed, 2);
    assert_eq!(rig.places(), [0, 1, 2], "no need to wait for the breaker's time");
    assert!(rig.send(0, &answered()));
    assert_eq!(
        rig.told()[1..],
        ["failed its checks", "passed its checks", "circuit half-open", "circuit closed"]
            .map(|t| format!("p0/m: {t}"))
    );

    // Everybody is due once per interval.
    let mut asked = [0; 3];
    for _ in 0..1_200 {
        rig.wait(100);
        for check in rig.health.due_checks(rig.now) {
            asked[rig.pool.index_of(check.candidate.provider()).unwrap().get()] += 1;
            assert_eq!(check.timeout, Duration::from_secs(5));
        }
    }
    assert!(asked.iter().all(|times| (9..=15).contains(times)), "seed 42: {asked:?}");
    assert!(rig.health.next_check().unwrap() > rig.now);
}
