//! The promises of the design, held by tests, and the facade from outside.

mod abuse;
mod allocations;
mod constraints;
mod determinism;
mod errors;
mod explain;
mod fleet;
mod leases;
mod seams;
mod swap;
