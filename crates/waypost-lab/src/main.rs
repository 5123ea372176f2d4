//! The command line of the simulator.

#![forbid(unsafe_code)]

use std::io::{IsTerminal, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, anyhow, ensure};
use clap::Parser;
use indicatif::{ProgressBar, ProgressDrawTarget, ProgressStyle};
use waypost::LoadBalancingStrategy;
use waypost_lab::{Arrival, Report, Scenario, Simulation, trace};

/// Routes a trace over simulated providers in virtual time.
#[derive(Debug, Parser)]
#[command(name = "cargo xtask lab")]
struct Options {
    /// The fleet: outage, calm, brown-out, rate-limit or demo.
    #[arg(long, default_value = "outage")]
    scenario: String,
    /// A trace to replay, plain or gzip: Azure LLM inference 2023 (CSV) or Mooncake (JSON lines).
    #[arg(long)]
    trace: Option<PathBuf>,
    /// Seed of all randomness.
    #[arg(long, default_value_t = 42)]
    seed: u64,
    /// The most requests. Default: all of a trace, 20,000 otherwise.
    #[arg(long)]
    requests: Option<u64>,
    /// The strategy, such as round-robin, least-latency or adaptive. Default: the scenario's.
    #[arg(long)]
    strategy: Option<LoadBalancingStrategy>,
    /// Write the report as JSON.
    #[arg(long)]
    json: Option<PathBuf>,
    /// Write the report as a page with charts.
    #[arg(long)]
    html: Option<PathBuf>,
}

fn main() -> Result<()> {
    let options = Options::parse();
    let scenario = scenario(&options)?;
    let arrivals = arrivals(&options, &scenario)?;
    let report = run(&scenario, options.seed, arrivals)?;
    write!(std::io::stdout(), "{report}")?;
    if let Some(path) = &options.json {
        save(path, &report.to_json())?;
    }
    if let Some(path) = &options.html {
        save(path, &report.to_html()?)?;
        let shown = path.canonicalize().unwrap_or_else(|_| path.clone());
        writeln!(std::io::stdout(), "charts: {}", shown.display())?;
    }
    Ok(())
}

fn scenario(options: &Options) -> Result<Scenario> {
    let known = || Scenario::all().iter().map(|scenario| scenario.name).collect::<Vec<_>>().join(", ");
    let mut scenario = Scenario::named(&options.scenario)
        .ok_or_else(|| anyhow!("unknown scenario `{}`; there are {}", options.scenario, known()))?;
    if let Some(strategy) = &options.strategy {
        let known = || {
            LoadBalancingStrategy::built_in().map(|known| known.to_string()).collect::<Vec<_>>().join(", ")
        };
        let is_known = LoadBalancingStrategy::built_in().any(|known| known == *strategy);
        ensure!(is_known, "unknown strategy `{strategy}`; there are {}", known());
        scenario.strategy = strategy.clone();
    }
    Ok(scenario)
}

fn arrivals(options: &Options, scenario: &Scenario) -> Result<Vec<Arrival>> {
    let Some(path) = &options.trace else {
        return Ok(scenario.arrivals(options.seed, options.requests.unwrap_or(scenario.requests)));
    };
    let mut arrivals = trace::read(path).with_context(|| path.display().to_string())?;
    arrivals
        .truncate(options.requests.map_or(usize::MAX, |most| usize::try_from(most).unwrap_or(usize::MAX)));
    Ok(arrivals)
}

fn run(scenario: &Scenario, seed: u64, arrivals: Vec<Arrival>) -> Result<Report> {
    let bar = progress_bar(arrivals.len() as u64);
    let simulation = Simulation::new(scenario, seed)?;
    let report = simulation.run_with_progress(arrivals, |routed| {
        if routed.is_multiple_of(256) {
            bar.set_position(routed);
        }
    });
    bar.finish_and_clear();
    Ok(report)
}

fn progress_bar(length: u64) -> ProgressBar {
    let target = if std::io::stderr().is_terminal() {
        ProgressDrawTarget::stderr()
    } else {
        ProgressDrawTarget::hidden()
    };
    let style = ProgressStyle::with_template("{bar:40} {human_pos} of {human_len} requests, {per_sec}");
    ProgressBar::with_draw_target(Some(length), target)
        .with_style(style.unwrap_or_else(|_| ProgressStyle::default_bar()))
}

fn save(path: &Path, text: &str) -> Result<()> {
    if let Some(folder) = path.parent() {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    std::fs::write(path, text).with_context(|| path.display().to_string())
}
