//! One connection, and those that are kept for the next request.

use std::io;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::{Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::{http1, http2};
use hyper_util::rt::{TokioExecutor, TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::time::Instant;

use super::Upstream;
use crate::request_body::RequestBody;

/// How long an idle connection is kept: less than the minute after which most servers close them, so that few are closed
/// while a request is on its way.
const MAX_IDLE_TIME: Duration = Duration::from_secs(50);
/// Streams of one HTTP/2 connection: what providers allow is 100 and more. Beyond, another connection is opened.
const MAX_STREAMS: usize = 100;
/// Bytes of answers that one HTTP/2 stream may have under way: 1 MiB, so that no reader of events waits for windows.
const WINDOW: u32 = 1 << 20;
/// Bytes that are read from a connection at once, at most.
const READ_BUFFER: usize = 64 << 10;

/// A connection that can be sent a request.
pub(crate) enum Connection {
    /// HTTP/1.1: one request at a time.
    One(http1::SendRequest<RequestBody>),
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
    idle: Vec<(http1::SendRequest<RequestBody>, Instant)>,
    shared: Vec<Shared>,
}

impl Kept {
    pub(super) fn take(&mut self, now: Instant) -> Option<Connection> {
        self.shared.retain(|shared| !shared.sender.is_closed());
        let free = self.shared.iter().find(|shared| shared.streams.load(Ordering::Relaxed) < MAX_STREAMS);
        if let Some(shared) = free {
            return Some(Connection::Many(shared.clone()));
        }
        while let Some((sender, since)) = self.idle.pop() {
            if now.duration_since(since) > MAX_IDLE_TIME {
                // Those below it are older.
                self.idle.clear();
            } else if !sender.is_closed() {
                return Some(Connection::One(sender));
            }
        }
        None
    }

    pub(super) fn put(&mut self, connection: Connection, now: Instant, most: usize) {
        if let Connection::One(sender) = connection
            && !sender.is_closed()
            && self.idle.len() < most
        {
            self.idle.push((sender, now));
        }
    }

    pub(super) fn share(&mut self, connection: &Connection) {
        if let Connection::Many(shared) = connection {
            self.shared.push(shared.clone());
        }
    }
}

impl Connection {
    pub(super) async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(READ_BUFFER * 4).max_headers(128);
        let (sender, driver) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        tokio::spawn(async move {
            if let Err(error) = driver.await {
                tracing::debug!(%error, "a connection to a provider ended");
            }
        });
        Ok(Self::One(sender))
    }

    pub(super) async fn http2(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let mut builder = http2::Builder::new(TokioExecutor::new());
        builder
            .timer(TokioTimer::new())
            .initial_stream_window_size(WINDOW)
            .initial_connection_window_size(WINDOW * 8)
            .keep_alive_interval(Duration::from_secs(20))
            .keep_alive_timeout(Duration::from_secs(10))
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

    /// Waits until a request can be sent; `false` when it is closed.
    pub(super) async fn ready(&mut self) -> bool {
        match self {
            Self::One(sender) => sender.ready().await.is_ok(),
            Self::Many(shared) => shared.sender.ready().await.is_ok(),
        }
    }

    pub(super) async fn send(
        self,
        upstream: &Arc<Upstream>,
        request: Request<RequestBody>,
    ) -> hyper::Result<Response<UpstreamBody>> {
        match self {
            Self::One(mut sender) => {
                let response = sender.send_request(request).await?;
                let kept = Some((Arc::clone(upstream), sender));
                Ok(response.map(|incoming| UpstreamBody { incoming, after: After::GiveBack(kept) }.started()))
            }
            Self::Many(mut shared) => {
                let stream = StreamCount::new(Arc::clone(&shared.streams));
                let response = shared.sender.send_request(request).await?;
                Ok(response.map(|incoming| UpstreamBody { incoming, after: After::Stream(stream) }))
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

/// What becomes of the connection when the answer has ended.
enum After {
    GiveBack(Option<(Arc<Upstream>, http1::SendRequest<RequestBody>)>),
    #[expect(dead_code, reason = "counts until it is dropped")]
    Stream(StreamCount),
}

/// A provider's answer. Read to its end it gives its connection back; dropped before, it closes it.
pub(crate) struct UpstreamBody {
    incoming: Incoming,
    after: After,
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
        if let After::GiveBack(kept) = &mut self.after
            && let Some((upstream, sender)) = kept.take()
        {
            upstream.give_back(Connection::One(sender));
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
        let polled = Pin::new(&mut self.incoming).poll_frame(cx);
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
