//! Controls X of the security model, and the rows of bad input that they rest on.

use std::sync::{Arc, Mutex};
use std::time::Duration;

use http::{Method, StatusCode};
use serde_json::json;
use waypost_gateway::NewKey;
use waypost_lab::http::{HttpProvider, HttpRequest, Script};

use crate::gateway::well;
use crate::rig::{PATIENCE, Rig, chat, config, raw, run, send, until};

const JSON: (&str, &str) = ("content-type", "application/json");

/// What providers saw.
#[derive(Clone, Default)]
struct Seen(Arc<Mutex<Vec<HttpRequest>>>);

impl Seen {
    fn provider(&self) -> impl Fn(&HttpRequest) -> Script + Send + Sync + 'static {
        let seen = self.clone();
        move |request| {
            seen.0.lock().unwrap().push(request.clone());
            well(request)
        }
    }

    fn last(&self) -> HttpRequest {
        self.0.lock().unwrap().last().unwrap().clone()
    }

    fn len(&self) -> usize {
        self.0.lock().unwrap().len()
    }
}

#[test]
fn b27_b28_b29_x08_headers_of_clients_neither_decide_nor_pass() {
    run(async {
        let seen = Seen::default();
        let more = "[[rules]]\nid = \"inside\"\nwhen = { source_ip = [\"10.0.0.0/8\"] }\nthen = { reject = { message = \"no\" } }\n";
        let rig = Rig::start(vec![seen.provider()], more).await;
        let forged = [
            JSON,
            ("x-forwarded-for", "10.0.0.1"),
            ("forwarded", "for=10.0.0.1"),
            ("x-real-ip", "10.0.0.1"),
            ("x-tenant", "a"),
            ("x-tenant", "b"),
            ("x-attempt", "7"),
            ("x-attempt", "0"),
            ("api-key", "k"),
            ("openai-organization", "o"),
            ("x-portkey-custom-host", "http://127.0.0.1:1"),
            ("cookie", "c"),
            ("proxy-authorization", "p"),
            ("te", "trailers"),
        ];
        let answer = rig.send(Method::POST, "/v1/chat/completions", &forged, chat(false).to_string()).await;
        assert_eq!(answer.status, StatusCode::OK, "nobody's word is taken for an address: {answer:?}");
        let mut names: Vec<_> = seen.last().headers.iter().map(|(name, _)| name.clone()).collect();
        names.sort();
        assert_eq!(names, ["content-length", "content-type", "host", "user-agent", "x-attempt"]);
        assert_eq!(seen.last().header("x-attempt"), Some("0"), "two words are none");
        rig.settled().await;
    });
}

#[test]
fn b45_b46_what_is_for_the_provider_passes_and_nothing_is_fetched() {
    run(async {
        let (seen, target) = (Seen::default(), HttpProvider::start(well).await.unwrap());
        let rig = Rig::start(vec![seen.provider()], "").await;
        let image = json!([{"role": "wrong", "content": [{"type": "image_url", "image_url": {"url": target.url()}}]}]);
        for body in [
            json!({"model": "m", "messages": []}),
            json!({"model": "m", "messages": image}),
            json!({"model": "m", "messages": [], "user": "u".repeat(1 << 20)}),
            json!({"model": "m", "messages": [], "user": "canary-user"}),
        ] {
            let answer = rig.post("/v1/chat/completions", &body).await;
            assert_eq!(answer.status, StatusCode::OK, "{answer:?}");
            assert_eq!(seen.last().json(), body, "as it was sent");
        }
        assert_eq!(
            (target.ledger().connections(), seen.len()),
            (0, 4),
            "nothing that a body names is fetched"
        );
        let metrics = rig.admin(Method::GET, "/metrics").await;
        assert!(!metrics.text().contains("canary-user") && metrics.body.len() < 64 << 10);
        rig.settled().await;
    });
}

#[test]
fn x01_redirects_are_not_followed() {
    run(async {
        let target = HttpProvider::start(well).await.unwrap();
        let location = format!("{}/chat/completions", target.url());
        let away = move |_: &HttpRequest| Script::status(307, &[("location", &location)], "{}");
        let rig = Rig::start(vec![away], "").await;
        let answer = rig.chat(false).await;
        assert_eq!(answer.status, StatusCode::BAD_GATEWAY);
        assert!(answer.headers.get("location").is_none());
        assert_eq!(target.ledger().connections(), 0);
        rig.settled().await;
    });
}

#[test]
fn x01_a_name_leads_into_a_private_network_only_where_that_is_said() {
    run(async {
        for (said, is_allowed) in [("", false), ("private = false\n", false), ("private = true\n", true)] {
            let provider = HttpProvider::start(well).await.unwrap();
            // No address as it is written, but the system's resolver makes 127.0.0.1 of it, wherever it is asked.
            let url = provider.url().replace("127.0.0.1", "127.1");
            let text = config(&[url], "").replace("endpoint = ", &format!("{said}endpoint = "));
            let rig = Rig::with_text(vec![provider], &text).await;
            let status = if is_allowed { StatusCode::OK } else { StatusCode::BAD_GATEWAY };
            assert_eq!(rig.chat(false).await.status, status, "{said}");
            assert_eq!(rig.providers[0].ledger().connections() > 0, is_allowed, "nothing of it gets out");
            rig.settled().await;
        }
    });
}

#[test]
fn x02_every_path_of_clients_needs_a_key_whatever_host_and_path_say() {
    run(async {
        let key = NewKey::make(b"");
        let more = format!("[tenants.a]\nkeys = [{{ hash = \"{}\" }}]\n", key.hash);
        let rig = Rig::start(vec![well], &more).await;
        let bearer = format!("Bearer {}", key.key);
        for endpoint in waypost_gateway::Endpoint::ALL {
            let version = if endpoint.path().contains("{model}") { "/v1beta" } else { "/v1" };
            let path = format!("{version}{}?alt=sse", endpoint.path().replace("{model}", "m"));
            for bad in [
                vec![JSON],
                vec![JSON, ("authorization", "Bearer wp-x")],
                vec![JSON, ("x-api-key", &key.hash)],
            ] {
                let answer = rig.send(Method::POST, &path, &bad, chat(false).to_string()).await;
                assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "{path} {bad:?}");
            }
        }
        let models =
            async |headers: &[(&str, &str)]| rig.send(Method::GET, "/v1/models", headers, "").await.status;
        assert_eq!(models(&[]).await, StatusCode::UNAUTHORIZED);
        assert_eq!(models(&[("authorization", &bearer)]).await, StatusCode::OK);
        let odd = format!(
            "GET http://127.0.0.1/health/../v1/models HTTP/1.1\r\nhost: 127.0.0.1\r\nauthorization: {bearer}\r\nconnection: close\r\n\r\n"
        );
        assert!(
            raw(rig.address(), odd.as_bytes()).await.starts_with("HTTP/1.1 404"),
            "paths are not resolved"
        );
        assert_eq!(rig.providers[0].ledger().requests(), 0);
        rig.settled().await;
    });
}

#[test]
fn x09_what_providers_get_is_framed_anew() {
    run(async {
        let seen = Seen::default();
        let provider = HttpProvider::start(seen.provider()).await.unwrap();
        let text =
            config(&[provider.url()], "").replacen("[providers", "header_timeout = \"300ms\"\n[providers", 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        let body = chat(false).to_string();
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\ncontent-type: application/json\r\nconnection: close\r\ntransfer-encoding: chunked\r\n\r\n\
             5;ext=1\r\n{}\r\n{:x}\r\n{}\r\n0\r\ntrailer: x\r\n\r\n",
            &body[..5],
            body.len() - 5,
            &body[5..],
        );
        assert!(rig.raw(request.as_bytes()).await.starts_with("HTTP/1.1 200"));
        let got = seen.last();
        assert_eq!(got.header("content-length"), Some(&*body.len().to_string()));
        assert_eq!((got.header("transfer-encoding"), got.header("trailer")), (None, None));
        let upgrade = "GET /v1/models HTTP/1.1\r\nhost: localhost\r\nconnection: upgrade\r\nupgrade: h2c\r\n\r\nsmuggled";
        let answer = rig.raw(upgrade.as_bytes()).await;
        assert!(!answer.starts_with("HTTP/1.1 101"), "{answer}");
        let connect =
            rig.raw(b"CONNECT 127.0.0.1:1 HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n").await;
        assert!(!connect.starts_with("HTTP/1.1 2"), "{connect}");
        assert_eq!(seen.len(), 1);
        rig.settled().await;
    });
}

#[test]
fn x11_bodies_that_are_held_together_are_bounded() {
    run(async {
        let provider =
            HttpProvider::start(|_: &HttpRequest| Script::new().then(waypost_lab::http::Step::Hang))
                .await
                .unwrap();
        let text =
            config(&[provider.url()], "").replacen("[providers", "max_buffered = \"1MiB\"\n[providers", 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        let body = |kib: usize| json!({"model": "m", "messages": [], "x": "a".repeat(kib << 10)}).to_string();
        let address = rig.address();
        let mut held = tokio::task::JoinSet::new();
        for _ in 0..2 {
            held.spawn(async move {
                send(address, Method::POST, "/v1/chat/completions", &[JSON], body(300)).await
            });
        }
        until("both are held", || rig.providers[0].ledger().requests() == 2).await;
        let refused = rig.send(Method::POST, "/v1/chat/completions", &[JSON], body(600)).await;
        assert_eq!(
            (refused.status, refused.code().as_str()),
            (StatusCode::SERVICE_UNAVAILABLE, "overloaded")
        );
        assert_eq!(refused.header("retry-after"), "1");
        held.abort_all();
        until("their memory is free", || rig.server.gateway().running() == 0).await;
        rig.settled().await;
    });
}

#[test]
fn x11_connections_beyond_the_most_are_told_so() {
    run(async {
        let provider = HttpProvider::start(well).await.unwrap();
        let text = config(&[provider.url()], "").replacen("[providers", "max_connections = 2\n[providers", 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        let idle = [rig.address(); 2].map(|address| std::net::TcpStream::connect(address).unwrap());
        let mut refused = String::new();
        // The first may be accepted before those that idle.
        for _ in 0..50 {
            refused = raw(rig.address(), b"").await;
            if !refused.is_empty() {
                break;
            }
        }
        assert!(refused.starts_with("HTTP/1.1 503") && refused.contains("retry-after: 1"), "{refused}");
        drop(idle);
        until("there is room", || std::net::TcpStream::connect(rig.address()).is_ok()).await;
        let served = async {
            while !raw(rig.address(), b"GET /health HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n\r\n")
                .await
                .starts_with("HTTP/1.1 200")
            {}
        };
        tokio::time::timeout(PATIENCE, served).await.expect("others are served");
    });
}

/// P10: each client gets the answer to its own request, whoever leaves in between.
#[test]
fn x15_no_answer_goes_to_another_request() {
    run(async {
        let echo = |request: &HttpRequest| {
            let id = request.json()["messages"][0]["content"].as_str().unwrap_or_default().to_owned();
            let body =
                json!({"id": id, "choices": [], "usage": {"prompt_tokens": 1, "completion_tokens": 1}});
            Script::new().wait(Duration::from_millis(request.number % 7)).then(waypost_lab::http::Step::Send(
                Script::json(&body.to_string())
                    .steps()
                    .iter()
                    .map(|step| match step {
                        waypost_lab::http::Step::Send(bytes) => bytes.clone(),
                        _ => Vec::new(),
                    })
                    .collect::<Vec<_>>()
                    .concat(),
            ))
        };
        let rig = Rig::start(vec![echo, echo], "").await;
        let (address, mut clients) = (rig.address(), tokio::task::JoinSet::new());
        for client in 0..16 {
            clients.spawn(async move {
                for number in 0..40 {
                    let id = format!("{client}-{number}");
                    let body =
                        json!({"model": "m", "messages": [{"role": "user", "content": id}]}).to_string();
                    let asked = send(address, Method::POST, "/v1/chat/completions", &[JSON], body);
                    if number % 5 == 4 {
                        // This one leaves.
                        let _ = tokio::time::timeout(Duration::from_millis(2), asked).await;
                    } else {
                        assert_eq!(asked.await.json()["id"], id);
                    }
                }
            });
        }
        while let Some(client) = clients.join_next().await {
            client.unwrap();
        }
        rig.settled().await;
    });
}

#[test]
fn x20_defaults_are_safe() {
    run(async {
        let provider = HttpProvider::start(well).await.unwrap();
        let text = format!(
            "[providers.a]\ntype = \"openai-compatible\"\nendpoint = \"{}\"\n[models.m]\ncandidates = [{{ provider = \"a\" }}]\n",
            provider.url()
        );
        assert!(waypost_gateway::Config::read("w", &text).is_ok());
        for open in [
            "listen = \"0.0.0.0:1\"",
            "admin = \"0.0.0.0:1\"",
            "listen = \"[::]:1\"",
            "listen = \"0.0.0.0:1\"\nanonymous = true",
        ] {
            assert!(
                waypost_gateway::Config::read("w", &format!("[server]\n{open}\n{text}")).is_err(),
                "{open}"
            );
        }
        let rig = Rig::start(vec![well], "").await;
        let options = [("origin", "https://evil.example"), ("access-control-request-method", "POST")];
        for method in [Method::OPTIONS, Method::GET] {
            let answer = rig.send(method, "/v1/models", &options, "").await;
            assert!(
                answer.headers.keys().all(|name| !name.as_str().starts_with("access-control")),
                "no CORS"
            );
        }
    });
}

/// X26: neither rules nor fallbacks nor aliases lead to a model that key or tenant may not use.
#[test]
fn x26_b58_the_final_model_is_authorized_too() {
    run(async {
        let [tenant, key] = [(); 2].map(|()| NewKey::make(b""));
        let fails = |_: &HttpRequest| Script::status(500, &[], r#"{"error":{"message":"x"}}"#);
        let (bad, good) =
            (HttpProvider::start(fails).await.unwrap(), HttpProvider::start(well).await.unwrap());
        let text = config(&[bad.url(), good.url()], "").replacen(
            "[models.m]",
            "[models.dear]\ncandidates = [{ provider = \"p1\" }]\n[models.cheap]\ncandidates = [{ provider = \"p1\" }]\n[models.m]\nfallback = [\"dear\"]",
            1,
        ).replace("{ provider = \"p0\" }, { provider = \"p1\" }", "{ provider = \"p0\" }");
        let text = format!(
            "{text}[tenants.t]\nkeys = [{{ hash = \"{}\" }}]\nallow = [\"m\", \"cheap\", \"fast\"]\n\
             [tenants.u]\nkeys = [{{ hash = \"{}\", allow = [\"m\", \"cheap\", \"fast\"] }}]\n\
             [[rules]]\nid = \"up\"\nwhen = {{ model = \"cheap\" }}\nthen = {{ rewrite_model = \"dear\" }}\n",
            tenant.hash, key.hash
        );
        let rig = Rig::with_text(vec![bad, good], &text).await;
        for secret in [&tenant.key, &key.key] {
            let ask = async |model: &str| {
                let bearer = format!("Bearer {secret}");
                let body = json!({"model": model, "messages": []}).to_string();
                rig.send(Method::POST, "/v1/chat/completions", &[JSON, ("authorization", &bearer)], body)
                    .await
            };
            assert_eq!(ask("dear").await.code(), "not_allowed");
            assert_eq!(ask("cheap").await.status, StatusCode::FORBIDDEN, "as rewritten by a rule");
            for model in ["m", "fast"] {
                let failed = ask(model).await;
                assert!(failed.status.is_server_error(), "and not by fallback: {failed:?}");
            }
        }
        assert_eq!(rig.providers[1].ledger().requests(), 0);
        rig.settled().await;
    });
}

#[test]
fn x20_nobody_without_a_key_is_a_page_or_has_a_wrong_key() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        let form = "--b\r\nContent-Disposition: form-data; name=\"model\"\r\n\r\nm\r\n--b--\r\n";
        let kind = ("content-type", "multipart/form-data; boundary=b");
        let page = [kind, ("origin", "https://evil.example")];
        let answer = rig.send(Method::POST, "/v1/audio/transcriptions", &page, form).await;
        assert_eq!(answer.status, StatusCode::FORBIDDEN);
        let rebound = "POST /v1/chat/completions HTTP/1.1\r\nhost: evil.example\r\ncontent-type: application/json\r\n\
                       connection: close\r\ncontent-length: 2\r\n\r\n{}";
        assert!(rig.raw(rebound.as_bytes()).await.starts_with("HTTP/1.1 403"));
        let key = NewKey::make(b"");
        let provider = HttpProvider::start(well).await.unwrap();
        let more = format!("[tenants.a]\nkeys = [{{ hash = \"{}\" }}]\n", key.hash);
        let text = config(&[provider.url()], &more).replacen("[providers", "anonymous = true\n[providers", 1);
        let rig = Rig::with_text(vec![provider], &text).await;
        assert_eq!(rig.chat(false).await.status, StatusCode::OK, "without a key");
        let wrong = [JSON, ("authorization", "Bearer revoked")];
        let answer = rig.send(Method::POST, "/v1/chat/completions", &wrong, chat(false).to_string()).await;
        assert_eq!(answer.status, StatusCode::UNAUTHORIZED, "not with one that is none");
    });
}

/// X09 for forms: nobody may read another model than the gateway did.
#[test]
fn x09_forms_name_their_model_once_and_plainly() {
    run(async {
        let rig = Rig::start(vec![|_: &HttpRequest| Script::json("{}")], "").await;
        let part = |head: &str, value: &str| format!("--b\r\n{head}\r\n\r\n{value}\r\n");
        let model = part("Content-Disposition: form-data; name=\"model\"", "m");
        let ask = async |body: String| {
            let kind = [("content-type", "multipart/form-data; boundary=b")];
            rig.send(Method::POST, "/v1/audio/transcriptions", &kind, body + "--b--\r\n").await
        };
        let file = part(
            "content-disposition: form-data; name=\"file\"; filename=\"a name.mp3\"\r\nContent-Type: audio/mpeg",
            "RIFF",
        );
        let plain = ask(model.clone() + &file).await;
        assert_eq!(plain.status, StatusCode::OK, "{plain:?}");
        for smuggled in [
            "Content-Disposition: form-data; name=model",
            "Content-Disposition: form-data; Name=\"model\"",
            "Content-Disposition: form-data; name*=UTF-8''model",
            "Content-Disposition: form-data; name=\"x\"; name=\"model\"",
            "Content-Disposition: form-data; name=\"Model\"",
            "Content-Disposition: form-data; name=\"mod\\el\"",
            "Content-Disposition: form-data; name=\"x\"\r\nContent-Disposition: form-data; name=\"model\"",
            "Content-Type: text/plain",
        ] {
            assert_eq!(
                ask(model.clone() + &part(smuggled, "dear")).await.status,
                StatusCode::BAD_REQUEST,
                "{smuggled}"
            );
        }
        assert_eq!(ask(model.clone() + &model).await.status, StatusCode::BAD_REQUEST);
        assert_eq!(rig.providers[0].ledger().requests(), 1);
        rig.settled().await;
    });
}
