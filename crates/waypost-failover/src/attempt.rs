//! What the caller's operation is told of its attempt, and says of it.

use core::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use core::time::Duration;
use std::sync::{Arc, OnceLock};

use waypost_core::{Endpoint, ProviderCandidate, ProviderLimits, TokenUsage, Tokens};

/// One attempt at one candidate: what the operation is told, and what it says while it runs.
///
/// Cheap to clone; all clones are one attempt.
#[derive(Debug, Clone)]
pub struct Attempt(Arc<State>);

#[derive(Debug)]
struct State {
    candidate: Arc<ProviderCandidate>,
    number: u32,
    is_hedge: bool,
    time_limit: Option<Duration>,
    connected: AtomicBool,
    content: AtomicBool,
    /// Counts what was said, so that a change shows life.
    signs: AtomicU64,
    tokens: AtomicU64,
    usage: OnceLock<TokenUsage>,
    provider_limits: OnceLock<ProviderLimits>,
}

impl Attempt {
    pub(crate) fn new(
        candidate: Arc<ProviderCandidate>,
        number: u32,
        is_hedge: bool,
        time_limit: Option<Duration>,
    ) -> Self {
        Self(Arc::new(State {
            candidate,
            number,
            is_hedge,
            time_limit,
            connected: AtomicBool::new(false),
            content: AtomicBool::new(false),
            signs: AtomicU64::new(0),
            tokens: AtomicU64::new(0),
            usage: OnceLock::new(),
            provider_limits: OnceLock::new(),
        }))
    }

    /// The candidate to call.
    pub fn candidate(&self) -> &Arc<ProviderCandidate> {
        &self.0.candidate
    }

    /// Where the candidate is reached, if the operator said.
    pub fn endpoint(&self) -> Option<&Endpoint> {
        self.0.candidate.endpoint()
    }

    /// Which attempt of the request this is, from 0, earlier layers' included. Send it along (`x-attempt`), so that
    /// layers below do not earn retries for it.
    pub fn number(&self) -> u32 {
        self.0.number
    }

    /// Whether it is the second of two that run at once.
    pub fn is_hedge(&self) -> bool {
        self.0.is_hedge
    }

    /// How long it may take from its start; `None` without bound. It is dropped then in any case.
    pub fn time_limit(&self) -> Option<Duration> {
        self.0.time_limit
    }

    /// Says that the connection stands: the timeout to connect is over.
    pub fn connected(&self) {
        self.0.connected.store(true, Ordering::Relaxed);
    }

    /// Says that the first content of the answer has come: from now on nothing is retried, and a hedge is cancelled.
    pub fn first_content(&self) {
        self.0.content.store(true, Ordering::Relaxed);
        self.progress(Tokens::ZERO);
    }

    /// Says that more of the answer has come: the stream is not idle, and so many tokens more were delivered.
    pub fn progress(&self, tokens: Tokens) {
        self.0.tokens.fetch_add(tokens.0, Ordering::Relaxed);
        self.0.signs.fetch_add(1, Ordering::Relaxed);
    }

    /// Says that the whole answer is there, and what it used. An operation that said
    /// [`first_content`](Self::first_content) and not this leaves the outcome open.
    pub fn complete(&self, usage: TokenUsage) {
        self.0.usage.get_or_init(|| usage);
    }

    /// Says what the provider said about its limits.
    pub fn provider_limits(&self, limits: ProviderLimits) {
        self.0.provider_limits.get_or_init(|| limits);
    }

    /// Tokens of the answer that were delivered so far, as the operation said.
    pub fn delivered(&self) -> Tokens {
        Tokens(self.0.tokens.load(Ordering::Relaxed))
    }

    pub(crate) fn is_connected(&self) -> bool {
        self.0.connected.load(Ordering::Relaxed)
    }

    pub(crate) fn has_content(&self) -> bool {
        self.0.content.load(Ordering::Relaxed)
    }

    pub(crate) fn signs(&self) -> u64 {
        self.0.signs.load(Ordering::Relaxed)
    }

    pub(crate) fn usage(&self) -> Option<TokenUsage> {
        self.0.usage.get().copied()
    }

    pub(crate) fn limits_said(&self) -> ProviderLimits {
        self.0.provider_limits.get().copied().unwrap_or(ProviderLimits::EMPTY)
    }
}
