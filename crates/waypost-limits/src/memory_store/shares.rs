//! How a rate, or concurrency, is dealt.

use waypost_core::Timestamp;

use super::{Holder, Teller, longest};
use crate::replication::WHOLE;
use crate::{ShareAnswer, ShareReport};

/// Shares are left as they are when they would change by less than this part of the total: each change costs the
/// replica a little, and demand is never steady.
const STEADY: u64 = 64;
/// A replica without demand keeps this part of what is kept for it, so that what comes first is not refused.
const LEAST: u64 = 8;

/// Who holds how much of one limit.
#[derive(Debug, Default)]
pub(super) struct SharedLimit {
    holdings: Vec<Holding>,
}

#[derive(Debug)]
struct Holding {
    holder: Holder,
    report: ShareReport,
    /// The most that it may hold.
    held: u64,
    until: Timestamp,
    /// Until then it holds less than its floor if it says so, whatever becomes of it.
    lends_until: Timestamp,
}

impl Holding {
    fn is_live(&self, now: Timestamp) -> bool {
        self.until > now
    }

    fn is_lending(&self, teller: &Teller<'_>) -> bool {
        self.lends_until > teller.now + teller.request.share_ttl / 2
    }

    /// What nobody else may have.
    fn reserved(&self, teller: &Teller<'_>) -> u64 {
        let held = if self.is_live(teller.now) { self.held } else { 0 };
        // An earlier start of the same replica has no floor of its own.
        let is_former = self.holder.replica == teller.request.replica;
        if is_former || self.is_lending(teller) { held } else { held.max(self.report.floor) }
    }

    fn least(&self) -> u64 {
        self.report.floor.div_ceil(LEAST)
    }
}

impl SharedLimit {
    /// Whether anybody holds a share that is not the even one.
    pub(super) fn is_held(&self, now: Timestamp) -> bool {
        self.holdings.iter().any(|holding| holding.is_live(now) || holding.lends_until > now)
    }

    /// Takes a report, and deals.
    ///
    /// INVARIANT: what all may hold is never more than the total: a share is given only of what no other holds or has
    /// kept for it.
    pub(super) fn answer(&mut self, teller: &Teller<'_>, report: &ShareReport) -> ShareAnswer {
        self.note(teller, report);
        let total = self.holdings.iter().map(|holding| holding.report.total).min().unwrap_or(report.total);
        let free = total.saturating_sub(self.kept_from(teller, report));
        let share = self.target(teller, report, total).min(free);
        let share = if teller.may_grow { share } else { share.min(report.holds) };
        let holder = teller.holder();
        if let Some(own) = self.holdings.iter_mut().find(|holding| holding.holder == holder) {
            own.held = report.claims.max(share);
        }
        ShareAnswer { share, scale: self.scale(teller, report), lease: self.lease(teller) }
    }

    fn note(&mut self, teller: &Teller<'_>, report: &ShareReport) {
        let (holder, now) = (teller.holder(), teller.now);
        self.holdings.retain(|holding| {
            (holding.is_live(now) || holding.lends_until > now) && holding.holder != holder
        });
        // The report was made after what it has seen, so what it promises lasts at least a lease from there.
        let lends_until =
            if teller.is_known { teller.request.seen + teller.request.share_ttl } else { Timestamp::ORIGIN };
        let until = now + longest(teller.request);
        self.holdings.push(Holding { holder, report: *report, held: report.claims, until, lends_until });
    }

    fn others<'a>(&'a self, teller: &Teller<'_>) -> impl Iterator<Item = &'a Holding> + Clone {
        let holder = teller.holder();
        self.holdings.iter().filter(move |holding| holding.holder != holder)
    }

    /// What others hold, or is kept for them.
    fn kept_from(&self, teller: &Teller<'_>, report: &ShareReport) -> u64 {
        let others = self.others(teller);
        let held: u64 = others.clone().map(|other| other.reserved(teller)).sum();
        held + teller.absent(others.map(|other| &other.holder)) * report.floor
    }

    /// What it should have: a little of its floor, and by demand of all that is not kept for those who do not report.
    fn target(&self, teller: &Teller<'_>, report: &ShareReport, total: u64) -> u64 {
        let others = self.others(teller);
        let silent: u64 = others
            .clone()
            .filter(|other| !other.is_live(teller.now))
            .map(|other| other.reserved(teller))
            .sum();
        let absent = teller.absent(others.map(|other| &other.holder)) * report.floor;
        let live = || self.holdings.iter().filter(|holding| holding.is_live(teller.now));
        let least: u64 = live().map(Holding::least).sum();
        let demand: u128 = live().map(|holding| u128::from(holding.report.demand)).sum();
        let pool = u128::from(total.saturating_sub(silent + absent + least));
        let by_demand = (pool * u128::from(report.demand)).div_ceil(demand.max(1)) as u64;
        let target = match (report.is_leaving, demand) {
            (true, _) | (_, 0) => report.floor,
            _ => report.floor.div_ceil(LEAST) + by_demand,
        };
        let is_steady = !report.is_leaving && target.abs_diff(report.holds) <= total / STEADY;
        if is_steady { report.holds } else { target }
    }

    /// The least limit that a replica has, against that of the one who asks.
    fn scale(&self, teller: &Teller<'_>, report: &ShareReport) -> u64 {
        let part = |least: u64, own: u64| {
            (u128::from(least) * u128::from(WHOLE)).checked_div(own.into()).unwrap_or(WHOLE.into()) as u64
        };
        let live = || self.holdings.iter().filter(|holding| holding.is_live(teller.now));
        let rate = live().map(|holding| part(holding.report.rate, report.rate)).min();
        let burst = live().map(|holding| part(holding.report.burst, report.burst)).min();
        rate.unwrap_or(WHOLE).min(burst.unwrap_or(WHOLE)).min(WHOLE)
    }

    /// No share may outlast what others lend.
    fn lease(&self, teller: &Teller<'_>) -> core::time::Duration {
        let lent =
            self.others(teller).filter(|other| other.is_lending(teller) && other.held < other.report.floor);
        let least = lent.map(|other| other.lends_until.since(teller.now)).min();
        least.unwrap_or(teller.request.share_ttl).min(teller.request.share_ttl)
    }
}
