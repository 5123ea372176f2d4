//! Waiting, handed in.

use core::future::Future;
use core::time::Duration;

/// Waits. Handed in, so that the same failover runs on any runtime and in virtual time.
pub trait Timer {
    /// A wait that has not ended yet.
    type Sleep: Future<Output = ()>;

    /// A wait that ends after a time.
    fn sleep(&self, time: Duration) -> Self::Sleep;
}

/// Waits on tokio's timer. Must be used within a runtime whose timer is on.
#[cfg(feature = "tokio")]
#[cfg_attr(docsrs, doc(cfg(feature = "tokio")))]
#[derive(Debug, Clone, Copy, Default)]
pub struct TokioTimer;

#[cfg(feature = "tokio")]
impl Timer for TokioTimer {
    type Sleep = tokio::time::Sleep;

    fn sleep(&self, time: Duration) -> Self::Sleep {
        tokio::time::sleep(time)
    }
}
