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

/// The lines of a file of the data folder; says so when it is not there.
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn records(path: &str) -> Option<impl Iterator<Item = Value>> {
    let file = std::env::var_os("WAYPOST_DATA")
        .and_then(|folder| std::fs::File::open(PathBuf::from(folder).join(path)).ok());
    if file.is_none() {
        say(&format!("skipped: no {path} (WAYPOST_DATA is not set or does not have it)"));
    }
    let lines = BufReader::new(GzDecoder::new(BufReader::new(file?))).lines();
    Some(lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()))
}

fn kind(provider_name: &str, response: ErrorResponse) -> ErrorKind {
    let error = RequestError::Response(response);
    let provider = provider(type_name(provider_name));
    ErrorClassifier::default().classify(&provider, &error, SystemTime::UNIX_EPOCH).kind
}

/// The event of a stream that is an error, if one is.
fn error_event(line: &str) -> Option<&str> {
    let event = line.strip_prefix("data:").unwrap_or(line).trim();
    let value: Value = serde_json::from_str(event).ok()?;
    let is_error =
        ["/error", "/response/error"].into_iter().any(|at| value.pointer(at).is_some_and(Value::is_object));
    is_error.then_some(event)
}

#[test]
fn u08_recorded_errors_inside_answers_are_known() {
    let files = [
        (
            "protocol/captures/pydantic-ai.jsonl.gz",
            "response_body",
            vec![
                ("groq", ErrorKind::InvalidRequest),
                ("groq", ErrorKind::InvalidRequest),
                ("openrouter", ErrorKind::InvalidRequest),
            ],
        ),
        (
            "protocol/fixtures/vercel-ai.jsonl.gz",
            "body",
            vec![("openai", ErrorKind::QuotaExhausted), ("openai", ErrorKind::QuotaExhausted)],
        ),
    ];
    for (path, body, expected) in files {
        let Some(records) = records(path) else { return };
        let mut found = Vec::new();
        for record in records.filter(|record| record["status"].as_u64().is_none_or(|status| status < 400)) {
            let lines = record[body].as_str().unwrap_or_default().lines().filter_map(error_event);
            let name = record["provider"].as_str().unwrap();
            // An answer that is one error has a status of its own, which fixtures do not tell.
            let streamed = record["kind"] == "sse_data_lines" || record["status"] == 200;
            let kinds =
                lines.filter(|_| streamed).map(|event| kind(name, ErrorResponse::new(200).body(event)));
            found.extend(kinds.map(|kind| (name.to_owned(), kind)));
        }
        let found: Vec<_> = found.iter().map(|(name, kind)| (name.as_str(), *kind)).collect();
        assert_eq!(found, expected, "{path}");
        say(&format!("errors inside answers of {path}: {found:?}"));
    }
}

/// Statuses of the 400s that are recorded are the caller's fault, a missing model or a limit.
#[test]
fn every_recorded_error_is_known() {
    let Some(records) = records("protocol/captures/pydantic-ai.jsonl.gz") else { return };
    let mut counts = BTreeMap::new();
    for exchange in records {
        let status = u16::try_from(exchange["status"].as_u64().unwrap()).unwrap();
        if status < 400 {
            continue;
        }
        let body = exchange["response_body"].as_str().unwrap_or_default();
        let kind = kind(exchange["provider"].as_str().unwrap(), ErrorResponse::new(status).body(body));
        let expected: &[ErrorKind] = match status {
            404 => &[ErrorKind::ModelNotFound],
            429 => &[ErrorKind::RateLimitExceeded],
            _ => &[ErrorKind::InvalidRequest, ErrorKind::ModelNotFound],
        };
        assert!(expected.contains(&kind), "{} {status}: {kind:?}", exchange["id"]);
        *counts.entry(kind).or_insert(0) += 1;
    }
    assert!(counts.values().sum::<i32>() >= 40, "{counts:?}");
    say(&format!("recorded errors: {counts:?}"));
}

/// Errors that a client library keeps without their statuses: those that the providers document.
#[test]
fn recorded_bodies_of_errors_are_known_with_their_waits() {
    let Some(records) = records("protocol/fixtures/vercel-ai.jsonl.gz") else { return };
    let mut found = Vec::new();
    for record in records.filter(|record| record["kind"] == "json") {
        let (body, name) =
            (record["body"].as_str().unwrap_or_default(), record["provider"].as_str().unwrap());
        let said: Value = serde_json::from_str(body).unwrap_or_default();
        if !said["error"].is_object() {
            continue;
        }
        let limited = said["error"]["code"] == 429 || said["error"]["code"] == "insufficient_quota";
        let error = RequestError::Response(ErrorResponse::new(if limited { 429 } else { 400 }).body(body));
        let verdict =
            ErrorClassifier::default().classify(&provider(type_name(name)), &error, SystemTime::UNIX_EPOCH);
        found.push((name.to_owned(), verdict.kind, verdict.retry_after.map(|wait| wait.as_millis())));
    }
    found.sort_by_key(|(name, kind, _)| (name.clone(), format!("{kind:?}")));
    let found: Vec<_> = found.iter().map(|(name, kind, wait)| (name.as_str(), *kind, *wait)).collect();
    let expected = [
        ("google", ErrorKind::RateLimitExceeded, Some(34_400)),
        ("openai", ErrorKind::InvalidRequest, None),
        ("openai", ErrorKind::InvalidRequest, None),
        ("openai", ErrorKind::InvalidRequest, None),
        ("openai", ErrorKind::QuotaExhausted, None),
    ];
    assert_eq!(found, expected);
}

/// Google says in a 200 that its shield stopped a prompt or an answer: that is no illness.
#[test]
fn recorded_answers_that_a_shield_stopped_are_content_policies() {
    let Some(records) = records("protocol/captures/pydantic-ai.jsonl.gz") else { return };
    let stopped = records.filter_map(|exchange| {
        let body = exchange["response_body"].as_str()?;
        body.contains("\"MODEL_ARMOR\"").then(|| kind("google-vertex", ErrorResponse::new(200).body(body)))
    });
    assert_eq!(stopped.collect::<Vec<_>>(), [ErrorKind::ContentFiltered; 2]);
}
