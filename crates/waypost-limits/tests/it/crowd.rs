//! Many threads at once.

use std::sync::Barrier;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use rand::rngs::SmallRng;
use rand::{RngExt, SeedableRng};
use waypost_core::{NanoUsd, Timestamp};
use waypost_limits::{Limit, Rate};

use crate::rig::{ask, at, id, limits, money, purse, used};

/// S15 of one replica: 200 threads want 1 each of a budget of 10, at the same instant.
#[test]
fn two_hundred_at_once_against_a_budget_for_ten() {
    let limits = limits([purse("ten", 10)]);
    let (start, ask) = (Barrier::new(200), ask());
    let (admitted, ledger) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..200 {
            scope.spawn(|| {
                start.wait();
                if let Some(reservation) = ask.pay(&limits, 1) {
                    admitted.fetch_add(1, Ordering::Relaxed);
                    ledger.fetch_add(1, Ordering::Relaxed);
                    reservation.settle(used(0), Some(NanoUsd(1)), ask.now);
                }
            });
        }
    });
    let (settled, reserved, left) = money(&limits, "ten", &ask);
    let (admitted, ledger) = (admitted.into_inner(), ledger.into_inner());
    println!("200 requests for 10: admitted {admitted}, settled {settled}, provider's ledger {ledger}");
    assert_eq!((admitted, settled, ledger, reserved, left), (10, 10, 10, 0, 0));
}

/// A million requests of four threads end in every way there is; at the end what is settled is what the ledger says, to
/// the nano-dollar, and nothing is reserved.
#[test]
fn a_million_endings_and_no_phantom_spend() {
    let each = if cfg!(miri) { 100 } else { 250_000 };
    let limits =
        limits([purse("all", u64::MAX >> 2), Limit::concurrency(id("running"), 64.try_into().unwrap())]);
    let ledger = AtomicU64::new(0);
    let seed = 6;
    println!("seed {seed}");
    std::thread::scope(|scope| {
        for thread in 0..4 {
            let (limits, ledger) = (&limits, &ledger);
            scope.spawn(move || one_thread(limits, ledger, seed + thread, each));
        }
    });
    let ask = ask();
    let (settled, reserved, _) = money(&limits, "all", &ask);
    let ledger = ledger.into_inner();
    println!("{} requests: ledger {ledger}, settled {settled}, reserved {reserved}", 4 * each);
    assert_eq!((settled, reserved), (ledger, 0), "phantom spend");
    let under_way =
        limits.reports(ask.now, ask.wall).into_iter().find(|report| report.limit == id("running"));
    assert!(matches!(under_way.unwrap().level, waypost_limits::Level::Concurrency { reserved: 0, .. }));
}

fn one_thread(limits: &waypost_limits::Limits, ledger: &AtomicU64, seed: u64, requests: u64) {
    let mut rng = SmallRng::seed_from_u64(seed);
    let ask = ask();
    for _ in 0..requests {
        let expected = rng.random_range(0..1_000);
        let Some(reservation) = ask.pay(limits, expected) else { continue };
        match rng.random_range(0..6) {
            // Answered; dearer or cheaper than expected.
            0 | 1 => {
                let cost = rng.random_range(0..1_200);
                ledger.fetch_add(cost, Ordering::Relaxed);
                reservation.settle(used(0), Some(NanoUsd(cost)), ask.now);
            }
            // Timed out after some tokens: billed in part.
            2 => {
                ledger.fetch_add(expected / 2, Ordering::Relaxed);
                reservation.settle(used(0), Some(NanoUsd(expected / 2)), ask.now);
            }
            // Refused by the provider.
            3 => reservation.settle(used(0), Some(NanoUsd::ZERO), ask.now),
            // Given up before it was sent.
            4 => reservation.release(ask.now),
            // The task died.
            _ => {
                let died = std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                    let _held = reservation;
                    std::panic::resume_unwind(Box::new("crash"));
                }));
                assert!(died.is_err());
            }
        }
    }
}

/// K06: one bucket, many threads: exactly the burst and what time brings, and none lost.
#[test]
fn k06_one_hot_bucket_admits_exactly() {
    let (threads, each) = if cfg!(miri) { (2, 50) } else { (8, 125_000) };
    let limits = limits([Limit::requests(id("hot"), Rate::per_second(1_000).unwrap().burst(500).unwrap())]);
    let (clock, granted) = (AtomicU64::new(0), AtomicU64::new(0));
    std::thread::scope(|scope| {
        for _ in 0..threads {
            scope.spawn(|| {
                for _ in 0..each {
                    // A millisecond for every four calls: half of what would be asked for fits.
                    let now = clock.fetch_add(250_000, Ordering::Relaxed);
                    let mut ask = ask();
                    ask.now = Timestamp::from_nanos(now);
                    granted.fetch_add(u64::from(ask.reserve(&limits).is_some()), Ordering::Relaxed);
                }
            });
        }
    });
    let end = clock.into_inner();
    let mut last = ask();
    last.now = Timestamp::from_nanos(end);
    let rest = std::iter::from_fn(|| last.reserve(&limits)).count() as u64;
    let most = 500 + end / 1_000_000;
    let granted = granted.into_inner() + rest;
    // A thread that was stopped between reading the clock and taking asks with an old time, which admits less. What it
    // was refused is there for the others, so nothing is lost but what the last moment's burst cuts off.
    println!("{granted} of {most}");
    assert!(granted <= most && granted >= most - 500, "{granted} of {most}");
}

/// K07: settle, and the end of the lease, of one reservation at the same instant: one effect, and the cost counts once.
#[test]
fn k07_settled_as_its_lease_ends() {
    let rounds = if cfg!(miri) { 5 } else { 3_000 };
    for round in 0..rounds {
        let limits = limits([purse("ten", 10)]);
        let reservation = ask().pay(&limits, 6).unwrap();
        let late = 1_000 * 901 + round % 2;
        let start = Barrier::new(2);
        std::thread::scope(|scope| {
            scope.spawn(|| {
                start.wait();
                reservation.settle(used(0), Some(NanoUsd(4)), at(late));
            });
            // Wants what only the end of the lease makes free.
            start.wait();
            drop(ask().at(late).pay(&limits, 5));
        });
        assert_eq!(money(&limits, "ten", &ask().at(late)), (4, 0, 6), "round {round}");
        assert!(ask().at(late).on(SystemTime::UNIX_EPOCH).pay(&limits, 6).is_some());
    }
}
