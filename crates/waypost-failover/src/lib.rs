//! Failover for LLM requests: classify errors, retry within a budget, hedge, finish in time.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod classifier;
mod error;
mod kind;
mod verdict;

pub use classifier::ErrorClassifier;
pub use error::{BODY_BYTES, ErrorResponse, RequestError};
pub use kind::ErrorKind;
pub use verdict::{FailOver, MAX_RETRY_AFTER, Verdict};
