//! The vocabulary of LLM request routing, shared by all Waypost crates.
//!
//! Depend on this crate to write a strategy, a filter or a balancer of your own, or a library around them. To route
//! requests, depend on the facade `waypost`, which wires everything together.
//!
//! ```
//! use core::time::Duration;
//! use waypost_core::{
//!     GatewayRequest, InFlightLease, ProviderCandidate, RequestResult, RoutingSnapshot, RoutingTable,
//!     RoutingTableUpdate, Timestamp, TokenUsage, Tokens,
//! };
//! use std::sync::Arc;
//!
//! // What the operator declares …
//! let eu = ProviderCandidate::azure("azure-eu", "gpt-4o").region("eu").price_per_million(2.5, 10.0).build()?;
//! let us = ProviderCandidate::openai("openai-main", "gpt-4o").region("us").price_per_million(2.5, 10.0).build()?;
//! let table = RoutingTable::default().updated([RoutingTableUpdate::add(eu), RoutingTableUpdate::add(us)])?;
//!
//! // … becomes what a decision reads.
//! let snapshot = RoutingSnapshot::compile(&table, None, Timestamp::ORIGIN);
//! let request = GatewayRequest::new("gpt-4o")?;
//! let pool = snapshot.pool(snapshot.resolve(&request.model).expect("the model is known"));
//! let first = Arc::clone(&pool.candidates()[pool.all().nth(0).expect("two take requests").get()]);
//!
//! // A lease counts the request in flight; a result teaches.
//! let lease = InFlightLease::acquire(first, Tokens(1_000)).expect("nothing is in flight");
//! let usage = TokenUsage::new(Tokens(900), Tokens(100));
//! lease.holder().live().record(&RequestResult::success(Duration::from_millis(800), usage), Timestamp::ORIGIN);
//! assert_eq!(lease.holder().live().outcomes().succeeded, 1);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! - [`ProviderCandidate`]: one deployment, an immutable specification and a [`LiveSlot`] that requests change.
//! - [`Pool`]: the candidates of one model with a mask per property; [`CandidateSet`]: those still in play.
//! - [`RoutingTable`] and [`RoutingTableUpdate`] on the control path, [`RoutingSnapshot`] on the hot path,
//!   [`SnapshotCell`] between them.
//! - [`GatewayRequest`], [`RoutingContext`] and [`RequestResult`]: what is asked, by whom, how it ended.
//! - The traits [`LoadBalancer`], [`CandidateFilter`], [`ResultObserver`], [`RequestMatcher`], [`TokenEstimator`] and
//!   [`Clock`], which the crates above implement and users may.
//!
//! # Guarantees
//!
//! - **Determinism.** Nothing here reads a clock or a global generator; time is a [`Timestamp`], randomness a
//!   [`Generator`].
//! - **Concurrency.** A reader sees one version of the table in all its parts. In-flight counts and outcome counts are
//!   exact; latency statistics lose no sample. No type holds a lock while it is read.
//! - **Allocation.** Look-ups, set operations, leases and recording allocate nothing, but a candidate's histograms at
//!   their first sample.
//! - **Panics.** No input panics; an index of one pool used with a shorter one does.
//!
//! # What it does not do
//!
//! It decides nothing: strategies are in `waypost-balancers`, the order of stages in `waypost`. It does no input or
//! output and starts no thread.
//!
//! # Crate features
//!
//! - `serde`: `Serialize` and `Deserialize` on ids, units and configuration types. Costs serde.
//! - `hdrhistogram`: export of latency histograms as `hdrhistogram::Histogram`. Costs hdrhistogram.
//!
//! Both are off by default.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod annotations;
mod baggage;
mod balancer;
mod bloom;
mod buckets;
mod budget;
mod candidate;
mod candidate_builder;
mod candidate_mask;
mod candidate_set;
mod capability;
mod context;
mod decision;
mod endpoint;
mod error;
mod estimate;
mod ewma;
mod excerpt;
mod exclusion;
mod filter;
mod generator;
mod id;
mod latency;
mod latency_levels;
mod live;
mod matcher;
mod money;
mod name_table;
mod pool;
mod pool_weights;
mod pricing;
mod priority;
mod provider_limits;
mod provider_type;
mod ramp;
mod ratio;
mod request;
mod reset_time;
mod result;
mod retry_budget;
mod routing_snapshot;
mod routing_table;
mod snapshot_cell;
mod stamped;
mod stats;
mod strategy;
mod sync;
mod tenant;
mod thread_local_histogram;
mod thread_shard;
mod time;
mod tokens;
mod trace_context;
mod trace_state;
mod weight;
mod windowed_histogram;

pub use annotations::{Annotations, MirrorTarget};
pub use baggage::Baggage;
pub use balancer::{BuildLoadBalancer, LoadBalancer, ResultEvent, SelectContext};
pub use bloom::BloomFilter;
pub use budget::CostBudget;
pub use candidate::{CandidateId, CandidateRateLimits, ProviderCandidate};
pub use candidate_builder::{CandidateBuilder, CandidateError};
pub use candidate_mask::CandidateMask;
pub use candidate_set::{CandidateIndex, CandidateSet};
pub use capability::{Capability, CapabilitySet, ProviderCapabilities};
pub use context::RoutingContext;
pub use decision::{DecisionContext, Stage};
pub use endpoint::{Endpoint, EndpointError};
pub use error::RoutingError;
pub use estimate::{BytesOverFour, TokenEstimator, fast_token_estimation};
pub use ewma::Ewma;
pub use excerpt::excerpt;
pub use exclusion::Exclusion;
pub use filter::{
    CandidateFilter, Directives, LeftOut, LeftOutList, LeftOutReason, Rejection, RejectionReason,
    ResultObserver,
};
pub use generator::{Generator, SeedSequence};
pub use id::{
    CredentialName, FeatureName, IdError, LimitId, MAX_ID_BYTES, MetadataKey, ModelName, OrganizationId,
    ProviderId, Region, RuleId, SessionId, StrategyName, Tag, TenantId, UserId, Zone,
};
pub use latency::{LatencyMetric, LatencyStats};
pub use live::{InFlight, InFlightLease, LiveSlot, MAX_IN_FLIGHT, OutcomeCounts};
pub use matcher::RequestMatcher;
pub use money::{MoneyError, NanoUsd};
pub use pool::{MAX_CANDIDATES, Pool, PoolError, PriceClass};
pub use pool_weights::PoolWeights;
pub use pricing::{MAX_PRICE_PER_MILLION, PriceError, Pricing};
pub use priority::RequestPriority;
pub use provider_limits::{ProviderLimits, ProviderQuota};
pub use provider_type::ProviderType;
pub use ramp::Ramp;
pub use ratio::{Ratio, RatioError};
pub use request::{GatewayRequest, Message, Prompt};
pub use reset_time::{Decimal, MAX_RESET, reset_after};
pub use result::{FaultScope, Outcome, RequestResult, TokenUsage};
pub use retry_budget::{MAX_RETRY_BURST, RetryBudget, RetryBudgetConfig, RetryPermit};
pub use routing_snapshot::{PoolIndex, RoutingSnapshot, Tenant};
pub use routing_table::{MAX_ALIAS_CHAIN, RoutingTable, RoutingTableUpdate, UpdateError, UpdateErrors};
pub use snapshot_cell::{SnapshotCell, SnapshotGuard};
pub use stamped::{Age, Stamp, StampedCell};
pub use stats::{LockFreeStats, StatsSnapshot};
pub use strategy::{LoadBalancingStrategy, ParseStrategyError};
pub use tenant::TenantRoutingConfig;
pub use thread_local_histogram::{HistogramSnapshot, ThreadLocalHistogram};
pub use thread_shard::ThreadLocalCounter;
pub use time::{Clock, ManualClock, Timestamp, unix_millis};
pub use tokens::Tokens;
pub use trace_context::{SpanId, TraceContext, TraceId};
pub use trace_state::TraceState;
pub use weight::{Weight, WeightError};
pub use windowed_histogram::WindowedHistogram;

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
