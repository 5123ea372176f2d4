//! How an answer that is on its way ends: told to the router once, whatever happens.

use std::sync::Arc;
use std::time::Duration;

use waypost::core::{Clock, FaultScope, NanoUsd, ProviderLimits, Timestamp, TokenUsage, Tokens};
use waypost::{RequestResult, SelectedProvider};

use crate::record::{Ending, Recording};
use crate::usage::{Said, Usage};

/// What was seen of an answer so far.
#[derive(Debug)]
pub(crate) struct Progress {
    clock: Arc<dyn Clock>,
    started: Timestamp,
    first_content: Option<Timestamp>,
    /// When all of an answer had come that did not come in pieces.
    whole: Option<Timestamp>,
    said: Said,
    prompt: Tokens,
    /// Pieces of content that were passed on.
    counted: u64,
    limits: ProviderLimits,
}

impl Progress {
    /// Of a request that is sent now.
    pub(crate) fn new(clock: Arc<dyn Clock>, prompt: Tokens) -> Self {
        let started = clock.now();
        Self {
            clock,
            started,
            first_content: None,
            whole: None,
            said: Said::default(),
            prompt,
            counted: 0,
            limits: ProviderLimits::EMPTY,
        }
    }

    pub(crate) fn hear(&mut self, usage: Usage) {
        self.said.hear(usage);
    }

    /// All of an answer has come. What it did not say of its length is taken as counted.
    pub(crate) fn hear_all(&mut self, said: Said, counted: u64) {
        (self.said, self.counted, self.whole) = (said, counted, Some(self.clock.now()));
    }

    pub(crate) const fn limits(&mut self, limits: ProviderLimits) {
        self.limits = limits;
    }

    /// The first content has come.
    pub(crate) fn begin(&mut self) {
        self.first_content = Some(self.clock.now());
    }

    /// So many more pieces of content are passed on.
    pub(crate) const fn content(&mut self, pieces: u64) {
        self.counted += pieces;
    }

    /// What a complete answer used.
    fn usage(&self) -> TokenUsage {
        self.said.or_counted(self.prompt, Tokens(self.counted))
    }

    /// How long it took to send a request that was all there then, and how long what is ready has waited.
    pub(crate) fn overhead(&self, arrived: Timestamp, now: Timestamp) -> Duration {
        let ready = self.whole.or(self.first_content);
        let after = ready.map_or(Duration::ZERO, |ready| now.since(ready));
        self.started.since(arrived) + after
    }
}

/// What an attempt holds while its answer is on its way to the client. Dropped, it is settled as cancelled by the client,
/// with the tokens that were seen.
pub(crate) struct Settlement {
    pub(crate) progress: Progress,
    selection: Option<SelectedProvider>,
    recording: Option<Recording>,
}

impl Settlement {
    /// From here on it is this that tells the router.
    pub(crate) const fn new(
        progress: Progress,
        selection: Option<SelectedProvider>,
        recording: Option<Recording>,
    ) -> Self {
        Self { progress, selection, recording }
    }

    /// What that costs, where the price is known.
    pub(crate) fn cost(&self) -> Option<NanoUsd> {
        self.cost_of(self.progress.usage())
    }

    fn cost_of(&self, usage: TokenUsage) -> Option<NanoUsd> {
        self.selection.as_ref().and_then(|selection| selection.candidate().cost(usage))
    }

    /// The answer is complete.
    pub(crate) fn complete(&mut self) {
        self.end(Ending::Answered, RequestResult::success);
    }

    /// The provider broke off.
    pub(crate) fn interrupted(&mut self, why: &'static str) {
        self.end(Ending::Interrupted(why), |latency, usage| {
            let mut result = RequestResult::failure(latency, why).reaching(FaultScope::Deployment);
            result.tokens = usage;
            result
        });
    }

    fn end(&mut self, ending: Ending, result: impl FnOnce(Duration, TokenUsage) -> RequestResult) {
        if self.selection.is_none() && self.recording.is_none() {
            return;
        }
        let progress = &self.progress;
        let now = progress.clock.now();
        let usage = match ending {
            Ending::Answered => progress.usage(),
            _ => progress.said.or_more(progress.prompt, Tokens(progress.counted)),
        };
        let cost = self.cost_of(usage);
        let time_to_first_token = progress.first_content.map(|at| at.since(progress.started));
        if let Some(selection) = self.selection.take() {
            let mut result = result(now.since(progress.started), usage);
            result.time_to_first_token = time_to_first_token;
            result.provider_limits = progress.limits;
            selection.finish_at(&result, now);
        }
        if let Some(mut recording) = self.recording.take() {
            if let Some(record) = recording.record() {
                (record.usage, record.cost, record.time_to_first_token) = (usage, cost, time_to_first_token);
            }
            recording.end_at(ending, now);
        }
    }
}

impl Drop for Settlement {
    fn drop(&mut self) {
        self.end(Ending::Cancelled, |latency, usage| {
            let mut result = RequestResult::cancelled(latency);
            result.tokens = usage;
            result
        });
    }
}

impl std::fmt::Debug for Settlement {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Settlement").field("progress", &self.progress).finish_non_exhaustive()
    }
}
