//! The floor: a proxy of hyper alone, which reads nothing and decides nothing.

use std::cell::RefCell;
use std::io;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response, Uri, Version};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::rt::Executor;
use hyper::server::conn::{http1, http2};
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

/// Serves for ever, in a [`LocalSet`](tokio::task::LocalSet).
pub(crate) async fn serve(listener: TcpListener, to: SocketAddr) -> io::Result<()> {
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let idle = Rc::clone(&idle);
        let service = service_fn(move |request| forward(request, to, Rc::clone(&idle)));
        spawn_local(http1::Builder::new().serve_connection(TokioIo::new(stream), service));
    }
}

/// The same behind TLS, over HTTP/1.1 or HTTP/2 as the two sides agree.
pub(crate) async fn serve_tls(listener: TcpListener, to: SocketAddr, tls: TlsAcceptor) -> io::Result<()> {
    let idle = Idle::default();
    loop {
        let (stream, _) = listener.accept().await?;
        stream.set_nodelay(true)?;
        let (idle, tls) = (Rc::clone(&idle), tls.clone());
        spawn_local(async move {
            let Ok(stream) = tls.accept(stream).await else { return };
            let is_http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
            let service = service_fn(move |request| forward(as_http1(request), to, Rc::clone(&idle)));
            let io = TokioIo::new(stream);
            // Whoever leaves, leaves.
            let _ = if is_http2 {
                http2::Builder::new(Local).serve_connection(io, service).await
            } else {
                http1::Builder::new().serve_connection(io, service).await
            };
        });
    }
}

/// Streams of HTTP/2 run on this thread.
#[derive(Debug, Clone, Copy)]
struct Local;

impl<F: Future<Output: 'static> + 'static> Executor<F> for Local {
    fn execute(&self, stream: F) {
        spawn_local(stream);
    }
}

async fn forward(
    mut request: Request<Incoming>,
    to: SocketAddr,
    idle: Idle,
) -> hyper::Result<Response<GivenBack>> {
    let kept = idle.borrow_mut().pop();
    let mut sender = match kept {
        Some(sender) if !sender.is_closed() => sender,
        _ => connect(to).await?,
    };
    sender.ready().await?;
    if let Ok(host) = HeaderValue::try_from(to.to_string()) {
        request.headers_mut().insert("host", host);
    }
    let response = sender.send_request(request).await?;
    Ok(response.map(|body| GivenBack { body, kept: Some((sender, idle)) }))
}

/// A request over HTTP/2 names its host in its URI.
fn as_http1(mut request: Request<Incoming>) -> Request<Incoming> {
    *request.version_mut() = Version::HTTP_11;
    if let Some(path) = request.uri().path_and_query() {
        *request.uri_mut() = Uri::from(path.clone());
    }
    request
}

async fn connect(to: SocketAddr) -> hyper::Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(to).await.expect("the provider listens");
    stream.set_nodelay(true).expect("a socket");
    let (sender, driver) = client::handshake(TokioIo::new(stream)).await?;
    spawn_local(driver);
    Ok(sender)
}

/// A body that gives its connection back at its end.
struct GivenBack {
    body: Incoming,
    kept: Option<(SendRequest<Incoming>, Idle)>,
}

impl Body for GivenBack {
    type Data = Bytes;
    type Error = hyper::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, hyper::Error>>> {
        let polled = Pin::new(&mut self.body).poll_frame(cx);
        // Whoever knows how long a body is does not ask for its end.
        let ended = self.body.is_end_stream() || matches!(polled, Poll::Ready(None));
        if ended && let Some((sender, idle)) = self.kept.take() {
            idle.borrow_mut().push(sender);
        }
        polled
    }

    fn is_end_stream(&self) -> bool {
        self.body.is_end_stream()
    }

    fn size_hint(&self) -> SizeHint {
        self.body.size_hint()
    }
}
