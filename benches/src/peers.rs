//! The balancers of others, from their published crates, doing what they do for one selection.
//!
//! - pingora-load-balancing returns a copy of the backend, an address with its health looked up; weights as ours.
//! - tower's p2c balance selects when it is polled for readiness and then calls the chosen service, here one that is
//!   always ready and answers at once; so a call and its response are in the figure. It needs `&mut`, so one thread
//!   only.

use std::convert::Infallible;
use std::future::{Ready, ready};
use std::hint::black_box;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use criterion::Criterion;
use pingora_load_balancing::prelude::{LoadBalancer, RoundRobin};
use pingora_load_balancing::selection::{BackendIter, BackendSelection, Consistent, Random};
use tower::Service;
use tower::balance::p2c::Balance;
use tower::discover::ServiceList;
use tower::load::{CompleteOnResponse, Load, PeakEwma, PendingRequests};

use crate::Rows;

const SIZES: [usize; 4] = [8, 64, 512, 1_000];
/// How many backends pingora may try.
const TRIES: usize = 256;

/// Measures every peer at every size.
pub fn measure(criterion: &mut Criterion, rows: &Rows) {
    for candidates in SIZES {
        pingora::<RoundRobin>(criterion, rows, "pingora/round_robin", candidates);
        pingora::<Random>(criterion, rows, "pingora/random", candidates);
        pingora::<Consistent>(criterion, rows, "pingora/ketama", candidates);
        tower(criterion, rows, "tower/p2c_pending", candidates, |service| {
            PendingRequests::new(service, CompleteOnResponse::default())
        });
        tower(criterion, rows, "tower/p2c_peak_ewma", candidates, |service| {
            PeakEwma::new(service, Duration::from_millis(100), 1e10, CompleteOnResponse::default())
        });
    }
}

fn pingora<S>(criterion: &mut Criterion, rows: &Rows, name: &str, candidates: usize)
where
    S: BackendSelection + Send + Sync + 'static,
    S::Iter: BackendIter,
{
    let addresses = (0..candidates).map(|i| format!("127.0.{}.{}:80", i / 250, 1 + i % 250));
    let balancer = LoadBalancer::<S>::try_from_iter(addresses).expect("valid addresses");
    let select = || {
        black_box(balancer.select(black_box(b"user-17"), TRIES).expect("a backend"));
    };
    rows.measure(criterion, name, candidates, select);
    rows.measure_threads(criterion, name, candidates, 2, select);
}

/// Ready at once, and so is its answer.
#[derive(Debug, Clone)]
pub(crate) struct Instantly;

impl Service<()> for Instantly {
    type Response = ();
    type Error = Infallible;
    type Future = Ready<Result<(), Infallible>>;

    fn poll_ready(&mut self, _: &mut Context<'_>) -> Poll<Result<(), Infallible>> {
        Poll::Ready(Ok(()))
    }

    fn call(&mut self, (): ()) -> Self::Future {
        ready(Ok(()))
    }
}

fn tower<S>(
    criterion: &mut Criterion,
    rows: &Rows,
    name: &str,
    candidates: usize,
    wrap: impl Fn(Instantly) -> S,
) where
    S: Service<()> + Load,
    S::Error: Into<tower::BoxError>,
    S::Metric: std::fmt::Debug,
{
    let services: Vec<S> = (0..candidates).map(|_| wrap(Instantly)).collect();
    let mut balance = Balance::new(ServiceList::new::<()>(services));
    let mut cx = Context::from_waker(Waker::noop());
    rows.measure(criterion, name, candidates, || {
        let ready = balance.poll_ready(&mut cx);
        assert!(ready.is_ready(), "services are always ready");
        drop(black_box(balance.call(())));
    });
}
