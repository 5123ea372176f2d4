//! A candidate that was selected, until the request ends.

use std::fmt;
use std::sync::Arc;
use std::time::Duration;

use waypost_core::{
    LeftOutReason, NanoUsd, Outcome, ProviderCandidate, RequestResult, ResultEvent, Timestamp, TokenUsage,
    Tokens,
};
use waypost_limits::Reservation;

use crate::RoutingDecision;
use crate::pool_runtime::{Lease, PoolRuntime, Winner};

/// The candidate that should serve a request, and the lease on it: the request is in flight until this value is
/// finished or dropped.
///
/// [`finish`](Self::finish) says how the request ended and is what health and statistics learn from. Dropping it, on
/// an early return, a panic or a cancelled future, records the request as cancelled with the time that it took.
/// Either way it is released exactly once.
#[must_use = "dropping a selection at once records the request as cancelled"]
pub struct SelectedProvider {
    lease: Lease,
    /// What it holds of limits; taken by whoever ends it.
    reservation: Option<Reservation>,
    started: Timestamp,
    decision: RoutingDecision,
    usage: TokenUsage,
    expected_latency: Option<Duration>,
    first_token: Option<Duration>,
    /// Whether nobody said yet how the request ended.
    open: bool,
}

impl SelectedProvider {
    pub(crate) const fn new(
        lease: Lease,
        reservation: Option<Reservation>,
        started: Timestamp,
        decision: RoutingDecision,
        usage: TokenUsage,
        expected_latency: Option<Duration>,
    ) -> Self {
        Self { lease, reservation, started, decision, usage, expected_latency, first_token: None, open: true }
    }

    /// The candidate.
    pub fn candidate(&self) -> &ProviderCandidate {
        self.winner().candidate()
    }

    /// How the decision came about.
    pub const fn decision(&self) -> &RoutingDecision {
        &self.decision
    }

    /// What the request should cost there; `None` when the price is unknown.
    pub fn estimated_cost(&self) -> Option<NanoUsd> {
        self.candidate().cost(self.usage)
    }

    /// How long the answer should take there; `None` when nothing is known.
    pub const fn expected_latency(&self) -> Option<Duration> {
        self.expected_latency
    }

    /// Who was left out of the decision for now, why, and until when: the first four.
    pub fn left_out(&self) -> impl Iterator<Item = LeftOutCandidate<'_>> {
        let (pool, decided) = (&self.winner().runtime.pool, self.started);
        self.decision.left_out.iter().map(move |left_out| LeftOutCandidate {
            candidate: &pool[left_out.index],
            reason: left_out.reason,
            remaining: (left_out.until < Timestamp::MAX).then(|| left_out.until.since(decided)),
        })
    }

    pub(crate) const fn expected_usage(&self) -> TokenUsage {
        self.usage
    }

    const fn winner(&self) -> &Winner {
        self.lease.holder().holder()
    }

    pub(crate) fn candidate_arc(&self) -> &Arc<ProviderCandidate> {
        let Winner { runtime, index } = self.winner();
        &runtime.pool.candidates()[index.get()]
    }

    pub(crate) fn runtime(&self) -> &PoolRuntime {
        &self.winner().runtime
    }

    pub(crate) const fn set_selection_time(&mut self, time: Duration) {
        self.decision.selection_time = Some(time);
    }

    /// Says that the first content of the answer has come, so that a selection that is dropped later, because the
    /// reader left, still teaches how fast it came. The first call counts.
    pub fn first_content(&mut self) {
        let now = self.clock_now();
        self.first_content_at(now);
    }

    /// Like [`first_content`](Self::first_content) for callers that have just read the router's clock.
    pub fn first_content_at(&mut self, now: Timestamp) {
        self.first_token.get_or_insert(now.since(self.started));
    }

    /// Says how the request ended. A result that is marked for another candidate counts for this one all the same: the
    /// lease knows better.
    pub fn finish(self, result: &RequestResult) {
        let now = self.clock_now();
        self.finish_at(result, now);
    }

    /// Like [`finish`](Self::finish) for callers that have just read the router's clock.
    pub fn finish_at(mut self, result: &RequestResult, now: Timestamp) {
        self.settle(result, now);
    }

    /// Lets go of the lease without saying how the request ended: nothing is recorded and the request is no longer
    /// counted as in flight. For callers that cannot keep this value while the request runs; they report by
    /// [`Router::record_result`](crate::Router::record_result).
    ///
    /// Its place at a half-open breaker stays taken until that report comes, or the breaker's lease is over. For its
    /// limits it counts as what it was expected to use and cost: that report cannot tell whose they are.
    pub fn detach(mut self) {
        let now = self.clock_now();
        if let Some(reservation) = self.reservation.take() {
            reservation.settle_as_expected(now);
        }
        self.lease.holder_mut().detach();
        self.open = false;
    }

    /// Lets go of everything: the request will not be made.
    pub(crate) fn abandon(mut self) {
        let now = self.clock_now();
        if let Some(reservation) = self.reservation.take() {
            reservation.release(now);
        }
        self.open = false;
    }

    fn settle(&mut self, result: &RequestResult, now: Timestamp) {
        self.open = false;
        let Winner { runtime, index } = self.winner();
        runtime.record(&ResultEvent::new(&runtime.pool, *index, result, now));
        if !result.provider_limits.is_empty() {
            runtime.observe(*index, &result.provider_limits, now);
        }
        // After the candidate's own statistics, which health reads.
        self.lease.holder_mut().settle_in_place(result, now);
        if let Some(reservation) = self.reservation.take() {
            let used = self.used(result);
            reservation.settle(used, self.cost_of(used), now);
        }
    }

    /// What counts as used when a request ends: what the provider said; else of an answer what was expected, of a
    /// request that was given up its prompt, which providers read and bill, and of a failed one nothing.
    fn used(&self, result: &RequestResult) -> TokenUsage {
        if result.tokens != TokenUsage::default() {
            return result.tokens;
        }
        match result.outcome {
            Outcome::Success => self.usage,
            Outcome::Cancelled => TokenUsage { completion: Tokens::ZERO, ..self.usage },
            Outcome::Failure => TokenUsage::default(),
        }
    }

    /// What a usage costs here. Nothing costs nothing, whatever the price.
    fn cost_of(&self, used: TokenUsage) -> Option<NanoUsd> {
        if used == TokenUsage::default() { Some(NanoUsd::ZERO) } else { self.candidate().cost(used) }
    }

    fn clock_now(&self) -> Timestamp {
        self.winner().runtime.shared.clock.now()
    }
}

/// A candidate that was left out of a decision.
///
/// Displays like `azure-fr/gpt-4o circuit open for 4.2 s`.
#[derive(Debug, Clone, Copy)]
#[non_exhaustive]
pub struct LeftOutCandidate<'a> {
    /// Who.
    pub candidate: &'a ProviderCandidate,
    /// Why.
    pub reason: LeftOutReason,
    /// How long yet, from the decision on; `None` when it cannot be told.
    pub remaining: Option<Duration>,
}

impl fmt::Display for LeftOutCandidate<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {}", self.candidate, self.reason)?;
        match self.remaining {
            Some(remaining) => write!(f, " for {:.1} s", remaining.as_secs_f64()),
            None => Ok(()),
        }
    }
}

impl Drop for SelectedProvider {
    fn drop(&mut self) {
        if self.open {
            let now = self.clock_now();
            let mut cancelled = RequestResult::cancelled(now.since(self.started));
            cancelled.time_to_first_token = self.first_token;
            self.settle(&cancelled, now);
        }
    }
}

impl fmt::Debug for SelectedProvider {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("SelectedProvider")
            .field("candidate", self.candidate().id())
            .field("decision", &self.decision)
            .finish_non_exhaustive()
    }
}
