//! `waypost serve`.

use std::path::PathBuf;
use std::process::ExitCode;

use tokio::signal::unix::{Signal, SignalKind, signal};
use tracing_subscriber::EnvFilter;
use waypost_gateway::{Config, Server, Telemetry};

use super::{bad_config, fail};

pub(crate) fn run(file: PathBuf) -> ExitCode {
    let config = match Config::load(&file) {
        Ok(config) => config,
        Err(errors) => return bad_config(&errors),
    };
    start_logging(&config.telemetry());
    config.warnings().lines().for_each(|warning| tracing::warn!("{warning}"));
    let runtime = match runtime() {
        Ok(runtime) => runtime,
        Err(error) => {
            fail(&format!("no runtime: {error}"));
            return ExitCode::FAILURE;
        }
    };
    match runtime.block_on(serve(config, file)) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            fail(&error.to_string());
            ExitCode::FAILURE
        }
    }
}

/// One thread for each core; on a single core none but this one, for threads that wait for each other would cost more.
fn runtime() -> std::io::Result<tokio::runtime::Runtime> {
    let is_single = std::thread::available_parallelism().is_ok_and(|cores| cores.get() == 1);
    let mut builder = if is_single {
        tokio::runtime::Builder::new_current_thread()
    } else {
        tokio::runtime::Builder::new_multi_thread()
    };
    builder.enable_all().build()
}

fn start_logging(telemetry: &Telemetry) {
    let filter = EnvFilter::try_new(&telemetry.log).unwrap_or_else(|_| EnvFilter::new("info"));
    let logs = tracing_subscriber::fmt().with_env_filter(filter).with_writer(std::io::stderr);
    if telemetry.json { logs.json().init() } else { logs.init() }
}

async fn serve(config: Config, file: PathBuf) -> Result<(), Box<dyn std::error::Error>> {
    let (mut terminate, mut interrupt) = (signal(SignalKind::terminate())?, signal(SignalKind::interrupt())?);
    let mut hang_up = signal(SignalKind::hangup())?;
    // As many connections as the system lets us have.
    let _ = rlimit::increase_nofile_limit(u64::MAX);
    let server = Server::start(config, file).await?;
    tracing::info!(address = %server.address(), "waypost is listening");
    if let Some(address) = server.admin_address() {
        tracing::info!(%address, "administrators are listened to");
    }
    while !told_to_stop(&mut terminate, &mut interrupt, &mut hang_up).await {
        // What was wrong is logged. It reads files, which requests shall not wait for.
        let reload = server.reloading();
        let _ = tokio::task::spawn_blocking(reload).await;
    }
    tracing::info!("stopping: requests that run may come to an end");
    tokio::select! {
        () = server.stop() => {}
        _ = terminate.recv() => tracing::warn!("stopped at once"),
        _ = interrupt.recv() => tracing::warn!("stopped at once"),
    }
    Ok(())
}

/// Waits for a signal; whether it is one to stop.
async fn told_to_stop(terminate: &mut Signal, interrupt: &mut Signal, hang_up: &mut Signal) -> bool {
    tokio::select! {
        _ = terminate.recv() => true,
        _ = interrupt.recv() => true,
        _ = hang_up.recv() => false,
    }
}
