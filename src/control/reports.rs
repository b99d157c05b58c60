//! What the relay tells of itself, on its way to the switchboard. Nothing is lost on it: events wait
//! however many they are (an allocation makes two in its life), and usage for which there is no
//! room adds up in the workers.

use tokio::sync::mpsc;
use tokio::sync::mpsc::error::TrySendError;
use vizard_proto::contract::Event;

use crate::dataplane::{self, UsageBatch};

/// Batches of usage that can wait.
const BATCHES: usize = 64;
/// Events taken at a time.
const EVENTS: usize = 1_024;

/// The relay's end.
#[derive(Clone)]
pub struct Reporter {
    events: mpsc::UnboundedSender<Event>,
    usage: mpsc::Sender<UsageBatch>,
}

/// The switchboard's end.
pub struct Reports {
    events: mpsc::UnboundedReceiver<Event>,
    usage: mpsc::Receiver<UsageBatch>,
}

/// What came in together; the events were before the usage.
#[derive(Debug, Default)]
pub struct News {
    /// What happened to allocations, in order.
    pub events: Vec<Event>,
    /// What was sent.
    pub usage: UsageBatch,
}

/// Both ends.
#[expect(
    clippy::disallowed_methods,
    reason = "events are reported under the relay's lock, which can't wait, and a lost event would leave a \
              call wrong for good; taking one in is far cheaper than making one"
)]
pub fn queue() -> (Reporter, Reports) {
    let (event_sender, events) = mpsc::unbounded_channel();
    let (usage_sender, usage) = mpsc::channel(BATCHES);
    let reporter = Reporter {
        events: event_sender,
        usage: usage_sender,
    };
    (reporter, Reports { events, usage })
}

impl dataplane::Reporter for Reporter {
    fn event(&self, event: Event) {
        // Without a receiver the node is stopping, and has taken what it wants to know.
        let _ = self.events.send(event);
    }

    fn usage(&self, batch: &mut dyn FnMut() -> UsageBatch) -> bool {
        match self.usage.try_reserve() {
            Ok(place) => {
                place.send(batch());
                true
            }
            Err(TrySendError::Full(())) => false,
            // As with events: it is not wanted any more.
            Err(TrySendError::Closed(())) => {
                drop(batch());
                true
            }
        }
    }
}

impl Reports {
    /// Waits for the next reports; `None` when there will be none.
    pub(super) async fn next(&mut self) -> Option<News> {
        let mut news = News::default();
        tokio::select! {
            biased;
            count = self.events.recv_many(&mut news.events, EVENTS) => if count == 0 { return None },
            batch = self.usage.recv() => {
                news.usage = batch?;
                // Whose usage it is was told before.
                news.events.extend(std::iter::from_fn(|| self.events.try_recv().ok()));
            }
        }
        Some(news)
    }

    /// What waits, without waiting for more.
    pub(super) fn rest(&mut self) -> News {
        let usage = std::iter::from_fn(|| self.usage.try_recv().ok());
        let usage = usage.flatten().collect();
        let events = std::iter::from_fn(|| self.events.try_recv().ok());
        News {
            events: events.collect(),
            usage,
        }
    }
}

#[cfg(test)]
mod tests {
    use vizard_proto::auth::ticket::CallId;
    use vizard_proto::contract::EndReason;
    use vizard_proto::id::AllocationId;
    use vizard_proto::usage::Usage;

    use super::*;
    use crate::dataplane::Reporter as _;

    fn event(id: u64) -> Event {
        Event::AllocationEnded {
            allocation: AllocationId(id),
            call: CallId([1; 16]),
            party: 0,
            device: 0,
            reason: EndReason::Expired,
        }
    }

    /// As many as the default limits let a node end in one second.
    #[test]
    fn no_event_is_dropped() {
        let (reporter, mut reports) = queue();
        (0..200_000).for_each(|id| reporter.event(event(id)));
        let heard = reports.rest().events;
        assert!(heard.into_iter().eq((0..200_000).map(event)));
    }

    #[test]
    fn usage_without_room_stays_where_it_is() {
        let (reporter, mut reports) = queue();
        let usage = Usage {
            packets: 1,
            bytes: 9,
        };
        let mut made = 0;
        let mut offer = || {
            reporter.usage(&mut || {
                made += 1;
                vec![(AllocationId(made), usage)]
            })
        };
        let taken = (0..BATCHES + 5).filter(|_| offer()).count();
        assert_eq!(taken, BATCHES);
        assert_eq!(reports.rest().usage.len(), BATCHES);
        assert!(offer());
        assert_eq!(
            reports.rest().usage,
            [(AllocationId(BATCHES as u64 + 1), usage)]
        );
    }
}
