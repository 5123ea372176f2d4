//! The floor: a proxy of hyper alone, which reads nothing and decides nothing.

use std::cell::RefCell;
use std::error::Error;
use std::net::SocketAddr;
use std::pin::Pin;
use std::rc::Rc;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::{HeaderValue, Request, Response};
use http_body::{Body, Frame, SizeHint};
use hyper::body::Incoming;
use hyper::client::conn::http1::{self as client, SendRequest};
use hyper::server::conn::http1 as server;
use hyper::service::service_fn;
use hyper_util::rt::TokioIo;
use tokio::net::{TcpListener, TcpStream};
use tokio::task::LocalSet;

type Idle = Rc<RefCell<Vec<SendRequest<Incoming>>>>;

pub(crate) async fn serve(address: SocketAddr, to: SocketAddr) -> Result<(), Box<dyn Error>> {
    let listener = TcpListener::bind(address).await?;
    let idle = Idle::default();
    LocalSet::new()
        .run_until(async {
            loop {
                let (stream, _) = listener.accept().await?;
                stream.set_nodelay(true)?;
                let idle = Rc::clone(&idle);
                let service = service_fn(move |request| forward(request, to, Rc::clone(&idle)));
                tokio::task::spawn_local(
                    server::Builder::new().serve_connection(TokioIo::new(stream), service),
                );
            }
        })
        .await
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

async fn connect(to: SocketAddr) -> hyper::Result<SendRequest<Incoming>> {
    let stream = TcpStream::connect(to).await.expect("the provider listens");
    stream.set_nodelay(true).expect("a socket");
    let (sender, driver) = client::handshake(TokioIo::new(stream)).await?;
    tokio::task::spawn_local(driver);
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
