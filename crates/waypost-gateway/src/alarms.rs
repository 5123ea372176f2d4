//! When an answer that is passed on has taken too long.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll};
use std::time::Duration;

use tokio::time::{Instant, Sleep};

use crate::closing::{Closed, Closing};

/// How long an answer may be silent, and how long it may take.
pub(crate) struct Alarms {
    idle: Option<Duration>,
    until: Option<Instant>,
    /// When something came last, and the alarm for when nothing does. It is set anew only when it goes off.
    last: Instant,
    alarm: Option<Pin<Box<Sleep>>>,
    closed: Closed,
}

/// What went off.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Alarm {
    /// The gateway stops.
    Closing,
    /// Nothing came for too long, or it took too long altogether.
    TooLong,
}

impl Alarms {
    pub(crate) fn new(idle: Option<Duration>, total: Option<Duration>, closing: &Closing) -> Self {
        let now = Instant::now();
        let until = total.map(|total| now + total);
        Self { idle, until, last: now, alarm: None, closed: closing.closed() }
    }

    /// Something has come.
    pub(crate) fn rewind(&mut self) {
        self.last = Instant::now();
    }

    /// Nothing has come. Whether it is time to stop waiting.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Alarm> {
        if self.closed.poll(cx).is_ready() {
            return Poll::Ready(Alarm::Closing);
        }
        loop {
            let idle = self.idle.map(|idle| self.last + idle);
            let Some(due) = idle.into_iter().chain(self.until).min() else { return Poll::Pending };
            if due <= Instant::now() {
                return Poll::Ready(Alarm::TooLong);
            }
            let alarm = self.alarm.get_or_insert_with(|| Box::pin(tokio::time::sleep_until(due)));
            match alarm.as_mut().poll(cx) {
                Poll::Pending => return Poll::Pending,
                Poll::Ready(()) => alarm.as_mut().reset(due.max(Instant::now())),
            }
        }
    }
}

impl std::fmt::Debug for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarms").field("idle", &self.idle).field("until", &self.until).finish_non_exhaustive()
    }
}
