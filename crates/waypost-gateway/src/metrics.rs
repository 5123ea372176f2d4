//! What is counted of requests.

use std::collections::BTreeMap;
use std::fmt::Write as _;
use std::sync::Mutex;
use std::sync::PoisonError;

use waypost::core::ProviderId;

use crate::Endpoint;

/// The most series of one metric; what comes beyond is counted as `_other`.
const MAX_SERIES: usize = 2_000;

/// Counters, by what they are about.
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    answered: Mutex<BTreeMap<(Endpoint, String), Answered>>,
    refused: Mutex<BTreeMap<(Option<Endpoint>, &'static str), u64>>,
}

#[derive(Debug, Default, Clone, Copy)]
struct Answered {
    requests: u64,
    attempts: u64,
}

impl Metrics {
    pub(crate) fn answered(&self, endpoint: Endpoint, provider: &ProviderId, attempts: u32) {
        let mut answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner);
        let mut key = (endpoint, provider.to_string());
        if answered.len() >= MAX_SERIES && !answered.contains_key(&key) {
            "_other".clone_into(&mut key.1);
        }
        let counts = answered.entry(key).or_default();
        counts.requests += 1;
        counts.attempts += u64::from(attempts);
    }

    pub(crate) fn refused(&self, endpoint: Option<Endpoint>, code: &'static str) {
        *self.refused.lock().unwrap_or_else(PoisonError::into_inner).entry((endpoint, code)).or_default() +=
            1;
    }

    /// As text for Prometheus.
    pub(crate) fn text(&self, running: usize, router: &waypost::Router) -> String {
        let mut text = String::new();
        let mut family = |name: &str, kind: &str, help: &str, lines: Vec<(String, u64)>| {
            let _ = writeln!(text, "# HELP {name} {help}\n# TYPE {name} {kind}");
            for (labels, value) in lines {
                let _ = writeln!(text, "{name}{labels} {value}");
            }
        };
        let answered = self.answered.lock().unwrap_or_else(PoisonError::into_inner).clone();
        let by = |value: fn(&Answered) -> u64| {
            let line = |((endpoint, provider), counts): (&(Endpoint, String), &Answered)| {
                (format!("{{endpoint=\"{endpoint}\",provider=\"{}\"}}", escaped(provider)), value(counts))
            };
            answered.iter().map(line).collect()
        };
        family(
            "waypost_requests_answered_total",
            "counter",
            "Requests that were answered.",
            by(|counts| counts.requests),
        );
        family(
            "waypost_attempts_total",
            "counter",
            "Attempts of requests that were answered.",
            by(|counts| counts.attempts),
        );
        let refused = self.refused.lock().unwrap_or_else(PoisonError::into_inner);
        let refused = refused.iter().map(|((endpoint, code), count)| {
            let endpoint = endpoint.map_or("none", Endpoint::as_str);
            (format!("{{endpoint=\"{endpoint}\",code=\"{code}\"}}"), *count)
        });
        family(
            "waypost_requests_refused_total",
            "counter",
            "Requests that were not answered.",
            refused.collect(),
        );
        family(
            "waypost_requests_running",
            "gauge",
            "Requests under way.",
            vec![(String::new(), running as u64)],
        );
        let metrics = router.metrics();
        family(
            "waypost_config_generation",
            "gauge",
            "The version of the configuration.",
            vec![(String::new(), metrics.generation)],
        );
        let table = router.routing_table();
        let in_flight = table.candidates().take(MAX_SERIES).map(|candidate| {
            (
                format!("{{candidate=\"{}\"}}", escaped(&candidate.id().to_string())),
                candidate.live().in_flight().requests,
            )
        });
        family(
            "waypost_candidate_in_flight",
            "gauge",
            "Requests in flight at a candidate.",
            in_flight.collect(),
        );
        text
    }
}

fn escaped(label: &str) -> String {
    label.replace('\\', "\\\\").replace('"', "\\\"").replace('\n', "\\n")
}
