//! Errors that providers really sent, where they are at hand: `WAYPOST_DATA` names a folder with `protocol/captures`.

use std::collections::BTreeMap;
use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::time::SystemTime;

use flate2::bufread::GzDecoder;
use serde_json::Value;
use waypost_failover::{ErrorClassifier, ErrorKind, ErrorResponse, RequestError};

use crate::corpus::provider;

#[expect(clippy::print_stdout, reason = "a test that skips says so")]
pub(crate) fn say(what: &str) {
    println!("{what}");
}

fn type_name(provider: &str) -> &str {
    match provider {
        "google" | "gemini" | "vertex" | "google-vertex" => "google-vertex",
        "bedrock" | "aws" => "aws-bedrock",
        "azure" => "azure-openai",
        other => other,
    }
}

/// Statuses of the 400s that are recorded are the caller's fault, a missing model or a limit.
#[test]
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn every_recorded_error_is_known() {
    let file = std::env::var_os("WAYPOST_DATA")
        .map(|folder| PathBuf::from(folder).join("protocol/captures/pydantic-ai.jsonl.gz"))
        .and_then(|path| std::fs::File::open(path).ok());
    let Some(file) = file else {
        return say("skipped: no protocol/captures (WAYPOST_DATA is not set or does not have it)");
    };
    let mut counts = BTreeMap::new();
    for line in BufReader::new(GzDecoder::new(BufReader::new(file))).lines() {
        let exchange: Value = serde_json::from_str(&line.unwrap()).unwrap();
        let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
        if status < 400 {
            continue;
        }
        let name = type_name(exchange["provider"].as_str().unwrap());
        let response =
            ErrorResponse::new(status).body(exchange["response_body"].as_str().unwrap_or_default());
        let error = RequestError::Response(response);
        let verdict = ErrorClassifier::default().classify(&provider(name), &error, SystemTime::UNIX_EPOCH);
        let expected: &[ErrorKind] = match status {
            404 => &[ErrorKind::ModelNotFound],
            429 => &[ErrorKind::RateLimitExceeded],
            _ => &[ErrorKind::InvalidRequest, ErrorKind::ModelNotFound],
        };
        assert!(expected.contains(&verdict.kind), "{} {status}: {verdict:?}", exchange["id"]);
        *counts.entry(verdict.kind).or_insert(0) += 1;
    }
    assert!(counts.values().sum::<i32>() >= 40, "{counts:?}");
    say(&format!("recorded errors: {counts:?}"));
}
