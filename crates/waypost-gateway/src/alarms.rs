//! When an answer that is passed on has taken too long.

use std::future::Future as _;
use std::pin::Pin;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use tokio::time::{Instant, Sleep};
use waypost::failover::Timeouts;

use crate::closing::{Closed, Closing};

/// How long an answer may be silent, and how long it may take.
pub(crate) struct Alarms {
    idle: Option<Duration>,
    until: Option<Instant>,
    /// When something came last; `None` when something has come since the time was looked at.
    last: Option<Instant>,
    /// The alarm for when nothing comes, and who it wakes. It is set anew only when it goes off.
    alarm: Option<(Waker, Pin<Box<Sleep>>)>,
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
    pub(crate) fn new(timeouts: &Timeouts, closing: &Closing) -> Self {
        let now = Instant::now();
        let until = timeouts.total.map(|total| now + total);
        Self { idle: timeouts.idle, until, last: Some(now), alarm: None, closed: closing.closed() }
    }

    /// Something has come.
    pub(crate) const fn rewind(&mut self) {
        self.last = None;
    }

    /// Nothing has come. Whether it is time to stop waiting.
    pub(crate) fn poll(&mut self, cx: &mut Context<'_>) -> Poll<Alarm> {
        if self.closed.poll(cx).is_ready() {
            return Poll::Ready(Alarm::Closing);
        }
        let now = Instant::now();
        let idle = self.idle.map(|idle| *self.last.get_or_insert(now) + idle);
        let Some(due) = idle.into_iter().chain(self.until).min() else { return Poll::Pending };
        if due <= now {
            return Poll::Ready(Alarm::TooLong);
        }
        match &self.alarm {
            // It goes off before it must, and then it is set anew.
            Some((waker, alarm)) if alarm.deadline() > now && waker.will_wake(cx.waker()) => Poll::Pending,
            _ => self.set(due, cx),
        }
    }

    fn set(&mut self, due: Instant, cx: &mut Context<'_>) -> Poll<Alarm> {
        let (waker, alarm) =
            self.alarm.get_or_insert_with(|| (cx.waker().clone(), Box::pin(tokio::time::sleep_until(due))));
        waker.clone_from(cx.waker());
        alarm.as_mut().reset(due);
        let rung = alarm.as_mut().poll(cx).map(|()| Alarm::TooLong);
        if rung.is_pending() && !tokio::task::coop::has_budget_remaining() {
            // The task has had its turn, so nothing was arranged; it is woken at once to go on.
            self.alarm = None;
        }
        rung
    }
}

impl std::fmt::Debug for Alarms {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Alarms").field("idle", &self.idle).field("until", &self.until).finish_non_exhaustive()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Whoever asks with a budget that is used up is woken, and then the alarm is set all the same.
    #[tokio::test]
    async fn an_alarm_is_set_also_at_the_end_of_a_turn() {
        let mut timeouts = Timeouts::default();
        (timeouts.idle, timeouts.total) = (Some(Duration::from_millis(20)), None);
        let closing = Closing::default();
        let mut alarms = Alarms::new(&timeouts, &closing);
        let rung = std::future::poll_fn(move |cx| {
            while tokio::task::coop::has_budget_remaining() {
                match tokio::task::coop::poll_proceed(cx) {
                    Poll::Ready(turn) => turn.made_progress(),
                    Poll::Pending => break,
                }
            }
            alarms.poll(cx)
        });
        // A task of its own: nothing else wakes it.
        let rung = tokio::time::timeout(Duration::from_secs(20), tokio::spawn(rung)).await;
        assert_eq!(rung.expect("it rings").unwrap(), Alarm::TooLong);
    }
}
