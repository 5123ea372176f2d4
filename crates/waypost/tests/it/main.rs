//! The promises of the design, held by tests, and the facade from outside.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod abuse;
mod allocations;
mod constraints;
mod determinism;
mod errors;
mod execute;
mod explain;
mod fallbacks;
mod fleet;
mod health;
mod leases;
mod limits;
mod rules;
mod seams;
mod strategies;
mod swap;
