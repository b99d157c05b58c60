//! Who talks to whom: 5-tuples and the canonical form of addresses.

use core::net::{IpAddr, SocketAddr, SocketAddrV6};
use serde::{Deserialize, Serialize};

/// The transport protocol between a client and the server (RFC 8656 section 3.1).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Transport {
    /// UDP.
    Udp,
    /// TCP.
    Tcp,
}

impl Transport {
    /// Whether the client is reached over a byte stream, where `ChannelData` is padded
    /// (RFC 8656 section 12.5).
    pub const fn is_stream(self) -> bool {
        matches!(self, Self::Tcp)
    }
}

/// A client's address and port, our address and port, and the protocol between them
/// (RFC 8656 section 2): what an allocation is known by.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct FiveTuple {
    /// The protocol.
    pub transport: Transport,
    /// Our side: the address that the packet was sent to.
    pub local: SocketAddr,
    /// The client's side.
    pub remote: SocketAddr,
}

/// A client as a packet arrived from it.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Client {
    /// Its 5-tuple.
    pub tuple: FiveTuple,
    /// Which worker its packets arrive at, and holds its connection. Over UDP every worker can send
    /// to it.
    pub worker: u16,
}

/// `address` with an IPv4-mapped IPv6 address turned into the IPv4 address that it is.
/// Every address is brought into this form once, where it enters. A link-local address keeps its
/// scope, the interface, without which it names a host on every link.
pub fn canonical(address: SocketAddr) -> SocketAddr {
    match address {
        SocketAddr::V6(v6) if v6.ip().is_unicast_link_local() => {
            SocketAddrV6::new(*v6.ip(), v6.port(), 0, v6.scope_id()).into()
        }
        _ => SocketAddr::new(address.ip().to_canonical(), address.port()),
    }
}

/// An address family as TURN attributes name it (RFC 8656 section 18.8).
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub enum Family {
    /// IPv4, 0x01.
    V4,
    /// IPv6, 0x02.
    V6,
}

impl Family {
    /// The family of `ip`.
    pub const fn of(ip: IpAddr) -> Self {
        match ip {
            IpAddr::V4(_) => Self::V4,
            IpAddr::V6(_) => Self::V6,
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::Ipv6Addr;

    fn v6(ip: &str, flow: u32, scope: u32) -> SocketAddr {
        let ip: Ipv6Addr = ip.parse().expect("an address");
        SocketAddrV6::new(ip, 4000, flow, scope).into()
    }

    #[test]
    fn one_form_for_each_address() {
        let mapped = v6("::ffff:192.0.2.1", 0, 0);
        let v4 = SocketAddr::from(([192, 0, 2, 1], 4000));
        assert_eq!(canonical(mapped), v4);
        assert_eq!(canonical(v4), v4);
        let global = v6("2001:db8::1", 7, 3);
        assert_eq!(canonical(global), v6("2001:db8::1", 0, 0));
    }

    #[test]
    fn a_link_local_address_keeps_its_link() {
        assert_eq!(canonical(v6("fe80::1", 7, 3)), v6("fe80::1", 0, 3));
        assert_ne!(
            canonical(v6("fe80::1", 0, 2)),
            canonical(v6("fe80::1", 0, 3))
        );
    }
}
