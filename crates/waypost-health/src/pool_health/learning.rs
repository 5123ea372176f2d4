//! What results teach.

use core::time::Duration;

use waypost_core::{CandidateIndex, RequestResult, Timestamp};

use super::{PoolHealth, Seat};
use crate::CallOutcome;
use crate::admission::{SharedPermits, Ticket};
use crate::circuit::Permit;
use crate::condition::Shared;
use crate::evidence::Evidence;

impl PoolHealth {
    /// Takes what a result says.
    pub(crate) fn learn(
        &self,
        index: CandidateIndex,
        ticket: Ticket,
        result: &RequestResult,
        now: Timestamp,
    ) {
        if !self.is_on() {
            return;
        }
        let seat = &self.seats[index.get()];
        let evidence = Evidence::of(result);
        let is_current = ticket.era == seat.health.era();
        self.record(seat, 0, ticket.own, evidence.outcome(self.is_slow(result)), now);
        // While all is well there, only a failure says anything of others.
        if self.suspects.has_shared(index) || matches!(evidence, Evidence::Failure(_)) {
            let permits = match ticket.shared {
                SharedPermits::Taken(permits) => permits,
                SharedPermits::Closed { changes } if changes == self.shared_changes() => seat.unasked(),
                // Some shared breaker changed meanwhile, perhaps one of these: the result may be of before. One count for
                // all of them costs a few results of others while one flaps, and admission one word instead of three.
                SharedPermits::Closed { .. } => [None, None, None],
            };
            self.record_shared(index, permits, evidence, now);
        }
        if !seat.health.is_before_reset(ticket.era) {
            self.rest(seat, evidence, result, now);
        }
        if is_current {
            self.count(seat, ticket.era, evidence, result, now);
        }
    }

    fn record_shared(
        &self,
        index: CandidateIndex,
        permits: [Option<Permit>; 3],
        evidence: Evidence,
        now: Timestamp,
    ) {
        let seat = &self.seats[index.get()];
        for (place, permit) in permits.into_iter().enumerate() {
            if let Some(shared) = &seat.shared[place] {
                let outcome = self.outcome_for(index, shared, evidence, now);
                self.record(seat, place + 1, permit, outcome, now);
            }
        }
    }

    fn is_slow(&self, result: &RequestResult) -> bool {
        let waited = result.time_to_first_token.unwrap_or(result.latency);
        self.settings.config.breaker.is_some_and(|breaker| waited >= breaker.slow_after)
    }

    /// What a result says of those that the candidate shares something with: only what reaches that far. Successes
    /// count while there were such failures.
    fn outcome_for(
        &self,
        index: CandidateIndex,
        shared: &Shared,
        evidence: Evidence,
        now: Timestamp,
    ) -> CallOutcome {
        match evidence {
            Evidence::Success if shared.is_armed(now) => CallOutcome::Success,
            Evidence::Failure(reach) if shared.scope.is_reached_by(reach) => {
                let window = self.settings.config.breaker.map_or(Duration::ZERO, |breaker| breaker.window);
                shared.arm(window, now);
                if !self.suspects.has_shared(index) {
                    shared.condition.marks.set();
                }
                CallOutcome::Failure
            }
            _ => CallOutcome::Ignored,
        }
    }

    fn record(
        &self,
        seat: &Seat,
        place: usize,
        permit: Option<Permit>,
        outcome: CallOutcome,
        now: Timestamp,
    ) {
        if let (Some(breaker), Some(permit)) = (seat.breaker(place), permit) {
            let transition = breaker.record(permit, outcome, now, || self.draw());
            if let Some(transition) = transition {
                self.changed(seat, place, transition, now);
            }
        }
    }

    /// Whoever asked for a rest gets it, and everybody whom that concerns.
    fn rest(&self, seat: &Seat, evidence: Evidence, result: &RequestResult, now: Timestamp) {
        let config = &self.settings.config.cool_down;
        let (reach, asked) = match evidence {
            // Some providers say zero, or less: that is no hint.
            Evidence::RateLimited(reach) => (
                reach,
                Some(result.retry_after.filter(|wait| !wait.is_zero()).unwrap_or(config.without_hint)),
            ),
            Evidence::Failure(reach) => (reach, result.retry_after),
            Evidence::Refused(reach) => (reach, None),
            Evidence::Success | Evidence::Nothing => return,
        };
        let condition = seat.reached(reach);
        let longer = match (evidence, asked) {
            (Evidence::Refused(_), _) => {
                condition.refused.extend(config.refused_credential, config.refused_credential, now)
            }
            (_, Some(asked)) => condition.cool_down.extend(asked, config.at_most, now),
            (_, None) => false,
        };
        if longer {
            condition.marks.set();
        }
    }
}
