//! What limits cost a request: to find and check them, to reserve, to settle; beside one addition to a counter, a mutex
//! around a map of buckets and, with the feature `peers`, the limiter of others.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use waypost_benches::{Metered, NaiveLimits, Rows};

const SIZES: [usize; 3] = [1, 4, 8];

fn limits(criterion: &mut Criterion) {
    let rows = Rows::from_env().counting("limits");
    let counter = AtomicU64::new(0);
    let add = || {
        black_box(black_box(&counter).fetch_add(1, Ordering::Relaxed));
    };
    rows.measure(criterion, "floor/fetch_add", 1, add);
    rows.measure_threads(criterion, "floor/fetch_add", 1, 2, add);
    for limits in SIZES {
        ours(criterion, &rows, limits);
        naive(criterion, &rows, limits);
        #[cfg(feature = "peers")]
        waypost_benches::governors::measure(criterion, &rows, limits);
    }
}

fn ours(criterion: &mut Criterion, rows: &Rows, limits: usize) {
    let metered = Metered::new(limits);
    rows.measure(criterion, "check", limits, || black_box(&metered).check());
    rows.measure(criterion, "check_and_reserve", limits, || black_box(&metered).check_and_reserve());
    rows.measure(criterion, "reserve_and_settle", limits, || black_box(&metered).reserve_and_settle());
    rows.measure_threads(criterion, "reserve_and_settle", limits, 2, || {
        black_box(&metered).reserve_and_settle();
    });
}

/// Takes and gives back, as ours reserves and settles.
fn naive(criterion: &mut Criterion, rows: &Rows, limits: usize) {
    let (naive, clock) = (NaiveLimits::new(limits), AtomicU64::new(0));
    let call = || {
        let seconds = clock.fetch_add(10, Ordering::Relaxed) as f64 / 1e6;
        assert!(black_box(&naive).take(1_500.0, seconds), "nothing is spent");
        black_box(&naive).give_back(300.0);
    };
    rows.measure(criterion, "naive/take_and_give_back", limits, call);
    rows.measure_threads(criterion, "naive/take_and_give_back", limits, 2, call);
}

criterion_group!(benches, limits);
criterion_main!(benches);
