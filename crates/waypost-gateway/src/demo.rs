//! A gateway in front of simulated providers, and load for it, all in one process: what a newcomer can try.

mod load;
mod view;

use std::fmt::Write as _;
use std::net::SocketAddr;
use std::time::Duration;

use tokio::task::JoinHandle;
use tokio::time::Instant;
use waypost_lab::http::{HttpProvider, HttpRequest, Script, Speech};

use crate::{Config, Server};
use load::Load;

/// Requests per second.
const RATE: f64 = 60.0;
/// When one of the providers fails, in seconds from the start, and until when.
const OUTAGE: std::ops::Range<u64> = 5..11;
/// How long requests may take to end.
const LAST_WORDS: Duration = Duration::from_secs(3);

/// One simulated provider.
struct Profile {
    name: &'static str,
    words: u32,
    first_token_ms: u64,
    per_token_ms: u64,
    /// Dollars for a million tokens, of prompts and of answers.
    price: (f64, f64),
    fails: bool,
}

/// Times and prices in the proportions of real vendors, so that a minute shows something.
const PROFILES: [Profile; 5] = [
    Profile {
        name: "openai-main",
        words: 24,
        first_token_ms: 90,
        per_token_ms: 6,
        price: (2.50, 10.00),
        fails: false,
    },
    Profile {
        name: "azure-eu",
        words: 24,
        first_token_ms: 70,
        per_token_ms: 7,
        price: (2.75, 11.00),
        fails: false,
    },
    Profile {
        name: "vertex-us",
        words: 24,
        first_token_ms: 80,
        per_token_ms: 5,
        price: (2.40, 9.60),
        fails: true,
    },
    Profile {
        name: "groq",
        words: 24,
        first_token_ms: 40,
        per_token_ms: 2,
        price: (3.00, 12.00),
        fails: false,
    },
    Profile {
        name: "local",
        words: 24,
        first_token_ms: 150,
        per_token_ms: 12,
        price: (0.10, 0.40),
        fails: false,
    },
];

/// A gateway with five simulated providers and requests that come.
#[derive(Debug)]
pub struct Demo {
    server: Server,
    // They end when they are dropped.
    _providers: Vec<HttpProvider>,
    load: Load,
    coming: JoinHandle<()>,
}

impl Demo {
    /// Starts it. Clients are listened to at `listen`.
    ///
    /// # Errors
    ///
    /// When the address cannot be had.
    pub async fn start(listen: SocketAddr) -> Result<Self, Box<dyn std::error::Error>> {
        let started = Instant::now();
        let mut providers = Vec::new();
        for profile in &PROFILES {
            providers.push(HttpProvider::start(replies(profile, started)).await?);
        }
        let text = configuration(listen, &providers);
        let server = Server::start(Config::read("demo", &text)?, "waypost-demo.toml".into()).await?;
        let load = Load::default();
        let coming = tokio::spawn(load.clone().run(server.address(), RATE));
        Ok(Self { server, _providers: providers, load, coming })
    }

    /// Where clients are listened to.
    pub const fn address(&self) -> SocketAddr {
        self.server.address()
    }

    /// What to try meanwhile.
    pub fn greeting(&self) -> String {
        let address = self.address();
        format!(
            "waypost is listening on http://{address}/v1 in front of five simulated providers; from second {} to {} one of \
             them fails\n  curl -N http://{address}/v1/chat/completions -H 'content-type: application/json' \
             -d '{{\"model\":\"fast\",\"stream\":true,\"messages\":[{{\"role\":\"user\",\"content\":\"hi\"}}]}}'\n  \
             OpenAI(base_url=\"http://{address}/v1\", api_key=\"demo\").chat.completions.create(model=\"fast\", \
             messages=[{{\"role\": \"user\", \"content\": \"hi\"}}])\n",
            OUTAGE.start, OUTAGE.end,
        )
    }

    /// How things are: a line for each provider, and what clients saw.
    pub fn table(&self) -> String {
        view::table(self.server.gateway(), &self.load)
    }

    /// Requests that clients saw fail.
    pub fn errors(&self) -> u64 {
        self.load.errors()
    }

    /// Lets no more requests come, and ends in order.
    pub async fn stop(self) -> String {
        self.coming.abort();
        let ended = async {
            while self.server.gateway().running() > 0
                || self.server.gateway().router().metrics().in_flight > 0
            {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let _ = tokio::time::timeout(LAST_WORDS, ended).await;
        let table = self.table();
        self.server.stop().await;
        table
    }
}

/// How a provider answers; one of them is overloaded for some seconds.
fn replies(profile: &Profile, started: Instant) -> impl Fn(&HttpRequest) -> Script + Send + Sync + 'static {
    let speech = Speech {
        words: profile.words,
        first_token: Duration::from_millis(profile.first_token_ms),
        per_token: Duration::from_millis(profile.per_token_ms),
    };
    let fails = profile.fails;
    move |request| {
        if fails && OUTAGE.contains(&started.elapsed().as_secs()) {
            return Script::status(503, &[], r#"{"error":{"message":"unavailable","type":"server_error"}}"#);
        }
        speech.answer(request)
    }
}

/// What an operator would write for them.
fn configuration(listen: SocketAddr, providers: &[HttpProvider]) -> String {
    let mut text = format!("[server]\nlisten = \"{listen}\"\nadmin = \"127.0.0.1:0\"\nlame_duck = \"1ms\"\n");
    let mut candidates = String::new();
    for (profile, provider) in PROFILES.iter().zip(providers) {
        let (name, (input, output)) = (profile.name, profile.price);
        let _ = writeln!(
            text,
            "[providers.{name}]\ntype = \"openai-compatible\"\nendpoint = \"{}\"",
            provider.url()
        );
        let _ = writeln!(
            candidates,
            "  {{ provider = \"{name}\", price = {{ input = {input:?}, output = {output:?} }} }},"
        );
    }
    let _ = write!(
        text,
        "[models.gpt-4o]\nstrategy = \"peak-ewma\"\ncandidates = [\n{candidates}]\n[aliases]\nfast = \"gpt-4o\"\n"
    );
    text + "[limits.spend]\nmonthly = \"$1,000\"\nper = [\"provider\"]\n"
}
