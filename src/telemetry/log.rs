//! Log lines on standard error.
//!
//! The levels are a promise to the operator on call: ERROR needs a person, WARN will need one if it
//! lasts, INFO is a start, a stop or a reload, DEBUG is per call, TRACE is per packet.

use serde::{Deserialize, Serialize};
use std::any::Any;
use std::cell::Cell;
use std::io::IsTerminal as _;
use std::panic::PanicHookInfo;
use tracing::level_filters::LevelFilter;
use tracing_appender::non_blocking::{ErrorCounter, NonBlockingBuilder, WorkerGuard};
use tracing_subscriber::filter::Targets;
use tracing_subscriber::layer::SubscriberExt;
use tracing_subscriber::util::{SubscriberInitExt, TryInitError};
use tracing_subscriber::{Registry, fmt, reload};

/// How log lines are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Format {
    /// One readable line per event.
    #[default]
    Text,
    /// One JSON object per event.
    Json,
}

/// The least important events that are written.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum Level {
    /// Something needs a person.
    Error,
    /// Something will need a person if it lasts.
    Warn,
    /// Starts, stops, reloads.
    #[default]
    Info,
    /// Per call and per request.
    Debug,
    /// Per packet.
    Trace,
}

impl From<Level> for LevelFilter {
    fn from(level: Level) -> Self {
        match level {
            Level::Error => Self::ERROR,
            Level::Warn => Self::WARN,
            Level::Info => Self::INFO,
            Level::Debug => Self::DEBUG,
            Level::Trace => Self::TRACE,
        }
    }
}

/// Lines that may wait for a slow reader; what comes when there are as many is dropped and counted.
const WAITING_LINES: usize = 1024;

/// The process's log. Lines are written by a thread of its own, so that a reader that stalls holds
/// nobody up; when this is dropped, those that wait are written, if that takes no longer than a
/// second.
pub struct Log {
    level: reload::Handle<Targets, Registry>,
    dropped: ErrorCounter,
    _writer: WorkerGuard,
}

impl Log {
    /// Starts the process's log. Fails if there is one already.
    pub fn start(format: Format, level: Level) -> Result<Self, TryInitError> {
        let (writer, guard) = NonBlockingBuilder::default()
            .buffered_lines_limit(WAITING_LINES)
            .lossy(true)
            .thread_name("log")
            .finish(std::io::stderr());
        let dropped = writer.error_counter();
        let (filter, handle) = reload::Layer::new(ours(level));
        let registry = tracing_subscriber::registry().with(filter);
        let lines = fmt::layer().with_writer(writer);
        match format {
            Format::Text => registry.with(lines.with_ansi(in_colour())).try_init()?,
            Format::Json => registry.with(lines.json()).try_init()?,
        }
        std::panic::set_hook(Box::new(report_panic));
        Ok(Self {
            level: handle,
            dropped,
            _writer: guard,
        })
    }

    /// Writes events of `level` and more important ones from here on.
    pub fn set_level(&self, level: Level) {
        // Fails only when the subscriber is gone, and then there is no log to change.
        let _ = self.level.reload(ours(level));
    }

    /// How many lines were dropped so far because their reader was too slow.
    pub fn dropped_lines(&self) -> u64 {
        u64::try_from(self.dropped.dropped_lines()).unwrap_or(u64::MAX)
    }
}

/// Whether a terminal shows the log, and plain text was not asked for (<https://no-color.org>).
fn in_colour() -> bool {
    let plain = std::env::var_os("NO_COLOR").is_some_and(|value| !value.is_empty());
    !plain && std::io::stderr().is_terminal()
}

/// Only our own events (the core's crate has our name in front as well): what other crates write
/// is not ours to keep addresses out of.
fn ours(level: Level) -> Targets {
    Targets::new().with_target("vizard", level)
}

thread_local! {
    static EXPECTED: Cell<bool> = const { Cell::new(false) };
}

/// Does `work`, whose panics its caller catches and tells of: they are no lines of this log.
pub fn without_panics<T>(work: impl FnOnce() -> T) -> T {
    let before = EXPECTED.replace(true);
    let done = work();
    EXPECTED.set(before);
    done
}

/// A panic's place, and its message only where that is part of the program: a formatted message
/// may hold what the panicking code was working on.
fn report_panic(panic: &PanicHookInfo<'_>) {
    if EXPECTED.get() {
        return;
    }
    let place = panic
        .location()
        .map(ToString::to_string)
        .unwrap_or_default();
    tracing::error!(
        place,
        message = panic_message(panic.payload()),
        "panic: please report this"
    );
}

fn panic_message(payload: &(dyn Any + Send)) -> &'static str {
    payload
        .downcast_ref::<&'static str>()
        .copied()
        .unwrap_or("(formatted message withheld)")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn other_crates_are_silent_at_every_level() {
        let filter = ours(Level::Trace);
        assert!(filter.would_enable("vizard::dataplane", &tracing::Level::TRACE));
        assert!(!filter.would_enable("hyper::proto", &tracing::Level::ERROR));
        assert!(!ours(Level::Warn).would_enable("vizard::dataplane", &tracing::Level::INFO));
    }

    #[test]
    fn a_formatted_panic_message_is_withheld() {
        assert_eq!(panic_message(&"index"), "index");
        assert_eq!(
            panic_message(&String::from("198.51.100.7")),
            "(formatted message withheld)"
        );
    }
}
