//! Measures a case and writes its row.

use std::fs::OpenOptions;
use std::io::Write;
use std::path::PathBuf;
use std::sync::Barrier;
use std::time::{Duration, Instant};

use criterion::Criterion;
use serde::Serialize;

/// Calls before allocations are counted: what is made once, at the first call, is not steady state.
const WARM_UP: usize = 3_000;
/// Calls over which allocations are counted.
const COUNTED: u64 = 1_000;

/// One measured case.
#[derive(Debug, Serialize)]
struct Row<'a> {
    name: &'a str,
    /// Of what there were so many.
    #[serde(flatten)]
    size: Size<'a>,
    threads: usize,
    /// Nanoseconds per call, the mean of all that criterion asked for, warm-up included.
    ns: f64,
    /// Allocations per call in steady state.
    allocations: f64,
}

/// Measures cases with criterion and appends a JSON row for each to the file named by `WAYPOST_BENCH_ROWS`.
#[derive(Debug)]
pub struct Rows {
    file: Option<PathBuf>,
    counted: &'static str,
}

/// A number under the name of what was counted.
#[derive(Debug)]
struct Size<'a>(&'a str, usize);

impl Serialize for Size<'_> {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_map([(self.0, self.1)])
    }
}

impl Rows {
    /// Writes where `cargo xtask bench` says, or nowhere.
    #[expect(clippy::disallowed_methods, reason = "benches are started by xtask, which says where rows go")]
    pub fn from_env() -> Self {
        Self { file: std::env::var_os("WAYPOST_BENCH_ROWS").map(PathBuf::from), counted: "candidates" }
    }

    /// Rows carry the number of something else than candidates.
    pub const fn counting(mut self, what: &'static str) -> Self {
        self.counted = what;
        self
    }

    /// Measures `call` on one thread.
    ///
    /// # Panics
    ///
    /// When the row cannot be written.
    pub fn measure(&self, criterion: &mut Criterion, name: &str, candidates: usize, call: impl FnMut()) {
        self.measure_after(criterion, name, candidates, (WARM_UP, COUNTED), call);
    }

    /// Measures a `call` that takes so long that it is not called thousands of times before.
    ///
    /// # Panics
    ///
    /// When the row cannot be written.
    pub fn measure_rare(&self, criterion: &mut Criterion, name: &str, candidates: usize, call: impl FnMut()) {
        self.measure_after(criterion, name, candidates, (2, 2), call);
    }

    fn measure_after(
        &self,
        criterion: &mut Criterion,
        name: &str,
        candidates: usize,
        (warm_up, counted): (usize, u64),
        mut call: impl FnMut(),
    ) {
        (0..warm_up).for_each(|_| call());
        let allocated = allocation_counter::measure(|| (0..counted).for_each(|_| call()));
        let allocations = allocated.count_total as f64 / counted as f64;
        let mut mean = Mean::default();
        criterion.bench_function(&format!("{name}/{candidates}/1"), |bencher| {
            bencher.iter_custom(|calls| mean.timed(calls, || (0..calls).for_each(|_| call())));
        });
        let size = Size(self.counted, candidates);
        self.write(&Row { name, size, threads: 1, ns: mean.nanos(), allocations });
    }

    /// Measures `call` on several threads at once: nanoseconds per call of one of them.
    ///
    /// # Panics
    ///
    /// When the row cannot be written.
    pub fn measure_threads(
        &self,
        criterion: &mut Criterion,
        name: &str,
        candidates: usize,
        threads: usize,
        call: impl Fn() + Sync,
    ) {
        (0..WARM_UP).for_each(|_| call());
        let counted = allocation_counter::measure(|| (0..COUNTED).for_each(|_| call()));
        let allocations = counted.count_total as f64 / COUNTED as f64;
        let mut mean = Mean::default();
        criterion.bench_function(&format!("{name}/{candidates}/{threads}"), |bencher| {
            bencher.iter_custom(|calls| {
                let slowest = on_threads(threads, || (0..calls).for_each(|_| call()));
                mean.add(calls, slowest)
            });
        });
        let size = Size(self.counted, candidates);
        self.write(&Row { name, size, threads, ns: mean.nanos(), allocations });
    }

    fn write(&self, row: &Row<'_>) {
        let Some(file) = &self.file else { return };
        let mut file =
            OpenOptions::new().create(true).append(true).open(file).expect("the rows' file can be written");
        let line = serde_json::to_string(row).expect("a row is plain data");
        writeln!(file, "{line}").expect("the rows' file can be written");
    }
}

/// Total time over total calls: the mean of everything that criterion asked for, warm-up included.
#[derive(Debug, Default)]
struct Mean {
    calls: u64,
    time: Duration,
}

impl Mean {
    fn timed(&mut self, calls: u64, run: impl FnOnce()) -> Duration {
        let time = timed(run);
        self.add(calls, time)
    }

    fn add(&mut self, calls: u64, time: Duration) -> Duration {
        self.calls += calls;
        self.time += time;
        time
    }

    fn nanos(&self) -> f64 {
        self.time.as_secs_f64() * 1e9 / self.calls.max(1) as f64
    }
}

#[expect(clippy::disallowed_methods, reason = "a benchmark measures time")]
fn timed(run: impl FnOnce()) -> Duration {
    let start = Instant::now();
    run();
    start.elapsed()
}

/// Starts all threads together; the slowest one's time.
fn on_threads(threads: usize, run: impl Fn() + Sync) -> Duration {
    let barrier = Barrier::new(threads);
    std::thread::scope(|scope| {
        let timer = || {
            barrier.wait();
            timed(&run)
        };
        let running: Vec<_> = (0..threads).map(|_| scope.spawn(timer)).collect();
        running
            .into_iter()
            .map(|thread| thread.join().expect("a bench does not panic"))
            .max()
            .unwrap_or_default()
    })
}
