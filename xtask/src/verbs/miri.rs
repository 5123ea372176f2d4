//! The core's concurrent tests under Miri, which sees undefined behaviour and data races, arc-swap's included.

use std::process::Command;

use anyhow::{Result, ensure};

use crate::command;

/// The tests with threads, leases or swaps; property tests would take hours under an interpreter.
const TESTS: [&str; 8] = [
    "snapshot_cell",
    "live::",
    "stats::",
    "thread_local_histogram",
    "stamped::",
    "generator::tests::threads",
    "retry_budget::tests::rb_3",
    "retry_budget::tests::threads",
];

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    let miri = Command::new("rustup").args(["run", "nightly", "cargo", "miri", "--version"]).output();
    ensure!(
        miri.is_ok_and(|version| version.status.success()),
        "Miri is missing: `rustup toolchain install nightly --component miri --component rust-src`"
    );
    let mut tests =
        command::nightly(&["miri", "test", "--package", "waypost-core", "--target-dir", "target/miri"]);
    command::run(tests.args(["--lib", "--"]).args(TESTS).env("MIRIFLAGS", "-Zmiri-disable-isolation"))?;
    let mut swaps =
        command::nightly(&["miri", "test", "--package", "waypost-core", "--target-dir", "target/miri"]);
    command::run(swaps.args(["--test", "snapshot_swap"]).env("MIRIFLAGS", "-Zmiri-disable-isolation"))
}
