//! A set of priorities.

use core::fmt;

use waypost_core::RequestPriority;

/// Priorities of which a request should have one. Displays like `at least high` or `low or high`.
///
/// ```
/// use waypost_core::RequestPriority;
/// use waypost_rules::Priorities;
///
/// let urgent = Priorities::at_least(RequestPriority::High);
/// assert!(urgent.contains(RequestPriority::Critical) && !urgent.contains(RequestPriority::Normal));
/// assert_eq!(urgent.to_string(), "at least high");
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Priorities(u8);

impl Priorities {
    /// This priority and all above.
    pub fn at_least(least: RequestPriority) -> Self {
        RequestPriority::ALL.into_iter().filter(|&priority| priority >= least).collect()
    }

    /// This priority and all below.
    pub fn at_most(most: RequestPriority) -> Self {
        RequestPriority::ALL.into_iter().filter(|&priority| priority <= most).collect()
    }

    /// Whether a priority is in the set.
    pub const fn contains(self, priority: RequestPriority) -> bool {
        self.0 & bit(priority) != 0
    }

    /// Those in the set, the least first.
    pub fn iter(self) -> impl Iterator<Item = RequestPriority> {
        RequestPriority::ALL.into_iter().filter(move |&priority| self.contains(priority))
    }

    /// The least, when all above it are in the set too and there is more than one.
    pub(crate) fn least_of_all_above(self) -> Option<RequestPriority> {
        let least = self.iter().next()?;
        (self == Self::at_least(least) && least != RequestPriority::Critical).then_some(least)
    }
}

const fn bit(priority: RequestPriority) -> u8 {
    1 << priority as u8
}

impl FromIterator<RequestPriority> for Priorities {
    fn from_iter<I: IntoIterator<Item = RequestPriority>>(priorities: I) -> Self {
        Self(priorities.into_iter().fold(0, |set, priority| set | bit(priority)))
    }
}

impl From<RequestPriority> for Priorities {
    fn from(priority: RequestPriority) -> Self {
        Self(bit(priority))
    }
}

impl fmt::Display for Priorities {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.least_of_all_above() {
            Some(least) => write!(f, "at least {least}"),
            None => crate::names::one_of(&self.iter().collect::<Vec<_>>(), f),
        }
    }
}
