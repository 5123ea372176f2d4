//! How money is granted.

use core::time::Duration;

use waypost_core::{NanoUsd, Timestamp};

use super::{Holder, Teller, longest};
use crate::{MoneyAnswer, MoneyReport};

/// For how long others hand back what they do not need after somebody went away empty.
const RECALLED: Duration = Duration::from_secs(1);

/// What was granted of one period of one budget.
#[derive(Debug, Default)]
pub(super) struct SharedBudget {
    accounts: Vec<Granted>,
    /// What those settled who are not among the accounts: they are gone, or have not reported to this life.
    gone: u64,
    /// Unix milliseconds: when the period ends.
    ends: i64,
    /// Until when what is not needed is wanted back.
    recall_until: Timestamp,
}

#[derive(Debug)]
struct Granted {
    holder: Holder,
    report: MoneyReport,
    until: Timestamp,
}

impl Granted {
    /// What it may have cost in the end.
    fn outstanding(&self) -> u64 {
        let MoneyReport { granted, handed_back, settled, reserved, .. } = self.report;
        granted.0.saturating_sub(handed_back.0).max(settled.0.saturating_add(reserved.0))
    }
}

impl SharedBudget {
    /// Whether the period ended before a time in Unix milliseconds.
    pub(super) const fn is_over_at(&self, at: i64) -> bool {
        self.ends < at
    }

    /// Takes a report, and grants.
    ///
    /// INVARIANT: what all may have cost in the end, and what is kept for those who have not reported, grows by grants
    /// only within the budget.
    pub(super) fn answer(&mut self, teller: &Teller<'_>, report: &MoneyReport) -> MoneyAnswer {
        self.ends = self.ends.max(report.ends);
        self.reclaim(teller.now);
        let own = self.note(teller, report);
        let free = self.ungranted(teller);
        let missing = report
            .granted
            .0
            .saturating_add(report.wanted.0)
            .saturating_sub(self.accounts[own].report.granted.0);
        let more = if teller.may_grow { missing.min(free) } else { 0 };
        if more < missing && teller.may_grow || self.is_overdrawn(teller) {
            self.recall_until = teller.now + RECALLED;
        }
        let account = &mut self.accounts[own].report;
        account.granted = NanoUsd(account.granted.0.saturating_add(more));
        let (granted, settled) = (account.granted, account.settled.0);
        MoneyAnswer {
            granted,
            settled_elsewhere: NanoUsd(self.settled().saturating_sub(settled)),
            ungranted: NanoUsd(if teller.may_grow { free - more } else { 0 }),
            recall: self.recall_until > teller.now,
        }
    }

    /// Takes back what those held of whom nothing was heard until none of their reservations runs any more.
    fn reclaim(&mut self, now: Timestamp) {
        let gone: u64 =
            self.accounts.iter().filter(|one| one.until <= now).map(|one| one.report.settled.0).sum();
        self.gone = self.gone.saturating_add(gone);
        self.accounts.retain(|one| one.until > now);
    }

    /// Adds to what is known of a replica; nothing is overwritten by less. Returns its place.
    fn note(&mut self, teller: &Teller<'_>, report: &MoneyReport) -> usize {
        let holder = teller.holder();
        let until = teller.now + longest(teller.request).saturating_add(teller.request.reservation_ttl);
        if let Some(place) = self.accounts.iter().position(|one| one.holder == holder) {
            let known = &mut self.accounts[place];
            known.until = until;
            known.report = MoneyReport {
                granted: known.report.granted.max(report.granted),
                settled: known.report.settled.max(report.settled),
                handed_back: known.report.handed_back.max(report.handed_back),
                ..*report
            };
            return place;
        }
        self.accounts.push(Granted { holder, report: *report, until });
        if let Some(elsewhere) = report.settled_elsewhere {
            self.welcome_back(report.settled.0, elsewhere.0);
        }
        self.accounts.len() - 1
    }

    /// Somebody is back who has been there before: what they settled is no longer among what is gone, and what they
    /// know that others settled is.
    fn welcome_back(&mut self, settled: u64, elsewhere: u64) {
        let here: u64 = self.accounts.iter().map(|one| one.report.settled.0).sum();
        let known = settled.saturating_add(elsewhere);
        self.gone = self.gone.saturating_sub(settled).max(known.saturating_sub(here));
    }

    fn settled(&self) -> u64 {
        self.accounts.iter().fold(self.gone, |sum, one| sum.saturating_add(one.report.settled.0))
    }

    fn amount(&self) -> u64 {
        self.accounts.iter().map(|one| one.report.amount.0).min().unwrap_or(0)
    }

    /// What is spent, may be, or is kept for those who have not reported.
    fn bound(&self, teller: &Teller<'_>) -> u64 {
        let outstanding = self.accounts.iter().map(Granted::outstanding);
        let sum = outstanding.fold(self.gone, u64::saturating_add);
        let pre_leased = self.accounts.iter().map(|one| one.report.pre_leased.0).max().unwrap_or(0);
        sum.saturating_add(
            teller.absent(self.accounts.iter().map(|one| &one.holder)).saturating_mul(pre_leased),
        )
    }

    fn ungranted(&self, teller: &Teller<'_>) -> u64 {
        self.amount().saturating_sub(self.bound(teller))
    }

    fn is_overdrawn(&self, teller: &Teller<'_>) -> bool {
        self.bound(teller) > self.amount()
    }
}
