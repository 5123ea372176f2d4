//! What one decision costs: `route` and `finish` together.

use std::hint::black_box;
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use waypost::{GatewayRequest, LoadBalancingStrategy as Strategy, RequestResult, Router, RoutingContext};
use waypost_benches::floor::Floor;
use waypost_benches::{Rows, fleet, naive};

const SIZES: [usize; 3] = [8, 64, 1_000];

fn route(criterion: &mut Criterion) {
    let rows = Rows::from_env();
    floor(criterion, &rows);
    for strategy in [Strategy::RoundRobin, Strategy::Random] {
        constrained(criterion, &rows, &strategy);
    }
    clocked(criterion, &rows);
    plain(criterion, &rows);
    unknown_model(criterion, &rows);
    contended(criterion, &rows);
    naive(criterion, &rows);
}

/// The least that any router of this design does.
fn floor(criterion: &mut Criterion, rows: &Rows) {
    let floor = Floor::new(fleet::MODEL, 8);
    rows.measure(criterion, "floor/composed", 8, || {
        black_box(floor.route_and_finish(black_box(fleet::MODEL)));
    });
}

/// One decision and its end; the clock is read once and handed on.
fn route_and_finish(router: &Router, inquiry: &(GatewayRequest, RoutingContext), answer: &RequestResult) {
    let now = router.clock().now();
    let selected = router.route_at(black_box(&inquiry.0), black_box(&inquiry.1), now).expect("served");
    selected.finish_at(black_box(answer), now);
}

/// All constraints and preferences in use.
fn constrained(criterion: &mut Criterion, rows: &Rows, strategy: &Strategy) {
    for candidates in SIZES {
        let router = fleet::router(candidates, strategy.clone());
        let (inquiry, answer) = (fleet::constrained(), fleet::answer());
        let selected = router.route(&inquiry.0, &inquiry.1).expect("the fleet serves the request");
        assert!(selected.decision().candidates_left < candidates, "{}", selected.decision());
        drop(selected);
        rows.measure(criterion, &format!("route/{strategy}"), candidates, || {
            route_and_finish(&router, &inquiry, &answer);
        });
        assert_eq!(router.metrics().in_flight, 0);
    }
}

/// The same without handing the time on: three clock readings instead of one.
fn clocked(criterion: &mut Criterion, rows: &Rows) {
    for candidates in SIZES {
        let router = fleet::router(candidates, Strategy::RoundRobin);
        let ((request, context), answer) = (fleet::constrained(), fleet::answer());
        rows.measure(criterion, "clocked/round_robin", candidates, || {
            router
                .route(black_box(&request), black_box(&context))
                .expect("served")
                .finish(black_box(&answer));
        });
    }
}

/// Nothing asked for but the model.
fn plain(criterion: &mut Criterion, rows: &Rows) {
    for candidates in SIZES {
        let router = fleet::router(candidates, Strategy::RoundRobin);
        let (inquiry, answer) = (fleet::plain(), fleet::answer());
        rows.measure(criterion, "plain/round_robin", candidates, || {
            route_and_finish(&router, &inquiry, &answer);
        });
    }
}

/// A name that nobody serves.
fn unknown_model(criterion: &mut Criterion, rows: &Rows) {
    let router = fleet::router(8, Strategy::RoundRobin);
    let (mut request, context) = fleet::plain();
    request.model = waypost::core::ModelName::new("gpt-17").expect("a valid name");
    rows.measure(criterion, "unknown_model", 8, || {
        black_box(router.route(black_box(&request), &context)).expect_err("not served");
    });
}

/// Two threads on one pool.
fn contended(criterion: &mut Criterion, rows: &Rows) {
    for candidates in [8, 1_000] {
        let router = fleet::router(candidates, Strategy::RoundRobin);
        let (inquiry, answer) = (fleet::constrained(), fleet::answer());
        rows.measure_threads(criterion, "route/round_robin", candidates, 2, || {
            route_and_finish(&router, &inquiry, &answer);
        });
    }
    let floor = Floor::new(fleet::MODEL, 8);
    rows.measure_threads(criterion, "floor/composed", 8, 2, || {
        black_box(floor.route_and_finish(black_box(fleet::MODEL)));
    });
}

/// The pseudo-code taken literally.
fn naive(criterion: &mut Criterion, rows: &Rows) {
    for candidates in SIZES {
        let router = naive::Router::new(fleet::MODEL, candidates);
        let request = naive::Router::request(fleet::MODEL);
        let latency = Duration::from_millis(2_300);
        rows.measure(criterion, "naive/round_robin", candidates, || {
            let selected = router.route(black_box(&request)).expect("served");
            router.record_result(selected.id(), black_box(latency));
        });
    }
}

criterion_group!(benches, route);
criterion_main!(benches);
