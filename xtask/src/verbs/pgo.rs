//! The gateway's binary, compiled with a profile of itself at work.
//!
//! Most of a request's time goes to code that is run through once: a profile tells the compiler what lies on that way, and
//! what can lie elsewhere. See <https://doc.rust-lang.org/rustc/profile-guided-optimization.html>.

use std::ffi::OsString;
use std::fs;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::time::SystemTime;

use anyhow::{Context, Result, ensure};

use crate::command::{self, cargo};

/// The flags in the variable that parts them.
const FLAGS: &str = "CARGO_ENCODED_RUSTFLAGS";

pub(super) fn run(arguments: &[String]) -> Result<()> {
    super::no_arguments(arguments)?;
    let program = build(&tools()?)?;
    println!("{}", program.display());
    Ok(())
}

/// What is needed besides cargo.
pub(super) struct Tools {
    /// The target to compile for: named, so that build scripts and macros are not compiled with the profile.
    host: String,
    /// LLVM's merger of profiles, of the compiler's own version.
    merger: PathBuf,
}

/// Finds the tools, or says what is missing.
pub(super) fn tools() -> Result<Tools> {
    let about = said(Command::new("rustc").arg("-vV"))?;
    let says = |what| about.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    let host = says("host:").context("rustc does not say its host")?.to_owned();
    ensure!(host.contains("linux"), "only on Linux: the load to learn from pins its processes to cores");
    let version = says("LLVM version:").context("rustc does not say its LLVM")?;
    let major = version.split('.').next().unwrap_or(version);
    let sysroot = PathBuf::from(said(Command::new("rustc").args(["--print", "sysroot"]))?.trim());
    let component = sysroot.join("lib/rustlib").join(&host).join("bin/llvm-profdata");
    let merger = [component, format!("llvm-profdata-{major}").into()].into_iter().find(|merger| {
        Command::new(merger).arg("--version").output().is_ok_and(|said| said.status.success())
    });
    let merger = merger.with_context(|| {
        format!("llvm-profdata is missing: `rustup component add llvm-tools`, or a system's package of LLVM {major}")
    })?;
    Ok(Tools { host, merger })
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Compiles it so that it counts, puts it to work, and compiles it by what was counted. While it stays as it was, so does
/// its profile.
pub(super) fn build(tools: &Tools) -> Result<PathBuf> {
    let folder = command::target().join("pgo");
    let (profile, raw, guided) = (folder.join("waypost.profdata"), folder.join("raw"), folder.join("guided"));
    let counting = compile(tools, &folder.join("counting"), flag("-Cprofile-generate=", &raw))?;
    if changed(&profile).is_none_or(|learned| changed(&counting).is_some_and(|built| built > learned)) {
        // Cargo does not see that a profile is another one.
        remove(&guided)?;
        learn(tools, &counting, &raw, &profile)?;
    }
    compile(tools, &guided, flag("-Cprofile-use=", &profile))
}

fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

fn remove(folder: &Path) -> Result<()> {
    if folder.exists() {
        fs::remove_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    Ok(())
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// Compiles the gateway; where its binary is.
fn compile(tools: &Tools, target: &Path, flag: OsString) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "--package", "waypost-gateway", "--target", &tools.host]);
    command::run(build.arg("--target-dir").arg(target).env(FLAGS, flag))?;
    Ok(target.join(&tools.host).join("release/waypost"))
}

/// Puts a binary that counts to work; what it counted becomes the profile.
fn learn(tools: &Tools, counting: &Path, raw: &Path, profile: &Path) -> Result<()> {
    remove(raw)?;
    let train = super::bench::build_gateway_bench()?;
    command::run(Command::new(train).arg("train").arg(counting))?;
    command::run(Command::new(&tools.merger).args(["merge", "--output"]).arg(profile).arg(raw))
}
