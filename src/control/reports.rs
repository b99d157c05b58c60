//! What the relay tells of itself, on its way to the switchboard.

use tokio::sync::mpsc;

use crate::dataplane::Report;
use crate::telemetry::metrics::Counter;

/// Reports that can wait; what comes beyond is dropped and counted.
const WAITING: usize = 65_536;
/// Reports taken at a time.
const BATCH: usize = 1_024;

/// The relay's end.
#[derive(Clone)]
pub struct Reporter {
    reports: mpsc::Sender<Report>,
    dropped: Counter,
}

/// The switchboard's end.
pub struct Reports(mpsc::Receiver<Report>);

/// Both ends of a queue for reports; `dropped` counts what did not fit.
pub fn queue(dropped: Counter) -> (Reporter, Reports) {
    let (sender, receiver) = mpsc::channel(WAITING);
    (
        Reporter {
            reports: sender,
            dropped,
        },
        Reports(receiver),
    )
}

impl Reporter {
    /// Puts a report into the queue. Never waits.
    pub fn report(&self, report: Report) {
        if self.reports.try_send(report).is_err() {
            self.dropped.inc();
        }
    }
}

impl Reports {
    /// The next reports, at least one; `None` when there will be none.
    pub(super) async fn next(&mut self) -> Option<Vec<Report>> {
        let mut batch = Vec::with_capacity(BATCH);
        (self.0.recv_many(&mut batch, BATCH).await > 0).then_some(batch)
    }
}
