//! Datagrams in and out, one socket per listening address and worker.
//!
//! This is the portable twin: one `recvmsg` per packet, `sendmmsg` for a batch of answers. Both
//! carry the local address (`IP_PKTINFO`), so that a socket bound to a wildcard answers from the
//! address that it was asked at. Nothing else of a packet's IP header is passed on: TTL, DSCP and
//! ECN of what we send are the socket's own.

mod exit;
pub(super) mod sys;

use std::io::{self, IoSliceMut};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};
use std::os::fd::AsRawFd;

use mio::event::Source;
use mio::{Interest, Registry, Token};
use nix::cmsg_space;
use nix::errno::Errno;
use nix::libc;
use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, RecvMsg, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use vizard_proto::address::{Family, canonical};

pub(super) use exit::Exit;

/// A listening socket.
pub(super) struct Socket {
    socket: mio::net::UdpSocket,
    bound: SocketAddr,
}

/// What came of looking for a datagram.
pub(super) enum Received {
    /// So many bytes were put into the buffer.
    Packet {
        len: usize,
        remote: SocketAddr,
        local: SocketAddr,
    },
    /// There was one, but it was larger than the buffer.
    Oversized,
    /// There was one, but nobody knows to which of our addresses.
    NoDestination,
    /// Something went wrong that says nothing about the next one.
    Trouble,
    /// There is none.
    Nothing,
}

/// Room for the ancillary data of one datagram.
pub(super) struct Ancillary(Vec<u8>);

impl Ancillary {
    pub(super) fn new() -> Self {
        Self(cmsg_space!(libc::in6_pktinfo))
    }
}

impl Socket {
    /// Takes a bound, non-blocking socket over.
    pub(super) fn new(socket: std::net::UdpSocket) -> io::Result<Self> {
        let bound = canonical(socket.local_addr()?);
        match bound {
            SocketAddr::V4(_) => setsockopt(&socket, sockopt::Ipv4PacketInfo, &true)?,
            SocketAddr::V6(_) => setsockopt(&socket, sockopt::Ipv6RecvPacketInfo, &true)?,
        }
        Ok(Self {
            socket: mio::net::UdpSocket::from_std(socket),
            bound,
        })
    }

    /// The address that it is bound to.
    pub(super) fn bound(&self) -> SocketAddr {
        self.bound
    }

    pub(super) fn register(&mut self, registry: &Registry, token: Token) -> io::Result<()> {
        self.socket.register(registry, token, Interest::READABLE)
    }

    fn family(&self) -> Family {
        Family::of(self.bound.ip())
    }

    /// Takes one datagram out of the socket. No error of the network (an ICMP message that came
    /// back for something we sent) stops it.
    pub(super) fn receive(&self, buffer: &mut [u8], ancillary: &mut Ancillary) -> Received {
        let mut buffers = [IoSliceMut::new(buffer)];
        let received = recvmsg::<SockaddrStorage>(
            self.socket.as_raw_fd(),
            &mut buffers,
            Some(&mut ancillary.0),
            MsgFlags::MSG_DONTWAIT,
        );
        match received {
            Ok(message) if message.flags.contains(MsgFlags::MSG_TRUNC) => Received::Oversized,
            Ok(message) => self.describe(&message),
            Err(Errno::EAGAIN) => Received::Nothing,
            Err(_) => Received::Trouble,
        }
    }

    fn describe(&self, message: &RecvMsg<'_, '_, SockaddrStorage>) -> Received {
        let Some(remote) = message.address.as_ref().and_then(socket_address) else {
            return Received::Trouble;
        };
        match self.destination(message) {
            Some(local) => Received::Packet {
                len: message.bytes,
                remote: canonical(remote),
                local: canonical(local),
            },
            None => Received::NoDestination,
        }
    }

    fn destination(&self, message: &RecvMsg<'_, '_, SockaddrStorage>) -> Option<SocketAddr> {
        if !self.bound.ip().is_unspecified() {
            return Some(self.bound);
        }
        let port = self.bound.port();
        message.cmsgs().ok()?.find_map(|cmsg| match cmsg {
            ControlMessageOwned::Ipv4PacketInfo(info) => {
                let ip = Ipv4Addr::from(u32::from_be(info.ipi_spec_dst.s_addr));
                Some(SocketAddr::new(ip.into(), port))
            }
            ControlMessageOwned::Ipv6PacketInfo(info) => {
                let ip = Ipv6Addr::from(info.ipi6_addr.s6_addr);
                Some(SocketAddrV6::new(ip, port, 0, info.ipi6_ifindex).into())
            }
            _ => None,
        })
    }
}

fn socket_address(address: &SockaddrStorage) -> Option<SocketAddr> {
    if let Some(v4) = address.as_sockaddr_in() {
        return Some(SocketAddr::new(v4.ip().into(), v4.port()));
    }
    let v6 = address.as_sockaddr_in6()?;
    Some(SocketAddrV6::from(*v6).into())
}
