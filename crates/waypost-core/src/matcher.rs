//! Conditions on requests.

use core::fmt;

use crate::DecisionContext;

/// A condition that a request meets or not: what rules are made of.
///
/// ```
/// use waypost_core::{DecisionContext, RequestMatcher};
///
/// #[derive(Debug)]
/// struct LongPrompt;
///
/// impl RequestMatcher for LongPrompt {
///     fn matches(&self, decision: &DecisionContext<'_>) -> bool {
///         decision.usage.prompt.0 > 100_000
///     }
///
///     fn description(&self) -> String {
///         "the prompt has more than 100,000 tokens".into()
///     }
/// }
/// ```
pub trait RequestMatcher: fmt::Debug + Send + Sync {
    /// Whether the request meets the condition. What is missing equals nothing; it is never an error.
    fn matches(&self, decision: &DecisionContext<'_>) -> bool;

    /// The condition in words, to be read after *when*.
    fn description(&self) -> String;
}
