//! One subject's use of one limit.

use core::num::NonZeroU32;
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{NanoUsd, RequestPriority, SnapshotCell, Timestamp};

use crate::account::{Account, Balance, Denied, Lease, Reserved};
use crate::fair_shares::FairShares;
use crate::gauge::Gauge;
use crate::limit::{Bound, Budget, Limit};
use crate::meter_share::{MeterShare, Replicated};
use crate::pace::Pace;
use crate::rate_meter::{Mark, RateMeter, Refused};
use crate::{PeriodWindow, Rate, Subject};

/// When to ask again where the store has more than this replica was granted.
const SOON: Duration = Duration::from_millis(200);

/// When it is: for rates and leases, and for calendar periods.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Moment {
    pub(crate) now: Timestamp,
    /// Unix milliseconds; `None` when nobody said, so that no new period begins.
    pub(crate) wall: Option<i64>,
}

/// One subject's use of one limit.
#[derive(Debug)]
pub(crate) struct Meter {
    pub(crate) subject: Subject,
    pub(crate) state: State,
    /// This replica's share, when there are several.
    pub(crate) share: Option<Arc<MeterShare>>,
}

#[derive(Debug)]
pub(crate) enum State {
    Rate(RateState),
    Gauge(Gauge),
    Budget(BudgetState),
}

#[derive(Debug)]
pub(crate) struct RateState {
    pub(crate) meter: RateMeter,
    pub(crate) pace: Arc<SnapshotCell<Pace>>,
    fair: Option<Box<FairShares>>,
}

#[derive(Debug)]
pub(crate) struct BudgetState {
    account: SnapshotCell<Account>,
    share: Option<Arc<MeterShare>>,
}

impl Meter {
    /// A meter of which nothing is used.
    pub(crate) fn new(
        limit: &Limit,
        subject: Subject,
        pace: Option<&Arc<SnapshotCell<Pace>>>,
        replicated: Option<Replicated<'_>>,
        moment: Moment,
    ) -> Self {
        let share = replicated.map(|replicated| Arc::new(MeterShare::new(limit, replicated)));
        let state = match (&limit.bound, pace) {
            (Bound::Requests(rate) | Bound::Tokens(rate), Some(pace)) => State::Rate(RateState {
                meter: RateMeter::new(),
                pace: own_pace(rate, pace, share.as_deref(), moment.now),
                fair: limit.fair.is_some().then(|| Box::new(FairShares::new(rate))),
            }),
            (Bound::Budget(budget), _) => State::Budget(BudgetState::new(budget, share.clone(), moment)),
            _ => State::Gauge(Gauge::new()),
        };
        Self { subject, state, share }
    }

    /// Puts it away if nothing of it is used, so that one made anew is the same. Returns whether it did.
    pub(crate) fn retire(&self, limit: &Limit, moment: Moment) -> bool {
        if self.share.as_ref().is_some_and(|share| !share.is_at_rest()) {
            return false;
        }
        match (&self.state, &limit.bound) {
            (State::Rate(rate), _) => rate.meter.retire(&rate.pace.load(), moment.now),
            (State::Gauge(gauge), _) => gauge.retire(),
            (State::Budget(state), Bound::Budget(budget)) => state.account(budget, moment).0.retire(),
            (State::Budget(_), _) => false,
        }
    }

    /// Notes what is asked for, where that decides on shares.
    #[inline]
    pub(crate) fn ask(&self, amount: u64) {
        if let Some(share) = &self.share {
            share.ask(amount);
        }
    }

    /// The most requests under way with one more of a priority: of the limit, or of this replica's share.
    #[inline]
    pub(crate) fn most_under_way(&self, limit: &Limit, most: NonZeroU32, priority: RequestPriority) -> u64 {
        let most = u64::from(most.get());
        let most = match &self.share {
            Some(share) if share.is_open() => u64::MAX - 1,
            Some(share) => share.effective().min(most),
            None => most,
        };
        limit.reserve.left_of(most, priority)
    }
}

/// The clock that the meters of a limit have in common, or one of its own at this replica's share.
fn own_pace(
    rate: &Rate,
    common: &Arc<SnapshotCell<Pace>>,
    share: Option<&MeterShare>,
    now: Timestamp,
) -> Arc<SnapshotCell<Pace>> {
    match share {
        Some(share) => {
            Arc::new(SnapshotCell::new(Pace::new(rate, now).sharing(rate, share.effective(), now)))
        }
        None => Arc::clone(common),
    }
}

/// How much of a rate somebody wants.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Wanted {
    /// Requests or tokens.
    pub(crate) amount: u64,
    pub(crate) priority: RequestPriority,
    /// Who wants it, where a limit is shared fairly.
    pub(crate) party: Option<u64>,
}

impl RateState {
    /// Takes all that is wanted, or nothing.
    #[inline]
    pub(crate) fn take(&self, limit: &Limit, wanted: Wanted, now: Timestamp) -> Result<(Mark, u64), Refused> {
        let pace = self.pace.load();
        let units = pace.units(wanted.amount).ok_or(Refused::Never)?;
        let most = limit.reserve.left_of(pace.burst(), wanted.priority);
        self.share(&pace, wanted, units, now)?;
        let mark = self.meter.take(&pace, now, units, most)?;
        if let (Some(shares), Some(party)) = (&self.fair, wanted.party) {
            shares.record(party, wanted.amount, now);
        }
        Ok((mark, units))
    }

    /// Whether that would be admitted.
    #[inline]
    pub(crate) fn would_admit(&self, limit: &Limit, wanted: Wanted, now: Timestamp) -> Result<(), Refused> {
        let pace = self.pace.load();
        let units = pace.units(wanted.amount).ok_or(Refused::Never)?;
        let most = limit.reserve.left_of(pace.burst(), wanted.priority);
        self.share(&pace, wanted, units, now)?;
        self.meter.would_admit(&pace, now, units, most)
    }

    /// Goes on at another share of a rate, in parts per million. What is left stays left, as far as it fits: a bucket
    /// that grows brings nothing with it, one that shrinks takes nothing but what no longer fits.
    pub(crate) fn set_share(&self, rate: &Rate, parts: u64, now: Timestamp) {
        let before = Arc::clone(&self.pace.load());
        let next = before.sharing(rate, parts, now);
        let (grows, shrinks) =
            (next.burst().saturating_sub(before.burst()), before.burst().saturating_sub(next.burst()));
        if grows > 0 {
            self.meter.charge(&before, now, grows);
        }
        if let Ok(next) = self.pace.update(|_| Ok::<_, ()>(next)) {
            self.meter.ease(&next, now, shrinks);
        }
    }

    /// Corrects what was taken to what was used.
    #[inline]
    pub(crate) fn correct(&self, mark: Mark, taken: u64, used: u64, now: Timestamp) {
        let pace = self.pace.load();
        let used = pace.units(used).unwrap_or(u64::MAX);
        if used < taken {
            self.meter.give_back(&pace, now, mark, taken - used);
        } else if used > taken {
            self.meter.charge(&pace, now, used - taken);
        }
    }

    /// How many are left now, of how many at the most; and when all will be.
    pub(crate) fn left(&self, now: Timestamp) -> (u64, u64, Option<Duration>) {
        let pace = self.pace.load();
        let used = self.meter.used(&pace, now);
        let full = pace.time_to(pace.read(now) + used, now);
        (pace.count(pace.burst().saturating_sub(used)), pace.count(pace.burst()), full)
    }

    /// Where half of the burst is used, only who is within their share takes more.
    #[inline]
    fn share(&self, pace: &Pace, wanted: Wanted, units: u64, now: Timestamp) -> Result<(), Refused> {
        let (Some(shares), Some(party)) = (&self.fair, wanted.party) else { return Ok(()) };
        let used = self.meter.used(pace, now);
        let half = pace.burst() / 2;
        if used + units <= half || shares.is_within(party, wanted.amount, now) {
            return Ok(());
        }
        Err(Refused::Spent(pace.time_to(pace.read(now) + (used + units).saturating_sub(half), now)))
    }
}

impl BudgetState {
    pub(crate) fn new(budget: &Budget, share: Option<Arc<MeterShare>>, moment: Moment) -> Self {
        let window = moment.wall.map_or(PeriodWindow::NEVER, |wall| budget.period.window_at(wall));
        let first = share.as_ref().map_or(budget.amount, |share| share.first_grant(budget.amount));
        Self { account: SnapshotCell::new(Account::new(window, first)), share }
    }

    /// What a new period begins with.
    fn first_grant(&self, budget: &Budget) -> NanoUsd {
        self.share.as_ref().map_or(budget.amount, |share| share.first_grant(budget.amount))
    }

    /// What is left to reserve: by what this replica was granted, and may be granted next.
    fn left_in(&self, account: &Account) -> NanoUsd {
        let more = match &self.share {
            Some(share) if share.is_open() => u64::MAX,
            Some(share) => share.ungranted(),
            None => 0,
        };
        NanoUsd(account.left().saturating_add(more))
    }

    /// Whether nothing is refused: when the budget is soft, or while the store is away and the limit is open then.
    fn is_soft(&self, budget: &Budget) -> bool {
        budget.soft || self.share.as_ref().is_some_and(|share| share.is_open())
    }

    /// What others settled of the same budget.
    pub(crate) fn settled_elsewhere(&self) -> u64 {
        self.share.as_ref().map_or(0, |share| share.settled_elsewhere())
    }

    /// The account of the current period, and what was settled in the one before when this call began it. A clock that
    /// goes back opens no period again.
    pub(crate) fn account(&self, budget: &Budget, moment: Moment) -> (Arc<Account>, Option<NanoUsd>) {
        let current = Arc::clone(&self.account.load());
        match moment.wall {
            Some(wall) if current.window().is_over_at(wall) => self.begin(budget, wall),
            _ => (current, None),
        }
    }

    #[cold]
    fn begin(&self, budget: &Budget, wall: i64) -> (Arc<Account>, Option<NanoUsd>) {
        let mut before = None;
        let next = self.account.update(|current| {
            if !current.window().is_over_at(wall) {
                return Err(());
            }
            before = (*current.window() != PeriodWindow::NEVER).then(|| current.balance().settled);
            Ok(Account::new(budget.period.window_at(wall), self.first_grant(budget)))
        });
        if let (Some(share), true) = (&self.share, next.is_ok()) {
            share.set_elsewhere(0, 0);
        }
        (next.unwrap_or_else(|()| Arc::clone(&self.account.load())), before)
    }

    /// What may still be reserved, and when the next period begins. Looks only: nothing begins by it.
    pub(crate) fn left(&self, budget: &Budget, moment: Moment, lease: Lease) -> (NanoUsd, Option<Duration>) {
        let account = self.account.load();
        match moment.wall {
            Some(wall) if account.window().is_over_at(wall) => {
                let next = Account::new(budget.period.window_at(wall), self.first_grant(budget));
                (self.left_in(&next), until(next.window(), moment))
            }
            _ => {
                let overdue = NanoUsd(account.overdue(moment.now, lease));
                (self.left_in(&account) + overdue, until(account.window(), moment))
            }
        }
    }

    /// How long until the current period is over.
    pub(crate) fn reset_after(&self, budget: &Budget, moment: Moment) -> Option<Duration> {
        let account = self.account.load();
        match moment.wall {
            Some(wall) if account.window().is_over_at(wall) => until(&budget.period.window_at(wall), moment),
            _ => until(account.window(), moment),
        }
    }

    /// What is granted, settled and reserved in the current period; of one that has not begun, what it begins with.
    pub(crate) fn balance(&self, budget: &Budget, moment: Moment) -> Balance {
        let account = self.account.load();
        if moment.wall.is_some_and(|wall| account.window().is_over_at(wall)) {
            return Balance { granted: self.first_grant(budget), ..Balance::default() };
        }
        account.balance()
    }

    /// Notes a refusal, and tells when it might be otherwise: soon, if the store has more.
    #[cold]
    fn refused(&self, account: &Account, amount: NanoUsd, moment: Moment) -> Option<Duration> {
        let next = until(account.window(), moment);
        let Some(share) = &self.share else { return next };
        share.refuse(amount.0);
        if amount <= self.left_in(account) { Some(next.map_or(SOON, |next| next.min(SOON))) } else { next }
    }

    /// Goes back from a period that has not begun: this process's clock was ahead before it heard the store's.
    pub(crate) fn rewind(&self, wall: i64) {
        let _ = self.account.update(|current| {
            let is_ahead = current.window().start_ms() > wall;
            is_ahead.then(|| Account::new(PeriodWindow::NEVER, NanoUsd::ZERO)).ok_or(())
        });
    }

    /// The account as it is, whatever the time.
    pub(crate) fn current(&self) -> Arc<Account> {
        Arc::clone(&self.account.load())
    }
}

/// Reserves money, and tells when that would be possible again otherwise.
#[inline]
pub(crate) fn reserve(
    state: &BudgetState,
    account: &Account,
    budget: &Budget,
    amount: NanoUsd,
    moment: Moment,
    lease: Lease,
) -> Result<Reserved, Refused> {
    account.reserve(amount.0, moment.now, lease, state.is_soft(budget)).map_err(|denied| match denied {
        Denied::Retired => Refused::Retired,
        Denied::Spent => Refused::Spent(state.refused(account, amount, moment)),
    })
}

/// How long until a period is over.
pub(crate) fn until(window: &PeriodWindow, moment: Moment) -> Option<Duration> {
    let end = window.end_ms()?;
    let millis = end.saturating_sub(moment.wall?);
    Some(Duration::from_millis(u64::try_from(millis).unwrap_or(0)))
}

/// A clock that the meters of a limit share.
pub(crate) fn pace(rate: &Rate, now: Timestamp) -> Arc<SnapshotCell<Pace>> {
    Arc::new(SnapshotCell::new(Pace::new(rate, now)))
}

#[cfg(all(test, not(loom)))]
mod tests {
    use super::*;
    use crate::replication::WHOLE;
    use proptest::prelude::*;

    proptest! {
        /// A bucket whose share changes at random admits no more than one that follows the changes exactly, and one
        /// request.
        #[test]
        fn what_is_left_stays_left_when_shares_change(
            steps in prop::collection::vec((0..=WHOLE, 0..2_000_u64, 0..40_u64), 1..60), burst in 1..200_u64,
        ) {
            let rate = Rate::per_second(100).unwrap().burst(burst).unwrap();
            let limit = Limit::requests(waypost_core::LimitId::new("a").unwrap(), rate);
            let first = Pace::new(&rate, Timestamp::ORIGIN).sharing(&rate, WHOLE / 2, Timestamp::ORIGIN);
            let state =
                RateState { meter: RateMeter::new(), pace: Arc::new(SnapshotCell::new(first)), fair: None };
            let (mut parts, mut left, mut now) = (WHOLE / 2, burst as f64 / 2.0, Timestamp::ORIGIN);
            for (next, millis, asks) in steps {
                now = now + Duration::from_millis(millis);
                let part = |parts: u64| parts as f64 / WHOLE as f64;
                left = (left + millis as f64 / 10.0 * part(parts)).min(part(parts) * burst as f64);
                state.set_share(&rate, next, now);
                (parts, left) = (next, left.min(part(next) * burst as f64));
                for _ in 0..asks {
                    let wanted = Wanted { amount: 1, priority: RequestPriority::Normal, party: None };
                    left -= f64::from(u8::from(state.take(&limit, wanted, now).is_ok()));
                }
                prop_assert!(left >= -1.001, "{left}");
            }
        }
    }
}
