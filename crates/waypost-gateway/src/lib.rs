//! LLM gateway: one OpenAI-compatible HTTP server in front of many providers.
//!
//! For operators: the binary `waypost` of this crate, and a file that says who serves what. To route inside of a program of
//! one's own, depend on `waypost`; this library is what the binary consists of, for tests and for those who embed it.
//!
//! ```
//! use waypost_gateway::{Config, Server};
//!
//! let text = r#"
//!     [server]
//!     listen = "127.0.0.1:0"
//!     admin = ""
//!
//!     [providers.local]
//!     type = "openai-compatible"
//!     endpoint = "http://127.0.0.1:8000/v1"
//!
//!     [models.llama]
//!     candidates = [{ provider = "local", model = "meta-llama/Llama-3-70B" }]
//!
//!     [aliases]
//!     fast = "llama"
//! "#;
//! let config = Config::read("waypost.toml", text)?;
//! assert!(config.warnings().is_empty());
//!
//! # tokio::runtime::Runtime::new()?.block_on(async {
//! let server = Server::start(config, "waypost.toml".into()).await?;
//! assert!(server.address().ip().is_loopback());
//! server.stop().await;
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! # })?;
//!
//! // Everything that is wrong is told at once, where it stands.
//! let errors = Config::read("w.toml", "[models.m]\ncandidates = []\nstratgy = \"random\"").unwrap_err();
//! assert_eq!(errors.lines().next().unwrap(), "w.toml:3:1: unknown key `stratgy` in `models.m` (did you mean `strategy`?)");
//! # Ok::<(), Box<dyn std::error::Error>>(())
//! ```
//!
//! # The types to know
//!
//! - [`Config`]: a configuration that was read and checked as a whole; [`ConfigErrors`]: all that is wrong with one.
//! - [`Server`]: a gateway that listens, from its start to its orderly end.
//! - [`Gateway`]: what serves requests; its [`router`](Gateway::router) is the facade's.
//! - [`Endpoint`]: what clients may ask for, by path.
//!
//! # Guarantees
//!
//! - **Bytes.** A request goes to candidates of its own protocol byte for byte, but for the model's name, credentials, and
//!   the wish for usage at the end of a stream. Only the fields that routing reads are looked at, where they stand.
//! - **Streams.** Until the first content another candidate may take over; from then on nothing is tried again. A stream
//!   that breaks off, stalls or ends too early is told to the client as an error event of its protocol, never as a clean
//!   end. Events pass whole, as soon as they are; at most one that is not whole is held, and nothing is read while the
//!   client takes nothing.
//! - **Accounting.** Every request is settled once: answered, failed, or cancelled with the tokens that were seen.
//! - **Secrets.** Provider keys come from the environment or from files, are never printed, and are cut out of the
//!   errors that providers report. Clients' keys are kept as keyed hashes. Of clients' headers only those of the protocols are passed on.
//! - **Reload.** A configuration takes effect as a whole or not at all. Counters, breakers and limits stay.
//! - **Bounds.** Bodies, heads, events, connections, requests at once, times: each has one, by default.
//! - **Panics.** No request, answer or configuration panics.
//!
//! # What it does not do
//!
//! It does not translate between protocols: a request of one goes to candidates that speak it. It keeps no conversation, and
//! fetches nothing that a request names.
//!
//! # Crate features
//!
//! - `mimalloc` (default): the allocator of the binary. Costs a C library.
//! - `otlp` (default): traces and metrics for a collector. Costs the OpenTelemetry crates.
//! - `demo` (default): `waypost demo`, simulated providers and load. Costs `waypost-lab`.
//!
//! # MSRV
//!
//! Rust 1.95.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod admin;
mod admission;
mod alarms;
mod answer;
mod answering;
mod closing;
pub mod config;
#[cfg(feature = "demo")]
#[cfg_attr(docsrs, doc(cfg(feature = "demo")))]
pub mod demo;
mod dialect;
mod directory;
mod endpoint;
mod event_stream;
mod exchange;
#[cfg(feature = "otlp")]
mod export;
mod form;
mod gateway;
mod gathered;
mod header;
mod json;
mod keys;
mod metrics;
mod opening;
mod places;
mod provider;
mod record;
mod recorder;
mod refusal;
mod reload;
mod request_body;
mod scan;
mod secrets;
mod serve;
mod server;
mod serving;
mod settlement;
mod signing;
mod sse;
mod target;
mod upstream;
mod usage;
#[cfg(test)]
mod wakes;

pub use config::{Config, ConfigErrors, Telemetry};
pub use endpoint::Endpoint;
pub use gateway::{ExplainError, Gateway, SetupError};
pub use keys::NewKey;
pub use serve::{Server, StartError};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
