//! Models of the protocols where threads meet: the two counters of a rate, the words of an account, the change of its
//! period, levels of budgets, the store of several replicas. Run by `cargo xtask loom`. Each runs on the shipped types
//! and on a mutant with a known bug, which the model must catch. Invariants are named as in the concurrency chapter of
//! the book.

mod budget;
mod rate;
mod store;

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use waypost_core::Timestamp;

/// Whether the model of a mutant fails.
fn is_caught(model: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| loom::model(model))).is_err()
}

fn at(millis: u64) -> Timestamp {
    Timestamp::ORIGIN + Duration::from_millis(millis)
}
