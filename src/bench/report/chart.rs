//! Line charts as SVG, drawn by hand: a page that needs no network.

use std::fmt::Write as _;

const WIDTH: f64 = 720.0;
const HEIGHT: f64 = 220.0;
const LEFT: f64 = 64.0;
const BOTTOM: f64 = 28.0;
const TOP: f64 = 12.0;
const RIGHT: f64 = 12.0;
const COLOURS: [&str; 6] = [
    "#2563eb", "#dc2626", "#059669", "#d97706", "#7c3aed", "#475569",
];

/// One line of a chart.
pub(super) struct Line {
    pub(super) name: String,
    pub(super) points: Vec<(f64, f64)>,
}

/// A chart of these lines, both axes from zero; nothing if there is nothing to draw.
pub(super) fn draw(title: &str, x_name: &str, y_name: &str, lines: &[Line]) -> String {
    let points = || lines.iter().flat_map(|line| &line.points);
    if points().count() < 2 {
        return String::new();
    }
    let x_most = points().map(|point| point.0).fold(1e-9, f64::max);
    let y_most = nice(points().map(|point| point.1).fold(0.0, f64::max));
    let x = |value: f64| LEFT + value / x_most * (WIDTH - LEFT - RIGHT);
    let y = |value: f64| HEIGHT - BOTTOM - value / y_most * (HEIGHT - BOTTOM - TOP);
    let mut svg = format!(
        "<figure><figcaption>{}</figcaption>\n<svg viewBox=\"0 0 {WIDTH} {HEIGHT}\" role=\"img\" \
         aria-label=\"{0}\">\n",
        escaped(title)
    );
    for step in 0..=4 {
        let share = f64::from(step) / 4.0;
        let (level, place) = (y(share * y_most), x(share * x_most));
        let _ = writeln!(
            svg,
            "<line class=\"grid\" x1=\"{LEFT}\" x2=\"{:.1}\" y1=\"{level:.1}\" y2=\"{level:.1}\"/>\
             <text x=\"{:.1}\" y=\"{:.1}\" text-anchor=\"end\">{}</text>\
             <text x=\"{place:.1}\" y=\"{:.1}\" text-anchor=\"middle\">{}</text>",
            WIDTH - RIGHT,
            LEFT - 6.0,
            level + 4.0,
            short(share * y_most),
            HEIGHT - 10.0,
            short(share * x_most)
        );
    }
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let at = |(a, b): &(f64, f64)| format!("{:.1},{:.1}", x(*a), y(*b));
        let path: Vec<String> = line.points.iter().map(at).collect();
        let _ = writeln!(
            svg,
            "<polyline fill=\"none\" stroke=\"{colour}\" stroke-width=\"1.5\" points=\"{}\"/>",
            path.join(" ")
        );
    }
    svg.push_str("</svg>\n<p class=\"legend\">");
    for (index, line) in lines.iter().enumerate() {
        let colour = COLOURS[index % COLOURS.len()];
        let _ = write!(
            svg,
            "<span style=\"color:{colour}\">&#9632; {}</span> ",
            escaped(&line.name)
        );
    }
    let _ = writeln!(
        svg,
        "({} over {})</p></figure>",
        escaped(y_name),
        escaped(x_name)
    );
    svg
}

/// The next number that is round, so that the axis ends at it.
fn nice(most: f64) -> f64 {
    if most < 1e-9 {
        return 1.0;
    }
    let power = 10_f64.powf(most.log10().floor());
    let steps = [1.0, 1.2, 1.6, 2.0, 2.4, 3.2, 4.0, 6.0, 8.0, 10.0];
    let found = steps
        .iter()
        .map(|step| step * power)
        .find(|step| *step >= most);
    found.unwrap_or(10.0 * power)
}

fn short(value: f64) -> String {
    match value {
        value if value >= 1e6 => {
            format!("{:.4}", value / 1e6)
                .trim_end_matches('0')
                .trim_end_matches('.')
                .to_owned()
                + "M"
        }
        value if value >= 1e4 => format!("{:.0}k", value / 1e3),
        value if value >= 10.0 || value == 0.0 => format!("{value:.0}"),
        value => format!("{value:.2}"),
    }
}

/// Text as HTML shows it.
pub(super) fn escaped(text: &str) -> String {
    text.replace('&', "&amp;")
        .replace('<', "&lt;")
        .replace('>', "&gt;")
        .replace('"', "&quot;")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn axes_end_at_round_numbers() {
        for (most, end) in [
            (0.0, 1.0),
            (0.9, 1.0),
            (1.0, 1.0),
            (3.0, 3.2),
            (180.0, 200.0),
            (2_100.0, 2_400.0),
        ] {
            assert!((nice(most) - end).abs() < 1e-9, "{most}: {}", nice(most));
        }
    }

    #[test]
    fn points_lie_within_the_chart() {
        let line = Line {
            name: "a<b".into(),
            points: vec![(0.0, 0.0), (5.0, 37.0), (10.0, 80.0)],
        };
        let svg = draw("title", "s", "us", &[line]);
        let points = svg
            .split("points=\"")
            .nth(1)
            .and_then(|rest| rest.split('"').next());
        let mut count = 0;
        for point in points.expect("a line").split(' ') {
            let (x, y) = point.split_once(',').expect("a pair");
            let (x, y): (f64, f64) = (x.parse().expect("x"), y.parse().expect("y"));
            assert!((LEFT..=WIDTH - RIGHT).contains(&x) && (TOP..=HEIGHT - BOTTOM).contains(&y));
            count += 1;
        }
        assert_eq!(count, 3);
        assert!(svg.contains("a&lt;b") && !svg.contains("a<b"));
    }

    #[test]
    fn one_point_is_no_chart() {
        assert_eq!(draw("t", "x", "y", &[]), "");
    }
}
