//! A gateway from its start to its end.

use std::io;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinHandle;

use crate::admin::Admin;
use crate::config::ServerSettings;
use crate::reload::Reloader;
use crate::server::{Listening, listen};
use crate::{Config, Gateway, SetupError};

/// How long answers may take to be sent once all streams were told to end.
const LAST_WORDS: Duration = Duration::from_secs(1);

/// A gateway that listens.
#[derive(Debug)]
pub struct Server {
    gateway: Arc<Gateway>,
    listen: SocketAddr,
    admin: Option<SocketAddr>,
    stop: watch::Sender<bool>,
    reloader: Arc<Reloader>,
    clients: JoinHandle<()>,
    watching: JoinHandle<()>,
    lame_duck: Duration,
    drain: Duration,
}

/// Why a gateway does not start.
#[derive(Debug, thiserror::Error)]
#[non_exhaustive]
pub enum StartError {
    /// An address cannot be listened at.
    #[error("{0} cannot be listened at: {1}")]
    Listen(SocketAddr, #[source] io::Error),
    /// Something outside the configuration is missing.
    #[error(transparent)]
    Setup(#[from] SetupError),
}

impl Server {
    /// Starts to listen. `path` is the file that is watched for changes.
    ///
    /// # Errors
    ///
    /// [`StartError`] when an address cannot be had, or something outside the configuration is missing.
    pub async fn start(config: Config, path: PathBuf) -> Result<Self, StartError> {
        let settings = config.resolved.server.clone();
        let listener = bind(settings.listen).await?;
        let admin = match settings.admin {
            Some(address) => Some(bind(address).await?),
            None => None,
        };
        #[cfg(feature = "otlp")]
        let collector = config.resolved.collector.clone();
        let gateway = Gateway::new(config)?;
        #[cfg(feature = "otlp")]
        if let Some(collector) = collector {
            gateway.recorder.export_by(crate::export::Exporter::start(&collector)?);
        }
        let reloader = Reloader::new(path, Arc::clone(&gateway));
        Ok(Self::run(gateway, reloader, listener, admin, &settings))
    }

    fn run(
        gateway: Arc<Gateway>,
        reloader: Arc<Reloader>,
        listener: TcpListener,
        admin: Option<TcpListener>,
        settings: &ServerSettings,
    ) -> Self {
        let (stop, stopped) = watch::channel(false);
        let listening = Listening::from(settings);
        let address = |listener: &TcpListener| listener.local_addr().unwrap_or(settings.listen);
        let (listen_at, admin_at) = (address(&listener), admin.as_ref().map(address));
        let clients = listen(listener, Arc::clone(&gateway), listening.clone(), stopped.clone());
        let clients = tokio::spawn(clients);
        if let Some(admin) = admin {
            let key = settings.admin_key.clone().map(Arc::new);
            let handler = Admin { gateway: Arc::clone(&gateway), reloader: Arc::clone(&reloader), key };
            let listening = Listening { max_connections: 64, ..listening };
            tokio::spawn(listen(admin, handler, listening, stopped));
        }
        let watching = tokio::spawn(Arc::clone(&reloader).watch());
        let (lame_duck, drain) = (settings.lame_duck, settings.drain);
        Self {
            gateway,
            listen: listen_at,
            admin: admin_at,
            stop,
            reloader,
            clients,
            watching,
            lame_duck,
            drain,
        }
    }

    /// Where clients are listened to.
    pub const fn address(&self) -> SocketAddr {
        self.listen
    }

    /// Where administrators are.
    pub const fn admin_address(&self) -> Option<SocketAddr> {
        self.admin
    }

    /// The gateway itself.
    pub const fn gateway(&self) -> &Arc<Gateway> {
        &self.gateway
    }

    /// Reads the configuration anew, as a change of its file does.
    ///
    /// # Errors
    ///
    /// Everything that is wrong, a line each; nothing has changed.
    pub fn reload(&self) -> Result<u64, Vec<String>> {
        self.reloader.reload()
    }

    /// The same, for a thread that may wait for files.
    pub fn reloading(&self) -> impl FnOnce() -> Result<u64, Vec<String>> + Send + 'static {
        let reloader = Arc::clone(&self.reloader);
        move || reloader.reload()
    }

    /// Takes no more requests after a while, lets those that run come to an end within the time to drain, and tells those that
    /// do not that it is over.
    pub async fn stop(self) {
        self.watching.abort();
        self.reloader.stop();
        self.stop.send_replace(true);
        let mut clients = self.clients;
        if tokio::time::timeout(self.lame_duck + self.drain, &mut clients).await.is_err() {
            self.gateway.closing.close();
            let _ = tokio::time::timeout(LAST_WORDS, clients).await;
        }
        let recorder = Arc::clone(&self.gateway.recorder);
        let _ = tokio::task::spawn_blocking(move || recorder.shut_down()).await;
    }
}

async fn bind(address: SocketAddr) -> Result<TcpListener, StartError> {
    TcpListener::bind(address).await.map_err(|error| StartError::Listen(address, error))
}

#[cfg(test)]
mod tests {
    use tokio::io::{AsyncReadExt as _, AsyncWriteExt as _};
    use tokio::net::TcpStream;
    use waypost_lab::http::{HttpProvider, HttpRequest, Speech};

    use super::*;

    async fn ask(address: SocketAddr, line: &str) -> String {
        let body = r#"{"model":"m","messages":[]}"#;
        let request = format!(
            "POST /v1/chat/completions HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\ncontent-type: application/json\r\n{line}content-length: {}\r\n\r\n{body}",
            body.len()
        );
        let mut stream = TcpStream::connect(address).await.unwrap();
        stream.write_all(request.as_bytes()).await.unwrap();
        let mut answer = String::new();
        stream.read_to_string(&mut answer).await.unwrap();
        answer
    }

    #[tokio::test]
    async fn h11_a_request_that_panics_is_one_request() {
        let provider =
            HttpProvider::start(|request: &HttpRequest| Speech::default().answer(request)).await.unwrap();
        let text = format!(
            "[server]\nlisten = \"127.0.0.1:0\"\nadmin = \"\"\n[providers.a]\ntype = \"openai-compatible\"\n\
             endpoint = \"{}\"\n[models.m]\ncandidates = [{{ provider = \"a\" }}]\n[limits.all]\nconcurrency = 1\n",
            provider.url()
        );
        let server = Server::start(Config::read("w", &text).unwrap(), "w".into()).await.unwrap();
        for _ in 0..3 {
            let failed = ask(server.address(), "x-test-panic: 1\r\n").await;
            assert!(failed.starts_with("HTTP/1.1 500"), "{failed}");
            assert!(
                failed.contains("\"code\":\"internal_error\"") && failed.contains("x-request-id"),
                "{failed}"
            );
            assert_eq!((server.gateway().running(), server.gateway().router().metrics().in_flight), (0, 0));
            let next = ask(server.address(), "").await;
            assert!(next.starts_with("HTTP/1.1 200"), "one place at once, and it is free: {next}");
        }
        server.stop().await;
    }
}
