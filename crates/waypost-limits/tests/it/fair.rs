//! Who gets what is short.

use waypost_core::{Ratio, RequestPriority};
use waypost_limits::{Dimension, Limit, PriorityReserve, Rate};

use crate::rig::{Ask, ask, id, limits};

fn with(priority: RequestPriority) -> Ask {
    let mut ask = ask();
    ask.context.priority = Some(priority);
    ask
}

fn reserve() -> PriorityReserve {
    let part = |part| Ratio::new(part).unwrap();
    let mut reserve = PriorityReserve::default();
    (reserve.low, reserve.normal, reserve.high) = (part(0.3), part(0.1), part(0.1));
    reserve
}

#[test]
fn low_waits_first_and_critical_has_the_rest() {
    let rate = Rate::per_minute(100).unwrap();
    let limits = limits([Limit::requests(id("shared"), rate).reserving(reserve())]);
    let count = |priority| std::iter::from_fn(|| with(priority).reserve(&limits)).count();
    assert_eq!(count(RequestPriority::Low), 70);
    assert_eq!(count(RequestPriority::Normal), 20);
    assert_eq!(count(RequestPriority::High), 0);
    assert_eq!(count(RequestPriority::Critical), 10);
}

#[test]
fn concurrency_keeps_places_too() {
    let limit = Limit::concurrency(id("running"), 10.try_into().unwrap()).reserving(reserve());
    let limits = limits([limit]);
    let held: Vec<_> = std::iter::from_fn(|| with(RequestPriority::Low).reserve(&limits)).collect();
    assert_eq!(held.len(), 7);
    let more: Vec<_> = std::iter::from_fn(|| with(RequestPriority::Critical).reserve(&limits)).collect();
    assert_eq!(more.len(), 3);
    drop(held);
    assert!(with(RequestPriority::Low).reserve(&limits).is_some(), "places come free");
}

/// What would never fit into what is left to a priority fits a full bucket.
#[test]
fn a_reserve_makes_nothing_impossible() {
    let rate = Rate::per_minute(100).unwrap();
    let limits = limits([Limit::tokens(id("shared"), rate).reserving(reserve())]);
    assert!(with(RequestPriority::Low).tokens(100).reserve(&limits).is_some());
    let mut later = with(RequestPriority::Low).tokens(90);
    let spent = limits.reserve(&later.decision(), None, None).unwrap_err();
    later.now = later.now + spent.retry_after().unwrap();
    assert!(later.reserve(&limits).is_some(), "when it was told");
}

/// C16: one tenant floods at ten times its share. The others, who stay within theirs, are served.
#[test]
fn c16_a_flood_does_not_starve_the_others() {
    let share = |fair: bool| {
        let limit = Limit::requests(id("shared"), Rate::per_second(100).unwrap().burst(100).unwrap());
        let limit = if fair { limit.shared_fairly_by(Dimension::Tenant) } else { limit };
        let limits = limits([limit]);
        let (mut asked, mut served, mut flood) = (0_u32, 0_u32, 0_u32);
        // Ten tenants have 10 a second each. Nine ask for 8; the tenth for 100. For two minutes, the first ten seconds
        // of which do not count.
        for milli in 0..120_000_u64 {
            for tenant in (0..9).filter(|tenant| (milli + 13 * tenant) % 125 == 0) {
                let got = ask().at(milli).of_tenant(&format!("tenant-{tenant}")).reserve(&limits).is_some();
                if milli > 10_000 {
                    asked += 1;
                    served += u32::from(got);
                }
            }
            if milli % 10 == 0 && ask().at(milli).of_tenant("flood").reserve(&limits).is_some() {
                flood += 1;
            }
        }
        (f64::from(served) / f64::from(asked), flood)
    };
    let ((unfair, _), (fair, flood)) = (share(false), share(true));
    println!(
        "others served: {:.2} % without, {:.2} % with fair shares; the flood {flood}",
        unfair * 100.0,
        fair * 100.0
    );
    assert!(unfair < 0.9, "first come, first served starves them: {unfair}");
    assert!(fair >= 0.999, "{fair}");
    // Work is conserved: the flood has what the others leave, 28 a second.
    assert!((2_900..=3_700).contains(&flood), "{flood} in two minutes");
}

/// Alone, a tenant has everything.
#[test]
fn who_is_alone_has_all() {
    let limit =
        Limit::requests(id("shared"), Rate::per_second(100).unwrap()).shared_fairly_by(Dimension::Tenant);
    let limits = limits([limit]);
    let served =
        (0..60_000).filter(|&milli| ask().at(milli).of_tenant("only").reserve(&limits).is_some()).count();
    assert!(served >= 5_990, "{served} of 6,100 in a minute");
}
