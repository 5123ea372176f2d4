//! How many in how long.

use core::fmt;
use core::num::NonZeroU64;
use core::time::Duration;

/// The fastest rate, per second: a billion a minute, seven times the largest limit that a provider publishes (150
/// million tokens a minute). One of what is limited then takes 64 ns, in which the internal clock can still tell it
/// apart.
pub const MAX_PER_SECOND: u64 = 1 << 24;
/// The longest period.
pub const MAX_PERIOD: Duration = Duration::from_secs(366 * 86_400);
/// The greatest burst.
pub const MAX_BURST: u64 = 1 << 50;

/// A rate with a burst: so many requests or tokens per period, and as many at once after a quiet time as the burst
/// says.
///
/// In any window of time, what is admitted is at most rate × window + burst. The burst is what one period admits unless
/// it is set; a small one spreads requests evenly, which providers that judge a minute's limit second by second reward.
///
/// ```
/// use waypost_limits::Rate;
///
/// let rate = Rate::per_minute(500)?.burst(50)?;
/// assert_eq!(rate.to_string(), "500/min, burst 50");
/// assert!(Rate::per_second(0).is_err() && Rate::per_second(u64::MAX).is_err());
/// # Ok::<(), waypost_limits::RateError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "Form", into = "Form")
)]
pub struct Rate {
    quota: NonZeroU64,
    period: Duration,
    burst: NonZeroU64,
}

/// Why numbers are not a rate.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[non_exhaustive]
pub enum RateError {
    /// A rate or a burst of zero admits nothing, ever.
    #[error("a rate and its burst must be at least 1")]
    Zero,
    /// More than [`MAX_PER_SECOND`].
    #[error("{quota} per {period:?} is more than {MAX_PER_SECOND} per second")]
    TooFast {
        /// How many.
        quota: u64,
        /// In how long.
        period: Duration,
    },
    /// A period of zero, or longer than [`MAX_PERIOD`].
    #[error("a period of {0:?} is not between a nanosecond and {MAX_PERIOD:?}")]
    Period(Duration),
    /// More than [`MAX_BURST`].
    #[error("a burst of {0} is more than {MAX_BURST}")]
    Burst(u64),
}

impl Rate {
    /// So many per second.
    ///
    /// # Errors
    ///
    /// [`RateError`] for zero or more than [`MAX_PER_SECOND`].
    pub fn per_second(quota: u64) -> Result<Self, RateError> {
        Self::new(quota, Duration::from_secs(1))
    }

    /// So many per minute.
    ///
    /// # Errors
    ///
    /// [`RateError`] for zero or more than [`MAX_PER_SECOND`].
    pub fn per_minute(quota: u64) -> Result<Self, RateError> {
        Self::new(quota, Duration::from_secs(60))
    }

    /// So many per hour.
    ///
    /// # Errors
    ///
    /// [`RateError`] for zero or more than [`MAX_PER_SECOND`].
    pub fn per_hour(quota: u64) -> Result<Self, RateError> {
        Self::new(quota, Duration::from_secs(3_600))
    }

    /// So many in 24 hours.
    ///
    /// # Errors
    ///
    /// [`RateError`] for zero or more than [`MAX_PER_SECOND`].
    pub fn per_day(quota: u64) -> Result<Self, RateError> {
        Self::new(quota, Duration::from_secs(86_400))
    }

    /// So many in a period of one's own, with that as the burst.
    ///
    /// # Errors
    ///
    /// [`RateError`] for zero, more than [`MAX_PER_SECOND`], or a period of zero or longer than [`MAX_PERIOD`].
    pub fn new(quota: u64, period: Duration) -> Result<Self, RateError> {
        if period.is_zero() || period > MAX_PERIOD {
            return Err(RateError::Period(period));
        }
        let amount = NonZeroU64::new(quota).ok_or(RateError::Zero)?;
        if u128::from(quota) * 1_000_000_000 > u128::from(MAX_PER_SECOND) * period.as_nanos() {
            return Err(RateError::TooFast { quota, period });
        }
        Ok(Self { quota: amount, period, burst: amount })
    }

    /// The same rate with another burst.
    ///
    /// # Errors
    ///
    /// [`RateError`] for zero or more than [`MAX_BURST`].
    pub fn burst(self, burst: u64) -> Result<Self, RateError> {
        if burst > MAX_BURST {
            return Err(RateError::Burst(burst));
        }
        Ok(Self { burst: NonZeroU64::new(burst).ok_or(RateError::Zero)?, ..self })
    }

    /// How many in a [`period`](Self::period).
    pub const fn quota(&self) -> u64 {
        self.quota.get()
    }

    /// In how long.
    pub const fn period(&self) -> Duration {
        self.period
    }

    /// The most at once.
    pub const fn burst_size(&self) -> u64 {
        self.burst.get()
    }
}

/// Displays like `500/min` or `10/s, burst 1`.
impl fmt::Display for Rate {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.period.as_nanos() {
            1_000_000_000 => write!(f, "{}/s", self.quota)?,
            60_000_000_000 => write!(f, "{}/min", self.quota)?,
            3_600_000_000_000 => write!(f, "{}/h", self.quota)?,
            86_400_000_000_000 => write!(f, "{}/day", self.quota)?,
            _ => write!(f, "{}/{:?}", self.quota, self.period)?,
        }
        if self.burst == self.quota { Ok(()) } else { write!(f, ", burst {}", self.burst) }
    }
}

/// The form that operators write.
#[cfg(feature = "serde")]
#[derive(serde::Serialize, serde::Deserialize)]
#[serde(deny_unknown_fields)]
struct Form {
    quota: u64,
    period: Duration,
    #[serde(default)]
    burst: Option<u64>,
}

#[cfg(feature = "serde")]
impl TryFrom<Form> for Rate {
    type Error = RateError;

    fn try_from(form: Form) -> Result<Self, RateError> {
        let rate = Self::new(form.quota, form.period)?;
        form.burst.map_or(Ok(rate), |burst| rate.burst(burst))
    }
}

#[cfg(feature = "serde")]
impl From<Rate> for Form {
    fn from(rate: Rate) -> Self {
        let burst = (rate.burst != rate.quota).then_some(rate.burst.get());
        Self { quota: rate.quota.get(), period: rate.period, burst }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn b52_rates_that_are_none() {
        let day = Duration::from_secs(86_400);
        assert_eq!(Rate::per_second(0), Err(RateError::Zero));
        assert_eq!(Rate::per_day(10).unwrap().burst(0), Err(RateError::Zero));
        assert!(matches!(Rate::per_second(u64::MAX), Err(RateError::TooFast { .. })));
        assert!(matches!(Rate::new(1, Duration::ZERO), Err(RateError::Period(_))));
        assert!(matches!(Rate::new(1, Duration::MAX), Err(RateError::Period(_))));
        assert!(matches!(Rate::per_day(1).unwrap().burst(u64::MAX), Err(RateError::Burst(_))));
        assert!(Rate::per_second(MAX_PER_SECOND).is_ok() && Rate::per_second(MAX_PER_SECOND + 1).is_err());
        assert!(Rate::new(MAX_PER_SECOND * 86_400, day).is_ok());
    }

    #[test]
    fn they_print_as_operators_write_them() {
        assert_eq!(Rate::per_second(10).unwrap().burst(1).unwrap().to_string(), "10/s, burst 1");
        assert_eq!(Rate::per_hour(10).unwrap().to_string(), "10/h");
        assert_eq!(Rate::new(3, Duration::from_secs(10)).unwrap().to_string(), "3/10s");
    }
}
