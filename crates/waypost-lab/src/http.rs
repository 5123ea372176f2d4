//! Simulated providers that speak the real protocols over HTTP, on loopback.

mod provider;
mod script;
mod speech;

pub use provider::{HttpLedger, HttpProvider, HttpRequest};
pub use script::{Script, Step};
pub use speech::Speech;
