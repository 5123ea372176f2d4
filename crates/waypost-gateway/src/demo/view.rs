//! A table of what runs.

use std::fmt::Write as _;
use std::time::Duration;

use waypost::core::{NanoUsd, ProviderCandidate, Timestamp};
use waypost::health::HealthReport;
use waypost::limits::Level;

use super::load::Load;
use crate::Gateway;

pub(super) fn table(gateway: &Gateway, load: &Load) -> String {
    let router = gateway.router();
    let (table, now) = (router.routing_table(), router.clock().now());
    let candidates: Vec<_> = table.candidates().collect();
    let all: u64 = candidates.iter().map(|candidate| candidate.live().outcomes().succeeded).sum();
    let mut text = format!(
        " {:<13}{:>7}{:>11}{:>21}{:>10}{:>10}   state\n",
        "provider", "share", "in flight", "ttft p50 / p99", "errors", "spend"
    );
    let reports = router.health_reports();
    for candidate in candidates {
        let report = reports.iter().find(|report| report.candidate == *candidate.id());
        let spend = spend(gateway, candidate);
        line(&mut text, candidate, report, all, spend, now);
    }
    let _ = writeln!(
        text,
        " {} requests, {} client errors, {} failed over",
        load.requests(),
        load.errors(),
        load.failed_over()
    );
    text
}

fn line(
    text: &mut String,
    candidate: &ProviderCandidate,
    report: Option<&HealthReport>,
    all: u64,
    spend: NanoUsd,
    now: Timestamp,
) {
    let outcomes = candidate.live().outcomes();
    let share = outcomes.succeeded * 100 / all.max(1);
    let ended = (outcomes.succeeded + outcomes.failed).max(1);
    let errors = outcomes.failed as f64 * 100.0 / ended as f64;
    let histogram = candidate.live().latency().time_to_first_token.histogram();
    let latency = histogram
        .quantiles([0.5, 0.99], now)
        .map_or_else(|| "–".to_owned(), |[median, tail]| format!("{} / {}", millis(median), millis(tail)));
    let exclusion = report.and_then(|report| report.exclusion.as_ref());
    let state = exclusion.map_or_else(|| "healthy".to_owned(), ToString::to_string);
    let _ = writeln!(
        text,
        " {:<13}{share:>5} %{:>11}{latency:>21}{errors:>8.1} %{:>10}   {state}",
        candidate.provider().as_str(),
        candidate.live().in_flight().requests,
        format!("${:.3}", spend.0 as f64 / 1e9),
    );
}

fn millis(time: Duration) -> String {
    format!("{} ms", time.as_millis())
}

/// What a provider's budget says that was spent.
fn spend(gateway: &Gateway, candidate: &ProviderCandidate) -> NanoUsd {
    let reports = gateway.router().limit_reports();
    let mine =
        reports.iter().find(|report| report.subject.to_string().contains(candidate.provider().as_str()));
    match mine.map(|report| report.level) {
        Some(Level::Money { settled, .. }) => settled,
        _ => NanoUsd::ZERO,
    }
}
