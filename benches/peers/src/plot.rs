//! Lines over logarithmic axes, as SVG. Written by hand: it is a page of code, where a library for it is dozens of packages.

use std::fmt::Write;

const WIDTH: f64 = 860.0;
const HEIGHT: f64 = 480.0;
const LEFT: f64 = 70.0;
const RIGHT: f64 = 220.0;
const TOP: f64 = 40.0;
const BOTTOM: f64 = 60.0;

/// Distances of the lines of the legend.
const LEGEND_STEP: f64 = 20.0;

/// Told apart by people who do not see all colours: the palette of Okabe and Ito (2008), then the same in dashes.
const COLOURS: [&str; 8] = ["#d55e00", "#0072b2", "#009e73", "#cc79a7", "#e69f00", "#56b4e9", "#000000", "#999999"];

pub(crate) struct Plot {
    title: String,
    x_label: String,
    y_label: String,
    lines: Vec<(String, Vec<(f64, f64)>)>,
}

impl Plot {
    pub(crate) fn new(title: &str, x_label: &str, y_label: &str) -> Self {
        Plot { title: title.into(), x_label: x_label.into(), y_label: y_label.into(), lines: Vec::new() }
    }

    /// Adds a point to the line of that name. Where an axis is logarithmic, nothing lies at zero: such points are left out.
    pub(crate) fn point(&mut self, line: &str, x: f64, y: f64) {
        if !(x > 0.0 && y > 0.0) {
            return;
        }
        match self.lines.iter_mut().find(|(name, _)| name == line) {
            Some((_, points)) => points.push((x, y)),
            None => self.lines.push((line.to_owned(), vec![(x, y)])),
        }
    }

    pub(crate) fn svg(&self) -> String {
        let points = || self.lines.iter().flat_map(|(_, points)| points);
        let x_axis = Axis::around(points().map(|(x, _)| *x), LEFT, WIDTH - RIGHT);
        let y_axis = Axis::around(points().map(|(_, y)| *y), HEIGHT - BOTTOM, TOP);
        let mut svg = format!(
            "<svg xmlns=\"http://www.w3.org/2000/svg\" viewBox=\"0 0 {WIDTH} {HEIGHT}\" font-family=\"sans-serif\" \
             font-size=\"12\">\n<rect width=\"100%\" height=\"100%\" fill=\"white\"/>\n"
        );
        text(&mut svg, LEFT, TOP - 16.0, "start", &self.title);
        text(&mut svg, (LEFT + WIDTH - RIGHT) / 2.0, HEIGHT - 14.0, "middle", &self.x_label);
        text(&mut svg, 8.0, TOP - 2.0, "start", &self.y_label);
        for (value, x) in x_axis.ticks() {
            line(&mut svg, (x, TOP), (x, HEIGHT - BOTTOM));
            text(&mut svg, x, HEIGHT - BOTTOM + 18.0, "middle", &tick_label(value));
        }
        for (value, y) in y_axis.ticks() {
            line(&mut svg, (LEFT, y), (WIDTH - RIGHT, y));
            text(&mut svg, LEFT - 6.0, y + 4.0, "end", &tick_label(value));
        }
        let mut legend = TOP;
        for (at, (name, points)) in self.lines.iter().enumerate() {
            let style = Style::of(at);
            let path: Vec<(f64, f64)> = points.iter().map(|(x, y)| (x_axis.place(*x), y_axis.place(*y))).collect();
            style.polyline(&mut svg, &path);
            style.polyline(&mut svg, &[(WIDTH - RIGHT + 12.0, legend), (WIDTH - RIGHT + 36.0, legend)]);
            text(&mut svg, WIDTH - RIGHT + 42.0, legend + 4.0, "start", name);
            legend += LEGEND_STEP;
        }
        svg.push_str("</svg>\n");
        svg
    }
}

/// A logarithmic axis over whole decades.
struct Axis {
    first: i32,
    last: i32,
    from: f64,
    to: f64,
}

impl Axis {
    fn around(values: impl Iterator<Item = f64>, from: f64, to: f64) -> Self {
        let (mut first, mut last) = (i32::MAX, i32::MIN);
        for value in values {
            first = first.min(decade(value, f64::floor));
            last = last.max(decade(value, f64::ceil));
        }
        let first = if first > last { 0 } else { first };
        Axis { first, last: last.max(first + 1), from, to }
    }

    fn place(&self, value: f64) -> f64 {
        let share = (value.log10() - f64::from(self.first)) / f64::from(self.last - self.first);
        self.from + share * (self.to - self.from)
    }

    fn ticks(&self) -> Vec<(f64, f64)> {
        let values = (self.first..=self.last).map(|decade| 10f64.powi(decade));
        values.map(|value| (value, self.place(value))).collect()
    }
}

/// The power of ten beside a number, in the range of those that a measurement can have.
fn decade(value: f64, round: fn(f64) -> f64) -> i32 {
    let wanted = round(value.log10());
    (-30..=30).find(|decade| f64::from(*decade) >= wanted).unwrap_or(30)
}

struct Style {
    colour: &'static str,
    dashes: &'static str,
}

impl Style {
    fn of(at: usize) -> Self {
        Style { colour: COLOURS[at % COLOURS.len()], dashes: if at < COLOURS.len() { "none" } else { "5 3" } }
    }

    fn polyline(&self, svg: &mut String, points: &[(f64, f64)]) {
        let Style { colour, dashes } = self;
        let places: Vec<String> = points.iter().map(|(x, y)| format!("{x:.1},{y:.1}")).collect();
        write(
            svg,
            format_args!(
                "<polyline points=\"{}\" fill=\"none\" stroke=\"{colour}\" stroke-width=\"2\" stroke-dasharray=\"{dashes}\"/>\n",
                places.join(" ")
            ),
        );
        for (x, y) in points {
            write(svg, format_args!("<circle cx=\"{x:.1}\" cy=\"{y:.1}\" r=\"2.5\" fill=\"{colour}\"/>\n"));
        }
    }
}

fn write(svg: &mut String, arguments: std::fmt::Arguments<'_>) {
    svg.write_fmt(arguments).expect("a string takes everything");
}

fn line(svg: &mut String, from: (f64, f64), to: (f64, f64)) {
    let ((x1, y1), (x2, y2)) = (from, to);
    write(
        svg,
        format_args!("<line x1=\"{x1:.1}\" y1=\"{y1:.1}\" x2=\"{x2:.1}\" y2=\"{y2:.1}\" stroke=\"#dddddd\"/>\n"),
    );
}

fn text(svg: &mut String, x: f64, y: f64, anchor: &str, words: &str) {
    let words = words.replace('&', "&amp;").replace('<', "&lt;");
    write(svg, format_args!("<text x=\"{x:.1}\" y=\"{y:.1}\" text-anchor=\"{anchor}\">{words}</text>\n"));
}

fn tick_label(value: f64) -> String {
    if (0.001..1e6).contains(&value) { format!("{value}") } else { format!("{value:e}") }
}

#[cfg(test)]
mod tests {
    use super::Plot;

    #[test]
    fn a_plot_has_its_lines_and_nothing_at_zero() {
        let mut plot = Plot::new("a < b", "x", "y");
        plot.point("one", 1.0, 2.0);
        plot.point("one", 100.0, 20.0);
        plot.point("none", 0.0, 1.0);
        let svg = plot.svg();
        assert!(svg.contains("a &lt; b") && svg.contains(">one<") && !svg.contains(">none<"), "{svg}");
        // One line, and its sign in the legend.
        assert_eq!(svg.matches("<polyline").count(), 2);
    }

    #[test]
    fn an_empty_plot_is_a_plot() {
        assert!(Plot::new("nothing", "x", "y").svg().ends_with("</svg>\n"));
    }
}
