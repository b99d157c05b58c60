//! The way in: a socket, and the buffers that datagrams are received into.

use std::io;
use std::net::SocketAddr;
use std::ops::Range;
use std::os::fd::{AsFd, BorrowedFd};

use mio::event::Source;
use mio::{Interest, Registry, Token};
use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use vizard_proto::address::canonical;

use super::FastPath;
use super::abi::{read_name, read_notes};
use super::sys::{self, MOST, Received};

/// The largest datagram, or train of datagrams, that the kernel hands out.
const LARGEST: usize = 65_536;
/// From one buffer to the next. Not a multiple of a page, or all headers would compete for the same
/// few lines of the processor's cache. Pages that nothing large comes to take no memory.
const STRIDE: usize = LARGEST + 128;

/// A listening socket.
pub(crate) struct Socket {
    socket: mio::net::UdpSocket,
    bound: SocketAddr,
    /// The kernel's count of datagrams that it had no room for.
    overflows: u32,
}

impl Socket {
    /// Takes a bound, non-blocking socket over.
    pub(crate) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let bound = canonical(socket.local_addr()?);
        match bound {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        // Without it, losses are not counted; that is no reason not to start.
        let _ = setsockopt(&socket, sockopt::RxqOvfl, &1);
        Ok(Self {
            socket: mio::net::UdpSocket::from_std(socket),
            bound,
            overflows: 0,
        })
    }

    /// The address that it is bound to.
    pub(crate) fn bound(&self) -> SocketAddr {
        self.bound
    }

    pub(crate) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token, Interest::READABLE)
    }

    /// Lets trains arrive. They are never switched off again, because trains that wait in the
    /// socket at that moment would lose their marks; an [`Inbox`] always understands them.
    pub(crate) fn follow(&self, fast_path: FastPath) {
        if fast_path.has_trains() {
            // A kernel that has none hands out single datagrams.
            let _ = setsockopt(&self.socket, sockopt::UdpGroSegment, &true);
        }
    }

    /// How many more datagrams were lost, given the kernel's count.
    fn count_overflows(&mut self, overflows: u32) -> u32 {
        overflows.wrapping_sub(std::mem::replace(&mut self.overflows, overflows))
    }
}

impl AsFd for Socket {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.socket.as_fd()
    }
}

/// What came of receiving.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(crate) struct Reception {
    /// Whether there may be more in the socket.
    pub(crate) is_more: bool,
    /// How many times something went wrong that says nothing about the next time.
    pub(crate) troubles: usize,
    /// How many datagrams the kernel had no room for since the last time.
    pub(crate) overflows: u32,
}

/// A datagram, or what is known of one that is not for us.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) enum Arrival {
    /// A datagram.
    Packet {
        /// Where it lies in the buffers.
        place: Range<usize>,
        /// Who sent it.
        remote: SocketAddr,
        /// Which of our addresses it was sent to.
        local: SocketAddr,
    },
    /// It was larger than any that we pass on.
    Oversized,
    /// Nobody knows who sent it, or to which of our addresses.
    NoDestination,
}

/// The datagrams of which some are left of a train.
struct Train {
    rest: Range<usize>,
    segment: usize,
    remote: SocketAddr,
    local: SocketAddr,
}

/// What a worker receives into: buffers for a batch of datagrams, which [`Self::receive`] fills and
/// [`Self::next`] takes out one by one.
pub(crate) struct Inbox {
    buffers: Box<[u8]>,
    received: Box<[Received; MOST]>,
    /// How many of them were filled, and which is the next to be taken out.
    filled: Range<usize>,
    train: Option<Train>,
    /// What the socket is bound to that filled them.
    bound: SocketAddr,
    /// The largest datagram that is taken out, in bytes.
    largest: usize,
    in_batches: bool,
}

impl Inbox {
    /// Buffers for `batch` datagrams at a time, of which those above `largest` bytes are refused.
    pub(crate) fn new(batch: usize, largest: usize) -> Self {
        let batch = batch.clamp(1, MOST);
        Self {
            buffers: vec![0; batch * STRIDE].into_boxed_slice(),
            received: Box::new([const { Received::NONE }; MOST]),
            filled: 0..0,
            train: None,
            bound: SocketAddr::from(([0, 0, 0, 0], 0)),
            largest,
            in_batches: true,
        }
    }

    /// Chooses the twin.
    pub(crate) fn follow(&mut self, fast_path: FastPath) {
        self.in_batches = fast_path.has_batches();
    }

    /// The buffers, which are anybody's until the next [`Self::receive`].
    pub(crate) fn buffers(&mut self) -> &mut [u8] {
        &mut self.buffers
    }

    /// Takes datagrams out of a socket; whatever was not taken out of the inbox is forgotten. No
    /// error of the network (an ICMP message that came back for something we sent) stops it.
    pub(crate) fn receive(&mut self, socket: &mut Socket) -> Reception {
        self.bound = socket.bound;
        self.train = None;
        let mut reception = if self.in_batches {
            self.receive_batch(socket)
        } else {
            self.receive_singly(socket)
        };
        let mut latest = self.received[self.filled.clone()].iter().rev();
        if let Some(count) = latest.find_map(|it| read_notes(it.control()).overflows) {
            reception.overflows = socket.count_overflows(count);
        }
        reception
    }

    /// How many datagrams or trains the buffers hold.
    fn batch(&self) -> usize {
        self.buffers.len() / STRIDE
    }

    fn receive_batch(&mut self, socket: &Socket) -> Reception {
        let mut reception = Reception::default();
        let sizes = (STRIDE, LARGEST);
        self.filled = 0..0;
        match sys::receive_many(socket, &mut self.buffers, sizes, &mut self.received) {
            Ok(count) => {
                self.filled = 0..count;
                reception.is_more = count == self.batch();
            }
            Err(Errno::EAGAIN) => {}
            Err(Errno::ENOSYS) => {
                self.in_batches = false;
                return self.receive_singly(socket);
            }
            Err(_) => {
                reception.is_more = true;
                reception.troubles = 1;
            }
        }
        reception
    }

    fn receive_singly(&mut self, socket: &Socket) -> Reception {
        let mut reception = Reception::default();
        let mut count = 0;
        for buffer in self.buffers.chunks_exact_mut(STRIDE) {
            let received = &mut self.received[count];
            match sys::receive_one(socket, &mut buffer[..LARGEST], received) {
                Ok(()) => count += 1,
                Err(Errno::EAGAIN) => break,
                Err(_) => {
                    reception.troubles = 1;
                    break;
                }
            }
        }
        self.filled = 0..count;
        reception.is_more = count == self.batch() || reception.troubles > 0;
        reception
    }

    /// Takes the next datagram out.
    pub(crate) fn next(&mut self) -> Option<Arrival> {
        if self.train.is_none() {
            let index = self.filled.next()?;
            match self.train_in(index) {
                Ok(train) => self.train = Some(train),
                Err(arrival) => return Some(arrival),
            }
        }
        let train = self.train.as_mut()?;
        let start = train.rest.start;
        let end = train.rest.end.min(start + train.segment);
        let arrival = if end - start > self.largest {
            Arrival::Oversized
        } else {
            Arrival::Packet {
                place: start..end,
                remote: train.remote,
                local: train.local,
            }
        };
        train.rest.start = end;
        if train.rest.is_empty() {
            self.train = None;
        }
        Some(arrival)
    }

    fn train_in(&self, index: usize) -> Result<Train, Arrival> {
        let received = &self.received[index];
        if !received.is_whole() {
            return Err(Arrival::Oversized);
        }
        let notes = read_notes(received.control());
        let local = if self.bound.ip().is_unspecified() {
            let destination = notes.destination.map(canonical);
            destination.map(|mut local| {
                local.set_port(self.bound.port());
                local
            })
        } else {
            Some(self.bound)
        };
        let remote = read_name(received.name()).map(canonical);
        let (Some(remote), Some(local)) = (remote, local) else {
            return Err(Arrival::NoDestination);
        };
        let start = index * STRIDE;
        Ok(Train {
            rest: start..start + received.len(),
            segment: notes.segment.unwrap_or(LARGEST),
            remote,
            local,
        })
    }
}

#[cfg(test)]
mod tests;
