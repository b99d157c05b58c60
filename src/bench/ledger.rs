//! What became of the packets: exact counts, by the stamp that each carries.

use super::payload::{Body, Stamp};

/// How many sequence numbers back a packet can still be told from its own copy.
const WINDOW: u64 = 2048;
const WORDS: usize = 32;

/// What was counted.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, serde::Serialize)]
pub(crate) struct Counts {
    /// Handed to the kernel.
    pub(crate) sent: u64,
    /// Arrived where they should, once each.
    pub(crate) received: u64,
    /// Arrived again.
    pub(crate) duplicates: u64,
    /// Of those received: arrived after one that was sent later.
    pub(crate) reordered: u64,
    /// Of this run, but of an earlier step, or too old to be told from a duplicate.
    pub(crate) late: u64,
    /// Arrived at another client or peer than they were sent to.
    pub(crate) misdelivered: u64,
    /// Arrived where they should, but from another source than their sender's.
    pub(crate) wrong_source: u64,
    /// Changed on the way, or not ours at all.
    pub(crate) damaged: u64,
}

impl Counts {
    /// Sent and not received.
    pub(crate) fn lost(&self) -> u64 {
        self.sent.saturating_sub(self.received)
    }

    /// What must never happen.
    pub(crate) fn wrong(&self) -> u64 {
        self.misdelivered + self.wrong_source + self.damaged
    }

    pub(crate) fn add(&mut self, other: &Self) {
        self.sent += other.sent;
        self.received += other.received;
        self.duplicates += other.duplicates;
        self.reordered += other.reordered;
        self.late += other.late;
        self.misdelivered += other.misdelivered;
        self.wrong_source += other.wrong_source;
        self.damaged += other.damaged;
    }
}

/// One direction of a pair: what was sent, and what of it arrived.
pub(crate) struct Lane {
    pair: u32,
    direction: u8,
    /// The next sequence number.
    next: u64,
    /// The first sequence number of this step.
    base: u64,
    /// Everything below has arrived, or something sent after it has.
    settled: u64,
    seen: [u64; WORDS],
}

/// What a packet was found to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A first arrival, sent then; so many packets are no longer under way.
    Received { sent: u64, settled: u64 },
    /// Anything else; it is counted.
    Other,
}

impl Lane {
    pub(crate) fn new(pair: u32, direction: u8) -> Self {
        Self {
            pair,
            direction,
            next: 0,
            base: 0,
            settled: 0,
            seen: [0; WORDS],
        }
    }

    /// A new step begins: what was sent before counts as late from here on.
    pub(crate) fn begin_step(&mut self) {
        self.base = self.next;
        self.settled = self.next;
    }

    /// The stamp of the next packet.
    pub(crate) fn stamp(&mut self, run: u32, sent: u64) -> Stamp {
        let sequence = self.next;
        self.next += 1;
        Stamp {
            run,
            pair: self.pair,
            direction: self.direction,
            sequence,
            sent,
        }
    }

    /// Gives up on what is under way; returns how much that is.
    pub(crate) fn write_off(&mut self) -> u64 {
        let waiting = self.next - self.settled;
        self.forget(waiting);
        self.settled = self.next;
        waiting
    }

    /// Counts a payload that arrived where this lane ends. `from_sender`: whether it came from
    /// where the lane's sender sends.
    pub(crate) fn arrive(
        &mut self,
        run: u32,
        body: &Body,
        payload: &[u8],
        from_sender: bool,
        counts: &mut Counts,
    ) -> Arrival {
        let Some(stamp) = Stamp::read(payload).filter(|stamp| stamp.run == run) else {
            counts.damaged += 1;
            return Arrival::Other;
        };
        if (stamp.pair, stamp.direction) != (self.pair, self.direction) {
            counts.misdelivered += 1;
        } else if !from_sender {
            counts.wrong_source += 1;
        } else if !body.is_whole(payload) || stamp.sequence >= self.next {
            counts.damaged += 1;
        } else if stamp.sequence < self.base {
            counts.late += 1;
        } else {
            return self.note(stamp, counts);
        }
        Arrival::Other
    }

    fn note(&mut self, stamp: Stamp, counts: &mut Counts) -> Arrival {
        let ahead = (stamp.sequence + 1).saturating_sub(self.settled);
        if ahead > 0 {
            self.forget(ahead);
            self.settled = stamp.sequence + 1;
        } else if stamp.sequence + WINDOW < self.settled {
            counts.late += 1;
            return Arrival::Other;
        }
        let (word, bit) = Self::place(stamp.sequence);
        if self.seen[word] & bit != 0 {
            counts.duplicates += 1;
            return Arrival::Other;
        }
        self.seen[word] |= bit;
        counts.received += 1;
        counts.reordered += u64::from(ahead == 0);
        Arrival::Received {
            sent: stamp.sent,
            settled: ahead,
        }
    }

    /// Makes room for the `count` sequence numbers from `settled` on.
    fn forget(&mut self, count: u64) {
        if count >= WINDOW {
            self.seen = [0; WORDS];
            return;
        }
        for sequence in self.settled..self.settled + count {
            let (word, bit) = Self::place(sequence);
            self.seen[word] &= !bit;
        }
    }

    fn place(sequence: u64) -> (usize, u64) {
        let at = sequence % WINDOW;
        (usize::try_from(at / 64).unwrap_or(0), 1 << (at % 64))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const RUN: u32 = 7;

    struct Wire {
        lane: Lane,
        body: Body,
        counts: Counts,
        packets: Vec<[u8; 64]>,
    }

    impl Wire {
        /// A lane that has sent `count` packets.
        fn with(count: usize) -> Self {
            let mut wire = Self {
                lane: Lane::new(3, 0),
                body: Body::new(64),
                counts: Counts::default(),
                packets: Vec::new(),
            };
            wire.send(count);
            wire
        }

        fn send(&mut self, count: usize) {
            for _ in 0..count {
                let mut packet = [0; 64];
                let stamp = self.lane.stamp(RUN, 5);
                self.body.write(stamp, &mut packet);
                self.packets.push(packet);
                self.counts.sent += 1;
            }
        }

        fn arrive(&mut self, packet: usize) -> Arrival {
            let payload = self.packets[packet];
            self.lane
                .arrive(RUN, &self.body, &payload, true, &mut self.counts)
        }
    }

    #[test]
    fn in_order_and_whole() {
        let mut wire = Wire::with(3);
        for packet in 0..3 {
            let expected = Arrival::Received {
                sent: 5,
                settled: 1,
            };
            assert_eq!(wire.arrive(packet), expected);
        }
        assert_eq!((wire.counts.lost(), wire.counts.received), (0, 3));
        assert_eq!((wire.counts.wrong(), wire.counts.reordered), (0, 0));
    }

    #[test]
    fn lost_reordered_and_duplicated() {
        let mut wire = Wire::with(5);
        let skipping = Arrival::Received {
            sent: 5,
            settled: 3,
        };
        assert_eq!(wire.arrive(2), skipping);
        let behind = Arrival::Received {
            sent: 5,
            settled: 0,
        };
        assert_eq!(wire.arrive(0), behind);
        assert_eq!(wire.arrive(0), Arrival::Other);
        assert_eq!(wire.arrive(2), Arrival::Other);
        let counts = wire.counts;
        assert_eq!((counts.received, counts.reordered), (2, 1));
        assert_eq!((counts.duplicates, counts.lost()), (2, 3));
        assert_eq!(wire.lane.write_off(), 2);
    }

    #[test]
    fn a_packet_of_another_pair_is_misdelivered() {
        let mut wire = Wire::with(1);
        for (pair, direction) in [(4, 0), (3, 1)] {
            let mut other = Lane::new(pair, direction);
            let (before, packet) = (wire.counts.misdelivered, wire.packets[0]);
            let arrival = other.arrive(RUN, &wire.body, &packet, true, &mut wire.counts);
            assert_eq!(arrival, Arrival::Other);
            assert_eq!(wire.counts.misdelivered, before + 1);
        }
        assert_eq!(wire.counts.lost(), 1);
    }

    #[test]
    fn the_wrong_source_is_found() {
        let mut wire = Wire::with(1);
        let packet = wire.packets[0];
        wire.lane
            .arrive(RUN, &wire.body, &packet, false, &mut wire.counts);
        assert_eq!((wire.counts.wrong_source, wire.counts.received), (1, 0));
    }

    #[test]
    fn damage_and_what_was_never_sent_are_found() {
        let mut wire = Wire::with(1);
        for at in [0, 40, 63] {
            let mut packet = wire.packets[0];
            packet[at] ^= 1;
            wire.lane
                .arrive(RUN, &wire.body, &packet, true, &mut wire.counts);
        }
        let packet = wire.packets[0];
        wire.lane
            .arrive(RUN + 1, &wire.body, &packet, true, &mut wire.counts);
        Lane::new(3, 0).arrive(RUN, &wire.body, &packet, true, &mut wire.counts);
        assert_eq!((wire.counts.damaged, wire.counts.received), (5, 0));
    }

    #[test]
    fn an_earlier_step_s_packets_are_late() {
        let mut wire = Wire::with(2);
        wire.arrive(0);
        wire.lane.begin_step();
        wire.send(1);
        assert_eq!(wire.arrive(1), Arrival::Other);
        let fresh = Arrival::Received {
            sent: 5,
            settled: 1,
        };
        assert_eq!(wire.arrive(2), fresh);
        assert_eq!((wire.counts.late, wire.counts.received), (1, 2));
    }

    #[test]
    fn the_window_moves_and_forgets_nothing_within_it() {
        let mut wire = Wire::with(6000);
        wire.arrive(0);
        wire.arrive(3000);
        wire.arrive(5000);
        assert_eq!(wire.arrive(2000), Arrival::Other);
        assert_eq!(wire.counts.late, 1);
        wire.arrive(3001);
        assert_eq!((wire.counts.reordered, wire.counts.duplicates), (1, 0));
        wire.arrive(3000);
        wire.arrive(5000);
        assert_eq!((wire.counts.received, wire.counts.duplicates), (4, 2));
    }
}
