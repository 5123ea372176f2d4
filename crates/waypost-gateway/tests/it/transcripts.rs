//! Streams that providers really sent: passed on as they are, and cut and split everywhere.

use std::io::{BufRead as _, BufReader};
use std::path::PathBuf;
use std::sync::{Arc, Mutex};

use flate2::read::GzDecoder;
use serde_json::{Value, json};
use waypost_lab::http::{HttpRequest, Script, Step};

use crate::rig::{Answer, Rig, run, say};

/// The lines of a file of the data folder; says so when it is not there.
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn records(path: &str) -> Vec<Value> {
    let file = std::env::var_os("WAYPOST_DATA")
        .and_then(|folder| std::fs::File::open(PathBuf::from(folder).join(path)).ok());
    let Some(file) = file else {
        say(&format!("skipped: no {path} (WAYPOST_DATA is not set or does not have it)"));
        return Vec::new();
    };
    let lines = BufReader::new(GzDecoder::new(file)).lines();
    lines.map(|line| serde_json::from_str(&line.unwrap()).unwrap()).collect()
}

/// The recorded streams of the protocols that the gateway speaks: path and bytes.
fn transcripts() -> Vec<(&'static str, String)> {
    let captured = records("protocol/captures/pydantic-ai.jsonl.gz").into_iter().filter_map(|exchange| {
        let (body, path) = (exchange["response_body"].as_str()?, exchange["endpoint"].as_str()?);
        let is_stream = exchange["stream"] == true && exchange["status"] == 200 && body.contains("data:");
        let known = ["/chat/completions", "/messages", "/responses"].map(|end| path.ends_with(end));
        let path = ["/v1/chat/completions", "/v1/messages", "/v1/responses"].into_iter().zip(known);
        let (path, _) = path.into_iter().find(|(_, is_it)| *is_it)?;
        is_stream.then(|| (path, body.to_owned()))
    });
    let kept = ["anthropic-sdk-python", "vercel-ai"].map(|name| format!("protocol/fixtures/{name}.jsonl.gz"));
    let kept = kept.iter().flat_map(|path| records(path)).filter_map(|fixture| of_fixture(&fixture));
    captured.chain(kept).collect()
}

/// A stream that the tests of a client library keep: as it was, or only the data of its events.
fn of_fixture(fixture: &Value) -> Option<(&'static str, String)> {
    let body = fixture["body"].as_str()?;
    if fixture["kind"] == "sse_raw" {
        return Some(("/v1/messages", format!("{}\n\n", body.trim_end())));
    }
    let lines: Vec<&str> = body.lines().filter(|_| fixture["kind"] == "sse_data_lines").collect();
    let first: Value = serde_json::from_str(lines.first()?).ok()?;
    // Some keep several streams in one file, with nothing to tell them apart.
    let begins = lines.iter().filter_map(|line| serde_json::from_str::<Value>(line).ok());
    if first["type"].is_string() && begins.filter(|event| event["type"] == first["type"]).count() > 1 {
        return None;
    }
    let named = |line: &str| -> Option<String> {
        let event: Value = serde_json::from_str(line).ok()?;
        Some(format!("event: {}\ndata: {line}\n\n", event["type"].as_str()?))
    };
    match first["type"].as_str() {
        Some("message_start") => {
            Some(("/v1/messages", lines.into_iter().map(named).collect::<Option<Vec<_>>>()?.concat()))
        }
        Some("response.created") => {
            Some(("/v1/responses", lines.into_iter().map(named).collect::<Option<Vec<_>>>()?.concat()))
        }
        _ if first["choices"].is_array() => {
            let events: Vec<_> = lines.into_iter().map(|line| format!("data: {line}\n\n")).collect();
            Some(("/v1/chat/completions", events.concat() + "data: [DONE]\n\n"))
        }
        _ => None,
    }
}

struct Replay {
    rig: Rig,
    script: Arc<Mutex<Script>>,
}

impl Replay {
    async fn start() -> Self {
        let script = Arc::new(Mutex::new(Script::new()));
        let next = Arc::clone(&script);
        let reply = move |_: &HttpRequest| next.lock().unwrap().clone();
        let more = "[failover]\nattempts = 1\n[health]\nfailures = 1000000\nfailure_ratio = 1.0\n";
        Self { rig: Rig::start(vec![reply], more).await, script }
    }

    async fn of(&self, path: &str, script: Script) -> Answer {
        *self.script.lock().unwrap() = script;
        let asked = json!({"model": "m", "stream": true, "stream_options": {"include_usage": true}, "max_tokens": 9, "messages": [], "input": ""});
        self.rig.post(path, &asked).await
    }
}

/// A stream that ends with an error of the provider, or as no stream of its kind does.
fn is_whole(body: &str) -> bool {
    let ends = ["[DONE]", "message_stop", "response.completed", "response.incomplete"];
    ends.iter().any(|end| body.contains(end)) && !body.contains("\"error\":{")
}

#[test]
fn recorded_streams_pass_whole_split_at_every_byte_and_cut_at_every_event() {
    run(async {
        let transcripts = transcripts();
        if transcripts.is_empty() {
            return;
        }
        let (replay, mut whole, mut cuts) = (Replay::start().await, 0, 0);
        for (path, body) in transcripts.iter().filter(|(_, body)| is_whole(body)) {
            let answer = replay.of(path, Script::event_stream().chunk(body).end()).await;
            // What comes after the end is not passed on.
            assert!(
                body.starts_with(answer.text()) && body[answer.body.len()..].trim().is_empty(),
                "{path}: {answer:?}"
            );
            whole += 1;
            let split =
                body.as_bytes().iter().fold(Script::event_stream(), |script, byte| script.chunk([*byte]));
            assert_eq!(replay.of(path, split.end()).await.body, answer.body, "{path}");
            let ends: Vec<_> = body.match_indices("\n\n").map(|(at, _)| at + 2).collect();
            for cut in ends.iter().copied() {
                let answer =
                    replay.of(path, Script::event_stream().chunk(&body[..cut]).then(Step::Close)).await;
                let is_told =
                    answer.text().contains("stream_interrupted") || answer.text().contains("event: error");
                let is_refused = answer.status.is_server_error();
                let is_complete = answer.text() == &body[..cut];
                assert!(is_told || is_refused || is_complete, "{path}: {answer:?}");
                let has_said_its_end = [
                    "[DONE]",
                    "message_stop",
                    "response.completed",
                    "finish_reason\":\"",
                    "finish_reason\": \"",
                ];
                assert!(
                    !is_complete || has_said_its_end.iter().any(|end| body[..cut].contains(end)),
                    "a clean end: {answer:?}"
                );
                cuts += 1;
            }
        }
        say(&format!("{whole} recorded streams, {cuts} cuts"));
        assert!(whole >= 170, "{whole}");
    });
}
