//! Who looks after connections that rest.

use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Weak};
use std::task::{Wake, Waker};

use tokio::sync::Notify;
use tokio::time::{Instant, timeout};

use super::Upstream;
use super::connection::MAX_IDLE_TIME;

/// Closes resting connections when their provider does, or when they are old, so that none is left half open. Connections
/// that rest have no task of their own.
pub(super) struct Keeper {
    bell: Arc<Bell>,
    /// Rings.
    waker: Waker,
    is_watching: AtomicBool,
}

impl Default for Keeper {
    fn default() -> Self {
        let bell = Arc::new(Bell::default());
        Self { waker: Waker::from(Arc::clone(&bell)), bell, is_watching: AtomicBool::new(false) }
    }
}

impl Keeper {
    /// Wakes the keeper.
    pub(super) const fn waker(&self) -> &Waker {
        &self.waker
    }

    /// Looks after the connections of `upstream` from now on, until nobody has it any more.
    pub(super) fn watch(&self, upstream: &Arc<Upstream>) {
        if self.is_watching.load(Ordering::Relaxed) || self.is_watching.swap(true, Ordering::Relaxed) {
            return;
        }
        tokio::spawn(look_after(Arc::downgrade(upstream), Arc::clone(&self.bell)));
    }
}

impl Drop for Keeper {
    fn drop(&mut self) {
        self.bell.0.notify_one();
    }
}

async fn look_after(upstream: Weak<Upstream>, bell: Arc<Bell>) {
    loop {
        // None is kept for more than half as long again as it may be.
        let _ = timeout(MAX_IDLE_TIME / 2, bell.0.notified()).await;
        let Some(upstream) = upstream.upgrade() else { return };
        upstream.kept().tidy(upstream.keeper.waker(), Instant::now());
    }
}

/// Rings when something happens on a connection that rests.
#[derive(Default)]
struct Bell(Notify);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.notify_one();
    }

    fn wake_by_ref(self: &Arc<Self>) {
        self.0.notify_one();
    }
}
