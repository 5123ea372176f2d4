//! What health costs a decision: narrowing the set, admission, a result; beside one addition to a counter, the
//! pseudo-code's form and, with the feature `peers`, the circuit breakers of others.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use waypost_benches::{NaiveHealth, Rows, Screening, Wing};

const SIZES: [usize; 3] = [8, 64, 1_000];

fn health(criterion: &mut Criterion) {
    let rows = Rows::from_env();
    let counter = AtomicU64::new(0);
    let add = || {
        black_box(black_box(&counter).fetch_add(1, Ordering::Relaxed));
    };
    rows.measure(criterion, "floor/fetch_add", 1, add);
    rows.measure_threads(criterion, "floor/fetch_add", 1, 2, add);
    for candidates in SIZES {
        filter(criterion, &rows, "filter/all_well", candidates, 0);
        filter(criterion, &rows, "filter/tenth_sick", candidates, candidates.div_ceil(10));
        filter(criterion, &rows, "filter/third_sick", candidates, candidates / 3);
        results(criterion, &rows, candidates);
        naive(criterion, &rows, candidates);
    }
    breaker(criterion, &rows);
    #[cfg(feature = "peers")]
    waypost_benches::breakers::measure(criterion, &rows);
}

/// Narrows the set of a whole pool in which so many breakers are open.
fn filter(criterion: &mut Criterion, rows: &Rows, name: &str, candidates: usize, sick: usize) {
    let screening = Screening::new(candidates, sick);
    rows.measure(criterion, name, candidates, || {
        assert_eq!(black_box(&screening).filter(), sick);
    });
}

/// A thousand results a second, so that what is done once a second is in the figure.
fn results(criterion: &mut Criterion, rows: &Rows, candidates: usize) {
    let screening = Screening::new(candidates, 0);
    let succeeds = || black_box(&screening).record(|_| true);
    rows.measure(criterion, "admit_and_drop", candidates, || black_box(&screening).admit_and_drop());
    rows.measure(criterion, "record/success", candidates, succeeds);
    rows.measure(criterion, "record/tenth_fails", candidates, || {
        black_box(&screening).record(|number| !number.is_multiple_of(10));
    });
    rows.measure_threads(criterion, "record/success", candidates, 2, succeeds);
}

fn naive(criterion: &mut Criterion, rows: &Rows, candidates: usize) {
    let naive = NaiveHealth::new(candidates);
    rows.measure(criterion, "naive/filter_healthy", candidates, || {
        black_box(black_box(&naive).filter_healthy());
    });
    rows.measure(criterion, "naive/update_health", candidates, || black_box(&naive).update_health());
}

/// One breaker alone: acquire and record a success.
fn breaker(criterion: &mut Criterion, rows: &Rows) {
    let wing = Wing::new();
    rows.measure(criterion, "breaker/call", 1, || black_box(&wing).call());
    rows.measure_threads(criterion, "breaker/call", 1, 2, || black_box(&wing).call());
}

criterion_group!(benches, health);
criterion_main!(benches);
