//! Load to learn from: what a build guided by a profile takes to be common.
//!
//! Wider than what is measured, and not the same: prompts of other sizes, clients with keys, two protocols, providers that
//! fail at times, and behind TLS, by HTTP/1.1 and HTTP/2. What does not happen here is taken to be rare, and made small
//! instead of fast.

use std::error::Error;
use std::fmt::Write as _;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::Arc;
use std::time::Duration;

use rustls::ServerConfig;
use rustls::pki_types::PrivateKeyDer;
use tokio::net::TcpListener;
use tokio::task::spawn_local;
use tokio_rustls::TlsAcceptor;

use crate::load::{self, Asked, Case};
use crate::proxy;
use crate::systems::{self, POLICIES, System};

/// How long each kind of load lasts.
const TIME: Duration = Duration::from_secs(1);
/// What providers behind TLS offer.
const PROTOCOLS: [&[u8]; 2] = [b"http/1.1", b"h2"];

/// Puts a gateway to work, and ends it in order: then it writes down where its time went.
pub(crate) async fn train(waypost: &str) -> Result<(), Box<dyn Error>> {
    let provider = systems::free_address()?;
    let _provider = systems::upstream(provider)?;
    systems::ready(provider).await?;
    let certificate = Certificate::make()?;
    let secure = certificate.serve(provider).await?;
    let (key, hash) = new_key(waypost)?;
    let system =
        System::waypost_with("waypost", waypost, &config(provider, secure, &certificate.file, &hash))?;
    systems::ready(system.address).await?;
    for case in cases(&key) {
        load::run(system.address, &case, TIME).await?;
    }
    system.end()
}

/// One provider of each kind for each model.
fn config(plain: SocketAddr, secure: [SocketAddr; 2], ca_file: &Path, key_hash: &str) -> String {
    let mut text = format!(
        "[providers.a]\ntype = \"openai-compatible\"\nendpoint = \"http://{plain}/v1\"\n\
         [models.m]\nstrategy = \"peak-ewma\"\ncandidates = [{}]\n[models.claude]\ncandidates = [{}]\n\
         [tenants.t]\nkeys = [{{ hash = \"{key_hash}\" }}]\n{POLICIES}",
        candidates(&["a", "b", "c"]),
        candidates(&["d", "e"])
    );
    let [http1, http2] = secure;
    let kinds = ["openai-compatible", "openai-compatible", "anthropic", "anthropic"];
    for ((name, kind), address) in ["b", "c", "d", "e"].iter().zip(kinds).zip([http1, http2, http1, http2]) {
        let _ = writeln!(
            text,
            "[providers.{name}]\ntype = \"{kind}\"\nendpoint = \"https://{address}/v1\"\nca_file = \"{}\"",
            ca_file.display()
        );
    }
    text
}

/// With prices: a budget admits nobody who may cost anything.
fn candidates(providers: &[&str]) -> String {
    let candidate = |name| format!("{{ provider = \"{name}\", price = {{ input = 2.5, output = 10.0 }} }}");
    providers.iter().map(candidate).collect::<Vec<_>>().join(", ")
}

fn cases(key: &str) -> Vec<Case> {
    let chat = Asked { key: key.to_owned(), ..Asked::default() };
    let flaky = Asked { user: "flaky", ..chat.clone() };
    let claude = Asked { path: "/v1/messages", model: "claude", end: "}\n\n", ..chat.clone() };
    let mut cases = Vec::new();
    for concurrency in [1, 16, 128] {
        for (prompt_kib, stream, asked) in
            [(2, false, &chat), (2, true, &chat), (24, false, &chat), (4, false, &claude), (4, true, &claude)]
        {
            cases.push(Case { prompt_kib, stream, concurrency, asked: asked.clone() });
        }
    }
    cases.push(Case { prompt_kib: 2, stream: false, concurrency: 8, asked: flaky });
    cases.push(Case { prompt_kib: 160, stream: false, concurrency: 8, asked: chat });
    cases
}

/// A key for clients and its hash, as `waypost keys new` says them.
fn new_key(waypost: &str) -> Result<(String, String), Box<dyn Error>> {
    // A program that counts would count this too.
    let mut new = Command::new(waypost);
    let made =
        String::from_utf8(new.args(["keys", "new"]).env("LLVM_PROFILE_FILE", "/dev/null").output()?.stdout)?;
    let said = |what| made.lines().find_map(|line| Some(line.strip_prefix(what)?.trim().to_owned()));
    Ok((said("key ").ok_or("no key")?, said("hash ").ok_or("no hash")?))
}

/// What providers behind TLS show, in a file for those who trust it.
struct Certificate {
    made: rcgen::CertifiedKey<rcgen::KeyPair>,
    file: PathBuf,
}

impl Drop for Certificate {
    fn drop(&mut self) {
        let _ = std::fs::remove_file(&self.file);
    }
}

impl Certificate {
    fn make() -> Result<Self, Box<dyn Error>> {
        let made = rcgen::generate_simple_self_signed(["127.0.0.1".to_owned()])?;
        let file = std::env::temp_dir().join(format!("waypost-training-{}.pem", std::process::id()));
        std::fs::write(&file, made.cert.pem())?;
        Ok(Self { made, file })
    }

    /// Starts the provider behind TLS, once for each protocol.
    async fn serve(&self, provider: SocketAddr) -> Result<[SocketAddr; 2], Box<dyn Error>> {
        let mut addresses = [provider; 2];
        for (address, protocol) in addresses.iter_mut().zip(PROTOCOLS) {
            let listener = TcpListener::bind("127.0.0.1:0").await?;
            *address = listener.local_addr()?;
            spawn_local(proxy::serve_tls(listener, provider, self.acceptor(protocol)?));
        }
        Ok(addresses)
    }

    fn acceptor(&self, protocol: &[u8]) -> Result<TlsAcceptor, Box<dyn Error>> {
        let key = PrivateKeyDer::try_from(self.made.signing_key.serialize_der())?;
        let ring = Arc::new(rustls::crypto::ring::default_provider());
        let tls = ServerConfig::builder_with_provider(ring).with_safe_default_protocol_versions()?;
        let mut tls = tls.with_no_client_auth().with_single_cert(vec![self.made.cert.der().clone()], key)?;
        tls.alpn_protocols = vec![protocol.to_vec()];
        Ok(TlsAcceptor::from(Arc::new(tls)))
    }
}
