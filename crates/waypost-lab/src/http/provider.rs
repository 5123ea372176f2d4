//! A server that does what scripts say.

use std::io;
use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::tcp::{OwnedReadHalf, OwnedWriteHalf};
use tokio::net::{TcpListener, TcpStream};
use tokio::task::{AbortHandle, JoinSet};

use super::{Script, Step};

/// The most bytes of a request that are taken: 64 MiB.
const MAX_REQUEST: usize = 64 << 20;
/// The most headers of a request that are read.
const MAX_HEADERS: usize = 64;

/// A request as a provider sees it.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct HttpRequest {
    /// Which of the provider's requests it is, from 0.
    pub number: u64,
    /// Path and query.
    pub path: String,
    /// Names in lower case, and values.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
}

impl HttpRequest {
    /// The value of a header.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The body as JSON; null if it is none.
    pub fn json(&self) -> serde_json::Value {
        serde_json::from_slice(&self.body).unwrap_or_default()
    }
}

/// What a provider saw: the oracle of tests.
#[derive(Debug, Default)]
pub struct HttpLedger {
    connections: AtomicU64,
    requests: AtomicU64,
    answered: AtomicU64,
    abandoned: AtomicU64,
}

impl HttpLedger {
    /// Connections that were made.
    pub fn connections(&self) -> u64 {
        self.connections.load(Ordering::SeqCst)
    }

    /// Requests that came.
    pub fn requests(&self) -> u64 {
        self.requests.load(Ordering::SeqCst)
    }

    /// Requests whose script came to its end.
    pub fn answered(&self) -> u64 {
        self.answered.load(Ordering::SeqCst)
    }

    /// Requests whose caller went away before that.
    pub fn abandoned(&self) -> u64 {
        self.abandoned.load(Ordering::SeqCst)
    }
}

/// A provider that listens at a port of loopback and answers by scripts. Dropping it closes everything.
///
/// ```
/// use waypost_lab::http::{HttpProvider, Script};
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> std::io::Result<()> {
/// let provider = HttpProvider::start(|_| Script::json("{}")).await?;
/// assert!(provider.address().ip().is_loopback());
/// assert_eq!(provider.ledger().requests(), 0);
/// # Ok(())
/// # }
/// ```
#[derive(Debug)]
pub struct HttpProvider {
    address: SocketAddr,
    ledger: Arc<HttpLedger>,
    server: AbortHandle,
}

impl HttpProvider {
    /// Starts it on the tokio runtime that this is called on. `reply` says what to do with each request.
    ///
    /// # Errors
    ///
    /// When no port can be had.
    pub async fn start(reply: impl Fn(&HttpRequest) -> Script + Send + Sync + 'static) -> io::Result<Self> {
        Self::start_at("127.0.0.1:0".parse().map_err(io::Error::other)?, reply).await
    }

    /// Starts it at an address.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn start_at(
        address: SocketAddr,
        reply: impl Fn(&HttpRequest) -> Script + Send + Sync + 'static,
    ) -> io::Result<Self> {
        let listener = TcpListener::bind(address).await?;
        let address = listener.local_addr()?;
        let ledger = Arc::new(HttpLedger::default());
        let serving = accept(listener, Arc::clone(&ledger), Arc::new(reply));
        let server = tokio::spawn(serving).abort_handle();
        Ok(Self { address, ledger, server })
    }

    /// Where it listens.
    pub const fn address(&self) -> SocketAddr {
        self.address
    }

    /// The base URL of its API, as OpenAI's.
    pub fn url(&self) -> String {
        format!("http://{}/v1", self.address)
    }

    /// What it saw.
    pub fn ledger(&self) -> &HttpLedger {
        &self.ledger
    }
}

impl Drop for HttpProvider {
    fn drop(&mut self) {
        self.server.abort();
    }
}

type Reply = Arc<dyn Fn(&HttpRequest) -> Script + Send + Sync>;

async fn accept(listener: TcpListener, ledger: Arc<HttpLedger>, reply: Reply) {
    // Ends with its tasks when it is aborted.
    let mut connections = JoinSet::new();
    loop {
        while connections.try_join_next().is_some() {}
        let Ok((stream, _)) = listener.accept().await else {
            tokio::time::sleep(Duration::from_millis(20)).await;
            continue;
        };
        ledger.connections.fetch_add(1, Ordering::SeqCst);
        connections.spawn(serve(stream, Arc::clone(&ledger), Arc::clone(&reply)));
    }
}

/// How a script ended.
#[derive(PartialEq)]
enum Played {
    ToItsEnd,
    Closed,
    Abandoned,
}

async fn serve(stream: TcpStream, ledger: Arc<HttpLedger>, reply: Reply) {
    let _ = stream.set_nodelay(true);
    let (mut read, mut write) = stream.into_split();
    let mut held = Vec::new();
    while let Some(mut request) = next_request(&mut read, &mut held).await {
        request.number = ledger.requests.fetch_add(1, Ordering::SeqCst);
        let script = reply(&request);
        let played = play(&script, &mut read, &mut write, &mut held).await;
        match played {
            Played::Abandoned => ledger.abandoned.fetch_add(1, Ordering::SeqCst),
            Played::ToItsEnd | Played::Closed => ledger.answered.fetch_add(1, Ordering::SeqCst),
        };
        if played != Played::ToItsEnd {
            return;
        }
    }
}

async fn play(
    script: &Script,
    read: &mut OwnedReadHalf,
    write: &mut OwnedWriteHalf,
    held: &mut Vec<u8>,
) -> Played {
    for step in script.steps() {
        let ended = match step {
            Step::Send(bytes) => write.write_all(bytes).await.is_err(),
            Step::Wait(time) => is_gone_within(*time, read, held).await,
            Step::Hang => is_gone_within(Duration::from_secs(3_600), read, held).await,
            Step::Close => return Played::Closed,
            Step::Reset => {
                // Closed at once and without a word, which the peer sees as a reset.
                let _ = write.as_ref().set_zero_linger();
                return Played::Closed;
            }
        };
        if ended {
            return Played::Abandoned;
        }
    }
    Played::ToItsEnd
}

/// Waits; whether the caller went away meanwhile.
async fn is_gone_within(time: Duration, read: &mut OwnedReadHalf, held: &mut Vec<u8>) -> bool {
    let watch = async { while let Ok(1..) = read.read_buf(held).await {} };
    tokio::time::timeout(time, watch).await.is_ok()
}

/// The next request of a connection; `None` when there is none, or none that can be read.
async fn next_request(read: &mut OwnedReadHalf, held: &mut Vec<u8>) -> Option<HttpRequest> {
    loop {
        if let Some((request, length)) = parse(held)? {
            held.drain(..length);
            return Some(request);
        }
        if held.len() > MAX_REQUEST || read.read_buf(held).await.ok()? == 0 {
            return None;
        }
    }
}

/// A whole request at the beginning of the bytes and how many it takes; the outer `None` when there will never be one.
#[expect(clippy::option_option, reason = "not yet, and never")]
fn parse(bytes: &[u8]) -> Option<Option<(HttpRequest, usize)>> {
    let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
    let mut parsed = httparse::Request::new(&mut headers);
    let httparse::Status::Complete(head) = parsed.parse(bytes).ok()? else { return Some(None) };
    let text = |header: &httparse::Header<'_>| {
        (header.name.to_ascii_lowercase(), String::from_utf8_lossy(header.value).into_owned())
    };
    let request = HttpRequest {
        path: parsed.path?.to_owned(),
        headers: parsed.headers.iter().map(text).collect(),
        ..HttpRequest::default()
    };
    let length: usize = request.header("content-length").and_then(|length| length.parse().ok()).unwrap_or(0);
    let Some(body) = bytes.get(head..head.checked_add(length)?) else { return Some(None) };
    Some(Some((HttpRequest { body: body.to_vec(), ..request }, head + length)))
}
