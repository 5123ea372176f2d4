//! A share between nothing and all.

use core::fmt;

/// A number in `0.0..=1.0`.
///
/// ```
/// use waypost_core::Ratio;
///
/// assert_eq!(Ratio::new(0.25)?.get(), 0.25);
/// assert!(Ratio::new(1.5).is_err() && Ratio::new(f64::NAN).is_err());
/// assert_eq!(Ratio::of(1, 4), Ratio::new(0.25)?);
/// assert_eq!(Ratio::of(0, 0), Ratio::ZERO);
/// # Ok::<(), waypost_core::RatioError>(())
/// ```
#[derive(Debug, Clone, Copy, Default, PartialEq, PartialOrd)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "f64", into = "f64")
)]
pub struct Ratio(f64);

/// A number that is not between 0 and 1.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("{value} is not between 0 and 1")]
pub struct RatioError {
    value: f64,
}

impl Ratio {
    /// Nothing.
    pub const ZERO: Self = Self(0.0);
    /// All.
    pub const ONE: Self = Self(1.0);

    /// Takes a number in `0.0..=1.0`.
    ///
    /// # Errors
    ///
    /// [`RatioError`] for NaN and for numbers outside the range.
    pub fn new(value: f64) -> Result<Self, RatioError> {
        if (0.0..=1.0).contains(&value) { Ok(Self(value)) } else { Err(RatioError { value }) }
    }

    /// The share of `part` in `whole`, at most one; zero of nothing is zero.
    pub fn of(part: u64, whole: u64) -> Self {
        if whole == 0 { Self::ZERO } else { Self((part as f64 / whole as f64).min(1.0)) }
    }

    /// The number.
    pub const fn get(self) -> f64 {
        self.0
    }
}

impl TryFrom<f64> for Ratio {
    type Error = RatioError;

    fn try_from(value: f64) -> Result<Self, RatioError> {
        Self::new(value)
    }
}

impl From<Ratio> for f64 {
    fn from(ratio: Ratio) -> f64 {
        ratio.0
    }
}

impl fmt::Display for Ratio {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:.1} %", self.0 * 100.0)
    }
}
