//! What a router counts about itself.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use crossbeam_utils::CachePadded;
use waypost_core::{HistogramSnapshot, RoutingError, ThreadLocalCounter, ThreadLocalHistogram};

/// What a router counted since its creation.
#[derive(Debug, Clone)]
#[non_exhaustive]
pub struct RouterMetrics {
    /// Decisions asked for.
    pub total_routes: u64,
    /// Decisions that selected a candidate.
    pub successful_routes: u64,
    /// Decisions that failed.
    pub failed_routes: u64,
    /// Failures by [`RoutingError::kind`], those that happened only.
    pub failures_by_kind: Vec<(&'static str, u64)>,
    /// How long the timed decisions that selected a candidate took. The histogram's first bucket ends at 139 µs, so it
    /// tells stalls from normal decisions; what a normal one costs is in the benches.
    pub selection_time: HistogramSnapshot,
    /// Requests in flight at all candidates of the routing table.
    pub in_flight: u64,
    /// The version of the configuration: routing table, strategies and rules.
    pub generation: u64,
}

/// The counters behind [`RouterMetrics`].
#[derive(Debug, Default)]
pub(crate) struct Metrics {
    timed: ThreadLocalHistogram,
    untimed: ThreadLocalCounter,
    failures: CachePadded<[AtomicU64; RoutingError::KINDS.len()]>,
}

impl Metrics {
    pub(crate) fn selected_in(&self, time: Duration) {
        self.timed.record(time);
    }

    pub(crate) fn selected(&self) {
        self.untimed.add(1);
    }

    pub(crate) fn failed(&self, error: &RoutingError) {
        self.failures[error.kind_index()].fetch_add(1, Ordering::Relaxed);
    }

    pub(crate) fn snapshot(&self, in_flight: u64, generation: u64) -> RouterMetrics {
        let selection_time = self.timed.snapshot();
        let failures = RoutingError::KINDS
            .iter()
            .zip(self.failures.iter())
            .map(|(&kind, n)| (kind, n.load(Ordering::Relaxed)));
        let failures_by_kind: Vec<_> = failures.filter(|&(_, count)| count > 0).collect();
        let failed_routes = failures_by_kind.iter().map(|&(_, count)| count).sum();
        let successful_routes = selection_time.len() + self.untimed.sum();
        RouterMetrics {
            total_routes: successful_routes + failed_routes,
            successful_routes,
            failed_routes,
            failures_by_kind,
            selection_time,
            in_flight,
            generation,
        }
    }
}
