//! Drives a replica on tokio.

use std::sync::Arc;

use tokio::time::{sleep, timeout};
use waypost_core::Clock;

use crate::{LimitStore, Replica, StoreError};

/// Keeps the shares of a replica in step with a store, without end: spawn it, and abort it to stop. After that each
/// limit does as its [`WhenAway`](crate::WhenAway) says only if [`Replica::poll`] is called further.
///
/// # Cancel safety
///
/// It may be dropped at any time; an operation that runs is dropped with it.
pub async fn keep_shares<S: LimitStore>(mut replica: Replica, store: Arc<S>, clock: Arc<dyn Clock>) {
    let (patience, interval) = (replica.replication().timeout, replica.replication().interval());
    // So that a report is late by a tenth of an interval at the most.
    let nap = (interval / 10).max(core::time::Duration::from_millis(1));
    loop {
        if let Some(request) = replica.poll(clock.now()) {
            let answer = timeout(patience, store.sync(request)).await;
            let answer = answer.unwrap_or(Err(StoreError::TimedOut));
            replica.handle(answer, clock.now(), clock.wall());
        }
        sleep(nap).await;
    }
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use core::num::NonZeroU32;
    use core::sync::atomic::{AtomicU64, Ordering};
    use core::time::Duration;
    use std::time::SystemTime;

    use waypost_core::{LimitId, Timestamp};

    use crate::{
        Limit, LimitChange, Limits, LimitsConfig, MemoryStore, Rate, ReplicaId, Replication, SyncReply,
        SyncRequest,
    };

    /// Tokio's own time, which a paused runtime moves.
    #[derive(Debug, Clone, Copy)]
    struct TokioClock(tokio::time::Instant);

    impl Clock for TokioClock {
        fn now(&self) -> Timestamp {
            Timestamp::ORIGIN + self.0.elapsed()
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + self.0.elapsed()
        }
    }

    /// Never answers from 10 s to 60 s.
    struct Stalls(MemoryStore, TokioClock, AtomicU64);

    impl LimitStore for Stalls {
        async fn sync(&self, request: SyncRequest) -> Result<SyncReply, StoreError> {
            self.2.fetch_add(1, Ordering::Relaxed);
            let second = self.1.now().as_nanos() / 1_000_000_000;
            if (10..60).contains(&second) {
                core::future::pending::<()>().await;
            }
            Ok(self.0.sync_at(&request, self.1.now(), self.1.wall()))
        }
    }

    #[tokio::test(start_paused = true)]
    async fn a_store_that_stalls_is_away_and_back() {
        let replication = Some(Replication::among(NonZeroU32::new(2).unwrap()));
        let config = LimitsConfig { replication, ..LimitsConfig::default() };
        let all = Limit::requests(LimitId::new("all").unwrap(), Rate::per_second(10).unwrap());
        let told = Arc::new(AtomicU64::new(0));
        let heard = Arc::clone(&told);
        let limits = Limits::new([all], config, Timestamp::ORIGIN).unwrap().on_event(move |event| {
            let count = match event.change {
                LimitChange::StoreAway => 1,
                LimitChange::StoreBack => 100,
                _ => 0,
            };
            heard.fetch_add(count, Ordering::Relaxed);
        });
        let replica = Replica::new(Arc::new(limits), ReplicaId::new("a"), 1, 1).unwrap();
        let clock = TokioClock(tokio::time::Instant::now());
        let store = Arc::new(Stalls(MemoryStore::new(1), clock, AtomicU64::new(0)));
        let runner = tokio::spawn(keep_shares(replica, Arc::clone(&store), Arc::new(clock)));
        sleep(Duration::from_secs(29)).await;
        assert_eq!(told.load(Ordering::Relaxed), 0, "the lease holds");
        sleep(Duration::from_secs(13)).await;
        assert_eq!(told.load(Ordering::Relaxed), 1);
        sleep(Duration::from_secs(20)).await;
        assert_eq!(told.load(Ordering::Relaxed), 101);
        assert!(store.2.load(Ordering::Relaxed) < 10 + 5 + 65, "no herd");
        runner.abort();
        assert!(runner.await.unwrap_err().is_cancelled());
    }
}
