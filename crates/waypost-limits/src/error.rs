//! What is wrong with limits.

use waypost_core::LimitId;

use crate::Dimension;

/// Everything that is wrong with a set of limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{}", .0.iter().map(ToString::to_string).collect::<Vec<_>>().join("; "))]
pub struct LimitErrors(pub(crate) Vec<LimitError>);

impl LimitErrors {
    /// One by one.
    pub fn iter(&self) -> impl Iterator<Item = &LimitError> {
        self.0.iter()
    }
}

/// One thing that is wrong with a set of limits.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum LimitError {
    /// Two limits have one name.
    #[error("limit `{0}` is there twice")]
    Duplicate(LimitId),
    /// More than [`MAX_LIMITS`](crate::MAX_LIMITS).
    #[error("{0} limits are more than {max}", max = crate::MAX_LIMITS)]
    TooMany(usize),
    /// A budget that nobody can ever use.
    #[error("budget `{0}` is of nothing")]
    NoMoney(LimitId),
    /// A threshold of zero or above a hundred percent.
    #[error("budget `{limit}` has a threshold of {percent} %, which is not between 1 and 100")]
    Threshold {
        /// The budget.
        limit: LimitId,
        /// The threshold.
        percent: u8,
    },
    /// A part above one half is kept free from a priority, more from a greater one than from a lesser one, or any of a
    /// budget.
    #[error(
        "limit `{0}` keeps more free than a half, more from a greater priority than from a lesser, or money"
    )]
    Reserve(LimitId),
    /// Only rates are shared fairly, and only by what a request shows.
    #[error("limit `{limit}` cannot be shared fairly by {dimension}")]
    Fair {
        /// The limit.
        limit: LimitId,
        /// By what.
        dimension: Dimension,
    },
}
