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

/// The compiler's flags, parted by a character that none has; before it counts the other, parted by spaces.
const FLAGS: [&str; 2] = ["CARGO_ENCODED_RUSTFLAGS", "RUSTFLAGS"];
const PARTED_BY: &str = "\u{1f}";

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
    /// Which compiler it is: profiles are of no use to another.
    compiler: String,
    /// LLVM's merger of profiles, of the compiler's own version.
    merger: PathBuf,
}

/// Finds the tools, or says what is missing.
pub(super) fn tools() -> Result<Tools> {
    let about = said(Command::new("rustc").arg("-vV"))?;
    let says = |what| about.lines().find_map(|line| line.strip_prefix(what)).map(str::trim);
    let host = says("host:").context("rustc does not say its host")?.to_owned();
    ensure!(host.contains("linux"), "only on Linux: the load to learn from pins its processes to cores");
    let compiler = says("commit-hash:").context("rustc does not say which it is")?.to_owned();
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
    Ok(Tools { host, compiler, merger })
}

fn said(command: &mut Command) -> Result<String> {
    let output = command.output().with_context(|| format!("{command:?}"))?;
    ensure!(output.status.success(), "{command:?} failed");
    Ok(String::from_utf8(output.stdout)?)
}

/// Compiles it so that it counts, puts it to work, and compiles it by what was counted. While it and its work stay as they
/// were, so does its profile.
pub(super) fn build(tools: &Tools) -> Result<PathBuf> {
    let folder = command::target().join("pgo").join(&tools.compiler);
    let (profile, raw) = (folder.join("waypost.profdata"), folder.join("raw"));
    let counting = compile(tools, &folder.join("counting"), flag("-Cprofile-generate=", &raw))?;
    let trainer = super::bench::build_gateway_bench()?;
    let learned = changed(&profile);
    if learned.is_none() || [&counting, &trainer].into_iter().any(|program| changed(program) > learned) {
        learn(tools, [&trainer, &counting], &raw, &profile)?;
    }
    compile(tools, &folder.join("guided"), flag("-Cprofile-use=", &profile))
}

fn flag(name: &str, path: &Path) -> OsString {
    let mut flag = OsString::from(name);
    flag.push(path);
    flag
}

fn changed(path: &Path) -> Option<SystemTime> {
    fs::metadata(path).and_then(|file| file.modified()).ok()
}

/// Compiles the gateway; where its binary is.
fn compile(tools: &Tools, target: &Path, flag: OsString) -> Result<PathBuf> {
    let mut build = cargo(&["build", "--release", "--package", "waypost-gateway", "--target", &tools.host]);
    let flags: Vec<_> = usual_flags().into_iter().chain([flag]).collect();
    let flags = flags.join(PARTED_BY.as_ref());
    command::run(build.arg("--target-dir").arg(target).env(FLAGS[0], flags))?;
    Ok(target.join(&tools.host).join("release/waypost"))
}

/// What is compiled with as a rule.
fn usual_flags() -> Vec<OsString> {
    let said = |name| std::env::var_os(name).map(|flags| flags.to_string_lossy().into_owned());
    let flags = said(FLAGS[0])
        .or_else(|| Some(said(FLAGS[1])?.split_whitespace().collect::<Vec<_>>().join(PARTED_BY)));
    flags
        .iter()
        .flat_map(|flags| flags.split(PARTED_BY))
        .filter(|flag| !flag.is_empty())
        .map(Into::into)
        .collect()
}

/// Puts a binary that counts to work; what it counted becomes the profile.
fn learn(tools: &Tools, [trainer, counting]: [&Path; 2], raw: &Path, profile: &Path) -> Result<()> {
    if raw.exists() {
        fs::remove_dir_all(raw)?;
    }
    command::run(Command::new(trainer).arg("train").arg(counting))?;
    command::run(Command::new(&tools.merger).args(["merge", "--output"]).arg(profile).arg(raw))
}
