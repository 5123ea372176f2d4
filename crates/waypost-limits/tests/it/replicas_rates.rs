//! Rates and concurrency over three replicas.

use std::num::NonZeroU32;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use waypost_core::{LimitId, TokenUsage};
use waypost_limits::{Limit, Rate, Reservation, WhenAway};

use crate::sim::{Bucket, REPLICAS, STEP, Sim, seeds, timestamp};

fn rate(per_second: u64, burst: u64) -> Limit {
    let rate = Rate::per_second(per_second).unwrap().burst(burst).unwrap();
    Limit::requests(LimitId::new("all").unwrap(), rate)
}

/// Sends so many requests per thousand steps to each replica for a while; what is admitted goes into the bucket.
fn send(sim: &mut Sim, millis: u64, permille: [u64; REPLICAS], per_second: f64, bucket: &mut Bucket) -> u64 {
    let mut sent = 0;
    for _ in 0..millis / STEP {
        sim.step();
        for (place, permille) in permille.into_iter().enumerate() {
            let extra = u64::from(sim.random.permille(permille % 1_000));
            for _ in 0..permille / 1_000 + extra {
                sent += 1;
                if sim.nodes[place].alive && sim.ask(place, None).is_some() {
                    bucket.admit(sim.now, per_second);
                }
            }
        }
    }
    sent
}

#[test]
fn figures_of_2000_requests_a_second() {
    let (mut sim, mut bucket) = (Sim::new(7, &[rate(1_000, 100)]), Bucket::default());
    let sent = send(&mut sim, 60_000, [3_333; REPLICAS], 1_000.0, &mut bucket);
    let used = bucket.admitted as f64 / 60_000.0;
    let excess = bucket.highest - 100.0;
    println!("{sent} requests, {} store operations, one per {:.0}", sim.ops, sent as f64 / sim.ops as f64);
    println!("{:.1} % of the rate used, at most {excess:.1} requests beyond the burst", used * 100.0);
    assert!(sim.ops <= sent / 20 && excess <= 3.0 && used >= 0.95, "{excess} {used}");
}

#[test]
fn skewed_demand_is_served() {
    let least = AtomicU64::new(u64::MAX);
    for offered in [1_000, 2_000] {
        for seed in 0..50 {
            let (mut sim, mut bucket) = (Sim::new(seed, &[rate(1_000, 50)]), Bucket::default());
            let permille = [offered * 9 / 2, offered / 4, offered / 4];
            send(&mut sim, 2_000, permille, 1_000.0, &mut bucket);
            let before = bucket.admitted;
            send(&mut sim, 5_000, permille, 1_000.0, &mut bucket);
            let used = (bucket.admitted - before) * 100 / 5_000;
            least.fetch_min(used, Ordering::Relaxed);
            assert!(used >= 90, "seed {seed}: {used} % of the rate at an offer of {offered}");
            assert!(bucket.highest <= 50.0 + 3.0, "{}", bucket.highest);
        }
    }
    println!("skewed: at least {least:?} % of the rate");
}

#[test]
fn bd10_shares_add_up_to_no_more_than_the_limit() {
    let worst = AtomicU64::new(0);
    seeds(|seed| {
        let (mut sim, mut bucket) = (Sim::new(seed, &[rate(200, 1 << 40)]), Bucket::default());
        let mut permille = [500, 500, 500];
        for _ in 0..800 {
            if sim.random.permille(20) {
                permille = [sim.random.below(2_000), sim.random.below(500), sim.random.below(3) * 400];
                sim.net.lose_reply = sim.random.below(2) * 300;
                sim.net.lose_request = sim.random.below(2) * 200;
                sim.net.repeat = sim.random.below(2) * 300;
                let cut = sim.random.below(6) as usize;
                sim.net.cut = std::array::from_fn(|place| place == cut);
                sim.net.stalled = sim.random.permille(150);
            }
            if sim.random.permille(3) {
                sim.lose_store();
            }
            sim.store_ahead += u64::from(sim.random.permille(2)) * 7_200_000;
            send(&mut sim, 60, permille, 200.0, &mut bucket);
            let held = sim.held();
            worst.fetch_max(held * 1_000 / (1 << 40), Ordering::Relaxed);
            assert!(held <= 1 << 40, "{} millionths at {} ms", held / (1 << 20), sim.now);
        }
    });
    println!("BD10: at most {worst:?} of 1000 parts held");
}

#[test]
fn s02_s03_s04_s08_s16_s19_s20_rates_hold_whatever_happens() {
    let worst = AtomicU64::new(0);
    seeds(|seed| {
        let (mut sim, mut bucket) = (Sim::new(seed, &[rate(100, 10)]), Bucket::default());
        for _ in 0..20 {
            match sim.random.below(7) {
                0 => sim.lose_store(),
                1 => sim.net.cut[(seed % 3) as usize] ^= true,
                2 => sim.net.down ^= true,
                3 => sim.net.stalled ^= true,
                4 => sim.net.latency = 10 + sim.random.below(2) * 200,
                5 => sim.store_ahead += 7_200_000,
                _ => sim.net.lose_reply = sim.random.below(2) * 400,
            }
            let permille = [sim.random.below(1_000), sim.random.below(1_000), sim.random.below(1_000)];
            let span = 500 + sim.random.below(4_000);
            send(&mut sim, span, permille, 100.0, &mut bucket);
        }
        worst.fetch_max((bucket.highest * 10.0) as u64, Ordering::Relaxed);
        assert!(bucket.highest <= 10.0 + 3.0, "{}", bucket.highest);
    });
    println!("rates in disorder: at most {} requests of a burst of 10 + 3", worst.into_inner() as f64 / 10.0);
}

#[test]
fn while_the_store_is_away_each_limit_does_as_it_says() {
    for (when, least, most) in
        [(WhenAway::Closed, 0, 0), (WhenAway::LocalShare, 455, 560), (WhenAway::Open, 2_900, 3_100)]
    {
        let limit = rate(100, 1).when_store_is_away(when);
        let (mut sim, mut bucket) = (Sim::new(1, &[limit]), Bucket::default());
        send(&mut sim, 2_000, [1_000; 3], 100.0, &mut bucket);
        sim.net.down = true;
        send(&mut sim, 32_000, [1_000; 3], 100.0, &mut bucket);
        let before = bucket.admitted;
        send(&mut sim, 10_000, [1_000; 3], 100.0, &mut bucket);
        let admitted = bucket.admitted - before;
        assert!((least..=most).contains(&admitted), "{when:?}: {admitted} in ten seconds");
        sim.net.down = false;
        send(&mut sim, 3_000, [1_000; 3], 100.0, &mut bucket);
        let before = bucket.admitted;
        send(&mut sim, 10_000, [1_000; 3], 100.0, &mut bucket);
        assert!((950..=1_003).contains(&(bucket.admitted - before)), "{when:?}: it is back");
    }
}

#[test]
fn s18_the_smaller_of_two_versions_of_a_limit_holds() {
    let worst = AtomicU64::new(0);
    seeds(|seed| {
        let mut sim = Sim::with(seed, |place| vec![if place == 0 { rate(200, 40) } else { rate(100, 10) }]);
        let mut bucket = Bucket::default();
        send(&mut sim, 1_000, [1_000; 3], 100.0, &mut bucket);
        let mut settled = Bucket::default();
        send(&mut sim, 5_000, [1_000; 3], 100.0, &mut settled);
        worst.fetch_max((settled.highest * 10.0) as u64, Ordering::Relaxed);
        assert!(settled.highest <= 10.0 + 3.0 && settled.admitted >= 400, "{settled:?}");
    });
    println!("S18: at most {} requests of a burst of 10 + 3", worst.into_inner() as f64 / 10.0);
}

#[test]
fn s14_places_of_a_replica_that_was_killed_are_free_within_its_lease() {
    let slots = Limit::concurrency(LimitId::new("slots").unwrap(), NonZeroU32::new(60).unwrap());
    seeds(|seed| {
        let mut sim = Sim::new(seed, std::slice::from_ref(&slots));
        let mut running: Vec<(u64, usize, Reservation)> = Vec::new();
        let (mut most, dies) = (0, 2_000 + sim.random.below(2_000));
        for _ in 0..45_000 / STEP {
            sim.step();
            let now = sim.now;
            for (_, _, over) in running.extract_if(.., |running| running.0 <= now) {
                over.settle(TokenUsage::default(), None, timestamp(now));
            }
            if sim.now >= dies && sim.nodes[0].alive {
                sim.nodes[0].alive = false;
                running.retain(|running| running.1 != 0);
            }
            for place in 0..REPLICAS {
                if sim.nodes[place].alive && sim.random.permille(400) {
                    let ends = sim.now + 200 + sim.random.below(600);
                    running.extend(sim.ask(place, None).map(|reservation| (ends, place, reservation)));
                }
            }
            assert!(running.len() <= 60, "{} under way", running.len());
            if sim.now > dies + 34_000 {
                most = most.max(running.len());
            }
        }
        // All but what is kept for the third.
        assert!(most >= 48, "{most} under way");
        drop(running);
    });
}

#[test]
fn versions_go_on_with_their_shares() {
    let mut sim = Sim::new(3, &[rate(100, 10)]);
    let mut bucket = Bucket::default();
    send(&mut sim, 2_000, [1_000; 3], 100.0, &mut bucket);
    let now = timestamp(sim.now);
    for node in &mut sim.nodes {
        node.limits = Arc::new(node.limits.updated([rate(50, 10)], now).unwrap());
        node.replica.update(Arc::clone(&node.limits));
    }
    let mut bucket = Bucket::default();
    send(&mut sim, 10_000, [1_000; 3], 50.0, &mut bucket);
    assert!(bucket.highest <= 13.0 && bucket.admitted >= 480, "{bucket:?}");
}
