//! All tests and examples.

use anyhow::Result;

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    let mut tests = cargo(&["test", "--workspace", "--exclude", "waypost-benches", "--all-features"]);
    // Tests on real traces need a folder that is not part of the repository; without it they say that they skip.
    let data = command::root().join("../shared/data");
    if std::env::var_os("WAYPOST_DATA").is_none() && data.exists() {
        tests.env("WAYPOST_DATA", data);
    }
    command::run(&mut tests)
}
