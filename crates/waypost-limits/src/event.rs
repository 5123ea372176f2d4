//! What happens to limits, told as it happens.

use core::fmt;

use waypost_core::{LimitId, NanoUsd};

use crate::Subject;

/// One thing that happened to a limit. Told once, on the thread that made it happen.
///
/// Displays as a sentence, such as `acme-month (tenant acme): 80 % of $2000.00 are spent`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub struct LimitEvent<'a> {
    /// The limit.
    pub limit: &'a LimitId,
    /// Whose meter it is.
    pub subject: &'a Subject,
    /// What.
    pub change: LimitChange,
}

/// What happened.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[non_exhaustive]
pub enum LimitChange {
    /// What is settled reached a threshold of a budget. Once per threshold and period.
    ThresholdReached {
        /// The threshold, in percent.
        percent: u8,
        /// What is settled.
        settled: NanoUsd,
        /// The whole.
        of: NanoUsd,
    },
    /// A new period of a budget began.
    PeriodBegan {
        /// What was settled in the period before, so far: requests that are under way still settle there.
        settled_before: NanoUsd,
    },
    /// As many subjects as may be have meters of their own: newcomers share one until somebody else's is idle.
    SubjectsFull {
        /// How many.
        subjects: usize,
    },
    /// The store cannot be reached: the limit does what it is told to do then.
    StoreAway,
    /// The store is back.
    StoreBack,
}

impl<'a> LimitEvent<'a> {
    pub(crate) const fn new(limit: &'a LimitId, subject: &'a Subject, change: LimitChange) -> Self {
        Self { limit, subject, change }
    }
}

impl fmt::Display for LimitEvent<'_> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.limit)?;
        if !self.subject.is_empty() {
            write!(f, " ({})", self.subject)?;
        }
        match self.change {
            LimitChange::ThresholdReached { percent, of, .. } => {
                write!(f, ": {percent} % of {of} are spent")
            }
            LimitChange::PeriodBegan { settled_before } => {
                write!(f, ": a new period, {settled_before} in the one before")
            }
            LimitChange::SubjectsFull { subjects } => {
                write!(f, ": {subjects} subjects, newcomers share a meter")
            }
            LimitChange::StoreAway => f.write_str(": the store is away"),
            LimitChange::StoreBack => f.write_str(": the store is back"),
        }
    }
}
