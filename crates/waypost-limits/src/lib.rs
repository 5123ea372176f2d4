//! Rate limits and budgets for LLM requests: reserve before the call, settle after it.
//!
//! For authors of gateways and clients who route on their own. With `waypost` limits are one stage of every decision,
//! and the results of requests settle them.
//!
//! ```
//! use std::time::{Duration, SystemTime};
//! use waypost_core::{DecisionContext, GatewayRequest, LimitId, RoutingContext, TenantId, Timestamp};
//! use waypost_core::{TokenUsage, Tokens};
//! use waypost_limits::{Budget, Dimension, Limit, Limits, LimitsConfig, Period, Rate};
//!
//! // Every user may use 100,000 tokens a minute; the tenant acme may spend ten dollars a day.
//! let tokens = Limit::tokens(LimitId::new("user-tokens")?, Rate::per_minute(100_000)?).per(Dimension::User);
//! let dollars = Limit::budget(LimitId::new("acme-day")?, Budget::new("10".parse()?, Period::DAY))
//!     .for_tenant(TenantId::new("acme")?);
//! let limits = Limits::new([tokens, dollars], LimitsConfig::default(), Timestamp::ORIGIN)?
//!     .on_event(|event| println!("{event}"));
//!
//! // One request: what it should take of all its limits is reserved, or nothing is.
//! let (request, wall) = (GatewayRequest::new("gpt-4o")?, SystemTime::UNIX_EPOCH);
//! let context = RoutingContext::default().with_tenant("acme".parse()?).with_user("17".parse()?);
//! let expected = TokenUsage::new(Tokens(50_000), Tokens(10_000));
//! let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, expected).at_wall_time(wall);
//! let reservation = limits.reserve(&decision, None, Some("6".parse()?))?;
//!
//! // The next would be too much, and is told until when.
//! let refused = limits.reserve(&decision, None, Some("6".parse()?)).unwrap_err();
//! assert_eq!(refused.limit(), "user-tokens");
//! assert_eq!(refused.retry_after(), Some(Duration::from_secs(12)));
//!
//! // The answer was shorter and cheaper: the rest comes back.
//! let used = TokenUsage::new(Tokens(50_000), Tokens(1_000));
//! reservation.settle(used, Some("3.20".parse()?), Timestamp::ORIGIN + Duration::from_secs(4));
//! let later = Timestamp::ORIGIN + Duration::from_secs(7);
//! let later = DecisionContext::new(&request, &context, None, later, expected).at_wall_time(wall);
//! assert!(limits.reserve(&later, None, Some("6".parse()?)).is_ok());
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! - [`Limit`]: what is bounded ([`Rate`], concurrency, [`Budget`]), for which requests, and per what; [`Limits`] is a
//!   set of them with what is used.
//! - [`Reservation`]: what one request holds until it ends. [`LimitSpent`]: which limit does not admit it, and when it
//!   may.
//! - [`PoolLimits`]: a pool's candidates with their own rates, those of their credentials and providers, and what
//!   providers say; narrows the set of a decision ([`CandidateSet`](waypost_core::CandidateSet)).
//! - [`provider_limits`] reads what providers say from the headers of their answers.
//! - [`LimitReport`]: what is used and left. [`LimitEvent`]: thresholds that are reached, periods that begin.
//! - [`Replication`], [`Replica`] and [`LimitStore`]: how several processes share limits.
//!
//! # Guarantees
//!
//! - **Rates.** In any window what is admitted is at most rate × window + burst, late corrections included, to within
//!   what the rate admits in four nanoseconds; whoever always asks gets all of it.
//! - **Money.** What is settled and reserved is at most the limit at every instant, but for what requests cost more
//!   than was expected of them. A reservation has one ending, whatever races: settled, released, or its lease is over;
//!   a cost that is known later counts all the same, in the period in which it was reserved.
//! - **All or nothing.** A request takes of all its limits or of none. One that is refused may, while it is, be in the
//!   way of another; never the other way round.
//! - **Time is handed in.** A clock that goes back creates nothing and opens no period again. Arithmetic is on integers
//!   and saturates.
//! - **Replicas.** No request waits for the store. Shares of rates add up to the limit and one request for each
//!   replica, grants of money to the budget; a replica that is cut off keeps to what it has. What a killed one spent
//!   after its last report, at most a percent and one interval of reports, may be spent again.
//! - **Memory.** At most [`LimitsConfig::max_subjects`] meters per limit. Idle ones, which are as good as new, make
//!   room; without room newcomers share one meter.
//! - **No lock, no allocation** where requests pass, but for a subject's first one and those of subjects without room.
//! - **Panics.** No request and no amount panics; an index of another pool may.
//! - **Complexity.** A request looks at its own limits: those that name its key, tenant, user, organization, tags and
//!   model, found by name, and those that name none of these.
//!
//! # What it does not do
//!
//! It makes no calls, reads no clock and starts no tasks. Nobody waits in it: whoever is refused is told when to come
//! back.
//!
//! # Crate features
//!
//! - `serde`: serde on configuration types. Costs serde.
//! - `tokio`: the runner that keeps the shares of several replicas. Costs tokio with its timer.
//!
//! Both are off by default.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod account;
mod applicable;
mod contact;
mod dimension;
mod error;
mod event;
mod fair_shares;
mod gauge;
mod headers;
mod index;
mod learned;
mod limit;
mod limits;
mod memory_store;
mod meter;
mod meter_share;
#[cfg(all(test, loom))]
mod models;
mod pace;
mod period;
mod pool_limits;
mod quota_header;
mod rate;
mod rate_meter;
mod replica;
mod replication;
mod report;
mod reservation;
#[cfg(feature = "tokio")]
mod share_runner;
mod spent;
mod store;
mod subjects;
mod sync;

pub use applicable::{Applicable, MoneyLeft};
pub use dimension::{Dimension, Subject};
pub use error::{LimitError, LimitErrors};
pub use event::{LimitChange, LimitEvent};
pub use headers::provider_limits;
pub use limit::{Bound, Budget, Limit, PriorityReserve, WhenAway};
pub use limits::{Limits, LimitsConfig, MAX_LIMITS};
pub use memory_store::MemoryStore;
pub use period::{Period, PeriodUnit, PeriodWindow, ZoneError};
pub use pool_limits::PoolLimits;
pub use rate::{MAX_BURST, MAX_PER_SECOND, MAX_PERIOD, Rate, RateError};
pub use replica::Replica;
pub use replication::Replication;
pub use report::{Level, LimitReport};
pub use reservation::Reservation;
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
pub use share_runner::keep_shares;
pub use spent::{LimitSpent, Why};
pub use store::{
    LimitStore, MoneyAnswer, MoneyReport, ReplicaId, ShareAnswer, ShareReport, StoreError, SyncAnswer,
    SyncItem, SyncKey, SyncReply, SyncRequest,
};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
