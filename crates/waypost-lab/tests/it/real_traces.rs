//! Real traces, where they are at hand: `WAYPOST_DATA` names a folder with `traces/azure-llm-2023` and
//! `traces/mooncake-fast25` as published.

use std::io::Write;
use std::path::PathBuf;

use waypost_lab::{Scenario, Simulation, trace};

/// The file, or a word on the terminal that the test was skipped.
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn data(file: &str) -> Option<PathBuf> {
    let path = std::env::var_os("WAYPOST_DATA").map(|folder| PathBuf::from(folder).join(file));
    let found = path.filter(|path| path.exists());
    if found.is_none() {
        // Past the test harness, which would keep it to itself.
        let _ =
            writeln!(std::io::stderr(), "skipped: no {file} (WAYPOST_DATA is not set or does not have it)");
    }
    found
}

fn accounts_for(file: &str, rows: u64) {
    let Some(path) = data(file) else { return };
    let arrivals = trace::read(path).unwrap();
    let scenario = Scenario::named("outage").unwrap();
    let report = Simulation::new(&scenario, 42).unwrap().run(arrivals);
    assert_eq!(report.requests, rows);
    assert_eq!(report.routed + report.refused, rows);
    assert_eq!(report.in_flight_at_end, 0);
}

#[test]
fn azure_conversations() {
    accounts_for("traces/azure-llm-2023/conv.csv.gz", 14_176);
}

#[test]
fn azure_code() {
    accounts_for("traces/azure-llm-2023/code.csv.gz", 7_491);
}

#[test]
fn mooncake_conversations() {
    accounts_for("traces/mooncake-fast25/conversation_first40min.jsonl.gz", 7_851);
}
