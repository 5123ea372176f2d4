//! What is known about the health of a candidate, and of those who share something with it.

use core::fmt;
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{
    CandidateId, CredentialName, FaultScope, LiveSlot, ProviderCandidate, ProviderId, ProviderType, Region,
    Timestamp,
};

use crate::checks::CheckState;
use crate::circuit::{Gate, Permit};
use crate::cool_down::CoolDown;
use crate::suspects::Marks;
use crate::sync::{AtomicBool, AtomicU64, Ordering};
use crate::window::{Counted, Counts, OutcomeWindow, PARTS};
use crate::{CircuitBreaker, HealthConfig, HealthScore, Transition};

/// What several candidates share: faults that reach that far are kept once for all of them.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum Scope {
    /// A credential that has a name.
    Credential(CredentialName),
    /// The one credential of a provider that names none.
    CredentialOf(ProviderId),
    /// A kind of provider in a region.
    Region(ProviderType, Region),
    /// A provider, with all its models.
    Provider(ProviderId),
}

impl fmt::Display for Scope {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Credential(credential) => write!(f, "credential {credential}"),
            Self::CredentialOf(provider) => write!(f, "credential of {provider}"),
            Self::Region(kind, region) => write!(f, "{kind} in {region}"),
            Self::Provider(provider) => write!(f, "provider {provider}"),
        }
    }
}

impl Scope {
    /// Whether a fault reaches everybody in the scope.
    pub(crate) const fn is_reached_by(&self, reach: FaultScope) -> bool {
        match self {
            Self::Credential(_) | Self::CredentialOf(_) => matches!(reach, FaultScope::Credential),
            Self::Region(..) => matches!(reach, FaultScope::Region),
            Self::Provider(_) => matches!(reach, FaultScope::Provider),
        }
    }

    /// The scopes that a candidate is in: credential, region if it has one, provider.
    pub(crate) fn of(candidate: &ProviderCandidate) -> [Option<Self>; 3] {
        let provider = candidate.provider();
        let region =
            candidate.region().map(|region| Self::Region(candidate.provider_type().clone(), region.clone()));
        let credential = match candidate.credential() {
            Some(name) => Self::Credential(name.clone()),
            None => Self::CredentialOf(provider.clone()),
        };
        [Some(credential), region, Some(Self::Provider(provider.clone()))]
    }
}

/// A breaker and deadlines: of a candidate, or of a scope.
// In this order: what tells whether somebody is well is on one cache line.
#[derive(Debug)]
#[repr(C)]
pub(crate) struct Condition {
    pub(crate) cool_down: CoolDown,
    /// Until when the credential is not tried.
    pub(crate) refused: CoolDown,
    pub(crate) breaker: Option<CircuitBreaker>,
    pub(crate) marks: Marks,
}

impl Condition {
    pub(crate) fn new(config: &HealthConfig) -> Self {
        Self {
            breaker: config.breaker.map(CircuitBreaker::new),
            cool_down: CoolDown::new(),
            refused: CoolDown::new(),
            marks: Marks::default(),
        }
    }

    #[inline]
    pub(crate) fn gate(&self, now: Timestamp) -> Gate {
        self.breaker.as_ref().map_or(Gate::Closed, |breaker| breaker.gate(now))
    }

    /// A permit for somebody who did not ask its breaker.
    pub(crate) fn unasked(&self) -> Option<Permit> {
        self.breaker.as_ref()?.unasked()
    }

    /// An administrator's word: all is well. Says so when the breaker was not closed.
    pub(crate) fn reset(&self, now: Timestamp) -> Option<Transition> {
        self.cool_down.end();
        self.refused.end();
        self.breaker.as_ref()?.reset(now)
    }

    pub(crate) fn is_well(&self, now: Timestamp) -> bool {
        self.gate(now) == Gate::Closed
            && self.cool_down.until(now).is_none()
            && self.refused.until(now).is_none()
    }
}

/// One reset, in an era.
const RESET: u64 = 1 << 16;

/// A scope's condition.
#[derive(Debug)]
pub(crate) struct Shared {
    pub(crate) scope: Scope,
    pub(crate) condition: Condition,
    /// Until when successes count too, in nanoseconds: while nothing reaches this far, nobody writes here.
    armed_until: AtomicU64,
}

impl Shared {
    pub(crate) fn new(scope: Scope, config: &HealthConfig) -> Self {
        Self { scope, condition: Condition::new(config), armed_until: AtomicU64::new(0) }
    }

    /// A fault that reaches this far: from now on, for a time, successes count.
    pub(crate) fn arm(&self, window: Duration, now: Timestamp) {
        self.armed_until.fetch_max((now + window).as_nanos(), Ordering::Relaxed);
    }

    /// Whether nothing of it need be looked at.
    pub(crate) fn is_well(&self, now: Timestamp) -> bool {
        !self.is_armed(now) && self.condition.is_well(now)
    }

    /// Whether a success says anything.
    #[inline]
    pub(crate) fn is_armed(&self, now: Timestamp) -> bool {
        self.armed_until.load(Ordering::Relaxed) > now.as_nanos() || self.condition.gate(now) != Gate::Closed
    }
}

/// A candidate's condition, kept as long as its live state is.
// In this order: what tells whether it is well is on one cache line.
#[derive(Debug)]
#[repr(C, align(64))]
pub(crate) struct CandidateHealth {
    disabled: AtomicBool,
    pub(crate) checks: CheckState,
    pub(crate) own: Condition,
    /// How often it began anew, 16 bits, and was reset; results of before say nothing.
    era: AtomicU64,
    in_a_row: AtomicU64,
    window: OutcomeWindow,
    pub(crate) score: HealthScore,
    /// The status of the last failure; zero for none.
    last_status: AtomicU64,
    pub(crate) live: Arc<LiveSlot>,
    id: CandidateId,
}

impl CandidateHealth {
    pub(crate) fn new(id: CandidateId, live: Arc<LiveSlot>, config: &HealthConfig) -> Self {
        if config.enabled {
            live.set_health(config.unknown_score);
        }
        Self {
            id,
            live,
            own: Condition::new(config),
            score: HealthScore::new(),
            checks: CheckState::new(),
            window: OutcomeWindow::new(config.health_window),
            era: AtomicU64::new(0),
            in_a_row: AtomicU64::new(0),
            disabled: AtomicBool::new(false),
            last_status: AtomicU64::new(0),
        }
    }

    pub(crate) const fn id(&self) -> &CandidateId {
        &self.id
    }

    pub(crate) fn is_disabled(&self) -> bool {
        self.disabled.load(Ordering::Relaxed)
    }

    pub(crate) fn disable(&self, disabled: bool) {
        self.disabled.store(disabled, Ordering::Relaxed);
    }

    pub(crate) fn era(&self) -> u32 {
        self.era.load(Ordering::Relaxed) as u32
    }

    /// Takes a success or a failure of an era. Returns failures in a row.
    pub(crate) fn count(&self, era: u32, success: bool, config: &HealthConfig, now: Timestamp) -> u32 {
        let counted = if success { Counted::Success } else { Counted::Failure };
        self.window.record(era, counted, now);
        let in_a_row =
            if success { self.end_the_row() } else { self.in_a_row.fetch_add(1, Ordering::Relaxed) + 1 };
        let refreshed = self.score.record(success, &self.live, config, now);
        if refreshed || !success {
            self.publish(config, now);
        }
        in_a_row as u32
    }

    fn end_the_row(&self) -> u64 {
        if self.in_a_row.load(Ordering::Relaxed) > 0 {
            self.in_a_row.store(0, Ordering::Relaxed);
        }
        0
    }

    pub(crate) fn failures_in_a_row(&self) -> u32 {
        self.in_a_row.load(Ordering::Relaxed) as u32
    }

    /// Tells strategies that prefer healthy candidates.
    pub(crate) fn publish(&self, config: &HealthConfig, now: Timestamp) {
        if !config.enabled {
            return;
        }
        self.live.set_health(self.score.value(self.failures_in_a_row(), config, now));
    }

    pub(crate) fn counts(&self, now: Timestamp) -> Counts {
        self.window.counts(self.era(), now)
    }

    /// Whether it failed in the newest fifth of the window.
    pub(crate) fn fails_now(&self, now: Timestamp) -> bool {
        self.window.counts_of(PARTS / 5, self.era(), now).failed > 0
    }

    /// It is back, or will be: what it did before says nothing any more.
    pub(crate) fn begin_anew(&self, config: &HealthConfig, now: Timestamp) {
        self.begin_era(1, config, now);
    }

    /// An administrator says that it is well: nor do refusals of before say anything.
    pub(crate) fn begin_after_reset(&self, config: &HealthConfig, now: Timestamp) {
        self.begin_era(RESET + 1, config, now);
    }

    /// Whether an era was before the last reset.
    pub(crate) fn is_before_reset(&self, era: u32) -> bool {
        u64::from(era) / RESET != u64::from(self.era()) / RESET
    }

    fn begin_era(&self, later: u64, config: &HealthConfig, now: Timestamp) {
        self.era.fetch_add(later, Ordering::Relaxed);
        self.end_the_row();
        self.score.forget(now);
        self.publish(config, now);
    }

    pub(crate) fn note_status(&self, status: Option<u16>) {
        self.last_status.store(status.unwrap_or(0).into(), Ordering::Relaxed);
    }

    pub(crate) fn last_status(&self) -> Option<u16> {
        match self.last_status.load(Ordering::Relaxed) {
            0 => None,
            status => Some(status as u16),
        }
    }
}
