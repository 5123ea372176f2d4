//! What the gateway costs: beside a bare proxy of the same stack that reads nothing, and beside nginx.
//!
//! Each system runs on the first core, load and provider on the second. `cargo xtask bench gateway` builds and starts it.

#![forbid(unsafe_code)]
#![expect(clippy::print_stdout, reason = "what was measured")]

mod load;
mod proxy;
mod systems;

use std::error::Error;
use std::net::SocketAddr;
use std::time::Duration;

use serde::Serialize;
use waypost_lab::http::{HttpProvider, HttpRequest, Speech};

use load::{Case, Measured};
use systems::System;

/// Events of a streamed answer.
const EVENTS: u32 = 64;
/// Between two events of a slow stream, so that many are open at once.
const SLOWLY: Duration = Duration::from_millis(100);

/// One measured case of one system.
#[derive(Debug, Serialize)]
struct Row {
    system: &'static str,
    case: String,
    concurrency: usize,
    cpu_us_per_request: f64,
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
        ["proxy", address, to] => runtime.block_on(proxy::serve(address.parse()?, to.parse()?)),
        ["run", waypost, seconds, ref rest @ ..] => {
            let report = runtime.block_on(measure(waypost, Duration::from_secs_f64(seconds.parse()?)))?;
            print(&report);
            if let [file] = rest {
                std::fs::write(file, serde_json::to_string_pretty(&report)? + "\n")?;
            }
            Ok(())
        }
        _ => Err("upstream ADDRESS | proxy ADDRESS TO | run WAYPOST SECONDS [FILE]".into()),
    }
}

/// The provider: answers at once, or slowly when the request says so.
async fn upstream(address: SocketAddr) -> Result<(), Box<dyn Error>> {
    let _provider = HttpProvider::start_at(address, |request: &HttpRequest| {
        let slow = memchr::memmem::find(&request.body, b"\"slow\"").is_some();
        let per_token = if slow { SLOWLY } else { Duration::ZERO };
        Speech { words: EVENTS, per_token, ..Speech::default() }.answer(request)
    })
    .await?;
    std::future::pending().await
}

async fn measure(waypost: &str, time: Duration) -> Result<Report, Box<dyn Error>> {
    let provider = systems::free_address()?;
    let _provider = systems::upstream(provider)?;
    systems::ready(provider).await?;
    let mut report = Report { rows: Vec::new(), memory: Vec::new() };
    for start in [System::bare_proxy, System::nginx] {
        if let Some(system) = start(provider)? {
            all_cases(&system, time, &mut report).await?;
        }
    }
    all_cases(&System::waypost(waypost, provider)?, time, &mut report).await?;
    Ok(report)
}

async fn all_cases(system: &System, time: Duration, report: &mut Report) -> Result<(), Box<dyn Error>> {
    let ready_after = systems::ready(system.address).await?;
    let idle = system.resident_mib()?;
    for case in Case::all() {
        load::run(system.address, &case, time / 4).await?;
        let before = system.cpu_time()?;
        let Measured { requests, elapsed, p50, p99 } = load::run(system.address, &case, time).await?;
        let cpu = system.cpu_time()?.saturating_sub(before);
        report.rows.push(Row {
            system: system.name,
            case: case.to_string(),
            concurrency: case.concurrency,
            cpu_us_per_request: cpu.as_secs_f64() * 1e6 / requests as f64,
            requests_per_second: requests as f64 / elapsed.as_secs_f64(),
            p50_us: p50.as_secs_f64() * 1e6,
            p99_us: p99.as_secs_f64() * 1e6,
        });
    }
    let streams = load::open_streams(system.address, 256).await?;
    let with_256_streams_mib = system.resident_mib()?;
    drop(streams);
    let ready_after_ms = ready_after.as_secs_f64() * 1e3;
    report.memory.push(Memory { system: system.name, idle_mib: idle, with_256_streams_mib, ready_after_ms });
    Ok(())
}

fn print(report: &Report) {
    println!(
        "\n{:<12} {:<16} {:>11} {:>12} {:>8} {:>11} {:>10} {:>10}",
        "system", "case", "concurrency", "cpu µs/req", "× bare", "requests/s", "p50 µs", "p99 µs"
    );
    for row in &report.rows {
        let is_same = |bare: &&Row| {
            (&bare.case, bare.concurrency) == (&row.case, row.concurrency) && bare.system == "bare proxy"
        };
        let bare = report.rows.iter().find(is_same).map_or(f64::NAN, |bare| bare.cpu_us_per_request);
        println!(
            "{:<12} {:<16} {:>11} {:>12.1} {:>8.2} {:>11.0} {:>10.0} {:>10.0}",
            row.system,
            row.case,
            row.concurrency,
            row.cpu_us_per_request,
            row.cpu_us_per_request / bare,
            row.requests_per_second,
            row.p50_us,
            row.p99_us
        );
    }
    for memory in &report.memory {
        println!(
            "{:<12} idle {:.1} MiB, with 256 streams {:.1} MiB, ready after {:.0} ms",
            memory.system, memory.idle_mib, memory.with_256_streams_mib, memory.ready_after_ms
        );
    }
}
