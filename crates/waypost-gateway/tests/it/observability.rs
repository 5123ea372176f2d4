//! What is told of requests: headers, traces, a collector.

use std::sync::{Arc, Mutex};

use http::Method;
use serde_json::json;
use waypost_lab::http::{HttpProvider, HttpRequest, Script};

use crate::gateway::well;
use crate::rig::{Rig, chat, config, run, until};

const JSON: (&str, &str) = ("content-type", "application/json");

#[test]
fn answers_say_how_they_came_about_and_each_word_can_be_switched_off() {
    run(async {
        let rule =
            "[[rules]]\nid = \"by-turn\"\nwhen = { model = \"m\" }\nthen = { strategy = \"random\" }\n";
        let start = async |telemetry: &str| {
            let provider = HttpProvider::start(well).await.unwrap();
            let price = "{ provider = \"p0\", price = { input = 1.0, output = 1000000.0 } }";
            let text = config(&[provider.url()], rule).replace("{ provider = \"p0\" }", price);
            Rig::with_text(vec![provider], &format!("{text}{telemetry}")).await
        };
        let rig = start("").await;
        let answer = rig.chat(false).await;
        let said = ["candidate", "attempts", "rule", "cost"]
            .map(|name| answer.header(&format!("x-waypost-{name}")).to_owned());
        assert_eq!(said[..3], ["p0/m", "1", "by-turn"]);
        assert!((5.0..5.1).contains(&said[3].parse::<f64>().unwrap()), "five tokens at a dollar: {said:?}");
        assert!(answer.header("x-waypost-overhead").parse::<f64>().unwrap() >= 0.0);
        let rig = start("[telemetry]\nresponse_headers = [\"rule\"]\n").await;
        let answer = rig.chat(true).await;
        let said: Vec<_> =
            answer.headers.keys().filter(|name| name.as_str().starts_with("x-waypost")).collect();
        assert_eq!(said, ["x-waypost-rule"]);
        let rig = start("[telemetry]\nresponse_headers = []\n").await;
        assert!(rig.chat(false).await.headers.keys().all(|name| !name.as_str().starts_with("x-waypost")));
    });
}

/// B33, B34: the trace goes on where its header is sound, and begins anew where it is not.
#[test]
fn b33_b34_traces_go_on_through_the_gateway() {
    run(async {
        let seen = Arc::new(Mutex::new(Vec::<HttpRequest>::new()));
        let provider = Arc::clone(&seen);
        let rig = Rig::start(
            vec![move |request: &HttpRequest| {
                provider.lock().unwrap().push(request.clone());
                well(request)
            }],
            "",
        )
        .await;
        let trace = "0af7651916cd43dd8448eb211c80319c";
        let parent = format!("00-{trace}-b7ad6b7169203331-01");
        let ask = async |headers: &[(&str, &str)]| {
            let headers: Vec<_> = headers.iter().copied().chain([JSON]).collect();
            rig.send(Method::POST, "/v1/chat/completions", &headers, chat(false).to_string()).await;
            let last = seen.lock().unwrap().last().unwrap().clone();
            (
                last.header("traceparent").map(str::to_owned),
                last.header("tracestate").map(str::to_owned),
                last.header("baggage").map(str::to_owned),
            )
        };
        let (told, state, baggage) =
            ask(&[("traceparent", &parent), ("tracestate", "a=1,b=2"), ("baggage", "user=secret")]).await;
        let told = told.unwrap();
        assert!(
            told.starts_with(&format!("00-{trace}-")) && told.ends_with("-01") && told != parent,
            "{told}"
        );
        assert_eq!((state.as_deref(), baggage), (Some("a=1,b=2"), None), "baggage may be private");
        for bad in [
            "ff-0af7651916cd43dd8448eb211c80319c-b7ad6b7169203331-01",
            "00-00000000000000000000000000000000-b7ad6b7169203331-01",
            "nonsense",
        ] {
            assert_eq!(
                ask(&[("traceparent", bad), ("tracestate", "a=1")]).await,
                (None, None, None),
                "{bad}"
            );
        }
        assert_eq!(ask(&[("traceparent", &parent), ("traceparent", &parent)]).await.0, None, "two are none");
        assert_eq!(ask(&[]).await.0, None, "nobody traces");
        rig.settled().await;
    });
}

#[cfg(feature = "otlp")]
#[test]
fn a_collector_is_told_by_the_conventions_and_nothing_that_is_private() {
    run(async {
        let heard = Arc::new(Mutex::new(Vec::<HttpRequest>::new()));
        let ears = Arc::clone(&heard);
        let collector = HttpProvider::start(move |request: &HttpRequest| {
            ears.lock().unwrap().push(request.clone());
            Script::status(200, &[], "")
        })
        .await
        .unwrap();
        let url = format!("http://{}/otlp", collector.address());
        let more = format!("[telemetry.otlp]\nendpoint = \"{url}\"\nservice = \"the-gateway\"\n");
        let rig = Rig::start(vec![well], &more).await;
        let mut body = chat(true);
        body["messages"][0]["content"] = json!("canary-prompt");
        rig.post("/v1/chat/completions", &body).await;
        rig.post("/v1/chat/completions", &json!({"model": "canary-model", "messages": []})).await;
        rig.settled().await;
        rig.server.stop().await;
        let heard = heard.lock().unwrap().clone();
        let paths: Vec<_> = heard.iter().map(|request| request.path.as_str()).collect();
        assert!(paths.contains(&"/otlp/v1/traces") && paths.contains(&"/otlp/v1/metrics"), "{paths:?}");
        assert!(heard.iter().all(|request| request.header("content-type") == Some("application/x-protobuf")));
        let told: Vec<u8> = heard.iter().flat_map(|request| request.body.clone()).collect();
        let has = |word: &str| told.windows(word.len()).any(|window| window == word.as_bytes());
        for word in [
            "the-gateway",
            "chat m",
            "gen_ai.operation.name",
            "gen_ai.provider.name",
            "gen_ai.usage.output_tokens",
            "gen_ai.client.token.usage",
            "gen_ai.client.operation.duration",
            "waypost.candidate",
            "p0/m",
            "error.type",
            "model_not_found",
        ] {
            assert!(has(word), "{word}");
        }
        assert!(!has("canary"), "neither prompts nor names that clients make up");
    });
}

/// H08: a collector that is gone costs requests nothing.
#[cfg(feature = "otlp")]
#[test]
fn h08_a_collector_that_is_gone_is_nobodys_failure() {
    run(async {
        let rig = Rig::start(vec![well], "[telemetry.otlp]\nendpoint = \"http://127.0.0.1:1\"\n").await;
        for _ in 0..20 {
            assert!(rig.chat(false).await.status.is_success());
        }
        rig.settled().await;
        let stopped = tokio::time::timeout(crate::rig::PATIENCE, rig.server.stop());
        assert!(stopped.await.is_ok());
        until("it ends", || true).await;
    });
}
