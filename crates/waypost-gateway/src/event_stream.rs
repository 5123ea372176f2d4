//! A stream of events on its way to a client, from its first content to its end.

use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use http_body::Body;

use crate::alarms::{Alarm, Alarms};
use crate::endpoint::Dialect;
use crate::secrets::redacted;
use crate::settlement::Settlement;
use crate::sse::{EventSplitter, events};
use crate::target::Target;
use crate::upstream::UpstreamBody;

/// How long the rest of an answer is waited for whose last event has come, so that its connection can be used again.
const REST: Duration = Duration::from_secs(1);

/// A stream that was committed: nothing of it is tried again. What goes wrong from here on is told to the client in an
/// event of its protocol, never as a clean end.
///
/// What is ready together goes out together, nothing waits for more. At most one event that is not whole is held, and
/// nothing is read while the client takes nothing.
pub(crate) struct EventStream {
    state: State,
    dialect: Dialect,
    splitter: EventSplitter,
    settlement: Settlement,
    /// Usage is asked for in the client's place, so it is not for the client.
    hides_usage: bool,
    /// Answers that are not complete yet.
    unfinished: u32,
    /// Who sends it, whose secrets are not told to a client.
    target: Arc<Target>,
    alarms: Alarms,
}

enum State {
    /// Whole events are there that were not looked at.
    Unread(Bytes, UpstreamBody),
    Flowing(UpstreamBody),
    Ended,
}

/// How a stream is passed on.
#[derive(Debug)]
pub(crate) struct Passing {
    pub(crate) dialect: Dialect,
    pub(crate) hides_usage: bool,
    /// How many answers were asked for.
    pub(crate) answers: u32,
    pub(crate) target: Arc<Target>,
    pub(crate) alarms: Alarms,
}

impl EventStream {
    /// `begun` are the whole events that have come, the first content among them.
    pub(crate) fn new(
        begun: Bytes,
        body: UpstreamBody,
        splitter: EventSplitter,
        settlement: Settlement,
        passing: Passing,
    ) -> Self {
        Self {
            state: State::Unread(begun, body),
            dialect: passing.dialect,
            splitter,
            settlement,
            hides_usage: passing.hides_usage,
            unfinished: passing.answers,
            target: passing.target,
            alarms: passing.alarms,
        }
    }

    /// The next block of whole events.
    pub(crate) fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        loop {
            let block = match std::mem::replace(&mut self.state, State::Ended) {
                State::Ended => return Poll::Ready(None),
                State::Unread(begun, body) => {
                    self.state = State::Flowing(body);
                    begun
                }
                State::Flowing(mut body) => match Pin::new(&mut body).poll_frame(cx) {
                    Poll::Pending => {
                        self.state = State::Flowing(body);
                        return self.poll_alarms(cx);
                    }
                    Poll::Ready(Some(Ok(frame))) => {
                        self.alarms.rewind();
                        self.state = State::Flowing(body);
                        let Ok(chunk) = frame.into_data() else { continue };
                        match self.splitter.push(chunk) {
                            Ok(block) => block,
                            Err(_) => return Poll::Ready(Some(self.break_off("an event is too long"))),
                        }
                    }
                    Poll::Ready(Some(Err(_))) => return Poll::Ready(self.at_end("the answer broke off")),
                    Poll::Ready(None) => {
                        return Poll::Ready(self.at_end("the answer ended before it was complete"));
                    }
                },
            };
            let block = self.pass(block);
            if !block.is_empty() {
                return Poll::Ready(Some(block));
            }
        }
    }

    /// Nothing more comes. Complete is what said so, or what gave its reason to end.
    fn at_end(&mut self, why: &'static str) -> Option<Bytes> {
        let rest = self.splitter.finish();
        let rest = self.pass(rest);
        if self.unfinished > 0 {
            let error = self.break_off(why);
            return Some([&rest[..], &error].concat().into());
        }
        self.settlement.complete();
        self.state = State::Ended;
        Some(rest).filter(|rest| !rest.is_empty())
    }

    /// Looks at whole events, and gives those that are for the client.
    fn pass(&mut self, block: Bytes) -> Bytes {
        let (mut kept, mut at) = (None::<BytesMut>, 0);
        for event in events(&block) {
            let heard = self.dialect.hear_flowing(event);
            let (start, end) = (at, at + event.raw.len());
            at = end;
            if let Some(usage) = heard.usage {
                self.settlement.progress.hear(usage);
            }
            if heard.content {
                self.settlement.progress.content(1);
            }
            self.unfinished = self.unfinished.saturating_sub(heard.finished);
            if heard.only_usage && self.hides_usage {
                kept.get_or_insert_with(|| BytesMut::from(&block[..start]));
            } else if let Some(kept) = &mut kept {
                kept.extend_from_slice(event.raw);
            }
            if heard.error {
                self.settlement.interrupted("the provider reported an error in its stream");
                self.state = State::Ended;
                self.unfinished = 0;
                let told = kept.map_or_else(|| block.slice(..end), BytesMut::freeze);
                return redacted(told, &self.target.secrets);
            }
            if heard.ended {
                self.settlement.complete();
                self.unfinished = 0;
                if let State::Flowing(body) = std::mem::replace(&mut self.state, State::Ended) {
                    finish(body);
                }
                return kept.map_or_else(|| block.slice(..end), BytesMut::freeze);
            }
        }
        kept.map_or(block, BytesMut::freeze)
    }

    /// Ends the stream with an error event. What was held of an event that is not whole is dropped.
    fn break_off(&mut self, why: &'static str) -> Bytes {
        self.settlement.interrupted(why);
        self.state = State::Ended;
        self.dialect.error_event("stream_interrupted", why).into()
    }

    /// Nothing has come. Whether it is time to stop waiting.
    fn poll_alarms(&mut self, cx: &mut Context<'_>) -> Poll<Option<Bytes>> {
        self.alarms.poll(cx).map(|alarm| match alarm {
            Alarm::TooLong => self.at_end("the provider sent nothing for too long"),
            Alarm::Closing => {
                self.state = State::Ended;
                let event = self.dialect.error_event("server_shutting_down", "the gateway is shutting down");
                Some(event.into())
            }
        })
    }
}

/// Lets an answer end that has said its last word. Its end has come with that, as a rule.
fn finish(mut body: UpstreamBody) {
    let next = Pin::new(&mut body).poll_frame(&mut Context::from_waker(Waker::noop()));
    if !matches!(next, Poll::Ready(None | Some(Err(_)))) {
        tokio::spawn(read_to_end(body));
    }
}

/// Reads what is left of an answer that has said its last word, which is nearly always nothing but its end.
async fn read_to_end(mut body: UpstreamBody) {
    let rest = async {
        let next = std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        // More than one frame after the end, and the connection is not worth it.
        if next.is_some_and(|frame| {
            frame.is_ok_and(|frame| frame.data_ref().is_none_or(|data| data.len() < 1_024))
        }) {
            std::future::poll_fn(|cx| Pin::new(&mut body).poll_frame(cx)).await;
        }
    };
    let _ = tokio::time::timeout(REST, rest).await;
}

impl std::fmt::Debug for EventStream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("EventStream").field("dialect", &self.dialect).finish_non_exhaustive()
    }
}
