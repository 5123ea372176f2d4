//! Counts of tokens.

use core::fmt;
use core::iter::Sum;
use core::ops::Add;

/// A number of tokens. Addition saturates at `u64::MAX`.
///
/// ```
/// use waypost_core::Tokens;
///
/// assert_eq!(Tokens(3) + Tokens(4), Tokens(7));
/// assert_eq!(Tokens::MAX + Tokens(1), Tokens::MAX);
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct Tokens(pub u64);

impl Tokens {
    /// No tokens.
    pub const ZERO: Self = Self(0);
    /// The greatest count; as a limit it means *no limit is known*.
    pub const MAX: Self = Self(u64::MAX);

    /// The difference, or zero when `other` is greater.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for Tokens {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for Tokens {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl fmt::Display for Tokens {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} tokens", self.0)
    }
}
