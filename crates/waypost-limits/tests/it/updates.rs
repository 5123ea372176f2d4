//! Limits that change while they are used.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use waypost_core::{NanoUsd, Timestamp};
use waypost_limits::{Budget, Limit, LimitChange, Period, Rate};

use crate::rig::{ask, at, id, limits, money, purse, used};

/// TB9 from outside: nobody gets a second burst by a change of the rate, faster or slower.
#[test]
fn what_was_taken_stays_taken() {
    for (before, after) in [(500, 10), (10, 500), (100, 100)] {
        let rate = |quota| Limit::requests(id("rate"), Rate::per_minute(quota).unwrap());
        let first = limits([rate(before)]);
        let got = std::iter::from_fn(|| ask().reserve(&first)).count() as u64;
        assert_eq!(got, before);
        let second = first.updated([rate(after)], at(0)).unwrap();
        let more = std::iter::from_fn(|| ask().reserve(&second)).count() as u64;
        assert!(got + more <= before.max(after), "{before} → {after}: {more} more at once");
        // And nobody waits longer than what was taken takes at the new rate.
        let minutes = 1 + before / after;
        assert!(ask().at(60_000 * minutes).reserve(&second).is_some(), "{before} → {after}");
    }
}

#[test]
fn a_budget_carries_over_with_what_runs() {
    let first = limits([purse("all", 10)]);
    let reservation = ask().pay(&first, 4).unwrap();
    let second = first.updated([purse("all", 20), purse("other", 5)], at(0)).unwrap();
    assert_eq!(money(&second, "all", &ask()), (0, 4, 16));
    reservation.settle(used(0), Some(NanoUsd(3)), at(0));
    assert_eq!(money(&second, "all", &ask()), (3, 0, 17));
    let third = second.updated([purse("all", 2)], at(0)).unwrap();
    assert!(ask().pay(&third, 1).is_none(), "more is spent than there is now");
    // Another period is another budget.
    let daily = Limit::budget(id("all"), Budget::new(NanoUsd(2), Period::DAY));
    let fourth = third.updated([daily], at(0)).unwrap();
    assert!(ask().pay(&fourth, 2).is_some());
}

/// Half, four fifths, all: each told once, however many requests end at once.
#[test]
fn thresholds_are_told_once() {
    let told = Arc::new([const { AtomicU64::new(0) }; 101]);
    let count = Arc::clone(&told);
    let budget = Budget::new(NanoUsd(1_000), Period::TOTAL).softly();
    let limits = limits([Limit::budget(id("soft"), budget)]).on_event(move |event| {
        if let LimitChange::ThresholdReached { percent, settled, of } = event.change {
            assert!(settled.0 * 100 >= of.0 * u64::from(percent));
            count[usize::from(percent)].fetch_add(1, Ordering::Relaxed);
        }
    });
    std::thread::scope(|scope| {
        for _ in 0..4 {
            scope.spawn(|| {
                for _ in 0..300 {
                    let ask = ask();
                    ask.pay(&limits, 1).unwrap().settle(used(0), Some(NanoUsd(1)), ask.now);
                }
            });
        }
    });
    let told: Vec<_> = [50, 80, 100].map(|percent: usize| told[percent].load(Ordering::Relaxed)).into();
    assert_eq!(told, [1, 1, 1]);
    assert_eq!(money(&limits, "soft", &ask()).0, 1_200, "soft: told of, not refused");
}

/// Requests run while limits are replaced: what is admitted in all keeps to the greater of both rates.
#[test]
fn changed_while_threads_take() {
    let swaps = if cfg!(miri) { 20 } else { 2_000 };
    let rate = |quota| Limit::requests(id("rate"), Rate::per_second(quota).unwrap().burst(100).unwrap());
    let cell = waypost_core::SnapshotCell::new(limits([rate(100)]));
    let (granted, clock) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..2 {
            scope.spawn(|| {
                for _ in 0..20 * swaps {
                    let mut ask = ask();
                    ask.now = Timestamp::from_nanos(clock.fetch_add(50_000, Ordering::Relaxed));
                    granted.fetch_add(u64::from(ask.reserve(&cell.load()).is_some()), Ordering::Relaxed);
                }
            });
        }
        for swap in 0..swaps {
            let now = Timestamp::from_nanos(clock.load(Ordering::Relaxed));
            cell.update(|limits| limits.updated([rate(100 + 100 * (swap % 2))], now)).unwrap();
        }
    });
    let most = 100 + 200 * clock.into_inner() / 1_000_000_000;
    let granted = granted.into_inner();
    assert!(granted <= most, "{granted} of {most}");
}

/// A rate that is raised or lowered admits what it says from then on, and fair shares that are added count.
#[test]
fn a_changed_rate_admits_what_it_says() {
    for (before, after) in [(100, 2_000), (100, 5_000), (100, 12_000), (2_000, 100), (1_000, 60_000_000)] {
        let rate = |quota| Limit::tokens(id("rate"), Rate::per_minute(quota).unwrap().burst(1).unwrap());
        let first = limits([rate(before)]);
        assert!(ask().tokens(1).reserve(&first).is_some());
        let second = first.updated([rate(after)], at(0)).unwrap();
        let step = (60_000_000_000 / after).max(1);
        let admitted = |number: u64| {
            let mut one = ask().tokens(1);
            one.now = Timestamp::from_nanos(60_000_000_000 + number * step);
            one.reserve(&second).is_some()
        };
        let asked = after.min(10_000);
        let got = (0..asked).filter(|&number| admitted(number)).count() as u64;
        assert!(
            got + 1 >= asked / 2 && got >= asked * 9 / 10 || step == 1_000,
            "{before} → {after}: {got} of {asked}"
        );
    }
}

#[test]
fn fair_shares_may_be_added() {
    let rate = || Limit::requests(id("rate"), Rate::per_second(100).unwrap());
    let first = limits([rate()]);
    let second = first.updated([rate().shared_fairly_by(waypost_limits::Dimension::Tenant)], at(0)).unwrap();
    let others = |second: &waypost_limits::Limits| {
        (0..5).all(|number| ask().of_tenant(&format!("tenant-{number}")).reserve(second).is_some())
    };
    assert!(others(&second));
    let flood = std::iter::from_fn(|| ask().of_tenant("flood").reserve(&second)).count();
    assert!(flood < 90, "{flood}: the rest is for others");
    assert!(others(&second), "who have used little");
}
