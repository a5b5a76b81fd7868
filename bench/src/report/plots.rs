//! Plots: lines over time or over percentiles, as SVG.
//!
//! In:  named lines of points.
//! Out: an `<svg>` element that scales with the page and takes its colors from the page's style sheet.
//!
//! Colors are written as [`COLORS`], which the style sheet maps to those of the light or dark theme.

use plotters::coord::ranged1d::{KeyPointHint, NoDefaultFormatting, ValueFormatter};
use plotters::prelude::*;

use super::marks::Mark;
use crate::units::{real, whole};

/// Marks for the style sheet: axis text, grid, and the lines in their order.
pub const COLORS: [RGBColor; 6] = [
    RGBColor(1, 0, 1),
    RGBColor(2, 0, 2),
    RGBColor(3, 0, 3),
    RGBColor(4, 0, 4),
    RGBColor(5, 0, 5),
    RGBColor(6, 0, 6),
];
const TEXT: RGBColor = COLORS[0];
const GRID: RGBColor = COLORS[1];
const LINES: &[RGBColor] = COLORS.split_at(2).1;
/// Small, so that text stays readable where a phone scales the picture to its width.
const SIZE: (u32, u32) = (480, 260);

/// A line with its name for the legend.
pub struct Line {
    /// What it shows.
    pub name: &'static str,
    /// From left to right.
    pub points: Vec<(f64, f64)>,
}

/// What the horizontal axis is.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Across {
    /// Seconds, from zero.
    Seconds,
    /// Quantiles, each further nine as far from the last (as HdrHistogram plots them).
    Nines,
}

/// What the vertical axis is.
#[derive(Clone, Copy)]
pub struct Up {
    /// True exactly when each power of ten is as far from the last.
    pub is_logarithmic: bool,
    /// How a value is written.
    pub show: fn(f64) -> String,
}

/// Draws the lines, and an upright one for each mark. Nothing comes of lines without points.
pub fn draw(lines: &[Line], across: Across, up: Up, marks: &[Mark]) -> Option<String> {
    let points = || lines.iter().flat_map(|line| line.points.iter().copied());
    points().next()?;
    let max = |of: fn((f64, f64)) -> f64| points().map(of).fold(0.0, f64::max);
    let x = match across {
        Across::Seconds => Axis::linear(max(|(x, _)| x), 6, false, show_seconds),
        Across::Nines => Axis::nines(max(|(x, _)| x)),
    };
    let y = if up.is_logarithmic {
        Axis::decades(points().map(|(_, y)| y), up.show)
    } else {
        Axis::linear(max(|(_, y)| y), 4, true, up.show)
    };
    let mut svg = String::new();
    // Drawing into a string cannot fail, short of a fault in the library; the page then goes without the plot.
    paint(&mut svg, lines, x, y, marks).ok()?;
    Some(svg)
}

fn paint(
    svg: &mut String,
    lines: &[Line],
    x: Axis,
    y: Axis,
    marks: &[Mark],
) -> Result<(), DrawingAreaErrorKind<std::io::Error>> {
    let (across, std::ops::Range { start: floor, end: ceiling }) = (x.range(), y.range());
    let area = SVGBackend::with_string(svg, SIZE).into_drawing_area();
    let mut chart = ChartBuilder::on(&area)
        .margin_top(10)
        .margin_right(24)
        .x_label_area_size(26)
        .y_label_area_size(62)
        .build_cartesian_2d(x, y)?;
    chart
        .configure_mesh()
        .disable_x_mesh()
        .axis_style(GRID)
        .bold_line_style(GRID)
        .light_line_style(TRANSPARENT)
        .label_style(("sans-serif", 13).into_font().color(&TEXT))
        .draw()?;
    for (line, color) in lines.iter().zip(LINES) {
        if lines.len() == 1 {
            chart.draw_series(AreaSeries::new(line.points.iter().copied(), floor, color.mix(0.14)))?;
        }
        chart.draw_series(LineSeries::new(line.points.iter().copied(), color.stroke_width(2)))?;
    }
    for mark in marks.iter().filter(|mark| across.contains(&mark.at_s)) {
        let upright = [(mark.at_s, floor), (mark.at_s, ceiling)];
        chart.draw_series(LineSeries::new(upright, TEXT.stroke_width(1)))?;
    }
    area.present()
}

fn show_seconds(seconds: f64) -> String {
    format!("{seconds} s")
}

/// One axis: which values it shows, where they lie, and which of them are marked.
struct Axis {
    kind: Kind,
    /// The ends, as [`Kind::place`] gives them.
    from: f64,
    to: f64,
    /// Values, not places.
    marks: Vec<f64>,
    show: fn(f64) -> String,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum Kind {
    Linear,
    Decades,
    Nines,
}

impl Kind {
    fn place(self, value: f64) -> f64 {
        match self {
            Self::Linear => value,
            Self::Decades => value.max(1e-9).log10(),
            Self::Nines => nines(value),
        }
    }

    fn value(self, place: f64) -> f64 {
        match self {
            Self::Linear => place,
            Self::Decades => 10f64.powf(place),
            Self::Nines => 1.0 - 10f64.powf(-place),
        }
    }
}

impl Axis {
    fn linear(max: f64, marks: u32, is_rounded: bool, show: fn(f64) -> String) -> Self {
        let step = nice_step(max.max(1e-9) / f64::from(marks));
        let to = if is_rounded { (max / step).ceil().max(1.0) * step } else { max.max(step) };
        let marks = (0..=whole(to / step + 1e-6)).map(|n| real(n) * step).collect();
        Self { kind: Kind::Linear, from: 0.0, to, marks, show }
    }

    fn decades(values: impl Iterator<Item = f64>, show: fn(f64) -> String) -> Self {
        let kind = Kind::Decades;
        let (mut low, mut high) = (f64::MAX, f64::MIN);
        for place in values.filter(|value| *value > 0.0).map(|value| kind.place(value)) {
            (low, high) = (low.min(place), high.max(place));
        }
        if low > high {
            (low, high) = (0.0, 1.0);
        }
        // To the next half decade, so that a narrow spread does not look wide.
        let from = (low * 2.0).floor() / 2.0;
        let to = ((high * 2.0).ceil() / 2.0).max(from + 0.5);
        let is_crowded = to - from > 2.5;
        let marks = (0..=whole(to - from.floor()))
            .flat_map(|decade| [1.0, 3.0].map(|digit: f64| from.floor() + real(decade) + digit.log10()))
            .filter(|mark| (from - 1e-6..=to + 1e-6).contains(mark))
            .filter(|mark| !is_crowded || (mark - mark.round()).abs() < 1e-6);
        Self { kind, from, to, marks: marks.map(|mark| kind.value(mark)).collect(), show }
    }

    fn nines(max_quantile: f64) -> Self {
        let to = nines(max_quantile).max(2.0);
        let marks = (0..=whole(to)).map(|mark| Kind::Nines.value(real(mark))).collect();
        Self { kind: Kind::Nines, from: 0.0, to, marks, show: show_quantile }
    }
}

impl Ranged for Axis {
    type FormatOption = NoDefaultFormatting;
    type ValueType = f64;

    fn map(&self, value: &f64, limit: (i32, i32)) -> i32 {
        let share = ((self.kind.place(*value) - self.from) / (self.to - self.from)).clamp(0.0, 1.0);
        let (first, last) = (f64::from(limit.0), f64::from(limit.1));
        pixel(first + share * (last - first))
    }

    fn key_points<Hint: KeyPointHint>(&self, _: Hint) -> Vec<f64> {
        self.marks.clone()
    }

    fn range(&self) -> std::ops::Range<f64> {
        self.kind.value(self.from)..self.kind.value(self.to)
    }
}

impl ValueFormatter<f64> for Axis {
    fn format(value: &f64) -> String {
        value.to_string()
    }

    fn format_ext(&self, value: &f64) -> String {
        (self.show)(*value)
    }
}

/// The nearest pixel; all are within a picture of a few hundred.
#[expect(clippy::cast_possible_truncation, reason = "pixels of a picture this size fit any integer")]
fn pixel(at: f64) -> i32 {
    at.round() as i32
}

/// How many nines a quantile has: 0.9 has one, 0.99 two.
fn nines(quantile: f64) -> f64 {
    -(1.0 - quantile).max(1e-9).log10()
}

fn show_quantile(quantile: f64) -> String {
    match whole(nines(quantile).round()) {
        0 => "0 %".to_owned(),
        1 => "90 %".to_owned(),
        2 => "99 %".to_owned(),
        more => format!("99.{} %", "9".repeat(usize::try_from(more).unwrap_or(9) - 2)),
    }
}

/// 1, 2 or 5 times a power of ten, at least `least`.
fn nice_step(least: f64) -> f64 {
    let decade = 10f64.powf(least.log10().floor());
    [1.0, 2.0, 5.0, 10.0].into_iter().map(|n| n * decade).find(|step| *step >= least * 0.999).unwrap_or(least)
}

#[cfg(test)]
mod tests {
    use super::*;

    const PLAIN: Up = Up { is_logarithmic: false, show: |value| format!("{value:.0}") };

    #[test]
    fn an_axis_is_marked_with_round_numbers() {
        let marks = |max| Axis::linear(max, 4, true, show_seconds).marks;
        assert_eq!(marks(9_700.0), [0.0, 5_000.0, 10_000.0]);
        assert_eq!(marks(37.0), [0.0, 10.0, 20.0, 30.0, 40.0]);
        assert_eq!(marks(0.0).first(), Some(&0.0));
    }

    #[test]
    fn each_further_nine_is_as_far_from_the_last() {
        let axis = Axis::nines(0.9999);
        let labels: Vec<_> = axis.marks.iter().map(|mark| axis.format_ext(mark)).collect();
        assert_eq!(labels[..4], ["0 %", "90 %", "99 %", "99.9 %"]);
        assert_eq!([0.0, 0.9, 0.99, 0.999].map(|quantile| axis.map(&quantile, (0, 400))), [0, 100, 200, 300]);
    }

    #[test]
    fn a_plot_is_one_element_in_the_colors_of_the_page() {
        let line = Line { name: "x", points: vec![(0.0, 1.0), (1.0, 3.0)] };
        let svg = draw(&[line], Across::Seconds, PLAIN, &[]).expect("it has points");
        assert!(svg.starts_with("<svg") && svg.trim_end().ends_with("</svg>"));
        assert!(svg.contains("#030003") && svg.contains("viewBox"));
    }

    #[test]
    fn nothing_and_the_same_value_twice_do_not_break_it() {
        assert!(draw(&[Line { name: "x", points: vec![] }], Across::Seconds, PLAIN, &[]).is_none());
        let up = Up { is_logarithmic: true, ..PLAIN };
        for value in [0.0, 5.0] {
            let line = Line { name: "x", points: vec![(0.0, value), (0.0, value)] };
            assert!(draw(&[line], Across::Nines, up, &[]).is_some());
        }
    }
}
