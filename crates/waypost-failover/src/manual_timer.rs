//! Waiting in virtual time.

use core::future::Future;
use core::pin::{Pin, pin};
use core::task::{Context, Poll, Waker};
use core::time::Duration;
use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use waypost_core::{Clock, ManualClock, Timestamp};

use crate::Timer;

/// Waits on a [`ManualClock`] that is moved on when nothing else can happen: tests of failover take no time and always
/// go the same way.
///
/// ```
/// use core::time::Duration;
/// use std::sync::Arc;
/// use waypost_core::{Clock, ManualClock};
/// use waypost_failover::{ManualTimer, Timer};
///
/// let clock = Arc::new(ManualClock::default());
/// let timer = ManualTimer::new(Arc::clone(&clock));
/// timer.block_on(timer.sleep(Duration::from_secs(3_600)));
/// assert_eq!(clock.now().as_nanos(), 3_600_000_000_000);
/// ```
#[derive(Debug, Clone)]
pub struct ManualTimer {
    clock: Arc<ManualClock>,
    due: Due,
}

/// How many waits end when.
type Due = Arc<Mutex<BTreeMap<Timestamp, u32>>>;

/// A wait on a [`ManualTimer`].
#[derive(Debug)]
pub struct ManualSleep {
    timer: ManualTimer,
    until: Timestamp,
}

impl ManualTimer {
    /// A timer on a clock.
    pub fn new(clock: Arc<ManualClock>) -> Self {
        Self { clock, due: Due::default() }
    }

    /// When the next wait ends; `None` when nobody waits.
    pub fn next(&self) -> Option<Timestamp> {
        self.with_due(|due| due.first_key_value().map(|(at, _)| *at))
    }

    /// Runs a future to its end, moving the clock to the end of the next wait whenever it waits.
    ///
    /// # Panics
    ///
    /// When the future waits for something else than this timer.
    pub fn block_on<F: Future>(&self, future: F) -> F::Output {
        let ended = self.block_on_at_most(future, usize::MAX);
        ended.expect("a future that ends")
    }

    /// Like [`block_on`](Self::block_on), but drops the future when it has waited so many times; `None` then.
    ///
    /// # Panics
    ///
    /// When the future waits for something else than this timer.
    pub fn block_on_at_most<F: Future>(&self, future: F, waits: usize) -> Option<F::Output> {
        let mut future = pin!(future);
        let mut cx = Context::from_waker(Waker::noop());
        for _ in 0..=waits {
            if let Poll::Ready(output) = future.as_mut().poll(&mut cx) {
                return Some(output);
            }
            let next = self.next().expect("the future waits for this timer");
            self.clock.set(next.max(self.clock.now()));
        }
        None
    }

    fn with_due<R>(&self, change: impl FnOnce(&mut BTreeMap<Timestamp, u32>) -> R) -> R {
        change(&mut self.due.lock().unwrap_or_else(PoisonError::into_inner))
    }
}

impl Timer for ManualTimer {
    type Sleep = ManualSleep;

    fn sleep(&self, time: Duration) -> ManualSleep {
        let until = self.clock.now() + time;
        self.with_due(|due| *due.entry(until).or_default() += 1);
        ManualSleep { timer: self.clone(), until }
    }
}

impl Future for ManualSleep {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.timer.clock.now() >= self.until { Poll::Ready(()) } else { Poll::Pending }
    }
}

impl Drop for ManualSleep {
    fn drop(&mut self) {
        self.timer.with_due(|due| {
            if let Some(waiting) = due.get_mut(&self.until) {
                *waiting -= 1;
                if *waiting == 0 {
                    due.remove(&self.until);
                }
            }
        });
    }
}
