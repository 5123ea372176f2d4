//! What the gateway costs: beside a bare proxy of the same stack that reads nothing, and beside nginx.
//!
//! Each system runs on the first core, load and provider on the second. `cargo xtask bench gateway` builds and starts it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what was measured")]

mod load;
mod proxy;
mod systems;
mod training;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use tokio::net::TcpListener;
use tokio::task::LocalSet;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech};

use load::{Case, Measured};
use systems::System;

/// Events of a streamed answer.
const EVENTS: u32 = 64;
/// Between two events of a slow stream, so that many are open at once.
const SLOWLY: Duration = Duration::from_millis(100);

/// Which requests fail where their users are flaky: one in so many.
const FAILS: u64 = 32;
/// What our programs are called, in the order in which they are given: as cargo builds it, and as a profile guided it.
const GATEWAYS: [&str; 2] = ["waypost", "waypost guided"];
/// Instead of a file for the report.
const NO_FILE: &str = "-";

/// How often each system is measured in a case.
const ROUNDS: u32 = 3;

/// One measured case of one system.
#[derive(Debug, Serialize)]
struct Row {
    system: &'static str,
    case: String,
    concurrency: usize,
    cpu_us_per_request: f64,
    /// What of it was spent in the kernel.
    kernel_us_per_request: f64,
    requests_per_second: f64,
    p50_us: f64,
    p99_us: f64,
}

/// What else was measured of a system.
#[derive(Debug, Serialize)]
struct Memory {
    system: &'static str,
    idle_mib: f64,
    with_256_streams_mib: f64,
    ready_after_ms: f64,
}

#[derive(Debug, Serialize)]
struct Report {
    rows: Vec<Row>,
    memory: Vec<Memory>,
}

fn main() -> Result<(), Box<dyn Error>> {
    let arguments: Vec<String> = std::env::args().skip(1).collect();
    let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build()?;
    let words: Vec<&str> = arguments.iter().map(String::as_str).collect();
    match words[..] {
        ["upstream", address] => runtime.block_on(upstream(address.parse()?)),
        ["proxy", address, to] => LocalSet::new().block_on(&runtime, async {
            let listener = TcpListener::bind(address.parse::<SocketAddr>()?).await?;
            Ok(proxy::serve(listener, to.parse()?).await?)
        }),
        ["train", waypost] => LocalSet::new().block_on(&runtime, training::train(waypost)),
        ["run", seconds, file, ref waypost @ ..] => {
            let report = runtime.block_on(measure(waypost, Duration::from_secs_f64(seconds.parse()?)))?;
            print(&report);
            if file != NO_FILE {
                std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
            }
            Ok(())
        }
        _ => Err("upstream ADDRESS | proxy ADDRESS TO | train WAYPOST | run SECONDS FILE|- WAYPOST [GUIDED]"
            .into()),
    }
}

/// The provider: answers at once, or slowly or at times not when the request says so.
async fn upstream(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let _provider = HttpProvider::start_at(address, |request: &HttpRequest| {
        let says = |word: &[u8]| memchr::memmem::find(&request.body, word).is_some();
        if request.number.is_multiple_of(FAILS) && says(b"\"flaky") {
            return Script::status(503, &[], r#"{"error":{"message":"overloaded"}}"#);
        }
        let per_token = if says(b"\"slow\"") { SLOWLY } else { Duration::ZERO };
        Speech { words: EVENTS, per_token, ..Speech::default() }.answer(request)
    })
    .await?;
    std::future::pending().await
}

async fn measure(waypost: &[&str], time: Duration) -> Result<Report, Box<dyn Error>> {
    let provider = systems::free_address()?;
    let _provider = systems::upstream(provider)?;
    systems::ready(provider).await?;
    let (mut systems, mut report) = (Vec::new(), Report { rows: Vec::new(), memory: Vec::new() });
    let others = [System::bare_proxy, System::nginx].into_iter().map(|start| start(provider));
    let ours = GATEWAYS
        .iter()
        .zip(waypost)
        .map(|(name, program)| System::waypost(name, program, provider).map(Some));
    for system in others.chain(ours) {
        let Some(system) = system? else { continue };
        let ready_after_ms = systems::ready(system.address).await?.as_secs_f64() * 1e3;
        let idle_mib = system.resident_mib()?;
        report.memory.push(Memory {
            system: system.name,
            idle_mib,
            with_256_streams_mib: 0.0,
            ready_after_ms,
        });
        systems.push(system);
    }
    for case in Case::all() {
        report.rows.extend(in_turn(&systems, &case, time).await?);
    }
    for (system, memory) in systems.iter().zip(&mut report.memory) {
        let streams = load::open_streams(system.address, 256).await?;
        memory.with_256_streams_mib = system.resident_mib()?;
        drop(streams);
    }
    Ok(report)
}

/// Measures a case of all systems in turn, so that what else happens on the machine meets them alike.
async fn in_turn(systems: &[System], case: &Case, time: Duration) -> Result<Vec<Row>, Box<dyn Error>> {
    let mut sums: Vec<Measured> = systems.iter().map(|_| Measured::default()).collect();
    for _ in 0..ROUNDS {
        for (system, sum) in systems.iter().zip(&mut sums) {
            load::run(system.address, case, time / ROUNDS / 4).await?;
            let before = system.cpu_time()?;
            let measured = load::run(system.address, case, time / ROUNDS).await?;
            sum.add(measured, system.cpu_time()? - before)?;
        }
    }
    Ok(systems.iter().zip(&sums).map(|(system, sum)| Row::new(system.name, case, sum)).collect())
}

impl Row {
    fn new(system: &'static str, case: &Case, measured: &Measured) -> Self {
        let micros = |time: Duration| time.as_secs_f64() * 1e6;
        let requests = measured.latencies.len() as f64;
        let quantile = |q| micros(Duration::from_nanos(measured.latencies.value_at_quantile(q)));
        Self {
            system,
            case: case.to_string(),
            concurrency: case.concurrency,
            cpu_us_per_request: micros(measured.cpu.total) / requests,
            kernel_us_per_request: micros(measured.cpu.kernel) / requests,
            requests_per_second: requests / measured.elapsed.as_secs_f64(),
            p50_us: quantile(0.5),
            p99_us: quantile(0.99),
        }
    }
}

fn print(report: &Report) {
    println!(
        "\n{:<16} {:>11} {:<14} {:>12} {:>8} {:>10} {:>11} {:>10} {:>10}",
        "case",
        "concurrency",
        "system",
        "cpu µs/req",
        "× bare",
        "kernel µs",
        "requests/s",
        "p50 µs",
        "p99 µs"
    );
    for row in &report.rows {
        let is_same = |bare: &&Row| {
            (&bare.case, bare.concurrency) == (&row.case, row.concurrency) && bare.system == "bare proxy"
        };
        let bare = report.rows.iter().find(is_same).map_or(f64::NAN, |bare| bare.cpu_us_per_request);
        println!(
            "{:<16} {:>11} {:<14} {:>12.1} {:>8.2} {:>10.1} {:>11.0} {:>10.0} {:>10.0}",
            row.case,
            row.concurrency,
            row.system,
            row.cpu_us_per_request,
            row.cpu_us_per_request / bare,
            row.kernel_us_per_request,
            row.requests_per_second,
            row.p50_us,
            row.p99_us
        );
    }
    for memory in &report.memory {
        println!(
            "{:<14} idle {:.1} MiB, with 256 streams {:.1} MiB, ready after {:.0} ms",
            memory.system, memory.idle_mib, memory.with_256_streams_mib, memory.ready_after_ms
        );
    }
}
