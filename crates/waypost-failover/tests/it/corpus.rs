//! Every case of `corpus/errors.json` gets its verdict, and the book's table is the corpus.

use std::collections::BTreeSet;
use std::fmt::Write as _;
use std::path::Path;
use std::time::{Duration, SystemTime};

use serde_json::{Value, json};
use waypost_core::{ProviderId, ProviderType};
use waypost_failover::{ErrorClassifier, ErrorResponse, RequestError, Verdict};

/// 2026-11-24, 00:00:00 UTC: dates in the corpus are read from here.
const NOW: Duration = Duration::from_secs(1_795_478_400);

pub(crate) fn cases() -> Vec<Value> {
    serde_json::from_str(include_str!("../../corpus/errors.json")).unwrap()
}

pub(crate) fn provider(name: &str) -> ProviderType {
    match name {
        "openai" => ProviderType::OpenAi,
        "anthropic" => ProviderType::Anthropic,
        "azure-openai" => ProviderType::AzureOpenAi,
        "google-vertex" => ProviderType::GoogleVertex,
        "aws-bedrock" => ProviderType::AwsBedrock,
        "cohere" => ProviderType::Cohere,
        name => ProviderType::Custom(ProviderId::new(name).unwrap()),
    }
}

pub(crate) fn response(case: &Value) -> ErrorResponse {
    let status = u16::try_from(case["status"].as_u64().unwrap()).unwrap();
    let response = ErrorResponse::new(status).body(case["body"].as_str().unwrap());
    let headers = case["headers"].as_object().unwrap();
    headers.iter().fold(response, |response, (name, value)| response.header(&**name, value.as_str().unwrap()))
}

fn judged(case: &Value) -> Verdict {
    let provider = provider(case["provider"].as_str().unwrap());
    let error = RequestError::Response(response(case));
    ErrorClassifier::default().classify(&provider, &error, SystemTime::UNIX_EPOCH + NOW)
}

#[test]
fn u08_u10_u12_u14_u30_every_case_gets_its_verdict() {
    let seconds = |time: Option<Duration>| match time {
        Some(time) if time.subsec_nanos() > 0 => json!(time.as_secs_f64()),
        time => json!(time.map(|time| time.as_secs())),
    };
    let mut wrong = String::new();
    for case in cases() {
        let verdict = judged(&case);
        let said = json!({
            "kind": verdict.kind.name(),
            "scope": verdict.scope,
            "retry_here": verdict.retry_here,
            "fail_over": verdict.fail_over,
            "counts_against_health": verdict.counts_against_health,
            "cool_down_s": seconds(verdict.cool_down),
            "retry_after_s": seconds(verdict.retry_after),
        });
        if said != case["expect"] {
            writeln!(wrong, "{}: {said}\n  expected {}", case["id"], case["expect"]).unwrap();
        }
    }
    assert!(wrong.is_empty(), "{wrong}");
}

#[test]
fn the_corpus_has_every_row_and_each_case_once() {
    let cases = cases();
    let ids: BTreeSet<_> = cases.iter().map(|case| case["id"].as_str().unwrap()).collect();
    assert_eq!(ids.len(), cases.len());
    for row in 1..=15 {
        let row = format!("R{row:02}-");
        assert!(ids.iter().any(|id| id.starts_with(&row)), "{row}");
    }
}

/// The table of the book, between its marks.
fn table() -> String {
    let mut table = String::from(
        "| case | what | provider | status | kind | reaches | here again | elsewhere | ill | rests | wait |\n",
    );
    table.push_str("|---|---|---|---|---|---|---|---|---|---|---|\n");
    for case in cases() {
        let text = |value: &Value| match value {
            Value::String(text) => text.replace('_', " "),
            Value::Bool(true) => "yes".to_owned(),
            Value::Bool(false) | Value::Null => "–".to_owned(),
            number => format!("{number} s"),
        };
        let expect = &case["expect"];
        let cells = [
            "kind",
            "scope",
            "retry_here",
            "fail_over",
            "counts_against_health",
            "cool_down_s",
            "retry_after_s",
        ];
        let cells: Vec<_> = cells.iter().map(|key| text(&expect[*key])).collect();
        let (id, about) = (case["id"].as_str().unwrap(), case["about"].as_str().unwrap());
        let provider = case["provider"].as_str().unwrap();
        writeln!(table, "| {id} | {about} | {provider} | {} | {} |", case["status"], cells.join(" | "))
            .unwrap();
    }
    table
}

#[test]
fn the_book_has_the_corpus() {
    let page = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src/errors.md");
    let Ok(text) = std::fs::read_to_string(page) else {
        return super::recorded::say("skipped: the book is not at hand");
    };
    let (_, rest) = text.split_once("<!-- corpus begin -->\n").unwrap();
    let (table_of_book, _) = rest.split_once("<!-- corpus end -->").unwrap();
    assert_eq!(table_of_book.trim(), table().trim());
}
