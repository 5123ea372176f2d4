//! What a gateway does when nothing goes wrong.

use http::{Method, StatusCode};
use serde_json::json;
use waypost_gateway::NewKey;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech};

use crate::rig::{CANARY, Rig, chat, config, run};

pub(crate) fn well(request: &HttpRequest) -> Script {
    Speech::default().answer(request)
}

#[test]
fn answers_are_the_providers_own() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        for (path, body) in [
            ("/v1/chat/completions", chat(false)),
            ("/v1/completions", json!({"model": "m", "prompt": "hi"})),
            ("/v1/embeddings", json!({"model": "m", "input": ["a", "b"]})),
            ("/v1/responses", json!({"model": "m", "input": "hi"})),
            ("/v1/messages", json!({"model": "m", "max_tokens": 9, "messages": []})),
            ("/v1/rerank", json!({"model": "m", "query": "q", "documents": ["d"]})),
        ] {
            let answer = rig.post(path, &body).await;
            let direct = HttpRequest {
                path: path.to_owned(),
                body: body.to_string().into(),
                ..HttpRequest::default()
            };
            let direct = format!("{:?}", Speech::default().answer(&direct));
            assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
            assert!(direct.contains(&format!("{:?}", answer.body.to_vec())[1..40]), "{path}");
            assert_eq!(
                (answer.header("x-waypost-candidate"), answer.header("x-waypost-attempts")),
                ("p0/m", "1")
            );
            assert_eq!(answer.header("x-request-id").len(), 36);
        }
        rig.settled().await;
    });
}

#[test]
fn streams_pass_event_by_event_without_the_usage_that_nobody_asked_for() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        let answer = rig.chat(true).await;
        assert_eq!(answer.header("content-type"), "text/event-stream");
        assert!(answer.text().ends_with("data: [DONE]\n\n") && !answer.broke_off);
        assert!(!answer.text().contains("\"usage\"") && answer.text().contains(" quick"));
        let mut asked = chat(true);
        asked["stream_options"] = json!({"include_usage": true});
        let answer = rig.post("/v1/chat/completions", &asked).await;
        assert!(answer.text().contains("\"completion_tokens\":5"));
        for (path, end) in [("/v1/messages", "message_stop"), ("/v1/responses", "response.completed")] {
            let answer = rig
                .post(
                    path,
                    &json!({"model": "m", "stream": true, "max_tokens": 9, "messages": [], "input": "x"}),
                )
                .await;
            assert!(answer.text().contains(end), "{answer:?}");
        }
        let usage = rig.server.gateway().router().routing_table();
        let outcomes = usage.candidates().next().unwrap().live().outcomes();
        assert_eq!((outcomes.succeeded, outcomes.failed, outcomes.cancelled), (4, 0, 0));
        for _ in 0..16 {
            rig.chat(true).await;
        }
        // Who asks in the moment between a stream's last event and its end finds its connection still in use.
        let connections = rig.providers[0].ledger().connections();
        assert!(connections <= 8, "kept alive, after streams too: {connections}");
        rig.settled().await;
    });
}

#[test]
fn providers_are_told_their_name_of_the_model_and_nothing_of_the_client() {
    run(async {
        let echo = |request: &HttpRequest| {
            let seen = json!({"path": request.path, "headers": request.headers, "body": String::from_utf8_lossy(&request.body)});
            Script::json(&seen.to_string())
        };
        let provider = HttpProvider::start(echo).await.unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"\"\n\
             [providers.a]\ntype = \"anthropic\"\nendpoint = \"http://{0}/v1\"\napi_key = {{ file = \"{1}\" }}\n\
             [providers.z]\ntype = \"azure-openai\"\nendpoint = \"http://{0}\"\napi_key = {{ file = \"{1}\" }}\napi_version = \"2024-10-21\"\n\
             [models.claude]\ncandidates = [{{ provider = \"a\", model = \"claude-3\" }}]\n\
             [models.gpt]\ncandidates = [{{ provider = \"z\", model = \"my/deployment\" }}]\n",
            provider.address(),
            key_file(),
        );
        let rig = Rig::with_text(vec![provider], &text).await;
        let headers = [
            ("content-type", "application/json"),
            ("x-api-key", "client"),
            ("openai-organization", "org"),
            ("cookie", "c"),
            ("x-forwarded-host", "evil"),
            ("anthropic-beta", "b1"),
            ("anthropic-beta", "b2"),
        ];
        let body = r#"{"max_tokens":9, "model" : "claude","x":[1.0,{"y":"ü"}]}"#;
        let seen = rig.send(Method::POST, "/v1/messages", &headers, body).await.json();
        assert_eq!(seen["path"], "/v1/messages");
        assert_eq!(seen["body"], body.replace("\"claude\"", "\"claude-3\""), "byte for byte but the name");
        let header = |name: &str| {
            let headers = seen["headers"].as_array().unwrap();
            headers.iter().find(|pair| pair[0] == name).map(|pair| pair[1].as_str().unwrap().to_owned())
        };
        assert_eq!(header("x-api-key").as_deref(), Some(CANARY));
        assert_eq!(header("anthropic-version").as_deref(), Some("2023-06-01"));
        let betas = seen["headers"].as_array().unwrap().iter().filter(|pair| pair[0] == "anthropic-beta");
        let betas: Vec<_> = betas.map(|pair| pair[1].as_str().unwrap()).collect();
        assert_eq!(betas, ["b1", "b2"], "what stands in several lines is told in several lines");
        for hidden in ["cookie", "openai-organization", "x-forwarded-host", "authorization"] {
            assert_eq!(header(hidden), None, "{hidden}");
        }
        let seen = rig.post("/v1/chat/completions", &json!({"model": "gpt", "messages": []})).await.json();
        assert_eq!(
            seen["path"],
            "/openai/deployments/my%2Fdeployment/chat/completions?api-version=2024-10-21"
        );
        let other = rig.post("/v1/embeddings", &json!({"model": "claude", "input": "x"})).await;
        assert_eq!((other.status, other.code().as_str()), (StatusCode::BAD_REQUEST, "no_candidate_fits"));
    });
}

fn key_file() -> String {
    let path = std::env::temp_dir().join("waypost-it-key");
    std::fs::write(&path, format!("{CANARY}\n")).unwrap();
    path.display().to_string()
}

#[test]
fn keys_say_whose_requests_they_are_and_what_for() {
    run(async {
        let [acme, limited] = [(); 2].map(|()| NewKey::make(b""));
        let more = format!(
            "[models.other]\ncandidates = [{{ provider = \"p0\", model = \"o\" }}]\n\
             [tenants.acme]\nkeys = [{{ hash = \"{}\" }}]\nallow = [\"m\", \"fast\"]\n\
             [tenants.small]\nkeys = [{{ hash = \"{}\", allow = [\"oth*\"] }}]\nlimits = {{ requests = \"1/day\" }}\n",
            acme.hash, limited.hash,
        );
        let rig = Rig::start(vec![well], &more).await;
        let ask = async |key: &str, model: &str| {
            let headers =
                [("content-type", "application/json"), ("authorization", &format!("Bearer {key}") as &str)];
            rig.send(
                Method::POST,
                "/v1/chat/completions",
                &headers,
                json!({"model": model, "messages": []}).to_string(),
            )
            .await
        };
        assert_eq!(rig.chat(false).await.status, StatusCode::UNAUTHORIZED);
        assert_eq!(ask("wrong", "m").await.code(), "invalid_api_key");
        assert_eq!(ask(&acme.key, "fast").await.status, StatusCode::OK);
        assert_eq!(ask(&acme.key, "other").await.status, StatusCode::FORBIDDEN);
        assert_eq!(ask(&limited.key, "m").await.code(), "not_allowed");
        assert_eq!(ask(&limited.key, "other").await.status, StatusCode::OK);
        let refused = ask(&limited.key, "other").await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::TOO_MANY_REQUESTS, "rate_limit_exceeded")
        );
        assert!(
            refused.header("retry-after").parse::<u64>().unwrap() > 3_600
                && refused.header("x-should-retry") == "true"
        );
        let headers = [("authorization", &format!("Bearer {}", acme.key) as &str)];
        let models = rig.send(Method::GET, "/v1/models", &headers, "").await.json();
        let names: Vec<_> =
            models["data"].as_array().unwrap().iter().map(|model| model["id"].as_str().unwrap()).collect();
        assert_eq!(names, ["m", "fast"]);
        rig.settled().await;
    });
}

#[test]
fn keys_of_one_tenant_have_limits_and_budgets_of_their_own() {
    run(async {
        let [free, few, cheap, poor] = [(); 4].map(|()| NewKey::make(b""));
        let more = format!(
            "[tenants.acme]\nlimits = {{ requests = \"4/day\" }}\nkeys = [\n             {{ hash = \"{}\" }},\n             {{ hash = \"{}\", limits = {{ requests = \"1/day\" }} }},\n             {{ hash = \"{}\", budget = {{ per_request = \"$0.000001\" }} }},\n             {{ hash = \"{}\", budget = {{ monthly = \"$0.000001\" }} }} ]\n",
            free.hash, few.hash, cheap.hash, poor.hash,
        );
        let provider = HttpProvider::start(well).await.unwrap();
        let priced = "{ provider = \"p0\", price = { input = 1.0, output = 1.0 } }";
        let text = config(&[provider.url()], &more).replacen("{ provider = \"p0\" }", priced, 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        let ask = async |key: &NewKey| {
            let key = format!("Bearer {}", key.key);
            let headers = [("content-type", "application/json"), ("authorization", &*key)];
            let body = json!({"model": "m", "messages": [], "max_tokens": 100}).to_string();
            rig.send(Method::POST, "/v1/chat/completions", &headers, body).await.status
        };
        assert_eq!(ask(&few).await, StatusCode::OK);
        assert_eq!(ask(&few).await, StatusCode::TOO_MANY_REQUESTS, "what one key may ask");
        for key in [&cheap, &poor] {
            assert!(!ask(key).await.is_success(), "nobody is so cheap");
        }
        for _ in 0..3 {
            assert_eq!(ask(&free).await, StatusCode::OK, "other keys are not meant");
        }
        assert_eq!(ask(&free).await, StatusCode::TOO_MANY_REQUESTS, "what all keys of a tenant may ask");
        let names: Vec<_> = rig
            .server
            .gateway()
            .router()
            .limit_reports()
            .iter()
            .map(|report| report.limit.to_string())
            .collect();
        let of_keys = names.iter().filter(|name| name.starts_with("keys.")).count();
        assert_eq!(of_keys, 2, "{names:?}");
        rig.settled().await;
    });
}

#[test]
fn forms_are_passed_on_with_the_model_replaced_and_sound_as_it_comes() {
    run(async {
        let reply = |request: &HttpRequest| match request.path.as_str() {
            "/v1/audio/speech" => Script::new()
                .send("HTTP/1.1 200 OK\r\ncontent-type: audio/mpeg\r\ncontent-length: 6\r\n\r\n\0\u{1}\u{2}")
                .send("abc"),
            _ => Script::json(&json!({"text": String::from_utf8_lossy(&request.body)}).to_string()),
        };
        let provider = HttpProvider::start(reply).await.unwrap();
        let mut text = config(&[provider.url()], "");
        text = text.replace("{ provider = \"p0\" }", "{ provider = \"p0\", model = \"whisper-1\" }");
        let rig = Rig::with_text(vec![provider], &text).await;
        let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b\r\nContent-Disposition: form-data; name=\"file\"; filename=\"a\"\r\n\r\nRIFF\r\n--b--\r\n";
        let headers = [("content-type", "multipart/form-data; boundary=b")];
        let heard = rig.send(Method::POST, "/v1/audio/transcriptions", &headers, form).await;
        assert_eq!(heard.json()["text"], form.replace("\r\nm\r\n", "\r\nwhisper-1\r\n"));
        let sound = rig.post("/v1/audio/speech", &json!({"model": "m", "input": "hi", "voice": "x"})).await;
        assert_eq!((&sound.body[..], sound.header("content-type")), (&b"\0\x01\x02abc"[..], "audio/mpeg"));
        rig.settled().await;
        let table = rig.server.gateway().router().routing_table();
        let outcomes = table.candidates().next().unwrap().live().outcomes();
        assert_eq!((outcomes.succeeded, outcomes.cancelled), (2, 0), "whole answers");
    });
}

/// What was settled of a budget.
fn settled(rig: &Rig) -> waypost::core::NanoUsd {
    let [report] = &rig.server.gateway().router().limit_reports()[..] else { panic!("one limit") };
    let waypost::limits::Level::Money { settled, reserved, .. } = report.level else { panic!("{report:?}") };
    assert_eq!(reserved, waypost::core::NanoUsd::ZERO);
    settled
}

/// A dollar for every token of an answer, nothing for those of a prompt.
async fn priced(reply: impl Fn(&HttpRequest) -> Script + Send + Sync + 'static) -> Rig {
    let provider = HttpProvider::start(reply).await.unwrap();
    let text = config(&[provider.url()], "[limits.all]\nmonthly = \"$1,000,000\"\n");
    let price = "{ provider = \"p0\", price = { input = 0.0, output = 1000000.0 } }";
    Rig::with_text(vec![provider], &text.replace("{ provider = \"p0\" }", price)).await
}

#[test]
fn what_answers_cost_is_what_they_say_or_what_was_counted() {
    run(async {
        let dollars = |amount: f64| waypost::core::NanoUsd::from_usd(amount).unwrap();
        let rig = priced(well).await;
        rig.post("/v1/embeddings", &json!({"model": "m", "input": "a"})).await;
        assert_eq!(settled(&rig), dollars(0.0), "embeddings are no tokens of an answer");
        rig.chat(false).await;
        assert_eq!(settled(&rig), dollars(5.0));
        rig.chat(true).await;
        assert_eq!(settled(&rig), dollars(10.0), "asked for in the client's place");
        let word =
            |word: &str| format!("data: {{\"choices\":[{{\"delta\":{{\"content\":\"{word}\"}}}}]}}\n\n");
        let silent = move |_: &HttpRequest| {
            let end = "data: {\"choices\":[{\"delta\":{},\"finish_reason\":\"stop\"}]}\n\ndata: [DONE]\n\n";
            ["a", "b", "c"]
                .into_iter()
                .fold(Script::event_stream(), |script, text| script.chunk(word(text)))
                .chunk(end)
                .end()
        };
        let rig = priced(silent).await;
        rig.chat(true).await;
        assert_eq!(settled(&rig), dollars(3.0), "three pieces of content");
    });
}

/// Whoever leaves in the middle pays for what was passed on, whatever the provider said at the beginning.
#[test]
fn c03_u06_what_breaks_off_is_settled_as_counted() {
    run(async {
        let event = |data: &str| format!("event: x\ndata: {data}\n\n");
        let begun =
            event(r#"{"type":"message_start","message":{"usage":{"input_tokens":9,"output_tokens":1}}}"#);
        let delta = "event: content_block_delta\ndata: {\"type\":\"content_block_delta\",\"delta\":{\"text\":\"a\"}}\n\n";
        let cut = move |_: &HttpRequest| {
            let script = Script::event_stream().chunk(&begun);
            (0..30).fold(script, |script, _| script.chunk(delta)).then(waypost_lab::http::Step::Close)
        };
        let rig = priced(cut).await;
        let asked = json!({"model": "m", "stream": true, "max_tokens": 99, "messages": []});
        let answer = rig.post("/v1/messages", &asked).await;
        assert!(answer.text().contains("event: error"), "{answer:?}");
        rig.settled().await;
        assert_eq!(settled(&rig), waypost::core::NanoUsd::from_usd(30.0).unwrap(), "thirty pieces");
    });
}

/// Nobody takes usage out of what is counted by options of the stream.
#[test]
fn usage_is_asked_for_whatever_options_say() {
    run(async {
        let dollars = |amount: f64| waypost::core::NanoUsd::from_usd(amount).unwrap();
        for options in
            [json!({}), json!({"include_usage": false}), json!(null), json!({"include_obfuscation": false})]
        {
            let rig = priced(|request: &HttpRequest| {
                assert_eq!(request.json()["stream_options"]["include_usage"], true);
                assert_eq!(String::from_utf8_lossy(&request.body).matches("stream_options").count(), 1);
                well(request)
            })
            .await;
            let mut asked = chat(true);
            asked["stream_options"] = options;
            let answer = rig.post("/v1/chat/completions", &asked).await;
            assert!(
                answer.text().ends_with("data: [DONE]\n\n") && !answer.text().contains("\"usage\":{"),
                "{answer:?}"
            );
            rig.settled().await;
            assert_eq!(settled(&rig), dollars(5.0));
        }
    });
}

#[test]
fn an_alias_of_an_alias_is_what_the_model_is() {
    run(async {
        let fails = |_: &HttpRequest| Script::status(500, &[], r#"{"error":{"message":"x"}}"#);
        let (bad, good) =
            (HttpProvider::start(fails).await.unwrap(), HttpProvider::start(well).await.unwrap());
        let text = config(&[bad.url(), good.url()], "far = \"fast\"\n")
            .replace("{ provider = \"p0\" }, { provider = \"p1\" }", "{ provider = \"p0\" }")
            .replacen(
                "[models.m]",
                "[models.other]\ncandidates = [{ provider = \"p1\" }]\n[models.m]\nfallback = [\"other\"]",
                1,
            );
        let rig = Rig::with_text(vec![bad, good], &text).await;
        for model in ["m", "fast", "far"] {
            let answer = rig.post("/v1/chat/completions", &json!({"model": model, "messages": []})).await;
            assert_eq!(answer.header("x-waypost-candidate"), "p1/other", "{model}: {answer:?}");
        }
    });
}
