//! Opening the listening sockets, and saying what to do when that fails.

use std::fmt;
use std::io::{self, ErrorKind};
use std::net::{SocketAddr, TcpListener, UdpSocket};
use std::os::fd::AsFd;

use nix::errno::Errno;
use nix::sys::socket::{setsockopt, sockopt};
use socket2::{Domain, Protocol, SockRef, Socket, Type};
use vizard_proto::address::{Family, Transport};

use super::udp::sys;

/// IP TTL and hop limit of everything that we send: never what a client chose, because it would
/// tell the other party how far away that client is.
const TTL: u32 = 64;
/// DSCP and ECN of everything that we send, for the same reason.
const TOS: u32 = 0;
/// How much the kernel may hold for a socket that a worker has no time for, in bytes.
const UDP_BUFFER: usize = 4 << 20;
/// How much the kernel may hold for a client that reads slowly, in bytes. Media in it cannot be
/// taken back when its call ends.
const TCP_SEND_BUFFER: usize = 128 * 1024;
const BACKLOG: i32 = 1024;
/// The largest TCP segment, in bytes without its header: with the headers of IPv6 and TCP 1,280
/// bytes, which every path carries, so that no path's size need be learned.
const TCP_SEGMENT: u32 = 1220;

/// Why an address cannot be listened on.
#[derive(Debug)]
pub struct ListenError {
    transport: Transport,
    address: SocketAddr,
    source: io::Error,
}

impl ListenError {
    /// The error of the operating system.
    pub fn kind(&self) -> ErrorKind {
        self.source.kind()
    }

    fn advice(&self) -> &'static str {
        match self.source.kind() {
            ErrorKind::AddrInUse => {
                "another program (or another vizard) has this port: stop it, or choose another port"
            }
            ErrorKind::PermissionDenied if self.address.port() < 1024 => {
                "ports below 1024 need root or CAP_NET_BIND_SERVICE: grant it, or choose a port \
                 from 1024 on"
            }
            ErrorKind::AddrNotAvailable => {
                "no interface of this machine has this address: correct it, or listen on all \
                 addresses with 0.0.0.0 or [::]"
            }
            _ if is_unsupported(&self.source) => {
                "this machine has no IPv6: take the address out of the configuration"
            }
            _ if Errno::EMFILE as i32 == self.source.raw_os_error().unwrap_or(0) => {
                "too few file descriptors: raise the limit (ulimit -n, LimitNOFILE=)"
            }
            _ => "check the address and this program's permissions",
        }
    }
}

impl fmt::Display for ListenError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            transport,
            address,
            source,
        } = self;
        let name = match transport {
            Transport::Udp => "UDP",
            Transport::Tcp => "TCP",
        };
        write!(
            f,
            "cannot listen on {name} {address}: {source}; {}",
            self.advice()
        )
    }
}

impl std::error::Error for ListenError {
    fn source(&self) -> Option<&(dyn std::error::Error + 'static)> {
        Some(&self.source)
    }
}

/// `[::]` on a machine without IPv6: all of its IPv6 addresses, which are none.
pub(super) fn is_vacuous(error: &ListenError) -> bool {
    error.address.is_ipv6() && error.address.ip().is_unspecified() && is_unsupported(&error.source)
}

fn is_unsupported(error: &io::Error) -> bool {
    error.raw_os_error() == Some(Errno::EAFNOSUPPORT as i32)
}

/// Opens one socket per worker on `address`; with port 0 all of them on the port that the first
/// one gets.
pub(super) fn udp(address: SocketAddr, workers: usize) -> Result<Vec<UdpSocket>, ListenError> {
    shared(Transport::Udp, address, workers)
        .map(|sockets| sockets.into_iter().map(UdpSocket::from).collect())
}

/// The same for TCP.
pub(super) fn tcp(address: SocketAddr, workers: usize) -> Result<Vec<TcpListener>, ListenError> {
    shared(Transport::Tcp, address, workers)
        .map(|sockets| sockets.into_iter().map(TcpListener::from).collect())
}

/// Fails if anybody else has `address`. With `SO_REUSEPORT` alone a second process of the same
/// user would silently get half of the packets.
pub(super) fn probe(transport: Transport, address: SocketAddr) -> Result<(), ListenError> {
    open(transport, address)
        .and_then(|socket| {
            socket.bind(&address.into())?;
            if transport.is_stream() {
                socket.listen(1)
            } else {
                Ok(())
            }
        })
        .map_err(|source| ListenError {
            transport,
            address,
            source,
        })
}

fn shared(
    transport: Transport,
    address: SocketAddr,
    workers: usize,
) -> Result<Vec<Socket>, ListenError> {
    let mut sockets = Vec::with_capacity(workers);
    let mut actual = address;
    for _ in 0..workers {
        let socket = open_shared(transport, actual).map_err(|source| ListenError {
            transport,
            address,
            source,
        })?;
        if let Ok(Some(bound)) = socket.local_addr().map(|bound| bound.as_socket()) {
            actual.set_port(bound.port());
        }
        sockets.push(socket);
    }
    Ok(sockets)
}

fn open_shared(transport: Transport, address: SocketAddr) -> io::Result<Socket> {
    let socket = open(transport, address)?;
    socket.set_reuse_port(true)?;
    socket.set_nonblocking(true)?;
    mark(&SockRef::from(&socket), address)?;
    sys::ignore_path_mtu(&socket, Family::of(address.ip()))?;
    match transport {
        Transport::Udp => {
            grow_buffers(&socket);
            socket.bind(&address.into())?;
        }
        Transport::Tcp => {
            socket.set_send_buffer_size(TCP_SEND_BUFFER)?;
            // Connections inherit this, and the rest of the options.
            socket.set_tcp_mss(TCP_SEGMENT)?;
            socket.bind(&address.into())?;
            socket.listen(BACKLOG)?;
        }
    }
    Ok(socket)
}

fn open(transport: Transport, address: SocketAddr) -> io::Result<Socket> {
    let (kind, protocol) = match transport {
        Transport::Udp => (Type::DGRAM, Protocol::UDP),
        Transport::Tcp => (Type::STREAM, Protocol::TCP),
    };
    let socket = Socket::new(Domain::for_address(address), kind, Some(protocol))?;
    if transport.is_stream() {
        // Connections of an earlier run that are closing do not keep the port.
        socket.set_reuse_address(true)?;
    }
    if address.is_ipv6() {
        socket.set_only_v6(true)?;
    }
    Ok(socket)
}

/// Gives a socket the buffers wanted, or what the kernel lets us have: less is no reason not to
/// start. With CAP_NET_ADMIN there is no limit.
fn grow_buffers(socket: &Socket) {
    if setsockopt(socket, sockopt::RcvBufForce, &UDP_BUFFER).is_err() {
        let _ = socket.set_recv_buffer_size(UDP_BUFFER);
    }
    if setsockopt(socket, sockopt::SndBufForce, &UDP_BUFFER).is_err() {
        let _ = socket.set_send_buffer_size(UDP_BUFFER);
    }
}

/// What to do if the kernel gave a socket smaller buffers than wanted.
pub(super) fn shortage(socket: &UdpSocket) -> Option<String> {
    let socket = SockRef::from(socket);
    let sizes = [socket.recv_buffer_size(), socket.send_buffer_size()];
    shortage_of(sizes.into_iter().flatten().min()?)
}

/// `size` is as the kernel tells it: with as much again for its own bookkeeping.
fn shortage_of(size: usize) -> Option<String> {
    let given = size / 2;
    (given < UDP_BUFFER).then(|| {
        format!(
            "the kernel holds {} KiB of packets for a UDP socket, and {} KiB are wanted: bursts \
             may get lost; sysctl -w net.core.rmem_max={UDP_BUFFER} net.core.wmem_max={UDP_BUFFER} \
             raises it",
            given / 1024,
            UDP_BUFFER / 1024,
        )
    })
}

fn mark(socket: &SockRef<'_>, address: SocketAddr) -> io::Result<()> {
    if address.is_ipv4() {
        socket.set_ttl_v4(TTL)?;
        socket.set_tos_v4(TOS)
    } else {
        socket.set_unicast_hops_v6(TTL)?;
        socket.set_tclass_v6(TOS)
    }
}

/// Sets an accepted connection up.
pub(super) fn prepare_stream(stream: &mio::net::TcpStream) -> io::Result<()> {
    stream.set_nodelay(true)?;
    mark(&SockRef::from(&stream.as_fd()), stream.local_addr()?)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn small_buffers_are_named_with_what_raises_them() {
        assert_eq!(shortage_of(2 * UDP_BUFFER), None);
        let said = shortage_of(425_984).expect("that is the kernel's default");
        assert!(said.contains("208 KiB") && said.contains("sysctl -w net.core.rmem_max=4194304"));
    }

    #[test]
    fn a_socket_has_the_buffers_that_the_kernel_allows() {
        let all = "127.0.0.1:0".parse().expect("an address");
        let sockets = udp(all, 2).expect("loopback");
        let ports: Vec<_> = sockets.iter().map(|it| it.local_addr().ok()).collect();
        assert_eq!(ports[0], ports[1]);
        let most = std::fs::read_to_string("/proc/sys/net/core/rmem_max").expect("readable");
        let most: usize = most.trim().parse().expect("a number");
        let size = SockRef::from(&sockets[0]).recv_buffer_size().expect("one");
        assert!(size >= 2 * most.min(UDP_BUFFER), "{size}");
    }
}
