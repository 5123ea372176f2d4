//! What one request holds of its limits.

use core::cell::RefCell;
use core::fmt;
use std::sync::Arc;

use smallvec::SmallVec;
use waypost_core::{NanoUsd, Timestamp, TokenUsage};

use crate::account::{Account, Reserved};
use crate::learned::Learned;
use crate::limits::{Kept, Shared};
use crate::meter::{Meter, State};
use crate::rate_meter::Mark;
use crate::{LimitChange, LimitEvent};

/// Bodies that a thread keeps for the next requests: more than a thread has between making and ending them.
const SPARE: usize = 64;

type Spares = Vec<Box<Body>>;

std::thread_local! {
    /// Boxed: a body changes hands by its address.
    static SPARES: RefCell<Spares> = const { RefCell::new(Vec::new()) };
}

/// What one request holds of its limits until it ends, in exactly one way: [settled](Self::settle) with what it used,
/// [released](Self::release) because it was not sent, or dropped. A request that is dropped, on whatever path, counts
/// as sent and given up: it is no longer under way and its money is free again, rates keep what it took.
///
/// ```
/// use std::time::SystemTime;
/// use waypost_core::{DecisionContext, GatewayRequest, LimitId, RoutingContext, Timestamp, TokenUsage, Tokens};
/// use waypost_limits::{Budget, Limit, Limits, LimitsConfig, Period};
///
/// let ten_dollars = Limit::budget(LimitId::new("month")?, Budget::new("10".parse()?, Period::MONTH));
/// let limits = Limits::new([ten_dollars], LimitsConfig::default(), Timestamp::ORIGIN)?;
/// let (request, context) = (GatewayRequest::new("gpt-4o")?, RoutingContext::default());
/// let usage = TokenUsage::new(Tokens(1_000), Tokens(500));
/// let wall = SystemTime::UNIX_EPOCH;
/// let decision = DecisionContext::new(&request, &context, None, Timestamp::ORIGIN, usage).at_wall_time(wall);
///
/// let reservation = limits.reserve(&decision, None, Some("7".parse()?))?;
/// assert!(limits.reserve(&decision, None, Some("4".parse()?)).is_err(), "seven of ten are reserved");
/// reservation.settle(usage, Some("5.50".parse()?), Timestamp::ORIGIN);
/// assert!(limits.reserve(&decision, None, Some("4".parse()?)).is_ok(), "it cost less");
/// # Ok::<(), Box<dyn std::error::Error>>(())
/// ```
#[must_use = "dropping a reservation at once gives its money back"]
pub struct Reservation {
    /// Taken by whoever ends it.
    body: Option<Box<Body>>,
}

#[derive(Default)]
struct Body {
    shared: Option<Arc<Shared>>,
    expected: TokenUsage,
    holds: SmallVec<[Hold; 8]>,
    learned: Option<Arc<Learned>>,
}

/// What is held of one limit.
pub(crate) enum Hold {
    Rate { meter: Arc<Meter>, mark: Mark, units: u64, is_of_tokens: bool },
    Gauge(Arc<Meter>),
    Money { kept: Arc<Kept>, meter: Arc<Meter>, account: Arc<Account>, reserved: Reserved },
}

impl Reservation {
    pub(crate) fn begin(shared: &Arc<Shared>, expected: TokenUsage) -> Self {
        let mut body = SPARES.with_borrow_mut(Vec::pop).unwrap_or_default();
        body.shared = Some(Arc::clone(shared));
        body.expected = expected;
        Self { body: Some(body) }
    }

    #[inline]
    pub(crate) fn add(&mut self, hold: Hold) {
        if let Some(body) = &mut self.body {
            body.holds.push(hold);
        }
    }

    pub(crate) fn add_learned(&mut self, learned: &Arc<Learned>) {
        if let Some(body) = &mut self.body {
            body.learned = Some(Arc::clone(learned));
        }
    }

    /// Whether it holds nothing, because no limit is about the request.
    pub fn is_empty(&self) -> bool {
        self.body.as_ref().is_none_or(|body| body.holds.is_empty() && body.learned.is_none())
    }

    /// Ends it with what the request used and cost. Less than was expected is given back, as far as its place in the
    /// rate has not been refilled already; more is taken in addition, whether it is left or not. A cost that nobody
    /// knows is what was expected. After the lease of reserved money is over the cost counts all the same.
    pub fn settle(mut self, used: TokenUsage, cost: Option<NanoUsd>, now: Timestamp) {
        let Some(mut body) = self.body.take() else { return };
        let shared = body.shared.take();
        for hold in body.holds.drain(..) {
            hold.settle(used, cost, now, shared.as_deref());
        }
        if let Some(learned) = body.learned.take() {
            learned.correct(body.expected, used, now);
        }
        keep(body);
    }

    /// Ends it as if it had cost what was expected: for requests of which nothing will be heard.
    pub fn settle_as_expected(self, now: Timestamp) {
        let expected = self.body.as_ref().map_or_else(TokenUsage::default, |body| body.expected);
        self.settle(expected, None, now);
    }

    /// Ends it without a trace: the request was not sent.
    pub fn release(mut self, now: Timestamp) {
        let Some(mut body) = self.body.take() else { return };
        body.holds.drain(..).for_each(|hold| hold.release(now));
        if let Some(learned) = body.learned.take() {
            learned.give_back(body.expected, now);
        }
        keep(body);
    }
}

impl Hold {
    #[inline]
    fn settle(self, used: TokenUsage, cost: Option<NanoUsd>, now: Timestamp, shared: Option<&Shared>) {
        match self {
            Self::Rate { meter, mark, units, is_of_tokens: true } => {
                if let State::Rate(rate) = &meter.state {
                    rate.correct(mark, units, used.total().0, now);
                }
            }
            Self::Money { kept, meter, account, reserved } => {
                let actual = cost.map_or(reserved.amount, |cost| cost.0);
                let (before, after) = account.settle(reserved, actual);
                if let Some(shared) = shared {
                    let elsewhere = settled_elsewhere(&meter);
                    tell_thresholds(&kept, &meter, before + elsewhere, after + elsewhere, shared);
                }
            }
            other => other.give_up(),
        }
    }

    /// As sent, of unknown use.
    #[inline]
    fn give_up(self) {
        match self {
            Self::Rate { .. } => {}
            Self::Gauge(meter) => leave(&meter),
            Self::Money { account, reserved, .. } => account.release(reserved),
        }
    }

    fn release(self, now: Timestamp) {
        match self {
            Self::Rate { meter, mark, units, .. } => {
                if let State::Rate(rate) = &meter.state {
                    rate.correct(mark, units, 0, now);
                }
            }
            other => other.give_up(),
        }
    }
}

fn leave(meter: &Meter) {
    if let State::Gauge(gauge) = &meter.state {
        gauge.leave();
    }
}

fn settled_elsewhere(meter: &Meter) -> u64 {
    match &meter.state {
        State::Budget(state) => state.settled_elsewhere(),
        _ => 0,
    }
}

/// What is settled only grows, by one thread at a time from `before` to `after`: each threshold is passed once.
pub(crate) fn tell_thresholds(kept: &Kept, meter: &Meter, before: u64, after: u64, shared: &Shared) {
    let Some(budget) = kept.budget() else { return };
    for &percent in &budget.thresholds {
        let at = u128::from(budget.amount.0) * u128::from(percent);
        let is_passed = |settled: u64| u128::from(settled) * 100 >= at;
        if !is_passed(before) && is_passed(after) {
            let change =
                LimitChange::ThresholdReached { percent, settled: NanoUsd(after), of: budget.amount };
            shared.tell(&LimitEvent::new(&kept.limit.id, &meter.subject, change));
        }
    }
}

/// Keeps an empty body for the next request.
fn keep(mut body: Box<Body>) {
    body.shared = None;
    // A thread that is ending has nowhere to keep it.
    let _ = SPARES.try_with(|spares| {
        if let Ok(mut spares) = spares.try_borrow_mut()
            && spares.len() < SPARE
        {
            spares.push(body);
        }
    });
}

impl Drop for Reservation {
    fn drop(&mut self) {
        if let Some(mut body) = self.body.take() {
            body.holds.drain(..).for_each(Hold::give_up);
            body.learned = None;
            keep(body);
        }
    }
}

impl fmt::Debug for Reservation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let holds = self.body.as_ref().map_or(0, |body| body.holds.len());
        f.debug_struct("Reservation").field("limits", &holds).finish_non_exhaustive()
    }
}
