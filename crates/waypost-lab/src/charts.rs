//! A report as one page with charts.

use plotters::prelude::*;

use crate::summary;
use crate::{Report, TimelineBin};

/// A chart could not be drawn.
#[derive(Debug, thiserror::Error)]
#[error("chart `{title}` cannot be drawn: {reason}")]
pub struct ChartError {
    title: &'static str,
    reason: String,
}

/// Pixels of one chart.
const SIZE: (u32, u32) = (960, 300);

/// One line per provider over the run.
struct Chart {
    title: &'static str,
    unit: &'static str,
    value: fn(&TimelineBin, usize, f64) -> f64,
}

const CHARTS: [Chart; 3] = [
    Chart {
        title: "Requests sent",
        unit: "per minute",
        value: |bin, i, minutes| bin.requests[i] as f64 / minutes,
    },
    Chart {
        title: "Requests failed",
        unit: "per minute",
        value: |bin, i, minutes| bin.failed[i] as f64 / minutes,
    },
    Chart {
        title: "Mean time to first token",
        unit: "seconds",
        value: |bin, i, _| bin.mean_time_to_first_token[i],
    },
];

impl Report {
    /// The report as one HTML page that needs nothing from anywhere else: the paragraph, the charts and the numbers.
    ///
    /// # Errors
    ///
    /// [`ChartError`] when a chart cannot be drawn.
    pub fn to_html(&self) -> Result<String, ChartError> {
        let charts: Vec<String> = CHARTS.iter().map(|chart| chart.svg(self)).collect::<Result<_, _>>()?;
        let rows: String = self.providers.iter().map(row).collect();
        Ok(format!(
            "<!doctype html><html lang=\"en\"><meta charset=\"utf-8\"><title>Waypost lab: {name}</title>\
             <style>body{{font:15px/1.5 system-ui,sans-serif;max-width:960px;margin:2em auto;padding:0 1em;color:#222}}\
             table{{border-collapse:collapse;width:100%}}td,th{{padding:.3em .6em;text-align:right;\
             border-bottom:1px solid #ddd}}td:first-child,th:first-child{{text-align:left}}svg{{width:100%;height:auto}}\
             </style><h1>Waypost lab: {name}</h1><p>{paragraph}</p><table><tr><th>provider<th>share<th>requests\
             <th>failed<th>ttft p50<th>ttft p99<th>total p50</tr>{rows}</table>{charts}</html>\n",
            name = escape(&self.scenario),
            paragraph = escape(&summary::paragraph(self)),
            charts = charts.concat(),
        ))
    }
}

fn row(provider: &crate::ProviderReport) -> String {
    format!(
        "<tr><td>{}<td>{:.1} %<td>{}<td>{}<td>{:.2} s<td>{:.2} s<td>{:.2} s</tr>",
        escape(&provider.provider),
        provider.share * 100.0,
        provider.requests,
        provider.failed,
        provider.time_to_first_token.p50,
        provider.time_to_first_token.p99,
        provider.total_time.p50,
    )
}

impl Chart {
    fn svg(&self, report: &Report) -> Result<String, ChartError> {
        let mut svg = String::new();
        self.draw(report, &mut svg)
            .map_err(|error| ChartError { title: self.title, reason: error.to_string() })?;
        Ok(format!("<h2>{}</h2>{svg}", self.title))
    }

    fn draw(&self, report: &Report, svg: &mut String) -> Result<(), Box<dyn std::error::Error>> {
        let minutes = (report.duration_s / 60.0).max(1e-9);
        let bin_minutes = minutes / report.timeline.len().max(1) as f64;
        let providers = 0..report.providers.len();
        let value = |bin: &TimelineBin, provider| (self.value)(bin, provider, bin_minutes);
        let all = report.timeline.iter().flat_map(|bin| providers.clone().map(move |i| value(bin, i)));
        let highest = all.fold(1e-9, f64::max) * 1.05;

        let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
        let mut chart = ChartBuilder::on(&area)
            .margin(10)
            .x_label_area_size(30)
            .y_label_area_size(60)
            .build_cartesian_2d(0.0..minutes, 0.0..highest)?;
        chart.configure_mesh().light_line_style(WHITE).x_desc("minutes").y_desc(self.unit).draw()?;
        for provider in providers {
            let color = Palette99::pick(provider).to_rgba();
            let line = report.timeline.iter().map(|bin| (bin.start_s / 60.0, value(bin, provider)));
            chart
                .draw_series(LineSeries::new(line, color.stroke_width(2)))?
                .label(report.providers[provider].provider.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], color.stroke_width(2)));
        }
        chart
            .configure_series_labels()
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
        Ok(())
    }
}

fn escape(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;").replace('"', "&quot;")
}
