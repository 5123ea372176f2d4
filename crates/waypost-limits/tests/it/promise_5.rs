//! Promise 5: settled + reserved ≤ limit at every instant; nothing lost or counted twice.

use std::time::{Duration, SystemTime};

use proptest::prelude::*;
use waypost_core::NanoUsd;
use waypost_limits::{Budget, Limit, Limits, LimitsConfig, Period, Reservation};

use crate::rig::{Ask, ask, at, id, money, purse, used};

#[derive(Debug, Clone)]
enum Step {
    /// A request of a tenant's user that should cost so much.
    Ask {
        user: u8,
        cost: u64,
    },
    /// One that runs ends and cost a share of what was expected, in percent.
    Settle {
        which: usize,
        percent: u64,
    },
    /// One that runs is given up, or its task panics.
    Drop(usize),
    Release(usize),
    /// One is never heard of again: its lease must end.
    Leak(usize),
    /// Time passes, in seconds.
    Wait(u64),
}

fn step() -> impl Strategy<Value = Step> {
    let any = any::<usize>;
    prop_oneof![
        6 => (0..3_u8, 0..400_u64).prop_map(|(user, cost)| Step::Ask { user, cost }),
        4 => (any(), 0..=150_u64).prop_map(|(which, percent)| Step::Settle { which, percent }),
        1 => any().prop_map(Step::Drop),
        1 => any().prop_map(Step::Release),
        1 => any().prop_map(Step::Leak),
        3 => (0..400_u64).prop_map(Step::Wait),
    ]
}

/// The sequential account that the shipped one is checked against.
#[derive(Debug, Default, Clone)]
struct Oracle {
    settled: u64,
    /// Since when, and how much.
    open: Vec<(u64, u64)>,
}

fn hour(seconds: u64) -> SystemTime {
    SystemTime::UNIX_EPOCH + Duration::from_secs(seconds)
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 1_500, ..ProptestConfig::default() })]

    /// Three levels: the user's hour, the tenant's day, and all time. Whatever happens, none holds more than its limit
    /// but for what requests cost more than expected, each is settled once, and at the end nothing is reserved.
    #[test]
    fn every_level_holds_at_every_instant(steps in proptest::collection::vec(step(), 1..150)) {
        let lease = 300;
        let mut config = LimitsConfig::default();
        config.lease = Duration::from_secs(lease);
        let budget = |amount, period| Budget::new(NanoUsd(amount), period);
        let limits = Limits::new(
            [
                Limit::budget(id("user"), budget(500, Period::HOUR)).per(waypost_limits::Dimension::User),
                Limit::budget(id("tenant"), budget(1_500, Period::DAY)),
                purse("all", 4_000),
            ],
            config,
            at(0),
        )
        .unwrap();
        let (mut seconds, mut excess, mut spent_in_all) = (0_u64, 0_u64, 0_u64);
        let mut running: Vec<(u64, u64, Reservation)> = Vec::new();
        let mut all = Oracle::default();
        for step in steps {
            let this = |seconds: u64| ask().at(1_000 * seconds).on(hour(seconds));
            match step {
                Step::Ask { user, cost } => {
                    let one = this(seconds).of_user(&format!("user-{user}"));
                    if let Some(reservation) = one.pay(&limits, cost) {
                        all.open.push((seconds, cost));
                        running.push((seconds, cost, reservation));
                    }
                }
                Step::Settle { which, percent } if !running.is_empty() => {
                    let (since, cost, reservation) = running.swap_remove(which % running.len());
                    let actual = cost * percent / 100;
                    reservation.settle(used(0), Some(NanoUsd(actual)), at(1_000 * seconds));
                    excess += actual.saturating_sub(if seconds - since >= lease { 0 } else { cost });
                    spent_in_all += actual;
                    all.settled += actual;
                    remove(&mut all.open, (since, cost));
                }
                Step::Drop(which) if !running.is_empty() => {
                    let (since, cost, _) = running.swap_remove(which % running.len());
                    remove(&mut all.open, (since, cost));
                }
                Step::Release(which) if !running.is_empty() => {
                    let (since, cost, reservation) = running.swap_remove(which % running.len());
                    reservation.release(at(1_000 * seconds));
                    remove(&mut all.open, (since, cost));
                }
                Step::Leak(which) if !running.is_empty() => {
                    let (.., reservation) = running.swap_remove(which % running.len());
                    std::mem::forget(reservation);
                }
                Step::Wait(more) => seconds += more,
                _ => {}
            }
            let now = this(seconds);
            let (settled, reserved, left) = money(&limits, "all", &now);
            prop_assert_eq!(settled, all.settled);
            prop_assert!(settled + reserved <= 4_000 + excess, "{} and {}", settled, reserved);
            prop_assert_eq!(left, 4_000_u64.saturating_sub(settled + reserved));
            // What is open and whose lease is not over is reserved, and nothing is that is not open.
            let certain: u64 = all.open.iter().filter(|(since, _)| seconds - since < lease).map(|open| open.1).sum();
            let possible: u64 = all.open.iter().map(|open| open.1).sum();
            prop_assert!((certain..=possible).contains(&reserved), "{} of {}..={}", reserved, certain, possible);
            for (name, most) in [("user", 500), ("tenant", 1_500)] {
                for report in limits.reports(now.now, now.wall).iter().filter(|report| report.limit == id(name)) {
                    if let waypost_limits::Level::Money { settled, reserved, .. } = report.level {
                        prop_assert!(settled.0 + reserved.0 <= most + excess, "{} {:?}", name, report);
                    }
                }
            }
        }
        drop(running);
        // A day later every lease is over: whoever asks for all that is left gets it.
        let end = ask().at(1_000 * (seconds + 90_000)).on(hour(seconds + 90_000)).of_user("nobody");
        let left = 4_000_u64.saturating_sub(spent_in_all);
        prop_assert!(end.pay(&limits, left.min(500)).is_some(), "{} of 4000 are left", left);
    }
}

fn remove(open: &mut Vec<(u64, u64)>, one: (u64, u64)) {
    let place = open.iter().position(|&known| known == one).expect("it was open");
    open.swap_remove(place);
}

/// BD8 from outside: what the third level refuses, the first two do not hold.
#[test]
fn a_refusal_leaves_no_trace() {
    let limits = crate::rig::limits([purse("key", 100), purse("team", 100), purse("organization", 10)]);
    let before: Vec<_> = ["key", "team", "organization"].map(|name| money(&limits, name, &ask())).into();
    let spent = limits.reserve(&ask().decision(), None, Some(NanoUsd(11))).unwrap_err();
    assert_eq!(spent.limit(), "organization");
    let after: Vec<_> = ["key", "team", "organization"].map(|name| money(&limits, name, &ask())).into();
    assert_eq!(before, after);
    let rate = Limit::tokens(id("rate"), waypost_limits::Rate::per_minute(100).unwrap());
    let gauge = Limit::concurrency(id("gauge"), 1.try_into().unwrap());
    let limits = crate::rig::limits([rate, gauge, purse("organization", 10)]);
    let large = ask().tokens(80);
    (0..5).for_each(|_| assert!(large.pay(&limits, 11).is_none()));
    assert!(large.pay(&limits, 10).is_some(), "neither the rate nor the gauge holds what was refused");
}

#[test]
fn an_unknown_cost_is_not_free() {
    let limits = crate::rig::limits([purse("all", 100)]);
    let spent = limits.reserve(&ask().decision(), None, None).unwrap_err();
    assert_eq!(spent.why(), waypost_limits::Why::UnknownCost);
    let soft = Limit::budget(id("all"), Budget::new(NanoUsd(1), Period::TOTAL).softly());
    let soft = crate::rig::limits([soft]);
    let ask: Ask = ask();
    assert!(soft.reserve(&ask.decision(), None, None).is_ok());
    ask.pay(&soft, 50).expect("soft: told of, not refused").settle(used(0), Some(NanoUsd(70)), ask.now);
    assert_eq!(money(&soft, "all", &ask).0, 70);
}

/// U29, S11: amounts at the ends of the type.
#[test]
fn amounts_saturate() {
    let limits = crate::rig::limits([purse("all", u64::MAX)]);
    let one = ask();
    assert!(one.pay(&limits, u64::MAX).is_none(), "no single reservation of all money in the world");
    one.pay(&limits, 5).unwrap().settle(used(0), Some(NanoUsd(u64::MAX)), one.now);
    assert!(one.pay(&limits, 1).is_none());
    let (settled, reserved, left) = money(&limits, "all", &one);
    assert!(settled >= 1 << 62 && reserved <= 1 << 63 && left == 0, "{settled} {reserved} {left}");
}
