//! Benchmarks of the Waypost crates beside their floors, their naive forms and their peers.
//!
//! Run by `cargo xtask bench`, which also reads the rows that [`Rows`] writes. Unpublished.
//!
//! Each bench target is one question. Cases that belong together are measured in one run, because machines differ from
//! each other and from themselves an hour later: quote ratios, not nanoseconds.

#![forbid(unsafe_code)]

#[cfg(feature = "peers")]
pub mod breakers;
#[cfg(feature = "peers")]
mod expressions;
pub mod fleet;
pub mod floor;
#[cfg(feature = "peers")]
pub mod governors;
mod metered;
pub mod naive;
mod naive_health;
mod naive_limits;
mod naive_picks;
mod naive_rules;
#[cfg(feature = "peers")]
pub mod peers;
mod picks;
mod rows;
mod rulebook;
mod screening;

#[cfg(feature = "peers")]
pub use expressions::Expressions;
pub use metered::Metered;
pub use naive_health::NaiveHealth;
pub use naive_limits::NaiveLimits;
pub use naive_picks::NaivePicks;
pub use naive_rules::NaiveRules;
pub use picks::Picks;
pub use rows::Rows;
pub use rulebook::Rulebook;
pub use screening::{Screening, Wing};
