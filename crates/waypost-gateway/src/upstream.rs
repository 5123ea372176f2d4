//! Connections to a provider: kept, counted and made again.

mod addresses;
mod connection;
mod driven;
mod keeper;
mod network;
mod tls;

pub(crate) use connection::{Connection, UpstreamBody};
pub(crate) use network::{Reach, is_metadata, literal};
pub(crate) use tls::{TlsError, TlsSettings};

use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use http::{Request, Response};
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::net::TcpStream;
use tokio::time::Instant;

use crate::request_body::RequestBody;
use addresses::Addresses;
use connection::Kept;
use driven::Driven;
use keeper::Keeper;
use tls::TlsConnector;

/// How soon after a request was sent its connection closes if it was closed already: two ways through the network. One that
/// closes later may have been served.
const JUST_AS: Duration = Duration::from_millis(500);
/// How long one address is tried before the next.
const PATIENCE: Duration = Duration::from_secs(1);

/// Where a provider is reached.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Origin {
    pub(crate) is_tls: bool,
    pub(crate) host: String,
    pub(crate) port: u16,
    pub(crate) reach: Reach,
}

impl Origin {
    /// What `Host` says: without the port where that is the usual one.
    pub(crate) fn authority(&self) -> String {
        let usual = if self.is_tls { 443 } else { 80 };
        if self.port == usual { self.host.clone() } else { format!("{}:{}", self.host, self.port) }
    }
}

/// All connections to one origin.
///
/// HTTP/1.1 connections serve one request at a time and are used again, the last first. Of HTTP/2 there are as many as
/// their streams need: none is waited for when another can be opened.
pub(crate) struct Upstream {
    origin: Origin,
    addresses: Addresses,
    tls: Option<TlsConnector>,
    kept: Mutex<Kept>,
    keeper: Keeper,
}

/// How a request failed below HTTP.
#[derive(Debug, thiserror::Error)]
pub(crate) enum UpstreamError {
    #[error("no connection: {0}")]
    Connect(#[source] io::Error),
    #[error("the connection failed: {0}")]
    Exchange(#[from] hyper::Error),
}

impl Upstream {
    pub(crate) fn new(origin: Origin, tls: &TlsSettings) -> Result<Arc<Self>, TlsError> {
        let tls = if origin.is_tls { Some(TlsConnector::new(&origin.host, tls)?) } else { None };
        let addresses = Addresses::new(&origin);
        Ok(Arc::new(Self { origin, addresses, tls, kept: Mutex::default(), keeper: Keeper::default() }))
    }

    /// Sends a request that `make` makes. Where a kept connection turns out to have been closed before it answered
    /// anything, the request is made again on a new one: that is nobody's failure.
    pub(crate) async fn send(
        self: &Arc<Self>,
        make: impl Fn(&Connection) -> Request<RequestBody>,
        on_connected: impl Fn(),
    ) -> Result<Response<UpstreamBody>, UpstreamError> {
        let now = Instant::now();
        while let Some(mut connection) = self.checkout(now) {
            if !connection.ready().await {
                continue;
            }
            on_connected();
            let (request, is_http2) = (make(&connection), connection.is_http2());
            match connection.send(self, request).await {
                Ok(response) => return Ok(response),
                // Not sent at all: another one that is kept may be alive.
                Err(error) if is_unsent(&error) && !is_http2 => {}
                Err(error)
                    if is_unsent(&error) || (error.is_incomplete_message() && now.elapsed() < JUST_AS) =>
                {
                    break;
                }
                Err(error) => return Err(error.into()),
            }
        }
        // On the heap: most requests need none of it, and all would hold what a handshake needs.
        let connection = Box::pin(self.connect()).await.map_err(UpstreamError::Connect)?;
        on_connected();
        let request = make(&connection);
        Ok(connection.send(self, request).await?)
    }

    fn checkout(&self, now: Instant) -> Option<Connection> {
        self.kept().take(now)
    }

    /// Keeps a connection whose answer has ended.
    fn give_back(self: &Arc<Self>, mut connection: Box<Driven>) {
        // Locked before it rests: whoever looks after those that rest must see it once its provider closes it.
        let mut kept = self.kept();
        if connection.rest(self.keeper.waker()) {
            kept.put(connection, Instant::now());
            drop(kept);
            self.keeper.watch(self);
        }
    }

    fn kept(&self) -> MutexGuard<'_, Kept> {
        self.kept.lock().unwrap_or_else(PoisonError::into_inner)
    }

    async fn connect(self: &Arc<Self>) -> io::Result<Connection> {
        let mut last = io::Error::new(io::ErrorKind::NotFound, "no address is known");
        for address in self.addresses.get().await? {
            match tokio::time::timeout(PATIENCE, TcpStream::connect(address)).await {
                Ok(Ok(stream)) => {
                    stream.set_nodelay(true)?;
                    let handshake = tokio::time::timeout(PATIENCE * 5, self.handshake(stream));
                    return handshake.await.unwrap_or_else(|_| Err(io::ErrorKind::TimedOut.into()));
                }
                Ok(Err(error)) => last = error,
                Err(_) => last = io::ErrorKind::TimedOut.into(),
            }
        }
        self.addresses.refresh();
        Err(last)
    }

    async fn handshake(self: &Arc<Self>, stream: TcpStream) -> io::Result<Connection> {
        let Some(tls) = &self.tls else { return http1(stream).await };
        let stream = tls.handshake(stream).await?;
        if stream.get_ref().1.alpn_protocol() == Some(b"h2") {
            let connection = Connection::http2(stream).await?;
            self.kept().share(&connection);
            return Ok(connection);
        }
        http1(stream).await
    }
}

async fn http1(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Connection> {
    Ok(Connection::One(Box::new(Driven::new(io).await?)))
}

fn is_unsent(error: &hyper::Error) -> bool {
    error.is_canceled() || error.is_closed()
}

impl std::fmt::Debug for Upstream {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Upstream").field("origin", &self.origin).finish_non_exhaustive()
    }
}
