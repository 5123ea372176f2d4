//! Fuzzing: inputs that somebody thought of, and millions that nobody did.

use std::fs;

use anyhow::{Context, Result, bail, ensure};

use crate::command;

/// What can be fuzzed: the binaries of `fuzz/`, each with its seeds and its dictionary.
const TARGETS: [&str; 2] = ["errors", "rules"];

/// The longest input, in bytes: a mistake hides in few lines, and short inputs run fast.
const MAX_LEN: usize = 4_096;

/// What was asked for.
#[derive(Debug)]
struct Options {
    target: String,
    seconds: u32,
}

pub(super) fn run(arguments: &[String]) -> Result<()> {
    let options = parse(arguments)?;
    check_tools()?;
    let target = &options.target;
    let (corpus, seeds) = (format!("fuzz/corpus/{target}"), format!("fuzz/seeds/{target}"));
    fs::create_dir_all(command::root().join(&corpus)).with_context(|| corpus.clone())?;
    let mut fuzz = command::nightly(&["fuzz", "run", "--fuzz-dir", "fuzz", target, &corpus, &seeds, "--"]);
    fuzz.arg(format!("-max_total_time={}", options.seconds)).arg(format!("-max_len={MAX_LEN}"));
    fuzz.args(["-timeout=10", "-rss_limit_mb=2048", "-print_final_stats=1"]);
    command::run(fuzz.arg(format!("-dict=fuzz/{target}.dict")))
}

fn parse(arguments: &[String]) -> Result<Options> {
    let (mut target, mut seconds) = (None, 60);
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--seconds" => {
                let number = arguments.next().context("--seconds needs a number")?;
                seconds = number.parse().with_context(|| format!("`{number}` is not a number of seconds"))?;
            }
            known if TARGETS.contains(&known) => target = Some(known.to_owned()),
            other => bail!("no target or option `{other}`; targets: {}", TARGETS.join(", ")),
        }
    }
    // To libFuzzer no seconds are endless ones.
    ensure!(seconds > 0, "--seconds needs at least 1");
    let target = target.with_context(|| format!("which target? {}", TARGETS.join(", ")))?;
    Ok(Options { target, seconds })
}

fn check_tools() -> Result<()> {
    let works = |arguments: &[&str]| {
        command::nightly(arguments).output().is_ok_and(|version| version.status.success())
    };
    ensure!(
        works(&["--version"]),
        "the nightly toolchain is missing: `rustup toolchain install nightly --profile minimal`"
    );
    ensure!(works(&["fuzz", "--version"]), "cargo-fuzz is missing: `cargo install cargo-fuzz --locked`");
    Ok(())
}
