//! The systems that are measured, each a process of its own on the first core.

use std::error::Error;
use std::fs;
use std::net::{SocketAddr, TcpListener};
use std::ops::{Add, Sub};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use tokio::net::TcpStream;
use tokio::time::Instant;

/// The core of the system that is measured, and the one of everything else.
const CORES: [&str; 2] = ["0", "1"];
/// How long a system may take to start.
const PATIENCE: Duration = Duration::from_secs(10);

/// What the gateway has besides where it listens: two candidates, limits of three kinds, a budget and a rule.
fn measured_config(provider: SocketAddr) -> String {
    format!(
        "[providers.a]\ntype = \"openai-compatible\"\nendpoint = \"http://{provider}/v1\"\n\
         [providers.b]\ntype = \"openai-compatible\"\nendpoint = \"http://{provider}/v1\"\n\
         [models.m]\nstrategy = \"peak-ewma\"\ncandidates = [\n\
         {{ provider = \"a\", price = {{ input = 2.5, output = 10.0 }}, limits = {{ requests = \"60M/min\" }} }},\n\
         {{ provider = \"b\", price = {{ input = 2.5, output = 10.0 }} }} ]\n{POLICIES}"
    )
}

/// Limits, a budget and a rule about a provider `a`.
pub(crate) const POLICIES: &str = "\
    [limits.requests]\nrequests = \"1M/s\"\n[limits.tokens]\ntokens = \"16M/s\"\nper = [\"user\"]\n\
    [limits.money]\nmonthly = \"$1,000,000\"\n\
    [[rules]]\nid = \"large\"\nwhen = { prompt_tokens = \">= 100000\" }\nthen = { pool = [\"a\"] }\n";

/// A process that is ended when it is dropped.
pub(crate) struct Process(Child, Option<PathBuf>);

impl Drop for Process {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
        if let Some(folder) = &self.1 {
            let _ = fs::remove_dir_all(folder);
        }
    }
}

/// A system under measurement.
pub(crate) struct System {
    pub(crate) name: &'static str,
    pub(crate) address: SocketAddr,
    process: Process,
}

/// Time of processors.
#[derive(Debug, Clone, Copy, Default)]
pub(crate) struct CpuTime {
    pub(crate) total: Duration,
    /// What of it was spent in the kernel.
    pub(crate) kernel: Duration,
}

impl Add for CpuTime {
    type Output = Self;

    fn add(self, other: Self) -> Self {
        Self { total: self.total + other.total, kernel: self.kernel + other.kernel }
    }
}

impl Sub for CpuTime {
    type Output = Self;

    fn sub(self, earlier: Self) -> Self {
        let less = |now: Duration, then| now.saturating_sub(then);
        Self { total: less(self.total, earlier.total), kernel: less(self.kernel, earlier.kernel) }
    }
}

/// An address of loopback that is free now.
pub(crate) fn free_address() -> std::io::Result<SocketAddr> {
    TcpListener::bind("127.0.0.1:0")?.local_addr()
}

fn on_core(core: &str, program: &str) -> Command {
    let mut command = Command::new("taskset");
    command.args(["-c", core, program]).stdout(Stdio::null()).stderr(Stdio::null());
    command
}

fn me() -> Result<String, Box<dyn Error>> {
    Ok(std::env::current_exe()?.display().to_string())
}

/// The provider.
pub(crate) fn upstream(address: SocketAddr) -> Result<Process, Box<dyn Error>> {
    Ok(Process(on_core(CORES[1], &me()?).args(["upstream", &address.to_string()]).spawn()?, None))
}

/// Waits until a system takes connections; how long that took.
pub(crate) async fn ready(address: SocketAddr) -> Result<Duration, Box<dyn Error>> {
    let start = Instant::now();
    while TcpStream::connect(address).await.is_err() {
        if start.elapsed() > PATIENCE {
            return Err(format!("nothing listens at {address}").into());
        }
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    Ok(start.elapsed())
}

impl System {
    pub(crate) fn bare_proxy(provider: SocketAddr) -> Result<Option<Self>, Box<dyn Error>> {
        let address = free_address()?;
        let arguments = ["proxy", &address.to_string(), &provider.to_string()].map(str::to_owned);
        let process = Process(on_core(CORES[0], &me()?).args(arguments).spawn()?, None);
        Ok(Some(Self { name: "bare proxy", address, process }))
    }

    /// nginx, where it is installed.
    pub(crate) fn nginx(provider: SocketAddr) -> Result<Option<Self>, Box<dyn Error>> {
        let (address, folder) = (free_address()?, folder("nginx")?);
        let config = format!(
            "daemon off; master_process off; pid {0}/pid; error_log {0}/error.log;\n\
             events {{ worker_connections 2048; }}\n\
             http {{ access_log off; client_max_body_size 64m; client_body_buffer_size 1m; keepalive_requests 1000000;\n\
             client_body_temp_path {0}/body; proxy_temp_path {0}/proxy; fastcgi_temp_path {0}/f; uwsgi_temp_path {0}/u; scgi_temp_path {0}/s;\n\
             upstream provider {{ server {provider}; keepalive 256; keepalive_requests 1000000; }}\n\
             server {{ listen {address}; location / {{ proxy_pass http://provider; proxy_http_version 1.1;\n\
             proxy_set_header Connection \"\"; proxy_buffering off; }} }} }}\n",
            folder.display()
        );
        fs::write(folder.join("nginx.conf"), config)?;
        let known = Command::new("nginx").arg("-v").stderr(Stdio::null()).status();
        if !known.is_ok_and(|status| status.success()) {
            println!("nginx is not installed: it is not measured");
            return Ok(None);
        }
        let mut nginx = on_core(CORES[0], "nginx");
        let process = nginx.arg("-p").arg(&folder).arg("-c").arg(folder.join("nginx.conf")).spawn()?;
        Ok(Some(Self { name: "nginx", address, process: Process(process, Some(folder)) }))
    }

    /// The gateway, with all that it has: rules, limits, budgets, health, metrics.
    pub(crate) fn waypost(
        name: &'static str,
        program: &str,
        provider: SocketAddr,
    ) -> Result<Self, Box<dyn Error>> {
        Self::waypost_with(name, program, &measured_config(provider))
    }

    /// The gateway, in front of providers that the configuration names.
    pub(crate) fn waypost_with(
        name: &'static str,
        program: &str,
        config: &str,
    ) -> Result<Self, Box<dyn Error>> {
        let (address, folder) = (free_address()?, folder(name)?);
        let admin = free_address()?;
        let file = folder.join("waypost.toml");
        fs::write(&file, format!("[server]\nlisten = \"{address}\"\nadmin = \"{admin}\"\n{config}"))?;
        let process = on_core(CORES[0], program).arg("serve").arg(file).spawn()?;
        Ok(Self { name, address, process: Process(process, Some(folder)) })
    }

    /// Ends it in order, as an operator would, and waits until it has ended.
    pub(crate) fn end(mut self) -> Result<(), Box<dyn Error>> {
        let asked = Command::new("kill").arg(self.process.0.id().to_string()).status()?;
        let ended = self.process.0.wait()?;
        if asked.success() && ended.success() {
            Ok(())
        } else {
            Err(format!("{}: {ended}", self.name).into())
        }
    }

    /// How long it has run, all threads together.
    pub(crate) fn cpu_time(&self) -> Result<CpuTime, Box<dyn Error>> {
        let (mut nanos, mut user, mut kernel) = (0, 0, 0);
        for task in fs::read_dir(format!("/proc/{}/task", self.process.0.id()))? {
            let task = task?.path();
            let ran = fs::read_to_string(task.join("schedstat"))?;
            nanos += ran.split_whitespace().next().unwrap_or_default().parse::<u64>()?;
            let stat = fs::read_to_string(task.join("stat"))?;
            let (_, fields) = stat.rsplit_once(')').ok_or("no name in stat")?;
            let mut ticks = fields.split_whitespace().skip(11).map(str::parse::<u64>);
            user += ticks.next().ok_or("no user time")??;
            kernel += ticks.next().ok_or("no system time")??;
        }
        let total = Duration::from_nanos(nanos);
        // Ticks are coarse, but they tell in what parts.
        Ok(CpuTime { total, kernel: total.mul_f64(kernel as f64 / (user + kernel).max(1) as f64) })
    }

    /// Memory that it holds.
    pub(crate) fn resident_mib(&self) -> Result<f64, Box<dyn Error>> {
        let status = fs::read_to_string(format!("/proc/{}/status", self.process.0.id()))?;
        let line = status.lines().find_map(|line| line.strip_prefix("VmRSS:")).ok_or("no VmRSS")?;
        Ok(line.trim().trim_end_matches(" kB").parse::<f64>()? / 1_024.0)
    }
}

fn folder(name: &str) -> std::io::Result<PathBuf> {
    let folder = std::env::temp_dir().join(format!("waypost-bench-{name}-{}", std::process::id()));
    fs::create_dir_all(&folder)?;
    Ok(folder)
}
