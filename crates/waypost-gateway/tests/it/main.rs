//! The gateway as a whole, over loopback, in front of simulated providers.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod admin;
mod aftermath;
mod client_faults;
mod clients;
mod config;
mod demo;
mod framing;
mod gateway;
mod gemini;
mod observability;
mod process;
mod process_faults;
mod program;
mod rig;
mod security;
mod signing;
mod streams;
mod tls;
mod transcripts;
mod upstream_faults;
