//! A connection that goes on in the task that uses it.

use std::future::{Future, poll_fn};
use std::io;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::task::{Context, Poll, Wake, Waker};

use futures_util::task::AtomicWaker;
use http::{Request, Response};
use hyper::body::Incoming;
use hyper::client::conn::http1;
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncRead, AsyncWrite};
use tokio::task::coop::has_budget_remaining;

use crate::request_body::RequestBody;

/// Bytes that are held of what comes over a connection, at most.
const MAX_BUFFER: usize = 256 << 10;
/// The most headers of an answer.
const MAX_HEADERS: usize = 128;

/// An HTTP/1.1 connection: one request at a time.
///
/// It has no task of its own. Whoever waits for its answer polls it, so that nothing that comes is handed from task to
/// task, and whoever drops it closes it.
pub(crate) struct Driven {
    sender: http1::SendRequest<RequestBody>,
    /// What reads and writes; `None` when the connection has ended.
    driver: Option<Driver>,
    turn: Arc<Turn>,
    /// Calls the turn.
    waker: Waker,
}

type Driver = Pin<Box<dyn Future<Output = hyper::Result<()>> + Send>>;

impl Driven {
    pub(super) async fn new(io: impl AsyncRead + AsyncWrite + Unpin + Send + 'static) -> io::Result<Self> {
        let mut builder = http1::Builder::new();
        builder.max_buf_size(MAX_BUFFER).max_headers(MAX_HEADERS);
        let (sender, driver) = builder.handshake(TokioIo::new(io)).await.map_err(io::Error::other)?;
        let turn = Arc::new(Turn::default());
        Ok(Self { sender, driver: Some(Box::pin(driver)), waker: Waker::from(Arc::clone(&turn)), turn })
    }

    /// Sends a request and waits for its answer.
    pub(super) async fn send(&mut self, request: Request<RequestBody>) -> hyper::Result<Response<Incoming>> {
        // Who looked after it till now need not be told of the request.
        self.turn.begin(Waker::noop());
        let mut response = pin!(self.sender.send_request(request));
        poll_fn(|cx| self.poll(cx, |cx| response.as_mut().poll(cx))).await
    }

    /// Asks for something that comes over the connection, and reads and writes if it is not there. Whoever is asked is asked
    /// again with the connection, so it is told of no task to wake.
    pub(super) fn poll<T>(
        &mut self,
        cx: &mut Context<'_>,
        mut ask: impl FnMut(&mut Context<'_>) -> Poll<T>,
    ) -> Poll<T> {
        let (mut is_called, mut has_gone_on) = (self.turn.begin(cx.waker()), false);
        loop {
            let asked = ask(&mut Context::from_waker(Waker::noop()));
            if asked.is_ready() || (!is_called && self.turn.end()) {
                return asked;
            }
            // However fast a provider sends, others have their turn, and timeouts are looked at.
            if has_gone_on && !has_budget_remaining() {
                cx.waker().wake_by_ref();
                return Poll::Pending;
            }
            self.go_on();
            (is_called, has_gone_on) = (false, true);
        }
    }

    /// Lets it rest until the next request; `keeper` is woken if something happens meanwhile. Whether a request can be sent:
    /// the provider may have closed it, or may still be taking the last one.
    pub(super) fn rest(&mut self, keeper: &Waker) -> bool {
        let nothing = self.poll(&mut Context::from_waker(keeper), |_| Poll::<()>::Pending);
        nothing.is_pending() && self.sender.is_ready()
    }

    /// Reads and writes what there is.
    fn go_on(&mut self) {
        let Some(driver) = &mut self.driver else { return };
        let polled = driver.as_mut().poll(&mut Context::from_waker(&self.waker));
        let Poll::Ready(ended) = polled else { return };
        if let Err(error) = ended {
            tracing::debug!(%error, "a connection to a provider ended");
        }
        self.driver = None;
    }
}

/// Who is woken when a connection can go on: the task that uses it, unless that is looking at it just then.
#[derive(Debug, Default)]
struct Turn {
    state: AtomicU8,
    task: AtomicWaker,
}

impl Turn {
    /// The task looks at the connection, or has what it waited for.
    const LOOKING: u8 = 0;
    /// The task waits to be woken.
    const WAITING: u8 = 1;
    /// There is something to look at.
    const CALLED: u8 = 2;

    /// The task looks; whether it was called, or has looked at nothing yet.
    fn begin(&self, task: &Waker) -> bool {
        self.task.register(task);
        // Exchanged, not stored: what a call was for is seen by this look.
        self.state.swap(Self::LOOKING, Ordering::AcqRel) != Self::WAITING
    }

    /// The task has seen nothing; whether it waits now. If not, it was called meanwhile, and looks again.
    fn end(&self) -> bool {
        let (looking, waiting) = (Self::LOOKING, Self::WAITING);
        let waits =
            self.state.compare_exchange(looking, waiting, Ordering::AcqRel, Ordering::Acquire).is_ok();
        if !waits {
            self.state.swap(Self::LOOKING, Ordering::AcqRel);
        }
        waits
    }
}

impl Wake for Turn {
    fn wake(self: Arc<Self>) {
        self.wake_by_ref();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        if self.state.swap(Self::CALLED, Ordering::AcqRel) == Self::WAITING {
            self.task.wake();
        }
    }
}

#[cfg(test)]
mod tests {
    use http_body::Body as _;
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};

    use super::*;
    use crate::wakes::Wakes;

    /// A connection whose answer has ended is kept also by a task that has had its turn.
    #[tokio::test]
    async fn whoever_has_no_budget_left_gives_a_whole_connection_back() {
        let (mut provider, gateway) = tokio::io::duplex(1 << 10);
        let mut connection = Driven::new(gateway).await.unwrap();
        let answering = tokio::spawn(async move {
            assert!(provider.read(&mut [0; 1 << 10]).await.unwrap() > 0);
            provider.write_all(b"HTTP/1.1 200 OK\r\ncontent-length: 2\r\n\r\nhi").await.unwrap();
            provider
        });
        let mut answer = connection.send(Request::new(RequestBody::default())).await.unwrap().into_body();
        let _provider = answering.await.unwrap();
        let rests = poll_fn(|cx| {
            let frame = connection.poll(cx, |cx| Pin::new(&mut answer).poll_frame(cx));
            assert!(matches!(frame, Poll::Ready(Some(Ok(_)))) && answer.is_end_stream());
            while let Poll::Ready(turn) = tokio::task::coop::poll_proceed(cx) {
                turn.made_progress();
            }
            assert!(!has_budget_remaining());
            Poll::Ready(connection.rest(Waker::noop()))
        });
        assert!(rests.await);
    }

    /// All that threads do to a turn are single exchanges, so these orders are all there are.
    #[test]
    fn whoever_waits_is_woken_and_whoever_looks_looks_again() {
        for called_at in 0..=4 {
            let (turn, wakes) = (Arc::new(Turn::default()), Arc::new(Wakes::default()));
            let (task, calls) = (wakes.waker(), Waker::from(Arc::clone(&turn)));
            let call = |step| {
                if step == called_at {
                    calls.wake_by_ref();
                }
            };
            call(0);
            assert!(turn.begin(&task), "it has looked at nothing yet");
            call(1);
            assert_eq!(turn.end(), called_at != 1, "called while it looked, it looks again");
            if called_at == 1 {
                assert!(turn.end());
            }
            call(2);
            assert_eq!(
                turn.begin(&task),
                called_at == 2,
                "only where something happened is there something to see"
            );
            call(3);
            assert_eq!(turn.end(), called_at != 3);
            if called_at == 3 {
                assert!(turn.end());
            }
            call(4);
            assert_eq!(
                wakes.count(),
                usize::from(matches!(called_at, 2 | 4)),
                "{called_at}: woken where it waited"
            );
        }
    }
}
