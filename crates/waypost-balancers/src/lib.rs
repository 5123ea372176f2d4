//! Load balancing strategies for LLM providers: choose one candidate out of a set.
//!
//! Depend on this crate to balance calls over a pool of your own, with health, limits and retries elsewhere. The
//! facade `waypost` has them all together.
//!
//! ```
//! use waypost_balancers::RoundRobin;
//! use waypost_core::{
//!     BuildLoadBalancer, DecisionContext, GatewayRequest, LoadBalancer, Pool, RoutingContext, SeedSequence,
//!     SelectContext, Timestamp, TokenUsage,
//! };
//!
//! let pool = Pool::from_weights([("a", 1), ("b", 1), ("c", 1)])?;
//! let seeds = SeedSequence::new(7);
//! let balancer = RoundRobin::default().build(&pool, &mut seeds.generator());
//!
//! let (request, context) = (GatewayRequest::new("model")?, RoutingContext::default());
//! let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
//! let mut picks: Vec<String> = (0..6)
//!     .map(|_| {
//!         let mut cx = SelectContext::new(&decision, seeds.generator());
//!         pool[balancer.select(&pool.all(), &mut cx).unwrap()].provider().to_string()
//!     })
//!     .collect();
//! picks.sort();
//! assert_eq!(picks, ["a", "a", "b", "b", "c", "c"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! Each strategy is a value that builds a balancer for a pool ([`BuildLoadBalancer`](waypost_core::BuildLoadBalancer)):
//!
//! - [`RoundRobin`]: each in turn; a caller that sees only a subset gets turns of its own.
//! - [`Random`]: any, each equally likely.
//!
//! Pools, sets and the traits are `waypost-core`'s.
//!
//! # Guarantees
//!
//! - **Never outside the set.** What is not in the set is not chosen; an empty set gives `None`.
//! - **Exact under threads.** Round robin over one set gives n callers n different turns, however they interleave.
//! - **No lock and no allocation** while selecting, but one table of 8 KiB per pool at the first filtered selection of
//!   round robin.
//! - **Deterministic** with the generator that is handed in.
//! - **Complexity.** Linear in the pool's length over 64.
//!
//! # What it does not do
//!
//! It does not know health, limits or prices of failure; those narrow the set before. Strategies by weight, load,
//! latency, cost and learning are coming.
//!
//! # Crate features
//!
//! None.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod random;
mod round_robin;

pub use random::{Random, RandomBalancer};
pub use round_robin::{FirstTurn, RoundRobin, RoundRobinBalancer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
