//! Keeps sick LLM providers out and lets recovered ones back in.
//!
//! For authors of gateways and clients who choose a provider themselves and want to know which are well. To have the
//! whole decision, depend on the facade `waypost`, which has this crate as its health stage.
//!
//! ```
//! use core::time::Duration;
//! use std::sync::Arc;
//! use waypost_core::{Directives, Pool, RequestResult, Timestamp};
//! use waypost_health::{Admission, CircuitState, HealthAwareRouter, HealthConfig};
//!
//! let health = HealthAwareRouter::new(HealthConfig::default(), 7);
//! let pool = Arc::new(Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?);
//! let of_pool = health.attach(&pool, Timestamp::ORIGIN);
//! let a = pool.index_of("a").unwrap();
//! let second = |n| Timestamp::ORIGIN + Duration::from_secs(n);
//!
//! // Five failures in a row: the circuit breaker opens.
//! for _ in 0..5 {
//!     let admission = Admission::new(&of_pool, a, second(1), false).expect("it is well so far");
//!     admission.settle(&RequestResult::failure(Duration::from_millis(30), "overloaded").status(529), second(1));
//! }
//! let (mut set, mut directives) = (pool.all(), Directives::default());
//! assert_eq!(of_pool.filter_healthy(&mut set, second(2), &mut directives), 1);
//! assert!(!set.contains(a) && directives.retry_after.is_some());
//! assert_eq!(of_pool.report(a, second(2)).circuit, CircuitState::Open);
//!
//! // Five seconds later, give or take one, one request may try; it is answered, and all is well.
//! let probe = Admission::new(&of_pool, a, second(8), false).expect("the first may try");
//! assert!(Admission::new(&of_pool, a, second(8), false).is_none(), "and nobody else");
//! probe.settle(&RequestResult::success(Duration::from_millis(400), Default::default()), second(8));
//! assert_eq!(of_pool.filter_healthy(&mut pool.all(), second(8), &mut directives), 0);
//! # Ok::<(), waypost_core::PoolError>(())
//! ```
//!
//! # How somebody is left out
//!
//! | by | because | until | in panic |
//! |---|---|---|---|
//! | an administrator | [`disable`](HealthAwareRouter::disable) | [`enable`](HealthAwareRouter::enable) | out |
//! | a refused credential | 401, 402, 403 | 5 min | out |
//! | active checks | three failed in a row | two passed in a row | out |
//! | a cool-down | `Retry-After`, 429 | the provider's word, at most 5 min | out |
//! | a circuit breaker | failures in a row, a share of failures or of slow answers | 5 s, doubling, then one tries | in |
//! | ejection | it does worse than the others of its pool: failures, latency, score | 30 s × how often of late | in |
//!
//! What is not the provider's fault (other 400s, content filters, callers who left) moves nothing. Faults may reach
//! further than a candidate ([`FaultScope`](waypost_core::FaultScope)): breakers, refusals and cool-downs are kept per
//! credential, region and provider too.
//!
//! # The types to know
//!
//! - [`HealthAwareRouter`]: all candidates; administrators' words, active checks.
//! - [`PoolHealth`]: one pool; narrows the set of a decision and reports.
//! - [`Admission`]: one request that may pass; its result teaches.
//! - [`CircuitBreaker`] and [`HealthScore`], which are of use alone; [`HealthConfig`] with every setting.
//! - [`HealthEvent`]: what happens, as it happens.
//!
//! # Guarantees
//!
//! - **A half-open breaker admits at most its permits, and none is lost**: one that never comes back is given out again
//!   when its lease is over. Results of another generation change nothing.
//! - **A cool-down never gets shorter**, but by an administrator's word.
//! - **Never all**: ejection leaves at least one of a pool's candidates that could serve, and no more are out than allowed,
//!   races included.
//! - **What is known survives** new versions of a pool. A candidate that was taken out and put in again is another.
//! - **Determinism.** Time is handed in, and all randomness comes from one seed.
//! - **Allocation, locks.** None where requests pass. Once a second per candidate a result reads quantiles, some
//!   microseconds; once a second per pool one looks for outliers, some tenths of a microsecond for each candidate, and as
//!   much again for each that it ejects, at most four.
//! - **Panics.** No result panics; an index of another pool may.
//!
//! # What it does not do
//!
//! It makes no calls: whoever drives active checks brings a [`Probe`]. It retries nothing. It chooses nobody: slow start
//! is published as the time since when a candidate serves, which strategies weigh by.
//!
//! # Crate features
//!
//! - `serde`: `Serialize` on reports, serde on configuration types. Costs serde.
//! - `tokio`: `run_health_checks`, a runner of active checks. Costs tokio with its timer.
//!
//! Both are off by default.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admission;
mod checks;
mod circuit;
mod condition;
mod config;
mod cool_down;
mod ejection;
mod event;
mod evidence;
#[cfg(all(test, loom))]
mod models;
mod pool_health;
mod report;
mod router;
mod score;
mod suspects;
mod sync;
mod window;

#[cfg(feature = "tokio")]
mod runner;

pub use admission::Admission;
pub use checks::{CheckOutcome, DueCheck, Probe};
pub use circuit::{CallOutcome, CircuitBreaker, CircuitState, Permit, Transition, TripReason};
pub use condition::Scope;
pub use config::{
    BreakerConfig, CheckConfig, CoolDownConfig, EjectionConfig, HealthConfig, LatencySignal, ScoreWeights,
    SlowStartConfig,
};
pub use event::{EjectionReason, HealthChange, HealthEvent, Subject};
pub use pool_health::PoolHealth;
pub use report::{Exclusion, HealthReport};
pub use router::HealthAwareRouter;
pub use score::HealthScore;

#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use runner::run_health_checks;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
