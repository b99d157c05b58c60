//! Datagrams: a socket for each end, or one for all of them.

use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::{AsFd, BorrowedFd};

use nix::errno::Errno;
use nix::sys::epoll::{Epoll, EpollCreateFlags, EpollEvent, EpollFlags, EpollTimeout};
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, Socket, Type};

use super::mmsg::{self, Inbox, Outbox, Route};
use super::{Fault, Sources, Troubles, Wiring, is_same, no_socket};

/// Receive and send buffer that the generator asks for, if it is the only socket.
const BUFFER: usize = 16 << 20;
/// The same for a socket that serves one client.
const SMALL_BUFFER: usize = 256 << 10;
/// How many rounds of receiving come before the next sending.
const ROUNDS: usize = 4;
/// Longest train in bytes. In datagrams it is at most a burst, which the kernel takes (64).
const TRAIN_BYTES: usize = 65_000;

/// See the module's description.
pub(in crate::bench) struct Udp {
    /// One for each end, or a single one.
    sockets: Vec<Socket>,
    sources: Option<(Sources, u32)>,
    /// Where each end sends to.
    remotes: Vec<SocketAddr>,
    epoll: Epoll,
    ready: Vec<EpollEvent>,
    outbox: Outbox,
    /// Which socket the outbox is for, and how many bytes and datagrams each entry has.
    filling: usize,
    entries: Vec<(usize, usize)>,
    inbox: Inbox,
    trains: bool,
    troubles: Troubles,
}

impl Udp {
    /// Opens what `count` ends need, all of which send to `remote` at first.
    pub(in crate::bench) fn open(
        wiring: &Wiring,
        count: usize,
        remote: SocketAddr,
    ) -> Result<Self, Fault> {
        let sockets = match wiring.sources {
            Some(_) => 1,
            None => count,
        };
        let size = if sockets == 1 { BUFFER } else { SMALL_BUFFER };
        let shared = wiring.sources.is_some();
        let sockets: io::Result<Vec<Socket>> = (0..sockets)
            .map(|_| open_one(remote, size, shared, wiring.trains))
            .collect();
        let sockets = sockets.map_err(|error| no_socket(&error))?;
        let epoll = watch(&sockets).map_err(|error| no_socket(&error.into()))?;
        let largest = if wiring.trains {
            1 << 16
        } else {
            wiring.largest
        };
        Ok(Self {
            sockets,
            sources: wiring.sources.map(|sources| (sources, wiring.first)),
            remotes: vec![remote; count],
            epoll,
            ready: vec![EpollEvent::empty(); mmsg::BATCH],
            outbox: Outbox::new(largest),
            filling: 0,
            entries: Vec::with_capacity(mmsg::BATCH),
            inbox: Inbox::new(largest),
            trains: wiring.trains,
            troubles: Troubles::default(),
        })
    }

    /// From here on the end sends to `remote`, and what comes from elsewhere is told apart.
    pub(in crate::bench) fn set_remote(&mut self, index: usize, remote: SocketAddr) {
        self.remotes[index] = remote;
    }

    /// The address that the end sends from; `near`: our address towards the relay.
    pub(in crate::bench) fn local(&self, index: usize, near: IpAddr) -> io::Result<SocketAddr> {
        let socket = &self.sockets[self.socket_of(index)];
        let bound = socket.local_addr()?.as_socket();
        let port = bound.map_or(0, |bound| bound.port());
        Ok(SocketAddr::new(self.source_of(index).unwrap_or(near), port))
    }

    fn socket_of(&self, index: usize) -> usize {
        if self.sources.is_some() { 0 } else { index }
    }

    fn source_of(&self, index: usize) -> Option<IpAddr> {
        let (sources, first) = self.sources?;
        Some(sources.nth(first + u32::try_from(index).ok()?))
    }

    pub(in crate::bench) fn send(
        &mut self,
        index: usize,
        len: usize,
        segment: usize,
        write: impl FnOnce(&mut [u8]),
    ) {
        let socket = self.socket_of(index);
        if self.outbox.is_full() || socket != self.filling {
            self.flush();
        }
        self.filling = socket;
        let train = segment > 0 && segment < len;
        let route = Route {
            to: Some(self.remotes[index]),
            from: self.source_of(index),
            segment: if train {
                u16::try_from(segment).unwrap_or(0)
            } else {
                0
            },
        };
        self.outbox.push(route, len, write);
        let datagrams = if train { len.div_ceil(segment) } else { 1 };
        self.entries.push((len, datagrams));
    }

    /// Whether a train of `len` bytes can leave as one.
    pub(in crate::bench) fn takes_train(&self, len: usize) -> bool {
        self.trains && len <= TRAIN_BYTES
    }

    pub(in crate::bench) fn flush(&mut self) {
        if self.outbox.is_empty() {
            return;
        }
        let (sent, fault) = self.outbox.send(self.sockets[self.filling].as_fd());
        let lost = self.entries.drain(..).skip(sent);
        let (mut packets, mut had_train) = (0, false);
        for (_, datagrams) in lost {
            packets += u64::try_from(datagrams).unwrap_or(0);
            had_train |= datagrams > 1;
        }
        let Some(fault) = fault else { return };
        match fault.raw_os_error().map(Errno::from_raw) {
            Some(Errno::EAGAIN | Errno::ENOBUFS) => self.troubles.blocked += packets,
            // No checksum offload, a narrow link, too many at once: no trains from here on.
            Some(Errno::EIO | Errno::EINVAL | Errno::EMSGSIZE) if had_train => {
                self.trains = false;
                self.troubles.untrained += 1;
                self.troubles.blocked += packets;
            }
            _ => self.troubles.failed += packets,
        }
    }

    pub(in crate::bench) fn receive(
        &mut self,
        each: &mut impl FnMut(usize, bool, &mut [u8]),
    ) -> bool {
        let mut any = false;
        if self.sockets.len() == 1 {
            any = self.receive_from(0, each);
        } else {
            let timeout = EpollTimeout::ZERO;
            let count = self.epoll.wait(&mut self.ready, timeout).unwrap_or(0);
            for at in 0..count {
                let socket = usize::try_from(self.ready[at].data()).unwrap_or(0);
                any |= self.receive_from(socket, each);
            }
        }
        any
    }

    fn receive_from(
        &mut self,
        socket: usize,
        each: &mut impl FnMut(usize, bool, &mut [u8]),
    ) -> bool {
        let mut any = false;
        for _ in 0..ROUNDS {
            let count = match self.inbox.receive(self.sockets[socket].as_fd()) {
                Ok(count) => count,
                Err(error) if error.kind() == io::ErrorKind::WouldBlock => 0,
                Err(_) => {
                    self.troubles.failed += 1;
                    0
                }
            };
            for at in 0..count {
                self.take(socket, at, each);
            }
            any |= count > 0;
            if count < mmsg::BATCH {
                break;
            }
        }
        any
    }

    fn take(&mut self, socket: usize, at: usize, each: &mut impl FnMut(usize, bool, &mut [u8])) {
        let datagram = self.inbox.datagram(at);
        let index = match self.sources {
            None => Some(socket),
            Some((sources, first)) => datagram
                .to
                .and_then(|ip| sources.index(ip)?.checked_sub(first))
                .and_then(|index| usize::try_from(index).ok()),
        };
        let Some(index) = index.filter(|index| *index < self.remotes.len()) else {
            self.troubles.failed += 1;
            return;
        };
        let remote = self.remotes[index];
        let known = datagram.from.is_some_and(|from| is_same(from, remote));
        if datagram.segment == 0 {
            each(index, known, datagram.bytes);
        } else {
            for one in datagram.bytes.chunks_mut(datagram.segment) {
                each(index, known, one);
            }
        }
    }

    /// What tells that something has arrived.
    pub(in crate::bench) fn descriptor(&self) -> BorrowedFd<'_> {
        match &self.sockets[..] {
            [one] => one.as_fd(),
            _ => self.epoll.0.as_fd(),
        }
    }

    /// What went wrong since the last look.
    pub(in crate::bench) fn take_troubles(&mut self) -> Troubles {
        std::mem::take(&mut self.troubles)
    }

    pub(in crate::bench) fn drops(&self) -> u64 {
        self.sockets
            .iter()
            .map(|socket| mmsg::drops(socket.as_fd()))
            .sum()
    }

    pub(in crate::bench) fn receive_buffer(&self) -> Option<usize> {
        let sizes = self.sockets.iter().map(Socket::recv_buffer_size);
        sizes.filter_map(Result::ok).min()
    }
}

fn open_one(remote: SocketAddr, buffer: usize, shared: bool, trains: bool) -> io::Result<Socket> {
    let socket = Socket::new(
        Domain::for_address(remote),
        Type::DGRAM,
        Some(Protocol::UDP),
    )?;
    socket.set_nonblocking(true)?;
    set_buffers(socket.as_fd(), buffer);
    let any: IpAddr = if remote.is_ipv4() {
        Ipv4Addr::UNSPECIFIED.into()
    } else {
        Ipv6Addr::UNSPECIFIED.into()
    };
    if shared {
        tell_destinations(&socket, remote.is_ipv4())?;
    }
    if trains {
        // Without it trains arrive cut, which is slower and no fault.
        let _ = setsockopt(&socket, sockopt::UdpGroSegment, &true);
    }
    socket.bind(&SocketAddr::new(any, 0).into())?;
    Ok(socket)
}

/// As large as asked for, with the privilege to do so; else as large as the system lets us.
fn set_buffers(socket: BorrowedFd<'_>, size: usize) {
    if setsockopt(&socket, sockopt::RcvBufForce, &size).is_err() {
        let _ = setsockopt(&socket, sockopt::RcvBuf, &size);
    }
    if setsockopt(&socket, sockopt::SndBufForce, &size).is_err() {
        let _ = setsockopt(&socket, sockopt::SndBuf, &size);
    }
}

/// One socket for many addresses: it has to hear which, and may send from any that is routed here.
fn tell_destinations(socket: &Socket, ipv4: bool) -> io::Result<()> {
    if ipv4 {
        setsockopt(socket, sockopt::Ipv4PacketInfo, &true)?;
        socket.set_freebind_v4(true)?;
    } else {
        setsockopt(socket, sockopt::Ipv6RecvPacketInfo, &true)?;
        socket.set_freebind_v6(true)?;
    }
    Ok(())
}

fn watch(sockets: &[Socket]) -> nix::Result<Epoll> {
    let epoll = Epoll::new(EpollCreateFlags::EPOLL_CLOEXEC)?;
    if sockets.len() > 1 {
        for (index, socket) in sockets.iter().enumerate() {
            let data = u64::try_from(index).unwrap_or(0);
            epoll.add(socket, EpollEvent::new(EpollFlags::EPOLLIN, data))?;
        }
    }
    Ok(epoll)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_train_that_the_kernel_refuses_is_told_and_was_the_last() {
        let server = std::net::UdpSocket::bind("127.0.0.1:0").and_then(|it| it.local_addr());
        let wiring = Wiring {
            sources: None,
            first: 0,
            largest: 2048,
            trains: true,
        };
        let mut udp = Udp::open(&wiring, 1, server.expect("bound")).expect("a socket");
        assert!(udp.takes_train(3000));
        // No kernel cuts as many datagrams as this.
        udp.send(0, 3000, 10, |room| room.fill(0));
        udp.flush();
        let troubles = udp.take_troubles();
        assert_eq!((troubles.untrained, troubles.blocked), (1, 300));
        assert!(!udp.takes_train(3000));
    }
}
