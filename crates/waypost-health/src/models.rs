//! Models of the protocols where threads meet: the breaker's word, the window's parts, ejection under its cap, the bits
//! of suspects. Run by `cargo xtask loom`. Each runs on the shipped types and on a mutant with a known bug, which the
//! model must catch.

mod breaker;
mod pool;
mod window;

use core::time::Duration;
use std::panic::{AssertUnwindSafe, catch_unwind};

use waypost_core::Timestamp;

/// Whether the model of a mutant fails.
fn is_caught(model: impl Fn() + Sync + Send + 'static) -> bool {
    catch_unwind(AssertUnwindSafe(|| loom::model(model))).is_err()
}

fn at(seconds: u64) -> Timestamp {
    Timestamp::ORIGIN + Duration::from_secs(seconds)
}
