//! How one candidate of a pool stands.

use std::sync::Arc;

use waypost_core::{FaultScope, LeftOutReason, Timestamp};

use crate::CircuitBreaker;
use crate::admission::{SharedPermits, Ticket};
use crate::circuit::{Gate, Permit};
use crate::condition::{CandidateHealth, Condition, Shared};
use crate::ejection::Place;

/// A candidate in the pool.
#[derive(Debug)]
pub(crate) struct Seat {
    pub(crate) health: Arc<CandidateHealth>,
    /// What it shares with others: credential, region, provider.
    pub(crate) shared: [Option<Arc<Shared>>; 3],
    pub(crate) place: Arc<Place>,
}

impl Seat {
    /// The condition at a place: its own, its credential's, its region's, its provider's.
    #[inline]
    pub(super) fn condition(&self, place: usize) -> Option<&Condition> {
        match place.checked_sub(1) {
            None => Some(&self.health.own),
            Some(place) => self.shared[place].as_ref().map(|shared| &shared.condition),
        }
    }

    /// The breaker at a place.
    #[inline]
    pub(super) fn breaker(&self, place: usize) -> Option<&CircuitBreaker> {
        self.condition(place)?.breaker.as_ref()
    }

    /// The condition of everybody that a fault reaches: its own if it shares nothing of that kind.
    pub(super) fn reached(&self, reach: FaultScope) -> &Condition {
        let shared = self.shared.iter().flatten().find(|shared| shared.scope.is_reached_by(reach));
        shared.map_or(&self.health.own, |shared| &shared.condition)
    }

    pub(super) fn standing(&self, now: Timestamp) -> Standing {
        self.standing_by(now, [0, 1, 2, 3].map(|place| self.condition(place)))
    }

    /// How it stands by itself, whatever those do that it shares something with.
    pub(super) fn standing_alone(&self, now: Timestamp) -> Standing {
        self.standing_by(now, [Some(&self.health.own)])
    }

    /// The first reason in the order of the introduction, until the last of them is over.
    #[inline]
    fn standing_by<const N: usize>(&self, now: Timestamp, conditions: [Option<&Condition>; N]) -> Standing {
        use LeftOutReason::{ChecksFailed, CoolingDown, CredentialRefused, Disabled};
        if self.health.is_disabled() {
            return Standing::Out(Disabled, Timestamp::MAX);
        }
        let conditions = || conditions.into_iter().flatten();
        let refused = conditions().filter_map(|condition| condition.refused.until(now)).max();
        let cooling = conditions().filter_map(|condition| condition.cool_down.until(now)).max();
        let passive = self.sickness(now, conditions());
        let until = |until: Timestamp| match passive {
            Standing::Sick(_, later) => until.max(later),
            _ => until,
        };
        match (refused, cooling) {
            (Some(end), _) => Standing::Out(CredentialRefused, until(end).max(cooling.unwrap_or(end))),
            _ if self.health.checks.is_down() => Standing::Out(ChecksFailed, Timestamp::MAX),
            (_, Some(end)) => Standing::Out(CoolingDown, until(end)),
            (None, None) => passive,
        }
    }

    /// What breakers and ejection say.
    #[inline]
    fn sickness<'a>(&self, now: Timestamp, conditions: impl Iterator<Item = &'a Condition>) -> Standing {
        use LeftOutReason::{CircuitHalfOpen, CircuitOpen, Ejected};
        let mut standing = Standing::Well;
        for condition in conditions {
            standing = match condition.gate(now) {
                Gate::Closed => standing,
                Gate::Ready => standing.and(Standing::Trying),
                Gate::Open { until } => standing.and(Standing::Sick(CircuitOpen, until)),
                Gate::Busy => standing.and(Standing::Sick(CircuitHalfOpen, Timestamp::MAX)),
            };
        }
        match self.place.ejected_until(now) {
            Some(until) => standing.and(Standing::Sick(Ejected, until)),
            None => standing,
        }
    }

    /// Permits of the shared breakers as they are.
    pub(super) fn unasked(&self) -> [Option<Permit>; 3] {
        self.shared.each_ref().map(|shared| shared.as_ref()?.condition.unasked())
    }

    /// Brings every permit back without a result.
    pub(super) fn give_back(&self, ticket: Ticket) {
        self.release(0, ticket.own);
        if let SharedPermits::Taken(permits) = ticket.shared {
            permits.into_iter().enumerate().for_each(|(place, permit)| self.release(place + 1, permit));
        }
    }

    fn release(&self, place: usize, permit: Option<Permit>) {
        if let (Some(breaker), Some(permit)) = (self.breaker(place), permit) {
            breaker.release(permit);
        }
    }

    /// Why it would be left out.
    #[cfg(all(test, loom))]
    pub(crate) fn exclusion(&self, now: Timestamp) -> Option<LeftOutReason> {
        match self.standing(now) {
            Standing::Sick(reason, _) | Standing::Out(reason, _) => Some(reason),
            Standing::Well | Standing::Trying => None,
        }
    }

    pub(super) fn is_well(&self, now: Timestamp) -> bool {
        !self.health.is_disabled()
            && !self.health.checks.is_down()
            && self.place.ejected_until(now).is_none()
            && self.health.own.is_well(now)
            && self.shared.iter().flatten().all(|shared| shared.is_well(now))
    }
}

/// How a candidate stands.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Standing {
    Well,
    /// Whoever comes next may try.
    Trying,
    /// What was seen of it is bad; panic ignores that.
    Sick(LeftOutReason, Timestamp),
    /// Something that panic does not ignore.
    Out(LeftOutReason, Timestamp),
}

impl Standing {
    /// Both: the first that is sick is named, until the last is over.
    #[inline]
    fn and(self, other: Self) -> Self {
        match (self, other) {
            (Self::Sick(reason, until), Self::Sick(_, later)) => Self::Sick(reason, until.max(later)),
            (Self::Sick(..), _) | (_, Self::Well) => self,
            (_, other) => other,
        }
    }
}
