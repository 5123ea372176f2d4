//! Failover for LLM requests: classify errors, retry within a budget, hedge, finish in time.

#![forbid(unsafe_code)]
#![cfg_attr(docsrs, feature(doc_cfg))]

mod attempt;
mod backoff;
mod built_in;
mod candidate_list;
mod chain;
mod classifier;
mod dispatch;
mod error;
mod error_rule;
mod error_text;
mod execute;
mod hedge;
mod kind;
mod lane;
mod manual_timer;
mod outcome;
mod policy;
mod retry_after;
mod route;
mod throttle;
mod timer;
mod verdict;

pub use attempt::Attempt;
pub use backoff::{Backoff, BackoffStrategy, Jitter};
pub use candidate_list::{CandidateList, ListedCandidate};
pub use chain::{FailoverChain, Fallback, FallbackOn, ProviderSelector};
pub use classifier::{ErrorClassifier, classify};
pub use dispatch::{Dispatch, Selection};
pub use error::{BODY_BYTES, ErrorResponse, RequestError};
pub use error_rule::ErrorRule;
pub use hedge::HedgePolicy;
pub use kind::ErrorKind;
pub use manual_timer::{ManualSleep, ManualTimer};
pub use outcome::{FailedAttempt, FailoverError, GaveUp, Outcome};
pub use policy::{KindPolicy, RetryPolicy, Timeouts};
pub use throttle::{AdaptiveThrottle, ThrottleConfig};
pub use timer::Timer;
#[cfg(feature = "tokio")]
pub use timer::TokioTimer;
pub use verdict::{FailOver, MAX_RETRY_AFTER, Verdict};
