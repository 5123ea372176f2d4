//! How an answer that is on its way ends: told to the router once, whatever happens.

use std::sync::Arc;

use waypost::core::{Clock, FaultScope, ProviderLimits, Timestamp, Tokens};
use waypost::{RequestResult, SelectedProvider};

use crate::usage::{Said, Usage};

/// What an attempt holds while its answer is on its way. Dropped, it is settled as cancelled by the client, with the tokens
/// that were seen.
pub(crate) struct Settlement {
    selection: Option<SelectedProvider>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
    first_content: Option<Timestamp>,
    said: Said,
    prompt: Tokens,
    /// Pieces of content that were passed on.
    counted: u64,
    limits: ProviderLimits,
}

impl Settlement {
    pub(crate) fn new(clock: Arc<dyn Clock>, prompt: Tokens) -> Self {
        let started = clock.now();
        Self {
            selection: None,
            clock,
            started,
            first_content: None,
            said: Said::default(),
            prompt,
            counted: 0,
            limits: ProviderLimits::default(),
        }
    }

    /// From here on it is this that tells the router.
    pub(crate) fn take_over(&mut self, selection: Option<SelectedProvider>) {
        self.selection = selection;
    }

    pub(crate) fn hear(&mut self, usage: Usage) {
        self.said.hear(usage);
    }

    pub(crate) fn limits(&mut self, limits: ProviderLimits) {
        self.limits = limits;
    }

    /// One more piece of content.
    pub(crate) fn content(&mut self) {
        if self.first_content.is_none() {
            self.first_content = Some(self.clock.now());
        }
        self.counted += 1;
    }

    /// What was used so far.
    pub(crate) fn usage(&self) -> waypost::core::TokenUsage {
        self.said.or_counted(self.prompt, Tokens(self.counted))
    }

    /// The answer is complete.
    pub(crate) fn complete(&mut self) {
        self.end(RequestResult::success);
    }

    /// The provider broke off.
    pub(crate) fn interrupted(&mut self, why: &str) {
        self.end(|latency, usage| {
            let mut result = RequestResult::failure(latency, why).reaching(FaultScope::Deployment);
            result.tokens = usage;
            result
        });
    }

    fn end(&mut self, result: impl FnOnce(std::time::Duration, waypost::core::TokenUsage) -> RequestResult) {
        let Some(selection) = self.selection.take() else { return };
        let now = self.clock.now();
        let mut result = result(now.since(self.started), self.usage());
        result.time_to_first_token = self.first_content.map(|at| at.since(self.started));
        result.provider_limits = self.limits;
        selection.finish_at(&result, now);
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.end(|latency, usage| {
            let mut result = RequestResult::cancelled(latency);
            result.tokens = usage;
            result
        });
    }
}

impl std::fmt::Debug for Settlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settlement").field("counted", &self.counted).finish_non_exhaustive()
    }
}
