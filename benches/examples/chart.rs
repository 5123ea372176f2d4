//! Draws how the cost of cases grows: reads rows of `cargo xtask bench … --json`, writes an SVG with both axes
//! logarithmic. Run by `cargo xtask bench rules --chart FILE`.

#![forbid(unsafe_code)]

use std::collections::BTreeMap;
use std::error::Error;
use std::fs;

use plotters::prelude::*;
use serde::Deserialize;

/// Pixels.
const SIZE: (u32, u32) = (900, 480);

/// Sizes from which on a case has a curve.
const LEAST_POINTS: usize = 5;

#[derive(Deserialize)]
struct Row {
    name: String,
    rules: usize,
    ns: f64,
}

/// Points of a case: so many rules, so many nanoseconds.
type Curves = BTreeMap<String, Vec<(f64, f64)>>;

fn main() -> Result<(), Box<dyn Error>> {
    let mut arguments = std::env::args().skip(1);
    let (Some(rows), Some(svg)) = (arguments.next(), arguments.next()) else {
        return Err("usage: chart ROWS.json CHART.svg".into());
    };
    let rows: Vec<Row> = serde_json::from_str(&fs::read_to_string(rows)?)?;
    let mut curves = Curves::new();
    // Kept verdicts cost the same whatever the number of rules: they are a table's business.
    for row in rows.into_iter().filter(|row| !row.name.starts_with("regexes")) {
        curves.entry(row.name).or_default().push((row.rules as f64, row.ns));
    }
    curves.retain(|_, points| points.len() >= LEAST_POINTS);
    fs::write(svg, draw(&curves)?)?;
    Ok(())
}

fn draw(curves: &Curves) -> Result<String, Box<dyn Error>> {
    let mut svg = String::new();
    {
        let points = || curves.values().flatten();
        let most = |value: fn(&(f64, f64)) -> f64| points().map(value).fold(1.0, f64::max) * 1.3;
        let area = SVGBackend::with_string(&mut svg, SIZE).into_drawing_area();
        area.fill(&WHITE)?;
        let mut chart = ChartBuilder::on(&area)
            .margin(12)
            .x_label_area_size(40)
            .y_label_area_size(80)
            .build_cartesian_2d(
                (1.0..most(|point| point.0)).log_scale(),
                (10.0..most(|point| point.1)).log_scale(),
            )?;
        let nanos = |ns: &f64| {
            if *ns < 1e3 {
                format!("{ns} ns")
            } else if *ns < 1e6 {
                format!("{} µs", ns / 1e3)
            } else {
                format!("{} ms", ns / 1e6)
            }
        };
        chart
            .configure_mesh()
            .light_line_style(WHITE)
            .x_desc("rules")
            .y_desc("one request")
            .y_label_formatter(&nanos)
            .draw()?;
        for (number, (name, points)) in curves.iter().enumerate() {
            let style = Palette99::pick(number).to_rgba().stroke_width(3);
            chart
                .draw_series(LineSeries::new(points.iter().copied(), style))?
                .label(name.as_str())
                .legend(move |(x, y)| PathElement::new([(x, y), (x + 16, y)], style));
            chart.draw_series(points.iter().map(|&point| Circle::new(point, 4, style.filled())))?;
        }
        chart
            .configure_series_labels()
            .position(SeriesLabelPosition::UpperLeft)
            .background_style(WHITE.mix(0.8))
            .border_style(BLACK.mix(0.2))
            .draw()?;
        area.present()?;
    }
    Ok(svg)
}
