//! Argmin, masked argmin, min and weighted scores over slices, with one-time dispatch.
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
//! - **Total.** NaN is never the least; an empty slice has no least; no input panics but slices of unequal length.
//! - **No allocation**, and cost linear in the slice.
//!
//! # What it does not do
//!
//! Only the scalar reference is here, which is the specification that faster paths are tested against; the dispatch is
//! in place for them.
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
