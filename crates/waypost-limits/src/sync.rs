//! The atomics of state that is model-checked: `core`'s, or loom's under `--cfg loom`, so that the shipped code is the
//! checked code.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU64, Ordering};
