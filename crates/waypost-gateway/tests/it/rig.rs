//! A gateway in front of simulated providers, and a client.

use std::fmt::Write as _;
use std::future::Future;
use std::io::Write as _;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use bytes::Bytes;
use http::{HeaderMap, Method, Request, StatusCode};
use http_body_util::{BodyExt as _, Full};
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use serde_json::{Value, json};
use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
use tokio::net::TcpStream;
use tokio::runtime::Handle;
use waypost_gateway::{Config, Server};
use waypost_lab::http::{HttpProvider, HttpRequest, Script};

/// How long tests wait for what must happen: long, for a machine that is busy; nothing is measured by it.
pub(crate) const PATIENCE: Duration = Duration::from_secs(20);

/// Provider keys of tests: it must never be seen outside.
pub(crate) const CANARY: &str = "sk-canary-0123456789";

/// What a provider does.
pub(crate) type Reply = Box<dyn Fn(&HttpRequest) -> Script + Send + Sync>;

/// A gateway and its providers, `p0`, `p1`, … of one model `m`.
pub(crate) struct Rig {
    pub(crate) server: Server,
    pub(crate) providers: Vec<HttpProvider>,
    pub(crate) path: PathBuf,
    /// Set when the fault is over: then all providers are well.
    pub(crate) is_over: Arc<AtomicBool>,
    /// Whether they can be: those of [`Rig::start`].
    pub(crate) heals: bool,
    /// Tasks of the runtime before the first request.
    pub(crate) tasks: usize,
    _folder: Folder,
}

/// A folder of its own for each test, removed at its end.
struct Folder(PathBuf);

impl Drop for Folder {
    fn drop(&mut self) {
        let _ = std::fs::remove_dir_all(&self.0);
    }
}

/// An answer of the gateway.
#[derive(Debug)]
pub(crate) struct Answer {
    pub(crate) status: StatusCode,
    pub(crate) headers: HeaderMap,
    pub(crate) body: Bytes,
    /// Whether the connection broke off before the answer's end.
    pub(crate) broke_off: bool,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{:?}", self.body))
    }

    pub(crate) fn text(&self) -> &str {
        std::str::from_utf8(&self.body).unwrap()
    }

    pub(crate) fn code(&self) -> String {
        self.json()["error"]["code"].as_str().unwrap_or_default().to_owned()
    }

    pub(crate) fn header(&self, name: &str) -> &str {
        self.headers.get(name).map_or("", |value| value.to_str().unwrap())
    }
}

/// The lines of a configuration for providers of one model, and `more`.
pub(crate) fn config(urls: &[String], more: &str) -> String {
    let mut text =
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\nlame_duck = \"10ms\"\n".to_owned();
    for (place, url) in urls.iter().enumerate() {
        let _ = writeln!(
            text,
            "[providers.p{place}]\ntype = \"openai-compatible\"\nendpoint = \"{url}\"\n\
             serves = [\"chat\", \"completions\", \"embeddings\", \"responses\", \"messages\", \"rerank\", \"speech\", \"transcriptions\"]"
        );
    }
    let candidates: Vec<_> = (0..urls.len()).map(|place| format!("{{ provider = \"p{place}\" }}")).collect();
    let _ = writeln!(
        text,
        "[models.m]\nstrategy = \"round_robin\"\ncandidates = [{}]\n[aliases]\nfast = \"m\"",
        candidates.join(", ")
    );
    text + more
}

impl Rig {
    /// Starts a gateway in front of providers that reply so; `more` are further lines of its configuration.
    pub(crate) async fn start<R>(replies: Vec<R>, more: &str) -> Self
    where
        R: Fn(&HttpRequest) -> Script + Send + Sync + 'static,
    {
        let (mut providers, is_over) = (Vec::new(), Arc::new(AtomicBool::new(false)));
        for reply in replies {
            let is_over = Arc::clone(&is_over);
            let reply = move |request: &HttpRequest| {
                if is_over.load(Ordering::SeqCst) { echo(request) } else { reply(request) }
            };
            providers.push(HttpProvider::start(reply).await.unwrap());
        }
        let urls: Vec<_> = providers.iter().map(HttpProvider::url).collect();
        let rig = Self::with_text(providers, &config(&urls, more)).await;
        Self { is_over, heals: true, ..rig }
    }

    pub(crate) async fn with_text(providers: Vec<HttpProvider>, text: &str) -> Self {
        let folder = std::env::temp_dir().join(format!("waypost-it-{}", uuid::Uuid::new_v4()));
        std::fs::create_dir_all(&folder).unwrap();
        let path = folder.join("waypost.toml");
        std::fs::write(&path, text).unwrap();
        let config = Config::load(&path).unwrap_or_else(|errors| panic!("{errors}"));
        let server = Server::start(config, path.clone()).await.unwrap();
        let tasks = Handle::current().metrics().num_alive_tasks();
        let is_over = Arc::default();
        Self { server, providers, path, is_over, heals: false, tasks, _folder: Folder(folder) }
    }

    pub(crate) fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// Asks for chat.
    pub(crate) async fn chat(&self, stream: bool) -> Answer {
        self.post("/v1/chat/completions", &chat(stream)).await
    }

    pub(crate) async fn post(&self, path: &str, body: &Value) -> Answer {
        self.send(Method::POST, path, &[("content-type", "application/json")], body.to_string()).await
    }

    pub(crate) async fn send(
        &self,
        method: Method,
        path: &str,
        headers: &[(&str, &str)],
        body: impl Into<Bytes>,
    ) -> Answer {
        let answer = send(self.address(), method, path, headers, body).await;
        assert!(!answer.header("x-request-id").is_empty(), "P9: {answer:?}");
        answer
    }

    pub(crate) async fn admin(&self, method: Method, path: &str) -> Answer {
        send(self.server.admin_address().unwrap(), method, path, &[], "").await
    }

    /// Sends bytes on a connection of their own, and gives what comes back until it is closed.
    pub(crate) async fn raw(&self, bytes: &[u8]) -> String {
        raw(self.address(), bytes).await
    }
}

/// An answer that says whose request it was.
fn echo(request: &HttpRequest) -> Script {
    let user = request.json()["user"].clone();
    let message = json!({"role": "assistant", "content": user});
    Script::json(&json!({"choices": [{"index": 0, "message": message, "finish_reason": "stop"}]}).to_string())
}

pub(crate) fn chat(stream: bool) -> Value {
    json!({"model": "m", "stream": stream, "messages": [{"role": "user", "content": "hi"}]})
}

pub(crate) async fn send(
    address: SocketAddr,
    method: Method,
    path: &str,
    headers: &[(&str, &str)],
    body: impl Into<Bytes>,
) -> Answer {
    let stream = TcpStream::connect(address).await.unwrap();
    let (mut sender, connection) = http1::handshake(TokioIo::new(stream)).await.unwrap();
    let driver = tokio::spawn(connection);
    let mut request = Request::builder().method(method).uri(path).header("host", address.to_string());
    for (name, value) in headers {
        request = request.header(*name, *value);
    }
    let request = request.body(Full::new(body.into())).unwrap();
    let response =
        tokio::time::timeout(PATIENCE, sender.send_request(request)).await.expect("an answer").unwrap();
    let (head, mut body) = response.into_parts();
    let (mut whole, mut broke_off) = (Vec::new(), false);
    while let Some(frame) = tokio::time::timeout(PATIENCE, body.frame()).await.expect("the rest") {
        match frame {
            Ok(frame) => whole.extend_from_slice(&frame.into_data().unwrap_or_default()),
            Err(_) => broke_off = true,
        }
    }
    driver.abort();
    Answer { status: head.status, headers: head.headers, body: whole.into(), broke_off }
}

/// Sends bytes on a connection of their own, and gives what comes back until it is closed.
pub(crate) async fn raw(address: SocketAddr, bytes: &[u8]) -> String {
    let mut stream = TcpStream::connect(address).await.unwrap();
    let _ = stream.write_all(bytes).await;
    let mut answer = Vec::new();
    let _ =
        tokio::time::timeout(PATIENCE, stream.read_to_end(&mut answer)).await.expect("the gateway closes");
    String::from_utf8_lossy(&answer).into_owned()
}

/// Waits until something is so.
pub(crate) async fn until(what: &str, mut is_so: impl FnMut() -> bool) {
    let waited = async {
        while !is_so() {
            tokio::time::sleep(Duration::from_millis(2)).await;
        }
    };
    assert!(tokio::time::timeout(PATIENCE, waited).await.is_ok(), "{what}");
}

/// Runs a test on a runtime of two threads.
pub(crate) fn run<F: Future<Output = ()>>(test: F) {
    let runtime = tokio::runtime::Builder::new_multi_thread().worker_threads(2).enable_all().build().unwrap();
    runtime.block_on(test);
}

/// Says something that is seen also when the test passes: that it was skipped, and why.
pub(crate) fn say(what: &str) {
    let _ = writeln!(std::io::stderr(), "{what}");
}
