//! Configurations that change while the gateway runs.

use std::hash::{DefaultHasher, Hash, Hasher};
use std::path::{Path, PathBuf};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use notify::{RecursiveMode, Watcher};
use tokio::sync::mpsc;

use crate::{Config, Gateway};

/// How long a file must have been left alone before it is read: writers that do not rename write in several steps.
const QUIET: Duration = Duration::from_millis(300);
/// How often a file is looked at where nobody tells of changes, as on network file systems.
const POLL: Duration = Duration::from_secs(2);

/// Reads a file anew, and puts it in place if it is sound. What is not sound changes nothing, and is told.
#[derive(Debug)]
pub(crate) struct Reloader {
    path: PathBuf,
    gateway: Arc<Gateway>,
    /// The text that was read last, and what was wrong with it.
    last: Mutex<(u64, Vec<String>)>,
    stopping: AtomicBool,
}

impl Reloader {
    pub(crate) fn new(path: PathBuf, gateway: Arc<Gateway>) -> Arc<Self> {
        let seen = fingerprint(&path);
        Arc::new(Self {
            path,
            gateway,
            last: Mutex::new((seen, Vec::new())),
            stopping: AtomicBool::new(false),
        })
    }

    /// Reads the file and puts it in place. One reload at a time.
    pub(crate) fn reload(&self) -> Result<u64, Vec<String>> {
        let mut last = self.last.lock().unwrap_or_else(PoisonError::into_inner);
        last.0 = fingerprint(&self.path);
        let read = Config::load(&self.path).map_err(|errors| errors.lines().collect::<Vec<_>>());
        let placed =
            read.and_then(|config| self.gateway.reconfigure(config).map_err(|error| vec![error.to_string()]));
        match &placed {
            Ok(generation) => {
                last.1.clear();
                tracing::info!(generation, "the configuration was reloaded");
            }
            Err(errors) => {
                errors.iter().for_each(|error| tracing::error!("{error}"));
                tracing::error!("the configuration was not reloaded: the one before stays");
                last.1.clone_from(errors);
            }
        }
        placed
    }

    /// Whether the file is not the one that was read last.
    fn is_changed(&self) -> bool {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).0 != fingerprint(&self.path)
    }

    pub(crate) fn last_errors(&self) -> Vec<String> {
        self.last.lock().unwrap_or_else(PoisonError::into_inner).1.clone()
    }

    pub(crate) fn stop(&self) {
        self.stopping.store(true, Ordering::Relaxed);
    }

    pub(crate) fn is_stopping(&self) -> bool {
        self.stopping.load(Ordering::Relaxed)
    }

    /// Reloads whenever the file changes, for ever.
    pub(crate) async fn watch(self: Arc<Self>) {
        let (teller, mut changes) = mpsc::channel(1);
        // Dropping it would end it.
        let _watcher = watcher(&self.path, teller);
        loop {
            let _ = tokio::time::timeout(POLL, changes.recv()).await;
            // Whatever happens in the folder, the file is not looked at more often than so.
            tokio::time::sleep(QUIET).await;
            if !self.is_changed() {
                continue;
            }
            self.until_quiet().await;
            let this = Arc::clone(&self);
            let _ = tokio::task::spawn_blocking(move || this.reload()).await;
        }
    }

    async fn until_quiet(&self) {
        let mut seen = fingerprint(&self.path);
        loop {
            tokio::time::sleep(QUIET).await;
            let now = fingerprint(&self.path);
            if now == seen {
                return;
            }
            seen = now;
        }
    }
}

/// Watches the folder: files are replaced, and in Kubernetes the folder's own links are.
fn watcher(path: &Path, changed: mpsc::Sender<()>) -> Option<notify::RecommendedWatcher> {
    let tell = move |event: notify::Result<notify::Event>| {
        // Reading the file is an access, which must not lead to reading it.
        if event.is_ok_and(|event| !event.kind.is_access()) {
            // One that waits is enough.
            let _ = changed.try_send(());
        }
    };
    let folder = path.parent().filter(|folder| !folder.as_os_str().is_empty()).unwrap_or(Path::new("."));
    let mut watcher = notify::recommended_watcher(tell).ok()?;
    watcher.watch(folder, RecursiveMode::NonRecursive).ok()?;
    Some(watcher)
}

/// What tells one text of a file from another; zero for one that cannot be read or is empty, which is never loaded by
/// itself.
fn fingerprint(path: &Path) -> u64 {
    let mut hasher = DefaultHasher::new();
    std::fs::read(path).unwrap_or_default().hash(&mut hasher);
    hasher.finish()
}
