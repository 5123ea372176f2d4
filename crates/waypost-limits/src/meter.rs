//! One subject's use of one limit.

use core::num::NonZeroU32;
use core::time::Duration;
use std::sync::Arc;

use waypost_core::{NanoUsd, RequestPriority, SnapshotCell, Timestamp};

use crate::account::{Account, Balance, Denied, Lease, Reserved};
use crate::fair_shares::FairShares;
use crate::gauge::Gauge;
use crate::limit::{Bound, Budget, Limit};
use crate::pace::Pace;
use crate::rate_meter::{Mark, RateMeter, Refused};
use crate::{Period, PeriodWindow, Rate, Subject};

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
}

impl Meter {
    /// A meter of which nothing is used.
    pub(crate) fn new(
        limit: &Limit,
        subject: Subject,
        pace: Option<&Arc<SnapshotCell<Pace>>>,
        moment: Moment,
    ) -> Self {
        let state = match (&limit.bound, pace) {
            (Bound::Requests(rate) | Bound::Tokens(rate), Some(pace)) => State::Rate(RateState {
                meter: RateMeter::new(),
                pace: Arc::clone(pace),
                fair: limit.fair.is_some().then(|| Box::new(FairShares::new(rate))),
            }),
            (Bound::Budget(budget), _) => State::Budget(BudgetState::new(budget, moment)),
            _ => State::Gauge(Gauge::new()),
        };
        Self { subject, state }
    }

    /// Puts it away if nothing of it is used, so that one made anew is the same. Returns whether it did.
    pub(crate) fn retire(&self, limit: &Limit, moment: Moment) -> bool {
        match (&self.state, &limit.bound) {
            (State::Rate(rate), _) => rate.meter.retire(&rate.pace.load(), moment.now),
            (State::Gauge(gauge), _) => gauge.retire(),
            (State::Budget(state), Bound::Budget(budget)) => state.account(budget, moment).0.retire(),
            (State::Budget(_), _) => false,
        }
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
        (pace.whole(pace.burst().saturating_sub(used)), pace.whole(pace.burst()), full)
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

/// Counts a request as under way.
#[inline]
pub(crate) fn enter(
    gauge: &Gauge,
    limit: &Limit,
    most: NonZeroU32,
    priority: RequestPriority,
) -> Result<(), Refused> {
    gauge.enter(most_under_way(limit, most, priority))
}

/// The most that may be under way with one more of a priority.
#[inline]
pub(crate) fn most_under_way(limit: &Limit, most: NonZeroU32, priority: RequestPriority) -> u64 {
    limit.reserve.left_of(most.get().into(), priority)
}

impl BudgetState {
    pub(crate) fn new(budget: &Budget, moment: Moment) -> Self {
        let window = moment.wall.map_or(PeriodWindow::NEVER, |wall| budget.period.window_at(wall));
        Self { account: SnapshotCell::new(Account::new(window, budget.amount)) }
    }

    /// The account of the current period, and what was settled in the one before when this call began it. A clock that
    /// goes back opens no period again.
    pub(crate) fn account(&self, budget: &Budget, moment: Moment) -> (Arc<Account>, Option<NanoUsd>) {
        let current = Arc::clone(&self.account.load());
        match moment.wall {
            Some(wall) if current.window().is_over_at(wall) => {
                self.begin(&budget.period, budget.amount, wall)
            }
            _ => (current, None),
        }
    }

    #[cold]
    fn begin(&self, period: &Period, amount: NanoUsd, wall: i64) -> (Arc<Account>, Option<NanoUsd>) {
        let mut before = None;
        let next = self.account.update(|current| {
            if !current.window().is_over_at(wall) {
                return Err(());
            }
            before = (*current.window() != PeriodWindow::NEVER).then(|| current.balance().settled);
            Ok(Account::new(period.window_at(wall), amount))
        });
        (next.unwrap_or_else(|()| Arc::clone(&self.account.load())), before)
    }

    /// What may still be reserved, and when the next period begins. Looks only: nothing begins by it.
    pub(crate) fn left(&self, budget: &Budget, moment: Moment) -> (NanoUsd, Option<Duration>) {
        let account = self.account.load();
        match moment.wall {
            Some(wall) if account.window().is_over_at(wall) => {
                (budget.amount, until(&budget.period.window_at(wall), moment))
            }
            _ => (NanoUsd(account.left()), until(account.window(), moment)),
        }
    }

    /// What is settled and reserved in the current period: nothing, when that has not begun.
    pub(crate) fn balance(&self, moment: Moment) -> Balance {
        let account = self.account.load();
        let is_over = moment.wall.is_some_and(|wall| account.window().is_over_at(wall));
        if is_over { Balance::default() } else { account.balance() }
    }

    /// The account as it is, whatever the time.
    pub(crate) fn current(&self) -> Arc<Account> {
        Arc::clone(&self.account.load())
    }
}

/// Reserves money, and tells when that would be possible again otherwise.
#[inline]
pub(crate) fn reserve(
    account: &Account,
    budget: &Budget,
    amount: NanoUsd,
    moment: Moment,
    lease: Lease,
) -> Result<Reserved, Refused> {
    account.reserve(amount.0, moment.now, lease, budget.soft).map_err(|denied| match denied {
        Denied::Retired => Refused::Retired,
        Denied::Spent => Refused::Spent(until(account.window(), moment)),
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
