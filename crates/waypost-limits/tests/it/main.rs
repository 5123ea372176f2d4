//! What limits promise, from outside.

#![forbid(unsafe_code)]
#![cfg(not(loom))]
#![expect(clippy::print_stdout, reason = "figures and seeds are told")]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod allocations;
mod captured_headers;
mod crowd;
mod fair;
mod learned;
mod months;
mod promise_5;
mod promise_6;
mod replicas_money;
mod replicas_rates;
mod rig;
mod scopes;
mod sim;
mod subjects;
mod updates;
