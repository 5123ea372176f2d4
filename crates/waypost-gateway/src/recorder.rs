//! Where records of requests go: metrics, the latest ones for administrators, logs, a collector.

use std::collections::VecDeque;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use crate::metrics::Metrics;
use crate::record::{Ending, Record};

/// Requests that administrators can look at: the latest 256.
const MAX_RECENT: usize = 256;

/// Takes the records of all requests.
#[derive(Debug, Default)]
pub(crate) struct Recorder {
    pub(crate) metrics: Metrics,
    recent: Mutex<VecDeque<Box<Record>>>,
    #[cfg(feature = "otlp")]
    exporter: std::sync::OnceLock<crate::export::Exporter>,
}

impl Recorder {
    /// Tells it too.
    #[cfg(feature = "otlp")]
    pub(crate) fn export_by(&self, exporter: crate::export::Exporter) {
        // One for the life of a process.
        let _ = self.exporter.set(exporter);
    }

    /// Which share of new traces is recorded; `None` when nobody is told of traces.
    pub(crate) fn traced_share(&self) -> Option<f64> {
        #[cfg(feature = "otlp")]
        return self.exporter.get().map(crate::export::Exporter::share);
        #[cfg(not(feature = "otlp"))]
        None
    }

    pub(crate) fn tell(&self, record: Box<Record>) {
        self.metrics.observe(&record);
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter.get() {
            exporter.tell(&record);
        }
        log(&record);
        let mut recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner);
        let oldest = if recent.len() == MAX_RECENT { recent.pop_front() } else { None };
        recent.push_back(record);
        drop(recent);
        drop(oldest);
    }

    /// The latest requests, the last first.
    pub(crate) fn recent(&self) -> Vec<Value> {
        let recent = self.recent.lock().unwrap_or_else(PoisonError::into_inner).clone();
        recent.iter().rev().map(|record| record.to_json()).collect()
    }

    /// Sends what waits for a collector. May block for some seconds.
    pub(crate) fn shut_down(&self) {
        #[cfg(feature = "otlp")]
        if let Some(exporter) = self.exporter.get() {
            exporter.shut_down();
        }
    }
}

/// A line for each request: answered ones for those who debug, others for everybody.
fn log(record: &Record) {
    macro_rules! line {
        ($level:ident) => {
            tracing::$level!(
                target: "waypost::request",
                request_id = %record.id,
                endpoint = record.endpoint.map(tracing::field::display),
                tenant = record.tenant.as_ref().map(tracing::field::display),
                model = record.model.as_ref().map(tracing::field::display),
                candidate = record.served.as_ref().map(|served| tracing::field::display(&served.candidate.id)),
                attempts = record.attempts,
                status = record.status,
                ending = record.ending.as_str(),
                reason = record.ending.reason(),
                took_ms = record.took.as_secs_f64() * 1e3,
                prompt_tokens = record.usage.prompt.0,
                completion_tokens = record.usage.completion.0,
            )
        };
    }
    match record.ending {
        Ending::Answered => line!(debug),
        Ending::Refused(_) | Ending::Interrupted(_) | Ending::Cancelled => line!(info),
    }
}
