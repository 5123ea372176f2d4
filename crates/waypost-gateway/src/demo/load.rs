//! Clients that ask and count what they get.

use std::net::SocketAddr;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::Request;
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;
use tokio::task::JoinSet;

/// The most requests at once; beyond, one is not sent.
const MAX_RUNNING: usize = 400;

/// What clients saw.
#[derive(Debug, Clone, Default)]
pub(super) struct Load(Arc<Counts>);

#[derive(Debug, Default)]
struct Counts {
    requests: AtomicU64,
    errors: AtomicU64,
    failed_over: AtomicU64,
}

impl Load {
    pub(super) fn requests(&self) -> u64 {
        self.0.requests.load(Ordering::Relaxed)
    }

    pub(super) fn errors(&self) -> u64 {
        self.0.errors.load(Ordering::Relaxed)
    }

    pub(super) fn failed_over(&self) -> u64 {
        self.0.failed_over.load(Ordering::Relaxed)
    }

    /// Asks so many times a second, every other time for a stream, for ever.
    pub(super) async fn run(self, address: SocketAddr, rate: f64) {
        let mut clients = JoinSet::new();
        let mut ticks = tokio::time::interval(Duration::from_secs_f64(1.0 / rate));
        ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Skip);
        for number in 0_u64.. {
            ticks.tick().await;
            while clients.try_join_next().is_some() {}
            if clients.len() < MAX_RUNNING {
                clients.spawn(self.clone().one(address, number.is_multiple_of(2)));
            }
        }
    }

    async fn one(self, address: SocketAddr, stream: bool) {
        self.0.requests.fetch_add(1, Ordering::Relaxed);
        match ask(address, stream).await {
            Ok(attempts) => self.0.failed_over.fetch_add(u64::from(attempts > 1), Ordering::Relaxed),
            Err(_) => self.0.errors.fetch_add(1, Ordering::Relaxed),
        };
    }
}

/// One request, to its end; how many attempts it took.
async fn ask(address: SocketAddr, stream: bool) -> Result<u32, Box<dyn std::error::Error + Send + Sync>> {
    let connection = TcpStream::connect(address).await?;
    let (mut sender, driver) = http1::handshake(TokioIo::new(connection)).await?;
    let driver = tokio::spawn(driver);
    let body = format!(
        r#"{{"model":"fast","stream":{stream},"messages":[{{"role":"user","content":"Say something."}}]}}"#
    );
    let request = Request::post("/v1/chat/completions")
        .header("host", address.to_string())
        .header("content-type", "application/json")
        .body(Full::new(Bytes::from(body)))?;
    let response = sender.send_request(request).await?;
    let attempts =
        response.headers().get("x-waypost-attempts").and_then(|count| count.to_str().ok()?.parse().ok());
    let status = response.status();
    let body = response.into_body().collect().await?.to_bytes();
    driver.abort();
    let whole = status.is_success() && (!stream || body.ends_with(b"data: [DONE]\n\n"));
    if whole { Ok(attempts.unwrap_or(1)) } else { Err(format!("{status}").into()) }
}
