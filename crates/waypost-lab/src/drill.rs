//! Drills: requests seen through by the router's own failover while providers fail, in virtual time.

use std::cell::{Cell, RefCell};
use std::cmp::Reverse;
use std::collections::BinaryHeap;
use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::rc::Rc;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::time::Duration;

use rand::rngs::Xoshiro256PlusPlus;
use rand::{RngExt, SeedableRng};
use rand_distr::{Distribution, Exp, LogNormal};
use waypost::core::{Clock, ManualClock, ModelName, NanoUsd, Timestamp, TokenUsage, Tokens};
use waypost::failover::{ErrorKind, FailoverChain, RequestError, Timer};
use waypost::{
    Attempt, BuildError, GatewayRequest, ProviderCandidate, Router, RouterBuilder, RoutingContext,
};

/// The model of all drills.
const MODEL: &str = "llama-3-70b";

/// How a provider of a [`Drill`] serves.
#[derive(Debug, Clone)]
pub struct DrillProvider {
    /// The median time to first token.
    pub first_token: Duration,
    /// How much it varies: the deviation of its logarithm.
    pub sigma: f64,
    /// From the first token to the end.
    pub rest: Duration,
    /// Requests served at once; what comes beyond is refused as overload. Its share of that at a second of the drill
    /// says [`capacity`](Drill::capacity).
    pub concurrency: u32,
}

/// A load, providers that fail, and a failover chain.
#[derive(Debug, Clone)]
pub struct Drill {
    /// The providers.
    pub providers: Vec<DrillProvider>,
    /// The share of its concurrency that a provider has in a second of the drill; with zero it is dead.
    pub capacity: fn(provider: usize, second: u64) -> f64,
    /// Requests per second in a second of the drill.
    pub load: fn(second: u64) -> f64,
    /// How long requests come, in seconds.
    pub seconds: u64,
    /// How requests are seen through.
    pub chain: FailoverChain,
}

/// What a [`Drill`] came to.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DrillReport {
    /// Requests and those answered, by the second in which they came.
    pub by_second: Vec<(u64, u64)>,
    /// Calls that providers saw.
    pub attempts: u64,
    /// Times to first token, as callers saw them, in order.
    pub first_tokens: Vec<Duration>,
    /// What providers bill, losers of hedges by what they had generated.
    pub cost: NanoUsd,
    /// Requests in flight at the end.
    pub in_flight: u64,
}

impl DrillReport {
    /// Requests that came.
    pub fn requests(&self) -> u64 {
        self.by_second.iter().map(|(came, _)| came).sum()
    }

    /// Requests that were not answered.
    pub fn errors(&self) -> u64 {
        self.by_second.iter().map(|(came, answered)| came - answered).sum()
    }

    /// The share of the requests of some seconds that were answered.
    pub fn success(&self, seconds: std::ops::Range<usize>) -> f64 {
        let of = &self.by_second[seconds];
        let (came, answered) = of.iter().fold((0, 0), |sum, second| (sum.0 + second.0, sum.1 + second.1));
        answered as f64 / came as f64
    }

    /// A quantile of the times to first token.
    pub fn first_token(&self, quantile: f64) -> Duration {
        let place = (self.first_tokens.len() as f64 * quantile) as usize;
        self.first_tokens.get(place).copied().unwrap_or_default()
    }
}

impl fmt::Display for DrillReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let (requests, errors) = (self.requests(), self.errors());
        write!(f, "{requests} requests, {errors} errors, {} attempts, first token p50 ", self.attempts)?;
        write!(f, "{:?} p99 {:?}, cost {}", self.first_token(0.5), self.first_token(0.99), self.cost)
    }
}

type Task<'w> = Pin<Box<dyn Future<Output = ()> + 'w>>;

/// Virtual time: tasks are polled when what they wait for is due, and at no other time.
#[derive(Debug, Clone)]
struct World(Rc<WorldState>);

#[derive(Debug)]
struct WorldState {
    clock: Arc<ManualClock>,
    due: RefCell<BinaryHeap<Reverse<(Timestamp, u64, usize)>>>,
    scheduled: Cell<u64>,
    /// The task that runs.
    running: Cell<usize>,
}

/// A wait of the task that made it.
struct Wait(World, Timestamp);

impl Timer for World {
    type Sleep = Wait;

    fn sleep(&self, time: Duration) -> Wait {
        let until = self.0.clock.now() + time;
        self.wake(self.0.running.get(), until);
        Wait(self.clone(), until)
    }
}

impl World {
    fn wake(&self, task: usize, at: Timestamp) {
        let number = self.0.scheduled.replace(self.0.scheduled.get() + 1);
        self.0.due.borrow_mut().push(Reverse((at, number, task)));
    }

    fn now(&self) -> Timestamp {
        self.0.clock.now()
    }
}

impl Future for Wait {
    type Output = ();

    fn poll(self: Pin<&mut Self>, _: &mut Context<'_>) -> Poll<()> {
        if self.0.now() >= self.1 { Poll::Ready(()) } else { Poll::Pending }
    }
}

/// One run of a drill.
struct Run<'d> {
    drill: &'d Drill,
    world: World,
    router: Router,
    request: GatewayRequest,
    serving: Vec<Cell<u32>>,
    rng: RefCell<Xoshiro256PlusPlus>,
    report: RefCell<DrillReport>,
}

impl Drill {
    /// Runs it with the router's defaults and what `customize` changes.
    ///
    /// # Errors
    ///
    /// [`BuildError`] when what was changed is not valid.
    ///
    /// # Panics
    ///
    /// Never: the model's name is a constant.
    pub fn run(
        &self,
        seed: u64,
        customize: impl FnOnce(RouterBuilder) -> RouterBuilder,
    ) -> Result<DrillReport, BuildError> {
        let clock = Arc::new(ManualClock::default());
        let shared: Arc<ManualClock> = Arc::clone(&clock);
        let candidate =
            |n| ProviderCandidate::custom(format!("provider-{n}"), MODEL).price_per_million(1.0, 1.0);
        let builder =
            (0..self.providers.len()).map(candidate).fold(Router::builder(), RouterBuilder::candidate);
        let router = customize(builder.seed(seed).shared_clock(shared)).build()?;
        let model = ModelName::new(MODEL).expect("the model's name is valid");
        let world = World(Rc::new(WorldState {
            clock,
            due: RefCell::default(),
            scheduled: Cell::new(0),
            running: Cell::new(0),
        }));
        let run = Run {
            drill: self,
            world,
            router,
            request: GatewayRequest::for_model(model)
                .prompt_tokens(Tokens(1_000))
                .max_tokens(Tokens(200))
                .streaming(true),
            serving: vec![Cell::new(0); self.providers.len()],
            rng: RefCell::new(Xoshiro256PlusPlus::seed_from_u64(seed)),
            report: RefCell::new(DrillReport {
                by_second: vec![(0, 0); self.seconds as usize],
                ..DrillReport::default()
            }),
        };
        run.all();
        let mut report = run.report.into_inner();
        report.first_tokens.sort_unstable();
        report.in_flight = run.router.metrics().in_flight;
        Ok(report)
    }
}

impl Run<'_> {
    /// Lets everybody come and every request end.
    fn all(&self) {
        let arrivals = self.arrivals();
        let mut tasks: Vec<Option<Task<'_>>> = Vec::with_capacity(arrivals.len());
        for (task, at) in arrivals.iter().enumerate() {
            self.world.wake(task, *at);
            tasks.push(Some(Box::pin(self.request(*at))));
        }
        let mut cx = Context::from_waker(Waker::noop());
        loop {
            let Some(Reverse((at, _, task))) = self.world.0.due.borrow_mut().pop() else { break };
            self.world.0.clock.set(at.max(self.world.now()));
            self.world.0.running.set(task);
            // Waits of before that nobody waits for any more come up too.
            let ended = tasks[task].as_mut().is_some_and(|running| running.as_mut().poll(&mut cx).is_ready());
            if ended {
                tasks[task] = None;
            }
        }
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
        let second = at.since(Timestamp::ORIGIN).as_secs() as usize;
        self.report.borrow_mut().by_second[second].0 += 1;
        let context = RoutingContext::default();
        let first_token = Cell::new(None);
        let call = |attempt| self.call(attempt, at, &first_token);
        let ended =
            self.router.execute_with(&self.world, &self.request, &context, &self.drill.chain, call).await;
        if ended.is_ok() {
            let mut report = self.report.borrow_mut();
            report.by_second[second].1 += 1;
            report.first_tokens.extend(first_token.get());
        }
    }

    /// One call of a provider.
    async fn call(
        &self,
        attempt: Attempt,
        came: Timestamp,
        first_token: &Cell<Option<Duration>>,
    ) -> Result<(), RequestError> {
        self.report.borrow_mut().attempts += 1;
        let name = attempt.candidate().provider().as_str();
        let place: usize = name.rsplit('-').next().and_then(|n| n.parse().ok()).unwrap_or(0);
        let provider = &self.drill.providers[place];
        let share = (self.drill.capacity)(place, self.world.now().since(Timestamp::ORIGIN).as_secs());
        if share <= 0.0 {
            self.world.sleep(Duration::from_millis(2)).await;
            return Err(ErrorKind::ConnectionError.into());
        }
        if f64::from(self.serving[place].get()) >= f64::from(provider.concurrency) * share {
            self.world.sleep(Duration::from_millis(5)).await;
            return Err(RequestError::status(529));
        }
        let mut bill = Bill::new(self, place);
        let slow = LogNormal::new(0.0, provider.sigma).expect("a deviation");
        let factor: f64 = slow.sample(&mut *self.rng.borrow_mut());
        self.world.sleep(provider.first_token.mul_f64(factor)).await;
        attempt.first_content();
        first_token.set(Some(self.world.now().since(came)));
        bill.completion = Tokens(1);
        let rest = provider.rest.mul_f64(self.rng.borrow_mut().random_range(0.5..1.5));
        self.world.sleep(rest).await;
        bill.completion = Tokens(200);
        attempt.complete(TokenUsage::new(Tokens(1_000), bill.completion));
        Ok(())
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
        run.serving[place].set(run.serving[place].get() + 1);
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
