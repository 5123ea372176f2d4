//! What tests of routing strategies need: rigs, pool builders and a balancer conformance suite.
//!
//! For authors of strategies, in this workspace and outside. It is a development dependency; nothing of it runs in
//! production.
//!
//! ```
//! use waypost_core::{CandidateIndex, CandidateSet, LoadBalancer, SelectContext};
//! use waypost_testkit::{SelectRig, conformance, equal_pool};
//!
//! /// Always the last that is left.
//! #[derive(Debug)]
//! struct Last;
//!
//! impl LoadBalancer for Last {
//!     fn select(&self, set: &CandidateSet<'_>, _: &mut SelectContext<'_, '_>) -> Option<CandidateIndex> {
//!         set.nth(set.len().checked_sub(1)?)
//!     }
//! }
//!
//! conformance::contract(|_pool| Last);
//!
//! let pool = equal_pool(3);
//! assert_eq!(SelectRig::new(7).select(&Last, &pool.all()), pool.index(2));
//! ```
//!
//! # The items to know
//!
//! [`conformance`] tells whether a balancer keeps the contract of [`LoadBalancer`](waypost_core::LoadBalancer) and how
//! it spreads requests, with a [`Fleet`] simulated in virtual time; [`SelectRig`] calls one without the ceremony of a
//! decision; [`equal_pool`] makes a pool. A clock that moves when told is [`ManualClock`](waypost_core::ManualClock).
//!
//! # Guarantees
//!
//! Suites panic with what was wrong, as tests do; they use fixed seeds, no wall clock and no sleeping.
//!
//! # What it does not do
//!
//! It does not judge how well a strategy balances on real traffic; `waypost-lab` simulates that.
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

pub mod conformance;
mod fleet;
mod select_rig;
#[cfg(test)]
mod testing;

pub use fleet::{Fleet, FleetOutcome};
pub use select_rig::{SelectRig, equal_pool};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
