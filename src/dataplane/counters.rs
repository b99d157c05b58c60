//! What a worker counts. It adds up in plain numbers and moves the sums into the metrics once per
//! round, so that workers do not fight over cache lines for every packet.

use std::collections::HashMap;

use vizard_proto::address::Transport;
use vizard_proto::contract::EndReason;
use vizard_proto::stun::{Message, Method};
use vizard_proto::usage::DropReason;

use crate::telemetry::Metrics;
use crate::telemetry::metrics::{Counter, Counters as Labelled, code_label};

macro_rules! labels {
    ($(#[$meta:meta])* $set:ident { $($(#[$doc:meta])* $name:ident = $label:literal,)* }) => {
        $(#[$meta])*
        #[derive(Clone, Copy, Debug, PartialEq, Eq)]
        pub(super) enum $set { $($(#[$doc])* $name,)* }

        impl $set {
            const ALL: &[Self] = &[$(Self::$name,)*];
            const fn as_str(self) -> &'static str {
                match self { $(Self::$name => $label,)* }
            }
        }
    };
}

labels! {
    /// Which way a packet took to its receiver.
    Path {
        /// By an entry of the worker's own table.
        Table = "table",
        /// Through the relay.
        Relay = "relay",
    }
}

labels! {
    /// Why the sockets, not the protocol, lost a packet.
    Loss {
        /// A datagram larger than any that we pass on.
        Oversized = "oversized",
        /// The worker did not come in time, and the kernel had no room for it.
        QueueFull = "receive_queue_full",
        /// The kernel did not say which of our addresses it was sent to.
        NoDestination = "no_destination",
        /// The socket's send buffer was full.
        SendBlocked = "send_blocked",
        /// The kernel refused to send it.
        SendFailed = "send_failed",
        /// No socket of ours has the address that it must come from.
        NoSocket = "no_socket",
        /// The receiver's connection is gone.
        NoConnection = "no_connection",
        /// The receiver does not read its connection fast enough.
        ConnectionFull = "connection_full",
        /// The worker that has the receiver's connection cannot keep up.
        HandoverFull = "handover_full",
    }
}

labels! {
    /// Why we closed a TCP connection, or did not take it.
    Closed {
        /// The client closed it.
        ByClient = "by_client",
        /// Reading or writing failed.
        Failed = "failed",
        /// What came in was neither STUN nor `ChannelData`.
        NotTurn = "not_turn",
        /// It held no allocation for too long.
        NoAllocation = "no_allocation",
        /// The client asks but does not read the answers.
        Unread = "unread",
        /// There are as many connections as there may be.
        Limit = "limit",
        /// There are as many from this source prefix as there may be.
        PrefixLimit = "prefix_limit",
        /// Its call has ended, or its ticket has expired.
        CallEnded = "call_ended",
        /// A new connection came in from the same address and port.
        Replaced = "replaced",
    }
}

labels! {
    /// Which system call failed.
    Trouble {
        /// Receiving a datagram.
        Receive = "receive",
        /// Accepting a connection.
        Accept = "accept",
        /// Waiting for events.
        Poll = "poll",
    }
}

labels! {
    /// How a round of a worker's loop began.
    Round {
        /// With an event, or because it was time for something.
        Event = "event",
        /// After a sleep in which packets were left to gather.
        Sleep = "sleep",
        /// At once: there was more to do.
        AtOnce = "at_once",
    }
}

labels! {
    /// What the relay's lock was taken for.
    Purpose {
        /// A packet.
        Packet = "packet",
        /// A command from the control side.
        Command = "command",
        /// A timer.
        Timeout = "timeout",
        /// A closed connection.
        Disconnect = "disconnect",
        /// Rebuilding a forwarding table.
        Rebuild = "rebuild",
        /// A look at the load.
        Load = "load",
    }
}

/// Counters of one label set, with what has been added up for each since the last flush.
struct Sums {
    counters: Vec<Counter>,
    sums: Vec<u64>,
}

impl Sums {
    fn new(counters: &Labelled<1>, labels: impl Iterator<Item = &'static str>) -> Self {
        let counters: Vec<_> = labels.map(|label| counters.of([label])).collect();
        let sums = vec![0; counters.len()];
        Self { counters, sums }
    }

    fn add(&mut self, index: usize, count: u64) {
        self.sums[index] += count;
    }

    fn flush(&mut self) {
        for (counter, sum) in self.counters.iter().zip(&mut self.sums) {
            if *sum > 0 {
                counter.inc_by(std::mem::take(sum));
            }
        }
    }
}

/// One worker's counters.
pub(super) struct Counters {
    received: Sums,
    received_bytes: Sums,
    forwarded: Sums,
    forwarded_bytes: Sums,
    dropped: Sums,
    lost: Sums,
    troubles: Sums,
    closed: Sums,
    rounds: Sums,
    tcp_writes: Counter,
    /// To be added to it.
    writes: u64,
    answers: HashMap<(u16, u16), Counter>,
    other_answers: Counter,
}

const TRANSPORTS: [&str; 2] = ["udp", "tcp"];

impl Counters {
    /// The counters in `metrics`; every label value is there with 0 from here on.
    pub(super) fn new(metrics: &Metrics) -> Self {
        let paths = || Path::ALL.iter().map(|path| path.as_str());
        Self {
            received: Sums::new(&metrics.packets_received, TRANSPORTS.into_iter()),
            received_bytes: Sums::new(&metrics.received_bytes, TRANSPORTS.into_iter()),
            forwarded: Sums::new(&metrics.packets_forwarded, paths()),
            forwarded_bytes: Sums::new(&metrics.forwarded_bytes, paths()),
            dropped: Sums::new(
                &metrics.packets_dropped,
                DropReason::ALL.iter().map(|reason| reason.as_str()),
            ),
            lost: Sums::new(
                &metrics.packets_dropped,
                Loss::ALL.iter().map(|loss| loss.as_str()),
            ),
            troubles: Sums::new(
                &metrics.socket_errors,
                Trouble::ALL.iter().map(|trouble| trouble.as_str()),
            ),
            closed: Sums::new(
                &metrics.tcp_closed,
                Closed::ALL.iter().map(|reason| reason.as_str()),
            ),
            rounds: Sums::new(
                &metrics.worker_rounds,
                Round::ALL.iter().map(|round| round.as_str()),
            ),
            tcp_writes: metrics.tcp_writes.clone(),
            writes: 0,
            answers: answers(metrics),
            other_answers: metrics.answers.of(["other", "other"]),
        }
    }

    pub(super) fn received(&mut self, transport: Transport, bytes: usize) {
        let index = usize::from(transport.is_stream());
        self.received.add(index, 1);
        self.received_bytes.add(index, bytes as u64);
    }

    pub(super) fn forwarded(&mut self, path: Path, payload: usize) {
        self.forwarded.add(path as usize, 1);
        self.forwarded_bytes.add(path as usize, payload as u64);
    }

    pub(super) fn dropped(&mut self, reason: DropReason) {
        self.dropped.add(reason as usize, 1);
    }

    pub(super) fn lost(&mut self, loss: Loss) {
        self.lost.add(loss as usize, 1);
    }

    pub(super) fn lost_many(&mut self, loss: Loss, count: u32) {
        self.lost.add(loss as usize, count.into());
    }

    pub(super) fn trouble(&mut self, trouble: Trouble) {
        self.troubles.add(trouble as usize, 1);
    }

    pub(super) fn closed(&mut self, reason: Closed) {
        self.closed.add(reason as usize, 1);
    }

    pub(super) fn round(&mut self, began: Round) {
        self.rounds.add(began as usize, 1);
    }

    pub(super) fn wrote(&mut self, calls: u64) {
        self.writes += calls;
    }

    /// Counts a STUN answer by its method and error code.
    pub(super) fn answered(&mut self, answer: &[u8]) {
        let key = Message::parse(answer).ok().map(|message| {
            let code = message.error_code().ok().flatten().unwrap_or(0);
            (message.method().get(), code)
        });
        key.and_then(|key| self.answers.get(&key))
            .unwrap_or(&self.other_answers)
            .inc();
    }

    /// Moves what has been added up into the metrics.
    pub(super) fn flush(&mut self) {
        for sums in [
            &mut self.received,
            &mut self.received_bytes,
            &mut self.forwarded,
            &mut self.forwarded_bytes,
            &mut self.dropped,
            &mut self.lost,
            &mut self.troubles,
            &mut self.closed,
            &mut self.rounds,
        ] {
            sums.flush();
        }
        if self.writes > 0 {
            self.tcp_writes.inc_by(std::mem::take(&mut self.writes));
        }
    }
}

/// A counter for every method that is answered and every code that it is answered with.
fn answers(metrics: &Metrics) -> HashMap<(u16, u16), Counter> {
    const METHODS: [(Method, &str); 5] = [
        (Method::BINDING, "binding"),
        (Method::ALLOCATE, "allocate"),
        (Method::REFRESH, "refresh"),
        (Method::CREATE_PERMISSION, "create_permission"),
        (Method::CHANNEL_BIND, "channel_bind"),
    ];
    const CODES: [u16; 14] = [
        0, 400, 401, 403, 405, 420, 437, 438, 440, 441, 442, 443, 486, 508,
    ];
    let mut counters = HashMap::new();
    for (method, label) in METHODS {
        for code in CODES {
            counters.insert(
                (method.get(), code),
                metrics.answers.of([label, code_label(code)]),
            );
        }
    }
    counters
}

/// How often the relay's lock was taken, by purpose.
pub(super) struct Locks(Vec<Counter>);

impl Locks {
    pub(super) fn new(metrics: &Metrics) -> Self {
        Self(
            Purpose::ALL
                .iter()
                .map(|it| metrics.relay_locks.of([it.as_str()]))
                .collect(),
        )
    }

    pub(super) fn taken(&self, purpose: Purpose) {
        self.0[purpose as usize].inc();
    }
}

/// The label of an allocation's end.
pub(super) const fn end_label(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Deleted => "deleted",
        EndReason::Expired => "expired",
        EndReason::TicketExpired => "ticket_expired",
        EndReason::Revoked => "revoked",
        EndReason::Disconnected => "disconnected",
        EndReason::Evicted => "evicted",
    }
}
