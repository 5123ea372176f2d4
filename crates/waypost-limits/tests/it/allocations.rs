//! No allocation where requests pass.

use std::hint::black_box;
use std::time::{Duration, SystemTime};

use allocation_counter::measure;
use waypost_core::NanoUsd;
use waypost_limits::{Dimension, Limit, Limits, Period, Rate, provider_limits};

use crate::rig::{ask, id, limits, purse, used};

fn eight() -> Limits {
    let fast = || Rate::per_second(1_000_000).unwrap();
    limits([
        Limit::requests(id("tenant-requests"), fast()).per(Dimension::Tenant),
        Limit::tokens(id("tenant-tokens"), fast()).per(Dimension::Tenant),
        Limit::requests(id("user-requests"), fast()).per(Dimension::User),
        Limit::tokens(id("user-tokens"), fast()).per(Dimension::User).per(Dimension::Tenant),
        Limit::concurrency(id("running"), 100.try_into().unwrap()),
        purse("all", 1 << 60),
        purse("team", 1 << 60),
        purse("user", 1 << 60).per(Dimension::User),
    ])
}

#[test]
fn nothing_is_allocated_in_steady_state() {
    let limits = eight();
    let ask = ask().of_tenant("acme").of_user("17").tokens(100);
    let once = || {
        let found = limits.find(&ask.decision());
        found.check(&ask.decision()).unwrap();
        let reservation = found.reserve(&ask.decision(), Some(NanoUsd(50))).unwrap();
        reservation.settle(used(60), Some(NanoUsd(40)), ask.now);
    };
    once();
    let counted = measure(|| (0..1_000).for_each(|_| once()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}

#[test]
fn headers_are_read_without_allocating() {
    let values: [&[u8]; 10] = [
        b"499",
        b"6m0s",
        b"17.39s",
        b"1796077815",
        b"2026-11-30T22:31:00Z",
        b"Mon, 30 Nov 2026 22:31:00 GMT",
        b"2026-02-30T22:31:00Z",
        b"garbage",
        b"-1",
        b"\xff",
    ];
    let counted = measure(|| {
        for value in values {
            let headers = [
                ("X-RateLimit-Limit-Requests", b"500".as_slice()),
                ("x-ratelimit-remaining-requests", value),
                ("x-ratelimit-reset-requests", value),
                ("anthropic-ratelimit-input-tokens-remaining", b"7"),
                ("content-type", value),
            ];
            black_box(provider_limits(headers, SystemTime::UNIX_EPOCH));
        }
    });
    assert_eq!(counted.count_total, 0);
}

#[test]
fn windows_are_told_without_allocating() {
    for period in [Period::HOUR, Period::DAY, Period::WEEK, Period::MONTH, Period::TOTAL] {
        let period = period.in_zone("America/New_York").unwrap();
        let counted = measure(|| {
            for year in 0..200 {
                let wall = SystemTime::UNIX_EPOCH + year * Duration::from_secs(31_556_952);
                black_box(period.window(wall));
            }
        });
        assert_eq!(counted.count_total, 0, "{period}");
    }
}
