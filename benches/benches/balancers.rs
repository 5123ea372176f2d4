//! What one selection costs: every strategy beside its floor, its naive form and, with the feature `peers`, others'.

use std::hint::black_box;
use std::sync::atomic::{AtomicU64, Ordering};

use criterion::{Criterion, criterion_group, criterion_main};
use waypost_balancers::built_in;
use waypost_benches::{NaivePicks, Picks, Rows};
use waypost_core::LoadBalancingStrategy;

const SIZES: [usize; 4] = [8, 64, 512, 1_000];

fn balancers(criterion: &mut Criterion) {
    let rows = Rows::from_env();
    floor(criterion, &rows);
    for strategy in LoadBalancingStrategy::built_in() {
        let build = built_in(&strategy).expect("built in");
        for candidates in SIZES {
            let picks = Picks::new(&*build, candidates);
            rows.measure(criterion, strategy.as_str(), candidates, || {
                black_box(picks.select());
            });
            rows.measure_threads(criterion, strategy.as_str(), candidates, 2, || {
                black_box(picks.select());
            });
        }
    }
    naive(criterion, &rows);
    #[cfg(feature = "peers")]
    waypost_benches::peers::measure(criterion, &rows);
}

/// One addition to a counter.
fn floor(criterion: &mut Criterion, rows: &Rows) {
    let counter = AtomicU64::new(0);
    let add = || {
        black_box(black_box(&counter).fetch_add(1, Ordering::Relaxed));
    };
    rows.measure(criterion, "floor/fetch_add", 1, add);
    rows.measure_threads(criterion, "floor/fetch_add", 1, 2, add);
}

fn naive(criterion: &mut Criterion, rows: &Rows) {
    for candidates in SIZES {
        let picks = NaivePicks::new(candidates);
        rows.measure(criterion, "naive/round_robin", candidates, || {
            black_box(picks.round_robin());
        });
        rows.measure(criterion, "naive/weighted_round_robin", candidates, || {
            black_box(picks.weighted_round_robin());
        });
        rows.measure(criterion, "naive/least_connections", candidates, || {
            black_box(picks.least_connections());
        });
        rows.measure(criterion, "naive/least_latency", candidates, || {
            black_box(picks.least_latency());
        });
    }
}

criterion_group!(benches, balancers);
criterion_main!(benches);
