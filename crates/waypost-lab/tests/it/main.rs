//! The simulator against theory, itself and real traces.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod drills;
mod health;
mod queueing;
mod real_traces;
mod runs;
