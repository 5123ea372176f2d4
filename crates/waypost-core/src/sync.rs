//! The atomics that this crate uses: `core`'s, or loom's under `--cfg loom`, so that the shipped code is the checked
//! code.

#[cfg(not(loom))]
pub(crate) use core::sync::atomic::{AtomicU8, AtomicU64, Ordering};

#[cfg(loom)]
pub(crate) use loom::sync::atomic::{AtomicU8, AtomicU64, Ordering};
