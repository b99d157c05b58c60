//! The network between clients and server: packets take their time, overtake each other, come
//! twice or not at all. Over TCP they come once and in order.

use std::collections::BTreeMap;
use std::time::Duration;

use vizard_proto::address::{FiveTuple, Transport};
use vizard_proto::time::Timestamp;

use super::agent::Packet;
use testkit::stage::places::Dice;

/// What happens at some time.
pub(crate) enum Event {
    /// A packet reaches the server.
    ToServer(FiveTuple, Packet),
    /// A packet reaches a client's NAT; what time it was at the server then, in Unix seconds.
    ToClient(FiveTuple, u64, Vec<u8>),
    /// The server learns that a TCP connection is gone.
    Closed(FiveTuple),
    /// An agent looks what is to be done.
    Tick(usize),
    /// Signalling tells an agent where another can be reached.
    Meet(usize, usize),
    /// The server's clock is set to so many seconds later or earlier.
    Clock(i64),
    /// An agent starts over so many times.
    Redial(usize, u8),
    /// Something out of the plan.
    Happening(usize),
}

pub(crate) struct Network {
    pub(crate) dice: Dice,
    /// Of a hundred packets over UDP so many are lost.
    pub(crate) loss: usize,
    queue: BTreeMap<(Timestamp, u64), Event>,
    /// When the last segment of a TCP direction arrives.
    streams: BTreeMap<(FiveTuple, bool), Timestamp>,
    count: u64,
}

impl Network {
    pub(crate) fn new(seed: u64) -> Self {
        Self {
            dice: Dice(seed),
            loss: 0,
            queue: BTreeMap::new(),
            streams: BTreeMap::new(),
            count: 0,
        }
    }

    pub(crate) fn at(&mut self, time: Timestamp, event: Event) {
        self.count += 1;
        self.queue.insert((time, self.count), event);
    }

    pub(crate) fn next(&mut self) -> Option<(Timestamp, Event)> {
        let ((time, _), event) = self.queue.pop_first()?;
        Some((time, event))
    }

    pub(crate) fn carry_in(&mut self, now: Timestamp, from: FiveTuple, packet: &Packet) {
        for time in self.deliveries(now, from, true) {
            self.at(time, Event::ToServer(from, packet.clone()));
        }
    }

    pub(crate) fn carry_out(&mut self, now: Timestamp, unix: u64, to: FiveTuple, bytes: &[u8]) {
        for time in self.deliveries(now, to, false) {
            self.at(time, Event::ToClient(to, unix, bytes.to_vec()));
        }
    }

    /// When copies of a packet that is sent now arrive.
    fn deliveries(&mut self, now: Timestamp, tuple: FiveTuple, up: bool) -> Vec<Timestamp> {
        let arrival = now + self.delay();
        if tuple.transport == Transport::Tcp {
            let last = self.streams.entry((tuple, up)).or_default();
            *last = arrival.max(*last);
            return vec![*last];
        }
        if self.dice.below(100) < self.loss {
            return Vec::new();
        }
        if self.dice.below(100) < 3 {
            return vec![arrival, now + self.delay()];
        }
        vec![arrival]
    }

    fn delay(&mut self) -> Duration {
        let usual = 5 + self.dice.below(80);
        let late = if self.dice.below(50) == 0 { 2000 } else { 0 };
        Duration::from_millis(u64::try_from(usual + late).expect("small"))
    }
}
