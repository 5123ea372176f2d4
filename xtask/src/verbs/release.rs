//! Packages.

use std::time::{SystemTime, UNIX_EPOCH};

use anyhow::{Result, ensure};

use crate::command::{self, cargo};

pub(super) fn run(arguments: &[String]) -> Result<()> {
    ensure!(arguments == ["--dry-run"], "only --dry-run: releases are made by hand, from a tag");
    // Cargo verifies against a registry of its own in the target folder, and remembers what it unpacked from there by
    // the folder's path and the version, not by content: a folder that was used before would verify yesterday's crates.
    let now = SystemTime::now().duration_since(UNIX_EPOCH)?.as_millis();
    let folder = command::root().join("target").join(format!("package-{now}"));
    let mut package =
        cargo(&["package", "--workspace", "--exclude", "xtask", "--exclude", "waypost-benches"]);
    let packaged = command::run(package.args(["--allow-dirty", "--target-dir"]).arg(&folder));
    if folder.exists() {
        std::fs::remove_dir_all(&folder)?;
    }
    packaged
}
