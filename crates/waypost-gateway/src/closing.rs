//! An end that is told to whoever still runs.

use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Waker};

use tokio::sync::Notify;
use tokio::sync::futures::OwnedNotified;

/// Tells those who wait for it that it is over.
#[derive(Debug, Clone, Default)]
pub(crate) struct Closing(Arc<State>);

#[derive(Debug, Default)]
struct State {
    is_closed: AtomicBool,
    bell: Arc<Notify>,
}

impl Closing {
    /// It is over, for good.
    pub(crate) fn close(&self) {
        self.0.is_closed.store(true, Ordering::Release);
        self.0.bell.notify_waiters();
    }

    /// Tells when it is over.
    pub(crate) fn closed(&self) -> Closed {
        Closed { state: Arc::clone(&self.0), waiting: None }
    }
}

/// Ready when it is over. It may be asked as often as there is news of anything else: waiting is arranged for once.
pub(crate) struct Closed {
    state: Arc<State>,
    /// Who is woken, and by what.
    waiting: Option<(Waker, Pin<Box<OwnedNotified>>)>,
}

impl Closed {
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<()> {
        let is_arranged = self.waiting.as_ref().is_some_and(|(waker, _)| waker.will_wake(cx.waker()));
        if !is_arranged {
            let mut bell = Box::pin(Arc::clone(&self.state.bell).notified_owned());
            let rung = bell.as_mut().poll(cx);
            self.waiting = Some((cx.waker().clone(), bell));
            if rung.is_ready() {
                return rung;
            }
        }
        // After the arrangement: who closes in between rings.
        if self.state.is_closed.load(Ordering::Acquire) { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Future for Closed {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        Self::poll(&mut self, cx)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::wakes::Wakes;

    #[test]
    fn whoever_waits_is_woken_once_by_whichever_task_asked_last() {
        let (closing, first, last) =
            (Closing::default(), Arc::new(Wakes::default()), Arc::new(Wakes::default()));
        let mut closed = closing.closed();
        let mut poll = |wakes: &Arc<Wakes>| closed.poll(&mut Context::from_waker(&wakes.waker()));
        assert!(poll(&first).is_pending() && poll(&first).is_pending() && poll(&last).is_pending());
        closing.close();
        assert_eq!((first.count(), last.count()), (0, 1));
        assert!(poll(&last).is_ready() && poll(&first).is_ready(), "and stays so");
        assert!(closing.closed().poll(&mut Context::from_waker(Waker::noop())).is_ready());
    }
}
