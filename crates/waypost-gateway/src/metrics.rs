//! What is counted of requests, for Prometheus.
//!
//! Labels are names of the configuration and words of ours, never what clients write.

use std::fmt::{self, Write as _};
use std::hash::Hash;
use std::sync::OnceLock;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use prometheus_client::encoding::text::{encode, encode_registry};
use prometheus_client::encoding::{EncodeLabelSet, EncodeLabelValue, LabelValueEncoder};
use prometheus_client::metrics::TypedMetric;
use prometheus_client::metrics::counter::Counter;
use prometheus_client::metrics::family::{Family, MetricConstructor};
use prometheus_client::metrics::gauge::Gauge;
use prometheus_client::metrics::histogram::Histogram;
use prometheus_client::registry::Registry;
use waypost::Router;
use waypost::core::{CandidateId, ProviderId, Tokens};
use waypost::failover::ErrorKind;

use crate::Endpoint;
use crate::record::{Ending, Record};

/// The most series of one metric; what comes beyond is counted as `_other`.
const MAX_SERIES: usize = 2_000;

/// Seconds: from an answer out of a cache to one that thinks for minutes.
const SECONDS: [f64; 14] =
    [0.01, 0.02, 0.04, 0.08, 0.16, 0.32, 0.64, 1.28, 2.56, 5.12, 10.24, 20.48, 60.0, 300.0];

/// Counters of one gateway.
#[derive(Debug)]
pub(crate) struct Metrics {
    registry: Registry,
    requests: Series<RequestLabels, Counter>,
    attempts: Series<FailureLabels, Counter>,
    tokens: Series<TokenLabels, Counter>,
    dollars: Series<CandidateLabels, Dollars>,
    double_bills: Counter,
    duration: Times,
    first_token: Times,
}

/// How long something took, for each endpoint. Every request is in it, so those of endpoints are at hand once they exist.
#[derive(Debug)]
struct Times {
    family: Family<EndpointLabels, Histogram, fn() -> Histogram>,
    at_hand: [OnceLock<Histogram>; Endpoint::ALL.len()],
}

impl Times {
    fn new() -> Self {
        Self { family: Family::new_with_constructor(seconds), at_hand: Default::default() }
    }

    fn observe(&self, endpoint: Option<Endpoint>, time: Duration) {
        let labels = EndpointLabels { endpoint: endpoint.map_or("none", Endpoint::as_str) };
        let made = || self.family.get_or_create_owned(&labels);
        match endpoint {
            Some(endpoint) => self.at_hand[endpoint as usize].get_or_init(made).observe(time.as_secs_f64()),
            None => made().observe(time.as_secs_f64()),
        }
    }
}

/// A counter of dollars.
type Dollars = Counter<f64, AtomicU64>;

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct RequestLabels {
    endpoint: &'static str,
    provider: Name<ProviderId>,
    outcome: &'static str,
    code: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct FailureLabels {
    candidate: Name<CandidateId>,
    error: Name<ErrorKind>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct TokenLabels {
    candidate: Name<CandidateId>,
    kind: &'static str,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct CandidateLabels {
    candidate: Name<CandidateId>,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash, EncodeLabelSet)]
struct EndpointLabels {
    endpoint: &'static str,
}

/// The name of something, or of all others.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
enum Name<T> {
    Of(T),
    Nobody,
    Others,
}

impl<T: fmt::Display + fmt::Debug> EncodeLabelValue for Name<T> {
    fn encode(&self, encoder: &mut LabelValueEncoder<'_>) -> fmt::Result {
        match self {
            Self::Of(name) => write!(encoder, "{name}"),
            Self::Nobody => encoder.write_str("none"),
            Self::Others => encoder.write_str("_other"),
        }
    }
}

/// A metric with at most [`MAX_SERIES`] series.
#[derive(Debug)]
struct Series<S, M, C = fn() -> M> {
    family: Family<S, M, C>,
    count: AtomicUsize,
}

impl<S: Clone + Eq + Hash, M: Clone + TypedMetric, C: MetricConstructor<M>> Series<S, M, C> {
    fn new(constructor: C) -> Self {
        Self { family: Family::new_with_constructor(constructor), count: AtomicUsize::new(0) }
    }

    /// The series with these labels; one for all others when there are too many.
    fn find(&self, labels: &S, others: impl FnOnce() -> S) -> M {
        if let Some(known) = self.family.get(labels) {
            return known.clone();
        }
        if self.count.fetch_add(1, Ordering::Relaxed) < MAX_SERIES {
            return self.family.get_or_create(labels).clone();
        }
        self.count.fetch_sub(1, Ordering::Relaxed);
        self.family.get_or_create(&others()).clone()
    }
}

/// The series of one candidate, at hand for each of its requests once they exist.
#[derive(Debug, Default)]
pub(crate) struct CandidateSeries {
    /// Answered requests, for each endpoint.
    answered: [OnceLock<Counter>; Endpoint::ALL.len()],
    prompt: OnceLock<Counter>,
    cached: OnceLock<Counter>,
    completion: OnceLock<Counter>,
    dollars: OnceLock<Dollars>,
}

fn seconds() -> Histogram {
    Histogram::new(SECONDS)
}

impl Default for Metrics {
    fn default() -> Self {
        let mut metrics = Self {
            registry: Registry::with_prefix("waypost"),
            requests: Series::new(Counter::default),
            attempts: Series::new(Counter::default),
            tokens: Series::new(Counter::default),
            dollars: Series::new(Dollars::default),
            double_bills: Counter::default(),
            duration: Times::new(),
            first_token: Times::new(),
        };
        let Self { registry, requests, attempts, tokens, dollars, double_bills, duration, first_token } =
            &mut metrics;
        registry.register(
            "possible_double_bills",
            "Attempts that failed although their providers may have served and billed them",
            double_bills.clone(),
        );
        registry.register("requests", "Requests that ended, and how", requests.family.clone());
        registry.register("failed_attempts", "Attempts that failed, and with what", attempts.family.clone());
        registry.register("tokens", "Tokens of prompts and answers", tokens.family.clone());
        registry.register(
            "cost_dollars",
            "What answers cost, where prices are known",
            dollars.family.clone(),
        );
        registry.register(
            "request_duration_seconds",
            "From the head of a request to the end of its answer",
            duration.family.clone(),
        );
        registry.register(
            "time_to_first_token_seconds",
            "From a request to the first content of its stream",
            first_token.family.clone(),
        );
        metrics
    }
}

impl Metrics {
    pub(crate) fn observe(&self, record: &Record) {
        let endpoint = record.endpoint.map_or("none", Endpoint::as_str);
        self.duration.observe(record.endpoint, record.took);
        if let Some(first) = record.time_to_first_token {
            self.first_token.observe(record.endpoint, first);
        }
        let served = record.served.as_ref();
        let provider =
            || served.map_or(Name::Nobody, |served| Name::Of(served.candidate.id.provider.clone()));
        let (outcome, code) = (record.ending.as_str(), record.ending.reason());
        let labels = |provider| RequestLabels { endpoint, provider, outcome, code };
        let find = || self.requests.find(&labels(provider()), || labels(Name::Others));
        match (served, record.endpoint, record.ending) {
            (Some(served), Some(endpoint), Ending::Answered) => {
                served.candidate.series.answered[endpoint as usize].get_or_init(find).inc();
            }
            _ => {
                find().inc();
            }
        }
        for (candidate, kind) in &record.failed {
            let labels = |candidate| FailureLabels { candidate, error: Name::Of(*kind) };
            self.attempts.find(&labels(Name::Of(candidate.clone())), || labels(Name::Others)).inc();
        }
        if record.double_bills > 0 {
            self.double_bills.inc_by(record.double_bills as u64);
        }
        if let Some(served) = served {
            self.observe_usage(&served.candidate.id, &served.candidate.series, record);
        }
    }

    fn observe_usage(&self, candidate: &CandidateId, series: &CandidateSeries, record: &Record) {
        let (usage, name) = (record.usage, || Name::Of(candidate.clone()));
        let counts = [
            ("prompt", &series.prompt, usage.prompt),
            ("cached", &series.cached, usage.cached),
            ("completion", &series.completion, usage.completion),
        ];
        for (kind, series, tokens) in counts.into_iter().filter(|(.., tokens)| *tokens > Tokens::ZERO) {
            let labels = |candidate| TokenLabels { candidate, kind };
            let find = || self.tokens.find(&labels(name()), || labels(Name::Others));
            series.get_or_init(find).inc_by(tokens.0);
        }
        if let Some(cost) = record.cost {
            let labels = |candidate| CandidateLabels { candidate };
            let find = || self.dollars.find(&labels(name()), || labels(Name::Others));
            series.dollars.get_or_init(find).inc_by(cost.0 as f64 / 1e9);
        }
    }

    /// As text for Prometheus (`OpenMetrics`), with what is now.
    pub(crate) fn text(&self, running: usize, router: &Router) -> String {
        let mut text = String::new();
        // Nothing fails that is written into a text.
        let _ = encode_registry(&mut text, &now(running, router));
        let _ = encode(&mut text, &self.registry);
        text
    }
}

/// What is now, made when it is asked for.
fn now(running: usize, router: &Router) -> Registry {
    let mut registry = Registry::with_prefix("waypost");
    let (requests, generation) = (Gauge::<u64, AtomicU64>::default(), Gauge::<u64, AtomicU64>::default());
    requests.set(running as u64);
    generation.set(router.metrics().generation);
    registry.register("requests_running", "Requests under way", requests);
    registry.register("config_generation", "The version of the configuration", generation);
    let in_flight = Family::<CandidateLabels, Gauge<u64, AtomicU64>>::default();
    let available = Family::<CandidateLabels, Gauge<u64, AtomicU64>>::default();
    for candidate in router.routing_table().candidates().take(MAX_SERIES) {
        let labels = CandidateLabels { candidate: Name::Of(candidate.id().clone()) };
        in_flight.get_or_create(&labels).set(candidate.live().in_flight().requests);
    }
    for report in router.health_reports().iter().take(MAX_SERIES) {
        let labels = CandidateLabels { candidate: Name::Of(report.candidate.clone()) };
        available.get_or_create(&labels).set(u64::from(report.exclusion.is_none()));
    }
    registry.register("candidate_in_flight", "Requests in flight at a candidate", in_flight);
    registry.register("candidate_available", "1 where a candidate is not left out", available);
    registry
}
