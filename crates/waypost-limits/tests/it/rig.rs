//! Requests to ask limits about.

use std::time::{Duration, SystemTime};

use waypost_core::{
    DecisionContext, GatewayRequest, LimitId, NanoUsd, RoutingContext, TenantId, Timestamp, TokenUsage,
    Tokens, UserId,
};
use waypost_limits::{Budget, Limit, Limits, LimitsConfig, Period, Reservation};

/// One request, with everything that limits look at.
#[derive(Debug, Clone)]
pub(crate) struct Ask {
    pub(crate) request: GatewayRequest,
    pub(crate) context: RoutingContext,
    pub(crate) now: Timestamp,
    pub(crate) wall: SystemTime,
    pub(crate) tokens: u64,
}

pub(crate) fn ask() -> Ask {
    Ask {
        request: GatewayRequest::new("gpt-4o").unwrap(),
        context: RoutingContext::default(),
        now: Timestamp::ORIGIN,
        wall: SystemTime::UNIX_EPOCH,
        tokens: 0,
    }
}

impl Ask {
    pub(crate) fn at(mut self, millis: u64) -> Self {
        self.now = at(millis);
        self
    }

    pub(crate) fn on(mut self, wall: SystemTime) -> Self {
        self.wall = wall;
        self
    }

    pub(crate) fn tokens(mut self, tokens: u64) -> Self {
        self.tokens = tokens;
        self
    }

    pub(crate) fn of_tenant(mut self, tenant: &str) -> Self {
        self.context.tenant_id = Some(TenantId::new(tenant).unwrap());
        self
    }

    pub(crate) fn of_user(mut self, user: &str) -> Self {
        self.context.user_id = Some(UserId::new(user).unwrap());
        self
    }

    pub(crate) fn decision(&self) -> DecisionContext<'_> {
        let usage = TokenUsage::new(Tokens(self.tokens), Tokens(0));
        DecisionContext::new(&self.request, &self.context, None, self.now, usage).at_wall_time(self.wall)
    }

    pub(crate) fn reserve(&self, limits: &Limits) -> Option<Reservation> {
        limits.reserve(&self.decision(), None, Some(NanoUsd::ZERO)).ok()
    }

    pub(crate) fn pay(&self, limits: &Limits, nanos: u64) -> Option<Reservation> {
        limits.reserve(&self.decision(), None, Some(NanoUsd(nanos))).ok()
    }
}

pub(crate) fn at(millis: u64) -> Timestamp {
    Timestamp::ORIGIN + Duration::from_millis(millis)
}

pub(crate) fn id(text: &str) -> LimitId {
    LimitId::new(text).unwrap()
}

pub(crate) fn used(tokens: u64) -> TokenUsage {
    TokenUsage::new(Tokens(tokens), Tokens(0))
}

pub(crate) fn limits(limits: impl IntoIterator<Item = Limit>) -> Limits {
    Limits::new(limits, LimitsConfig::default(), Timestamp::ORIGIN).unwrap()
}

/// A budget without a period.
pub(crate) fn purse(name: &str, nanos: u64) -> Limit {
    Limit::budget(id(name), Budget::new(NanoUsd(nanos), Period::TOTAL))
}

/// What is settled, reserved and left of the first limit by this name.
pub(crate) fn money(limits: &Limits, name: &str, ask: &Ask) -> (u64, u64, u64) {
    let reports = limits.reports(ask.now, ask.wall);
    let report = reports.iter().find(|report| report.limit == id(name)).expect("the limit is there");
    match report.level {
        waypost_limits::Level::Money { settled, reserved, remaining, .. } => {
            (settled.0, reserved.0, remaining.0)
        }
        other => panic!("{name} is no budget but {other:?}"),
    }
}
