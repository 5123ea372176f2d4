//! Failover for LLM requests: know each provider's errors, retry within a budget, hedge, and finish in time.
//!
//! For authors of gateways and clients who select candidates in their own way. With the whole router, use
//! `Router::execute` of the facade `waypost`, which is this crate over its selection, health and limits.
//!
//! ```
//! use std::sync::Arc;
//! use waypost_core::{GatewayRequest, ManualClock, ProviderCandidate, RoutingContext};
//! use waypost_failover::{CandidateList, ErrorKind, FailoverChain, ManualTimer, RequestError};
//!
//! let clock = Arc::new(ManualClock::default());
//! let timer = ManualTimer::new(Arc::clone(&clock));
//! let candidates = CandidateList::new(
//!     [ProviderCandidate::openai("openai", "gpt-4o").build()?, ProviderCandidate::azure("azure", "gpt-4o").build()?],
//!     clock,
//! );
//! let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
//!
//! let outcome = timer.block_on(FailoverChain::default().execute(
//!     &candidates,
//!     &timer,
//!     &request,
//!     &context,
//!     |attempt| async move {
//!         match attempt.candidate().provider().as_str() {
//!             "openai" => Err(RequestError::status(503)),
//!             _ => Ok("Hello!"),
//!         }
//!     },
//! ))?;
//! assert_eq!(*outcome.answer(), "Hello!");
//! assert_eq!(outcome.failed()[0].verdict.kind, ErrorKind::ServiceUnavailable);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! - [`ErrorClassifier`], or [`classify`] for one error: what a provider's error means, as a [`Verdict`]. Rules of one's
//!   own are data: [`ErrorRule`].
//! - [`FailoverChain`]: where attempts go and how; [`FailoverChain::execute`] sees one request through. Its parts are
//!   [`RetryPolicy`], [`Backoff`], [`HedgePolicy`] and [`Fallback`].
//! - [`Attempt`]: what the operation is told, and says; [`Outcome`] and [`FailoverError`]: how it ended.
//! - [`Dispatch`], [`Selection`] and [`Timer`]: what is handed in. The facade's router is a `Dispatch`;
//!   [`CandidateList`] is one for those who do without.
//! - [`AdaptiveThrottle`]: sends less while most is refused.
//!
//! # Guarantees
//!
//! - **Budget.** Attempts beyond the first, hedges included, are taken out of the retry budget at their start; none is
//!   made without.
//! - **Commitment.** After the first content of an answer nothing is retried; an error is handed to the caller with the
//!   number of tokens that were delivered.
//! - **No use, no retry.** No candidate is asked twice for an error that cannot change; no attempt starts that the
//!   deadline leaves no time for.
//! - **Cancel safety.** Dropping the future gives everything back, records what runs as cancelled and retries nothing.
//! - **Determinism.** Time and randomness are handed in.
//! - **Allocation.** An answer at the first attempt allocates once, for the attempt that the operation is told of.
//! - **Panics.** No provider's answer panics; what it asks to wait is clamped.
//!
//! # What it does not do
//!
//! It makes no calls, starts no task and continues no stream that broke off.
//!
//! # Crate features
//!
//! - `serde`: error rules and configuration from files. Costs serde.
//! - `tokio`: `TokioTimer`, which waits on tokio. Costs tokio with its timer.
//!
//! Both are off by default.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attempt;
mod backoff;
mod built_in;
mod candidate_list;
mod chain;
mod classifier;
mod dispatch;
mod error;
mod error_rule;
mod error_text;
mod execute;
mod hedge;
mod kind;
mod lane;
mod manual_timer;
mod outcome;
mod policy;
mod retry_after;
mod route;
mod throttle;
mod timer;
mod verdict;

pub use attempt::Attempt;
pub use backoff::{Backoff, BackoffStrategy, Jitter};
pub use candidate_list::{CandidateList, ListedCandidate};
pub use chain::{FailoverChain, Fallback, FallbackOn, ProviderSelector};
pub use classifier::{ErrorClassifier, classify};
pub use dispatch::{Dispatch, Selection};
pub use error::{BODY_BYTES, ErrorResponse, RequestError};
pub use error_rule::ErrorRule;
pub use hedge::HedgePolicy;
pub use kind::ErrorKind;
pub use manual_timer::{ManualSleep, ManualTimer};
pub use outcome::{FailedAttempt, FailoverError, GaveUp, Outcome};
pub use policy::{KindPolicy, RetryPolicy, Timeouts};
pub use throttle::{AdaptiveThrottle, ThrottleConfig};
pub use timer::Timer;
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;
pub use verdict::{FailOver, MAX_RETRY_AFTER, Verdict};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
