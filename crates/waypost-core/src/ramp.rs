//! How a new candidate's share grows.

use core::time::Duration;

use crate::{LiveSlot, Ratio, Timestamp};

/// Slow start: the share of its weight that a candidate counts with for a while after it began to serve,
/// `max(least, (t / window) ^ (1 / aggression))` (Envoy's formula).
///
/// ```
/// use core::time::Duration;
/// use waypost_core::{Ramp, Ratio};
///
/// let ramp = Ramp::new(Duration::from_secs(10), 1.0, Ratio::of(1, 10));
/// assert_eq!(ramp.share(Duration::ZERO), 0.1);
/// assert_eq!(ramp.share(Duration::from_secs(5)), 0.5);
/// assert_eq!(ramp.share(Duration::from_secs(10)), 1.0);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
pub struct Ramp {
    window: Duration,
    exponent: f32,
    least: f32,
}

impl Ramp {
    /// A ramp over `window`. With an aggression of 1 the share grows evenly, with more faster at first; numbers that
    /// are not positive count as 1.
    pub fn new(window: Duration, aggression: f32, least: Ratio) -> Self {
        let exponent = if aggression > 0.0 { aggression.recip() } else { 1.0 };
        Self { window, exponent, least: least.get() as f32 }
    }

    /// The share after a time, 0 to 1, never below the least.
    pub fn share(self, time: Duration) -> f32 {
        if time >= self.window {
            return 1.0;
        }
        (time.as_secs_f32() / self.window.as_secs_f32()).powf(self.exponent).max(self.least)
    }

    /// The share of a candidate now; 1 of one that served from the start.
    #[inline]
    pub fn share_of(self, live: &LiveSlot, now: Timestamp) -> f32 {
        live.serving_since().map_or(1.0, |since| self.share(now.since(since)))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ss_2_floor_and_aggression() {
        let share = |aggression, millis| {
            Ramp::new(Duration::from_secs(10), aggression, Ratio::of(1, 10))
                .share(Duration::from_millis(millis))
        };
        assert_eq!((share(1.0, 0), share(1.0, 500), share(1.0, 5_000)), (0.1, 0.1, 0.5));
        assert!((share(2.0, 2_500) - 0.5).abs() < 1e-6, "the square root");
        assert_eq!((share(f32::NAN, 5_000), share(-1.0, 5_000), share(1.0, 10_000)), (0.5, 0.5, 1.0));
    }
}
