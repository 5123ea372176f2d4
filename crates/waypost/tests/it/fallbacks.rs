//! Where requests go after failures, and what that costs.

use std::cell::{Cell, RefCell};
use std::sync::Arc;
use std::time::Duration;

use waypost::core::{Clock, LimitId, ModelName, NanoUsd, Ratio, Tokens};
use waypost::failover::{
    Backoff, ErrorClassifier, ErrorKind, ErrorResponse, ErrorRule, FailOver, FailoverChain, FallbackOn,
    GaveUp, HedgePolicy, Jitter, ProviderSelector, RetryPolicy, Timer,
};
use waypost::limits::{Budget, Level, Limit, Period};
use waypost::{ProviderCandidate, RequestError, RouterBuilder};

use crate::execute::{MODEL, MS, Rig, config, name, rig, rig_with, steady};

fn model(name: &str) -> ProviderSelector {
    ProviderSelector::AnyForModel(ModelName::new(name).unwrap())
}

/// `p0` serves the model; `small`, `large`, `any` and `lax` serve models of those names.
fn fleet(window: Option<u64>) -> Rig {
    let first = ProviderCandidate::openai("p0", MODEL);
    let first = window.map_or(first.clone(), |window| first.context_window(Tokens(window)));
    rig_with(0, |builder| {
        let named = |name: &str| ProviderCandidate::anthropic(name, name);
        [
            first,
            named("small").context_window(Tokens(50)),
            named("large").context_window(Tokens(200_000)),
            named("any"),
            named("lax"),
        ]
        .into_iter()
        .fold(builder.config(config(100)), RouterBuilder::candidate)
    })
}

/// Who serves a request that fails so at the first provider, and whether that was asked.
fn served_by(rig: &Rig, chain: &FailoverChain, kind: ErrorKind) -> (Option<String>, bool) {
    let asked = Cell::new(false);
    let ended = rig.run(chain, async |attempt| {
        if name(&attempt) == "p0" {
            asked.set(true);
            return Err(kind.into());
        }
        Ok(name(&attempt))
    });
    rig.assert_idle();
    (ended.map(|outcome| outcome.answer().clone()).ok(), asked.get())
}

#[test]
fn fallbacks_are_used_for_their_reasons() {
    let rig = fleet(None);
    let chain = steady()
        .with_max_attempts(5)
        .with_fallback(model("any"))
        .with_fallback_on(FallbackOn::ContentPolicy, model("lax"));
    let by = |kind| served_by(&rig, &chain, kind).0;
    assert_eq!(by(ErrorKind::InvalidResponse).as_deref(), Some("any"));
    assert_eq!(by(ErrorKind::ContentFiltered).as_deref(), Some("lax"), "past those for other reasons");
    assert_eq!(by(ErrorKind::InvalidRequest), None);
}

#[test]
fn a_fallback_for_long_prompts_serves_what_was_too_long() {
    let chain = steady()
        .with_fallback_on(FallbackOn::ContextWindow, model("small"))
        .with_fallback_on(FallbackOn::ContextWindow, model("large"));
    for window in [Some(1_000), None] {
        let rig = fleet(window);
        let served = served_by(&rig, &chain, ErrorKind::ContextWindowExceeded);
        assert_eq!(served, (Some("large".to_owned()), true), "the provider said so; window {window:?}");
        assert_eq!(served_by(&rig, &chain, ErrorKind::InvalidResponse).0, None, "for no other reason");
    }
    let mut rig = fleet(Some(1_000));
    rig.request = rig.request.prompt_tokens(Tokens(5_000));
    let served = served_by(&rig, &chain, ErrorKind::ContextWindowExceeded);
    assert_eq!(served, (Some("large".to_owned()), false), "known before anybody was asked");
}

#[test]
fn a_content_policy_met_at_a_fallback_goes_on_to_those_for_it() {
    let rig = fleet(None);
    let chain = steady()
        .with_max_attempts(5)
        .with_fallback_on(FallbackOn::ContentPolicy, model("lax"))
        .with_fallback(model("any"));
    let served = rig.run(&chain, async |attempt| match &*name(&attempt) {
        "p0" => Err(ErrorKind::InvalidResponse.into()),
        "any" => Err(ErrorKind::ContentFiltered.into()),
        other => Ok(other.to_owned()),
    });
    assert_eq!(served.unwrap().answer(), "lax");
    rig.assert_idle();
}

/// Requests for a model earn its retries, whichever model serves them.
#[test]
fn retries_at_other_models_are_earned_by_the_requests() {
    let rig = rig_with(1, |builder| {
        let mut settings = config(5);
        settings.retry_budget.ratio = Ratio::ONE;
        (settings.total_retry_budget.ratio, settings.total_retry_budget.burst) = (Ratio::ONE, 100);
        builder
            .config(settings)
            .health(waypost::health::HealthConfig::off())
            .candidate(ProviderCandidate::anthropic("any", "any"))
    });
    let chain = steady().with_fallback(model("any"));
    for number in 0..50 {
        let served = rig.run(&chain, async |attempt| match &*name(&attempt) {
            "p0" => Err(ErrorKind::InvalidResponse.into()),
            other => Ok(other.to_owned()),
        });
        assert_eq!(served.unwrap().answer(), "any", "request {number}");
    }
    assert_eq!(rig.router.retry_budget(&ModelName::new("any").unwrap()), Some(5), "it sent no retries");
}

#[test]
fn a_rate_limit_without_a_hint_is_tried_again_when_it_may_be_over() {
    let rig = rig(1);
    let calls = Cell::new(0);
    let served = rig.run(&steady(), async |_| {
        calls.set(calls.get() + 1);
        if calls.get() == 1 { Err(RequestError::status(429)) } else { Ok(()) }
    });
    let served = served.unwrap();
    assert_eq!((served.attempts(), served.waited()), (2, Duration::from_secs(1)));
}

#[test]
fn whoever_may_be_asked_first_is_asked_first_and_nobody_before_its_time() {
    let rig = rig_with(2, |builder| builder.config(config(100)).health(waypost::health::HealthConfig::off()));
    let policy = RetryPolicy { max_wait: Duration::from_secs(5), ..steady().retry };
    let chain = steady().with_retry(policy).with_max_attempts(4);
    let (asked, limited) = (RefCell::new(Vec::new()), RefCell::new(None));
    let _ = rig.run(&chain, async |attempt| -> Result<(), _> {
        let who = name(&attempt);
        let is_limited = limited.borrow_mut().get_or_insert_with(|| who.clone()) == &who;
        asked.borrow_mut().push((is_limited, rig.clock.now().as_nanos() / 1_000_000));
        if is_limited {
            return Err(ErrorResponse::new(429).header("retry-after", "60").into());
        }
        Err(RequestError::status(503))
    });
    assert_eq!(
        *asked.borrow(),
        [(true, 0), (false, 0), (false, 100)],
        "the other is asked again, the first is not"
    );
    rig.assert_idle();
}

#[test]
fn who_is_full_and_says_how_long_rests_so_long_and_is_not_ill() {
    let mut rig = rig(2);
    rig.request.stream = true;
    // Somebody else's requests are there.
    let others: Vec<_> = (0..4).map(|_| rig.router.route(&rig.request, &rig.context).unwrap()).collect();
    let refused = RefCell::new(None);
    let served = rig.run(&steady(), async |attempt| {
        if refused.borrow_mut().get_or_insert_with(|| name(&attempt)) == &name(&attempt) {
            return Err(ErrorResponse::new(529).header("retry-after", "30").into());
        }
        Ok(name(&attempt))
    });
    let full = refused.into_inner().unwrap();
    assert_ne!(served.unwrap().answer(), &full);
    for _ in 0..8 {
        let selected = rig.router.route(&rig.request, &rig.context).unwrap();
        assert_ne!(selected.candidate().provider().as_str(), full, "it asked for a rest");
    }
    rig.clock.advance(Duration::from_secs(31));
    let again = (0..8).map(|_| rig.router.route(&rig.request, &rig.context).unwrap());
    assert!(
        again.into_iter().any(|selected| selected.candidate().provider().as_str() == full),
        "and is back"
    );
    drop(others);
}

#[test]
fn a_callers_deadline_is_no_illness_of_the_provider() {
    let mut rig = rig(2);
    rig.request.stream = true;
    for _ in 0..20 {
        rig.context.deadline = Some(rig.clock.now() + MS * 60);
        let error = rig.run(&steady(), async |_| -> Result<(), _> {
            rig.timer.sleep(MS * 500).await;
            Ok(())
        });
        assert_eq!(*error.unwrap_err().because(), GaveUp::DeadlineExceeded);
    }
    assert!(
        rig.router.health_reports().iter().all(|report| report.exclusion.is_none() && report.failed == 0)
    );
    // Its own timeout is.
    rig.context.deadline = None;
    for _ in 0..20 {
        let _ = rig.run(&steady(), async |_| -> Result<(), _> {
            rig.timer.sleep(Duration::from_secs(500)).await;
            Ok(())
        });
    }
    assert!(rig.router.health_reports().iter().any(|report| report.exclusion.is_some()));
}

#[test]
fn a_refusal_that_cannot_change_ends_it_although_a_hedge_ran() {
    let mut rig = rig(3);
    rig.request.stream = true;
    known_first_tokens(&rig);
    let calls = Cell::new(0);
    let chain = steady().with_hedge(HedgePolicy { at_least: MS * 100, ..HedgePolicy::default() });
    let error = rig.run(&chain, async |attempt| -> Result<(), _> {
        calls.set(calls.get() + 1);
        rig.timer.sleep(MS * 200).await;
        if attempt.is_hedge() {
            Err(RequestError::status(503))
        } else {
            Err(ErrorKind::InvalidRequest.into())
        }
    });
    assert_eq!((calls.get(), error.unwrap_err().because()), (2, &GaveUp::NotRetryable));
    rig.assert_idle();
}

/// Makes the times to first token known: 30 ms.
fn known_first_tokens(rig: &Rig) {
    for _ in 0..40 {
        let answered = rig.run(&steady().hedge_after_p95(), async |attempt| {
            rig.timer.sleep(MS * 30).await;
            attempt.first_content();
            Ok(())
        });
        let now = rig.clock.now();
        let usage = waypost::core::TokenUsage::new(Tokens(1), Tokens(1));
        let mut result = waypost::RequestResult::success(MS * 30, usage);
        result.time_to_first_token = Some(MS * 30);
        answered.unwrap().finish(&result, now);
    }
}

/// What was slower than its hedge has a late first token: else the quantile that starts hedges would shrink.
#[test]
fn the_loser_of_a_hedge_counts_as_late_although_the_winner_returned_at_its_first_content() {
    let mut rig = rig(2);
    rig.request.stream = true;
    known_first_tokens(&rig);
    let chain = steady().with_hedge(HedgePolicy { at_least: MS * 100, ..HedgePolicy::default() });
    let outcome = rig.run(&chain, async |attempt| {
        rig.timer.sleep(if attempt.is_hedge() { MS * 50 } else { MS * 5_000 }).await;
        attempt.first_content();
        Ok(attempt.is_hedge())
    });
    assert!(*outcome.as_ref().unwrap().answer());
    drop(outcome);
    let table = rig.router.routing_table();
    let slowest = table.candidates().map(|candidate| {
        let histogram = candidate.live().latency().time_to_first_token.histogram();
        histogram.quantile(1.0, rig.clock.now()).unwrap_or_default()
    });
    assert!(slowest.max().unwrap() >= MS * 140, "the loser had waited for so long");
    rig.assert_idle();
}

#[test]
fn no_hedge_starts_that_the_deadline_leaves_no_time_for() {
    let mut rig = rig(2);
    rig.request.stream = true;
    known_first_tokens(&rig);
    rig.context.deadline = Some(rig.clock.now() + MS * 120);
    let chain = steady().with_hedge(HedgePolicy { at_least: MS * 100, ..HedgePolicy::default() });
    let calls = Cell::new(0);
    let _ = rig.run(&chain, async |_| -> Result<(), _> {
        calls.set(calls.get() + 1);
        rig.timer.sleep(MS * 5_000).await;
        Ok(())
    });
    assert_eq!(calls.get(), 1);
    rig.assert_idle();
}

#[test]
fn decorrelated_waits_grow_from_the_last_one_not_from_all() {
    let rig = rig_with(1, |builder| builder.config(config(100)).health(waypost::health::HealthConfig::off()));
    let backoff = Backoff { jitter: Jitter::Decorrelated, ..Backoff::default() };
    let policy = RetryPolicy { max_retries: 4, max_wait: Duration::from_secs(600), ..steady().retry };
    let chain = FailoverChain::default().with_retry(policy).with_backoff(backoff).with_max_attempts(3);
    for _ in 0..50 {
        let error = rig.run(&chain, async |attempt| -> Result<(), _> {
            let after = if attempt.number() == 0 { "20" } else { "0" };
            Err(ErrorResponse::new(503).header("retry-after", after).into())
        });
        let error = error.unwrap_err();
        let waits: Vec<_> = error.attempts().iter().map(|attempt| attempt.waited).collect();
        assert_eq!(waits[1], Duration::from_secs(20), "what was asked for");
        assert!(waits[2] <= Duration::from_secs(3), "and not three times that: {waits:?}");
    }
}

#[test]
fn a_broken_stream_is_settled_with_its_prompt() {
    let mut rig = rig_with(1, |builder| {
        let budget = Budget::new(NanoUsd::from_usd(1.0).unwrap(), Period::TOTAL);
        builder.config(config(100)).limit(Limit::budget(LimitId::new("all").unwrap(), budget))
    });
    rig.request.stream = true;
    let _ = rig.run(&steady(), async |attempt| -> Result<(), _> {
        attempt.first_content();
        attempt.progress(Tokens(20));
        Err(ErrorKind::ConnectionError.into())
    });
    let [report] = &rig.router.limit_reports()[..] else { panic!("one limit") };
    let Level::Money { settled, .. } = report.level else { panic!("{report:?}") };
    assert_eq!(
        settled,
        NanoUsd::from_usd(0.000_12).unwrap(),
        "100 tokens of the prompt and 20 of the answer"
    );
    rig.assert_idle();
}

/// X26: whoever may not use a model does not get it by a fallback either.
#[test]
fn x26_fallbacks_that_are_not_allowed_are_passed_over() {
    let mut rig = fleet(None);
    let names = |names: &[&str]| names.iter().map(|name| ModelName::new(name).unwrap()).collect::<Vec<_>>();
    let chain = steady().with_max_attempts(5).with_fallback(model("any")).with_fallback(model("lax"));
    let served = |rig: &Rig| served_by(rig, &chain, ErrorKind::InvalidResponse).0;
    assert_eq!(served(&rig).as_deref(), Some("any"));
    rig.context = rig.context.clone().with_allowed_models(names(&[MODEL, "lax"]));
    assert_eq!(served(&rig).as_deref(), Some("lax"));
    rig.context = rig.context.clone().with_allowed_models(names(&[MODEL]));
    assert_eq!(served(&rig), None);
    rig.context = rig.context.clone().with_allowed_models(names(&["any"]));
    let error = rig.run(&chain, async |_| Ok(())).unwrap_err();
    assert!(matches!(error.because(), GaveUp::NotRouted(_)), "{error:?}");
}

/// A rule of one's own may keep a request where it is: what it began there is nowhere else.
#[test]
fn who_may_only_be_asked_again_here_is_asked_nowhere_else() {
    let rig = rig_with(3, |builder| builder.config(config(100)).health(waypost::health::HealthConfig::off()));
    let rule = ErrorRule {
        status: vec![503],
        retry_here: Some(true),
        fail_over: Some(FailOver::Never),
        ..ErrorRule::new(ErrorKind::ServiceUnavailable)
    };
    let chain = steady().with_classifier(Arc::new(ErrorClassifier::default().with_rules([rule])));
    let asked = RefCell::new(Vec::new());
    let error = rig.run(&chain, async |attempt| -> Result<(), _> {
        asked.borrow_mut().push(name(&attempt));
        Err(RequestError::status(503))
    });
    let asked = asked.into_inner();
    assert!(asked.len() == 2 && asked[0] == asked[1], "{asked:?}");
    assert_eq!(error.unwrap_err().because(), &GaveUp::NotRetryable);
    rig.assert_idle();
}
