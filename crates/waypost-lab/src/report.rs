//! What happened in a run.

use std::collections::BTreeMap;
use std::time::Duration;

use hdrhistogram::Histogram;
use serde::Serialize;
use waypost::RequestResult;
use waypost::core::{NanoUsd, ProviderId};
use waypost::limits::{Level, LimitReport};

use crate::Scenario;
use crate::outcome::Ending;

/// Bins of the timeline.
const BINS: usize = 120;

/// What happened in a run. Times are in seconds, money in nano-dollars.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Report {
    /// The scenario.
    pub scenario: String,
    /// What it shows.
    pub description: String,
    /// The strategy.
    pub strategy: String,
    /// The seed.
    pub seed: u64,
    /// Arrivals.
    pub requests: u64,
    /// Attempts: arrivals that were sent to a provider, and those that were sent to another after a failure.
    pub routed: u64,
    /// Attempts after a failure.
    pub retried: u64,
    /// Arrivals that the router could not route.
    pub refused: u64,
    /// Attempts that were answered.
    pub succeeded: u64,
    /// Attempts that failed.
    pub failed: u64,
    /// Arrivals that nobody answered: the errors that callers see.
    pub unanswered: u64,
    /// Requests in flight after the last one ended: zero, or something leaked.
    pub in_flight_at_end: u64,
    /// From the first arrival's clock origin to the last arrival.
    pub duration_s: f64,
    /// Refusals by kind.
    pub refused_by_kind: BTreeMap<&'static str, u64>,
    /// Failures by kind.
    pub failed_by_kind: BTreeMap<&'static str, u64>,
    /// Time to first token of answered requests.
    pub time_to_first_token: LatencySummary,
    /// Total time of answered requests.
    pub total_time: LatencySummary,
    /// What answered requests cost where prices are known.
    pub cost_nano_usd: u64,
    /// Answered requests at candidates whose price is not known.
    pub answers_of_unknown_price: u64,
    /// The largest share of any provider over an even share; 1 is even.
    pub imbalance: f64,
    /// Per provider, in the scenario's order.
    pub providers: Vec<ProviderReport>,
    /// What happened when, in equal parts of the run.
    pub timeline: Vec<TimelineBin>,
    /// What happened to the candidates' health, in the order of time.
    pub health: Vec<Note>,
    /// What happened to limits, in the order of time.
    pub limits: Vec<Note>,
    /// What is settled of each budget at the end.
    pub budgets: Vec<BudgetReport>,
}

/// What became of one budget.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct BudgetReport {
    /// Its name.
    pub budget: String,
    /// What requests cost that ended.
    pub settled_nano_usd: u64,
    /// What is still reserved: nothing, or something leaked.
    pub reserved_nano_usd: u64,
    /// The whole.
    pub of_nano_usd: u64,
}

/// One thing that happened to health or to limits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct Note {
    /// When, in seconds.
    pub at_s: f64,
    /// What, such as `together/llama-3-70b: circuit closed`.
    pub what: String,
}

/// Quantiles of a time, in seconds; zero when nothing was measured.
#[derive(Debug, Clone, Copy, Default, PartialEq, Serialize)]
#[non_exhaustive]
pub struct LatencySummary {
    /// The mean.
    pub mean: f64,
    /// The median.
    pub p50: f64,
    /// Nine of ten are faster.
    pub p90: f64,
    /// 99 of 100 are faster.
    pub p99: f64,
    /// 999 of 1,000 are faster.
    pub p999: f64,
}

/// What happened at one provider.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct ProviderReport {
    /// The provider.
    pub provider: String,
    /// Requests sent there.
    pub requests: u64,
    /// Their share of all routed requests.
    pub share: f64,
    /// Answers.
    pub succeeded: u64,
    /// Failures.
    pub failed: u64,
    /// Time to first token of its answers.
    pub time_to_first_token: LatencySummary,
    /// Total time of its answers.
    pub total_time: LatencySummary,
    /// What its answers cost; `None` when the price is not known or there was no answer.
    pub cost_nano_usd: Option<u64>,
    /// Requests being served or waiting there, on average until its last event.
    pub mean_in_system: f64,
}

/// What happened in one part of the run, by when attempts were sent.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[non_exhaustive]
pub struct TimelineBin {
    /// When the part begins, in seconds.
    pub start_s: f64,
    /// Requests sent to each provider.
    pub requests: Vec<u64>,
    /// Those that failed.
    pub failed: Vec<u64>,
    /// Mean time to first token of those that were answered, in seconds; zero when none was.
    pub mean_time_to_first_token: Vec<f64>,
    /// Requests that the router could not route.
    pub refused: u64,
}

impl Report {
    /// The report as JSON, with the same bytes for the same run.
    ///
    /// # Panics
    ///
    /// Never: a report is plain data.
    pub fn to_json(&self) -> String {
        serde_json::to_string_pretty(self).expect("a report is plain data")
    }

    /// What answered requests cost where prices are known.
    pub const fn cost(&self) -> NanoUsd {
        NanoUsd(self.cost_nano_usd)
    }
}

/// What is known when a run has ended.
pub(crate) struct AtEnd {
    pub(crate) in_flight: u64,
    pub(crate) health: Vec<Note>,
    pub(crate) limits: Vec<Note>,
    pub(crate) budgets: Vec<LimitReport>,
}

fn budget(report: &LimitReport) -> Option<BudgetReport> {
    let Level::Money { settled, reserved, of, .. } = report.level else { return None };
    Some(BudgetReport {
        budget: report.limit.to_string(),
        settled_nano_usd: settled.0,
        reserved_nano_usd: reserved.0,
        of_nano_usd: of.0,
    })
}

/// Collects a report while a run goes on.
pub(crate) struct Recorder {
    names: Vec<ProviderId>,
    length: Duration,
    providers: Vec<ProviderRecord>,
    bins: Vec<BinRecord>,
    refused: BTreeMap<&'static str, u64>,
    retried: u64,
    failed: BTreeMap<&'static str, u64>,
    first_token: Times,
    total: Times,
}

#[derive(Default)]
struct ProviderRecord {
    requests: u64,
    failed: u64,
    cost: NanoUsd,
    priced: u64,
    first_token: Times,
    total: Times,
}

#[derive(Clone)]
struct BinRecord {
    requests: Vec<u64>,
    failed: Vec<u64>,
    answered: Vec<(u64, f64)>,
    refused: u64,
}

/// Times in microseconds, to three digits, and their exact mean.
struct Times {
    histogram: Histogram<u64>,
    sum: f64,
}

impl Default for Times {
    fn default() -> Self {
        let histogram =
            Histogram::new_with_bounds(1, 100_000_000_000, 3).expect("1 µs to a day in three digits");
        Self { histogram, sum: 0.0 }
    }
}

impl Times {
    fn record(&mut self, time: Duration) {
        self.histogram.saturating_record(u64::try_from(time.as_micros()).unwrap_or(u64::MAX).max(1));
        self.sum += time.as_secs_f64();
    }

    fn summary(&self) -> LatencySummary {
        let quantile = |q| self.histogram.value_at_quantile(q) as f64 / 1e6;
        let len = self.histogram.len();
        if len == 0 {
            return LatencySummary::default();
        }
        LatencySummary {
            mean: self.sum / len as f64,
            p50: quantile(0.5),
            p90: quantile(0.9),
            p99: quantile(0.99),
            p999: quantile(0.999),
        }
    }
}

impl Recorder {
    pub(crate) fn new(names: Vec<ProviderId>, length: Duration) -> Self {
        let n = names.len();
        let bin =
            BinRecord { requests: vec![0; n], failed: vec![0; n], answered: vec![(0, 0.0); n], refused: 0 };
        Self {
            length,
            providers: (0..n).map(|_| ProviderRecord::default()).collect(),
            bins: vec![bin; BINS],
            refused: BTreeMap::new(),
            retried: 0,
            failed: BTreeMap::new(),
            first_token: Times::default(),
            total: Times::default(),
            names,
        }
    }

    pub(crate) fn refused(&mut self, arrived: Duration, kind: &'static str) {
        *self.refused.entry(kind).or_default() += 1;
        self.bin(arrived).refused += 1;
    }

    pub(crate) const fn retried(&mut self) {
        self.retried += 1;
    }

    pub(crate) fn routed(&mut self, arrived: Duration, provider: usize) {
        self.providers[provider].requests += 1;
        self.bin(arrived).requests[provider] += 1;
    }

    pub(crate) fn ended(
        &mut self,
        arrived: Duration,
        provider: usize,
        ending: Ending,
        result: &RequestResult,
        cost: Option<NanoUsd>,
    ) {
        match ending {
            Ending::Answered => self.answered(arrived, provider, result, cost),
            Ending::Failed(fault) => {
                *self.failed.entry(fault.name()).or_default() += 1;
                self.providers[provider].failed += 1;
                self.bin(arrived).failed[provider] += 1;
            }
        }
    }

    fn answered(
        &mut self,
        arrived: Duration,
        provider: usize,
        result: &RequestResult,
        cost: Option<NanoUsd>,
    ) {
        let first_token = result.time_to_first_token.unwrap_or(result.latency);
        let record = &mut self.providers[provider];
        record.first_token.record(first_token);
        record.total.record(result.latency);
        if let Some(cost) = cost {
            record.cost = record.cost + cost;
            record.priced += 1;
        }
        self.first_token.record(first_token);
        self.total.record(result.latency);
        let (count, sum) = &mut self.bin(arrived).answered[provider];
        *count += 1;
        *sum += first_token.as_secs_f64();
    }

    fn bin(&mut self, at: Duration) -> &mut BinRecord {
        let part = at.as_secs_f64() / self.length.as_secs_f64().max(f64::MIN_POSITIVE);
        &mut self.bins[((part * BINS as f64) as usize).min(BINS - 1)]
    }

    pub(crate) fn report(self, scenario: &Scenario, seed: u64, in_system: &[f64], at_end: AtEnd) -> Report {
        let routed: u64 = self.providers.iter().map(|provider| provider.requests).sum();
        let refused: u64 = self.refused.values().sum();
        let failed: u64 = self.failed.values().sum();
        let providers: Vec<_> =
            (0..self.names.len()).map(|i| self.provider(i, in_system[i], routed)).collect();
        let (requests, succeeded) = (routed - self.retried + refused, routed - failed);
        let largest = providers.iter().map(|provider| provider.share).fold(0.0, f64::max);
        Report {
            scenario: scenario.name.into(),
            description: scenario.description.into(),
            strategy: scenario.strategy.to_string(),
            seed,
            requests,
            routed,
            retried: self.retried,
            refused,
            succeeded,
            failed,
            unanswered: requests - succeeded,
            in_flight_at_end: at_end.in_flight,
            duration_s: self.length.as_secs_f64(),
            time_to_first_token: self.first_token.summary(),
            total_time: self.total.summary(),
            cost_nano_usd: self.providers.iter().map(|provider| provider.cost).sum::<NanoUsd>().0,
            answers_of_unknown_price: self.providers.iter().map(|p| p.requests - p.failed - p.priced).sum(),
            imbalance: largest * providers.len() as f64,
            timeline: self.timeline(),
            health: at_end.health,
            limits: at_end.limits,
            budgets: at_end.budgets.iter().filter_map(budget).collect(),
            refused_by_kind: self.refused,
            failed_by_kind: self.failed,
            providers,
        }
    }

    fn provider(&self, index: usize, mean_in_system: f64, routed: u64) -> ProviderReport {
        let (name, record) = (&self.names[index], &self.providers[index]);
        let answered = record.requests - record.failed;
        ProviderReport {
            provider: name.to_string(),
            requests: record.requests,
            share: record.requests as f64 / routed.max(1) as f64,
            succeeded: answered,
            failed: record.failed,
            time_to_first_token: record.first_token.summary(),
            total_time: record.total.summary(),
            cost_nano_usd: (record.priced == answered && answered > 0).then_some(record.cost.0),
            mean_in_system,
        }
    }

    fn timeline(&self) -> Vec<TimelineBin> {
        let width = self.length.as_secs_f64() / BINS as f64;
        let mean = |&(count, sum): &(u64, f64)| if count == 0 { 0.0 } else { sum / count as f64 };
        let bin = |(number, bin): (usize, &BinRecord)| TimelineBin {
            start_s: number as f64 * width,
            requests: bin.requests.clone(),
            failed: bin.failed.clone(),
            mean_time_to_first_token: bin.answered.iter().map(mean).collect(),
            refused: bin.refused,
        };
        self.bins.iter().enumerate().map(bin).collect()
    }
}
