//! Providers behind TLS, which speak HTTP/2 or HTTP/1.1 as they choose.

use std::convert::Infallible;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures_util::stream::{self, StreamExt as _};
use http::header::HOST;
use http::{Request, Response, StatusCode, Version};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt as _, Full, StreamBody};
use hyper::body::{Frame, Incoming};
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::{AbortHandle, JoinSet};
use tokio_rustls::TlsAcceptor;

use crate::client_faults::begin;
use crate::rig::{Rig, chat, config, run, until};

type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Clients that take nothing of their streams.
const READERS: usize = 8;
/// Clients that leave at once, and how often: by far more streams than those after which h2 ends a connection as a rule.
const LEAVING: usize = 90;
const ROUNDS: usize = 32;
/// Bytes that a stream's events have, together, before the first of them waits.
const ENOUGH: usize = 512 << 10;

/// A provider behind TLS.
struct Secure {
    address: SocketAddr,
    seen: Arc<Seen>,
    ca_file: PathBuf,
    server: AbortHandle,
}

/// What it saw.
#[derive(Default)]
struct Seen {
    connections: AtomicUsize,
    /// The version of each request and the host that it named.
    requests: Mutex<Vec<(Version, String)>>,
    /// Streams without end.
    begun: AtomicUsize,
    /// Those that nobody reads any more.
    abandoned: AtomicUsize,
    /// Bytes that were sent in streams without end.
    sent: AtomicUsize,
}

impl Drop for Secure {
    fn drop(&mut self) {
        self.server.abort();
        let _ = std::fs::remove_file(&self.ca_file);
    }
}

/// Counts when it goes.
struct Stream(Arc<Seen>);

impl Drop for Stream {
    fn drop(&mut self) {
        self.0.abandoned.fetch_add(1, Ordering::SeqCst);
    }
}

impl Secure {
    /// Starts one that offers these protocols.
    async fn start(protocols: &[&[u8]]) -> Self {
        let names = vec!["127.0.0.1".to_owned()];
        let made = rcgen::generate_simple_self_signed(names).unwrap();
        let ca_file = std::env::temp_dir().join(format!("waypost-ca-{}.pem", uuid::Uuid::new_v4()));
        std::fs::write(&ca_file, made.cert.pem()).unwrap();
        let key = PrivateKeyDer::try_from(made.signing_key.serialize_der()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let tls =
            ServerConfig::builder_with_provider(provider).with_safe_default_protocol_versions().unwrap();
        let mut tls = tls.with_no_client_auth().with_single_cert(vec![made.cert.der().clone()], key).unwrap();
        tls.alpn_protocols = protocols.iter().map(|protocol| protocol.to_vec()).collect();
        let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
        let (address, seen) = (listener.local_addr().unwrap(), Arc::new(Seen::default()));
        let serving = accept(listener, TlsAcceptor::from(Arc::new(tls)), Arc::clone(&seen));
        let server = tokio::spawn(serving).abort_handle();
        Self { address, seen, ca_file, server }
    }

    /// A gateway in front of it.
    async fn rig(&self, ca_file: bool, more: &str) -> Rig {
        let text = config(&[format!("https://{}/v1", self.address)], more);
        let trust = format!("ca_file = \"{}\"\nserves", self.ca_file.display());
        Rig::with_text(vec![], &if ca_file { text.replacen("serves", &trust, 1) } else { text }).await
    }

    fn versions(&self) -> Vec<Version> {
        self.seen.requests.lock().unwrap().iter().map(|(version, _)| *version).collect()
    }

    fn hosts(&self) -> Vec<String> {
        self.seen.requests.lock().unwrap().iter().map(|(_, host)| host.clone()).collect()
    }

    fn connections(&self) -> usize {
        self.seen.connections.load(Ordering::SeqCst)
    }
}

async fn accept(listener: TcpListener, tls: TlsAcceptor, seen: Arc<Seen>) {
    // Ends with its connections when it is aborted.
    let mut connections = JoinSet::new();
    loop {
        let (stream, _) = listener.accept().await.unwrap();
        seen.connections.fetch_add(1, Ordering::SeqCst);
        let (tls, seen) = (tls.clone(), Arc::clone(&seen));
        connections.spawn(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| answer(request, Arc::clone(&seen)));
            let io = TokioIo::new(stream);
            if is_http2 {
                let _ = http2::Builder::new(TokioExecutor::new()).serve_connection(io, service).await;
            } else {
                let _ = http1::Builder::new().serve_connection(io, service).await;
            }
        });
    }
}

async fn answer(request: Request<Incoming>, seen: Arc<Seen>) -> Result<Response<Body>, Infallible> {
    let host = request.headers().get(HOST).map(|host| host.to_str().unwrap().to_owned());
    let host = host.or_else(|| request.uri().authority().map(ToString::to_string)).unwrap_or_default();
    seen.requests.lock().unwrap().push((request.version(), host));
    let body = request.into_body().collect().await.unwrap().to_bytes();
    let asked: serde_json::Value = serde_json::from_slice(&body).unwrap();
    let user = asked["user"].as_str().unwrap_or_default();
    let (kind, body) = if user.starts_with("endless") {
        let word = "w".repeat(if user.ends_with("long words") { 1 << 10 } else { 1 });
        let event =
            Bytes::from(format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n"));
        seen.begun.fetch_add(1, Ordering::SeqCst);
        let stream = Stream(seen);
        let events = stream::repeat(event).map(move |event| {
            stream.0.sent.fetch_add(event.len(), Ordering::SeqCst);
            Ok(Frame::data(event))
        });
        ("text/event-stream", UnsyncBoxBody::new(StreamBody::new(events)))
    } else if asked["stream"] == true {
        let events = [
            "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"Hello\"}}]}\n\n",
            "data: {\"choices\":[{\"index\":0,\"delta\":{},\"finish_reason\":\"stop\"}]}\n\n",
            "data: [DONE]\n\n",
        ];
        let events = stream::iter(events).map(|event| Ok(Frame::data(Bytes::from(event))));
        ("text/event-stream", UnsyncBoxBody::new(StreamBody::new(events)))
    } else {
        ("application/json", UnsyncBoxBody::new(Full::from(format!("{{\"echo\":{}}}", asked["user"]))))
    };
    Ok(Response::builder().header("content-type", kind).body(body).unwrap())
}

/// Many requests at once, each with its own answer.
async fn ask_all(rig: &Rig) {
    let asks = (0..40).map(|number| async move {
        let mut body = chat(number % 4 == 0);
        body["user"] = format!("u{number}").into();
        let answer = rig.post("/v1/chat/completions", &body).await;
        assert_eq!((answer.status, answer.broke_off), (StatusCode::OK, false), "{answer:?}");
        if number % 4 == 0 {
            assert!(
                answer.text().contains("Hello") && answer.text().ends_with("data: [DONE]\n\n"),
                "{answer:?}"
            );
        } else {
            assert_eq!(answer.json()["echo"], format!("u{number}"), "P10");
        }
    });
    futures_util::future::join_all(asks).await;
}

/// A provider over HTTP/2 that is known, a gateway in front of it, and a request whose answer does not end.
async fn endless(how: &str) -> (Secure, Rig, serde_json::Value) {
    let provider = Secure::start(&[b"h2"]).await;
    let rig = provider.rig(true, "").await;
    rig.chat(false).await;
    let mut endless = chat(true);
    endless["user"] = format!("endless{how}").into();
    (provider, rig, endless)
}

#[test]
fn http2_carries_many_requests_on_few_connections() {
    run(async {
        let provider = Secure::start(&[b"h2", b"http/1.1"]).await;
        let rig = provider.rig(true, "").await;
        // The first finds out what the provider speaks.
        rig.chat(false).await;
        ask_all(&rig).await;
        assert_eq!(provider.connections(), 1, "streams of one connection");
        assert!(provider.versions().iter().all(|version| *version == Version::HTTP_2));
        let hosts = provider.hosts();
        assert!(hosts.iter().all(|host| *host == provider.address.to_string()), "{hosts:?}");
        rig.settled().await;
    });
}

#[test]
fn http1_is_spoken_to_who_speaks_nothing_else() {
    run(async {
        for protocols in [&[&b"http/1.1"[..]][..], &[]] {
            let provider = Secure::start(protocols).await;
            let rig = provider.rig(true, "").await;
            ask_all(&rig).await;
            for _ in 0..20 {
                rig.chat(false).await;
            }
            assert!(provider.connections() <= 40, "they are kept: {}", provider.connections());
            assert!(provider.versions().iter().all(|version| *version == Version::HTTP_11));
            rig.settled().await;
        }
    });
}

#[test]
fn who_is_not_trusted_is_sent_nothing() {
    run(async {
        let provider = Secure::start(&[b"h2"]).await;
        let rig = provider.rig(false, "[failover]\nattempts = 1\n").await;
        let answer = rig.chat(false).await;
        assert!(answer.status.is_server_error(), "{answer:?}");
        assert!(provider.connections() > 0 && provider.versions().is_empty());
        rig.settled().await;
    });
}

#[test]
fn c03_a_stream_of_http2_ends_with_its_reader_and_others_go_on() {
    run(async {
        let (provider, rig, endless) = endless("").await;
        let reader = begin(&rig, &endless).await;
        until("it streams", || provider.versions().len() == 2).await;
        ask_all(&rig).await;
        assert_eq!(provider.seen.abandoned.load(Ordering::SeqCst), 0);
        drop(reader);
        until("nobody reads it", || provider.seen.abandoned.load(Ordering::SeqCst) == 1).await;
        ask_all(&rig).await;
        assert_eq!(provider.connections(), 1, "a stream that is reset is not the connection's end");
        rig.settled().await;
    });
}

#[test]
fn c02_clients_that_take_nothing_hold_up_nobody_else_on_their_http2_connection() {
    run(async {
        let (provider, rig, endless) = endless("").await;
        let mut readers = Vec::new();
        for _ in 0..READERS {
            readers.push(begin(&rig, &endless).await);
        }
        let sent = || provider.seen.sent.load(Ordering::SeqCst);
        // More than the sockets to the clients take, so that the rest waits in the gateway and at the provider.
        until("much is sent", || sent() > READERS * ENOUGH).await;
        ask_all(&rig).await;
        assert_eq!(provider.connections(), 1, "small frames that nobody reads are not the connection's end");
        assert_eq!(provider.seen.abandoned.load(Ordering::SeqCst), 0, "all of them go on");
        drop(readers);
        until("nobody reads them", || provider.seen.abandoned.load(Ordering::SeqCst) == READERS).await;
        rig.settled().await;
    });
}

#[test]
fn c03_many_clients_that_leave_at_once_take_no_http2_connection_with_them() {
    run(async {
        let (provider, rig, endless) = endless(", long words").await;
        for round in 1..=ROUNDS {
            let readers = futures_util::future::join_all((0..LEAVING).map(|_| begin(&rig, &endless))).await;
            let all = round * LEAVING;
            until("all are answered", || provider.seen.begun.load(Ordering::SeqCst) == all).await;
            drop(readers);
            until("nobody reads them", || provider.seen.abandoned.load(Ordering::SeqCst) == all).await;
        }
        ask_all(&rig).await;
        assert_eq!(provider.connections(), 1, "what still came of their streams is nobody's mistake");
        rig.settled().await;
    });
}
