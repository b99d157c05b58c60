//! The generator's sockets: many clients on few threads.
//!
//! Every TURN client needs a 5-tuple of its own. Over UDP that is either a socket for each, or one
//! socket for thousands of source addresses of a network that is ours (`Sources`): then one
//! system call takes or sends packets of many clients. Over TCP it is a connection for each.

pub mod mmsg;
mod stream;
mod udp;

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::os::fd::BorrowedFd;
use std::time::Duration;

use ipnet::IpNet;

use super::Fault;
pub(super) use stream::Streams;
use udp::Udp;

/// A network whose addresses the generator may send from.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Sources(pub(crate) IpNet);

impl Sources {
    /// How many addresses there are besides the first, which is left out.
    pub(crate) fn count(self) -> u128 {
        let host_bits = self.0.max_prefix_len() - self.0.prefix_len();
        1_u128.checked_shl(host_bits.into()).unwrap_or(u128::MAX) - 1
    }

    /// The `index`th address.
    pub(crate) fn nth(self, index: u32) -> IpAddr {
        let offset = index + 1;
        match self.0.network() {
            IpAddr::V4(ip) => IpAddr::from((ip.to_bits().wrapping_add(offset)).to_be_bytes()),
            IpAddr::V6(ip) => IpAddr::from(ip.to_bits().wrapping_add(offset.into()).to_be_bytes()),
        }
    }

    /// The index of `ip`; `None` if it lies before the first.
    pub(crate) fn index(self, ip: IpAddr) -> Option<u32> {
        let offset = match (self.0.network(), ip) {
            (IpAddr::V4(base), IpAddr::V4(ip)) => ip.to_bits().wrapping_sub(base.to_bits()),
            (IpAddr::V6(base), IpAddr::V6(ip)) => {
                u32::try_from(ip.to_bits().wrapping_sub(base.to_bits())).ok()?
            }
            _ => return None,
        };
        offset.checked_sub(1)
    }
}

/// How sockets are made.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Wiring {
    pub(crate) sources: Option<Sources>,
    /// The first of this thread's addresses in `sources`.
    pub(crate) first: u32,
    /// Largest datagram.
    pub(crate) largest: usize,
    /// Whether trains are sent with UDP_SEGMENT and taken with UDP_GRO.
    pub(crate) trains: bool,
}

/// What went wrong with sending and connections.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Troubles {
    /// The kernel or the connection had no room: the packet was not sent.
    pub(crate) blocked: u64,
    /// Any other error of sending or receiving.
    pub(crate) failed: u64,
    /// Connections that ended.
    pub(crate) broken: u64,
    /// Trains that the interface would not take, and that were sent one by one.
    pub(crate) untrained: u64,
}

impl Troubles {
    pub(crate) fn add(&mut self, other: &Self) {
        self.blocked += other.blocked;
        self.failed += other.failed;
        self.broken += other.broken;
        self.untrained += other.untrained;
    }
}

/// The sockets of some clients, or of some peers.
pub(super) enum Wire {
    Udp(Box<Udp>),
    Streams(Streams),
}

impl Wire {
    /// Datagram sockets for `count` ends, all of which send to `remote` at first.
    pub(super) fn udp(wiring: &Wiring, count: usize, remote: SocketAddr) -> Result<Self, Fault> {
        Ok(Self::Udp(Box::new(Udp::open(wiring, count, remote)?)))
    }

    /// From here on the end sends to `remote`; a connection's other end is what it is.
    pub(super) fn set_remote(&mut self, index: usize, remote: SocketAddr) {
        if let Self::Udp(udp) = self {
            udp.set_remote(index, remote);
        }
    }

    /// The address that the end sends from; `near`: ours towards the relay.
    pub(super) fn local(&self, index: usize, near: IpAddr) -> Option<SocketAddr> {
        match self {
            Self::Udp(udp) => udp.local(index, near).ok(),
            Self::Streams(_) => None,
        }
    }

    /// Sends `len` bytes, which `write` writes, from end `index`; with the next
    /// [`Self::flush`] at the latest. `segment`: where a train is to be cut; 0 for a single packet.
    pub(super) fn send(
        &mut self,
        index: usize,
        len: usize,
        segment: usize,
        write: impl FnOnce(&mut [u8]),
    ) {
        match self {
            Self::Udp(udp) => udp.send(index, len, segment, write),
            Self::Streams(streams) => streams.send(index, len, write),
        }
    }

    pub(super) fn flush(&mut self) {
        match self {
            Self::Udp(udp) => udp.flush(),
            Self::Streams(streams) => streams.flush(),
        }
    }

    /// Takes what has arrived, up to some hundreds of packets. `each` hears at which end, whether
    /// from where that end sends to, and what. Returns whether there was anything.
    pub(super) fn receive(&mut self, each: &mut impl FnMut(usize, bool, &mut [u8])) -> bool {
        match self {
            Self::Udp(udp) => udp.receive(each),
            Self::Streams(streams) => streams.receive(each),
        }
    }

    /// Whether a train of `len` bytes can leave as one.
    pub(super) fn takes_train(&self, len: usize) -> bool {
        match self {
            Self::Udp(udp) => udp.takes_train(len),
            Self::Streams(_) => false,
        }
    }

    /// What [`wait_for`] waits for.
    pub(super) fn descriptor(&self) -> BorrowedFd<'_> {
        match self {
            Self::Udp(udp) => udp.descriptor(),
            Self::Streams(streams) => streams.descriptor(),
        }
    }

    /// What went wrong since the last look.
    pub(super) fn take_troubles(&mut self) -> Troubles {
        match self {
            Self::Udp(udp) => udp.take_troubles(),
            Self::Streams(streams) => std::mem::take(&mut streams.troubles),
        }
    }

    /// How many datagrams our own sockets had no room for, since they were opened.
    pub(super) fn drops(&self) -> u64 {
        match self {
            Self::Udp(udp) => udp.drops(),
            Self::Streams(_) => 0,
        }
    }

    /// The receive buffer that the kernel granted, in bytes, of the datagram socket with the
    /// smallest.
    pub(super) fn receive_buffer(&self) -> Option<usize> {
        match self {
            Self::Udp(udp) => udp.receive_buffer(),
            Self::Streams(_) => None,
        }
    }
}

/// A socket that could not be made, with what to do about it.
fn no_socket(error: &io::Error) -> Fault {
    let help = match error.raw_os_error() {
        Some(nix::libc::EMFILE) => "\n  help: raise the number of descriptors with `ulimit -n`",
        Some(nix::libc::ENFILE) => {
            "\n  help: raise the system's number of descriptors with `sysctl -w fs.file-max=...`"
        }
        Some(nix::libc::EADDRNOTAVAIL) => {
            "\n  help: there are no more local ports or the source address is not ours; give more \
             addresses with --sources"
        }
        _ => "",
    };
    Fault::Failed(format!("can't open a socket: {error}{help}"))
}

/// Waits until something may have arrived at one of `descriptors`, but not longer than `most`.
pub(super) fn wait_for(descriptors: &[BorrowedFd<'_>], most: Duration) {
    use nix::poll::{PollFd, PollFlags, ppoll};
    fn watch(fd: BorrowedFd<'_>) -> PollFd<'_> {
        PollFd::new(fd, PollFlags::POLLIN)
    }
    // Interrupted is as good as woken: the caller looks for itself.
    let _ = match descriptors {
        [one, other] => ppoll(&mut [watch(*one), watch(*other)], Some(most.into()), None),
        [one, ..] => ppoll(&mut [watch(*one)], Some(most.into()), None),
        [] => return,
    };
}

/// Whether two addresses are the same, whatever scope stands beside an IPv6 one.
fn is_same(one: SocketAddr, other: SocketAddr) -> bool {
    one.ip() == other.ip() && one.port() == other.port()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sources_are_counted_and_found_again() {
        for (network, count) in [("127.64.0.0/16", 65_535), ("2001:db8::/112", 65_535)] {
            let sources = Sources(network.parse().expect("a network"));
            assert_eq!(sources.count(), count);
            for index in [0, 1, 255, 256, 65_000] {
                assert_eq!(sources.index(sources.nth(index)), Some(index));
            }
            assert_eq!(sources.index(sources.0.network()), None);
        }
        let sources = Sources("127.64.0.0/16".parse().expect("a network"));
        assert_eq!(sources.nth(255), IpAddr::from([127, 64, 1, 0]));
        assert_eq!(sources.index("::1".parse().expect("an address")), None);
    }
}
