//! Argmin, masked argmin, min, weighted scores and least load over slices, with one-time dispatch.
//!
//! For authors of load balancing strategies, or of anything else that looks for the least of some hundred numbers. To
//! balance load, depend on `waypost-balancers` or the facade `waypost`.
//!
//! ```
//! use waypost_simd_kernels::Kernels;
//!
//! let kernels = Kernels::detect();
//! let mut scores = [0.0; 3];
//! kernels.weighted_scores(&[4.0, 1.0, 0.0], &[5.0, 1.0, 0.0], &mut scores);
//! assert_eq!(scores, [1.0, 2.0, f32::INFINITY]);
//! assert_eq!(kernels.argmin(&scores), Some(0));
//! assert_eq!(kernels.masked_argmin(&scores, &[0b110]), Some(1));
//! ```
//!
//! # The types to know
//!
//! [`Kernels`] is the whole interface: a token that says which instruction set was found, with the kernels as methods.
//! Make it once, keep it, and pass slices in; indices and numbers come out.
//!
//! # Guarantees
//!
//! - **The same answer everywhere.** Every implementation gives the answer of [`Kernels::scalar`], ties included: the
//!   first of equals wins, so routing does not differ by processor.
//! - **Total.** NaN is never the least; an empty slice has no least; no input panics but slices of lengths that do not fit.
//! - **No allocation**, and cost linear in the slice.
//!
//! # Which paths there are
//!
//! Only the scalar reference. A path for an instruction set stays only if a recorded bench shows that it makes a
//! *selection* faster, and none did:
//!
//! - AVX2, least load by cross-multiplication: 0.8 µs for 1,000 places, but the loads are atomics that requests
//!   change, and copying them side by side costs 1.9 µs more, with their cache lines side by side as well; comparing
//!   them where they are costs 2.5 µs in all. At 512 it was 1.41 µs against 1.30. Vector loads of live atomics would
//!   be a data race.
//! - `min`, `argmin`, `masked_argmin`, `weighted_scores`: no strategy has a plain slice to scan, for the same reason.
//! - AVX-512: its intrinsics are stable from Rust 1.89 on, this crate builds with 1.88; it would copy as AVX2 does.
//! - SSE4.2 and NEON: half as wide as AVX2.
//!
//! # What it does not do
//!
//! It knows nothing of routing, and draws no ties: it marks them.
//!
//! # Crate features
//!
//! None.
//!
//! # MSRV
//!
//! Rust 1.88.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod dispatch;
mod scalar;

pub use dispatch::{Kernels, Level};

#[cfg(doctest)]
#[doc = include_str!("../README.md")]
struct Readme;
