//! Money as an integer: nano-dollars.

use core::fmt;
use core::iter::Sum;
use core::ops::Add;
use core::str::FromStr;

/// An amount of money in billionths of a US dollar. Addition saturates; the greatest amount is about 18 billion
/// dollars.
///
/// Amounts are read from decimal text or from a float that a configuration holds, rounded once to the nearest
/// nano-dollar; after that all arithmetic is on integers.
///
/// ```
/// use waypost_core::NanoUsd;
///
/// let price: NanoUsd = "2.50".parse()?;
/// assert_eq!(price, NanoUsd::from_usd(2.5)?);
/// assert_eq!(price.to_string(), "$2.50");
/// assert!(NanoUsd::from_usd(-1.0).is_err() && NanoUsd::from_usd(1e-30).is_err());
/// # Ok::<(), waypost_core::MoneyError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(transparent))]
pub struct NanoUsd(pub u64);

/// Why a number or a text is not an amount of money.
#[derive(Debug, Clone, PartialEq, thiserror::Error)]
#[non_exhaustive]
pub enum MoneyError {
    /// NaN, infinite or negative.
    #[error("{value} is not an amount of money")]
    NotAnAmount {
        /// The number.
        value: f64,
    },
    /// Above zero but less than half a nano-dollar, so that it would silently become free.
    #[error("{value} dollars is less than a nano-dollar")]
    TooSmall {
        /// The number.
        value: f64,
    },
    /// More than the type holds.
    #[error("the amount is more than {}", NanoUsd::MAX)]
    TooLarge,
    /// Not decimal digits with at most one point and nine places.
    #[error("`{text}` is not a decimal amount with at most nine places")]
    Syntax {
        /// The text, cut to 64 characters.
        text: String,
    },
}

impl NanoUsd {
    /// Nothing.
    pub const ZERO: Self = Self(0);
    /// The greatest amount.
    pub const MAX: Self = Self(u64::MAX);
    /// Nano-dollars in a dollar.
    pub const PER_USD: u64 = 1_000_000_000;

    /// Rounds dollars to the nearest nano-dollar.
    ///
    /// # Errors
    ///
    /// [`MoneyError`] when the number is not finite, negative, too small to be told from zero, or too large.
    pub fn from_usd(dollars: f64) -> Result<Self, MoneyError> {
        if !dollars.is_finite() || dollars < 0.0 {
            return Err(MoneyError::NotAnAmount { value: dollars });
        }
        let nanos = (dollars * Self::PER_USD as f64).round();
        if nanos == 0.0 && dollars > 0.0 {
            return Err(MoneyError::TooSmall { value: dollars });
        }
        if nanos >= u64::MAX as f64 {
            return Err(MoneyError::TooLarge);
        }
        Ok(Self(nanos as u64))
    }

    /// The amount in dollars, for display and charts only.
    pub fn as_usd(self) -> f64 {
        self.0 as f64 / Self::PER_USD as f64
    }

    /// The difference, or zero when `other` is greater.
    pub const fn saturating_sub(self, other: Self) -> Self {
        Self(self.0.saturating_sub(other.0))
    }
}

impl Add for NanoUsd {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self(self.0.saturating_add(other.0))
    }
}

impl Sum for NanoUsd {
    fn sum<I: Iterator<Item = Self>>(iter: I) -> Self {
        iter.fold(Self::ZERO, Add::add)
    }
}

impl FromStr for NanoUsd {
    type Err = MoneyError;

    fn from_str(text: &str) -> Result<Self, MoneyError> {
        let syntax = || MoneyError::Syntax { text: text.chars().take(64).collect() };
        let number = text.strip_prefix('$').unwrap_or(text);
        let (whole, places) = number.split_once('.').unwrap_or((number, ""));
        let digits = |part: &str| part.bytes().all(|b| b.is_ascii_digit());
        if whole.is_empty() || places.len() > 9 || !digits(whole) || !digits(places) || number.ends_with('.')
        {
            return Err(syntax());
        }
        let whole: u64 = whole.parse().map_err(|_| MoneyError::TooLarge)?;
        let fraction: u64 = format!("{places:0<9}").parse().map_err(|_| syntax())?;
        let nanos = whole.checked_mul(Self::PER_USD).and_then(|n| n.checked_add(fraction));
        nanos.map(Self).ok_or(MoneyError::TooLarge)
    }
}

/// Prints dollars with at least two places and no idle zeros: `$2.50`, `$0.000125`.
impl fmt::Display for NanoUsd {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (dollars, nanos) = (self.0 / Self::PER_USD, self.0 % Self::PER_USD);
        let places = format!("{nanos:09}");
        let kept = places.trim_end_matches('0').len().max(2);
        f.pad(&format!("${dollars}.{}", &places[..kept]))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    #[test]
    fn refuses_floats_that_are_not_amounts() {
        for bad in [f64::NAN, f64::INFINITY, -1.0, -1e-30, 1e-30, 4e-10, 1e12, 1e308] {
            assert!(NanoUsd::from_usd(bad).is_err(), "{bad}");
        }
        assert_eq!(NanoUsd::from_usd(-0.0), Ok(NanoUsd::ZERO));
    }

    #[test]
    fn refuses_texts_that_are_not_decimals() {
        for bad in [
            "",
            ".",
            "1.",
            "-1",
            "1e3",
            "0x10",
            "1,000",
            "1.0000000001",
            "18446744074",
            "9".repeat(40).as_str(),
        ] {
            assert!(bad.parse::<NanoUsd>().is_err(), "{bad}");
        }
    }

    proptest! {
        #[test]
        fn what_is_printed_reads_back(nanos: u64) {
            prop_assert_eq!(NanoUsd(nanos).to_string().parse(), Ok(NanoUsd(nanos)));
        }
    }
}
