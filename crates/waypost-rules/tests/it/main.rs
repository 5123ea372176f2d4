//! The crate alone, as a stranger uses it.

#![forbid(unsafe_code)]
#![expect(clippy::unwrap_used, reason = "a test that cannot go on has failed")]

mod bad_input;
mod oracle;
mod promise_7;
mod resources;
#[cfg(feature = "toml")]
mod worked_example;
