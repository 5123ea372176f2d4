//! The crate alone, as a stranger uses it: pools of its own, results of its own, a clock that the test moves.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]
#![cfg(not(loom))]

mod allocations;
mod detectors;
mod pools;
mod rig;
mod scopes;
#[cfg(feature = "serde")]
mod serial;
