//! One run of a drill.

use std::cell::{Cell, RefCell};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp, LogNormal};
use waypost::core::{ManualClock, ModelName, Timestamp, TokenUsage, Tokens};
use waypost::failover::{ErrorKind, ErrorResponse, RequestError, Timer};
use waypost::health::{CircuitState, HealthChange, HealthEvent, Subject};
use waypost::{
    Attempt, BuildError, GatewayRequest, ProviderCandidate, Router, RouterBuilder, RoutingContext,
};

use super::world::{Task, World};
use super::{Condition, Drill, DrillReport};

/// The model of all drills.
const MODEL: &str = "llama-3-70b";

/// What a run consists of.
pub(super) struct Run<'d> {
    drill: &'d Drill,
    world: World,
    router: Router,
    request: GatewayRequest,
    serving: Vec<Cell<u32>>,
    rng: RefCell<Xoshiro256PlusPlus>,
    report: RefCell<DrillReport>,
    ejections: Arc<Mutex<Vec<u64>>>,
}

impl<'d> Run<'d> {
    pub(super) fn new(
        drill: &'d Drill,
        seed: u64,
        customize: impl FnOnce(RouterBuilder) -> RouterBuilder,
    ) -> Result<Self, BuildError> {
        let clock = Arc::new(ManualClock::default());
        let shared: Arc<ManualClock> = Arc::clone(&clock);
        let providers = drill.providers.len();
        let candidate =
            |n| ProviderCandidate::custom(format!("provider-{n}"), MODEL).price_per_million(1.0, 1.0);
        let builder = (0..providers).map(candidate).fold(Router::builder(), RouterBuilder::candidate);
        let ejections = Arc::new(Mutex::new(vec![0; providers]));
        let counted = Arc::clone(&ejections);
        let builder = builder.on_health_event(move |event| count_ejection(event, &counted));
        let model = ModelName::new(MODEL).expect("the model's name is valid");
        Ok(Self {
            drill,
            world: World::new(clock),
            router: customize(builder.seed(seed).shared_clock(shared)).build()?,
            request: GatewayRequest::for_model(model)
                .prompt_tokens(Tokens(1_000))
                .max_tokens(Tokens(200))
                .streaming(true),
            serving: vec![Cell::new(0); providers],
            rng: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            report: RefCell::new(DrillReport::new(providers, drill.seconds as usize)),
            ejections,
        })
    }

    /// Lets everybody come and every request end.
    pub(super) fn all(self) -> DrillReport {
        let arrivals = self.arrivals();
        let request = |at| (at, Box::pin(self.request(at)) as Task<'_>);
        self.world.run(arrivals.into_iter().map(request));
        let mut report = self.report.into_inner();
        report.in_flight = self.router.metrics().in_flight;
        report.ejections.clone_from(&self.ejections.lock().expect("no callback panics"));
        report
    }

    fn arrivals(&self) -> Vec<Timestamp> {
        let (mut at, mut arrivals) = (0.0_f64, Vec::new());
        loop {
            let rate = Exp::new((self.drill.load)(at as u64).max(0.001)).expect("a rate above zero");
            at += rate.sample(&mut *self.rng.borrow_mut());
            if at >= self.drill.seconds as f64 {
                return arrivals;
            }
            arrivals.push(Timestamp::ORIGIN + Duration::from_secs_f64(at));
        }
    }

    async fn request(&self, at: Timestamp) {
        let second = self.world.second() as usize;
        self.report.borrow_mut().by_second[second].0 += 1;
        let context = RoutingContext::default();
        let first_token = Cell::new(None);
        let call = |attempt| self.call(attempt, at, &first_token);
        let ended =
            self.router.execute_with(&self.world, &self.request, &context, &self.drill.chain, call).await;
        if ended.is_ok() {
            let mut report = self.report.borrow_mut();
            report.by_second[second].1 += 1;
            report.first_tokens[second].extend(first_token.get());
        }
    }

    /// One call of a provider.
    async fn call(
        &self,
        attempt: Attempt,
        came: Timestamp,
        first_token: &Cell<Option<Duration>>,
    ) -> Result<(), RequestError> {
        let place = number(attempt.candidate().provider().as_str());
        let second = self.world.second();
        // Who came in the last second may try again after it.
        if let Some(calls) = self.report.borrow_mut().calls[place].get_mut(second as usize) {
            *calls += 1;
        }
        let condition = (self.drill.condition)(place, second);
        self.refuse(condition, &attempt).await?;
        let provider = &self.drill.providers[place];
        if f64::from(self.serving[place].get()) >= f64::from(provider.concurrency) * condition.capacity() {
            self.world.sleep(Duration::from_millis(5)).await;
            return Err(RequestError::status(529));
        }
        let mut bill = Bill::new(self, place);
        let slow = LogNormal::new(0.0, provider.sigma).expect("a deviation");
        let factor: f64 = slow.sample(&mut *self.rng.borrow_mut()) * condition.slowness();
        self.world.sleep(provider.first_token.mul_f64(factor)).await;
        attempt.first_content();
        first_token.set(Some(self.world.now().since(came)));
        bill.completion = Tokens(1);
        let rest = provider.rest.mul_f64(self.rng.borrow_mut().random_range(0.5..1.5));
        self.world.sleep(rest.mul_f64(condition.slowness())).await;
        bill.completion = Tokens(200);
        attempt.complete(TokenUsage::new(Tokens(1_000), bill.completion));
        Ok(())
    }

    /// Fails a call as its condition says.
    async fn refuse(&self, condition: Condition, attempt: &Attempt) -> Result<(), RequestError> {
        let (after, error) = match condition {
            Condition::Dead => (2, ErrorKind::ConnectionError.into()),
            Condition::BlackHole => (3_600_000, ErrorKind::ConnectionError.into()),
            Condition::Failing(share) if self.rng.borrow_mut().random_bool(share) => {
                (20, RequestError::status(500))
            }
            Condition::RateLimited(wait) => {
                (1, ErrorResponse::new(429).header("retry-after", wait.as_secs().to_string()).into())
            }
            // Who looks at an answer sees that it says nothing.
            Condition::Empty => (1, ErrorKind::InvalidResponse.into()),
            _ => (0, ErrorKind::Unknown.into()),
        };
        if !matches!(condition, Condition::BlackHole) {
            attempt.connected();
        }
        if after == 0 {
            return Ok(());
        }
        self.world.sleep(Duration::from_millis(after)).await;
        Err(error)
    }
}

fn number(provider: &str) -> usize {
    provider.rsplit('-').next().and_then(|n| n.parse().ok()).expect("providers have numbers")
}

fn count_ejection(event: &HealthEvent<'_>, ejections: &Mutex<Vec<u64>>) {
    let is_out = match event.change {
        HealthChange::Circuit(transition) => transition.to == CircuitState::Open,
        HealthChange::Ejected { .. } => true,
        _ => false,
    };
    if let (Subject::Candidate(id), true) = (event.subject, is_out) {
        ejections.lock().expect("no callback panics")[number(id.provider.as_str())] += 1;
    }
}

/// A place at a provider, and what it bills when the call ends, however it ends.
struct Bill<'r, 'd> {
    run: &'r Run<'d>,
    place: usize,
    completion: Tokens,
}

impl<'r, 'd> Bill<'r, 'd> {
    fn new(run: &'r Run<'d>, place: usize) -> Self {
        let serving = run.serving[place].get() + 1;
        run.serving[place].set(serving);
        let most = &mut run.report.borrow_mut().most_at_once[place];
        *most = serving.max(*most);
        Self { run, place, completion: Tokens::ZERO }
    }
}

impl Drop for Bill<'_, '_> {
    fn drop(&mut self) {
        let serving = &self.run.serving[self.place];
        serving.set(serving.get() - 1);
        // A dollar for a million tokens is a thousand nano-dollars for one.
        let tokens = 1_000 + self.completion.0;
        self.run.report.borrow_mut().cost.0 += tokens * 1_000;
    }
}
