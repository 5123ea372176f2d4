//! From what a provider answered to what the client is sent.

use std::time::Duration;

use http::header::{HeaderMap, HeaderValue};
use http::{Response, StatusCode};
use http_body::Body as _;
use waypost::core::NanoUsd;
use waypost::{FailoverChain, Outcome, SelectedProvider};

use crate::alarms::Alarms;
use crate::answer::{AnswerBody, ByteStream, Content};
use crate::config::ResponseHeader;
use crate::event_stream::{EventStream, Passing};
use crate::exchange::{Exchange, Opened};
use crate::gateway::Gateway;
use crate::record::{Recording, Served};

/// How an answer came about, as far as the client may know.
struct About {
    served: Option<Served>,
    attempts: u32,
    /// What it costs; of an answer that is still coming, what it should.
    cost: Option<NanoUsd>,
    /// The gateway's own share of the time.
    overhead: Duration,
}

impl Gateway {
    /// The answer to a client, out of a provider's. Whatever is still coming of it is settled when it ends.
    pub(crate) fn answer(
        &self,
        exchange: &Exchange,
        chain: &FailoverChain,
        outcome: Outcome<Opened, SelectedProvider>,
        mut recording: Option<Recording>,
    ) -> Response<AnswerBody> {
        let attempts = outcome.attempts();
        if let Some(record) = recording.as_mut().and_then(Recording::record) {
            record.failed(outcome.failed());
            (record.attempts, record.double_bills) = (attempts, outcome.possible_double_bills());
            record.status = outcome.answer().status().as_u16();
        }
        let elsewhere: Duration = outcome.failed().iter().map(|attempt| attempt.took).sum();
        let overhead = outcome.answer().settlement().overhead(exchange.arrived);
        let overhead = overhead.saturating_sub(elsewhere + outcome.waited());
        let (mut opened, selection) = outcome.into_parts();
        let served = selection.as_ref().map(|selection| self.served_by(selection));
        if let Some(record) = recording.as_mut().and_then(Recording::record) {
            record.served.clone_from(&served);
        }
        let expected = selection.as_ref().and_then(SelectedProvider::estimated_cost);
        opened.settlement_mut().take_over(selection, recording);
        let timeouts = &chain.retry.timeouts;
        let alarms = Alarms::new(timeouts.idle, timeouts.total, &self.closing);
        let (status, mut headers, body, cost) = content(opened, exchange, alarms);
        let about = About { served, attempts, cost: cost.or(expected), overhead };
        about.tell(&self.directory().response_headers, &mut headers);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        *response.headers_mut() = headers;
        response
    }

    fn served_by(&self, selection: &SelectedProvider) -> Served {
        let directory = self.directory();
        let target = directory.target(selection.candidate().id());
        Served::by(selection, target.map_or("custom", |target| target.kind.vendor()))
    }
}

/// What a client is sent, and what it cost if all of it is there.
fn content(
    opened: Opened,
    exchange: &Exchange,
    alarms: Alarms,
) -> (StatusCode, HeaderMap, AnswerBody, Option<NanoUsd>) {
    match opened {
        Opened::Whole { status, headers, body, mut settlement } => {
            let cost = settlement.cost();
            settlement.complete();
            (status, headers, AnswerBody::whole(body), cost)
        }
        Opened::Events { headers, begun, body, splitter, settlement, secrets } => {
            let passing = Passing {
                dialect: exchange.endpoint.dialect(),
                hides_usage: exchange.hides_usage(),
                answers: exchange.answers,
                secrets,
                alarms,
            };
            let events = EventStream::new(begun, body, splitter, settlement, passing);
            (StatusCode::OK, headers, Content::Events(Box::new(events)).into(), None)
        }
        Opened::Bytes { status, headers, first, body, settlement } => {
            let length = body.size_hint().exact().map(|rest| rest + first.len() as u64);
            let is_text = exchange.endpoint.is_text();
            let bytes = ByteStream { first: Some(first), body, length, is_text, alarms, settlement };
            (status, headers, Content::Bytes(Box::new(bytes)).into(), None)
        }
    }
}

impl About {
    /// Says in headers what is wanted.
    fn tell(&self, wanted: &[ResponseHeader], headers: &mut HeaderMap) {
        for header in wanted {
            if let Some(value) = self.value(*header).and_then(|value| HeaderValue::try_from(value).ok()) {
                headers.insert(header.name(), value);
            }
        }
    }

    fn value(&self, header: ResponseHeader) -> Option<String> {
        match header {
            ResponseHeader::Candidate => self.served.as_ref().map(|served| served.candidate.to_string()),
            ResponseHeader::Attempts => Some(self.attempts.to_string()),
            ResponseHeader::Rule => self.served.as_ref()?.rule().map(ToString::to_string),
            ResponseHeader::Cost => self.cost.map(|cost| format!("{:.9}", cost.0 as f64 / 1e9)),
            ResponseHeader::Overhead => Some(format!("{:.3}", self.overhead.as_secs_f64() * 1e3)),
        }
    }
}
