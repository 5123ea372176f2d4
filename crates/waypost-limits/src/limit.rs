//! What is limited, for whom, and how much.

use core::fmt;
use core::num::NonZeroU32;
use std::sync::Arc;

use waypost_core::{
    CandidateId, CredentialName, DecisionContext, LimitId, ModelName, NanoUsd, OrganizationId,
    ProviderCandidate, ProviderId, Ratio, RequestPriority, Tag, TenantId, UserId,
};

use crate::dimension::Dimensions;
use crate::{Dimension, Period, Rate};

/// One limit: what it bounds, which requests it is about, and what has a meter of its own in it.
///
/// ```
/// use waypost_core::{LimitId, NanoUsd, TenantId};
/// use waypost_limits::{Budget, Dimension, Limit, Period, Rate};
///
/// // Ten requests a second for every user of every tenant.
/// let users = Limit::requests(LimitId::new("users")?, Rate::per_second(10)?)
///     .per(Dimension::Tenant)
///     .per(Dimension::User);
/// // 2,000 dollars a month for one tenant.
/// let acme = Limit::budget(LimitId::new("acme-month")?, Budget::new("2000".parse()?, Period::MONTH))
///     .for_tenant(TenantId::new("acme")?);
/// # let _ = (users, acme);
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Limit {
    pub(crate) id: LimitId,
    pub(crate) bound: Bound,
    pub(crate) scope: Scope,
    pub(crate) per: Dimensions,
    pub(crate) reserve: PriorityReserve,
    pub(crate) fair: Option<Dimension>,
    pub(crate) when_away: WhenAway,
}

/// What a limit bounds.
#[derive(Debug, Clone, PartialEq)]
#[non_exhaustive]
pub enum Bound {
    /// Requests in time.
    Requests(Rate),
    /// Tokens in time, prompts and answers together.
    Tokens(Rate),
    /// Requests under way at once.
    Concurrency(NonZeroU32),
    /// Money per period.
    Budget(Budget),
}

/// So much money per period.
///
/// ```
/// use waypost_limits::{Budget, Period};
///
/// let budget = Budget::new("50".parse()?, Period::DAY.in_zone("Europe/Berlin")?).softly();
/// assert_eq!(budget.to_string(), "$50.00 per day (Europe/Berlin), soft");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[derive(Debug, Clone, PartialEq)]
pub struct Budget {
    /// The most that may be settled and reserved in a period.
    pub amount: NanoUsd,
    /// When it begins anew.
    pub period: Period,
    /// Whether requests are still admitted when it is spent. Events tell of it all the same. Default: no.
    pub soft: bool,
    /// Percentages of the amount: when what is settled reaches one, an event tells. Default: 50, 80, 100.
    pub thresholds: Vec<u8>,
}

impl Budget {
    /// A hard budget with the usual thresholds.
    pub fn new(amount: NanoUsd, period: Period) -> Self {
        Self { amount, period, soft: false, thresholds: vec![50, 80, 100] }
    }

    /// The same, only told of when it is spent.
    pub fn softly(mut self) -> Self {
        self.soft = true;
        self
    }

    /// The same with other thresholds, in percent of the amount.
    pub fn with_thresholds(mut self, thresholds: impl Into<Vec<u8>>) -> Self {
        self.thresholds = thresholds.into();
        self
    }
}

impl fmt::Display for Budget {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} per {}{}", self.amount, self.period, if self.soft { ", soft" } else { "" })
    }
}

/// The part of a limit that is kept free from each priority, for those above it. Of a rate it is a part of the burst,
/// so when requests compete the lesser ones wait first. Parts below one request keep nothing free, and from a full
/// bucket everybody may take what the burst allows. Default: nothing.
#[derive(Debug, Clone, Copy, Default, PartialEq)]
#[cfg_attr(
    feature = "serde",
    derive(serde::Serialize, serde::Deserialize),
    serde(default, deny_unknown_fields)
)]
pub struct PriorityReserve {
    /// Kept free from `Low`.
    pub low: Ratio,
    /// Kept free from `Normal`.
    pub normal: Ratio,
    /// Kept free from `High`; what only `Critical` may have.
    pub high: Ratio,
}

impl PriorityReserve {
    /// A twentieth is kept for `Critical` alone, and a tenth more is kept free from `Low`.
    pub fn usual() -> Self {
        let part = |part| Ratio::new(part).unwrap_or_default();
        Self { low: part(0.15), normal: part(0.05), high: part(0.05) }
    }

    fn kept_from(&self, priority: RequestPriority) -> Ratio {
        match priority {
            RequestPriority::Low => self.low,
            RequestPriority::Normal => self.normal,
            RequestPriority::High => self.high,
            RequestPriority::Critical => Ratio::ZERO,
        }
    }

    /// How many of `all` are left to a priority.
    pub(crate) fn left_of(&self, all: u64, priority: RequestPriority) -> u64 {
        let kept = self.kept_from(priority);
        if kept == Ratio::ZERO { all } else { all - ((all as f64 * kept.get()) as u64).min(all) }
    }
}

/// What a limit does while the store that replicas share cannot be reached.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
#[cfg_attr(feature = "serde", derive(serde::Serialize, serde::Deserialize), serde(rename_all = "snake_case"))]
#[non_exhaustive]
pub enum WhenAway {
    /// What this replica was granted may be used up, no more. The default of budgets.
    Closed,
    /// Nothing is refused.
    Open,
    /// This replica keeps its even share. The default of rates and of concurrency.
    LocalShare,
}

/// Which requests a limit is about: those that meet all of it.
#[derive(Debug, Clone, Default, PartialEq)]
pub(crate) struct Scope {
    pub(crate) tenant: Option<TenantId>,
    pub(crate) organization: Option<OrganizationId>,
    pub(crate) user: Option<UserId>,
    pub(crate) key: Option<Arc<str>>,
    pub(crate) model: Option<ModelName>,
    pub(crate) tag: Option<Tag>,
    pub(crate) priority: Option<RequestPriority>,
    pub(crate) candidate: Option<CandidateId>,
    pub(crate) credential: Option<CredentialName>,
    pub(crate) provider: Option<ProviderId>,
}

impl Scope {
    /// Whether a request is meant, whoever serves it.
    pub(crate) fn includes(&self, decision: &DecisionContext<'_>) -> bool {
        let organization = decision.context.organization_id.as_ref();
        is_meant(self.tenant.as_ref(), decision.tenant_id())
            && is_meant(self.organization.as_ref(), organization)
            && is_meant(self.user.as_ref(), decision.user_id())
            && is_meant(self.key.as_deref(), decision.request.api_key_hash.as_deref())
            && is_meant(self.model.as_ref(), Some(decision.model()))
            && is_meant(self.priority.as_ref(), Some(&decision.priority()))
            && self.tag.as_ref().is_none_or(|tag| decision.has_tag(tag))
    }

    /// Whether a candidate is meant, whatever the request.
    pub(crate) fn includes_candidate(&self, candidate: &ProviderCandidate) -> bool {
        is_meant(self.candidate.as_ref(), Some(candidate.id()))
            && is_meant(self.credential.as_ref(), candidate.credential())
            && is_meant(self.provider.as_ref(), Some(candidate.provider()))
    }

    /// Whether it asks for anything in the request.
    pub(crate) const fn asks_of_request(&self) -> bool {
        self.tenant.is_some()
            || self.organization.is_some()
            || self.user.is_some()
            || self.key.is_some()
            || self.model.is_some()
            || self.tag.is_some()
            || self.priority.is_some()
    }

    const fn asks_of_candidate(&self) -> bool {
        self.candidate.is_some() || self.credential.is_some() || self.provider.is_some()
    }
}

fn is_meant<T: PartialEq + ?Sized>(wanted: Option<&T>, found: Option<&T>) -> bool {
    wanted.is_none() || wanted == found
}

macro_rules! scoped {
    ($(#[$doc:meta])* $name:ident, $field:ident, $kind:ty) => {
        $(#[$doc])*
        pub fn $name(mut self, $field: $kind) -> Self {
            self.scope.$field = Some($field);
            self
        }
    };
}

impl Limit {
    /// Bounds requests in time.
    pub fn requests(id: LimitId, rate: Rate) -> Self {
        Self::new(id, Bound::Requests(rate))
    }

    /// Bounds tokens in time: what is expected is taken before the call and corrected after it.
    pub fn tokens(id: LimitId, rate: Rate) -> Self {
        Self::new(id, Bound::Tokens(rate))
    }

    /// Bounds requests under way at once.
    pub fn concurrency(id: LimitId, most: NonZeroU32) -> Self {
        Self::new(id, Bound::Concurrency(most))
    }

    /// Bounds money per period: what is expected is reserved before the call and settled after it.
    pub fn budget(id: LimitId, budget: Budget) -> Self {
        Self::new(id, Bound::Budget(budget))
    }

    /// A limit on everything together, to be narrowed.
    pub fn new(id: LimitId, bound: Bound) -> Self {
        let when_away = match bound {
            Bound::Budget(_) => WhenAway::Closed,
            _ => WhenAway::LocalShare,
        };
        Self {
            id,
            bound,
            scope: Scope::default(),
            per: Dimensions::default(),
            reserve: PriorityReserve::default(),
            fair: None,
            when_away,
        }
    }

    scoped!(
        /// Only requests of this tenant.
        for_tenant, tenant, TenantId
    );
    scoped!(
        /// Only requests of this organization.
        for_organization, organization, OrganizationId
    );
    scoped!(
        /// Only requests of this user.
        for_user, user, UserId
    );
    scoped!(
        /// Only requests that were sent with the key of this hash.
        for_key, key, Arc<str>
    );
    scoped!(
        /// Only requests that are served as this model.
        for_model, model, ModelName
    );
    scoped!(
        /// Only requests that require this tag, or got it from a rule.
        for_tag, tag, Tag
    );
    scoped!(
        /// Only requests of this priority.
        for_priority, priority, RequestPriority
    );
    scoped!(
        /// Only requests that this candidate serves. Others may serve them when it is spent.
        for_candidate, candidate, CandidateId
    );
    scoped!(
        /// Only requests that use this credential, at whichever of its candidates.
        for_credential, credential, CredentialName
    );
    scoped!(
        /// Only requests that this provider serves.
        for_provider, provider, ProviderId
    );

    /// Keeps a meter for each value in a dimension, and for each combination when said of several. Requests that have
    /// no value there are one subject together.
    pub fn per(mut self, dimension: Dimension) -> Self {
        self.per = self.per.with(dimension);
        self
    }

    /// Keeps parts free from lesser priorities. Not of budgets. Default: nothing.
    pub fn reserving(mut self, reserve: PriorityReserve) -> Self {
        self.reserve = reserve;
        self
    }

    /// Shares a rate fairly when it is short: once half the burst is used, whoever used more of late than an even part
    /// of the whole is refused and the others are not. A party is a value in a dimension of the request, such as the
    /// tenant. Only of rates. Default: first come, first served.
    pub fn shared_fairly_by(mut self, dimension: Dimension) -> Self {
        self.fair = Some(dimension);
        self
    }

    /// What to do while the store that replicas share cannot be reached. Default: closed for budgets, the local share
    /// for all else.
    pub fn when_store_is_away(mut self, when_away: WhenAway) -> Self {
        self.when_away = when_away;
        self
    }

    /// Its name.
    pub const fn id(&self) -> &LimitId {
        &self.id
    }

    /// What it bounds.
    pub const fn bound(&self) -> &Bound {
        &self.bound
    }

    /// Whether it is known only with the candidate.
    pub(crate) fn is_of_candidate(&self) -> bool {
        self.scope.asks_of_candidate() || self.per.iter().any(Dimension::is_of_candidate)
    }

    /// Whether its meter is known from the candidate alone.
    pub(crate) fn is_of_candidate_alone(&self) -> bool {
        self.is_of_candidate()
            && !self.scope.asks_of_request()
            && self.per.iter().all(Dimension::is_of_candidate)
    }
}
