//! The official clients, unchanged: what they see through the gateway is what they see of the provider itself.

use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::atomic::{AtomicU64, Ordering};

use serde_json::Value;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech};

use crate::rig::{Rig, config, run, say};

/// A folder for what is installed, kept from run to run.
fn folder(name: &str) -> PathBuf {
    let folder = Path::new(env!("CARGO_TARGET_TMPDIR")).join(name);
    std::fs::create_dir_all(&folder).unwrap();
    folder
}

fn works(command: &mut Command) -> bool {
    command.output().is_ok_and(|output| output.status.success())
}

/// A Python with the official clients; `None` when it cannot be had.
fn python() -> Option<PathBuf> {
    let (venv, python) = (folder("clients-python"), folder("clients-python").join("bin/python"));
    let has = || works(Command::new(&python).args(["-c", "import openai, anthropic"]));
    let install = || {
        works(Command::new("python3").args(["-m", "venv"]).arg(&venv))
            && works(Command::new(&python).args([
                "-m",
                "pip",
                "install",
                "--quiet",
                "openai>=1",
                "anthropic>=0.40",
            ]))
    };
    (has() || install() && has()).then_some(python)
}

/// A folder of Node's with the official client; `None` when it cannot be had.
fn node() -> Option<PathBuf> {
    let folder = folder("clients-node");
    std::fs::write(folder.join("package.json"), r#"{"private":true,"type":"module"}"#).unwrap();
    let has = folder.join("node_modules/openai").exists();
    let install = || works(Command::new("npm").args(["install", "--silent", "openai"]).current_dir(&folder));
    (works(Command::new("node").arg("--version")) && (has || install())).then_some(folder)
}

/// A provider that refuses some users' requests, and others' the first two times.
async fn provider() -> HttpProvider {
    let flaky = AtomicU64::new(0);
    let reply = move |request: &HttpRequest| -> Script {
        let asked = request.json();
        let user = asked["user"].as_str().or(asked["metadata"]["user_id"].as_str());
        match user {
            Some("400") => Script::status(
                400,
                &[],
                r#"{"type":"error","error":{"type":"invalid_request_error","message":"no"}}"#,
            ),
            Some("flaky") if flaky.fetch_add(1, Ordering::SeqCst) % 3 < 2 => Script::status(
                500,
                &[("retry-after-ms", "1")],
                r#"{"type":"error","error":{"type":"api_error","message":"again"}}"#,
            ),
            _ => Speech::default().answer(request),
        }
    };
    HttpProvider::start(reply).await.unwrap()
}

/// What a client saw at an address.
async fn seen(mut client: Command, address: std::net::SocketAddr) -> Value {
    client.arg(format!("http://{address}"));
    let output = tokio::task::spawn_blocking(move || client.output()).await.unwrap().unwrap();
    assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stderr));
    serde_json::from_slice(&output.stdout).unwrap()
}

/// The same client, straight at the provider and through the gateway. Retries are the gateway's there.
fn sees_the_same(client: impl Fn() -> Command) {
    run(async {
        let direct = provider().await;
        let behind = provider().await;
        let text = config(&[behind.url()], "[failover]\nattempts = 3\nretries = 2\n");
        let rig = Rig::with_text(vec![behind], &text).await;
        let expected = seen(client(), direct.address()).await;
        assert_eq!(seen(client(), rig.address()).await, expected);
        assert!(expected.as_object().unwrap().len() >= 6, "{expected}");
        rig.settled().await;
    });
}

#[test]
fn python_clients_see_the_same() {
    let Some(python) = python() else {
        return say("skipped: no Python with the official clients can be had");
    };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openai_anthropic.py");
    sees_the_same(|| {
        let mut client = Command::new(&python);
        client.arg(&script);
        client
    });
}

#[test]
fn the_node_client_sees_the_same() {
    let Some(folder) = node() else { return say("skipped: no Node with the official client can be had") };
    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("tests/clients/openai.mjs");
    // Node looks for what a script imports beside the script.
    std::fs::copy(script, folder.join("openai.mjs")).unwrap();
    sees_the_same(|| {
        let mut client = Command::new("node");
        client.arg("openai.mjs").current_dir(&folder);
        client
    });
}
