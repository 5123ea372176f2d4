//! The rate limiter of others: governor, from its published crate. It counts requests, not tokens or money, cannot give
//! back, and a request takes of several limiters one after the other.

use std::hint::black_box;
use std::num::NonZeroU32;

use criterion::Criterion;
use governor::clock::FakeRelativeClock;
use governor::{Quota, RateLimiter};

use crate::Rows;

/// As fast as a `u32` says, so that it is never spent.
const QUOTA: Quota = Quota::per_second(NonZeroU32::MAX);

/// Measures one limiter, and so many that are keyed by tenant and user. Its clock stands: reading one is not what is
/// measured.
///
/// # Panics
///
/// When a limiter refuses.
pub fn measure(criterion: &mut Criterion, rows: &Rows, limits: usize) {
    let clock = FakeRelativeClock::default();
    let direct: Vec<_> = (0..limits).map(|_| RateLimiter::direct_with_clock(QUOTA, clock.clone())).collect();
    let step = std::time::Duration::from_micros(10);
    let check = || {
        clock.advance(step);
        for limiter in &direct {
            black_box(limiter.check()).expect("not spent");
        }
    };
    rows.measure(criterion, "governor/direct", limits, check);
    let keyed: Vec<_> = (0..limits).map(|_| RateLimiter::dashmap_with_clock(QUOTA, clock.clone())).collect();
    let key = "acme/user-17".to_owned();
    let check = || {
        clock.advance(step);
        for limiter in &keyed {
            black_box(limiter.check_key(&key)).expect("not spent");
        }
    };
    rows.measure(criterion, "governor/keyed", limits, check);
    rows.measure_threads(criterion, "governor/keyed", limits, 2, || {
        for limiter in &keyed {
            black_box(limiter.check_key(&key)).ok();
        }
    });
}
