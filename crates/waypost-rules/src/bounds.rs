//! A range of numbers.

use core::fmt;

/// Numbers from a least to a greatest, both included. Displays like `at least 1000`, `at most 5`, `3`, `10 to 20`.
///
/// ```
/// use waypost_rules::Bounds;
///
/// assert!(Bounds::at_least(1_000).contains(1_000));
/// assert!(!Bounds::between(10, 20).contains(21));
/// assert!(Bounds::between(20, 10).is_empty());
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub struct Bounds {
    /// The least number.
    pub min: u64,
    /// The greatest number.
    pub max: u64,
}

impl Bounds {
    /// `min` and everything above.
    pub const fn at_least(min: u64) -> Self {
        Self { min, max: u64::MAX }
    }

    /// `max` and everything below.
    pub const fn at_most(max: u64) -> Self {
        Self { min: 0, max }
    }

    /// One number.
    pub const fn exactly(number: u64) -> Self {
        Self { min: number, max: number }
    }

    /// From `min` to `max`, both included; nothing when `max` is less.
    pub const fn between(min: u64, max: u64) -> Self {
        Self { min, max }
    }

    /// Whether a number is in the range.
    pub const fn contains(&self, number: u64) -> bool {
        self.min <= number && number <= self.max
    }

    /// Whether no number is.
    pub const fn is_empty(&self) -> bool {
        self.max < self.min
    }
}

impl fmt::Display for Bounds {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (self.min, self.max) {
            (min, max) if min == max => write!(f, "{min}"),
            (min, u64::MAX) => write!(f, "at least {min}"),
            (0, max) => write!(f, "at most {max}"),
            (min, max) => write!(f, "{min} to {max}"),
        }
    }
}
