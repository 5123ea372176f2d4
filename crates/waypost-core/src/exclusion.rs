//! Candidates that a request must not go to.

use std::sync::Arc;

use crate::{FaultScope, ProviderCandidate, ProviderId, Tokens};

/// Candidates that a request must not go to, besides whole providers: what earlier attempts taught, and what a failover
/// chain names.
///
/// ```
/// use std::sync::Arc;
/// use waypost_core::{Exclusion, FaultScope, ProviderCandidate};
///
/// let failed = Arc::new(ProviderCandidate::openai("openai", "gpt-4o").credential("key-1").build()?);
/// let other_key = ProviderCandidate::openai("openai-2", "gpt-4o").credential("key-2").build()?;
/// let refused = Exclusion::Fault { at: Arc::clone(&failed), scope: FaultScope::Credential };
/// assert!(refused.covers(&failed) && !refused.covers(&other_key));
/// # Ok::<(), waypost_core::CandidateError>(())
/// ```
#[derive(Debug, Clone)]
#[non_exhaustive]
pub enum Exclusion {
    /// All that a fault reaches.
    Fault {
        /// Where it was seen.
        at: Arc<ProviderCandidate>,
        /// How far it reaches.
        scope: FaultScope,
    },
    /// All whose context window is not larger. One that nobody said counts as endless.
    WindowUpTo(Tokens),
    /// All but the candidates of these providers.
    OtherThan(Arc<[ProviderId]>),
}

impl Exclusion {
    /// Whether a candidate is among them.
    pub fn covers(&self, candidate: &ProviderCandidate) -> bool {
        match self {
            Self::Fault { at, scope } => scope.reaches(at, candidate),
            Self::WindowUpTo(most) => candidate.capabilities().context_window <= *most,
            Self::OtherThan(providers) => !providers.contains(candidate.provider()),
        }
    }
}
