//! What is told of a request: gathered on its way, told once at its end.

use std::sync::Arc;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use uuid::Uuid;
use waypost::RoutingDecision;
use waypost::core::{
    CandidateId, Clock, ModelName, NanoUsd, RuleId, TenantId, Timestamp, TokenUsage, TraceContext,
};
use waypost::failover::{ErrorKind, FailedAttempt};

use crate::Endpoint;
use crate::recorder::Recorder;
use crate::target::Candidate;

/// All that is told of one request. Neither prompts nor answers nor secrets.
#[derive(Debug, Clone)]
pub(crate) struct Record {
    pub(crate) id: Uuid,
    pub(crate) began: SystemTime,
    pub(crate) endpoint: Option<Endpoint>,
    pub(crate) tenant: Option<TenantId>,
    pub(crate) model: Option<ModelName>,
    pub(crate) stream: bool,
    pub(crate) trace: Option<TraceContext>,
    pub(crate) served: Option<Served>,
    /// Attempts that failed: where, and with what.
    pub(crate) failed: Vec<(CandidateId, ErrorKind)>,
    pub(crate) attempts: u32,
    /// Providers that may have served and billed it besides the one that answered.
    pub(crate) double_bills: usize,
    pub(crate) status: u16,
    pub(crate) usage: TokenUsage,
    pub(crate) cost: Option<NanoUsd>,
    pub(crate) time_to_first_token: Option<Duration>,
    pub(crate) took: Duration,
    pub(crate) ending: Ending,
}

/// Who served a request, and why.
#[derive(Debug, Clone)]
pub(crate) struct Served {
    pub(crate) candidate: Arc<Candidate>,
    pub(crate) decision: RoutingDecision,
}

impl Served {
    pub(crate) const fn rule(&self) -> Option<&RuleId> {
        self.decision.rule_matched.as_ref()
    }
}

/// How a request ended.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Ending {
    /// The answer is complete.
    Answered,
    /// There was an error instead of an answer, with this code.
    Refused(&'static str),
    /// The answer broke off.
    Interrupted(&'static str),
    /// The client left.
    Cancelled,
}

impl Ending {
    pub(crate) const fn as_str(self) -> &'static str {
        match self {
            Self::Answered => "answered",
            Self::Refused(_) => "refused",
            Self::Interrupted(_) => "interrupted",
            Self::Cancelled => "cancelled",
        }
    }

    /// The code of an error; why an answer broke off.
    pub(crate) const fn reason(self) -> &'static str {
        match self {
            Self::Refused(reason) | Self::Interrupted(reason) => reason,
            Self::Answered | Self::Cancelled => "",
        }
    }
}

impl Record {
    /// Adds the attempts that failed.
    pub(crate) fn failed(&mut self, attempts: &[FailedAttempt]) {
        self.failed.extend(attempts.iter().map(|attempt| (attempt.candidate.clone(), attempt.verdict.kind)));
    }

    /// As administrators see it.
    pub(crate) fn to_json(&self) -> Value {
        let millis = |time: Duration| time.as_secs_f64() * 1e3;
        let failed = |(candidate, kind): &(CandidateId, ErrorKind)| json!({"candidate": candidate.to_string(), "error": kind.to_string()});
        let served = self.served.as_ref();
        json!({
            "request_id": self.id.to_string(),
            "began": jiff::Timestamp::try_from(self.began).ok().map(|began| began.to_string()),
            "endpoint": self.endpoint.map(Endpoint::as_str),
            "tenant": self.tenant,
            "model": self.model,
            "stream": self.stream,
            "trace_id": self.trace.as_ref().map(|trace| trace.trace_id().to_string()),
            "candidate": served.map(|served| served.candidate.id.to_string()),
            "strategy": served.map(|served| served.decision.strategy_used.to_string()),
            "rule": served.and_then(Served::rule),
            "because": served.map(|served| served.decision.to_string()),
            "failed": self.failed.iter().map(failed).collect::<Vec<_>>(),
            "attempts": self.attempts,
            "possible_double_bills": self.double_bills,
            "ending": self.ending.as_str(),
            "reason": self.ending.reason(),
            "status": self.status,
            "prompt_tokens": self.usage.prompt.0,
            "cached_tokens": self.usage.cached.0,
            "completion_tokens": self.usage.completion.0,
            "cost_usd": self.cost.map(|cost| cost.0 as f64 / 1e9),
            "time_to_first_token_ms": self.time_to_first_token.map(millis),
            "took_ms": millis(self.took),
        })
    }
}

/// A record under way. Dropped before it was ended, the client has left.
#[derive(Debug)]
pub(crate) struct Recording {
    /// Taken when it is told.
    record: Option<Box<Record>>,
    recorder: Arc<Recorder>,
    clock: Arc<dyn Clock>,
    started: Timestamp,
}

impl Recording {
    pub(crate) fn begin(
        recorder: &Arc<Recorder>,
        clock: &Arc<dyn Clock>,
        id: Uuid,
        endpoint: Option<Endpoint>,
    ) -> Self {
        let record = Record {
            id,
            began: clock.wall(),
            endpoint,
            tenant: None,
            model: None,
            stream: false,
            trace: None,
            served: None,
            failed: Vec::new(),
            attempts: 0,
            double_bills: 0,
            status: 0,
            usage: TokenUsage::default(),
            cost: None,
            time_to_first_token: None,
            took: Duration::ZERO,
            ending: Ending::Cancelled,
        };
        Self {
            record: Some(Box::new(record)),
            recorder: Arc::clone(recorder),
            clock: Arc::clone(clock),
            started: clock.now(),
        }
    }

    /// What is known so far; `None` when it was told.
    pub(crate) fn record(&mut self) -> Option<&mut Record> {
        self.record.as_deref_mut()
    }

    /// The request is over.
    pub(crate) fn end(self, ending: Ending) {
        let now = self.clock.now();
        self.end_at(ending, now);
    }

    /// The request was over then.
    pub(crate) fn end_at(mut self, ending: Ending, now: Timestamp) {
        self.tell(ending, now);
    }

    fn tell(&mut self, ending: Ending, now: Timestamp) {
        let Some(mut record) = self.record.take() else { return };
        (record.ending, record.took) = (ending, now.since(self.started));
        self.recorder.tell(record);
    }
}

impl Drop for Recording {
    fn drop(&mut self) {
        if self.record.is_some() {
            self.tell(Ending::Cancelled, self.clock.now());
        }
    }
}
