//! One connection, and those that are kept for the next request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http2;
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Upstream;
use super::driven::Driven;
use crate::request_body::RequestBody;

/// Idle connections of one provider that are kept.
const MAX_IDLE: usize = 256;
/// How long an idle connection is kept: less than the minute after which most servers close them, so that few are closed
/// while a request is on its way.
pub(super) const MAX_IDLE_TIME: Duration = Duration::from_secs(50);
/// Streams of one HTTP/2 connection: what providers allow is 100 and more. Beyond, another connection is opened.
const MAX_STREAMS: usize = 100;
/// Bytes of answers that one HTTP/2 stream may have under way: what a client that takes nothing makes the gateway hold.
const STREAM_WINDOW: u32 = 256 << 10;
/// And all streams of a connection together: no less than the streams ask for, so that those that nobody reads hold up no
/// others. The h2 crate ends a connection whose unread frames cost half of this, each what it is shorter than 256 bytes;
/// those of all streams together cost less if they have twelve bytes and more, as events do.
const WINDOW: u32 = 1 << 30;

/// A connection that can be sent a request.
pub(crate) enum Connection {
    /// HTTP/1.1: one request at a time.
    One(Box<Driven>),
    /// HTTP/2: many.
    Many(Shared),
}

/// An HTTP/2 connection and the requests that are under way on it.
#[derive(Clone)]
pub(crate) struct Shared {
    sender: http2::SendRequest<RequestBody>,
    streams: Arc<AtomicUsize>,
}

/// Connections without a request, and those that take several.
#[derive(Default)]
pub(super) struct Kept {
    /// The one that was used last is the last.
    idle: Vec<(Box<Driven>, Instant)>,
    shared: Vec<Shared>,
}

impl Kept {
    pub(super) fn take(&mut self, now: Instant) -> Option<Connection> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        let free = self.shared.iter().find(|shared| shared.streams.load(Ordering::Relaxed) < MAX_STREAMS);
        if let Some(shared) = free {
            return Some(Connection::Many(shared.clone()));
        }
        self.forget_old(now);
        self.idle.pop().map(|(connection, _)| Connection::One(connection))
    }

    /// Keeps a connection that rests.
    pub(super) fn put(&mut self, connection: Box<Driven>, now: Instant) {
        if self.idle.len() < MAX_IDLE {
            self.idle.push((connection, now));
        }
    }

    /// Closes what is old, and what its provider has closed.
    pub(super) fn tidy(&mut self, keeper: &Waker, now: Instant) {
        self.forget_old(now);
        self.idle.retain_mut(|(connection, _)| connection.rest(keeper));
    }

    fn forget_old(&mut self, now: Instant) {
        let is_old = |since: Instant| now.duration_since(since) > MAX_IDLE_TIME;
        let old = self.idle.iter().take_while(|(_, since)| is_old(*since)).count();
        self.idle.drain(..old);
    }

    pub(super) fn share(&mut self, connection: &Connection) {
        if let Connection::Many(shared) = connection {
            self.shared.push(shared.clone());
        }
    }
}

impl Connection {
    pub(super) async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(STREAM_WINDOW)
            .initial_connection_window_size(WINDOW)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
            // What still comes of streams that nobody reads any more, when many have left at once, is not the provider's mistake.
            .max_local_error_reset_streams(None)
            .max_header_list_size(64 << 10);
        let (sender, driver) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a provider ended");
            }
        });
        Ok(Self::Many(Shared { sender, streams: Arc::default() }))
    }

    /// Whether requests name their authority in the target rather than in `Host`.
    pub(crate) const fn is_http2(&self) -> bool {
        matches!(self, Self::Many(_))
    }

    /// Waits until a request can be sent; `false` when it is closed. What rests can be sent one.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Self::One(_) => true,
            Self::Many(shared) => shared.sender.ready().await.is_ok(),
        }
    }

    pub(super) async fn send(
        self,
        upstream: &Arc<Upstream>,
        request: Request<RequestBody>,
    ) -> hyper::Result<Response<UpstreamBody>> {
        match self {
            Self::One(mut connection) => {
                let response = connection.send(request).await?;
                let source = Source::One(Some((connection, Arc::clone(upstream))));
                Ok(response.map(|incoming| UpstreamBody { incoming, source }.started()))
            }
            Self::Many(mut shared) => {
                let stream = StreamCount::new(Arc::clone(&shared.streams));
                let response = shared.sender.send_request(request).await?;
                Ok(response.map(|incoming| UpstreamBody { incoming, source: Source::Many(stream) }))
            }
        }
    }
}

/// A request under way on a shared connection.
struct StreamCount(Arc<AtomicUsize>);

impl StreamCount {
    fn new(streams: Arc<AtomicUsize>) -> Self {
        streams.fetch_add(1, Ordering::Relaxed);
        Self(streams)
    }
}

impl Drop for StreamCount {
    fn drop(&mut self) {
        self.0.fetch_sub(1, Ordering::Relaxed);
    }
}

/// The connection that an answer comes over.
enum Source {
    /// All of it, until the answer has ended.
    One(Option<(Box<Driven>, Arc<Upstream>)>),
    #[expect(dead_code, reason = "counts until it is dropped")]
    Many(StreamCount),
}

/// A provider's answer. Read to its end it gives its connection back; dropped before, it closes it.
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    source: Source,
}

impl UpstreamBody {
    /// An answer without a body has ended at once.
    fn started(mut self) -> Self {
        if self.incoming.is_end_stream() {
            self.ended();
        }
        self
    }

    fn ended(&mut self) {
        if let Source::One(source) = &mut self.source
            && let Some((connection, upstream)) = source.take()
        {
            upstream.give_back(connection);
        }
    }
}

impl Body for UpstreamBody {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let Self { incoming, source } = &mut *self;
        let mut next = |cx: &mut Context<'_>| Pin::new(&mut *incoming).poll_frame(cx);
        let polled = match source {
            Source::One(Some((connection, _))) => connection.poll(cx, next),
            _ => next(cx),
        };
        // Whoever knows how long a body is does not ask for its end.
        if self.incoming.is_end_stream() || matches!(polled, Poll::Ready(None)) {
            self.ended();
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.incoming.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.incoming.size_hint()
    }
}

impl std::fmt::Debug for UpstreamBody {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("UpstreamBody").finish_non_exhaustive()
    }
}
