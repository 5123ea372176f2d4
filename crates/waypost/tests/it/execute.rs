//! Requests seen through, in virtual time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use waypost::core::{
    Clock, LimitId, ManualClock, NanoUsd, ProviderId, Ratio, RetryBudgetConfig, TokenUsage, Tokens,
};
use waypost::failover::{
    Backoff, ErrorKind, FailoverChain, FallbackOn, GaveUp, HedgePolicy, Jitter, ManualTimer,
    ProviderSelector, RetryPolicy, Timer,
};
use waypost::limits::{Budget, Limit, Period};
use waypost::{
    Attempt, FailoverError, GatewayRequest, Outcome, ProviderCandidate, RequestError, RequestResult, Router,
    RouterBuilder, RouterConfig, RoutingContext, SelectedProvider,
};

const MODEL: &str = "gpt-4o";
const MS: Duration = Duration::from_millis(1);

/// A router over providers `p0`, `p1`, … in virtual time.
struct Rig {
    clock: Arc<ManualClock>,
    timer: ManualTimer,
    router: Router,
    request: GatewayRequest,
    context: RoutingContext,
}

fn config(burst: u32) -> RouterConfig {
    let mut config = RouterConfig::default();
    config.retry_budget = RetryBudgetConfig { ratio: Ratio::of(1, 10), burst, per_second: 0 };
    config.total_retry_budget = config.retry_budget;
    config
}

fn rig_with(providers: usize, build: impl FnOnce(RouterBuilder) -> RouterBuilder) -> Rig {
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let candidate = |n: usize| ProviderCandidate::openai(format!("p{n}"), MODEL).price_per_million(1.0, 1.0);
    let builder = (0..providers).map(candidate).fold(Router::builder(), RouterBuilder::candidate);
    let router = build(builder.seed(1).shared_clock(shared)).build().unwrap();
    let request = GatewayRequest::new(MODEL).unwrap().prompt_tokens(Tokens(100)).max_tokens(Tokens(100));
    let timer = ManualTimer::new(Arc::clone(&clock));
    Rig { clock, timer, router, request, context: RoutingContext::default() }
}

fn rig(providers: usize) -> Rig {
    rig_with(providers, |builder| builder.config(config(100)))
}

type Ended<A> = Result<Outcome<A, SelectedProvider>, FailoverError>;

impl Rig {
    fn run<A>(
        &self,
        chain: &FailoverChain,
        operation: impl AsyncFn(Attempt) -> Result<A, RequestError>,
    ) -> Ended<A> {
        self.timer.block_on(self.future(chain, &operation))
    }

    async fn future<A>(
        &self,
        chain: &FailoverChain,
        operation: &impl AsyncFn(Attempt) -> Result<A, RequestError>,
    ) -> Ended<A> {
        let call = |attempt| operation(attempt);
        self.router.execute_with(&self.timer, &self.request, &self.context, chain, call).await
    }

    /// Nothing is held any more.
    fn assert_idle(&self) {
        assert_eq!(self.router.metrics().in_flight, 0);
        for report in self.router.limit_reports() {
            assert!(
                matches!(report.level, waypost::limits::Level::Money { reserved: NanoUsd::ZERO, .. }),
                "{report:?}"
            );
        }
        assert_eq!(self.timer.next(), None, "nobody waits");
    }
}

fn steady() -> FailoverChain {
    FailoverChain::default().with_backoff(Backoff { jitter: Jitter::None, ..Backoff::default() })
}

fn name(attempt: &Attempt) -> String {
    attempt.candidate().provider().to_string()
}

#[test]
fn u01_one_dead_provider_is_nobodys_error() {
    let rig = rig(4);
    for _ in 0..1_000 {
        let served = rig.run(&steady(), async |attempt| {
            rig.timer.sleep(MS).await;
            if name(&attempt) == "p2" { Err(ErrorKind::ConnectionError.into()) } else { Ok(name(&attempt)) }
        });
        assert_ne!(served.unwrap().answer(), "p2");
    }
    rig.assert_idle();
}

#[test]
fn the_next_candidate_is_asked_at_once_and_the_same_after_a_wait() {
    let rig = rig(2);
    let asked = RefCell::new(Vec::new());
    let error = rig
        .run(&steady().with_max_attempts(4), async |attempt| -> Result<(), _> {
            asked.borrow_mut().push((
                name(&attempt),
                attempt.number(),
                rig.clock.now().as_nanos() / 1_000_000,
            ));
            Err(RequestError::status(503))
        })
        .unwrap_err();
    let asked: Vec<_> = asked.into_inner().into_iter().map(|(_, number, at)| (number, at)).collect();
    assert_eq!(asked, [(0, 0), (1, 0), (2, 100), (3, 100)]);
    assert_eq!(*error.because(), GaveUp::MaxAttemptsExceeded);
    assert_eq!(error.attempts().len(), 4);
    assert!(!error.should_retry(), "the caller's retries would multiply ours");
    rig.assert_idle();
}

#[test]
fn an_error_that_cannot_change_is_not_tried_twice() {
    let rig = rig(2);
    let calls = Cell::new(0);
    let error = rig.run(&steady().with_max_attempts(9), async |_| -> Result<(), _> {
        calls.set(calls.get() + 1);
        Err(ErrorKind::Authentication.into())
    });
    assert_eq!((calls.get(), error.unwrap_err().because()), (2, &GaveUp::AllAttemptsFailed));
    let error = rig_and_invalid();
    assert_eq!((error.attempts().len(), error.because()), (1, &GaveUp::NotRetryable));
}

fn rig_and_invalid() -> FailoverError {
    let rig = rig(3);
    let error = rig.run(&steady(), async |_| -> Result<(), _> { Err(ErrorKind::InvalidRequest.into()) });
    rig.assert_idle();
    error.unwrap_err()
}

#[test]
fn a_wait_that_a_provider_asks_for_is_a_floor_and_the_deadline_a_ceiling() {
    let mut rig = rig(1);
    let policy = RetryPolicy { max_wait: Duration::from_secs(60), ..RetryPolicy::default() };
    let chain = FailoverChain::default().with_retry(policy);
    let refuse = async |_: Attempt| -> Result<(), _> {
        Err(waypost::failover::ErrorResponse::new(429).header("retry-after", "7").into())
    };
    let error = rig.run(&chain, refuse).unwrap_err();
    assert_eq!(error.attempts().len(), 2);
    assert!(error.attempts()[1].waited >= Duration::from_secs(7));
    assert!(
        error.retry_after().is_some() && error.should_retry(),
        "U13: everybody is limited, come back later"
    );

    rig.router.health().reset(rig.router.routing_table().candidates().next().unwrap().id(), rig.clock.now());
    rig.context.deadline = Some(rig.clock.now() + Duration::from_secs(7));
    let before = rig.clock.now();
    let error = rig.run(&chain, refuse).unwrap_err();
    assert_eq!(error.attempts().len(), 1, "the second could not end in time");
    assert_eq!(rig.clock.now(), before, "nobody waited in vain");
    rig.assert_idle();
}

#[test]
fn u03_who_never_answers_is_left_in_time() {
    let mut rig = rig(2);
    rig.request.stream = true;
    let served = rig
        .run(&steady(), async |attempt| {
            if attempt.number() == 0 {
                rig.timer.sleep(Duration::from_secs(1_000)).await;
            }
            Ok(attempt.number())
        })
        .unwrap();
    assert_eq!((*served.answer(), served.failed()[0].verdict.kind), (1, ErrorKind::Timeout));
    assert_eq!(served.failed()[0].took, Duration::from_secs(30));
    assert_eq!(served.possible_double_bills(), 1, "U04: it may have been served");
    drop(served);
    rig.assert_idle();
}

#[test]
fn u06_u07_after_the_first_content_nothing_is_retried() {
    let mut rig = rig(3);
    rig.request.stream = true;
    let calls = Cell::new(0);
    let stalled = rig.run(&steady(), async |attempt| -> Result<(), _> {
        calls.set(calls.get() + 1);
        attempt.first_content();
        for _ in 0..20 {
            rig.timer.sleep(MS * 50).await;
            attempt.progress(Tokens(1));
        }
        rig.timer.sleep(Duration::from_secs(300)).await;
        Ok(())
    });
    let error = stalled.unwrap_err();
    assert_eq!((calls.get(), error.because()), (1, &GaveUp::Interrupted));
    let last = error.last().unwrap();
    assert_eq!((last.delivered, last.took), (Tokens(20), Duration::from_secs(16)));
    assert!(!error.should_retry());
    rig.assert_idle();
}

#[test]
fn an_answer_that_is_still_coming_stays_in_flight_until_it_is_finished() {
    let mut rig = rig(1);
    rig.request.stream = true;
    let open = rig
        .run(&steady(), async |attempt| {
            attempt.first_content();
            Ok(())
        })
        .unwrap();
    assert!(open.is_open());
    assert_eq!(rig.router.metrics().in_flight, 1);
    let usage = TokenUsage::new(Tokens(100), Tokens(7));
    open.finish(&RequestResult::success(MS, usage), rig.clock.now());
    rig.assert_idle();
}

#[test]
fn requests_with_effects_are_tried_again_only_when_surely_unserved() {
    let mut rig = rig(3);
    rig.request.has_effects = true;
    let run = |kind: ErrorKind| {
        let calls = Cell::new(0_u32);
        let _ = rig.run(&steady(), async |_| -> Result<(), _> {
            calls.set(calls.get() + 1);
            Err(kind.into())
        });
        calls.get()
    };
    assert_eq!([ErrorKind::Timeout, ErrorKind::ServerError, ErrorKind::ConnectionError].map(run), [1; 3]);
    assert_eq!(run(ErrorKind::RateLimitExceeded), 3);
}

#[test]
fn fallbacks_are_used_for_their_reasons() {
    let rig = rig_with(1, |builder| {
        builder
            .config(config(100))
            .candidate(ProviderCandidate::anthropic("small", "small").context_window(Tokens(1_000)))
            .candidate(ProviderCandidate::anthropic("any", "any"))
            .candidate(ProviderCandidate::anthropic("lax", "lax"))
    });
    let model = |name: &str| ProviderSelector::AnyForModel(waypost::core::ModelName::new(name).unwrap());
    let chain = steady()
        .with_max_attempts(5)
        .with_fallback_on(FallbackOn::ContentPolicy, model("lax"))
        .with_fallback_on(FallbackOn::ContextWindow, model("small"))
        .with_fallback(model("any"));
    let served_by = |kind: ErrorKind| {
        let ended =
            rig.run(
                &chain,
                async |attempt| {
                    if name(&attempt) == "p0" { Err(kind.into()) } else { Ok(name(&attempt)) }
                },
            );
        ended.map(|outcome| outcome.answer().clone()).ok()
    };
    assert_eq!(served_by(ErrorKind::ContentFiltered).as_deref(), Some("lax"));
    assert_eq!(served_by(ErrorKind::InvalidResponse).as_deref(), Some("any"));
    assert_eq!(served_by(ErrorKind::ContextWindowExceeded), None, "no window is known to be larger");
    assert_eq!(served_by(ErrorKind::InvalidRequest), None);
    rig.assert_idle();
}

#[test]
fn selectors_narrow_to_their_providers() {
    let rig = rig(4);
    let id = |name: &str| ProviderId::new(name).unwrap();
    let two = ProviderSelector::Pool { provider_ids: Arc::new([id("p1"), id("p3")]), strategy: None };
    let chain =
        FailoverChain::new(ProviderSelector::Specific(id("p2"))).with_fallback(two).with_max_attempts(4);
    let asked = RefCell::new(Vec::new());
    let _ = rig.run(&chain, async |attempt| -> Result<(), _> {
        asked.borrow_mut().push(name(&attempt));
        Err(ErrorKind::InvalidResponse.into())
    });
    let mut asked = asked.into_inner();
    assert_eq!(asked.remove(0), "p2");
    asked.sort();
    assert_eq!(asked, ["p1", "p3"]);
}

#[test]
fn promise_9_u20_when_everything_fails_attempts_are_a_tenth_more_and_the_burst() {
    for burst in [0, 7, 100] {
        let rig = rig_with(4, |builder| builder.config(config(burst)));
        let (requests, calls) = (5_000, Cell::new(0));
        for _ in 0..requests {
            rig.clock.advance(MS * 20);
            let error = rig.run(&steady(), async |_| -> Result<(), _> {
                calls.set(calls.get() + 1);
                Err(RequestError::status(503))
            });
            assert!(!error.unwrap_err().should_retry() || rig.router.metrics().failed_routes > 0);
        }
        let most = requests * 11 / 10 + burst.max(1);
        assert!(calls.get() <= most, "{} attempts of at most {most}", calls.get());
        rig.assert_idle();
    }
}

/// Makes the times to first token known: 30 ms, less than any hedge waits, through requests that might have been hedged.
fn hedging(rig: &Rig) {
    for _ in 0..40 {
        let answered = rig.run(&steady().hedge_after_p95(), async |attempt| {
            rig.timer.sleep(MS * 30).await;
            attempt.first_content();
            attempt.complete(TokenUsage::new(Tokens(100), Tokens(10)));
            Ok(())
        });
        drop(answered.unwrap());
    }
}

/// Counts operations that ended, however they ended.
struct Dropped<'a>(&'a Cell<u32>);

impl Drop for Dropped<'_> {
    fn drop(&mut self) {
        self.0.set(self.0.get() + 1);
    }
}

#[test]
fn a_hedge_wins_when_the_first_has_no_content_and_the_loser_is_cancelled() {
    let mut rig = rig(2);
    rig.request.stream = true;
    hedging(&rig);
    let dropped = Cell::new(0);
    let start = rig.clock.now();
    let chain = steady().with_hedge(HedgePolicy { at_least: MS * 100, ..HedgePolicy::default() });
    let outcome = rig
        .run(&chain, async |attempt| {
            let _guard = Dropped(&dropped);
            rig.timer.sleep(if attempt.is_hedge() { MS * 100 } else { MS * 5_000 }).await;
            attempt.first_content();
            rig.timer.sleep(MS * 50).await;
            attempt.complete(TokenUsage::new(Tokens(100), Tokens(10)));
            Ok(attempt.is_hedge())
        })
        .unwrap();
    assert!(*outcome.answer() && outcome.attempts() == 2);
    let took = rig.clock.now().since(start);
    assert!(took >= MS * 245 && took <= MS * 265, "{took:?}");
    assert_eq!(dropped.get(), 2);
    rig.assert_idle();

    rig.request.has_effects = true;
    let outcome = rig.run(&chain, async |attempt| {
        rig.timer.sleep(MS * 5_000).await;
        Ok(attempt.is_hedge())
    });
    assert_eq!(outcome.unwrap().attempts(), 1, "what has effects is never hedged");
    rig.assert_idle();
}

/// Promise: at most two allocations beyond what the operation makes; one is the attempt that it is told of.
#[test]
fn an_answer_at_once_costs_at_most_two_allocations() {
    let rig = rig(4);
    let chain = steady();
    for _ in 0..3 {
        let measured = allocation_counter::measure(|| {
            let answered = rig.run(&chain, async |_| Ok(()));
            drop(answered);
        });
        assert!(measured.count_total <= 2, "{measured:?}");
    }
}

/// Every path: failures that wait, fail over, hedge, commit and break off; dropped at every wait.
#[test]
fn dropped_at_every_await_everything_is_back() {
    let mut points = 0;
    for path in 0..6 {
        for waits in 0.. {
            let mut rig = rig_with(2, |builder| {
                let budget = Budget::new(NanoUsd::from_usd(10.0).unwrap(), Period::TOTAL);
                builder.config(config(100)).limit(Limit::budget(LimitId::new("all").unwrap(), budget))
            });
            rig.request.stream = true;
            hedging(&rig);
            let started = Cell::new(0);
            let operation = async |attempt: Attempt| {
                started.set(started.get() + 1);
                rig.timer.sleep(MS * 10).await;
                match path {
                    1 => return Err(RequestError::status(503)),
                    2 if attempt.number() == 0 => return Err(ErrorKind::Authentication.into()),
                    3 if !attempt.is_hedge() => rig.timer.sleep(MS * 900).await,
                    4 => {
                        attempt.first_content();
                        rig.timer.sleep(Duration::from_secs(60)).await;
                    }
                    5 => rig.timer.sleep(Duration::from_secs(60)).await,
                    _ => {}
                }
                attempt.first_content();
                rig.timer.sleep(MS * 10).await;
                attempt.complete(TokenUsage::new(Tokens(100), Tokens(1)));
                Ok(())
            };
            let chain = steady().hedge_after_p95();
            let ended = rig.timer.block_on_at_most(rig.future(&chain, &operation), waits);
            let is_ended = ended.is_some();
            drop(ended);
            rig.assert_idle();
            let calls = started.get();
            let budget = rig.router.retry_budget(&rig.request.model).unwrap();
            assert_eq!(
                budget,
                100 - (calls - 1),
                "path {path}, {waits} waits: one token for each retry that was sent"
            );
            let cancelled: u64 =
                rig.router.routing_table().candidates().map(|c| c.live().outcomes().cancelled).sum();
            if is_ended {
                break;
            }
            assert!(cancelled <= 2);
            points += 1;
        }
    }
    assert!(points >= 20, "{points} points");
}
