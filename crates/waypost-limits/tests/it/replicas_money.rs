//! Budgets over three replicas, whatever happens to the store.

use std::sync::atomic::{AtomicU64, Ordering};

use waypost_core::LimitId;
use waypost_limits::{Budget, Limit, Period};

use crate::sim::{Ledger, REPLICAS, STEP, Sim, seeds};

const DOLLAR: u64 = 1_000_000_000;
/// 100 dollars.
const AMOUNT: u64 = 100 * DOLLAR;
const PERCENT: u64 = AMOUNT / 100;
const MOST_COST: u64 = DOLLAR / 4;

fn budget() -> Limit {
    Limit::budget(LimitId::new("money").unwrap(), Budget::new("100".parse().unwrap(), Period::DAY))
}

/// Everybody asks for more than there is, for `millis`; `happen` is called before each step.
fn spend(sim: &mut Sim, millis: u64, mut happen: impl FnMut(&mut Sim, &mut Ledger)) -> Ledger {
    let mut ledger = Ledger::default();
    for _ in 0..millis / STEP {
        happen(sim, &mut ledger);
        sim.step();
        ledger.settle(sim);
        for place in 0..REPLICAS {
            if sim.nodes[place].alive && sim.random.permille(60) {
                let cost = MOST_COST / 4 + sim.random.below(MOST_COST * 3 / 4);
                ledger.ask(sim, place, cost);
            }
        }
    }
    ledger
}

/// Keeps the worst, and prints it at the end.
struct Worst(&'static str, AtomicU64, AtomicU64);

impl Worst {
    const fn new(name: &'static str) -> Self {
        Self(name, AtomicU64::new(0), AtomicU64::new(u64::MAX))
    }

    fn note(&self, spent: u64) {
        self.1.fetch_max(spent, Ordering::Relaxed);
        self.2.fetch_min(spent, Ordering::Relaxed);
    }
}

impl Drop for Worst {
    fn drop(&mut self) {
        let (most, least) =
            (self.1.load(Ordering::Relaxed) / 10_000_000, self.2.load(Ordering::Relaxed) / 10_000_000);
        println!("{}: spent between {least} and {most} cents of 10000", self.0);
    }
}

#[test]
fn all_is_spent_and_no_more() {
    let worst = Worst::new("calm");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let spent = spend(&mut sim, 30_000, |_, _| ()).spent;
        worst.note(spent);
        assert!((AMOUNT * 97 / 100..=AMOUNT).contains(&spent), "{spent}");
    });
}

#[test]
fn s02_s03_a_store_that_dies_or_stalls() {
    let worst = Worst::new("S02, S03");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let from = 500 + sim.random.below(3_000);
        let mut before = 0;
        let spent = spend(&mut sim, 55_000, |sim, _| {
            let is_away = (from..from + 30_000).contains(&sim.now);
            if is_away && !(sim.net.down || sim.net.stalled) {
                before = sim.nodes.iter().map(|node| node.attempts).sum();
            }
            if !is_away && (sim.net.down || sim.net.stalled) {
                let attempts = sim.nodes.iter().map(|node| node.attempts).sum::<u64>() - before;
                assert!(attempts <= 3 * (5 + 38), "{attempts} attempts in half a minute");
            }
            (sim.net.down, sim.net.stalled) = (is_away && seed % 2 == 0, is_away && seed % 2 == 1);
        });
        worst.note(spent.spent);
        assert!(spent.spent <= AMOUNT + PERCENT && spent.spent >= AMOUNT * 95 / 100, "{spent:?}");
    });
}

#[test]
fn s04_a_store_that_is_too_slow_is_as_good_as_none() {
    let worst = Worst::new("S04");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        sim.net.latency = 10;
        let from = sim.random.below(3_000);
        let spent = spend(&mut sim, 40_000, |sim, _| {
            sim.net.latency = if sim.now >= from { 400 } else { 10 };
        });
        worst.note(spent.spent);
        assert!(spent.spent <= AMOUNT + PERCENT);
    });
}

#[test]
fn s08_a_store_that_restarts_empty() {
    let worst = Worst::new("S08");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let spent = spend(&mut sim, 40_000, |sim, _| {
            if sim.random.below(1_000) == 0 {
                sim.lose_store();
            }
        });
        worst.note(spent.spent);
        assert!(spent.spent <= AMOUNT + PERCENT && spent.spent >= AMOUNT * 90 / 100, "{}", spent.spent);
    });
}

#[test]
fn s14_replicas_that_are_killed_with_money_reserved() {
    let worst = Worst::new("S14");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let at = 1_000 + sim.random.below(5_000);
        let back = at + sim.random.below(10_000) / STEP * STEP + STEP;
        let at = at / STEP * STEP;
        // With some seeds until the store takes back what nobody settles.
        let millis = if seed % 5 == 0 { 130_000 } else { 45_000 };
        let spent = spend(&mut sim, millis, |sim, ledger| {
            let one = (seed % 3) as usize;
            if sim.now == at {
                sim.nodes[one].alive = false;
                ledger.lose(one);
            }
            if sim.now >= back && !sim.nodes[one].alive {
                sim.restart(one, &[budget()]);
            }
        });
        worst.note(spent.spent);
        // What ran when it was killed is known to nobody: at most what it had been granted.
        assert!(spent.spent <= AMOUNT + 2 * PERCENT && spent.spent >= AMOUNT * 96 / 100, "{}", spent.spent);
    });
}

#[test]
fn s15_200_requests_against_a_budget_for_10_over_3_replicas() {
    let (most, least) = (AtomicU64::new(0), AtomicU64::new(u64::MAX));
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let cost = AMOUNT / 10;
        let (mut waiting, mut ledger, mut admitted) = ((0..200).collect::<Vec<_>>(), Ledger::default(), 0);
        for round in 0..10_000 / STEP {
            // All ask at first, then each in every tenth round.
            let asks = |number| round == 0 || (number as u64 + round).is_multiple_of(10);
            waiting.retain(|&number| !asks(number) || !ledger.ask_exact(&mut sim, number % REPLICAS, cost));
            admitted = 200 - waiting.len() as u64;
            sim.step();
            ledger.settle(&sim);
        }
        if seed == 0 {
            println!(
                "S15: 200 asked, {admitted} admitted, ledger {} of {} cents",
                ledger.spent / 10_000_000,
                AMOUNT / 10_000_000
            );
        }
        most.fetch_max(admitted, Ordering::Relaxed);
        least.fetch_min(admitted, Ordering::Relaxed);
        assert!(ledger.spent <= AMOUNT + PERCENT && admitted >= 9, "{admitted} admitted");
    });
    println!("S15: between {least:?} and {most:?} admitted of 10 that fit");
}

#[test]
fn s16_bd11_answers_that_are_lost_and_reports_that_come_twice() {
    let worst = Worst::new("S16, BD11");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        (sim.net.lose_reply, sim.net.lose_request, sim.net.repeat) = (300, 100, 300);
        sim.net.latency = 20;
        let spent = spend(&mut sim, 40_000, |sim, _| {
            if sim.now.is_multiple_of(50) {
                assert!(sim.held() <= AMOUNT, "{} is granted", sim.held());
            }
        });
        worst.note(spent.spent);
        assert!(spent.spent <= AMOUNT && spent.spent >= AMOUNT * 95 / 100, "{}", spent.spent);
    });
}

#[test]
fn s17_clocks_that_differ_at_the_turn_of_the_period() {
    let worst = Worst::new("S17");
    let hourly =
        || Limit::budget(LimitId::new("money").unwrap(), Budget::new("100".parse().unwrap(), Period::HOUR));
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[hourly()]);
        sim.now = 580_000;
        for node in &mut sim.nodes {
            node.ahead = sim.random.below(600_000).cast_signed() - 300_000;
        }
        let (mut ledger, mut first) = (Ledger::default(), 0);
        for _ in 0..45_000 / STEP {
            sim.step();
            ledger.settle(&sim);
            for place in 0..REPLICAS {
                if sim.random.permille(100) {
                    ledger.ask(&mut sim, place, MOST_COST * 2);
                }
            }
            if sim.now <= 600_000 {
                first = ledger.spent;
            }
        }
        worst.note(first);
        worst.note(ledger.spent - first);
        let most = AMOUNT + PERCENT + REPLICAS as u64 * MOST_COST * 2;
        assert!(first <= most && ledger.spent - first <= most, "{first} and {}", ledger.spent - first);
    });
}

#[test]
fn s19_a_replica_that_is_isolated_for_a_minute() {
    let worst = Worst::new("S19");
    let alone = Worst::new("S19, isolated");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let one = (seed % 3) as usize;
        let from = sim.random.below(4_000) / STEP * STEP;
        let (mut before, mut after) = (0, 0);
        let ledger = spend(&mut sim, 75_000, |sim, ledger| {
            sim.net.cut[one] = (from..from + 60_000).contains(&sim.now);
            if sim.now <= from {
                before = ledger.of[one];
            }
            if sim.now <= from + 60_000 {
                after = ledger.of[one];
            }
        });
        worst.note(ledger.spent);
        alone.note(after - before);
        assert!(after - before <= PERCENT + MOST_COST, "{} in isolation", after - before);
        assert!(ledger.spent <= AMOUNT + PERCENT && ledger.spent >= AMOUNT * 96 / 100, "{}", ledger.spent);
    });
}

#[test]
fn s20_the_clock_of_the_store_jumps() {
    let worst = Worst::new("S20");
    seeds(|seed| {
        let mut sim = Sim::new(seed, &[budget()]);
        let at = sim.random.below(6_000);
        let spent = spend(&mut sim, 40_000, |sim, _| {
            sim.store_ahead = if sim.now >= at { 7_200_000 } else { 0 };
        });
        worst.note(spent.spent);
        assert!(spent.spent <= AMOUNT + PERCENT && spent.spent >= AMOUNT * 95 / 100, "{}", spent.spent);
    });
}
