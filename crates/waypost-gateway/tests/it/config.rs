//! Configurations that are wrong, and those that change while requests run.

use std::time::Duration;

use http::{Method, StatusCode};
use tokio::time::Instant;
use waypost_gateway::Config;
use waypost_lab::http::{HttpRequest, Script, Speech};

use crate::rig::{PATIENCE, Rig, config, run, until};

fn well(request: &HttpRequest) -> Script {
    Speech::default().answer(request)
}

fn lines(text: &str) -> Vec<String> {
    Config::read("w.toml", text).err().map(|errors| errors.lines().collect()).unwrap_or_default()
}

const GOOD: &str = "[providers.a]\ntype = \"openai-compatible\"\nendpoint = \"http://127.0.0.1:1/v1\"\n[models.m]\ncandidates = [{ provider = \"a\" }]\n";

#[test]
fn b02_a02_every_problem_is_told_at_once_where_it_is() {
    let text = "[server]\nlistn = \"x\"\nmax_body = \"32MB\"\n[providers.a]\ntype = \"opnai\"\n[models.m]\ncandidates = [{ provider = \"b\", wieght = 3 }]\n";
    let found = lines(text);
    assert_eq!(
        found,
        [
            "w.toml:2:1: unknown key `listn` in `server` (did you mean `listen`?)",
            "w.toml:3:12: server.max_body: expected a size such as \"64KiB\", \"32MiB\" or \"1GiB\"",
            "w.toml:5:8: providers.a.type: unknown value `opnai` (one of `openai`, `azure-openai`, `anthropic`, `vertex`, `gemini`, `bedrock`, `cohere` and `openai-compatible`)",
            "w.toml:7:33: unknown key `wieght` in `models.m.candidates[0]` (did you mean `weight`?)",
        ]
    );
    let meaning = format!(
        "{GOOD}[models.n]\nstrategy = \"least-latencyy\"\nfallback = [\"n\", \"mm\"]\ncandidates = [{{ provider = \"aa\" }}]\n\
         [tenants.t]\nkeys = [{{ hash = \"x\" }}]\nallow = [\"zz\"]\n[[rules]]\nid = \"r\"\nthen = {{ pool = [\"nobody\"] }}\n"
    );
    let found = lines(&meaning).join("\n");
    for expected in [
        "unknown strategy `least-latencyy` (did you mean `least_latency`?)",
        "`n` cannot stand in for itself",
        "unknown model `mm` (did you mean `m`?)",
        "unknown provider `aa` (did you mean `a`?)",
        "not the hash of a key",
        "unknown model `zz`",
    ] {
        assert!(found.contains(expected), "{expected}: {found}");
    }
}

#[test]
fn x01_an_address_of_a_private_network_is_refused_where_the_file_says_so() {
    for (address, is_refused) in [("10.0.0.1", true), ("[fd00::1]", true), ("8.8.8.8", false)] {
        let provider = format!("\"http://{address}/\"\nprivate = false");
        let found = lines(&GOOD.replace("\"http://127.0.0.1:1/v1\"", &provider)).join("\n");
        assert_eq!(found.contains("of a private network"), is_refused, "{address}: {found}");
    }
}

#[test]
fn b01_to_b14_files_that_are_refused() {
    assert!(Config::read("w", GOOD).is_ok());
    assert!(
        Config::read("w", &format!("\u{feff}{}", GOOD.replace('\n', "\r\n"))).is_ok(),
        "B01: BOM and CRLF"
    );
    let provider = |line: &str| {
        format!(
            "[providers.a]\ntype = \"openai-compatible\"\n{line}\n[models.m]\ncandidates = [{{ provider = \"a\" }}]\n"
        )
    };
    let candidate = |fields: &str| GOOD.replace("provider = \"a\"", &format!("provider = \"a\", {fields}"));
    let nested = format!("x = {}{}", "[".repeat(10_000), "]".repeat(10_000));
    let cases = [
        ("B01", String::new()),
        ("B01", "# nothing\n".to_owned()),
        ("B01", format!("{GOOD}# \0")),
        ("B01", "[models".to_owned()),
        ("B03", format!("{GOOD}[models.m]\n")),
        ("B03", format!("{GOOD}[models.M]\ncandidates = [{{ provider = \"a\" }}]\n")),
        ("B04", candidate("weight = -1")),
        ("B04", candidate("weight = nan")),
        ("B04", candidate("weight = inf")),
        ("B04", candidate("weight = 1e308")),
        ("B05", format!("{GOOD}[failover.timeouts]\nidle = \"0\"\n")),
        ("B05", format!("{GOOD}[failover.timeouts]\nidle = \"-1s\"\n")),
        ("B05", format!("{GOOD}[failover.timeouts]\nidle = 5\n")),
        ("B06", format!("{GOOD}[failover]\nattempts = 4294967296\n")),
        ("B06", format!("{GOOD}[failover]\nattempts = -1\n")),
        ("B06", format!("{GOOD}[failover]\nattempts = 1.5\n")),
        ("B06", format!("{GOOD}[failover]\nattempts = \"10\"\n")),
        ("B06", format!("{GOOD}[server]\nmax_connections = 18446744073709551616\n")),
        ("B07", candidate("price = { input = -1.0, output = 1.0 }")),
        ("B07", candidate("price = { input = nan, output = 1.0 }")),
        ("B07", candidate("price = { input = 1e12, output = 1.0 }")),
        ("B08", provider("")),
        ("B08", provider("endpoint = \"api.example.com\"")),
        ("B08", provider("endpoint = \"file:///etc\"")),
        ("B08", provider("endpoint = \"http://u:p@x/v1\"")),
        ("B08", provider("endpoint = \"http://x:0/\"")),
        ("B08", provider("endpoint = \"http://x/#f\"")),
        ("B08", provider("endpoint = \"http://169.254.169.254/\"")),
        ("X01", provider("endpoint = \"http://[::ffff:169.254.169.254]/\"")),
        ("X01", provider("endpoint = \"http://[febf::1]/\"")),
        ("X01", provider("endpoint = \"http://[fd00:ec2::254]/\"")),
        ("B08", provider("endpoint = \"http://x.:80/\"")),
        ("B09", nested),
        ("B10", GOOD.replace("[models.m]", "[models.m]\nfallback = [\"m\"]")),
        ("B10", format!("{GOOD}[aliases]\na = \"b\"\nb = \"a\"\n")),
        ("B11", provider("endpoint = \"http://x/\"\napi_key = \"sk-inline\"")),
        ("B11", provider("endpoint = \"http://x/\"\napi_key = { env = \"WAYPOST_NO_SUCH_KEY\" }")),
        (
            "B12",
            format!(
                "{GOOD}[[rules]]\nid = \"r\"\nwhen = {{ model = {{ regex = \"(a{{1000}}){{1000}}\" }} }}\nthen = {{ pool = [\"a\"] }}\n"
            ),
        ),
        ("B14", format!("{GOOD}[server]\nadmin = \"0.0.0.0:9080\"\n")),
        ("X", format!("{GOOD}[server]\nlisten = \"0.0.0.0:8080\"\n")),
    ];
    for (id, text) in cases {
        let found = lines(&text);
        assert!(!found.is_empty(), "{id}: {text:.200}");
        assert!(found.iter().all(|line| !line.contains("sk-inline")), "{id}: {found:?}");
    }
}

#[test]
fn a01_a05_a_bad_file_changes_nothing_and_says_so() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        let good = std::fs::read_to_string(&rig.path).unwrap();
        let generation = rig.server.gateway().router().metrics().generation;
        for bad in ["", "[models", "# half of it", &good[..good.len() / 2], &good.replace("\"p0\"", "\"p9\"")]
        {
            std::fs::write(&rig.path, bad).unwrap();
            let answer = rig.admin(Method::POST, "/reload").await;
            assert_eq!(
                (answer.status, answer.code().as_str()),
                (StatusCode::UNPROCESSABLE_ENTITY, "bad_config"),
                "{bad}"
            );
            assert!(answer.text().contains("waypost.toml:"), "{answer:?}");
            assert!(
                !rig.admin(Method::GET, "/config").await.json()["last_reload_errors"]
                    .as_array()
                    .unwrap()
                    .is_empty()
            );
            assert_eq!(rig.chat(false).await.status, StatusCode::OK);
        }
        assert_eq!(rig.server.gateway().router().metrics().generation, generation);
        std::fs::write(&rig.path, &good).unwrap();
        assert_eq!(rig.admin(Method::POST, "/reload").await.status, StatusCode::OK);
        rig.settled().await;
    });
}

#[test]
fn a06_a_changed_file_is_read_by_itself() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        let text = std::fs::read_to_string(&rig.path).unwrap();
        let generation = rig.server.gateway().router().metrics().generation;
        let next = rig.path.with_extension("next");
        std::fs::write(&next, text.replace("fast = \"m\"", "quick = \"m\"")).unwrap();
        std::fs::rename(&next, &rig.path).unwrap();
        until("it is read", || rig.server.gateway().router().metrics().generation > generation).await;
        let ask = async |model: &str| {
            rig.post("/v1/chat/completions", &serde_json::json!({"model": model, "messages": []}))
                .await
                .status
        };
        assert_eq!((ask("quick").await, ask("fast").await), (StatusCode::OK, StatusCode::NOT_FOUND));
    });
}

/// A writer that does not rename: what stands there for a moment is a sound configuration, and never taken for one.
#[test]
fn a05_half_a_file_is_waited_for() {
    run(async {
        let rig = Rig::start(vec![well], "").await;
        let text = std::fs::read_to_string(&rig.path).unwrap();
        let generation = || rig.server.gateway().router().metrics().generation;
        let (half, rest) = text.split_at(text.find("[aliases]").unwrap());
        assert!(Config::read("half", half).is_ok());
        let first = generation();
        std::fs::write(&rig.path, text.replace("fast = ", "faster = ")).unwrap();
        until("the file is watched", || generation() > first).await;
        let mut is_told = false;
        for number in 0..20 {
            let before = generation();
            let started = Instant::now();
            std::fs::write(&rig.path, half).unwrap();
            tokio::time::sleep(Duration::from_millis(100)).await;
            let rest = rest.replace("fast = ", &format!("quick{number} = "));
            std::fs::write(&rig.path, [half, &rest].concat()).unwrap();
            // A machine that was busy elsewhere for so long has made it two files.
            is_told = started.elapsed() < Duration::from_millis(250);
            let body = serde_json::json!({"model": format!("quick{number}"), "messages": []});
            let served = async {
                while rig.post("/v1/chat/completions", &body).await.status != StatusCode::OK {
                    tokio::time::sleep(Duration::from_millis(10)).await;
                }
            };
            tokio::time::timeout(PATIENCE, served).await.expect("the whole file is read");
            if is_told {
                assert_eq!(generation(), before + 1, "the half was never read");
                break;
            }
        }
        assert!(is_told, "each time something else ran between two lines");
        rig.settled().await;
    });
}

#[test]
fn a03_a_removed_provider_ends_what_it_began() {
    run(async {
        let slow = |_: &HttpRequest| {
            let event = "data: {\"choices\":[{\"index\":0,\"delta\":{\"content\":\"x\"}}]}\n\n";
            let begun = (0..40)
                .fold(Script::event_stream(), |script, _| script.chunk(event).wait(Duration::from_millis(5)));
            begun.chunk("data: [DONE]\n\n").end()
        };
        let replies: Vec<crate::rig::Reply> = vec![Box::new(slow), Box::new(well)];
        let rig = Rig::start(replies, "").await;
        let mut streams = tokio::task::JoinSet::new();
        for _ in 0..20 {
            let address = rig.address();
            streams.spawn(async move {
                let body = crate::rig::chat(true).to_string();
                crate::rig::send(
                    address,
                    Method::POST,
                    "/v1/chat/completions",
                    &[("content-type", "application/json")],
                    body,
                )
                .await
            });
        }
        until("half of them run there", || rig.providers[0].ledger().requests() == 10).await;
        let only: Vec<_> = rig.providers.iter().skip(1).map(waypost_lab::http::HttpProvider::url).collect();
        let text = config(&only, "").replace("p0", "p1");
        std::fs::write(&rig.path, text).unwrap();
        rig.server.reload().unwrap();
        for _ in 0..10 {
            assert_eq!(rig.chat(false).await.header("x-waypost-candidate"), "p1/m");
        }
        while let Some(answer) = streams.join_next().await {
            assert!(answer.unwrap().text().ends_with("data: [DONE]\n\n"));
        }
        assert_eq!(rig.providers[0].ledger().requests(), 10, "nobody new");
        rig.settled().await;
    });
}

/// A thousand of them, each another configuration; requests run until the last.
#[test]
fn a04_reloads_under_load_lose_nothing() {
    run(async {
        let rig = Rig::start(vec![well, well], "[limits.all]\nrequests = \"1M/day\"\n").await;
        let good = std::fs::read_to_string(&rig.path).unwrap();
        let (address, mut load) = (rig.address(), tokio::task::JoinSet::new());
        let (done, is_done) = tokio::sync::watch::channel(false);
        for client in 0..4 {
            let is_done = is_done.clone();
            load.spawn(async move {
                let mut answered = 0_u64;
                while !*is_done.borrow() {
                    let body = crate::rig::chat(client % 2 == 0).to_string();
                    let json = [("content-type", "application/json")];
                    let answer =
                        crate::rig::send(address, Method::POST, "/v1/chat/completions", &json, body).await;
                    assert_eq!((answer.status, answer.broke_off), (StatusCode::OK, false), "{answer:?}");
                    answered += 1;
                }
                answered
            });
        }
        let first = rig.server.gateway().router().metrics().generation;
        for number in 0..1_000 {
            let text = good.replacen("[aliases]", &format!("[aliases]\nalias{number} = \"m\""), 1);
            std::fs::write(&rig.path, text).unwrap();
            rig.server.reload().unwrap();
            tokio::task::yield_now().await;
        }
        done.send(true).unwrap();
        let answered: u64 = load.join_all().await.into_iter().sum();
        assert!(answered >= 100, "{answered} requests ran meanwhile");
        let router = rig.server.gateway().router();
        assert!(router.metrics().generation >= first + 1_000, "the watched file may be read once more");
        let table = router.routing_table();
        let succeeded: u64 = table.candidates().map(|candidate| candidate.live().outcomes().succeeded).sum();
        assert_eq!(succeeded, answered, "counters are carried over");
        rig.settled().await;
    });
}

#[test]
fn the_starter_and_the_schema_are_sound() {
    let schema = waypost_gateway::config::json_schema();
    assert!(schema["properties"]["models"].is_object());
    let readme =
        include_str!("../../README.md").split("```toml\n").nth(1).unwrap().split("```").next().unwrap();
    let found = lines(readme);
    assert!(found.iter().all(|line| line.contains("the environment has no")), "{found:?}");
    let starter = include_str!("../../src/commands/starter.toml");
    let found = lines(starter);
    assert!(found.iter().all(|line| line.contains("the environment has no")), "{found:?}");
    let uncommented: String = starter
        .lines()
        .map(|line| {
            line.strip_prefix("# ")
                .filter(|rest| rest.starts_with(['[', 'k', 'a', 'l', 'b', 'i', 'p', 'w', 't']))
                .unwrap_or(line)
                .to_owned()
                + "\n"
        })
        .collect();
    let uncommented = uncommented
        .lines()
        .filter(|line| !line.starts_with("[providers") || line.contains(']'))
        .collect::<Vec<_>>()
        .join("\n");
    let found = lines(&uncommented.replace("wp1$…", &waypost_gateway::NewKey::make(b"").hash));
    assert!(
        found.iter().all(|line| line.contains("the environment has no")
            || line.contains("TOML")
            || line.contains("expected")),
        "{found:?}"
    );
}

const YAML: &str = r#"
server:
  listen: "127.0.0.1:0"
  max_body: 1MiB
providers:
  a: { type: openai-compatible, endpoint: "http://127.0.0.1:1/v1" }
models:
  m:
    strategy: least-latency
    candidates:
      - { provider: a, weight: 2, price: { input: 1, output: 2.5 } }
rules:
  - id: r
    when: { tenant: acme }
    then: { reject: { message: "closed" } }
tenants:
  acme: { budget: { monthly: "$5" } }
"#;

#[test]
fn yaml_is_read_as_toml_is() {
    for name in ["w.yaml", "w.yml"] {
        let config = Config::read(name, YAML).unwrap_or_else(|errors| panic!("{errors}"));
        assert!(config.warnings().is_empty(), "{}", config.warnings());
    }
    let wrong = YAML.replace("max_body: 1MiB", "max_bdy: 1MiB").replace("provider: a", "provider: b");
    let told = |text: &str| Config::read("w.yaml", text).unwrap_err().lines().collect::<Vec<_>>();
    assert_eq!(told(&wrong), ["w.yaml:4:3: unknown key `max_bdy` in `server` (did you mean `max_body`?)"]);
    let wrong = YAML.replace("provider: a", "provider: bb");
    assert_eq!(told(&wrong), ["w.yaml:11:21: unknown provider `bb`"]);
    for (bad, line) in [
        (YAML.replace("models:", "models: ["), ":"),
        (YAML.replace("  max_body", "  listen: x\n  max_body"), ":"),
        (format!("{YAML}---\na: 1\n"), ":"),
        (format!("a: {}", "[".repeat(10_000)), ":"),
        (format!("a: &a [x]\nb: [{}]", "*a, ".repeat(2_000)), ":"),
        ("a: !!binary x\n\0".to_owned(), ":"),
    ] {
        let lines = told(&bad);
        assert!(lines.len() == 1 && lines[0].contains(line), "{lines:?}");
    }
    assert!(told("").join("\n").contains("no models"));
}

#[test]
fn rules_of_a_configuration_are_tested() {
    let config = Config::read("w.yaml", YAML).unwrap();
    let tests = |rule: &str| {
        let text = format!(
            "[[tests]]\nrequest = {{ model = \"m\", tenant = \"acme\" }}\nexpect = {{ rule = {rule} }}\n"
        );
        waypost_rules::RuleTests::from_toml(&text).unwrap()
    };
    assert!(config.test_rules(&tests("\"r\"")).passed());
    assert!(!config.test_rules(&tests("false")).passed());
}

#[test]
#[expect(clippy::disallowed_methods, reason = "the optional data folder is named by the environment")]
fn prices_of_litellm_are_imported() {
    let Some(data) = std::env::var_os("WAYPOST_DATA").map(std::path::PathBuf::from) else {
        crate::rig::say("skipped: WAYPOST_DATA names no folder with prices");
        return;
    };
    let packed = std::fs::read(data.join("prices/litellm/model_prices_1.109.1.json.gz")).unwrap();
    let file = std::env::temp_dir().join(format!("waypost-prices-{}.json", uuid::Uuid::new_v4()));
    let mut text = Vec::new();
    std::io::copy(&mut flate2::read::GzDecoder::new(&packed[..]), &mut text).unwrap();
    std::fs::write(&file, text).unwrap();
    let text = |model: &str| {
        format!(
            "[prices]\nlitellm = {file:?}\n[providers.a]\ntype = \"openai\"\n[models.m]\ncandidates = [{{ provider = \"a\", model = \"{model}\" }}]\n"
        )
    };
    let config = Config::read("w", &text("gpt-4o")).unwrap();
    assert!(config.warnings().is_empty(), "{}", config.warnings());
    let gateway = waypost_gateway::Gateway::new(config).unwrap();
    let usage = waypost::core::TokenUsage::new(waypost::core::Tokens(1_000_000), waypost::core::Tokens(0));
    let table = gateway.router().routing_table();
    let cost = table.candidates().next().unwrap().cost(usage);
    assert_eq!(cost, Some(waypost::core::NanoUsd::from_usd(2.5).unwrap()));
    let unknown = Config::read("w", &text("nobody-has-this")).unwrap();
    assert!(unknown.warnings().lines().any(|line| line.contains("no price of `nobody-has-this`")));
    std::fs::remove_file(&file).unwrap();
}

/// What would be opened to everybody is refused, although the new file taken alone is sound.
#[test]
fn a_reload_never_serves_strangers_without_keys() {
    let key = waypost_gateway::NewKey::make(b"");
    let public = format!(
        "[server]\nlisten = \"0.0.0.0:1\"\nadmin = \"\"\n{GOOD}[tenants.t]\nkeys = [{{ hash = \"{}\" }}]\n",
        key.hash
    );
    let gateway = waypost_gateway::Gateway::new(Config::read("w", &public).unwrap()).unwrap();
    let error = gateway.reconfigure(Config::read("w", GOOD).unwrap()).unwrap_err();
    assert!(error.to_string().contains("only this machine is served"), "{error}");
    gateway.reconfigure(Config::read("w", &public).unwrap()).unwrap();
}

#[test]
fn what_only_shows_when_it_is_used_is_checked_too() {
    let provider = |line: &str| GOOD.replacen("[models.m]", &format!("{line}\n[models.m]"), 1);
    for (text, told) in [
        (provider("headers = { \"a b\" = \"c\" }"), "headers are not valid"),
        (provider("ca_file = \"/nowhere\""), "cannot be read as certificates"),
        (
            GOOD.replace("{ provider = \"a\" }", "{ provider = \"a\", limits = { requests = \"100/day\" } }"),
            "a whole number per minute",
        ),
    ] {
        let text = if told.contains("certificates") { text.replace("http://", "https://") } else { text };
        let found = lines(&text).join("\n");
        assert!(found.contains(told), "{told}: {found}");
    }
}
