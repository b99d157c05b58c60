//! Which datagrams of a batch leave together: equal ones to one client from one of our addresses.
//!
//! Each client hears what is for it in the order in which it was said, because a train holds
//! datagrams to its client in that order, and trains leave in the order of their first datagram.

use std::net::SocketAddr;

use ahash::RandomState;

use super::sys::MOST;
use crate::dataplane::hash;

/// Trains of fewer datagrams than this leave singly: there is little to gain, and some drivers of
/// Linux 7.0 to 7.1.4 mangle what they cut.
pub(super) const SHORTEST: usize = 4;
/// The most bytes of a train.
const LONGEST: usize = 64_000;
/// The largest datagrams that fit an Ethernet frame over IPv4, and every link over IPv6.
const LARGEST_V4: usize = 1472;
const LARGEST_V6: usize = 1232;

/// No datagram, and no train.
const NONE: u8 = u8::MAX;
/// Places in the table of trains that may still grow. One client's may push out another's, which
/// then makes two short trains of one.
const TABLE: usize = 128;

/// Datagrams that leave together.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Train {
    /// The socket that sends them.
    pub(super) socket: usize,
    /// Our address.
    pub(super) from: SocketAddr,
    /// The client.
    pub(super) to: SocketAddr,
    /// How large each is, except that the last may be smaller.
    pub(super) size: usize,
    /// How many there are.
    pub(super) count: usize,
    bytes: usize,
    first: u8,
    last: u8,
    is_complete: bool,
}

/// The trains of a batch.
pub(super) struct Trains {
    trains: [Train; MOST],
    len: usize,
    /// For each datagram of the batch the next one of its train.
    next: [u8; MOST],
    datagrams: usize,
    growing: [u8; TABLE],
    hasher: RandomState,
    /// Larger datagrams than this leave singly.
    largest: usize,
}

impl Trains {
    pub(super) fn new() -> Self {
        let nowhere = SocketAddr::from(([0, 0, 0, 0], 0));
        let nothing = Train {
            socket: 0,
            from: nowhere,
            to: nowhere,
            size: 0,
            count: 0,
            bytes: 0,
            first: NONE,
            last: NONE,
            is_complete: true,
        };
        Self {
            trains: [nothing; MOST],
            len: 0,
            next: [NONE; MOST],
            datagrams: 0,
            growing: [NONE; TABLE],
            hasher: hash::state(),
            largest: LARGEST_V4,
        }
    }

    /// Lets trains have datagrams of up to `largest` bytes; 0: there are none but of one datagram.
    pub(super) fn limit(&mut self, largest: usize) {
        self.largest = largest.min(LARGEST_V4);
    }

    /// Whether there may be trains of several datagrams.
    pub(super) fn are_on(&self) -> bool {
        self.largest > 0
    }

    /// Forgets them all.
    pub(super) fn clear(&mut self) {
        self.len = 0;
        self.datagrams = 0;
        self.growing = [NONE; TABLE];
    }

    /// Takes the next datagram of the batch. There are at most [`MOST`].
    pub(super) fn push(&mut self, socket: usize, from: SocketAddr, to: SocketAddr, size: usize) {
        let Ok(datagram) = u8::try_from(self.datagrams) else {
            return;
        };
        self.datagrams += 1;
        self.next[usize::from(datagram)] = NONE;
        let place = self.place(from, to);
        if let Some(train) = self.trains[..self.len].get_mut(usize::from(self.growing[place]))
            && (train.socket, train.from, train.to) == (socket, from, to)
            && train.takes(size)
        {
            self.next[usize::from(train.last)] = datagram;
            train.last = datagram;
            train.count += 1;
            train.bytes += size;
            train.is_complete = size < train.size;
            return;
        }
        let largest = if to.is_ipv4() { LARGEST_V4 } else { LARGEST_V6 };
        self.growing[place] = u8::try_from(self.len).unwrap_or(NONE);
        self.trains[self.len] = Train {
            socket,
            from,
            to,
            size,
            count: 1,
            bytes: size,
            first: datagram,
            last: datagram,
            is_complete: size == 0 || size > largest.min(self.largest),
        };
        self.len += 1;
    }

    fn place(&self, from: SocketAddr, to: SocketAddr) -> usize {
        if !self.are_on() {
            return 0;
        }
        let hash = self.hasher.hash_one((from, to));
        usize::try_from(hash % TABLE as u64).unwrap_or_default()
    }

    /// The trains, in the order in which they leave.
    pub(super) fn all(&self) -> &[Train] {
        &self.trains[..self.len]
    }

    /// The datagrams of a train, by their number in the batch.
    pub(super) fn datagrams(&self, train: &Train) -> impl Iterator<Item = usize> + use<'_> {
        let mut at = train.first;
        std::iter::from_fn(move || {
            let datagram = usize::from(at);
            at = *self.next.get(datagram)?;
            Some(datagram)
        })
    }
}

impl Train {
    fn takes(&self, size: usize) -> bool {
        !self.is_complete && size > 0 && size <= self.size && self.bytes + size <= LONGEST
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn at(port: u16) -> SocketAddr {
        SocketAddr::from(([192, 0, 2, 1], port))
    }

    /// The datagrams of each train that batches of (port, size) make.
    fn trains(trains: &mut Trains, batch: &[(u16, usize)]) -> Vec<Vec<usize>> {
        trains.clear();
        for (port, size) in batch {
            trains.push(0, at(3478), at(*port), *size);
        }
        let all = trains.all().iter();
        all.map(|train| trains.datagrams(train).collect()).collect()
    }

    #[test]
    fn equal_ones_to_one_client_leave_together() {
        let mut made = Trains::new();
        let batch = [(1, 1200), (1, 1200), (2, 1200), (1, 1200), (2, 1200)];
        assert_eq!(trains(&mut made, &batch), [vec![0, 1, 3], vec![2, 4]]);
    }

    #[test]
    fn a_smaller_one_is_the_last_and_a_larger_one_the_next_trains_first() {
        let mut made = Trains::new();
        let batch = [(1, 100), (1, 90), (1, 90), (1, 91), (1, 91)];
        assert_eq!(trains(&mut made, &batch), [vec![0, 1], vec![2], vec![3, 4]]);
    }

    #[test]
    fn empty_and_very_large_ones_leave_alone() {
        let mut made = Trains::new();
        let batch = [(1, 0), (1, 0), (2, 1473), (2, 1473), (3, 1472), (3, 0)];
        let alone: Vec<_> = (0..6).map(|index| vec![index]).collect();
        assert_eq!(trains(&mut made, &batch), alone);
        made.limit(99);
        let batch = [(1, 100), (1, 100), (2, 99), (2, 99)];
        assert_eq!(trains(&mut made, &batch), [vec![0], vec![1], vec![2, 3]]);
        made.limit(0);
        let batch = [(1, 10), (1, 10)];
        assert_eq!(trains(&mut made, &batch), [vec![0], vec![1]]);
    }

    #[test]
    fn no_train_is_longer_than_a_datagram_may_be() {
        let mut made = Trains::new();
        let batch = [(1, 1400); MOST];
        let made = trains(&mut made, &batch);
        let most = made.iter().map(Vec::len).max().expect("some");
        assert!(
            most * 1400 <= LONGEST && (most + 1) * 1400 > LONGEST,
            "{most}"
        );
    }
}
