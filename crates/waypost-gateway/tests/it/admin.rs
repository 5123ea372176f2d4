//! What administrators see and do.

use http::{Method, StatusCode};
use serde_json::{Value, json};
use waypost_lab::http::HttpProvider;

use crate::gateway::well;
use crate::rig::{Answer, CANARY, Rig, chat, config, run, send};

async fn get(rig: &Rig, path: &str) -> Value {
    let answer = rig.admin(Method::GET, path).await;
    assert_eq!(answer.status, StatusCode::OK, "{path}: {answer:?}");
    answer.json()
}

#[test]
fn candidates_are_drained_and_restored() {
    run(async {
        let rig = Rig::start(vec![well, well], "").await;
        assert_eq!(rig.admin(Method::POST, "/candidates/p0/m/drain").await.status, StatusCode::OK);
        for _ in 0..4 {
            assert_eq!(rig.chat(false).await.header("x-waypost-candidate"), "p1/m");
        }
        let candidates = get(&rig, "/candidates").await["candidates"].clone();
        assert_eq!(candidates.as_array().unwrap().len(), 2);
        assert_eq!(candidates[0]["candidate"], "p0/m");
        assert_eq!(candidates[0]["health"]["exclusion"]["reason"], "disabled", "{candidates}");
        assert_eq!(candidates[1]["succeeded"], 4);
        assert_eq!(rig.admin(Method::POST, "/candidates/p0/m/restore").await.status, StatusCode::OK);
        let served = [rig.chat(false).await, rig.chat(false).await]
            .map(|answer| answer.header("x-waypost-candidate").to_owned());
        assert!(served.contains(&"p0/m".to_owned()), "{served:?}");
        for nobody in [
            "/candidates/nobody/m/drain",
            "/candidates/p0/drain",
            "/candidates//drain",
            "/candidates/p0/m/burn",
        ] {
            assert_eq!(rig.admin(Method::POST, nobody).await.status, StatusCode::NOT_FOUND, "{nobody}");
        }
        rig.settled().await;
    });
}

#[test]
fn the_latest_requests_say_how_they_came_about() {
    run(async {
        let rig = Rig::start(vec![well], "[limits.all]\nrequests = \"10/s\"\n").await;
        let answer = rig.chat(true).await;
        rig.post("/v1/chat/completions", &json!({"model": "secret-words", "messages": []})).await;
        rig.settled().await;
        let requests = get(&rig, "/requests").await["requests"].clone();
        let [refused, answered] = &requests.as_array().unwrap()[..] else { panic!("{requests}") };
        assert_eq!(answered["request_id"], answer.header("x-request-id"));
        assert_eq!((&answered["candidate"], &answered["ending"]), (&json!("p0/m"), &json!("answered")));
        assert_eq!((&answered["completion_tokens"], &answered["attempts"]), (&json!(5), &json!(1)));
        assert!(answered["time_to_first_token_ms"].as_f64() <= answered["took_ms"].as_f64());
        assert!(answered["because"].as_str().unwrap().contains("round_robin"), "{answered}");
        assert_eq!((&refused["status"], &refused["reason"]), (&json!(404), &json!("model_not_found")));
        assert_eq!(refused["model"], Value::Null, "names that clients make up are told to nobody");
        let limits = get(&rig, "/limits").await["limits"].clone();
        assert_eq!(
            (&limits[0]["limit"], &limits[0]["level"]["kind"]),
            (&json!("limits.all.requests"), &json!("requests"))
        );
    });
}

#[test]
fn x16_metrics_count_what_happened_and_labels_are_bounded() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        rig.chat(false).await;
        rig.chat(true).await;
        for number in 0..50 {
            let body =
                json!({"model": format!("made-up-{number}"), "user": format!("u{number}"), "messages": []});
            rig.post("/v1/chat/completions", &body).await;
        }
        rig.nothing_is_held().await;
        let answer = rig.admin(Method::GET, "/metrics").await;
        let text = answer.text();
        let has = |line: &str| assert!(text.lines().any(|known| known == line), "{line}\n{text}");
        has(r#"waypost_requests_total{endpoint="chat",provider="p0",outcome="answered",code=""} 2"#);
        has(
            r#"waypost_requests_total{endpoint="chat",provider="none",outcome="refused",code="model_not_found"} 50"#,
        );
        has(r#"waypost_tokens_total{candidate="p0/m",kind="completion"} 10"#);
        has(r#"waypost_time_to_first_token_seconds_count{endpoint="chat"} 1"#);
        has(r#"waypost_candidate_available{candidate="p0/m"} 1"#);
        has("waypost_requests_running 0");
        assert_eq!(text.lines().last(), Some("# EOF"));
        assert!(!text.contains("made-up"), "x16: what clients write is no label");
        rig.settled().await;
    });
}

#[test]
fn decisions_are_explained_and_nothing_is_sent() {
    run(async {
        let rig = Rig::start(vec![well, well], "").await;
        let address = rig.server.admin_address().unwrap();
        let ask = async |path: &str, body: String| send(address, Method::POST, path, &[], body).await;
        let explained = ask("/explain?endpoint=chat", chat(true).to_string()).await.json();
        assert_eq!(explained["stages"].as_array().map(Vec::is_empty), Some(false), "{explained}");
        assert_eq!(ask("/explain", "{".to_owned()).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(ask("/explain?endpoint=x", chat(true).to_string()).await.status, StatusCode::BAD_REQUEST);
        assert!(rig.providers.iter().all(|provider| provider.ledger().requests() == 0));
    });
}

#[test]
fn x02_x03_every_path_of_administrators_needs_the_key_and_clients_have_none() {
    run(async {
        let file = std::env::temp_dir().join(format!("waypost-key-{}", uuid::Uuid::new_v4()));
        std::fs::write(&file, CANARY).unwrap();
        let provider = HttpProvider::start(well).await.unwrap();
        let line = format!("admin_key = {{ file = {file:?} }}\n[providers");
        let text = config(&[provider.url()], "").replacen("[providers", &line, 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        let admin = rig.server.admin_address().unwrap();
        std::fs::remove_file(&file).unwrap();
        let key = format!("Bearer {CANARY}");
        let description =
            send(admin, Method::GET, "/openapi.json", &[("authorization", &key)], "").await.json();
        let paths = description["paths"].as_object().unwrap();
        assert_eq!(paths.len(), 12);
        for (path, operations) in paths {
            let path = path.replace("{provider}/{model}", "p0/m");
            for (method, operation) in operations.as_object().unwrap() {
                let method = Method::from_bytes(method.to_ascii_uppercase().as_bytes()).unwrap();
                let is_open = operation["security"] == json!([]);
                let ask =
                    async |headers: &[(&str, &str)]| send(admin, method.clone(), &path, headers, "").await;
                for bad in [
                    &[][..],
                    &[("authorization", "Bearer x")],
                    &[("authorization", &key[7..])],
                    &[("x-api-key", &key[7..])],
                ] {
                    let status = ask(bad).await.status;
                    assert_eq!(status != StatusCode::UNAUTHORIZED, is_open, "{method} {path} {bad:?}");
                }
                assert_ne!(ask(&[("authorization", &key)]).await.status, StatusCode::UNAUTHORIZED, "{path}");
                let client: Answer = rig.send(method.clone(), &path, &[("authorization", &key)], "").await;
                assert_eq!(client.status, StatusCode::NOT_FOUND, "clients do not reach {path}");
            }
        }
    });
}

#[test]
fn x18_pages_of_browsers_are_not_answered() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        let admin = rig.server.admin_address().unwrap();
        let page = send(admin, Method::POST, "/reload", &[("origin", "https://evil.example")], "").await;
        assert_eq!(page.status, StatusCode::FORBIDDEN);
        let rebound = format!(
            "POST /reload HTTP/1.1\r\nhost: evil.example:{}\r\ncontent-length: 0\r\nconnection: close\r\n\r\n",
            admin.port()
        );
        assert!(crate::rig::raw(admin, rebound.as_bytes()).await.starts_with("HTTP/1.1 403"));
        let own = rebound.replace("evil.example", "localhost");
        assert!(crate::rig::raw(admin, own.as_bytes()).await.starts_with("HTTP/1.1 200"));
    });
}
