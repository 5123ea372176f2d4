//! When a second attempt runs beside the first.

use core::time::Duration;

use waypost_core::{NanoUsd, Ratio, Timestamp, WindowedHistogram};

/// When a second attempt runs beside the first: when the first has no content after the time that most requests need. Only streamed requests without effects are hedged, and only within the retry budget.
///
/// Source: Dean and Barroso, "The Tail at Scale", 2013: hedged requests.
///
/// ```
/// use waypost_failover::HedgePolicy;
///
/// assert_eq!(HedgePolicy::default().quantile.get(), 0.95);
/// ```
#[derive(Debug, Clone, Copy, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct HedgePolicy {
    /// The quantile of the recent times to first token of the candidate's pool after which the second starts. Default: 0.95.
    pub quantile: Ratio,
    /// Never before so much time. Default: 50 ms.
    pub at_least: Duration,
    /// So many recent requests must be known. Default: 20.
    pub min_samples: u64,
    /// The most that the second attempt may be expected to cost; `None` without bound. Default: `None`.
    pub max_cost: Option<NanoUsd>,
}

impl Default for HedgePolicy {
    fn default() -> Self {
        Self {
            quantile: Ratio::of(95, 100),
            at_least: Duration::from_millis(50),
            min_samples: 20,
            max_cost: None,
        }
    }
}

impl HedgePolicy {
    /// How long after the start of an attempt the second starts, by recent times to first token; `None` when too little is
    /// known.
    pub fn delay(&self, recent: &WindowedHistogram, now: Timestamp) -> Option<Duration> {
        let (delay, samples) = recent.quantile_with_len(self.quantile.get(), now)?;
        (samples >= self.min_samples).then(|| delay.max(self.at_least))
    }

    /// Whether a second attempt may cost so much. What costs nobody knows what is within no bound.
    pub fn allows(&self, cost: Option<NanoUsd>) -> bool {
        self.max_cost.is_none_or(|most| cost.is_some_and(|cost| cost <= most))
    }
}
