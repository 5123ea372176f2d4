//! No allocation where requests pass.

use waypost_core::NanoUsd;
use waypost_limits::{Dimension, Limit, Limits, Rate};

use crate::rig::{ask, id, limits, purse, used};

fn eight() -> Limits {
    let fast = || Rate::per_second(1_000_000).unwrap();
    limits([
        Limit::requests(id("tenant-requests"), fast()).per(Dimension::Tenant),
        Limit::tokens(id("tenant-tokens"), fast()).per(Dimension::Tenant),
        Limit::requests(id("user-requests"), fast()).per(Dimension::User),
        Limit::tokens(id("user-tokens"), fast()).per(Dimension::User).per(Dimension::Tenant),
        Limit::concurrency(id("running"), 100.try_into().unwrap()),
        purse("all", 1 << 60),
        purse("team", 1 << 60),
        purse("user", 1 << 60).per(Dimension::User),
    ])
}

#[test]
fn nothing_is_allocated_in_steady_state() {
    let limits = eight();
    let ask = ask().of_tenant("acme").of_user("17").tokens(100);
    let once = || {
        let found = limits.find(&ask.decision());
        found.check(&ask.decision()).unwrap();
        let reservation = found.reserve(&ask.decision(), Some(NanoUsd(50))).unwrap();
        reservation.settle(used(60), Some(NanoUsd(40)), ask.now);
    };
    once();
    let counted = allocation_counter::measure(|| (0..1_000).for_each(|_| once()));
    assert_eq!(counted.count_total, 0, "{counted:?}");
}
