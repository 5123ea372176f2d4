//! Listeners: connections in, answers out, an orderly end.

use std::convert::Infallible;
use std::future::Future;
use std::io;
use std::net::SocketAddr;
use std::panic::AssertUnwindSafe;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::task::{Context, Poll, ready};
use std::time::Duration;

use futures_util::FutureExt as _;
use http::request::Parts;
use http::{Request, Response, StatusCode};
use hyper::body::Incoming;
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper_util::rt::{TokioIo, TokioTimer};
use tokio::io::{AsyncRead, AsyncReadExt as _, AsyncWrite, AsyncWriteExt as _, ReadBuf};
use tokio::net::{TcpListener, TcpStream};
use tokio::sync::{OwnedSemaphorePermit, Semaphore, watch};
use tokio::task::JoinSet;
use tokio::time::{Instant, Sleep};

use crate::Gateway;
use crate::answer::AnswerBody;
use crate::closing::{Closed, Closing};
use crate::config::ServerSettings;
use crate::header;
use crate::refusal::Refusal;

/// The largest head of a request: 64 KiB.
const MAX_HEAD: usize = 64 << 10;
/// The most headers of a request.
const MAX_HEADERS: usize = 128;
/// How long to wait when no connection can be accepted, as when there are no file descriptors left: spinning helps nobody.
const ACCEPT_PAUSE: Duration = Duration::from_millis(50);
/// Connections beyond the most that are told so at once; more are closed without a word.
const MAX_REFUSING: usize = 64;
/// How long one that is refused may take to hear it.
const REFUSAL_TIME: Duration = Duration::from_secs(1);
/// File descriptors that are not for clients' connections and those to providers.
const OTHER_FILES: u64 = 64;

/// How a listener treats its connections.
#[derive(Debug, Clone)]
pub(crate) struct Listening {
    pub(crate) max_connections: usize,
    pub(crate) header_timeout: Duration,
    pub(crate) write_timeout: Duration,
    /// How long requests are still taken after the gateway was told to stop: whoever sends them may not know yet.
    pub(crate) lame_duck: Duration,
}

impl From<&ServerSettings> for Listening {
    fn from(server: &ServerSettings) -> Self {
        // Each client may need a connection to a provider.
        let files = rlimit::Resource::NOFILE.get_soft().map_or(u64::MAX, |files| files);
        let room = usize::try_from(files.saturating_sub(OTHER_FILES) / 2).unwrap_or(usize::MAX).max(1);
        if room < server.max_connections {
            tracing::warn!(
                files,
                room,
                "fewer connections than configured: there are not enough file descriptors"
            );
        }
        Self {
            max_connections: server.max_connections.min(room),
            header_timeout: server.header_timeout,
            write_timeout: server.write_timeout,
            lame_duck: server.lame_duck,
        }
    }
}

/// What answers requests.
pub(crate) trait Handler: Clone + Send + 'static {
    fn handle(
        &self,
        head: Parts,
        body: Incoming,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<AnswerBody>> + Send;
}

impl Handler for Arc<Gateway> {
    fn handle(
        &self,
        head: Parts,
        body: Incoming,
        peer: SocketAddr,
    ) -> impl Future<Output = Response<AnswerBody>> + Send {
        Gateway::handle(self, head, body, peer)
    }
}

/// Serves until it is told to stop, then lets what runs come to an end. Returns when no connection is left.
pub(crate) async fn listen<H: Handler>(
    listener: TcpListener,
    handler: H,
    listening: Listening,
    stop: watch::Receiver<bool>,
) {
    let places = Arc::new(Semaphore::new(listening.max_connections));
    let refusing = Arc::new(Semaphore::new(MAX_REFUSING));
    let (mut connections, leaving) = (JoinSet::new(), Closing::default());
    let mut until = pin!(stopped_for(stop, listening.lame_duck));
    loop {
        while connections.try_join_next().is_some() {}
        let accepted = tokio::select! {
            biased;
            () = &mut until => break,
            accepted = listener.accept() => accepted,
        };
        let (stream, peer) = match accepted {
            Ok(accepted) => accepted,
            Err(error) => {
                tracing::warn!(%error, "no connection could be accepted");
                tokio::time::sleep(ACCEPT_PAUSE).await;
                continue;
            }
        };
        // Beyond the most, connections are refused at once: waiting ones would only wait.
        let Ok(place) = Arc::clone(&places).try_acquire_owned() else {
            if let Ok(place) = Arc::clone(&refusing).try_acquire_owned() {
                connections.spawn(refuse(stream, place));
            }
            continue;
        };
        let serving = serve(stream, peer, handler.clone(), listening.clone(), leaving.closed());
        connections.spawn(async move {
            serving.await;
            drop(place);
        });
    }
    drop(listener);
    // Who kept a connection could use it until whoever sends requests knew.
    leaving.close();
    while connections.join_next().await.is_some() {}
}

/// Says that there is no room, to whoever takes it within a moment.
async fn refuse(mut stream: TcpStream, _place: OwnedSemaphorePermit) {
    let body =
        r#"{"error":{"message":"the gateway is full","type":"api_error","param":null,"code":"overloaded"}}"#;
    let answer = format!(
        "HTTP/1.1 503 Service Unavailable\r\ncontent-type: application/json\r\nretry-after: 1\r\nconnection: close\r\n\
         content-length: {}\r\n\r\n{body}",
        body.len()
    );
    let told = async {
        stream.write_all(answer.as_bytes()).await?;
        stream.shutdown().await?;
        // Closed with something unread, the answer would be lost.
        while stream.read(&mut [0; 4096]).await? > 0 {}
        io::Result::Ok(())
    };
    let _ = tokio::time::timeout(REFUSAL_TIME, told).await;
}

async fn stopped_for(mut stop: watch::Receiver<bool>, time: Duration) {
    let _ = stop.wait_for(|stopped| *stopped).await;
    tokio::time::sleep(time).await;
}

async fn serve<H: Handler>(
    stream: TcpStream,
    peer: SocketAddr,
    handler: H,
    listening: Listening,
    mut leaving: Closed,
) {
    if let Err(error) = stream.set_nodelay(true) {
        tracing::debug!(%error, "a client's connection ended early");
        return;
    }
    // HTTP/1.1 alone: on HTTP/2 a client that takes nothing holds its streams without ever blocking the connection.
    let mut builder = http1::Builder::new();
    builder
        .timer(TokioTimer::new())
        .header_read_timeout(listening.header_timeout)
        .max_headers(MAX_HEADERS)
        .max_buf_size(MAX_HEAD);
    let service = service_fn(move |request: Request<Incoming>| {
        let handler = handler.clone();
        async move {
            let (head, body) = request.into_parts();
            // A request that panics is one that failed, not all of its connection.
            // On the heap: a connection that idles or streams holds none of it.
            let answering = Box::pin(handler.handle(head, body, peer));
            let answered = AssertUnwindSafe(answering).catch_unwind().await;
            Ok::<_, Infallible>(answered.unwrap_or_else(|_| failed()))
        }
    });
    let io = TokioIo::new(TimedStream::new(stream, listening.write_timeout));
    let mut connection = pin!(builder.serve_connection(io, service));
    let ended = tokio::select! {
        biased;
        ended = connection.as_mut() => ended,
        () = &mut leaving => {
            connection.as_mut().graceful_shutdown();
            connection.await
        }
    };
    if let Err(error) = ended {
        tracing::debug!(%error, "a client's connection ended");
    }
}

fn failed() -> Response<AnswerBody> {
    let id = uuid::Uuid::now_v7();
    let refusal = Refusal::new(StatusCode::INTERNAL_SERVER_ERROR, "internal_error", "the gateway failed");
    let mut response = refusal.response(None, &id.to_string());
    response.headers_mut().insert(header::REQUEST_ID, header::of_id(id));
    response
}

/// A connection whose peer must take what is written within a time.
struct TimedStream {
    stream: TcpStream,
    patience: Duration,
    /// Set while the peer takes nothing.
    alarm: Option<Pin<Box<Sleep>>>,
}

impl TimedStream {
    const fn new(stream: TcpStream, patience: Duration) -> Self {
        Self { stream, patience, alarm: None }
    }

    /// Lets a write that cannot go on wait for so long.
    fn bounded<T>(&mut self, cx: &mut Context<'_>, written: Poll<io::Result<T>>) -> Poll<io::Result<T>> {
        if written.is_ready() {
            self.alarm = None;
            return written;
        }
        let due = Instant::now() + self.patience;
        let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
        ready!(alarm.as_mut().poll(cx));
        Poll::Ready(Err(io::ErrorKind::TimedOut.into()))
    }
}

impl AsyncRead for TimedStream {
    fn poll_read(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buf: &mut ReadBuf<'_>,
    ) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_read(cx, buf)
    }
}

impl AsyncWrite for TimedStream {
    fn poll_write(mut self: Pin<&mut Self>, cx: &mut Context<'_>, buf: &[u8]) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write(cx, buf);
        self.bounded(cx, written)
    }

    fn poll_write_vectored(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        bufs: &[io::IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        let written = Pin::new(&mut self.stream).poll_write_vectored(cx, bufs);
        self.bounded(cx, written)
    }

    fn is_write_vectored(&self) -> bool {
        self.stream.is_write_vectored()
    }

    fn poll_flush(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_flush(cx)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        Pin::new(&mut self.stream).poll_shutdown(cx)
    }
}
