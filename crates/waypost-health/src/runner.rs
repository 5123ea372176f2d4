//! Drives active checks on tokio.

use core::time::Duration;
use std::sync::Arc;

use tokio::task::JoinSet;
use tokio::time::{sleep, timeout};
use waypost_core::{CandidateId, Clock};

use crate::{CheckOutcome, DueCheck, HealthAwareRouter, Probe};

/// The longest sleep: candidates that come meanwhile are seen after this.
const LONGEST_SLEEP: Duration = Duration::from_secs(1);

/// Makes the checks that are due and reports how they ended, without end: spawn it, and abort it to stop. Dropping it
/// ends the checks that run.
///
/// A check that takes longer than its [timeout](DueCheck::timeout), or panics, failed. Each candidate is checked by one
/// check at a time. Everything runs on tokio's clock but the schedule, which is the router's.
///
/// # Cancel safety
///
/// It may be dropped at any time; checks that had not ended are not reported.
pub async fn run_health_checks<P>(health: Arc<HealthAwareRouter>, probe: Arc<P>, clock: Arc<dyn Clock>)
where
    P: Probe + 'static,
{
    let mut running = JoinSet::new();
    loop {
        for check in health.due_checks(clock.now()) {
            running.spawn(made(check, Arc::clone(&probe)));
        }
        let next = health.next_check().map_or(LONGEST_SLEEP, |next| next.since(clock.now()));
        tokio::select! {
            () = sleep(next.min(LONGEST_SLEEP).max(Duration::from_millis(1))) => {}
            Some(ended) = running.join_next() => {
                if let Ok((id, outcome)) = ended {
                    health.report_check(&id, outcome, clock.now());
                }
            }
        }
    }
}

/// One check: in time, or failed. A probe that panics is caught by a task of its own.
async fn made<P: Probe + 'static>(check: DueCheck, probe: Arc<P>) -> (CandidateId, CheckOutcome) {
    let (id, limit) = (check.id().clone(), check.timeout);
    let mut alone = JoinSet::new();
    alone.spawn(async move { timeout(limit, probe.probe(&check.candidate)).await });
    let outcome = match alone.join_next().await {
        Some(Ok(Ok(outcome))) => outcome,
        _ => CheckOutcome::Failed,
    };
    (id, outcome)
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use std::sync::Mutex;
    use std::time::SystemTime;
    use waypost_core::{Pool, ProviderCandidate, Timestamp};

    use crate::{CheckConfig, HealthConfig};

    /// Tokio's own time, which a paused runtime moves.
    #[derive(Debug)]
    struct TokioClock(tokio::time::Instant);

    impl Clock for TokioClock {
        fn now(&self) -> Timestamp {
            Timestamp::ORIGIN + self.0.elapsed()
        }

        fn wall(&self) -> SystemTime {
            SystemTime::UNIX_EPOCH + self.0.elapsed()
        }
    }

    /// `a` is always well; `b` never answers and `c` panics, until a time.
    struct Three {
        asked: Mutex<[u32; 3]>,
        well_from: tokio::time::Instant,
    }

    impl Probe for Three {
        async fn probe(&self, candidate: &ProviderCandidate) -> CheckOutcome {
            let place = usize::from(candidate.provider().as_str().as_bytes()[0] - b'a');
            self.asked.lock().expect("not poisoned")[place] += 1;
            let well = tokio::time::Instant::now() >= self.well_from;
            match place {
                1 if !well => core::future::pending().await,
                2 if !well => panic!("a bug in the probe"),
                _ => CheckOutcome::Passed,
            }
        }
    }

    #[tokio::test(start_paused = true)]
    async fn who_does_not_answer_in_time_is_out_until_it_does() {
        let checks = CheckConfig { interval: Duration::from_secs(2), ..CheckConfig::default() };
        let config = HealthConfig { checks, ..HealthConfig::default() };
        let health = Arc::new(HealthAwareRouter::new(config, 5));
        let pool = Arc::new(Pool::from_weights([("a", 1), ("b", 1), ("c", 1)]).unwrap());
        let of_pool = health.attach(&pool, Timestamp::ORIGIN);
        let start = tokio::time::Instant::now();
        let three = Three { asked: Mutex::default(), well_from: start + Duration::from_secs(60) };
        let (three, clock) = (Arc::new(three), Arc::new(TokioClock(start)));
        let runner = tokio::spawn(run_health_checks(Arc::clone(&health), Arc::clone(&three), clock));
        let left = |second| {
            let mut set = pool.all();
            let now = Timestamp::ORIGIN + Duration::from_secs(second);
            of_pool.filter_healthy(&mut set, now, &mut waypost_core::Directives::default());
            set.iter().map(|index| pool[index].provider().to_string()).collect::<Vec<_>>()
        };
        sleep(Duration::from_secs(30)).await;
        assert_eq!(left(30), ["a"]);
        let asked = *three.asked.lock().unwrap();
        assert!(asked.iter().all(|times| (11..=18).contains(times)), "every two seconds: {asked:?}");
        sleep(Duration::from_secs(50)).await;
        assert_eq!(left(80), ["a", "b", "c"]);
        runner.abort();
        assert!(runner.await.unwrap_err().is_cancelled());
    }
}
