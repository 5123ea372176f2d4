//! Load balancing strategies for LLM providers: choose one candidate out of a set.
//!
//! Depend on this crate to balance calls over a pool of your own, with health, limits and retries elsewhere. The
//! facade `waypost` has them all together.
//!
//! ```
//! use waypost_balancers::WeightedRoundRobin;
//! use waypost_core::{
//!     BuildLoadBalancer, DecisionContext, GatewayRequest, LoadBalancer, Pool, RoutingContext, SeedSequence,
//!     SelectContext, Timestamp, TokenUsage,
//! };
//!
//! let pool = Pool::from_weights([("a", 5), ("b", 1), ("c", 1)])?;
//! let seeds = SeedSequence::new(7);
//! let balancer = WeightedRoundRobin::in_pool_order().build(&pool, &mut seeds.generator());
//!
//! let (request, context) = (GatewayRequest::new("model")?, RoutingContext::default());
//! let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, TokenUsage::default());
//! let pick = |_| {
//!     let mut cx = SelectContext::new(&decision, seeds.generator());
//!     pool[balancer.select(&pool.all(), &mut cx).unwrap()].provider().as_str()
//! };
//! assert_eq!((0..7).map(pick).collect::<Vec<_>>(), ["a", "a", "b", "a", "c", "a", "a"]);
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! Each strategy is a value that builds a balancer for a pool ([`BuildLoadBalancer`](waypost_core::BuildLoadBalancer));
//! [`built_in`] finds it by its name in configuration.
//!
//! | strategy | chooses | looks at |
//! |---|---|---|
//! | [`RoundRobin`] | each in turn | nothing |
//! | [`WeightedRoundRobin`] | each in turn, by weight, evenly spread | weights |
//! | [`Random`] | any, by weight | weights |
//! | [`LeastConnections`] | the least loaded | requests in flight |
//! | [`LeastTokens`] | the least loaded | tokens in flight |
//! | [`PowerOfTwoChoices`] | the less loaded of two at random | requests or tokens in flight |
//! | [`PeakEwma`] | the lesser slowness × load of two at random | latency with peaks and penalties, load |
//! | [`LeastLatency`] | who should answer this request first | quantiles of the last minute, load, health |
//! | [`Prequal`] | by latency among the cold, by load among the hot | latency by load; engines' own word |
//! | [`CostOptimized`] | the cheapest for this request, filled and spilled | prices, load |
//! | [`Adaptive`] | who has done best, and tries others | results: success, latency, cost; load |
//! | [`ConsistentHash`] | the owner of the session, user or tenant | the key, load |
//! | [`PrefixAffinity`] | who has the prompt's beginning cached, unless busy | the prompt, tokens in flight |
//! | [`PriorityTiers`] | the first tier, others as it fails; any strategy within | tiers, health |
//!
//! [`SlowStart`] wraps any of them and lets new candidates in slowly. Your own strategy is one more implementation of
//! [`LoadBalancer`](waypost_core::LoadBalancer); `waypost_testkit::conformance` tells whether it behaves. Pools, sets
//! and the traits are `waypost-core`'s.
//!
//! Strategies of load count what leases ([`InFlightLease`](waypost_core::InFlightLease)) have in flight, so take one
//! for every choice. Those that learn need to be told: record the result on the candidate
//! ([`LiveSlot::record`](waypost_core::LiveSlot::record)), then on the balancer
//! ([`record_result`](waypost_core::LoadBalancer::record_result)). The facade does both.
//!
//! # Guarantees
//!
//! - **Never outside the set.** What is not in the set is not chosen, nor what has weight zero; an empty set gives
//!   `None`.
//! - **Exact under threads.** Strategies by turn give n callers n different turns, however they interleave; a caller
//!   that sees a subset has turns of its own.
//! - **No herds.** Ties are broken at random, each as likely; turns begin at random; failures of late count as load, so
//!   who fails at once is not idle; the unknown are taken for what is usual.
//! - **No lock and no allocation** while selecting, but one table of 8 KiB per pool at the first filtered selection by
//!   turn.
//! - **Deterministic** with the generator and the time that are handed in.
//! - **Changes keep what was learnt.** A pool that takes another's place goes on with its turns, averages and beliefs.
//!
//! # What it does not do
//!
//! It does not take anyone out of play: health, limits and rules narrow the set before. It makes no calls and reads no
//! clock.
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

mod adaptive;
mod by_id;
mod catalogue;
mod choices;
mod consistent_hash;
mod cost_optimized;
mod fleet;
mod least;
mod least_connections;
mod least_latency;
mod load;
mod maglev;
#[cfg(all(test, loom))]
mod models;
mod peak_ewma;
mod posterior;
mod power_of_two_choices;
mod prefix_affinity;
mod prefix_table;
mod prequal;
mod priority_tiers;
mod probes;
mod random;
mod round_robin;
mod schedule;
mod slow_start;
mod stable_hash;
mod subsets;
mod sync;
#[cfg(test)]
mod test_pools;
mod turns;
mod weighted_draw;
mod weighted_round_robin;

pub use adaptive::{Adaptive, AdaptiveBalancer};
pub use catalogue::built_in;
pub use consistent_hash::{ConsistentHash, ConsistentHashBalancer, HashAlgorithm, HashKey};
pub use cost_optimized::{CostOptimized, CostOptimizedBalancer};
pub use least_connections::{LeastConnections, LeastConnectionsBalancer, LeastTokens};
pub use least_latency::{LeastLatency, LeastLatencyBalancer};
pub use load::LoadUnit;
pub use peak_ewma::{PeakEwma, PeakEwmaBalancer};
pub use power_of_two_choices::{PowerOfTwoChoices, PowerOfTwoChoicesBalancer};
pub use prefix_affinity::{PrefixAffinity, PrefixAffinityBalancer};
pub use prequal::{Prequal, PrequalBalancer};
pub use priority_tiers::{PriorityTiers, PriorityTiersBalancer};
pub use probes::Probes;
pub use random::{Random, RandomBalancer};
pub use round_robin::{FirstTurn, RoundRobin, RoundRobinBalancer};
pub use slow_start::{SlowStart, SlowStartBalancer};
pub use weighted_round_robin::{WeightedRoundRobin, WeightedRoundRobinBalancer};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;

#[cfg(doctest)]
#[doc = include_str!("../../../docs/src/your-own-strategy.md")]
struct YourOwnStrategy;
