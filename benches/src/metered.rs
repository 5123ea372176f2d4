//! Requests that are asked about one, four or eight limits, which are never spent.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::time::SystemTime;

use waypost_core::{
    DecisionContext, GatewayRequest, LimitId, NanoUsd, RoutingContext, TenantId, Timestamp, TokenUsage,
    Tokens, UserId,
};
use waypost_limits::{Budget, Dimension, Limit, Limits, LimitsConfig, Period, Rate};

/// Money that nobody spends in a bench.
const ENOUGH: NanoUsd = NanoUsd(1 << 60);

/// A set of limits and a request of a user of a tenant.
#[derive(Debug)]
pub struct Metered {
    limits: Arc<Limits>,
    request: GatewayRequest,
    context: RoutingContext,
    nanos: AtomicU64,
}

impl Metered {
    /// The first so many of eight limits, all of which are about the request: rates per tenant and per user, in requests
    /// and in tokens, budgets of three levels, concurrency.
    ///
    /// # Panics
    ///
    /// Never: the limits are valid.
    pub fn new(limits: usize) -> Self {
        let limits = all().into_iter().take(limits);
        let limits = Limits::new(limits, LimitsConfig::default(), Timestamp::ORIGIN).expect("valid limits");
        let context = RoutingContext::default()
            .with_tenant(TenantId::new("acme").expect("a valid id"))
            .with_user(UserId::new("user-17").expect("a valid id"));
        let request = GatewayRequest::new("gpt-4o").expect("a valid name");
        Self { limits: Arc::new(limits), request, context, nanos: AtomicU64::new(0) }
    }

    fn decision(&self) -> DecisionContext<'_> {
        // Ten microseconds a request: faster than the limits' refill takes them up.
        let now = Timestamp::from_nanos(self.nanos.fetch_add(10_000, Ordering::Relaxed));
        let usage = TokenUsage::new(Tokens(1_000), Tokens(500));
        DecisionContext::new(&self.request, &self.context, None, now, usage)
            .at_wall_time(SystemTime::UNIX_EPOCH)
    }

    /// Finds the limits and looks whether they admit the request.
    ///
    /// # Panics
    ///
    /// When they do not.
    pub fn check(&self) {
        let decision = self.decision();
        self.limits.find(&decision).check(&decision).expect("nothing is spent");
    }

    /// The same, then reserves; what is reserved is dropped.
    ///
    /// # Panics
    ///
    /// When the limits do not admit it.
    pub fn check_and_reserve(&self) {
        let decision = self.decision();
        let found = self.limits.find(&decision);
        found.check(&decision).expect("nothing is spent");
        drop(found.reserve(&decision, Some(NanoUsd(5_000_000))).expect("nothing is spent"));
    }

    /// The same, then settles for less than was expected.
    ///
    /// # Panics
    ///
    /// When the limits do not admit it.
    pub fn reserve_and_settle(&self) {
        let decision = self.decision();
        let found = self.limits.find(&decision);
        found.check(&decision).expect("nothing is spent");
        let reservation = found.reserve(&decision, Some(NanoUsd(5_000_000))).expect("nothing is spent");
        let used = TokenUsage::new(Tokens(1_000), Tokens(200));
        reservation.settle(used, Some(NanoUsd(3_000_000)), decision.now);
    }
}

fn all() -> [Limit; 8] {
    let id = |name| LimitId::new(name).expect("a valid id");
    let rate = || Rate::per_second(1 << 24).and_then(|rate| rate.burst(1 << 50)).expect("a valid rate");
    let budget = || Budget::new(ENOUGH, Period::MONTH);
    [
        Limit::requests(id("tenant-requests"), rate()).per(Dimension::Tenant),
        Limit::tokens(id("tenant-tokens"), rate()).per(Dimension::Tenant),
        Limit::requests(id("user-requests"), rate()).per(Dimension::User),
        Limit::budget(id("tenant-month"), budget()).per(Dimension::Tenant),
        Limit::tokens(id("user-tokens"), rate()).per(Dimension::Tenant).per(Dimension::User),
        Limit::budget(id("user-month"), budget()).per(Dimension::User),
        Limit::budget(id("all"), budget()),
        Limit::concurrency(id("running"), 1_000.try_into().expect("not zero")),
    ]
}
