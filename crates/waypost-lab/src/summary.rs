//! A report for the terminal: a table and a paragraph.

use std::fmt;

use comfy_table::{CellAlignment, Table, presets};
use waypost::core::NanoUsd;

use crate::{LatencySummary, Note, ProviderReport, Report};

/// A table per provider and one paragraph of what happened.
impl fmt::Display for Report {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        writeln!(f, "{}\n\n{}", table(self), paragraph(self))?;
        notes("Health", &self.health, f)?;
        notes("Limits", &self.limits, f)?;
        self.budgets.iter().try_for_each(|budget| {
            let [settled, of] =
                [budget.settled_nano_usd, budget.of_nano_usd].map(|nanos| dollars(Some(nanos)));
            writeln!(f, "  {:>13}  {}: {settled} of {of} settled", "at the end", budget.budget)
        })
    }
}

/// Notes that are listed; a report has all.
const LISTED: usize = 24;

/// What happened, with the times.
fn notes(heading: &str, notes: &[Note], f: &mut fmt::Formatter<'_>) -> fmt::Result {
    if notes.is_empty() {
        return Ok(());
    }
    writeln!(f, "\n{heading}:")?;
    for note in notes.iter().take(LISTED) {
        writeln!(f, "  {:>13}  {}", minutes(note.at_s), note.what)?;
    }
    match notes.len().saturating_sub(LISTED) {
        0 => Ok(()),
        more => writeln!(f, "  … and {} more", grouped(more as u64)),
    }
}

fn table(report: &Report) -> Table {
    let mut table = Table::new();
    table.load_style(presets::UTF8_HORIZONTAL_ONLY);
    table.set_header([
        "provider",
        "share",
        "requests",
        "failed",
        "ttft p50 / p99",
        "total p50 / p99",
        "cost",
    ]);
    for provider in &report.providers {
        table.add_row(row(provider));
    }
    table.add_row([
        "all".to_owned(),
        "100 %".to_owned(),
        grouped(report.routed),
        percent(report.failed, report.routed),
        pair(&report.time_to_first_token),
        pair(&report.total_time),
        dollars(Some(report.cost_nano_usd)),
    ]);
    for column in table.column_iter_mut().skip(1) {
        column.set_cell_alignment(CellAlignment::Right);
    }
    table
}

fn row(provider: &ProviderReport) -> [String; 7] {
    [
        provider.provider.clone(),
        format!("{:.1} %", provider.share * 100.0),
        grouped(provider.requests),
        percent(provider.failed, provider.requests),
        pair(&provider.time_to_first_token),
        pair(&provider.total_time),
        dollars(provider.cost_nano_usd),
    ]
}

/// What happened, in words.
pub(crate) fn paragraph(report: &Report) -> String {
    let arrivals = format!(
        "{}: {}. {} requests in {} of virtual time by {}: {} routed{}, refused: {}, {} in flight at the end.",
        report.scenario,
        report.description,
        grouped(report.requests),
        minutes(report.duration_s),
        report.strategy,
        grouped(report.routed),
        retried(report),
        refused(report),
        report.in_flight_at_end,
    );
    let ends = format!(
        "{} were answered, the first token after {} at the median and {} at p99.9; {} failed{}.",
        percent(report.succeeded, report.routed),
        seconds(report.time_to_first_token.p50),
        seconds(report.time_to_first_token.p999),
        percent(report.failed, report.routed),
        kinds(report),
    );
    [arrivals, ends, worst_spell(report), spent(report)]
        .into_iter()
        .filter(|part| !part.is_empty())
        .collect::<Vec<_>>()
        .join(" ")
}

fn retried(report: &Report) -> String {
    match report.retried {
        0 => String::new(),
        retried => format!(
            " ({} of them after a failure; {} requests stayed without an answer)",
            grouped(retried),
            grouped(report.unanswered)
        ),
    }
}

fn refused(report: &Report) -> String {
    let kinds: Vec<_> = report.refused_by_kind.keys().map(|kind| kind.replace('_', " ")).collect();
    let kinds = if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) };
    format!("{}{kinds}", grouped(report.refused))
}

fn spent(report: &Report) -> String {
    let cost = dollars(Some(report.cost_nano_usd));
    match report.answers_of_unknown_price {
        0 => format!("The answers cost {cost}."),
        unknown => format!("The answers cost {cost}, without the {} of unknown price.", grouped(unknown)),
    }
}

fn kinds(report: &Report) -> String {
    let kinds: Vec<_> =
        report.failed_by_kind.iter().map(|(kind, count)| format!("{} × {kind}", grouped(*count))).collect();
    if kinds.is_empty() { String::new() } else { format!(" ({})", kinds.join(", ")) }
}

/// Names the provider that failed most, and when.
fn worst_spell(report: &Report) -> String {
    let worst = (0..report.providers.len()).max_by_key(|&i| report.providers[i].failed);
    let Some(worst) = worst.filter(|&i| report.providers[i].failed * 100 > report.providers[i].requests)
    else {
        return String::new();
    };
    let mostly = |bin: &&crate::TimelineBin| bin.failed[worst] * 2 > bin.requests[worst];
    let bad: Vec<_> = report.timeline.iter().filter(mostly).map(|bin| bin.start_s).collect();
    let width = report.duration_s / report.timeline.len().max(1) as f64;
    let name = &report.providers[worst].provider;
    let share = report.providers[worst].share * 100.0;
    match (bad.first(), bad.last()) {
        (Some(&first), Some(&last)) => format!(
            "Between {} and {} {name} failed most of what it got; of all requests it got {share:.0} %.",
            minutes(first),
            minutes(last + width),
        ),
        _ => format!("{name} failed most often."),
    }
}

fn pair(summary: &LatencySummary) -> String {
    format!("{} / {}", seconds(summary.p50), seconds(summary.p99))
}

fn seconds(seconds: f64) -> String {
    if seconds < 1.0 { format!("{:.0} ms", seconds * 1e3) } else { format!("{seconds:.1} s") }
}

fn minutes(seconds: f64) -> String {
    format!("{}:{:02} min", seconds as u64 / 60, seconds as u64 % 60)
}

fn percent(part: u64, whole: u64) -> String {
    format!("{:.2} %", part as f64 / whole.max(1) as f64 * 100.0)
}

fn dollars(nanos: Option<u64>) -> String {
    nanos.map_or_else(|| "unknown".to_owned(), |nanos| format!("${:.2}", NanoUsd(nanos).as_usd()))
}

/// `1234567` as `1,234,567`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (position, digit) in digits.chars().enumerate() {
        if position > 0 && (digits.len() - position).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}
