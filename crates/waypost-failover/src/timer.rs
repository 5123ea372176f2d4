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

/// Waits on tokio's timer. Must be used within a runtime whose timer is on, with a clock that runs as that timer does.
///
/// ```
/// use std::sync::Arc;
/// use std::time::{Duration, SystemTime};
/// use tokio::time::Instant;
/// use waypost_core::{Clock, GatewayRequest, ProviderCandidate, RoutingContext, Timestamp};
/// use waypost_failover::{CandidateList, ErrorKind, FailoverChain, TokioTimer};
///
/// #[derive(Debug)]
/// struct TokioClock(Instant);
///
/// impl Clock for TokioClock {
///     fn now(&self) -> Timestamp {
///         Timestamp::from_nanos(self.0.elapsed().as_nanos() as u64)
///     }
///     fn wall(&self) -> SystemTime {
///         SystemTime::now()
///     }
/// }
///
/// # #[tokio::main(flavor = "current_thread")]
/// # async fn main() -> Result<(), Box<dyn std::error::Error>> {
/// let list = CandidateList::new(
///     [ProviderCandidate::openai("slow", "gpt-4o").build()?, ProviderCandidate::azure("fast", "gpt-4o").build()?],
///     Arc::new(TokioClock(Instant::now())),
/// );
/// let mut chain = FailoverChain::default();
/// chain.retry.timeouts.total = Some(Duration::from_millis(10));
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
/// let outcome = chain
///     .execute(&list, &TokioTimer, &request, &context, |attempt| async move {
///         if attempt.number() == 0 {
///             tokio::time::sleep(Duration::from_secs(3_600)).await;
///         }
///         Ok("Hello!")
///     })
///     .await?;
/// assert_eq!(outcome.candidate().provider(), "fast");
/// assert_eq!(outcome.failed()[0].verdict.kind, ErrorKind::Timeout);
/// # Ok(())
/// # }
/// ```
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
