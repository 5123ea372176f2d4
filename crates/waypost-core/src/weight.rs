//! A candidate's share of the traffic.

/// A candidate's weight, 0 to 1000: its share of a pool is its weight over the sum of weights. Zero means *drained*:
/// the candidate gets no new request. Default: 100.
///
/// ```
/// use waypost_core::Weight;
///
/// assert_eq!(Weight::try_from(300)?.get(), 300);
/// assert!(Weight::try_from(-1).is_err());
/// assert!(Weight::try_from(f64::NAN).is_err());
/// # Ok::<(), waypost_core::WeightError>(())
/// ```
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(try_from = "i64", into = "i64")
)]
pub struct Weight(u16);

/// A number that is not a weight: not whole, or not in 0 to 1000.
#[derive(Debug, Clone, Copy, PartialEq, thiserror::Error)]
#[error("weight {value} is not a whole number from 0 to {}", Weight::MAX.0)]
pub struct WeightError {
    value: f64,
}

impl Weight {
    /// Drained.
    pub const ZERO: Self = Self(0);
    /// The greatest weight, 1000.
    pub const MAX: Self = Self(1000);

    /// The number, 0 to 1000.
    pub const fn get(self) -> u16 {
        self.0
    }
}

impl Default for Weight {
    fn default() -> Self {
        Self(100)
    }
}

impl TryFrom<i64> for Weight {
    type Error = WeightError;

    fn try_from(value: i64) -> Result<Self, WeightError> {
        match u16::try_from(value) {
            Ok(weight) if weight <= Self::MAX.0 => Ok(Self(weight)),
            _ => Err(WeightError { value: value as f64 }),
        }
    }
}

impl TryFrom<i32> for Weight {
    type Error = WeightError;

    fn try_from(value: i32) -> Result<Self, WeightError> {
        Self::try_from(i64::from(value))
    }
}

impl TryFrom<u32> for Weight {
    type Error = WeightError;

    fn try_from(value: u32) -> Result<Self, WeightError> {
        Self::try_from(i64::from(value))
    }
}

impl TryFrom<f64> for Weight {
    type Error = WeightError;

    fn try_from(value: f64) -> Result<Self, WeightError> {
        let in_range = (0.0..=f64::from(Self::MAX.0)).contains(&value);
        if in_range && value.fract() == 0.0 { Ok(Self(value as u16)) } else { Err(WeightError { value }) }
    }
}

impl From<Weight> for i64 {
    fn from(weight: Weight) -> i64 {
        i64::from(weight.0)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refuses_everything_but_whole_numbers_up_to_a_thousand() {
        for bad in [f64::NAN, f64::INFINITY, f64::NEG_INFINITY, -1.0, 0.5, 1000.5, 1001.0, 1e308, 5e-324] {
            assert!(Weight::try_from(bad).is_err(), "{bad}");
        }
        for bad in [-1, 1001, i64::MAX, i64::MIN, 1 << 16, (1 << 16) + 1, 1 << 32] {
            assert!(Weight::try_from(bad).is_err(), "{bad}");
        }
        for good in [0, 1, 1000] {
            assert_eq!(i64::from(Weight::try_from(good).unwrap()), good);
        }
    }
}
