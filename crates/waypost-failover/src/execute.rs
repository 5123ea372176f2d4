//! The attempts of one request, until one is answered or no other may be made.

use core::future::{Future, poll_fn};
use core::pin::{Pin, pin};
use core::task::{Context, Poll};
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    CandidateId, Exclusion, FaultScope, GatewayRequest, RoutingContext, RoutingError, Stage, Timestamp,
};

use crate::lane::Lane;
use crate::route::{Resting, Route};
use crate::{
    Attempt, Dispatch, ErrorKind, FailedAttempt, FailoverChain, FailoverError, GaveUp, Outcome, RequestError,
    Selection, Timer, Verdict,
};

impl FailoverChain {
    /// Sees a request through: selects a candidate, runs the operation there with a bound in time, records how it
    /// ended, and goes on to the next candidate, or after a wait to the same, until the operation returns an answer or no
    /// further attempt may be made. The operation may be called several times, and twice at once if the chain hedges.
    ///
    /// Everything beyond the first attempt is taken out of the retry budget, at its start. No attempt starts that the
    /// deadline leaves no time for, none after the first content of an answer, and none at a candidate whose error
    /// cannot change.
    ///
    /// # Errors
    ///
    /// [`FailoverError`] with every attempt's error, and why no further one was made.
    ///
    /// # Cancel safety
    ///
    /// Dropping the future at any time drops the operation, gives back everything that is held, records what runs as
    /// cancelled, and retries nothing.
    pub async fn execute<D, T, A, Op, Fut>(
        &self,
        dispatch: &D,
        timer: &T,
        request: &GatewayRequest,
        context: &RoutingContext,
        mut operation: Op,
    ) -> Result<Outcome<A, D::Selection>, FailoverError>
    where
        D: Dispatch,
        T: Timer,
        Op: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<A, RequestError>>,
    {
        let mut execution = Execution::new(self, dispatch, request, context);
        loop {
            match execution.next_attempt() {
                Next::Attempt => {}
                Next::Wait(time) => {
                    timer.sleep(time).await;
                    execution.waited(time);
                    continue;
                }
                Next::GiveUp(because) => return Err(execution.error(because)),
            }
            match execution.run(timer, &mut operation).await {
                Ok((answer, lane)) => return Ok(execution.outcome(answer, lane)),
                Err(Some(because)) => return Err(execution.error(because)),
                Err(None) => {}
            }
        }
    }
}

/// What comes next.
enum Next {
    /// An attempt, which is in the first lane.
    Attempt,
    Wait(Duration),
    GiveUp(GaveUp),
}

/// What happened while attempts ran.
enum Event<A> {
    /// The first content came in a lane.
    Content(usize),
    Ended(usize, Result<A, RequestError>),
    /// It is time for a second attempt.
    HedgeDue,
}

/// The attempts of one request.
struct Execution<'e, D: Dispatch> {
    chain: &'e FailoverChain,
    dispatch: &'e D,
    request: &'e GatewayRequest,
    context: &'e RoutingContext,
    route: Route<'e>,
    /// The attempts that run: the first, and the hedge beside it. On the heap: what they hold is not small, and most
    /// requests have one.
    lanes: [Option<Box<Lane<D::Selection>>>; 2],
    failed: Vec<FailedAttempt>,
    attempts: u32,
    /// The wait before the attempt that comes next.
    wait: Duration,
    /// What of the last wait was the policy's own.
    backoff: Duration,
    /// All waits together.
    waited: Duration,
    /// When what runs was looked at last.
    looked: Timestamp,
    /// What the request was counted towards, once an attempt failed.
    budget: Option<<D::Selection as Selection>::RetryBudget>,
}

impl<'e, D: Dispatch> Execution<'e, D> {
    fn new(
        chain: &'e FailoverChain,
        dispatch: &'e D,
        request: &'e GatewayRequest,
        context: &'e RoutingContext,
    ) -> Self {
        Self {
            chain,
            dispatch,
            request,
            context,
            route: Route::new(chain),
            lanes: [None, None],
            failed: Vec::new(),
            attempts: 0,
            wait: Duration::ZERO,
            backoff: Duration::ZERO,
            waited: Duration::ZERO,
            looked: Timestamp::from_nanos(0),
            budget: None,
        }
    }

    /// Selects for the next attempt: in this group, else again those of it that may be asked again, else in the next.
    fn next_attempt(&mut self) -> Next {
        if self.attempts >= self.chain.max_attempts.max(1) {
            return Next::GiveUp(GaveUp::MaxAttemptsExceeded);
        }
        loop {
            let now = self.dispatch.now();
            if !self.is_time_left(now, Duration::ZERO) {
                return Next::GiveUp(GaveUp::DeadlineExceeded);
            }
            let error = match self.select(now, None) {
                Ok(selection) => return self.start(selection, now),
                Err(error) => error,
            };
            if let Some(wait) = self.wait_for_resting(now) {
                return Next::Wait(wait);
            }
            self.route.give_up_resting();
            if matches!(error, RoutingError::AllProvidersFiltered { stage: Stage::ContextWindow }) {
                self.route.outgrown();
            }
            let is_final = is_final(&error) && (self.route.is_primary() || error == RoutingError::Timeout);
            if is_final || !self.route.next_group() {
                return Next::GiveUp(self.nobody_left(error));
            }
        }
    }

    fn nobody_left(&self, error: RoutingError) -> GaveUp {
        match error {
            RoutingError::Timeout if !self.failed.is_empty() => GaveUp::DeadlineExceeded,
            error if self.failed.is_empty() => GaveUp::NotRouted(error),
            _ => GaveUp::AllAttemptsFailed,
        }
    }

    fn select(&self, now: Timestamp, besides: Option<Exclusion>) -> Result<D::Selection, RoutingError> {
        let (request, mut context) = self.route.question(self.request, self.context, self.attempts);
        if let Some(besides) = besides {
            context.to_mut().exclusions.push(besides);
        }
        self.dispatch.select(&request, &context, now)
    }

    /// Starts an attempt, if budget and throttle let it.
    fn start(&mut self, selection: D::Selection, now: Timestamp) -> Next {
        match self.admit(&selection, now) {
            Ok(()) => {
                self.run_in(0, selection, now);
                Next::Attempt
            }
            Err(because) => {
                selection.abandon();
                Next::GiveUp(because)
            }
        }
    }

    fn admit(&self, selection: &D::Selection, now: Timestamp) -> Result<(), GaveUp> {
        if let Some(budget) = &self.budget {
            let taken = selection.take_retry(budget, now);
            return if taken { Ok(()) } else { Err(GaveUp::RetryBudgetExhausted) };
        }
        if selection.throttle().is_some_and(|throttle| !throttle.admit(now, self.dispatch.draw())) {
            return Err(GaveUp::Throttled);
        }
        // A retry of a layer above earns no further retries here.
        if self.context.attempt_number == 0 {
            selection.count_request();
        }
        Ok(())
    }

    /// Puts an attempt in a lane: the second is that of hedges.
    fn run_in(&mut self, place: usize, selection: D::Selection, now: Timestamp) {
        let left = self.context.remaining_time(now);
        let total = self.chain.retry.timeouts.total;
        let limit = total.map(|total| left.map_or(total, |left| left.min(total))).or(left);
        let number = self.context.attempt_number.saturating_add(self.attempts);
        let attempt = Attempt::new(Arc::clone(selection.candidate()), number, place == 1, limit);
        self.attempts += 1;
        let lane = Lane::new(selection, attempt, now, core::mem::take(&mut self.wait));
        self.lanes[place] = Some(Box::new(lane));
    }

    fn is_time_left(&self, now: Timestamp, wait: Duration) -> bool {
        // The first attempt is the router's to refuse: it knows why.
        let left = self.context.remaining_time(now);
        self.attempts == 0
            || left.is_none_or(|left| left >= wait.saturating_add(self.chain.retry.shortest_attempt))
    }

    /// How long to wait until somebody who failed may be asked again; `None` when nobody may.
    fn wait_for_resting(&mut self, now: Timestamp) -> Option<Duration> {
        let left = self.chain.max_attempts.saturating_sub(self.attempts) as usize;
        let resting = self.route.first_resting()?;
        let retry = self.retries_at(resting.at.id()).max(1);
        // What the provider asks for is a floor, not where the policy's own waits go on from.
        let own = Verdict { retry_after: None, ..resting.verdict };
        let backoff = self.chain.retry.wait(&own, retry, self.backoff, self.dispatch.draw());
        let wait = backoff.max(resting.ready.since(now));
        let in_time = wait <= self.chain.retry.max_wait && self.is_time_left(now, wait);
        if !in_time || left <= self.route.fallbacks_left() {
            return None;
        }
        self.backoff = backoff;
        self.route.wake(now + wait);
        Some(wait)
    }

    fn waited(&mut self, time: Duration) {
        self.wait = time;
        self.waited = self.waited.saturating_add(time);
    }

    /// How often an attempt at a candidate failed so far.
    fn retries_at(&self, candidate: &CandidateId) -> u32 {
        self.failed.iter().filter(|failed| failed.candidate == *candidate).count() as u32
    }

    /// Runs the attempt in the first lane, and a second one beside it if it is slow, until one is answered or all failed.
    /// Returns the answer with its lane, or why nothing else may be tried.
    async fn run<T, A, Op, Fut>(
        &mut self,
        timer: &T,
        operation: &mut Op,
    ) -> Result<(A, usize), Option<GaveUp>>
    where
        T: Timer,
        Op: FnMut(Attempt) -> Fut,
        Fut: Future<Output = Result<A, RequestError>>,
    {
        let mut one = pin!(self.lanes[0].as_ref().map(|lane| operation(lane.attempt.clone())));
        let mut two = pin!(None);
        let mut alarm = pin!(None);
        let mut set_for = Timestamp::MAX;
        let mut hedge_at = self.hedge_at();
        let mut final_word = None;
        loop {
            let event = poll_fn(|cx| {
                loop {
                    let mut futures = [one.as_mut(), two.as_mut()];
                    if let Some(event) = self.look(&mut futures, hedge_at, cx) {
                        return Poll::Ready(event);
                    }
                    let next = self.next_alarm().min(hedge_at);
                    if next == Timestamp::MAX {
                        return Poll::Pending;
                    }
                    if next != set_for {
                        alarm.set(Some(timer.sleep(next.since(self.looked))));
                        set_for = next;
                    }
                    match alarm.as_mut().as_pin_mut().map(|alarm| alarm.poll(cx)) {
                        Some(Poll::Pending) => return Poll::Pending,
                        _ => set_for = Timestamp::MAX,
                    }
                }
            })
            .await;
            match event {
                Event::HedgeDue => {
                    hedge_at = Timestamp::MAX;
                    self.hedge();
                    two.set(self.lanes[1].as_ref().map(|lane| operation(lane.attempt.clone())));
                }
                Event::Content(winner) => {
                    hedge_at = Timestamp::MAX;
                    if winner == 0 {
                        two.set(None);
                    } else {
                        one.set(None);
                    }
                    self.lose(1 - winner);
                }
                Event::Ended(place, ended) => {
                    if place == 0 {
                        one.set(None);
                    } else {
                        two.set(None);
                    }
                    let error = match ended {
                        Ok(answer) => {
                            one.set(None);
                            two.set(None);
                            self.lose(1 - place);
                            return Ok((answer, place));
                        }
                        Err(error) => error,
                    };
                    hedge_at = Timestamp::MAX;
                    // What cannot change stays so, whatever the other attempt says.
                    final_word = final_word.or(self.fail(place, error));
                    if self.lanes.iter().all(Option::is_none) {
                        return Err(final_word);
                    }
                }
            }
        }
    }

    /// The attempt in this lane, if one runs there, came too late.
    fn lose(&mut self, place: usize) {
        if let Some(loser) = self.lanes[place].take() {
            loser.lost(self.dispatch.now());
        }
    }

    /// Takes an attempt that ended out of its lane.
    fn take(&mut self, place: usize) -> Lane<D::Selection> {
        *self.lanes[place].take().expect("a lane that ended was running")
    }

    /// Polls what runs; what happened first, if anything did.
    fn look<A, Fut>(
        &mut self,
        futures: &mut [Pin<&mut Option<Fut>>; 2],
        hedge_at: Timestamp,
        cx: &mut Context<'_>,
    ) -> Option<Event<A>>
    where
        Fut: Future<Output = Result<A, RequestError>>,
    {
        let (timeouts, streamed) = (&self.chain.retry.timeouts, self.request.stream);
        for (place, (lane, future)) in self.lanes.iter_mut().zip(futures).enumerate() {
            let (Some(lane), Some(future)) = (lane, future.as_mut().as_pin_mut()) else { continue };
            let polled = future.poll(cx);
            let now = self.dispatch.now();
            self.looked = now;
            let is_first = lane.observe(now);
            match polled {
                Poll::Ready(ended) => return Some(Event::Ended(place, ended)),
                Poll::Pending if is_first => return Some(Event::Content(place)),
                Poll::Pending if now >= lane.ends(timeouts, streamed) => {
                    lane.cut_at(now, timeouts, streamed);
                    return Some(Event::Ended(place, Err(ErrorKind::Timeout.into())));
                }
                Poll::Pending => {}
            }
        }
        (self.looked >= hedge_at).then_some(Event::HedgeDue)
    }

    fn next_alarm(&self) -> Timestamp {
        let (timeouts, streamed) = (&self.chain.retry.timeouts, self.request.stream);
        let ends = self.lanes.iter().flatten().map(|lane| lane.ends(timeouts, streamed));
        ends.min().unwrap_or(Timestamp::MAX)
    }

    /// When a second attempt starts beside the first; the end of time when none does.
    fn hedge_at(&self) -> Timestamp {
        let fits =
            self.request.stream && !self.request.has_effects && self.attempts < self.chain.max_attempts;
        let policy = self.chain.hedge.as_ref().filter(|_| fits);
        let (Some(policy), Some(first)) = (policy, &self.lanes[0]) else { return Timestamp::MAX };
        let delay = policy.delay(first.selection.first_tokens(), first.started());
        delay.map_or(Timestamp::MAX, |delay| first.started() + delay)
    }

    /// Puts a second attempt in its lane, at another candidate, if there is one, and cost and budget let it.
    fn hedge(&mut self) -> Option<()> {
        let (policy, first) = (self.chain.hedge.as_ref()?, self.lanes[0].as_ref()?);
        let at = Arc::clone(first.selection.candidate());
        let now = self.dispatch.now();
        if !self.is_time_left(now, Duration::ZERO) {
            return None;
        }
        let besides = Exclusion::Fault { at, scope: FaultScope::Deployment };
        let selection = self.select(now, Some(besides)).ok()?;
        let budget = self.budget.get_or_insert_with(|| first.selection.retry_budget());
        if policy.allows(selection.estimated_cost()) && selection.take_retry(budget, now) {
            self.run_in(1, selection, now);
        } else {
            selection.abandon();
        }
        Some(())
    }

    /// Takes down an attempt that failed. Says so when nothing else may be tried.
    fn fail(&mut self, place: usize, error: RequestError) -> Option<GaveUp> {
        let (lane, now) = (self.take(place), self.dispatch.now());
        let candidate = Arc::clone(lane.selection.candidate());
        let judged = self.chain.classifier.classify(candidate.provider_type(), &error, self.dispatch.wall());
        let verdict = lane.verdict(judged);
        if let Some(throttle) = lane.selection.throttle() {
            throttle.record(!is_refusal(&judged), now);
        }
        self.budget.get_or_insert_with(|| lane.selection.retry_budget());
        let prompt = lane.selection.prompt();
        let may_retry = self.chain.retry.should_retry(&error, &verdict, self.retries_at(candidate.id()));
        self.failed.push(lane.failed(error, verdict, now));
        let may_be_served = self.request.has_effects && !verdict.kind.is_unserved();
        let ready = now + verdict.retry_after.max(verdict.cool_down).unwrap_or_default();
        let resting = Resting { at: candidate, verdict, ready };
        let may_go_on = self.route.learn(resting, prompt, may_retry) && !may_be_served;
        match verdict.kind {
            ErrorKind::StreamInterrupted => Some(GaveUp::Interrupted),
            _ if may_go_on => None,
            _ => Some(GaveUp::NotRetryable),
        }
    }

    fn outcome<A>(mut self, answer: A, place: usize) -> Outcome<A, D::Selection> {
        // It was observed when it was looked at.
        let (lane, now) = (self.take(place), self.looked);
        if let Some(throttle) = lane.selection.throttle() {
            throttle.record(true, now);
        }
        let candidate = Arc::clone(lane.selection.candidate());
        let open = lane.answered(now);
        Outcome { answer, open, candidate, failed: self.failed, attempts: self.attempts, waited: self.waited }
    }

    fn error(self, because: GaveUp) -> FailoverError {
        let asked = self.failed.iter().filter_map(|failed| failed.verdict.retry_after).min();
        let routed = match &because {
            GaveUp::NotRouted(error) => error.retry_after(),
            _ => None,
        };
        FailoverError { because, attempts: self.failed, retry_after: routed.or(asked) }
    }
}

/// Whether no fallback can help against it: the request is refused as such. A fallback that is refused is passed over.
const fn is_final(error: &RoutingError) -> bool {
    matches!(error, RoutingError::Rejected(_) | RoutingError::Timeout | RoutingError::RequestTooLarge { .. })
}

/// Whether a provider refused or failed for load.
const fn is_refusal(verdict: &Verdict) -> bool {
    verdict.counts_against_health
        || matches!(verdict.kind, ErrorKind::RateLimitExceeded | ErrorKind::Overloaded)
}
