//! One meter, as the replica sees it.

use core::time::Duration;
use std::sync::Arc;

use waypost_core::{NanoUsd, Timestamp};

use crate::account::Account;
use crate::contact::Standing;
use crate::limit::{Bound, WhenAway};
use crate::limits::{Kept, Limits, Shared};
use crate::meter::{BudgetState, Meter, State};
use crate::meter_share::{Held, MeterShare, Told};
use crate::replication::{Replication, WHOLE, total_of};
use crate::reservation::tell_thresholds;
use crate::{MoneyAnswer, MoneyReport, Rate, ShareAnswer, ShareReport, SyncAnswer, SyncItem, SyncKey};

/// Money is granted for what is needed in so many intervals.
const AHEAD: u64 = 3;
/// Who asked for no money for so long hands back what was granted.
const IDLE: Duration = Duration::from_secs(1);
/// What the rates of versions of a limit are compared by.
const YEAR: u128 = 366 * 86_400 * 1_000_000_000;

/// A meter with its limit, and what was said of its account.
pub(super) struct Concerned {
    kept: Arc<Kept>,
    meter: Arc<Meter>,
    share: Arc<MeterShare>,
    is_declared: bool,
    said: Option<(Arc<Account>, Told)>,
}

/// What all meters have in common at one moment.
#[derive(Clone, Copy)]
pub(super) struct Sync<'a> {
    pub(super) replication: &'a Replication,
    pub(super) shared: &'a Shared,
    pub(super) now: Timestamp,
    pub(super) life: u64,
    pub(super) has_failed: bool,
}

impl Concerned {
    pub(super) fn each(limits: &Limits, mut each: impl FnMut(Self)) {
        limits.each_meter(|kept, meter, is_declared| {
            if let Some(share) = &meter.share {
                let (kept, meter, share) = (Arc::clone(kept), Arc::clone(meter), Arc::clone(share));
                each(Self { kept, meter, share, is_declared, said: None });
            }
        });
    }

    pub(super) fn told_at(&self) -> Timestamp {
        self.share.lock().told_at
    }

    /// Notes what was asked for since the last time.
    pub(super) fn measure(&self, elapsed: Duration, now: Timestamp) {
        let (asked, refused) = (self.share.asked(), self.share.largest_refused());
        let mut held = self.share.lock();
        let more = asked.wrapping_sub(core::mem::replace(&mut held.asked_before, asked));
        held.largest = held.largest.max(refused);
        if more > 0 {
            held.asked_at = now;
            held.demand = held.demand.max(1);
        }
        let nanos = elapsed.as_nanos().min(1_000_000_000);
        if let Some(per_second) = (u128::from(more) * 1_000_000_000_000).checked_div(elapsed.as_nanos()) {
            let faded = u128::from(held.demand) * (1_000_000_000 - nanos) + per_second * nanos;
            held.demand = u64::try_from(faded / 1_000_000_000).unwrap_or(u64::MAX);
        }
    }

    /// Ends a lease that is over. While the store is away, does what the limit says.
    pub(super) fn lapse(&self, sync: &Sync<'_>) {
        let is_away = sync.shared.contact.standing() == Standing::Away;
        if let State::Budget(state) = &self.meter.state {
            self.lapse_money(state, is_away, sync.now);
            return;
        }
        let floor = self.floor(sync);
        let mut held = self.share.lock();
        let is_over = held.until <= sync.now;
        if is_over && (held.share > floor || held.promised_until <= sync.now) && held.share != floor {
            held.share = floor;
            self.apply(floor, sync.now);
        }
        match self.kept.limit.when_away {
            WhenAway::Closed if is_away => self.apply(0, sync.now),
            WhenAway::Open if is_away => self.open(sync.now),
            _ => {}
        }
    }

    fn lapse_money(&self, state: &BudgetState, is_away: bool, now: Timestamp) {
        let Bound::Budget(budget) = &self.kept.limit.bound else { return };
        let (account, own) = (state.current(), self.share.pre_leased(budget.amount.0));
        let keeps = match self.kept.limit.when_away {
            WhenAway::Open if is_away => return self.share.open(WHOLE),
            WhenAway::Closed if is_away => {
                self.share.set_effective(0);
                0
            }
            _ if is_away => own,
            _ if now.since(self.share.lock().asked_at) >= IDLE => own,
            _ => return,
        };
        account.hand_back(NanoUsd(account.left().saturating_sub(keeps)));
    }

    /// The store is there again: what is shared is in effect until it says otherwise.
    pub(super) fn restore(&self, now: Timestamp, wall: i64) {
        if let State::Budget(state) = &self.meter.state {
            self.share.set_effective(WHOLE);
            state.rewind(wall);
            return;
        }
        let share = self.share.lock().share;
        self.apply(share, now);
    }

    /// Whether there is something to tell.
    pub(super) fn is_due(&self, sync: &Sync<'_>) -> bool {
        let held = self.share.lock();
        match (&self.meter.state, &self.kept.limit.bound) {
            (State::Budget(state), Bound::Budget(budget)) => {
                let account = state.current();
                let own = self.share.pre_leased(budget.amount.0);
                let (start, settled, reserved, handed_back, granted) = told(&account);
                let is_used = settled > 0 || handed_back > 0 || granted > own;
                let is_news =
                    held.told != Some((sync.life, (start, settled, reserved, handed_back, granted)));
                let is_wanted = held.largest > 0 || sync.now.since(held.asked_at) < IDLE && held.demand > 0;
                is_wanted || reserved > 0 || account.left() > own || is_used && is_news
            }
            _ => held.demand > 0 || !held.is_at_rest,
        }
    }

    /// What to tell. What is told to be less than the floor is promised.
    pub(super) fn item(&mut self, sync: &Sync<'_>) -> SyncItem {
        let share = Arc::clone(&self.share);
        let mut held = share.lock();
        held.told_at = sync.now;
        let period = match &self.meter.state {
            State::Budget(state) => state.current().window().start_ms(),
            _ => 0,
        };
        let key = self.key(period);
        match (&self.meter.state, &self.kept.limit.bound) {
            (State::Budget(state), Bound::Budget(budget)) => {
                let account = state.current();
                let told = told(&account);
                self.said = Some((Arc::clone(&account), told));
                SyncItem::Money(key, money(&self.share, &held, budget.amount, &account, told, sync))
            }
            _ => SyncItem::Share(key, self.report(&mut held, sync)),
        }
    }

    fn key(&self, period: i64) -> SyncKey {
        let (limit, subject) = (self.kept.limit.id().clone(), self.meter.subject.key());
        SyncKey { limit, is_declared: self.is_declared, subject, period }
    }

    fn report(&self, held: &mut Held, sync: &Sync<'_>) -> ShareReport {
        let (floor, lease) = (self.floor(sync), sync.replication.lease());
        let under_way = match &self.meter.state {
            State::Gauge(gauge) => gauge.count(),
            _ => 0,
        };
        // Without an answer the lease will end, and the floor be held again.
        let holds = held.share.max(under_way);
        let claims = if sync.has_failed { holds.max(floor) } else { holds };
        if claims < floor {
            held.promised_until = sync.now + lease.saturating_add(lease / 10);
        }
        held.is_at_rest = false;
        let (rate, burst) = self.rate().map_or((0, 0), |rate| (per_year(rate), rate.burst_size()));
        let total = total_of(&self.kept.limit.bound);
        let is_leaving = held.demand == 0 && sync.now.since(held.asked_at) >= lease;
        ShareReport { total, rate, burst, floor, holds, claims, demand: held.demand, is_leaving }
    }

    /// Takes the store's word. `known` is the life of the store that was known when the report was made.
    pub(super) fn accept(&self, answer: &SyncAnswer, sync: &Sync<'_>, sent_at: Timestamp, known: u64) {
        match answer {
            SyncAnswer::Share(answer) => self.accept_share(answer, sync, sent_at),
            SyncAnswer::Money(answer) => self.accept_money(answer, sync, known),
            SyncAnswer::Nothing => {}
        }
    }

    fn accept_share(&self, answer: &ShareAnswer, sync: &Sync<'_>, sent_at: Timestamp) {
        let mut held = self.share.lock();
        let lease = sync.replication.lease();
        let is_leaving = held.demand == 0 && sent_at.since(held.asked_at) >= lease;
        held.share = answer.share.min(total_of(&self.kept.limit.bound));
        held.until = sent_at + answer.lease.min(lease);
        held.is_at_rest = is_leaving && held.share == self.floor(sync);
        let scaled = u128::from(held.share) * u128::from(answer.scale.min(WHOLE)) / u128::from(WHOLE);
        let is_rate = self.rate().is_some();
        self.apply(if is_rate { scaled as u64 } else { held.share }, sync.now);
    }

    fn accept_money(&self, answer: &MoneyAnswer, sync: &Sync<'_>, known: u64) {
        let (State::Budget(state), Some((account, told))) = (&self.meter.state, &self.said) else { return };
        let (mut held, &(start, .., granted)) = (self.share.lock(), told);
        account.grant(answer.granted.saturating_sub(NanoUsd(granted)));
        // A store that has lost what it knew since has to be told again.
        held.told = (known == sync.life).then_some((known, *told));
        if !Arc::ptr_eq(account, &state.current()) {
            return;
        }
        held.heard_of = Some(start);
        if answer.recall {
            let needs = needed(&held, 1, sync).max(held.largest);
            account.hand_back(NanoUsd(account.left().saturating_sub(needs)));
        }
        held.largest = 0;
        drop(held);
        self.hear_of_others(account, answer, sync.shared);
    }

    /// What others settled may pass a threshold.
    fn hear_of_others(&self, account: &Account, answer: &MoneyAnswer, shared: &Shared) {
        let (before, settled) = (self.share.settled_elsewhere(), account.balance().settled.0);
        let elsewhere = answer.settled_elsewhere.0;
        self.share.set_elsewhere(elsewhere, answer.ungranted.0);
        let (before, after) = (settled.saturating_add(before), settled.saturating_add(elsewhere));
        tell_thresholds(&self.kept, &self.meter, before, after, shared);
    }

    /// Puts a share into effect.
    fn apply(&self, share: u64, now: Timestamp) {
        if self.share.effective() == share && !self.share.is_open() {
            return;
        }
        if let (State::Rate(state), Some(rate)) = (&self.meter.state, self.rate()) {
            state.set_share(rate, share, now);
        }
        self.share.set_effective(share);
    }

    /// Refuses nothing, of rates nothing within the whole limit.
    fn open(&self, now: Timestamp) {
        if !self.share.is_open() {
            self.apply(total_of(&self.kept.limit.bound), now);
            self.share.open(total_of(&self.kept.limit.bound));
        }
    }

    fn floor(&self, sync: &Sync<'_>) -> u64 {
        sync.replication.floor_of(total_of(&self.kept.limit.bound))
    }

    fn rate(&self) -> Option<&Rate> {
        match &self.kept.limit.bound {
            Bound::Requests(rate) | Bound::Tokens(rate) => Some(rate),
            _ => None,
        }
    }
}

fn money(
    share: &MeterShare,
    held: &Held,
    amount: NanoUsd,
    account: &Account,
    (start, settled, reserved, handed_back, granted): Told,
    sync: &Sync<'_>,
) -> MoneyReport {
    let own = share.pre_leased(amount.0);
    // With what it has without asking, one percent.
    let most = (amount.0 / 100).saturating_sub(own).max(amount.0 / 200);
    let needs = needed(held, AHEAD, sync).min(most).max(held.largest);
    MoneyReport {
        amount,
        ends: account.window().end_ms().unwrap_or(i64::MAX),
        pre_leased: NanoUsd(own),
        granted: NanoUsd(granted),
        settled: NanoUsd(settled),
        reserved: NanoUsd(reserved),
        handed_back: NanoUsd(handed_back),
        wanted: NanoUsd(needs.saturating_sub(account.left())),
        settled_elsewhere: (held.heard_of == Some(start)).then(|| NanoUsd(share.settled_elsewhere())),
    }
}

/// What is asked for in some intervals, as of late.
fn needed(held: &Held, intervals: u64, sync: &Sync<'_>) -> u64 {
    if sync.now.since(held.asked_at) >= IDLE {
        return 0;
    }
    let time = sync.replication.interval().as_nanos() * u128::from(intervals);
    let needed = u128::from(held.demand).saturating_mul(time) / 1_000_000_000_000;
    u64::try_from(needed).unwrap_or(u64::MAX)
}

fn told(account: &Account) -> Told {
    let balance = account.balance();
    let handed_back = account.handed_back();
    let granted = balance.granted.0.saturating_add(handed_back);
    (account.window().start_ms(), balance.settled.0, balance.reserved.0, handed_back, granted)
}

fn per_year(rate: &Rate) -> u64 {
    let year = u128::from(rate.quota()) * YEAR / rate.period().as_nanos().max(1);
    u64::try_from(year).unwrap_or(u64::MAX)
}
