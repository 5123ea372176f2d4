//! `waypost demo`.

use std::io::{IsTerminal as _, Write as _};
use std::net::SocketAddr;
use std::process::ExitCode;
use std::time::Duration;

use waypost_gateway::demo::Demo;

use super::{fail, say};

/// How often the view is drawn.
const REDRAW: Duration = Duration::from_millis(500);

#[derive(Debug, clap::Args)]
pub(crate) struct DemoOptions {
    /// Where clients are listened to.
    #[arg(long, default_value = "127.0.0.1:8080")]
    listen: SocketAddr,
    /// Print the table once at the end, for scripts. So it is where the output is no terminal.
    #[arg(long)]
    headless: bool,
    /// How long it runs. Default: until it is interrupted; without a terminal 20 s.
    #[arg(long)]
    seconds: Option<u64>,
}

impl DemoOptions {
    pub(crate) fn run(self) -> ExitCode {
        let runtime = match tokio::runtime::Builder::new_multi_thread().enable_all().build() {
            Ok(runtime) => runtime,
            Err(error) => {
                fail(&format!("no runtime: {error}"));
                return ExitCode::FAILURE;
            }
        };
        match runtime.block_on(self.show()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(error) => {
                fail(&error.to_string());
                ExitCode::FAILURE
            }
        }
    }

    async fn show(self) -> Result<(), Box<dyn std::error::Error>> {
        let headless = self.headless || !std::io::stdout().is_terminal();
        let seconds = self.seconds.or(headless.then_some(20));
        let demo = Demo::start(self.listen).await?;
        say(&demo.greeting());
        let time = async {
            match seconds {
                Some(seconds) => tokio::time::sleep(Duration::from_secs(seconds)).await,
                None => std::future::pending().await,
            }
        };
        tokio::select! {
            () = time => {}
            interrupted = tokio::signal::ctrl_c() => interrupted?,
            () = draw(&demo), if !headless => {}
        }
        let errors = demo.errors();
        say(&demo.stop().await);
        if errors > 0 { Err(format!("{errors} requests failed").into()) } else { Ok(()) }
    }
}

/// Draws the table in its place, for ever.
async fn draw(demo: &Demo) {
    let mut lines = 0;
    loop {
        let table = demo.table();
        let mut out = std::io::stdout().lock();
        let up = if lines > 0 { format!("\x1b[{lines}A") } else { String::new() };
        let drawn: String = table.lines().flat_map(|line| ["\x1b[2K", line, "\n"]).collect();
        let _ = write!(out, "{up}{drawn}");
        let _ = out.flush();
        drop(out);
        lines = table.lines().count();
        tokio::time::sleep(REDRAW).await;
    }
}
