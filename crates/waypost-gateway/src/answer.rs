//! What a client is sent.

use std::io;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http_body::{Body, Frame, SizeHint};

use crate::alarms::Alarms;
use crate::event_stream::EventStream;
use crate::places::Place;
use crate::settlement::Settlement;
use crate::upstream::UpstreamBody;

/// The body of an answer. Until it is sent or dropped it has a place among the requests at once.
#[derive(Debug)]
pub(crate) struct AnswerBody {
    content: Content,
    place: Option<Place>,
}

/// What a body consists of.
#[derive(Debug)]
pub(crate) enum Content {
    /// All of it is there.
    Whole(Option<Bytes>),
    /// Events, as they come.
    Events(Box<EventStream>),
    /// Bytes, as they come: sound, images, answers too large to be held.
    Bytes(Box<ByteStream>),
}

impl From<Content> for AnswerBody {
    fn from(content: Content) -> Self {
        Self { content, place: None }
    }
}

impl AnswerBody {
    pub(crate) fn whole(body: impl Into<Bytes>) -> Self {
        Content::Whole(Some(body.into()).filter(|body| !body.is_empty())).into()
    }

    /// Keeps the place of the request until its answer is sent.
    pub(crate) fn keep(&mut self, place: Place) {
        self.place = Some(place);
    }
}

impl Body for AnswerBody {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        match &mut self.content {
            Content::Whole(body) => Poll::Ready(body.take().map(|body| Ok(Frame::data(body)))),
            Content::Events(events) => {
                events.poll_next(cx).map(|block| block.map(|block| Ok(Frame::data(block))))
            }
            Content::Bytes(bytes) => {
                bytes.poll_next(cx).map(|chunk| chunk.map(|chunk| chunk.map(Frame::data)))
            }
        }
    }

    fn is_end_stream(&self) -> bool {
        matches!(self.content, Content::Whole(None))
    }

    fn size_hint(&self) -> SizeHint {
        match &self.content {
            Content::Whole(body) => SizeHint::with_exact(body.as_ref().map_or(0, |body| body.len() as u64)),
            Content::Bytes(bytes) => bytes.length.map_or_else(SizeHint::default, SizeHint::with_exact),
            Content::Events(_) => SizeHint::default(),
        }
    }
}

/// An answer that is no stream of events, passed on as it comes. If it breaks off, so does the client's connection: there
/// is no other way to say it.
#[derive(Debug)]
pub(crate) struct ByteStream {
    pub(crate) first: Option<Bytes>,
    pub(crate) body: UpstreamBody,
    /// Bytes that are left to come, if that is known.
    pub(crate) length: Option<u64>,
    /// Whether four bytes of it count as a token.
    pub(crate) is_text: bool,
    pub(crate) alarms: Alarms,
    pub(crate) settlement: Settlement,
}

impl ByteStream {
    fn poll_next(&mut self, cx: &mut Context<'_>) -> Poll<Option<io::Result<Bytes>>> {
        if let Some(first) = self.first.take() {
            return Poll::Ready(Some(Ok(self.count(first))));
        }
        loop {
            return match Pin::new(&mut self.body).poll_frame(cx) {
                Poll::Pending => self.alarms.poll(cx).map(|_| {
                    self.settlement.interrupted("the provider sent nothing for too long");
                    Some(Err(io::ErrorKind::TimedOut.into()))
                }),
                Poll::Ready(None) => {
                    self.settlement.complete();
                    Poll::Ready(None)
                }
                Poll::Ready(Some(Ok(frame))) => match frame.into_data() {
                    Ok(chunk) => {
                        self.alarms.rewind();
                        Poll::Ready(Some(Ok(self.count(chunk))))
                    }
                    Err(_) => continue,
                },
                Poll::Ready(Some(Err(error))) => {
                    self.settlement.interrupted("the answer broke off");
                    Poll::Ready(Some(Err(io::Error::other(error))))
                }
            };
        }
    }

    /// Counts what is passed on. Whoever knows how long an answer is does not ask for its end.
    fn count(&mut self, chunk: Bytes) -> Bytes {
        if self.is_text {
            self.settlement.progress.content(chunk.len() as u64 / 4);
        }
        self.length = self.length.map(|length| length.saturating_sub(chunk.len() as u64));
        if self.length == Some(0) {
            self.settlement.complete();
        }
        chunk
    }
}
