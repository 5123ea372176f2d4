//! Requests seen through, in virtual time.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use proptest::prelude::*;
use waypost::core::{
    Clock, LimitId, ManualClock, NanoUsd, ProviderId, Ratio, RetryBudgetConfig, TokenUsage, Tokens,
};
use waypost::failover::{
    Backoff, ErrorKind, FailoverChain, GaveUp, HedgePolicy, Jitter, ManualTimer, ProviderSelector,
    RetryPolicy, ThrottleConfig, Timer,
};
use waypost::limits::{Budget, Limit, Period};
use waypost::{
    Attempt, FailoverError, GatewayRequest, Outcome, ProviderCandidate, RequestError, RequestResult, Router,
    RouterBuilder, RouterConfig, RoutingContext, SelectedProvider,
};

pub(crate) const MODEL: &str = "gpt-4o";
pub(crate) const MS: Duration = Duration::from_millis(1);

/// A router over providers `p0`, `p1`, … in virtual time.
pub(crate) struct Rig {
    pub(crate) clock: Arc<ManualClock>,
    pub(crate) timer: ManualTimer,
    pub(crate) router: Router,
    pub(crate) request: GatewayRequest,
    pub(crate) context: RoutingContext,
}

pub(crate) fn config(burst: u32) -> RouterConfig {
    let mut config = RouterConfig::default();
    config.retry_budget = RetryBudgetConfig { ratio: Ratio::of(1, 10), burst, per_second: 0 };
    config.total_retry_budget = config.retry_budget;
    config
}

pub(crate) fn rig_with(providers: usize, build: impl FnOnce(RouterBuilder) -> RouterBuilder) -> Rig {
    let clock = Arc::new(ManualClock::default());
    let shared: Arc<ManualClock> = Arc::clone(&clock);
    let candidate = |n: usize| ProviderCandidate::openai(format!("p{n}"), MODEL).price_per_million(1.0, 1.0);
    let builder = (0..providers).map(candidate).fold(Router::builder(), RouterBuilder::candidate);
    let router = build(builder.seed(1).shared_clock(shared)).build().unwrap();
    let request = GatewayRequest::new(MODEL).unwrap().prompt_tokens(Tokens(100)).max_tokens(Tokens(100));
    let timer = ManualTimer::new(Arc::clone(&clock));
    Rig { clock, timer, router, request, context: RoutingContext::default() }
}

pub(crate) fn rig(providers: usize) -> Rig {
    rig_with(providers, |builder| builder.config(config(100)))
}

pub(crate) type Ended<A> = Result<Outcome<A, SelectedProvider>, FailoverError>;

impl Rig {
    pub(crate) fn run<A>(
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
    pub(crate) fn assert_idle(&self) {
        assert_eq!(self.router.metrics().in_flight, 0);
        for report in self.router.limit_reports() {
            use waypost::limits::Level;
            let is_free = match report.level {
                Level::Money { reserved, .. } => reserved == NanoUsd::ZERO,
                Level::Concurrency { reserved, .. } => reserved == 0,
                _ => true,
            };
            assert!(is_free, "{report:?}");
        }
        assert_eq!(self.timer.next(), None, "nobody waits");
    }
}

pub(crate) fn steady() -> FailoverChain {
    FailoverChain::default().with_backoff(Backoff { jitter: Jitter::None, ..Backoff::default() })
}

pub(crate) fn name(attempt: &Attempt) -> String {
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

/// What an operation of a random mix does at its attempts.
#[derive(Debug, Clone, Copy)]
enum Does {
    Answers(u64),
    Fails(u16, u64),
    Hangs,
    BreaksOff(u64),
}

fn does() -> impl Strategy<Value = Does> {
    prop_oneof![
        3 => (0..400_u64).prop_map(Does::Answers),
        4 => (prop::sample::select(vec![408_u16, 429, 500, 503, 529]), 0..50_u64).prop_map(|(status, ms)| Does::Fails(status, ms)),
        1 => Just(Does::Hangs),
        1 => (0..100_u64).prop_map(Does::BreaksOff),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig::with_cases(48))]

    /// Promise 9, over random mixes of failures, waits, hedges and budgets: attempts beyond the first, hedges included,
    /// are what the budget had and what requests earned; afterwards nothing is held.
    #[test]
    fn promise_9_retries_and_hedges_never_exceed_the_budget(
        (providers, burst, per_mille, attempts) in (1..5_usize, 0..20_u32, 0..300_u64, 1..6_u32),
        requests in prop::collection::vec(prop::collection::vec(does(), 1..6), 1..120),
    ) {
        let mut rig = rig_with(providers, |builder| {
            let mut config = config(burst);
            config.retry_budget.ratio = Ratio::of(per_mille, 1_000);
            config.total_retry_budget.ratio = Ratio::of(per_mille, 1_000);
            builder.config(config).health(waypost::health::HealthConfig::off())
        });
        rig.request.stream = true;
        let hedge = HedgePolicy { min_samples: 1, at_least: MS * 20, ..HedgePolicy::default() };
        let chain = steady().with_max_attempts(attempts).with_hedge(hedge);
        let (calls, mut came) = (Cell::new(0_u64), 0_u64);
        for steps in &requests {
            came += 1;
            let (mine, before) = (Cell::new(0), calls.get());
            let _ = rig.run(&chain, async |attempt| {
                calls.set(calls.get() + 1);
                let step = steps[mine.replace(mine.get() + 1) % steps.len()];
                let wait = match step {
                    Does::Answers(ms) | Does::Fails(_, ms) | Does::BreaksOff(ms) => MS * ms as u32,
                    Does::Hangs => Duration::from_secs(3_600),
                };
                rig.timer.sleep(wait).await;
                if let Does::Fails(status, _) = step {
                    return Err(RequestError::status(status));
                }
                attempt.first_content();
                rig.timer.sleep(MS).await;
                if let Does::BreaksOff(_) = step {
                    return Err(ErrorKind::ConnectionError.into());
                }
                attempt.complete(TokenUsage::new(Tokens(1), Tokens(1)));
                Ok(())
            });
            prop_assert!(calls.get() - before <= u64::from(attempts));
            let earned = came * per_mille / 1_000;
            let most = came + u64::from(burst.max(u32::from(per_mille > 0))) + earned;
            prop_assert!(calls.get() <= most, "{} attempts of {came} requests, at most {most}", calls.get());
        }
        rig.assert_idle();
    }
}

#[test]
fn attempts_say_their_number_so_that_layers_do_not_multiply() {
    let mut rig =
        rig_with(2, |builder| builder.config(config(0)).health(waypost::health::HealthConfig::off()));
    rig.context.attempt_number = 2;
    let numbers = RefCell::new(Vec::new());
    for _ in 0..100 {
        let error = rig.run(&steady(), async |attempt| -> Result<(), _> {
            numbers.borrow_mut().push(attempt.number());
            Err(RequestError::status(503))
        });
        let error = error.unwrap_err();
        assert_eq!((error.because(), error.should_retry()), (&GaveUp::RetryBudgetExhausted, false), "U20");
    }
    assert_eq!(*numbers.borrow(), [2; 100], "retries of a layer above earn no retries here");
}

#[test]
fn u13_everybody_is_limited_and_says_the_shortest_wait() {
    let rig = rig(3);
    let calls = Cell::new(0_u32);
    let refused = |rig: &Rig| {
        rig.run(&steady(), async |_| -> Result<(), _> {
            calls.set(calls.get() + 1);
            let wait = (20 + 10 * calls.get()).to_string();
            Err(waypost::failover::ErrorResponse::new(429).header("retry-after", wait).into())
        })
        .unwrap_err()
    };
    let first = refused(&rig);
    assert_eq!((first.should_retry(), first.retry_after()), (true, Some(Duration::from_secs(30))));
    for _ in 0..100 {
        let error = refused(&rig);
        assert!(error.should_retry(), "{error:?}");
        assert!(error.retry_after().is_some_and(|wait| wait <= Duration::from_secs(30)), "{error:?}");
        assert!(error.attempts().is_empty(), "nobody is asked while all rest");
    }
    assert_eq!(calls.get(), 3, "amplification 1.0");
    rig.assert_idle();
}

#[test]
fn a_caller_whose_attempts_failed_for_other_reasons_is_not_told_to_retry() {
    let rig = rig(2);
    let error = rig.run(&steady().with_max_attempts(2), async |attempt| -> Result<(), _> {
        Err(RequestError::status(if attempt.number() == 0 { 429 } else { 500 }))
    });
    assert!(!error.unwrap_err().should_retry());
}

/// With most providers ill, retries count twice: a budget of ten is spent after five.
#[test]
fn in_panic_a_retry_counts_twice() {
    let rig = rig_with(2, |builder| {
        let mut config = config(10);
        config.retry_budget.ratio = Ratio::ZERO;
        builder.config(config)
    });
    for candidate in rig.router.routing_table().candidates() {
        for _ in 0..5 {
            let failed = RequestResult::failure(MS, "500").status(500).at(candidate.id().clone());
            rig.router.record_result(&failed).unwrap();
        }
    }
    let asked = Cell::new(0);
    let error = rig.run(&steady().with_max_attempts(2), async |_| -> Result<(), _> {
        asked.set(asked.get() + 1);
        Err(RequestError::status(500))
    });
    assert_eq!((asked.get(), error.unwrap_err().attempts().len()), (2, 2));
    assert_eq!(rig.router.retry_budget(&rig.request.model), Some(8));
}

#[test]
fn the_throttle_refuses_before_providers_are_hammered() {
    let throttled = |config: Option<ThrottleConfig>| {
        let rig = rig_with(2, |builder| {
            let mut all = self::config(0);
            all.throttle = config;
            builder.config(all).health(waypost::health::HealthConfig::off())
        });
        let (calls, refused) = (Cell::new(0), Cell::new(0));
        for _ in 0..1_000 {
            rig.clock.advance(MS);
            let error = rig.run(&steady().with_max_attempts(1), async |_| -> Result<(), _> {
                calls.set(calls.get() + 1);
                Err(RequestError::status(529))
            });
            refused.set(refused.get() + u32::from(*error.unwrap_err().because() == GaveUp::Throttled));
        }
        rig.assert_idle();
        (calls.get(), refused.get())
    };
    assert_eq!(throttled(None), (1_000, 0));
    let (calls, refused) = throttled(Some(ThrottleConfig::default()));
    assert_eq!(calls + refused, 1_000);
    assert!(calls < 50, "{calls} calls of 1,000, none of which was accepted");
}

#[test]
fn a_fallback_to_another_model_reserves_and_settles_there() {
    let budget = Budget::new(NanoUsd::from_usd(1.0).unwrap(), Period::TOTAL);
    let rig = rig_with(0, |builder| {
        let limit = Limit::budget(LimitId::new("all").unwrap(), budget);
        builder
            .config(config(100))
            .limit(limit)
            .candidate(ProviderCandidate::openai("dear", MODEL).price_per_million(1_000.0, 1_000.0))
            .candidate(ProviderCandidate::openai("cheap", "small").price_per_million(10.0, 10.0))
    });
    let chain = steady()
        .with_fallback(ProviderSelector::AnyForModel(waypost::core::ModelName::new("small").unwrap()));
    let served = rig.run(&chain, async |attempt| {
        if name(&attempt) == "dear" {
            return Err(ErrorKind::ServerError.into());
        }
        attempt.complete(TokenUsage::new(Tokens(100), Tokens(100)));
        Ok(name(&attempt))
    });
    assert_eq!(served.unwrap().answer(), "cheap");
    rig.assert_idle();
    let [report] = &rig.router.limit_reports()[..] else { panic!("one limit") };
    let waypost::limits::Level::Money { settled, .. } = report.level else { panic!("{report:?}") };
    assert_eq!(settled, NanoUsd::from_usd(0.002).unwrap(), "200 tokens of the cheap one");
}

#[test]
fn a_deadline_bounds_attempts_and_ends_them() {
    let mut rig = rig(3);
    rig.context.deadline = Some(rig.clock.now() + MS * 500);
    let limits = RefCell::new(Vec::new());
    let start = rig.clock.now();
    let error = rig.run(&steady(), async |attempt| -> Result<(), _> {
        limits.borrow_mut().push(attempt.time_limit().unwrap());
        rig.timer.sleep(MS * 300).await;
        Err(RequestError::status(503))
    });
    assert_eq!(*error.unwrap_err().because(), GaveUp::DeadlineExceeded);
    assert_eq!(*limits.borrow(), [MS * 500, MS * 200], "each is told what is left");
    assert_eq!(rig.clock.now().since(start), MS * 500, "and is ended then");
    rig.assert_idle();
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

/// Promise: at most two allocations beyond what the operation makes: the attempt that it is told of, and what is held for it.
/// A candidate's statistics are allocated at its first answer, which is not the request's doing.
#[test]
fn an_answer_at_once_costs_at_most_two_allocations() {
    let rig = rig(4);
    let chain = steady();
    for _ in 0..32 {
        drop(rig.run(&chain, async |_| Ok(())));
    }
    for _ in 0..32 {
        let measured = allocation_counter::measure(|| {
            let answered = rig.run(&chain, async |_| Ok(()));
            drop(answered);
        });
        assert!(measured.count_total <= 2, "{measured:?}");
    }
}

/// What an attempt does on a path.
async fn take(path: u32, rig: &Rig, attempt: Attempt) -> Result<(), RequestError> {
    let first = attempt.number() == 0;
    rig.timer.sleep(MS * 10).await;
    match path {
        1 => return Err(RequestError::status(503)),
        2 if first => return Err(ErrorKind::Authentication.into()),
        3 if !attempt.is_hedge() => rig.timer.sleep(MS * 900).await,
        4 => {
            attempt.first_content();
            rig.timer.sleep(Duration::from_secs(60)).await;
        }
        5 => rig.timer.sleep(Duration::from_secs(60)).await,
        6 if name(&attempt) != "other" => return Err(ErrorKind::ModelNotFound.into()),
        7 if first => {
            return Err(waypost::failover::ErrorResponse::new(429).header("retry-after", "2").into());
        }
        8 if first => rig.timer.sleep(Duration::from_secs(5)).await,
        _ => {}
    }
    attempt.connected();
    attempt.first_content();
    rig.timer.sleep(MS * 10).await;
    // On the last path the answer is still coming when the operation returns.
    if path != 9 {
        attempt.complete(TokenUsage::new(Tokens(100), Tokens(1)));
    }
    Ok(())
}

/// Every path: failures that wait as long as the policy or the provider says, fail over to providers and to another
/// model, hedge, do not connect, commit, break off and stay open; dropped at every wait.
#[test]
#[expect(clippy::print_stdout, reason = "how many there are is counted")]
fn dropped_at_every_await_everything_is_back() {
    let mut points = 0;
    for path in 0..10 {
        for waits in 0.. {
            let id = |name: &str| LimitId::new(name).unwrap();
            let mut rig = rig_with(if path == 7 { 1 } else { 2 }, |builder| {
                let budget = Budget::new(NanoUsd::from_usd(10.0).unwrap(), Period::TOTAL);
                let tokens = waypost::limits::Rate::per_day(1_000_000).unwrap();
                builder
                    .config(config(100))
                    .limit(Limit::budget(id("money"), budget))
                    .limit(Limit::concurrency(id("at-once"), 9.try_into().unwrap()))
                    .limit(Limit::tokens(id("tokens"), tokens))
                    .candidate(ProviderCandidate::openai("other", "other").price_per_million(1.0, 1.0))
            });
            rig.request.stream = true;
            hedging(&rig);
            let (before, started) = (told(&rig), Cell::new(0_u32));
            let operation = async |attempt: Attempt| {
                started.set(started.get() + 1);
                take(path, &rig, attempt).await
            };
            let other = ProviderSelector::AnyForModel(waypost::core::ModelName::new("other").unwrap());
            let mut chain = steady().hedge_after_p95().with_fallback(other);
            chain.retry.timeouts.connect = Some(MS * 500);
            let ended = rig.timer.block_on_at_most(rig.future(&chain, &operation), waits);
            let is_ended = ended.is_some();
            drop(ended);
            rig.assert_idle();
            let at = format!("path {path}, {waits} waits");
            let calls = started.get();
            assert_eq!(told(&rig) - before, u64::from(calls), "{at}: the end of every attempt was told once");
            let left = rig.router.retry_budget(&rig.request.model).unwrap();
            assert_eq!(left, 100 - (calls - 1), "{at}: one token for each retry that was sent");
            if is_ended {
                break;
            }
            points += 1;
        }
    }
    println!("{points} points at which requests were dropped");
    assert!(points >= 35, "{points} points");
}

/// Attempts whose end was told.
fn told(rig: &Rig) -> u64 {
    let outcomes = rig.router.routing_table();
    let outcomes = outcomes.candidates().map(|candidate| candidate.live().outcomes());
    outcomes.map(|outcomes| outcomes.succeeded + outcomes.failed + outcomes.cancelled).sum()
}

#[test]
fn k02_a_try_that_is_dropped_at_any_wait_gives_its_place_back() {
    for waits in 0..2 {
        let mut rig = rig(2);
        rig.request.excluded_providers = vec![ProviderId::new("p1").unwrap()];
        let id = rig.router.routing_table().candidates().next().unwrap().id().clone();
        for _ in 0..5 {
            let failed = RequestResult::failure(MS, "500").status(500).at(id.clone());
            rig.router.record_result(&failed).unwrap();
        }
        let hangs = async |_: Attempt| -> Result<(), RequestError> {
            rig.timer.sleep(MS).await;
            rig.timer.sleep(Duration::from_secs(3_600)).await;
            Ok(())
        };
        let closed = rig.run(&steady(), hangs).unwrap_err();
        assert!(closed.attempts().is_empty(), "it is open: {closed:?}");
        rig.clock.advance(Duration::from_secs(8));
        assert!(rig.timer.block_on_at_most(rig.future(&steady(), &hangs), waits).is_none(), "it is tried");
        rig.assert_idle();
        let again = rig.run(&steady(), async |attempt| Ok(name(&attempt)));
        assert_eq!(again.unwrap().answer(), "p0", "after {waits} waits: the next may try");
    }
}
