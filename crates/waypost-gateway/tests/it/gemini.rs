//! Gemini's own API, whose paths name the model.

use std::sync::{Arc, Mutex};

use http::{Method, StatusCode};
use serde_json::{Value, json};
use waypost::core::NanoUsd;
use waypost::limits::Level;
use waypost_gateway::NewKey;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Step};

use crate::gateway::well;
use crate::rig::{CANARY, Reply, Rig, run};

const JSON: (&str, &str) = ("content-type", "application/json");

/// A gateway in front of providers of one model, `flash`, at a dollar for a token of an answer.
async fn rig<R>(replies: Vec<R>, more: &str) -> Rig
where
    R: Fn(&HttpRequest) -> Script + Send + Sync + 'static,
{
    let key = std::env::temp_dir().join(format!("waypost-gemini-{}", uuid::Uuid::new_v4()));
    std::fs::write(&key, CANARY).unwrap();
    let mut providers = Vec::new();
    let (mut named, mut candidates) = (Vec::new(), Vec::new());
    for (place, reply) in replies.into_iter().enumerate() {
        let provider = HttpProvider::start(reply).await.unwrap();
        named.push(format!(
            "[providers.p{place}]\ntype = \"gemini\"\nendpoint = \"http://{}/v1beta/openai\"\napi_key = {{ file = \"{}\" }}\n",
            provider.address(),
            key.display(),
        ));
        candidates.push(format!(
            "{{ provider = \"p{place}\", model = \"gemini-2.5-flash\", price = {{ input = 0.0, output = 1000000.0 }} }}"
        ));
        providers.push(provider);
    }
    let text = format!(
        "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"127.0.0.1:0\"\n{}\
         [models.flash]\nstrategy = \"round_robin\"\ncandidates = [{}]\n{more}",
        named.concat(),
        candidates.join(", "),
    );
    let rig = Rig::with_text(providers, &text).await;
    std::fs::remove_file(&key).unwrap();
    rig
}

fn contents() -> Value {
    json!({"contents": [{"role": "user", "parts": [{"text": "hi"}]}], "generationConfig": {"maxOutputTokens": 100}})
}

#[test]
fn requests_go_to_googles_own_paths_with_its_own_header() {
    run(async {
        let seen = Arc::new(Mutex::new(Vec::<HttpRequest>::new()));
        let ears = Arc::clone(&seen);
        let rig = rig(
            vec![move |request: &HttpRequest| {
                ears.lock().unwrap().push(request.clone());
                well(request)
            }],
            "[limits.all]\nmonthly = \"$1,000\"\n",
        )
        .await;
        let whole = rig.post("/v1beta/models/flash:generateContent", &contents()).await;
        assert_eq!(whole.json()["candidates"][0]["finishReason"], "STOP", "{whole:?}");
        let stream = rig.post("/v1beta/models/flash:streamGenerateContent?alt=sse", &contents()).await;
        assert!(stream.text().contains("\"STOP\"") && !stream.text().contains("error"), "{stream:?}");
        for (request, path) in
            seen.lock().unwrap().iter().zip([":generateContent", ":streamGenerateContent?alt=sse"])
        {
            assert_eq!(request.path, format!("/v1beta/models/gemini-2.5-flash{path}"));
            assert_eq!(
                (request.header("x-goog-api-key"), request.header("authorization")),
                (Some(CANARY), None)
            );
            assert_eq!(request.json(), contents(), "as it was sent");
        }
        rig.settled().await;
        let [report] = &rig.server.gateway().router().limit_reports()[..] else { panic!("one limit") };
        let Level::Money { settled, .. } = report.level else { panic!("{report:?}") };
        assert_eq!(settled, NanoUsd::from_usd(10.0).unwrap(), "five tokens each");
    });
}

#[test]
fn streams_fail_over_before_content_and_say_so_when_they_break_off() {
    run(async {
        let error = |_: &HttpRequest| {
            let said =
                r#"{"error":{"code":503,"message":"The model is overloaded.","status":"UNAVAILABLE"}}"#;
            Script::event_stream().chunk(format!("data: {said}\n\n")).end()
        };
        let cut = |_: &HttpRequest| {
            let said = r#"{"candidates":[{"content":{"parts":[{"text":"a"}],"role":"model"}}]}"#;
            Script::event_stream().chunk(format!("data: {said}\n\n")).then(Step::Close)
        };
        let path = "/v1beta/models/flash:streamGenerateContent?alt=sse";
        let two: Vec<Reply> = vec![Box::new(error), Box::new(well)];
        let both = rig(two, "").await;
        for _ in 0..2 {
            let answer = both.post(path, &contents()).await;
            assert!(answer.status == StatusCode::OK && answer.text().contains("STOP"), "{answer:?}");
        }
        let broken = rig(vec![cut], "").await;
        let answer = broken.post(path, &contents()).await;
        let last = answer.text().trim_end().rsplit("data: ").next().unwrap().to_owned();
        let last: Value = serde_json::from_str(&last).unwrap();
        assert_eq!(
            (&last["error"]["status"], &last["error"]["reason"]),
            (&json!("INTERNAL"), &json!("stream_interrupted"))
        );
        broken.settled().await;
    });
}

#[test]
fn what_is_no_request_is_told_as_google_tells_it() {
    run(async {
        let key = NewKey::make(b"");
        let more = format!("[tenants.a]\nkeys = [{{ hash = \"{}\" }}]\n", key.hash);
        let rig = rig(vec![well], &more).await;
        let ask = async |path: &str, key: &str, body: &Value| {
            rig.send(Method::POST, path, &[JSON, ("x-goog-api-key", key)], body.to_string()).await
        };
        let path = "/v1beta/models/flash:generateContent";
        assert_eq!(ask(path, &key.key, &contents()).await.status, StatusCode::OK);
        let bad = json!({"contents": [], "generationConfig": {"maxOutputTokens": -1}});
        for (path, key, body, status) in [
            (path, "wrong", &contents(), "UNAUTHENTICATED"),
            ("/v1beta/models/nobody:generateContent", &*key.key, &contents(), "NOT_FOUND"),
            (path, &*key.key, &bad, "INVALID_ARGUMENT"),
            (path, &*key.key, &json!([]), "INVALID_ARGUMENT"),
            ("/v1beta/models/flash:streamGenerateContent", &*key.key, &contents(), "INVALID_ARGUMENT"),
        ] {
            let answer = ask(path, key, body).await;
            assert_eq!(answer.json()["error"]["status"], status, "{path}: {answer:?}");
            assert_eq!(answer.json()["error"]["code"], answer.status.as_u16());
        }
        assert_eq!(rig.providers[0].ledger().requests(), 1);
        rig.settled().await;
    });
}
