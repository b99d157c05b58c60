//! The report as text: a few lines for each server, and one that says it all.

use std::fmt::Write as _;

use super::{Comparison, Report, Server, Setup, Spread, Summary, Try};

impl Report {
    /// For a terminal.
    pub(crate) fn text(&self) -> String {
        let load = &self.load;
        let mut text = format!(
            "{}: {} pairs, {}, {}, {} B of payload over {}\n",
            load.what, load.pairs, load.mode, load.form, load.payload_bytes, load.transport
        );
        for server in &self.servers {
            describe(&mut text, server, self.load.core_price);
        }
        let measured = |server: &Server| server.summary.is_some() || !server.allocating.is_empty();
        let both = self.servers.iter().all(measured);
        if let (true, Some(comparison), [one, other]) = (both, &self.comparison, &self.servers[..])
        {
            let _ = writeln!(text, "\n{} over {}", one.name, other.name);
            compare(&mut text, comparison);
        }
        text.push('\n');
        for server in &self.servers {
            let _ = writeln!(text, "{}", line(server));
        }
        text
    }
}

/// One server in a line.
pub(super) fn line(server: &Server) -> String {
    let mut parts = Vec::new();
    if let Some(rate) = server.highest_rate {
        parts.push(format!("{} packets/s at most", grouped(rate)));
    }
    if let Some(summary) = &server.summary {
        parts.push(format!(
            "{} packets/s",
            grouped(summary.received_per_second.median)
        ));
        parts.push(format!("{:.3} % lost", summary.loss.median * 100.0));
        parts.push(format!(
            "p50 {} us, p99 {} us",
            rounded(summary.p50_us.median),
            rounded(summary.p99_us.median)
        ));
        if let (Some(cpu), Some(calls)) = (summary.cpu_us_per_packet, summary.calls) {
            parts.push(format!("{:.2} us CPU a packet", cpu.median));
            parts.push(format!("{} calls a core", grouped(calls.per_core)));
        }
    }
    if let Some(rate) = Spread::of(server.allocating.iter().map(|round| round.per_second)) {
        parts.push(format!("{} allocations/s", grouped(rate.median)));
    }
    if parts.is_empty() {
        parts.push("nothing was measured".into());
    }
    if !server.own_limits.is_empty() {
        parts.push("the generator was a limit".into());
    }
    format!("{}: {}", server.name, parts.join(", "))
}

fn describe(text: &mut String, server: &Server, price: f64) {
    let _ = writeln!(text, "\n{}", server.name);
    if let Some(setup) = server.setup {
        let _ = writeln!(text, "  allocations  {}", set_up(setup));
    }
    for round in &server.allocating {
        let cpu = round
            .cpu_us_each
            .map(|each| format!(", {each:.1} us CPU each"));
        let _ = writeln!(
            text,
            "  allocated    {} with their challenges, {}/s{}",
            grouped_count(round.allocations),
            grouped(round.per_second),
            cpu.unwrap_or_default()
        );
    }
    for attempt in &server.search {
        let _ = writeln!(
            text,
            "  tried        {} packets/s: {:.3} % lost, p99 {} us{}",
            grouped(attempt.rate),
            attempt.loss * 100.0,
            rounded(attempt.p99_us),
            match attempt {
                Try { good: true, .. } => "",
                Try {
                    own_limit: true, ..
                } => ": more than the generator can do",
                _ => ": too much",
            }
        );
    }
    if let Some(summary) = &server.summary {
        summarize(text, summary, price);
    }
    if let Some(busiest) = Spread::of(server.rounds.iter().map(|round| round.generator_busy)) {
        let _ = writeln!(text, "  generator    busy {:.0} %", busiest.max * 100.0);
    }
    for limit in &server.own_limits {
        let limit = limit.replace("\n  ", "\n               ");
        let _ = writeln!(text, "  note         {limit}");
    }
}

fn set_up(setup: Setup) -> String {
    let bytes = setup
        .bytes_per_allocation
        .map(|bytes| format!(", {} B of memory each", grouped(bytes)));
    format!(
        "{} in {:.2} s ({}/s){}",
        grouped_count(setup.allocations),
        setup.seconds,
        grouped(setup.allocations_per_second),
        bytes.unwrap_or_default()
    )
}

fn summarize(text: &mut String, summary: &Summary, price: f64) {
    let counts = summary.counts;
    let _ = writeln!(
        text,
        "  packets      {} sent, {} received, {} lost ({:.3} %), {} again, {} out of order, {} late",
        grouped_count(counts.sent),
        grouped_count(counts.received),
        grouped_count(counts.lost()),
        summary.loss.median * 100.0,
        counts.duplicates,
        counts.reordered,
        counts.late
    );
    let _ = writeln!(
        text,
        "  wrong        {} misdelivered, {} from a wrong source, {} damaged",
        counts.misdelivered, counts.wrong_source, counts.damaged
    );
    let _ = writeln!(
        text,
        "  rate         {} packets/s",
        spread(summary.received_per_second, grouped)
    );
    let _ = writeln!(
        text,
        "  latency      p50 {} us, p99 {} us, p99.9 {} us",
        spread(summary.p50_us, rounded),
        spread(summary.p99_us, rounded),
        spread(summary.p999_us, rounded)
    );
    if let (Some(cpu), Some(calls)) = (summary.cpu_us_per_packet, summary.calls) {
        let _ = writeln!(
            text,
            "  server       {} us CPU a packet: {} audio calls a core; 1,000 call-hours take \
             {:.2} core-hours ({:.3} at {price} an hour)",
            spread(cpu, |value| format!("{value:.2}")),
            grouped(calls.per_core),
            calls.core_hours_per_1000_call_hours,
            calls.cost_per_1000_call_hours
        );
    }
    if let Some(growth) = summary.memory_growth_bytes.filter(|growth| *growth != 0) {
        let _ = writeln!(
            text,
            "  memory       {growth:+} B from the beginning to the end"
        );
    }
}

fn compare(text: &mut String, comparison: &Comparison) {
    let two = |value: f64| format!("{value:.2}");
    let rows = [
        ("CPU a packet", comparison.cpu_per_packet),
        ("packets/s", comparison.received_per_second),
        ("p50", comparison.p50),
        ("p99", comparison.p99),
        ("CPU an allocation", comparison.cpu_per_allocation),
        ("allocations/s", comparison.allocations_per_second),
    ];
    for (name, ratio) in rows {
        if let Some(ratio) = ratio {
            let _ = writeln!(text, "  {name:<18} {}", spread(ratio, two));
        }
    }
    if let Some(ratio) = comparison.bytes_per_allocation {
        let _ = writeln!(text, "  {:<18} {ratio:.2}", "bytes of memory");
    }
}

/// The median, and beside it the least and the most where they differ.
fn spread(spread: Spread, show: impl Fn(f64) -> String) -> String {
    let [min, median, max] = [spread.min, spread.median, spread.max].map(show);
    if min == max {
        median
    } else {
        format!("{median} ({min} to {max})")
    }
}

/// Microseconds to three digits.
pub(super) fn rounded(value: f64) -> String {
    if value < 100.0 {
        format!("{value:.1}")
    } else {
        grouped(value)
    }
}

/// A whole number with its thousands apart.
pub(super) fn grouped(value: f64) -> String {
    #[expect(
        clippy::cast_possible_truncation,
        clippy::cast_sign_loss,
        reason = "rates and bytes are neither negative nor beyond 64 bits"
    )]
    grouped_count(value.round() as u64)
}

fn grouped_count(value: u64) -> String {
    let digits = value.to_string();
    let mut text = String::new();
    for (index, digit) in digits.char_indices() {
        if index > 0 && (digits.len() - index).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn thousands_stand_apart() {
        for (value, shown) in [
            (0, "0"),
            (999, "999"),
            (1000, "1,000"),
            (1_234_567, "1,234,567"),
        ] {
            assert_eq!(grouped_count(value), shown);
        }
        assert_eq!(
            (rounded(33.333), rounded(1234.4)),
            ("33.3".into(), "1,234".into())
        );
    }

    #[test]
    fn a_spread_of_one_value_is_that_value() {
        let [one, three] = [&[1.0][..], &[1.0, 2.0, 4.0]]
            .map(|values| Spread::of(values.iter().copied()).expect("values"));
        assert_eq!(spread(one, grouped), "1");
        assert_eq!(spread(three, grouped), "2 (1 to 4)");
    }

    #[test]
    fn a_server_without_figures_says_so() {
        assert_eq!(line(&Server::new("it")), "it: nothing was measured");
    }
}
