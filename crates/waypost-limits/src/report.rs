//! What is used and left.

use core::time::Duration;

use waypost_core::{LimitId, NanoUsd};

use crate::Subject;
use crate::account::Balance;
use crate::limit::Bound;
use crate::limits::Kept;
use crate::meter::{Meter, Moment, State};

/// What is used and left of one limit for one subject, at one moment.
#[derive(Debug, Clone, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize))]
#[non_exhaustive]
pub struct LimitReport {
    /// The limit.
    pub limit: LimitId,
    /// Whose meter it is.
    pub subject: Subject,
    /// How much.
    pub level: Level,
    /// How long until all is there again: until a bucket is full, or a budget's next period begins. `None` when that
    /// cannot be told.
    pub reset_after: Option<Duration>,
}

/// How much is used and left of a limit.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(feature = "serde", derive(serde::Serialize), serde(tag = "kind", rename_all = "snake_case"))]
#[non_exhaustive]
pub enum Level {
    /// Requests that may be made at once now, of how many at the most. Nothing is reserved of a rate: what a request
    /// takes is taken when it is admitted.
    Requests {
        /// Left now.
        remaining: u64,
        /// The burst.
        of: u64,
    },
    /// Tokens that may be used at once now, of how many at the most.
    Tokens {
        /// Left now.
        remaining: u64,
        /// The burst.
        of: u64,
    },
    /// Requests under way, of how many at the most.
    Concurrency {
        /// Under way.
        reserved: u64,
        /// The limit.
        of: u64,
    },
    /// Money of this period.
    Money {
        /// Of requests that ended.
        settled: NanoUsd,
        /// For requests that are under way.
        reserved: NanoUsd,
        /// Left to reserve; with several replicas, of what this one was granted.
        remaining: NanoUsd,
        /// The budget.
        of: NanoUsd,
    },
}

impl LimitReport {
    pub(crate) fn of(kept: &Kept, meter: &Meter, moment: Moment) -> Self {
        let (level, reset_after) = level(kept, meter, moment);
        Self { limit: kept.limit.id.clone(), subject: meter.subject.clone(), level, reset_after }
    }
}

fn level(kept: &Kept, meter: &Meter, moment: Moment) -> (Level, Option<Duration>) {
    match (&meter.state, &kept.limit.bound) {
        (State::Rate(rate), bound) => {
            let (remaining, of, full) = rate.left(moment.now);
            match bound {
                Bound::Tokens(_) => (Level::Tokens { remaining, of }, full),
                _ => (Level::Requests { remaining, of }, full),
            }
        }
        (State::Budget(state), Bound::Budget(budget)) => {
            let Balance { granted, settled, reserved } = state.balance(budget, moment);
            let remaining = granted.saturating_sub(settled + reserved);
            let reset_after = state.reset_after(budget, moment);
            (Level::Money { settled, reserved, remaining, of: budget.amount }, reset_after)
        }
        (State::Gauge(gauge), Bound::Concurrency(most)) => {
            (Level::Concurrency { reserved: gauge.count(), of: most.get().into() }, None)
        }
        _ => (Level::Concurrency { reserved: 0, of: 0 }, None),
    }
}
