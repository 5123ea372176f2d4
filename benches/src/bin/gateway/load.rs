//! Load: connections that are kept, each with one request at a time.

use std::error::Error;
use std::fmt;
use std::net::SocketAddr;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use hdrhistogram::Histogram;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self, SendRequest};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::systems::CpuTime;

/// Users in whose names is asked, each of whom has a rate.
const USERS: usize = 64;

/// What is asked for, and by whom.
#[derive(Debug, Clone)]
pub(crate) struct Asked {
    pub(crate) path: &'static str,
    pub(crate) model: &'static str,
    /// What users' names begin with.
    pub(crate) user: &'static str,
    pub(crate) key: String,
    /// How a stream ends.
    pub(crate) end: &'static str,
}

impl Default for Asked {
    /// Chat by anyone.
    fn default() -> Self {
        Self { path: "/v1/chat/completions", model: "m", user: "u", key: String::new(), end: "[DONE]\n\n" }
    }
}

/// One kind of request, so many at once.
#[derive(Debug, Clone, Default)]
pub(crate) struct Case {
    pub(crate) prompt_kib: usize,
    pub(crate) stream: bool,
    pub(crate) concurrency: usize,
    pub(crate) asked: Asked,
}

impl Case {
    /// What is measured.
    pub(crate) fn all() -> Vec<Self> {
        let case =
            |prompt_kib, stream, concurrency| Self { prompt_kib, stream, concurrency, ..Self::default() };
        let mut cases = Vec::new();
        for concurrency in [1, 32, 256] {
            cases.extend([
                case(1, false, concurrency),
                case(32, false, concurrency),
                case(1, true, concurrency),
            ]);
        }
        cases.push(case(256, false, 32));
        cases
    }

    /// A request of each user.
    fn bodies(&self) -> Arc<[Bytes]> {
        let words = "lorem ipsum dolor sit amet ".repeat(self.prompt_kib * 1_024 / 27);
        let (Asked { model, user: prefix, .. }, stream) = (&self.asked, self.stream);
        let body = |user| {
            format!(
                r#"{{"model":"{model}","stream":{stream},"user":"{prefix}{user}","messages":[{{"role":"user","content":"{words}"}}],"max_tokens":100}}"#,
            )
        };
        (0..USERS).map(|user| Bytes::from(body(user))).collect()
    }

    fn request(&self, address: SocketAddr, body: Bytes) -> Result<Request<Full<Bytes>>, http::Error> {
        let request = Request::post(self.asked.path)
            .header("host", address.to_string())
            .header("content-type", "application/json");
        let has_key = !self.asked.key.is_empty();
        let request = if has_key {
            request.header("authorization", format!("Bearer {}", self.asked.key))
        } else {
            request
        };
        request.body(Full::new(body))
    }

    /// The end of an answer that is whole.
    fn end(&self) -> &'static [u8] {
        if self.stream { self.asked.end.as_bytes() } else { b"}" }
    }
}

impl fmt::Display for Case {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} {} KiB", if self.stream { "stream" } else { "plain" }, self.prompt_kib)
    }
}

/// What clients saw, and what it cost the system that they asked.
#[derive(Debug)]
pub(crate) struct Measured {
    /// Nanoseconds, of each request.
    pub(crate) latencies: Histogram<u64>,
    pub(crate) elapsed: Duration,
    pub(crate) cpu: CpuTime,
}

impl Default for Measured {
    fn default() -> Self {
        let latencies = Histogram::new(3).expect("three digits are possible");
        Self { latencies, elapsed: Duration::ZERO, cpu: CpuTime::default() }
    }
}

impl Measured {
    /// Adds another round.
    pub(crate) fn add(&mut self, round: Self, cpu: CpuTime) -> Result<(), Box<dyn Error>> {
        self.latencies.add(round.latencies)?;
        self.elapsed += round.elapsed;
        self.cpu = self.cpu + cpu;
        Ok(())
    }
}

/// Asks for a time.
pub(crate) async fn run(
    address: SocketAddr,
    case: &Case,
    time: Duration,
) -> Result<Measured, Box<dyn Error>> {
    let (start, mut clients) = (Instant::now(), JoinSet::new());
    let bodies = case.bodies();
    for _ in 0..case.concurrency {
        clients.spawn(client(address, Arc::clone(&bodies), case.clone(), start + time));
    }
    let mut measured = Measured::default();
    while let Some(latencies) = clients.join_next().await {
        measured
            .latencies
            .add(latencies?.map_err(|error| format!("{case}, {} at once: {error}", case.concurrency))?)?;
    }
    measured.elapsed = start.elapsed();
    Ok(measured)
}

/// How much of an answer's end is looked at.
const TAIL: usize = 16;

type Failed = Box<dyn Error + Send + Sync>;

async fn client(
    address: SocketAddr,
    bodies: Arc<[Bytes]>,
    case: Case,
    until: Instant,
) -> Result<Histogram<u64>, Failed> {
    let (mut sender, mut latencies) = (connect(address).await?, Histogram::<u64>::new(3)?);
    for body in bodies.iter().cycle() {
        if Instant::now() >= until {
            break;
        }
        let start = Instant::now();
        sender.ready().await?;
        let response = sender.send_request(case.request(address, body.clone())?).await?;
        let status = response.status();
        let last = last_bytes(response.into_body()).await?;
        if !status.is_success() || !last.ends_with(case.end()) {
            return Err(format!("{status}: {}", String::from_utf8_lossy(&last)).into());
        }
        latencies.record(start.elapsed().as_nanos() as u64)?;
    }
    Ok(latencies)
}

async fn connect(address: SocketAddr) -> Result<SendRequest<Full<Bytes>>, Failed> {
    let connection = TcpStream::connect(address).await?;
    connection.set_nodelay(true)?;
    let (sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
    tokio::spawn(driver);
    Ok(sender)
}

/// Reads an answer to its end, of which it gives the last bytes: frames may part anywhere.
async fn last_bytes(mut body: Incoming) -> Result<Vec<u8>, Failed> {
    let mut last = Vec::with_capacity(2 * TAIL);
    while let Some(frame) = body.frame().await {
        if let Ok(data) = frame?.into_data() {
            last.extend_from_slice(&data[data.len().saturating_sub(TAIL)..]);
            let surplus = last.len().saturating_sub(TAIL);
            last.drain(..surplus);
        }
    }
    Ok(last)
}

/// Streams that are slow, each of which has begun. They end when they are dropped.
pub(crate) async fn open_streams(address: SocketAddr, count: usize) -> Result<Vec<Incoming>, Box<dyn Error>> {
    let body = Bytes::from_static(br#"{"model":"m","stream":true,"user":"slow","messages":[]}"#);
    let (mut streams, case) = (Vec::new(), Case::default());
    for _ in 0..count {
        let mut sender = connect(address).await.map_err(|error| error as Box<dyn Error>)?;
        let mut answer = sender.send_request(case.request(address, body.clone())?).await?.into_body();
        answer.frame().await.ok_or("a stream has no beginning")??;
        streams.push(answer);
    }
    Ok(streams)
}
