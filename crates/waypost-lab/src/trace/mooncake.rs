//! The Mooncake traces.

use std::io::BufRead;
use std::time::Duration;

use serde::Deserialize;
use waypost::core::Tokens;

use super::TraceError;
use crate::Arrival;

/// A line; the ids of prefix blocks are of no use here.
#[derive(Deserialize)]
struct Request {
    timestamp: u64,
    input_length: u64,
    output_length: u64,
}

pub(super) fn read(input: &mut impl BufRead) -> Result<Vec<(u64, Arrival)>, TraceError> {
    let mut arrivals = Vec::new();
    for (number, line) in (1..).zip(input.lines()) {
        let line = line.map_err(|error| TraceError::read(number - 1, error))?;
        if line.trim().is_empty() {
            continue;
        }
        let request: Request = serde_json::from_str(&line)
            .map_err(|_| TraceError::line(number, "timestamp, input_length and output_length", &line))?;
        let arrival = Arrival {
            at: Duration::from_millis(request.timestamp),
            prompt: Tokens(request.input_length),
            completion: Tokens(request.output_length),
        };
        arrivals.push((number, arrival));
    }
    Ok(arrivals)
}
