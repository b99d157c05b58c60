//! The table: medians, and what they are next to each other.

use std::fmt::Write as _;

use super::cases::{CASES, Sample};
use super::servers::Kind;

/// Where two figures are compared with what is wanted of them.
struct Bar {
    case: &'static str,
    /// Of vizard, or of the first of its runs in the case.
    of: (Kind, &'static str),
    over: (&'static str, Kind, &'static str),
    most: f64,
}

const fn bar(case: &'static str, over: Kind, most: f64) -> Bar {
    Bar {
        case,
        of: (Kind::Vizard, ""),
        over: (case, over, ""),
        most,
    }
}

/// Of CPU time for each packet.
const BARS: &[Bar] = &[
    bar("saturation, 172 B", Kind::Coturn, 0.30),
    bar("saturation, 172 B", Kind::Forwarder, 1.25),
    bar(
        "video: bursts of 10 x 1200 B in trains, 30,000/s",
        Kind::Coturn,
        0.25,
    ),
    bar("video: the same packet by packet", Kind::Coturn, 0.25),
    bar("20,000/s, 172 B", Kind::Coturn, 0.55),
    bar("60,000/s, 172 B", Kind::Coturn, 0.50),
    Bar {
        case: "indications at saturation, 172 B",
        of: (Kind::Vizard, ""),
        over: ("saturation, 172 B", Kind::Vizard, ""),
        most: 1.3,
    },
    bar("indications at saturation, 172 B", Kind::Coturn, 1.0),
    Bar {
        case: "many pairs at saturation, 172 B",
        of: (Kind::Vizard, "10,000 pairs"),
        over: ("many pairs at saturation, 172 B", Kind::Vizard, "100 pairs"),
        most: 1.2,
    },
    bar("allocations", Kind::Coturn, 1.0 / 7.0),
];

/// Bytes for an allocation with permission and channel.
const MOST_BYTES: f64 = 1024.0;
/// Microseconds until half of the packets have arrived.
const MOST_P50: f64 = 250.0;

/// The whole table, in Markdown.
pub(crate) fn table(samples: &[Sample]) -> String {
    let mut text = String::from(
        "| case | server | CPU us each | each/s | p50 us | p99 us | lost | bytes each |\n\
         |---|---|---|---|---|---|---|---|\n",
    );
    for case in CASES {
        for run in case.runs {
            let mine = select(samples, case.name, run.kind, run.label);
            if !mine.is_empty() {
                row(&mut text, case.name, &mine);
            }
        }
    }
    text.push_str(
        "\n| compared (CPU, medians) | ratio | round by round | bar |\n|---|---|---|---|\n",
    );
    for bar in BARS {
        compare(&mut text, samples, bar);
    }
    for case in ["20,000/s, 172 B", "60,000/s, 172 B"] {
        let mine = select(samples, case, Kind::Vizard, "");
        if let Some(p50) = median(mine.iter().filter_map(|sample| sample.p50_us)) {
            let verdict = verdict(p50, MOST_P50);
            let _ = writeln!(
                text,
                "| {case}: p50 of vizard | {p50:.0} us | | 250 us: {verdict} |"
            );
        }
    }
    let many = select(
        samples,
        "many pairs at saturation, 172 B",
        Kind::Vizard,
        "10,000 pairs",
    );
    if let Some(bytes) = median(many.iter().filter_map(|sample| sample.bytes)) {
        let verdict = verdict(bytes, MOST_BYTES);
        let _ = writeln!(
            text,
            "| bytes for an allocation | {bytes:.0} | | 1024: {verdict} |"
        );
    }
    let wrong: u64 = samples.iter().map(|sample| sample.wrong).sum();
    let _ = writeln!(
        text,
        "| misdelivered, wrong source, damaged | {wrong} | | 0: {} |",
        if wrong == 0 { "met" } else { "MISSED" }
    );
    text
}

fn select<'a>(samples: &'a [Sample], case: &str, kind: Kind, label: &str) -> Vec<&'a Sample> {
    let wanted =
        |sample: &&Sample| sample.case == case && sample.kind == kind && sample.label == label;
    samples.iter().filter(wanted).collect()
}

fn row(text: &mut String, case: &str, mine: &[&Sample]) {
    let of =
        |value: fn(&Sample) -> Option<f64>| median(mine.iter().filter_map(|sample| value(sample)));
    let shown = |value: Option<f64>, digits: usize| {
        value.map_or_else(|| "-".to_owned(), |value| format!("{value:.digits$}"))
    };
    let label = mine.first().map_or("", |sample| sample.label);
    let _ = writeln!(
        text,
        "| {case} | {}{}{label} | {} | {} | {} | {} | {} % | {} |",
        mine.first().map_or("", |sample| sample.kind.name()),
        if label.is_empty() { "" } else { ", " },
        shown(of(|sample| sample.cpu_us), 2),
        shown(of(|sample| Some(sample.per_second)), 0),
        shown(of(|sample| sample.p50_us), 0),
        shown(of(|sample| sample.p99_us), 0),
        shown(of(|sample| Some(sample.loss * 100.0)), 3),
        shown(of(|sample| sample.bytes), 0),
    );
}

fn compare(text: &mut String, samples: &[Sample], bar: &Bar) {
    let cpu = |case, kind, label| {
        let all = select(samples, case, kind, label);
        all.iter()
            .filter_map(|sample| sample.cpu_us)
            .collect::<Vec<f64>>()
    };
    let one = cpu(bar.case, bar.of.0, bar.of.1);
    let other = cpu(bar.over.0, bar.over.1, bar.over.2);
    let (Some(one_median), Some(other_median)) =
        (median(one.iter().copied()), median(other.iter().copied()))
    else {
        return;
    };
    let ratio = one_median / other_median;
    let each: Vec<String> = one
        .iter()
        .zip(&other)
        .map(|(one, other)| format!("{:.2}", one / other))
        .collect();
    let over = if bar.over.0 == bar.case {
        ""
    } else {
        bar.over.0
    };
    let _ = writeln!(
        text,
        "| {}: {} {} over {} {}{over} | {ratio:.2} | {} | {:.2}: {} |",
        bar.case,
        bar.of.0.name(),
        bar.of.1,
        bar.over.1.name(),
        bar.over.2,
        each.join(", "),
        bar.most,
        verdict(ratio, bar.most)
    );
}

fn verdict(value: f64, most: f64) -> String {
    if value <= most {
        "met".into()
    } else {
        format!("missed by {:.0} %", (value / most - 1.0) * 100.0)
    }
}

fn median(values: impl Iterator<Item = f64>) -> Option<f64> {
    let mut values: Vec<f64> = values.collect();
    values.sort_by(f64::total_cmp);
    let middle = values.len().checked_sub(1)? / 2;
    Some(f64::midpoint(values[middle], values[values.len() / 2]))
}
