//! What seeing a request through costs around a call that returns at once: beside one addition to a counter, and beside
//! routing and finishing the same request by hand.

use std::future::Future;
use std::hint::black_box;
use std::pin::pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::{Criterion, criterion_group, criterion_main};
use waypost::core::{Clock, ManualClock, ProviderType, Timestamp, TokenUsage};
use waypost::failover::{ManualTimer, classify};
use waypost::{
    FailoverChain, GatewayRequest, ProviderCandidate, RequestError, RequestResult, Router, RouterBuilder,
    RoutingContext,
};
use waypost_benches::Rows;

fn failover(criterion: &mut Criterion) {
    let rows = Rows::from_env();
    let counter = AtomicU64::new(0);
    rows.measure(criterion, "floor/fetch_add", 1, || {
        black_box(black_box(&counter).fetch_add(1, Ordering::Relaxed));
    });
    for candidates in [8, 64] {
        seen_through(criterion, &rows, candidates);
    }
    let body = br#"{"type":"error","error":{"type":"overloaded_error","message":"Overloaded"}}"#;
    rows.measure(criterion, "classify", 1, || {
        black_box(classify(&ProviderType::Anthropic, 529, [("retry-after", "3")], black_box(body)));
    });
}

fn seen_through(criterion: &mut Criterion, rows: &Rows, candidates: usize) {
    let clock = Arc::new(ManualClock::at(Timestamp::from_nanos(1)));
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let candidate = |n| ProviderCandidate::openai(format!("p{n}"), "gpt-4o");
    let builder = (0..candidates).map(candidate).fold(Router::builder(), RouterBuilder::candidate);
    let router = builder.seed(1).shared_clock(shared).build().expect("a valid table");
    let request = GatewayRequest::new("gpt-4o").expect("a valid name");
    let (context, chain) = (RoutingContext::default(), FailoverChain::default());
    let timer = ManualTimer::new(Arc::clone(&clock));
    let result = RequestResult::success(Duration::ZERO, TokenUsage::default());
    rows.measure(criterion, "route_and_finish", candidates, || {
        let selected = router.route_at(&request, &context, clock.now()).expect("a candidate");
        selected.finish_at(&result, clock.now());
    });
    rows.measure(criterion, "execute", candidates, || {
        let call = async |_| Ok::<_, RequestError>(());
        let mut seen_through = pin!(router.execute_with(&timer, &request, &context, &chain, call));
        let ended = seen_through.as_mut().poll(&mut Context::from_waker(Waker::noop()));
        assert!(matches!(ended, Poll::Ready(Ok(_))));
    });
}

criterion_group!(benches, failover);
criterion_main!(benches);
