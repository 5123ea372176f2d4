//! Benches: measured by criterion, collected as rows.

use std::fs;
use std::path::{Path, PathBuf};

use anyhow::{Context, Result, bail, ensure};
use serde::{Deserialize, Serialize};

use crate::command::{self, cargo};

/// The groups, each a bench target.
const GROUPS: [&str; 6] = ["route", "balancers", "health", "rules", "limits", "failover"];

/// One measured case.
#[derive(Debug, Deserialize, Serialize)]
struct Row {
    name: String,
    #[serde(flatten)]
    size: Size,
    threads: usize,
    ns: f64,
    allocations: f64,
}

/// How much there was of what a case is measured over.
#[derive(Debug, Clone, Copy, Deserialize, Serialize)]
#[serde(rename_all = "snake_case")]
enum Size {
    Candidates(usize),
    Limits(usize),
    Rules(usize),
}

impl Size {
    const fn number(self) -> usize {
        match self {
            Self::Candidates(number) | Self::Limits(number) | Self::Rules(number) => number,
        }
    }

    const fn heading(self) -> &'static str {
        match self {
            Self::Candidates(_) => "candidates",
            Self::Limits(_) => "limits",
            Self::Rules(_) => "rules",
        }
    }
}

/// What was asked for.
#[derive(Debug, Default)]
struct Options {
    group: Option<String>,
    quick: bool,
    peers: bool,
    json: Option<PathBuf>,
    chart: Option<PathBuf>,
}

pub(super) fn run(arguments: &[String]) -> Result<()> {
    if arguments.first().is_some_and(|group| group == "gateway") {
        return gateway(&arguments[1..]);
    }
    let options = parse(arguments)?;
    let mut rows = Vec::new();
    for group in GROUPS.iter().filter(|&&group| options.group.as_deref().is_none_or(|asked| asked == group)) {
        let measured = measure(group, &options)?;
        print(&measured);
        rows.extend(measured);
    }
    if let Some(path) = &options.json {
        write(&rows, path)?;
    }
    if let Some(path) = &options.chart {
        ensure!(options.group.as_deref() == Some("rules"), "only `rules` has a curve to draw");
        draw(&rows, path)?;
    }
    Ok(())
}

/// The gateway beside a bare proxy and nginx, as processes of their own: as cargo builds it, and as a profile guided it.
fn gateway(arguments: &[String]) -> Result<()> {
    let (mut quick, mut json) = (false, "-");
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => quick = true,
            "--json" => json = arguments.next().context("--json needs a file")?,
            other => bail!("no option `{other}`; options: --quick, --json FILE"),
        }
    }
    command::run(&mut cargo(&["build", "--release", "--package", "waypost-gateway"]))?;
    let program = build_gateway_bench()?;
    let waypost = program.with_file_name("waypost");
    let guided = if quick { None } else { guided()? };
    let mut bench = std::process::Command::new("taskset");
    bench.args(["-c", "1"]).arg(program).args(["run", if quick { "1" } else { "3" }, json]);
    command::run(bench.arg(waypost).args(guided))
}

/// The program that measures gateways, and trains them.
pub(super) fn build_gateway_bench() -> Result<PathBuf> {
    let bench = ["build", "--release", "--package", "waypost-benches", "--bin", "bench-gateway"];
    command::run(&mut cargo(&bench))?;
    Ok(command::target().join("release/bench-gateway"))
}

/// The gateway as a profile guided it, where that can be made.
fn guided() -> Result<Option<PathBuf>> {
    match super::pgo::tools() {
        Ok(tools) => super::pgo::build(&tools).map(Some),
        Err(missing) => {
            println!("without the gateway as a profile guides it: {missing:#}");
            Ok(None)
        }
    }
}

fn write(rows: &[Row], path: &Path) -> Result<()> {
    let text = serde_json::to_string_pretty(rows)?;
    fs::write(path, text + "\n").with_context(|| path.display().to_string())
}

/// The benches draw: this program stays light to compile.
fn draw(rows: &[Row], chart: &Path) -> Result<()> {
    let file = command::root().join("target").join(format!("bench-chart-{}.json", std::process::id()));
    write(rows, &file)?;
    let mut draw = cargo(&["run", "--quiet", "--package", "waypost-benches", "--example", "chart", "--"]);
    command::run(draw.arg(&file).arg(chart))?;
    Ok(fs::remove_file(&file)?)
}

/// Every case once: benches that do not run rot. Compiled as tests are, for nothing is measured and the rest is compiled so.
pub(super) fn smoke() -> Result<()> {
    let once = ["bench", "--profile", "dev", "--package", "waypost-benches", "--benches", "--", "--test"];
    command::run(&mut cargo(&once))
}

fn parse(arguments: &[String]) -> Result<Options> {
    let mut options = Options::default();
    let mut arguments = arguments.iter();
    while let Some(argument) = arguments.next() {
        match argument.as_str() {
            "--quick" => options.quick = true,
            "--peers" => options.peers = true,
            "--chart" => options.chart = Some(arguments.next().context("--chart needs a file")?.into()),
            "--json" => options.json = Some(arguments.next().context("--json needs a file")?.into()),
            group if GROUPS.contains(&group) => options.group = Some(group.to_owned()),
            other => bail!("no group or option `{other}`; groups: {}", GROUPS.join(", ")),
        }
    }
    Ok(options)
}

/// Runs one group; its rows come through a file, because criterion owns the terminal.
fn measure(group: &str, options: &Options) -> Result<Vec<Row>> {
    let file = command::root().join("target").join(format!("bench-{group}-{}.jsonl", std::process::id()));
    fs::create_dir_all(file.parent().expect("a file in target"))?;
    let mut bench = cargo(&["bench", "--package", "waypost-benches", "--bench", group]);
    if options.peers {
        bench.args(["--features", "peers"]);
    }
    bench.arg("--");
    let (warm_up, time, samples) = if options.quick { ("0.2", "0.5", "10") } else { ("1", "3", "50") };
    bench.args(["--warm-up-time", warm_up, "--measurement-time", time, "--sample-size", samples]);
    command::run(bench.env("WAYPOST_BENCH_ROWS", &file))?;
    let text = fs::read_to_string(&file).context("the bench wrote no rows")?;
    fs::remove_file(&file)?;
    text.lines().map(|line| serde_json::from_str(line).with_context(|| line.to_owned())).collect()
}

/// Each row beside its group's floor of the same run and thread count: nanoseconds differ from machine to machine,
/// ratios less.
fn print(rows: &[Row]) {
    let floor = |threads| rows.iter().find(|row| row.name.starts_with("floor/") && row.threads == threads);
    let heading = rows.first().map_or("", |row| row.size.heading());
    println!(
        "\n{:<24} {:>10} {:>8} {:>12} {:>9} {:>12}",
        "name", heading, "threads", "ns", "× floor", "allocations"
    );
    for row in rows {
        let ratio = floor(row.threads).map_or(f64::NAN, |floor| row.ns / floor.ns);
        println!(
            "{:<24} {:>10} {:>8} {:>12.1} {:>9.1} {:>12.2}",
            row.name,
            row.size.number(),
            row.threads,
            row.ns,
            ratio,
            row.allocations
        );
    }
}
