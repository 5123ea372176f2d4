//! Deterministic simulator for LLM routing: replay a trace against simulated providers in virtual time.
//!
//! For platform teams that want to know what a policy would have done, and for authors of strategies. To route real
//! requests, depend on `waypost`.
//!
//! ```
//! use waypost_lab::{Scenario, Simulation};
//!
//! let scenario = Scenario::named("outage").expect("a known scenario");
//! let run = |seed| -> Result<_, waypost_lab::SimulationError> {
//!     Ok(Simulation::new(&scenario, seed)?.run(scenario.arrivals(seed, 2_000)))
//! };
//! let report = run(42)?;
//! assert_eq!(report.routed + report.refused, 2_000);
//! assert_eq!(report.to_json(), run(42)?.to_json(), "the same seed, the same report");
//! assert_ne!(report.to_json(), run(43)?.to_json());
//! # Ok::<(), waypost_lab::SimulationError>(())
//! ```
//!
//! # The types to know
//!
//! - [`Scenario`]: candidates with the [`ProviderProfile`]s that simulate them, a strategy, and an arrival process.
//! - [`Simulation`]: runs arrivals through a real [`Router`](waypost::Router), with a clock that jumps from event to
//!   event.
//! - [`Drill`]: requests that the router's failover sees through while providers fail, and what came of them.
//! - [`trace`]: readers for public request traces; [`ArrivalProcess`]: a generator for when none is at hand.
//! - [`Report`]: what happened, as a value, a table, JSON or a page of charts.
//!
//! # Guarantees
//!
//! - **Determinism.** One thread, no sleeping, no clock but the virtual one: the same scenario, arrivals and seed give
//!   the same report, to the byte.
//! - **Accounting.** Every arrival is routed or refused, and nothing is in flight at the end.
//! - **Validity.** Tests hold the simulator to queueing theory: M/M/1 under random splitting, power of two choices,
//!   join the shortest queue, and Little's law.
//! - **Panics.** No trace file makes a reader panic.
//!
//! # What it does not do
//!
//! It makes no real calls. Failed requests are tried again as often as the scenario says, at once and elsewhere. Providers are models of providers: each constant
//! names its source, none is a promise of the vendor.
//!
//! # Crate features
//!
//! - `http`: simulated providers that speak HTTP on loopback. Costs tokio and httparse.
//! - `cli` (default): the command line `waypost-lab`. Costs clap, indicatif and anyhow.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod arrivals;
mod charts;
mod drill;
#[cfg(feature = "http")]
#[cfg_attr(docsrs, doc(cfg(feature = "http")))]
pub mod http;
mod outcome;
mod profile;
mod provider;
mod report;
mod scenario;
mod simulation;
mod summary;
pub mod trace;

pub use arrivals::{Arrival, ArrivalProcess, Arrivals};
pub use charts::ChartError;
pub use drill::{Condition, Drill, DrillProvider, DrillReport};
pub use profile::{Episode, ProviderProfile, RateLimit, ServiceTime, Trouble};
pub use report::{BudgetReport, LatencySummary, Note, ProviderReport, Report, TimelineBin};
pub use scenario::{Deployment, Scenario, TenantProfile};
pub use simulation::{Simulation, SimulationError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
