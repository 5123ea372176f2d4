//! A million users.

use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use waypost_core::NanoUsd;
use waypost_limits::{Budget, Dimension, Limit, LimitChange, Limits, LimitsConfig, Period, Rate};

use crate::rig::{ask, at, id, used};

fn bounded(limit: Limit, most: usize) -> (Limits, Arc<AtomicUsize>) {
    let mut config = LimitsConfig::default();
    config.max_subjects = most;
    let told = Arc::new(AtomicUsize::new(0));
    let count = Arc::clone(&told);
    let limits = Limits::new([limit.per(Dimension::User)], config, at(0)).unwrap().on_event(move |event| {
        if matches!(event.change, LimitChange::SubjectsFull { .. }) {
            count.fetch_add(1, Ordering::Relaxed);
        }
    });
    (limits, told)
}

fn user(number: usize) -> String {
    format!("user-{number}")
}

/// One after the other they come, ask once and stay away: their meters refill, and are taken over.
#[test]
fn a_million_users_take_no_more_room_than_the_bound() {
    let users = if cfg!(miri) { 200 } else { 1_000_000 };
    let most = if cfg!(miri) { 16 } else { 4_096 };
    let (limits, told) = bounded(Limit::requests(id("users"), Rate::per_second(1).unwrap()), most);
    for number in 0..users {
        // A thousand newcomers a second: each is idle again long before its place is needed.
        let admitted = ask().at(number as u64).of_user(&user(number)).reserve(&limits).is_some();
        assert!(admitted, "user {number}");
    }
    let now = ask().at(users as u64);
    let kept = limits.reports(now.now, now.wall).len();
    println!("{users} users, {kept} meters");
    assert!(kept <= most, "{kept} meters");
    assert_eq!(told.load(Ordering::Relaxed), 0, "nobody was without room");
}

/// All at once there is not room for all: whoever has a meter keeps it, the rest share one, and each is still bounded.
#[test]
fn at_the_bound_newcomers_share_a_meter() {
    let (limits, told) = bounded(Limit::requests(id("users"), Rate::per_hour(2).unwrap()), 100);
    let admitted = |number: usize| ask().of_user(&user(number)).reserve(&limits).is_some();
    assert!((0..100).all(|number| admitted(number) && admitted(number)), "a hundred have their own");
    assert!((0..100).all(|number| !admitted(number)), "of two each");
    let others = (100..10_100).filter(|&number| admitted(number)).count();
    assert_eq!(others, 2, "ten thousand together get what one may");
    assert_eq!(told.load(Ordering::Relaxed), 1, "told once");
    // An hour later those are idle, and their places are free.
    let hour = |number: usize| ask().at(3_600_000).of_user(&user(number)).reserve(&limits).is_some();
    assert!((200..300).all(hour), "a hundred newcomers have their own");
}

/// Money that was spent is not forgotten to make room.
#[test]
fn who_spent_something_is_remembered() {
    let budget = Budget::new(NanoUsd(10), Period::DAY);
    let (limits, _) = bounded(Limit::budget(id("users"), budget), 10);
    for number in 0..10 {
        let ask = ask().of_user(&user(number));
        ask.pay(&limits, 9).unwrap().settle(used(0), Some(NanoUsd(9)), ask.now);
    }
    for number in 10..1_000 {
        drop(ask().of_user(&user(number)).pay(&limits, 1));
    }
    assert!((0..10).all(|number| ask().of_user(&user(number)).pay(&limits, 2).is_none()));
    // The next day they are free.
    let day = std::time::SystemTime::UNIX_EPOCH + core::time::Duration::from_secs(86_400);
    assert!((2_000..2_010).all(|number| {
        let ask = ask().on(day).of_user(&user(number));
        ask.pay(&limits, 10).map(|one| one.settle(used(0), None, ask.now)).is_some()
    }));
}

/// Threads bring newcomers and take of meters that are put away meanwhile: nobody gets two bursts.
#[test]
fn taking_over_a_meter_while_others_use_it() {
    let rounds = if cfg!(miri) { 20 } else { 20_000 };
    let (limits, _) =
        bounded(Limit::requests(id("users"), Rate::per_second(1).unwrap().burst(3).unwrap()), 8);
    let granted = AtomicUsize::new(0);
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (limits, granted) = (&limits, &granted);
            scope.spawn(move || {
                for round in 0..rounds {
                    let _ = ask().of_user(&user(thread * rounds + round)).at(5_000).reserve(limits);
                    let one = ask().of_user("hot").at(5_000).reserve(limits).is_some();
                    granted.fetch_add(usize::from(one), Ordering::Relaxed);
                }
            });
        }
    });
    // Of its own meter three, or together with the others three of theirs, at one instant.
    let granted = granted.into_inner();
    assert!(granted <= 6, "{granted} of a burst of three, once of the shared meter");
}

/// A subject whose only reservation outlived its lease is remembered: what it cost may be said yet.
#[test]
fn a_late_cost_finds_its_subject() {
    let (limits, _) = bounded(Limit::budget(id("users"), Budget::new(NanoUsd(10), Period::TOTAL)), 1);
    let late = ask().of_user("slow").pay(&limits, 9).unwrap();
    let hour = 3_600_000;
    // The lease is over, and a newcomer looks for room.
    assert!(ask().at(hour).of_user("slow").pay(&limits, 10).is_some_and(|one| {
        one.release(at(hour));
        true
    }));
    drop(ask().at(hour).of_user("newcomer").pay(&limits, 1));
    late.settle(used(0), Some(NanoUsd(9)), at(hour));
    assert!(ask().at(hour).of_user("slow").pay(&limits, 2).is_none(), "nine of ten are spent");
}
