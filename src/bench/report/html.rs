//! The report as one HTML page that asks for nothing else.

use std::fmt::Write as _;

use super::chart::{Line, draw, escaped};
use super::{Moment, Report, Server, Try};

const STYLE: &str = "body{font:15px/1.5 system-ui,sans-serif;max-width:60rem;margin:2rem auto;\
    padding:0 1rem;color:#111;background:#fff}pre{background:#f4f4f5;padding:1rem;overflow:auto}\
    figure{margin:1.5rem 0}figcaption{font-weight:600}svg{width:100%;height:auto}\
    svg text{font-size:11px;fill:#555}.grid{stroke:#ddd}.legend{font-size:13px;color:#555}\
    .fault{color:#b91c1c}";

impl Report {
    /// For a browser.
    pub(crate) fn html(&self) -> String {
        let title = "vizard bench";
        let mut page = format!(
            "<!doctype html>\n<html lang=\"en\"><head><meta charset=\"utf-8\"><meta \
             name=\"viewport\" content=\"width=device-width\"><title>{title}</title>\
             <style>{STYLE}</style></head><body>\n<h1>{title}</h1>\n<pre>{}</pre>\n",
            escaped(&self.text())
        );
        if let Some(fault) = &self.fault {
            let _ = writeln!(page, "<p class=\"fault\">Cut short: {}</p>", escaped(fault));
        }
        page.push_str(&self.charts());
        let _ = writeln!(
            page,
            "<p class=\"legend\">vizard {}, {} cores, Linux {}</p>\n</body></html>",
            escaped(self.vizard),
            self.machine.cores,
            escaped(&self.machine.kernel)
        );
        page
    }

    #[expect(clippy::cast_precision_loss, reason = "bytes, for drawing")]
    fn memory(&self) -> Vec<Line> {
        let mut lines = Vec::new();
        for server in &self.servers {
            for (index, round) in server.rounds.iter().enumerate() {
                let points = round
                    .memory
                    .iter()
                    .map(|memory| (memory.at, memory.bytes as f64));
                lines.push(Line {
                    name: name(server, index),
                    points: points.collect(),
                });
            }
        }
        lines
    }

    fn charts(&self) -> String {
        let over_time = |value: fn(&Moment) -> f64| {
            let lines = self
                .servers
                .iter()
                .flat_map(move |server| over_time(server, value));
            lines.collect::<Vec<Line>>()
        };
        let tries = |value: fn(&Try) -> f64| {
            let lines = self
                .servers
                .iter()
                .map(move |server| over_rate(server, value));
            lines.collect::<Vec<Line>>()
        };
        [
            draw(
                "Packets received",
                "seconds",
                "packets/s",
                &over_time(|at| at.received_per_second),
            ),
            draw(
                "Median latency",
                "seconds",
                "microseconds",
                &over_time(|at| at.p50_us),
            ),
            draw(
                "99th percentile of latency",
                "seconds",
                "microseconds",
                &over_time(|at| at.p99_us),
            ),
            draw("The server's memory", "seconds", "bytes", &self.memory()),
            draw(
                "Loss at each rate that was tried",
                "packets/s",
                "percent",
                &tries(|attempt| attempt.loss * 100.0),
            ),
            draw(
                "99th percentile of latency at each rate that was tried",
                "packets/s",
                "microseconds",
                &tries(|attempt| attempt.p99_us),
            ),
        ]
        .concat()
    }
}

/// What a round is called in a legend.
fn name(server: &Server, round: usize) -> String {
    if server.rounds.len() > 1 {
        format!("{}, round {}", server.name, round + 1)
    } else {
        server.name.clone()
    }
}

/// A line for each round.
fn over_time(server: &Server, value: fn(&Moment) -> f64) -> impl Iterator<Item = Line> {
    let rounds = server.rounds.iter().enumerate();
    rounds.map(move |(index, round)| Line {
        name: name(server, index),
        points: round.series.iter().map(|at| (at.at, value(at))).collect(),
    })
}

fn over_rate(server: &Server, value: fn(&Try) -> f64) -> Line {
    let mut points: Vec<(f64, f64)> = server
        .search
        .iter()
        .map(|attempt| (attempt.rate, value(attempt)))
        .collect();
    points.sort_by(|one, other| one.0.total_cmp(&other.0));
    Line {
        name: server.name.clone(),
        points,
    }
}
