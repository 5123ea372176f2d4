//! BD11: one operation that reaches the store twice.

use core::time::Duration;
use std::sync::Arc;
use std::time::SystemTime;

use loom::thread;
use waypost_core::{LimitId, NanoUsd};

use super::{at, is_caught};
use crate::{MemoryStore, MoneyReport, ReplicaId, SyncAnswer, SyncItem, SyncKey, SyncRequest};

/// A report of a replica that needs four of a budget of ten.
fn report(sequence: u64, life: u64) -> SyncRequest {
    let key = SyncKey {
        limit: LimitId::new("ten").unwrap(),
        is_declared: false,
        subject: String::new(),
        period: 0,
    };
    let money = MoneyReport {
        amount: NanoUsd(10),
        ends: i64::MAX,
        pre_leased: NanoUsd::ZERO,
        granted: NanoUsd::ZERO,
        settled: NanoUsd::ZERO,
        reserved: NanoUsd::ZERO,
        handed_back: NanoUsd::ZERO,
        wanted: NanoUsd(if life == 0 { 0 } else { 4 }),
        settled_elsewhere: None,
    };
    SyncRequest {
        replica: ReplicaId::new("a"),
        incarnation: 1,
        sequence,
        life,
        is_whole: true,
        seen: at(0),
        replicas: 1,
        share_ttl: Duration::from_secs(30),
        reservation_ttl: Duration::from_secs(900),
        items: vec![SyncItem::Money(key, money)],
    }
}

fn granted(store: &MemoryStore, request: &SyncRequest) -> Option<u64> {
    match store.sync_at(request, at(0), SystemTime::UNIX_EPOCH).answers.first() {
        Some(SyncAnswer::Money(answer)) => Some(answer.granted.0),
        _ => None,
    }
}

/// The report is sent, and sent again while nobody knows what became of the first: under its own number, or, as the
/// known bug has it, under another.
fn twice(second_number: u64) {
    let store = Arc::new(MemoryStore::new(1));
    granted(&store, &report(1, 0));
    let other = Arc::clone(&store);
    let again = thread::spawn(move || granted(&other, &report(second_number, 1)));
    let first = granted(&store, &report(2, 1));
    assert_eq!(first, again.join().unwrap(), "BD11: the same answer");
    assert_eq!(first, Some(4), "BD11: one effect");
}

#[test]
fn bd11_an_operation_that_comes_twice_has_one_effect() {
    loom::model(|| twice(2));
    assert!(is_caught(|| twice(3)));
}
