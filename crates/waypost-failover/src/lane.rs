//! One attempt that runs.

use core::time::Duration;

use waypost_core::{FaultScope, RequestResult, Timestamp, TokenUsage, Tokens};

use crate::{Attempt, ErrorKind, FailedAttempt, RequestError, Selection, Timeouts, Verdict};

/// One attempt that runs: what it holds, and what was seen of it.
#[derive(Debug)]
pub(crate) struct Lane<S> {
    pub(crate) selection: S,
    pub(crate) attempt: Attempt,
    started: Timestamp,
    waited: Duration,
    first_content: Option<Timestamp>,
    /// Signs of life seen so far, and when the last was.
    signs: (u64, Timestamp),
    /// The caller's deadline ended it, which left it less time than it may take.
    is_cut: bool,
}

impl<S: Selection> Lane<S> {
    pub(crate) const fn new(selection: S, attempt: Attempt, started: Timestamp, waited: Duration) -> Self {
        Self { selection, attempt, started, waited, first_content: None, signs: (0, started), is_cut: false }
    }

    pub(crate) const fn started(&self) -> Timestamp {
        self.started
    }

    /// Looks at what the operation said. Whether the first content has just come.
    pub(crate) fn observe(&mut self, now: Timestamp) -> bool {
        let signs = self.attempt.signs();
        if signs != self.signs.0 {
            self.signs = (signs, now);
        }
        let is_first = self.first_content.is_none() && self.attempt.has_content();
        if is_first {
            self.first_content = Some(now);
            self.selection.first_content_at(now);
        }
        is_first
    }

    /// When its time is over if nothing more comes.
    pub(crate) fn ends(&self, timeouts: &Timeouts, streamed: bool) -> Timestamp {
        self.times_out(timeouts, streamed, self.attempt.time_limit())
    }

    /// Its time is over. Whether only the caller's deadline says so: that tells nothing of the provider.
    pub(crate) fn cut_at(&mut self, now: Timestamp, timeouts: &Timeouts, streamed: bool) {
        self.is_cut = now < self.times_out(timeouts, streamed, timeouts.total);
    }

    fn times_out(&self, timeouts: &Timeouts, streamed: bool, total: Option<Duration>) -> Timestamp {
        let from =
            |start: Timestamp, time: Option<Duration>| time.map_or(Timestamp::MAX, |time| start + time);
        let total = from(self.started, total);
        let connect = timeouts.connect.filter(|_| !self.attempt.is_connected());
        let waits_for = match self.first_content {
            Some(_) => from(self.signs.1, timeouts.idle),
            None if streamed => from(self.started, timeouts.first_content).min(from(self.started, connect)),
            None => from(self.started, connect),
        };
        total.min(waits_for)
    }

    /// The operation returned an answer. Gives back the selection if the answer is still coming.
    pub(crate) fn answered(self, now: Timestamp) -> Option<S> {
        let usage = self.attempt.usage();
        if usage.is_none() && self.first_content.is_some() {
            return Some(self.selection);
        }
        let mut result = RequestResult::success(now.since(self.started), usage.unwrap_or_default());
        result.time_to_first_token = self.first_content.map(|at| at.since(self.started));
        result.provider_limits = self.attempt.limits_said();
        self.selection.finish_at(&result, now);
        None
    }

    /// The other attempt was faster. That this one's first token would have come later is worth knowing: without it the
    /// quantile that starts hedges would shrink with every hedge. A hedge began later and tells nothing.
    pub(crate) fn lost(mut self, now: Timestamp) {
        if !self.attempt.is_hedge() {
            self.selection.first_content_at(now);
        }
    }

    /// What an error of the attempt means: one after the first content is the stream's. Who is overloaded while more of
    /// our requests are there is full of them, not ill: if breakers opened for that, a push of load would take out the
    /// capacity that the load after it needs, and never end.
    pub(crate) fn verdict(&self, judged: Verdict) -> Verdict {
        let judged =
            Verdict { counts_against_health: judged.counts_against_health && !self.is_cut, ..judged };
        if self.first_content.is_none() {
            let others = self.selection.candidate().live().in_flight().requests > 1;
            let is_full = others && judged.kind == ErrorKind::Overloaded;
            return Verdict { counts_against_health: judged.counts_against_health && !is_full, ..judged };
        }
        let broken = Verdict::of_kind(ErrorKind::StreamInterrupted);
        Verdict {
            scope: judged.scope,
            cool_down: judged.cool_down,
            retry_after: judged.retry_after,
            counts_against_health: broken.counts_against_health && !self.is_cut,
            ..broken
        }
    }

    /// The attempt failed.
    pub(crate) fn failed(self, error: RequestError, verdict: Verdict, now: Timestamp) -> FailedAttempt {
        let failed = FailedAttempt {
            candidate: self.selection.candidate().id().clone(),
            number: self.attempt.number(),
            is_hedge: self.attempt.is_hedge(),
            verdict,
            waited: self.waited,
            took: now.since(self.started),
            delivered: self.attempt.delivered(),
            error,
        };
        let mut result = result_of(&failed, self.selection.prompt());
        result.time_to_first_token = self.first_content.map(|at| at.since(self.started));
        result.provider_limits = self.attempt.limits_said();
        self.selection.finish_at(&result, now);
        failed
    }
}

/// What health, statistics and limits are told of a failed attempt.
fn result_of(failed: &FailedAttempt, prompt: Tokens) -> RequestResult {
    let verdict = &failed.verdict;
    let mut result = RequestResult::failure(failed.took, failed.error.to_string());
    result.status_code = status(verdict).or_else(|| failed.error.status_code());
    result.retry_after = verdict.cool_down.max(verdict.retry_after);
    result.scope = Some(scope(verdict));
    if failed.delivered > Tokens::ZERO {
        result.tokens = TokenUsage::new(prompt, failed.delivered);
    }
    result
}

/// The status by which health knows what is no failure of the provider, whatever status it came with. Who is well and asks
/// for a rest is known by that of a rate limit.
fn status(verdict: &Verdict) -> Option<u16> {
    let asks_for_rest = verdict.retry_after.or(verdict.cool_down).is_some_and(|rest| !rest.is_zero());
    match verdict.kind {
        ErrorKind::RateLimitExceeded => Some(429),
        ErrorKind::QuotaExhausted => Some(402),
        ErrorKind::Authentication => Some(401),
        ErrorKind::PermissionDenied | ErrorKind::ModelNotFound => Some(403),
        _ if !verdict.counts_against_health && verdict.scope != FaultScope::Request && asks_for_rest => {
            Some(429)
        }
        _ => None,
    }
}

/// What is at fault, as health counts it. That of one model at a provider, each candidate learns by itself.
fn scope(verdict: &Verdict) -> FaultScope {
    match (verdict.scope, verdict.counts_against_health || status(verdict).is_some()) {
        (_, false) => FaultScope::Request,
        (FaultScope::Model, true) => FaultScope::Deployment,
        (scope, true) => scope,
    }
}
