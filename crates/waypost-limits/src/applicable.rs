//! The limits of one request.

use std::sync::Arc;

use smallvec::SmallVec;
use waypost_core::{DecisionContext, LimitId, NanoUsd};

use crate::limit::{Bound, Budget};
use crate::limits::{Kept, Limits, MeterRef, moment};
use crate::meter::{self, BudgetState, Meter, Moment, State};
use crate::rate_meter::Refused;
use crate::reservation::Hold;
use crate::{LimitChange, LimitEvent, LimitReport, LimitSpent, Reservation, Subject, Why};

/// The limits that one request is asked about, found once: first by a look, then to reserve.
#[derive(Debug)]
pub struct Applicable<'a> {
    limits: &'a Limits,
    found: SmallVec<[Found<'a>; 8]>,
}

#[derive(Debug)]
struct Found<'a> {
    kept: &'a Arc<Kept>,
    meter: MeterRef<'a>,
}

/// What is left of a budget.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MoneyLeft<'a> {
    /// How much.
    pub amount: NanoUsd,
    /// The budget.
    pub limit: &'a LimitId,
    /// When its next period begins; `None` when it has none or nobody said what time it is.
    pub retry_after: Option<core::time::Duration>,
}

impl<'a> Applicable<'a> {
    pub(crate) fn new(limits: &'a Limits) -> Self {
        Self { limits, found: SmallVec::new() }
    }

    pub(crate) fn add(&mut self, kept: &'a Arc<Kept>, meter: MeterRef<'a>) {
        self.found.push(Found { kept, meter });
    }

    /// Whether no limit is about the request.
    pub fn is_empty(&self) -> bool {
        self.found.is_empty()
    }

    /// Whether rates and concurrency would admit the request now; nothing is taken. Of money see
    /// [`money_left`](Self::money_left).
    ///
    /// # Errors
    ///
    /// [`LimitSpent`] names the one that is spent for the longest.
    pub fn check(&self, decision: &DecisionContext<'_>) -> Result<(), LimitSpent> {
        let asked = Asked::new(self.limits, decision, None);
        let spent =
            self.found.iter().filter_map(|found| asked.would_hold(found.kept, found.meter.get()).err());
        spent.max_by_key(|spent| (spent.why == Why::TooLarge, spent.retry_after)).map_or(Ok(()), Err)
    }

    /// The least that is left of a hard budget; `None` when there is none.
    pub fn money_left(&self, decision: &DecisionContext<'_>) -> Option<MoneyLeft<'a>> {
        let moment = moment(&self.limits.shared, decision);
        let left = self.found.iter().filter_map(|found| {
            let budget = found.kept.budget().filter(|budget| !budget.soft)?;
            let State::Budget(state) = &found.meter.get().state else { return None };
            let (amount, retry_after) = state.left(budget, moment, self.limits.shared.lease);
            Some(MoneyLeft { amount, limit: &found.kept.limit.id, retry_after })
        });
        left.min_by_key(|left| left.amount)
    }

    /// What is used and left of each.
    pub fn reports(&self, decision: &DecisionContext<'_>) -> Vec<LimitReport> {
        let moment = moment(&self.limits.shared, decision);
        self.found.iter().map(|found| LimitReport::of(found.kept, found.meter.get(), moment)).collect()
    }

    /// Reserves of all of them, or of none.
    ///
    /// # Errors
    ///
    /// [`LimitSpent`] names the first that does not admit it.
    pub fn reserve(
        &self,
        decision: &DecisionContext<'_>,
        cost: Option<NanoUsd>,
    ) -> Result<Reservation, LimitSpent> {
        let asked = Asked::new(self.limits, decision, cost);
        asked.reserve(|reservation| self.reserve_into(&asked, reservation))
    }

    /// Adds to a reservation.
    pub(crate) fn reserve_into(
        &self,
        asked: &Asked<'_>,
        reservation: &mut Reservation,
    ) -> Result<(), LimitSpent> {
        self.found.iter().try_for_each(|found| asked.hold(reservation, found.kept, found.meter.get()))
    }
}

/// What a request asks of limits.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Asked<'a> {
    pub(crate) limits: &'a Limits,
    pub(crate) decision: &'a DecisionContext<'a>,
    pub(crate) moment: Moment,
    pub(crate) cost: Option<NanoUsd>,
}

impl<'a> Asked<'a> {
    pub(crate) fn new(limits: &'a Limits, decision: &'a DecisionContext<'a>, cost: Option<NanoUsd>) -> Self {
        Self { limits, decision, moment: moment(&limits.shared, decision), cost }
    }

    /// A reservation that `fill` adds to: all that it adds, or nothing.
    pub(crate) fn reserve(
        &self,
        fill: impl FnOnce(&mut Reservation) -> Result<(), LimitSpent>,
    ) -> Result<Reservation, LimitSpent> {
        let mut reservation = Reservation::begin(&self.limits.shared, self.decision.usage);
        match fill(&mut reservation) {
            Ok(()) => Ok(reservation),
            Err(spent) => {
                reservation.release(self.decision.now);
                Err(spent)
            }
        }
    }

    /// Whether rates and concurrency of a limit would admit it.
    #[inline]
    pub(crate) fn would_hold(&self, kept: &Kept, meter: &Meter) -> Result<(), LimitSpent> {
        would_admit(kept, meter, self.decision).map_err(|refused| spent(kept, &meter.subject, refused))
    }

    /// Takes of one limit. A meter that was put away since it was found has a successor.
    #[inline]
    pub(crate) fn hold(
        &self,
        reservation: &mut Reservation,
        kept: &Arc<Kept>,
        meter: &Arc<Meter>,
    ) -> Result<(), LimitSpent> {
        let mut successor = None;
        loop {
            let meter = successor.as_ref().unwrap_or(meter);
            match self.take(kept, meter) {
                Ok(hold) => {
                    reservation.add(hold);
                    return Ok(());
                }
                Err(Refused::Retired) => {
                    successor = Some(self.limits.successor(kept, &meter.subject, self.moment));
                }
                Err(refused) => return Err(spent(kept, &meter.subject, refused)),
            }
        }
    }

    #[inline]
    fn take(&self, kept: &Arc<Kept>, meter: &Arc<Meter>) -> Result<Hold, Refused> {
        let now = self.decision.now;
        if meter.share.is_some() {
            meter.ask(self.amount(kept));
        }
        match (&meter.state, &kept.limit.bound) {
            (State::Rate(rate), bound) => {
                let (mark, units) = rate.take(&kept.limit, kept.wanted(self.decision), now)?;
                let is_of_tokens = matches!(bound, Bound::Tokens(_));
                Ok(Hold::Rate { meter: Arc::clone(meter), mark, units, is_of_tokens })
            }
            (State::Gauge(gauge), Bound::Concurrency(most)) => {
                gauge.enter(meter.most_under_way(&kept.limit, *most, self.decision.priority()))?;
                Ok(Hold::Gauge(Arc::clone(meter)))
            }
            (State::Budget(state), Bound::Budget(budget)) => self.take_money(kept, meter, state, budget),
            // A meter is made for its limit, and changes hands only between limits of one kind.
            _ => Err(Refused::Never),
        }
    }

    /// How much it asks of a limit.
    #[inline]
    fn amount(&self, kept: &Kept) -> u64 {
        match kept.limit.bound {
            Bound::Budget(_) => self.cost.map_or(0, |cost| cost.0),
            Bound::Concurrency(_) => 1,
            _ => kept.wanted(self.decision).amount,
        }
    }

    fn take_money(
        &self,
        kept: &Arc<Kept>,
        meter: &Arc<Meter>,
        state: &BudgetState,
        budget: &Budget,
    ) -> Result<Hold, Refused> {
        let amount = match self.cost {
            Some(cost) => cost,
            None if budget.soft => NanoUsd::ZERO,
            None => return Err(Refused::Never),
        };
        let (account, before) = state.account(budget, self.moment);
        if let Some(settled_before) = before {
            let change = LimitChange::PeriodBegan { settled_before };
            self.limits.shared.tell(&LimitEvent::new(&kept.limit.id, &meter.subject, change));
        }
        let reserved =
            meter::reserve(state, &account, budget, amount, self.moment, self.limits.shared.lease)?;
        Ok(Hold::Money { kept: Arc::clone(kept), meter: Arc::clone(meter), account, reserved })
    }
}

#[inline]
fn would_admit(kept: &Kept, meter: &Meter, decision: &DecisionContext<'_>) -> Result<(), Refused> {
    let admitted = match (&meter.state, &kept.limit.bound) {
        (State::Rate(rate), _) => rate.would_admit(&kept.limit, kept.wanted(decision), decision.now),
        (State::Gauge(gauge), Bound::Concurrency(most)) => {
            let most = meter.most_under_way(&kept.limit, *most, decision.priority());
            if gauge.count() < most { Ok(()) } else { Err(Refused::Spent(None)) }
        }
        _ => Ok(()),
    };
    if admitted.is_err() {
        // Whoever is refused by a look does not come back to take: it was asked for all the same.
        meter.ask(kept.wanted(decision).amount);
    }
    admitted
}

#[cold]
fn spent(kept: &Kept, subject: &Subject, refused: Refused) -> LimitSpent {
    let (why, retry_after) = match (refused, &kept.limit.bound) {
        (Refused::Never, Bound::Budget(_)) => (Why::UnknownCost, None),
        (Refused::Never, _) => (Why::TooLarge, None),
        (Refused::Spent(wait), Bound::Budget(_)) => (Why::Money, wait),
        (Refused::Spent(wait), Bound::Concurrency(_)) => (Why::Concurrency, wait),
        (Refused::Spent(wait), _) => (Why::Rate, wait),
        (Refused::Retired, _) => (Why::Rate, None),
    };
    LimitSpent { limit: kept.limit.id.clone(), subject: subject.clone(), why, retry_after }
}
