//! From what a provider answered to what the client is sent.

use std::sync::Arc;
use std::time::Duration;

use bytes::BytesMut;
use http::Response;
use http::header::{CONTENT_TYPE, HeaderMap, HeaderValue};
use http_body::Body as _;
use waypost::core::{NanoUsd, RuleId};
use waypost::{FailoverChain, Outcome, RoutingDecision, SelectedProvider};

use crate::alarms::Alarms;
use crate::answer::{AnswerBody, ByteStream, Content};
use crate::config::ResponseHeader;
use crate::event_stream::{EventStream, Passing};
use crate::exchange::Exchange;
use crate::gateway::Gateway;
use crate::opening::{Beginning, Opened};
use crate::record::{Recording, Served};
use crate::settlement::Settlement;
use crate::target::Candidate;

/// Headers of an answer, at most, those that the connection adds included.
const MAX_HEADERS: usize = 12;
/// About what the headers on how an answer came about have in bytes, together.
const MAX_ABOUT: usize = 128;
/// Digits of the largest number, and a point.
const MAX_DECIMAL: usize = 21;

/// How an answer came about, as far as the client may know.
struct About {
    candidate: Arc<Candidate>,
    rule: Option<RuleId>,
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
        outcome: Outcome<Box<Opened>, SelectedProvider>,
        mut recording: Option<Recording>,
    ) -> Response<AnswerBody> {
        let attempts = outcome.attempts();
        if let Some(record) = recording.as_mut().and_then(Recording::record) {
            record.failed(outcome.failed());
            (record.attempts, record.double_bills) = (attempts, outcome.possible_double_bills());
            record.status = outcome.answer().status.as_u16();
        }
        let elsewhere: Duration = outcome.failed().iter().map(|attempt| attempt.took).sum();
        let overhead = outcome.answer().progress.overhead(exchange.arrived, self.router().clock().now());
        let overhead = overhead.saturating_sub(elsewhere + outcome.waited());
        let (opened, selection) = outcome.into_parts();
        let candidate = Arc::clone(&opened.target.candidate);
        let decision = selection.as_ref().map(SelectedProvider::decision);
        let rule = decision.and_then(|decision| decision.rule_matched.clone());
        let expected = selection.as_ref().and_then(SelectedProvider::estimated_cost);
        if let Some(record) = recording.as_mut().and_then(Recording::record) {
            let served = |decision: &RoutingDecision| Served {
                candidate: Arc::clone(&candidate),
                decision: decision.clone(),
            };
            record.served = decision.map(served);
        }
        let (status, content_type) = (opened.status, opened.content_type.clone());
        let alarms = || Alarms::new(&chain.retry.timeouts, &self.closing);
        let (body, cost) = content(*opened, selection, recording, exchange, alarms);
        let mut response = Response::new(body);
        *response.status_mut() = status;
        let headers = response.headers_mut();
        headers.reserve(MAX_HEADERS);
        headers.extend(content_type.map(|kind| (CONTENT_TYPE, kind)));
        let about = About { candidate, rule, attempts, cost: cost.or(expected), overhead };
        about.tell(&self.directory().response_headers, headers);
        response
    }
}

/// What a client is sent, and what it cost if all of it is there.
fn content(
    opened: Opened,
    selection: Option<SelectedProvider>,
    recording: Option<Recording>,
    exchange: &Exchange,
    alarms: impl FnOnce() -> Alarms,
) -> (AnswerBody, Option<NanoUsd>) {
    let Opened { target, progress, body, beginning, .. } = opened;
    let mut settlement = Settlement::new(progress, selection, recording);
    match beginning {
        Beginning::Whole(body) => {
            let cost = settlement.cost();
            settlement.complete();
            (AnswerBody::whole(body), cost)
        }
        Beginning::Events(begun, splitter) => {
            let passing = Passing {
                dialect: exchange.endpoint.dialect(),
                hides_usage: exchange.hides_usage(),
                answers: exchange.answers,
                target,
                alarms: alarms(),
            };
            let events = EventStream::new(begun, body, splitter, settlement, passing);
            (Content::Events(Box::new(events)).into(), None)
        }
        Beginning::Bytes(first) => {
            let length = body.size_hint().exact().map(|rest| rest + first.len() as u64);
            let is_text = exchange.endpoint.is_text();
            let alarms = alarms();
            let bytes = ByteStream { first: Some(first), body, length, is_text, alarms, settlement };
            (Content::Bytes(Box::new(bytes)).into(), None)
        }
    }
}

impl About {
    /// Says in headers what is wanted.
    fn tell(&self, wanted: &[ResponseHeader], headers: &mut HeaderMap) {
        // Numbers are pieces of one text: several small allocations less.
        let mut text = BytesMut::with_capacity(MAX_ABOUT);
        for header in wanted {
            if let Some(value) = self.value(*header, &mut text) {
                headers.insert(header.name(), value);
            }
        }
    }

    fn value(&self, header: ResponseHeader, text: &mut BytesMut) -> Option<HeaderValue> {
        match header {
            ResponseHeader::Candidate => return Some(self.candidate.header.clone()),
            ResponseHeader::Attempts if self.attempts == 1 => return Some(HeaderValue::from_static("1")),
            ResponseHeader::Attempts => write_decimal(self.attempts.into(), 0, text),
            ResponseHeader::Rule => text.extend_from_slice(self.rule.as_ref()?.as_str().as_bytes()),
            ResponseHeader::Cost => write_decimal(self.cost?.0, 9, text),
            ResponseHeader::Overhead => {
                let micros = u64::try_from(self.overhead.as_micros()).unwrap_or(u64::MAX);
                write_decimal(micros, 3, text);
            }
        }
        HeaderValue::from_maybe_shared(text.split().freeze()).ok()
    }
}

/// Writes a number whose last digits, so many, stand behind a point.
fn write_decimal(mut number: u64, behind: usize, text: &mut BytesMut) {
    let (mut written, mut at, mut digits) = ([0; MAX_DECIMAL], MAX_DECIMAL, 0);
    while number > 0 || digits <= behind {
        if digits == behind && behind > 0 {
            at -= 1;
            written[at] = b'.';
        }
        at -= 1;
        written[at] = b'0' + (number % 10) as u8;
        (number, digits) = (number / 10, digits + 1);
    }
    text.extend_from_slice(&written[at..]);
}

#[cfg(test)]
mod tests {
    use super::*;
    use proptest::prelude::*;

    proptest! {
        #[test]
        fn decimals_are_written_as_the_standard_library_writes_them(
            number in prop_oneof![any::<u64>(), 0..2_000_u64, Just(u64::MAX)],
            behind in 0..=9_usize,
        ) {
            let mut text = BytesMut::new();
            write_decimal(number, behind, &mut text);
            let one = 10_u64.pow(behind as u32);
            let fraction = if behind == 0 { String::new() } else { format!(".{:0behind$}", number % one) };
            prop_assert_eq!(text, format!("{}{fraction}", number / one));
        }
    }
}
