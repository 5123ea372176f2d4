//! Routing and load balancing for LLM inference: which provider serves a request, and why.
//!
//! For authors of LLM gateways and clients who want the whole decision. To use one part alone, depend on the crate that
//! has it: `waypost-balancers` for strategies, `waypost-health` for breakers, ejection and checks, `waypost-rules` for
//! rules, `waypost-limits` for rates and budgets, `waypost-failover` for errors, retries and hedges, `waypost-core` for the vocabulary and the traits.
//!
//! ```
//! use std::time::Duration;
//! use waypost::core::{Region, TokenUsage, Tokens};
//! use waypost::{GatewayRequest, ProviderCandidate, RequestResult, Router, RoutingContext};
//!
//! let router = Router::builder()
//!     .candidate(ProviderCandidate::openai("openai-main", "gpt-4o").price_per_million(2.50, 10.00).region("us"))
//!     .candidate(ProviderCandidate::azure("azure-eu", "gpt-4o").price_per_million(2.75, 11.00).region("eu"))
//!     .alias("fast", "gpt-4o")
//!     .build()?;
//!
//! // Whatever the strategy, this request may not leave the EU.
//! let request = GatewayRequest::new("fast")?.prompt_bytes(4_096).max_tokens(Tokens(500));
//! let context = RoutingContext::default().within_region(Region::new("eu")?);
//! let selected = router.route(&request, &context)?;
//! assert_eq!(selected.candidate().provider(), "azure-eu");
//! assert_eq!(selected.estimated_cost().unwrap().to_string(), "$0.008316");
//!
//! // Make the call, then say how it went. Dropping `selected` instead releases it as cancelled.
//! let usage = TokenUsage::new(Tokens(1_010), Tokens(212));
//! selected.finish(&RequestResult::success(Duration::from_millis(2_400), usage));
//! assert_eq!(router.metrics().successful_routes, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! - [`Router`]: cheap to clone, shared by all threads. [`Router::route`] decides, synchronously: there is nothing to
//!   wait for. [`Router::explain`] tells what it would decide and why, without side effects.
//! - [`SelectedProvider`]: the candidate, the [`RoutingDecision`] and the lease. The request is in flight until it is
//!   finished or dropped.
//! - `Router::execute` (feature `tokio`) and [`Router::execute_with`] see a request through: they run your call at the
//!   candidate, and fail over as a [`FailoverChain`] says.
//! - [`RouterConfig`] and [`RouterBuilder`]: settings, candidates, strategies, and the seams for filters and observers
//!   of your own.
//! - [`core`] has the vocabulary, [`balancers`] the strategies, [`health`] what keeps sick candidates out and lets
//!   recovered ones back in, [`rules`] the operator's own conditions and what to do with requests that meet them,
//!   [`limits`] how many requests and tokens in time, how many at once, and how much money, [`failover`] what errors mean and what
//!   is done about them.
//!
//! # Guarantees
//!
//! - **Consistency.** A decision reads one version of the configuration. Live state survives every update.
//! - **Nothing leaks.** In-flight counts return to zero after any mix of success, failure, cancellation and panic.
//! - **Hard constraints hold.** No path selects a candidate that is excluded, not allowed for the tenant, incapable,
//!   drained or over budget.
//! - **Limits hold.** In any window at most rate × window + burst is admitted, and at every instant a budget's settled
//!   and reserved money is at most its amount, but for what requests cost more than was expected of them. A request
//!   takes of all its limits or of none, and what it took is settled on every path.
//! - **Determinism.** The same seed, clock and calls give the same decisions.
//! - **Allocation.** `route` and `finish` allocate nothing in steady state, and take no lock. The first request for a
//!   strategy that no setting and no tenant names builds its balancer, and the first of a subject its meters.
//! - **Panics.** No request, update or result makes the router panic.
//! - **Complexity.** A decision is linear in the pool's length over 64, plus the number of distinct prices when cost is
//!   bounded, plus the request's own limits, plus the candidates left when any of them has limits or the total latency
//!   of an unstreamed answer is bounded, plus what the strategy says of itself.
//!
//! # What it does not do
//!
//! It makes no calls and starts no threads, and nobody waits in it. Failover calls what the caller hands in.
//!
//! # Crate features
//!
//! - `serde`: `Serialize` on explanations, and serde on configuration types. Costs serde.
//! - `hdrhistogram`: export of latency histograms. Costs hdrhistogram.
//! - `toml`, `yaml`, `schemars`: rule files in [`rules`], and their JSON Schema. Each costs the crate that it is named
//!   after (`yaml`: serde-saphyr, which needs Rust 1.89).
//! - `tokio`: `Router::execute`, the runner of active checks in [`health`], and the one in [`limits`] that keeps the shares of several
//!   replicas. Costs tokio with its timer.
//!
//! All are off by default.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod balancer_set;
mod builder;
mod clock;
mod config;
mod constraints;
mod decision;
mod execute;
mod explain;
mod metrics;
mod pipeline;
mod pool_runtime;
mod preferences;
mod router;
mod selected;
mod state;
mod weighted_views;

pub use waypost_balancers as balancers;
pub use waypost_core as core;
pub use waypost_failover as failover;
pub use waypost_health as health;
pub use waypost_limits as limits;
pub use waypost_rules as rules;

pub use waypost_core::{
    GatewayRequest, LoadBalancingStrategy, ProviderCandidate, RequestResult, RoutingContext, RoutingError,
};

pub use waypost_failover::{Attempt, FailoverChain, FailoverError, Outcome, RequestError};

pub use builder::{BuildError, RouterBuilder};
pub use clock::SystemClock;
pub use config::RouterConfig;
pub use decision::RoutingDecision;
pub use explain::{Choice, Explanation, StageReport};
pub use metrics::RouterMetrics;
pub use router::{RecordError, RegisterError, Router};
pub use selected::{LeftOutCandidate, SelectedProvider};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../README.md")]
struct WorkspaceReadme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/quick-start.md")]
struct QuickStart;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/health.md")]
struct HealthPage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/rules.md")]
struct RulesPage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/limits.md")]
struct LimitsPage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/failover.md")]
struct FailoverPage;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/errors.md")]
struct ErrorsPage;
