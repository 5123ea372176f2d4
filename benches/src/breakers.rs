//! The circuit breakers of others, from their published crates: one call that is answered at once.
//!
//! - failsafe asks its state machine, runs the closure and records, each behind a mutex; its clock is the system's.
//! - tower-resilience wraps a service: a call boxes a future and locks an asynchronous mutex twice.

use std::convert::Infallible;
use std::future::Future;
use std::hint::black_box;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use criterion::Criterion;
use failsafe::CircuitBreaker as _;
use tower::{Layer, Service};
use tower_resilience_circuitbreaker::CircuitBreakerLayer;

use crate::Rows;
use crate::peers::Instantly;

/// Measures both.
pub fn measure(criterion: &mut Criterion, rows: &Rows) {
    failsafe(criterion, rows);
    tower_resilience(criterion, rows);
}

fn failsafe(criterion: &mut Criterion, rows: &Rows) {
    let breaker = failsafe::Config::new().build();
    let call = || {
        black_box(breaker.call(|| Ok::<(), ()>(()))).expect("closed");
    };
    rows.measure(criterion, "failsafe/call", 1, call);
    rows.measure_threads(criterion, "failsafe/call", 1, 2, call);
}

fn tower_resilience(criterion: &mut Criterion, rows: &Rows) {
    let layer = CircuitBreakerLayer::builder().failure_rate_threshold(0.5).sliding_window_size(100).build();
    let layer = layer.expect("valid settings");
    let mut service = layer.layer(Instantly);
    let mut cx = Context::from_waker(Waker::noop());
    rows.measure(criterion, "tower_resilience/call", 1, || {
        assert!(service.poll_ready(&mut cx).is_ready(), "the breaker is closed");
        let mut call: Pin<Box<dyn Future<Output = Result<(), _>>>> = Box::pin(service.call(()));
        let answered: Poll<Result<(), tower_resilience_circuitbreaker::CircuitBreakerError<Infallible>>> =
            call.as_mut().poll(&mut cx);
        assert!(matches!(black_box(answered), Poll::Ready(Ok(()))), "answered at once");
    });
}
