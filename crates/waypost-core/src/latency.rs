//! How fast a candidate is, in parts that can be compared.

use core::time::Duration;

use crate::time::nanos_of;
use crate::{Ewma, Outcome, RequestResult, Timestamp, Tokens, WindowedHistogram};

/// One part of the latency: its average and its quantiles.
#[derive(Debug, Default)]
pub struct LatencyMetric {
    average: Ewma,
    histogram: WindowedHistogram,
}

impl LatencyMetric {
    /// Takes a sample.
    #[inline]
    pub fn record(&self, sample: Duration, now: Timestamp) {
        self.record_nanos(nanos_of(sample), now);
    }

    #[inline]
    fn record_nanos(&self, sample: u64, now: Timestamp) {
        self.histogram.record_nanos(sample, now);
        self.average.record_nanos(sample, now);
    }

    /// Takes a lower bound: what a failed request waited in vain. It can raise a known average, never lower it, and
    /// counts in the quantiles as at least the average; of an unknown average it says nothing.
    pub fn record_at_least(&self, bound: Duration, now: Timestamp) {
        if let Some(average) = self.average.record_at_least(bound, now) {
            self.histogram.record(bound.max(average), now);
        }
    }

    /// The time-decayed average; `None` when it is unknown.
    pub fn average(&self, now: Timestamp) -> Option<Duration> {
        self.average.get(now)
    }

    pub(crate) fn average_nanos(&self, now: Timestamp) -> Option<u64> {
        self.average.get_nanos(now)
    }

    /// The recent samples.
    pub const fn histogram(&self) -> &WindowedHistogram {
        &self.histogram
    }
}

/// What a candidate's answers took: in total, to the first token, and per token after it.
///
/// Totals depend on how much was asked for; compare candidates by [`expected`](Self::expected) for one request, or by
/// the parts.
///
/// # Memory
///
/// 37 KiB per candidate, allocated part by part at the first samples.
#[derive(Debug, Default)]
pub struct LatencyStats {
    /// From the call to the end of the answer.
    pub total: LatencyMetric,
    /// From the call to the first content.
    pub time_to_first_token: LatencyMetric,
    /// Between two tokens after the first.
    pub time_per_output_token: LatencyMetric,
}

impl LatencyStats {
    /// Takes what a finished request says. A failure is a lower bound of what success would have taken, so failing fast
    /// never looks like being fast. A cancellation is one of the total; it says when the first token came only if it
    /// says so.
    pub fn record(&self, result: &RequestResult, now: Timestamp) {
        match result.outcome {
            Outcome::Success => self.record_success(result, now),
            Outcome::Failure => {
                self.total.record_at_least(result.latency, now);
                let waited = result.time_to_first_token.unwrap_or(result.latency);
                self.time_to_first_token.record_at_least(waited, now);
            }
            Outcome::Cancelled => {
                self.total.record_at_least(result.latency, now);
                if let Some(first) = result.time_to_first_token {
                    self.time_to_first_token.record(first, now);
                }
            }
        }
    }

    fn record_success(&self, result: &RequestResult, now: Timestamp) {
        let total = nanos_of(result.latency);
        self.total.record_nanos(total, now);
        let Some(first) = result.time_to_first_token.map(nanos_of) else { return };
        self.time_to_first_token.record_nanos(first, now);
        if let Some(per_token) = nanos_per_output_token(total, first, result.tokens.completion) {
            self.time_per_output_token.record_nanos(per_token, now);
        }
    }

    /// What a request with an answer of `completion` tokens should take: the average time to first token plus the
    /// average time for each token after it; without parts, the average total. `None` when nothing is known.
    #[inline]
    pub fn expected(&self, completion: Tokens, now: Timestamp) -> Option<Duration> {
        let Some(first) = self.time_to_first_token.average_nanos(now) else { return self.total.average(now) };
        let per_token = self.time_per_output_token.average_nanos(now).unwrap_or_default();
        let rest = per_token.saturating_mul(completion.0.saturating_sub(1));
        Some(Duration::from_nanos(first.saturating_add(rest)))
    }
}

/// The time between tokens of an answer; unknown for answers of fewer than two tokens.
fn nanos_per_output_token(total: u64, first: u64, completion: Tokens) -> Option<u64> {
    total.saturating_sub(first).checked_div(completion.0.checked_sub(1)?)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::TokenUsage;

    const NOW: Timestamp = Timestamp::from_nanos(1_000_000_000);

    fn millis(millis: u64) -> Duration {
        Duration::from_millis(millis)
    }

    fn success(total: u64, first: u64, completion: u64) -> RequestResult {
        RequestResult::success(millis(total), TokenUsage::new(Tokens(10), Tokens(completion)))
            .first_token_after(millis(first))
    }

    #[test]
    fn expects_what_the_parts_add_up_to() {
        let stats = LatencyStats::default();
        stats.record(&success(1_290, 300, 100), NOW);
        assert_eq!(stats.expected(Tokens(1), NOW).map(|d| d.as_millis()), Some(300));
        assert_eq!(stats.expected(Tokens(201), NOW).map(|d| (d.as_millis() + 5) / 10), Some(230));
        assert_eq!(LatencyStats::default().expected(Tokens(1), NOW), None);
    }

    #[test]
    fn a_fast_failure_does_not_look_fast() {
        let stats = LatencyStats::default();
        stats.record(&success(2_000, 1_000, 11), NOW);
        for _ in 0..1_000 {
            stats.record(&RequestResult::failure(millis(1), "connection refused"), NOW);
        }
        assert_eq!(stats.time_to_first_token.average(NOW), Some(millis(1_000)));
        let p50 = stats.time_to_first_token.histogram().quantile(0.5, NOW).unwrap();
        assert!(p50 > millis(950), "{p50:?}");
    }

    #[test]
    fn failures_say_nothing_of_an_unknown_candidate() {
        let stats = LatencyStats::default();
        stats.record(&RequestResult::failure(millis(1), "connection refused"), NOW);
        assert_eq!(stats.expected(Tokens(1), NOW), None);
        stats.record(&RequestResult::success(millis(8_000), TokenUsage::default()), NOW);
        stats.record(&RequestResult::failure(millis(1), "connection refused"), NOW);
        assert_eq!(stats.expected(Tokens(1), NOW), Some(millis(8_000)));
    }

    #[test]
    fn a_reader_who_leaves_after_a_minute_does_not_make_the_first_token_slow() {
        let stats = LatencyStats::default();
        stats.record(&success(2_000, 300, 11), NOW);
        stats.record(&RequestResult::cancelled(millis(60_000)), NOW);
        stats.record(&RequestResult::cancelled(millis(60_000)).first_token_after(millis(300)), NOW);
        assert_eq!(stats.time_to_first_token.average(NOW), Some(millis(300)));
        assert!(stats.total.average(NOW) > Some(millis(2_000)));
    }

    #[test]
    fn extreme_answers_do_not_panic() {
        let stats = LatencyStats::default();
        stats.record(&success(0, u64::MAX / 2_000_000, u64::MAX), NOW);
        stats.record(&RequestResult::success(Duration::MAX, TokenUsage::default()), Timestamp::MAX);
        stats.record(&RequestResult::cancelled(Duration::MAX), Timestamp::ORIGIN);
        assert!(stats.expected(Tokens::MAX, NOW).is_some());
    }
}
