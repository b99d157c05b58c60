//! Socket addresses and ancillary data as the kernel writes and reads them: bytes, so that nobody
//! else needs a pointer for them.

use std::mem::size_of;
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddr, SocketAddrV6};

use nix::libc::{self, c_int};

/// Room for an address of either family.
pub(super) const NAME: usize = size_of::<libc::sockaddr_in6>();

/// The kernel aligns ancillary data to this.
const WORD: usize = size_of::<usize>();
/// A control message's header: its length, level and type.
const HEADER: usize = WORD + 2 * size_of::<c_int>();

/// Room for a control message with so many bytes of data.
pub(super) const fn control_space(data: usize) -> usize {
    HEADER + data.next_multiple_of(WORD)
}

/// The address in a `sockaddr_in` or `sockaddr_in6`.
pub(super) fn read_name(name: &[u8; NAME]) -> Option<SocketAddr> {
    let [f0, f1, p0, p1, rest @ ..] = name;
    let port = u16::from_be_bytes([*p0, *p1]);
    match c_int::from(u16::from_ne_bytes([*f0, *f1])) {
        libc::AF_INET => {
            let ip: [u8; 4] = *rest.first_chunk()?;
            Some((ip, port).into())
        }
        libc::AF_INET6 => {
            let ip: [u8; 16] = *rest.get(4..)?.first_chunk()?;
            let scope = u32::from_ne_bytes(*rest.last_chunk()?);
            Some(SocketAddrV6::new(ip.into(), port, 0, scope).into())
        }
        _ => None,
    }
}

/// Writes an address and returns how many bytes it takes.
pub(super) fn write_name(address: SocketAddr, name: &mut [u8; NAME]) -> usize {
    *name = [0; NAME];
    name[2..4].copy_from_slice(&address.port().to_be_bytes());
    let (family, len) = match address {
        SocketAddr::V4(v4) => {
            name[4..8].copy_from_slice(&v4.ip().octets());
            (libc::AF_INET, size_of::<libc::sockaddr_in>())
        }
        SocketAddr::V6(v6) => {
            name[8..24].copy_from_slice(&v6.ip().octets());
            name[24..].copy_from_slice(&v6.scope_id().to_ne_bytes());
            (libc::AF_INET6, NAME)
        }
    };
    let family = u16::try_from(family).unwrap_or_default();
    name[..2].copy_from_slice(&family.to_ne_bytes());
    len
}

/// Appends a control message to the first `len` bytes of `control`, and returns how many there are
/// then: as many as before if it does not fit.
fn append(control: &mut [u8], len: usize, (level, kind): (c_int, c_int), data: &[u8]) -> usize {
    let end = len + control_space(data.len());
    let Some(room) = control.get_mut(len..end) else {
        return len;
    };
    room.fill(0);
    room[..WORD].copy_from_slice(&(HEADER + data.len()).to_ne_bytes());
    room[WORD..WORD + 4].copy_from_slice(&level.to_ne_bytes());
    room[WORD + 4..HEADER].copy_from_slice(&kind.to_ne_bytes());
    room[HEADER..HEADER + data.len()].copy_from_slice(data);
    end
}

/// Says that the datagram leaves from `source`, on its interface if it is link-local.
pub(super) fn write_source(control: &mut [u8], source: SocketAddr) -> usize {
    match source {
        SocketAddr::V4(v4) => {
            let mut info = [0; size_of::<libc::in_pktinfo>()];
            info[4..8].copy_from_slice(&v4.ip().octets());
            append(control, 0, (libc::IPPROTO_IP, libc::IP_PKTINFO), &info)
        }
        SocketAddr::V6(v6) => {
            let mut info = [0; size_of::<libc::in6_pktinfo>()];
            info[..16].copy_from_slice(&v6.ip().octets());
            info[16..].copy_from_slice(&v6.scope_id().to_ne_bytes());
            append(control, 0, (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO), &info)
        }
    }
}

/// Says that the datagram is to be cut into several of `size` bytes; `len` is what stands in
/// `control` already.
pub(super) fn write_segment_size(control: &mut [u8], len: usize, size: u16) -> usize {
    let segment = (libc::SOL_UDP, libc::UDP_SEGMENT);
    append(control, len, segment, &size.to_ne_bytes())
}

/// What the kernel says of a datagram that came in.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Notes {
    /// Which of our addresses it was sent to. The port is not known.
    pub(super) destination: Option<SocketAddr>,
    /// It is several datagrams, each of so many bytes; the last may be shorter.
    pub(super) segment: Option<usize>,
    /// How many datagrams the socket had no room for so far, modulo 2^32.
    pub(super) overflows: Option<u32>,
}

/// Reads control messages. What is not known or does not hold together is passed over.
pub(super) fn read_notes(mut control: &[u8]) -> Notes {
    let mut notes = Notes::default();
    while let Some((header, rest)) = control.split_first_chunk::<HEADER>() {
        let Some((len, level, kind)) = read_header(header) else {
            break;
        };
        let Some(data) = len.checked_sub(HEADER).and_then(|len| rest.get(..len)) else {
            break;
        };
        notes.take(level, kind, data);
        control = control
            .get(len.next_multiple_of(WORD)..)
            .unwrap_or_default();
    }
    notes
}

fn read_header(header: &[u8; HEADER]) -> Option<(usize, c_int, c_int)> {
    let (len, rest) = header.split_first_chunk::<WORD>()?;
    let (level, kind) = rest.split_first_chunk::<4>()?;
    Some((
        usize::from_ne_bytes(*len),
        c_int::from_ne_bytes(*level),
        c_int::from_ne_bytes(*kind.first_chunk()?),
    ))
}

impl Notes {
    fn take(&mut self, level: c_int, kind: c_int, data: &[u8]) {
        let word = data.first_chunk().copied().map(u32::from_ne_bytes);
        match (level, kind) {
            (libc::IPPROTO_IP, libc::IP_PKTINFO) => {
                let ip: Option<[u8; 4]> = data.get(4..).and_then(<[u8]>::first_chunk).copied();
                self.destination = ip.map(|ip| (Ipv4Addr::from(ip), 0).into());
            }
            (libc::IPPROTO_IPV6, libc::IPV6_PKTINFO) => {
                let ip: Option<[u8; 16]> = data.first_chunk().copied();
                let scope: Option<[u8; 4]> = data.get(16..).and_then(<[u8]>::first_chunk).copied();
                self.destination = ip.zip(scope).map(|(ip, scope)| {
                    let (ip, scope) = (Ipv6Addr::from(ip), u32::from_ne_bytes(scope));
                    SocketAddrV6::new(ip, 0, 0, scope).into()
                });
            }
            (libc::SOL_UDP, libc::UDP_GRO) => {
                let size = word.and_then(|size| usize::try_from(size).ok());
                self.segment = size.filter(|size| *size > 0);
            }
            (libc::SOL_SOCKET, libc::SO_RXQ_OVFL) => self.overflows = word,
            _ => {}
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    #[test]
    fn addresses_read_as_they_were_written() {
        for text in ["192.0.2.1:3478", "[2001:db8::1]:5", "[fe80::1%7]:65535"] {
            let address: SocketAddr = text.parse().expect("an address");
            let mut name = [0xFF; NAME];
            let len = write_name(address, &mut name);
            assert_eq!(len, if address.is_ipv4() { 16 } else { 28 });
            assert_eq!(read_name(&name), Some(address));
        }
        assert_eq!(read_name(&[0; NAME]), None);
    }

    #[test]
    fn control_messages_read_as_they_were_written() {
        for text in ["192.0.2.1:0", "[2001:db8::1]:0", "[fe80::1%7]:0"] {
            let source: SocketAddr = text.parse().expect("an address");
            let mut control = [0xFF; 128];
            let start = write_source(&mut control, source);
            // What the kernel says of a destination stands where it reads a source: only for IPv4
            // are these two fields, of which it fills both.
            let gro = (libc::SOL_UDP, libc::UDP_GRO);
            let len = append(&mut control, start, gro, &1200_i32.to_ne_bytes());
            let unknown = (libc::SOL_SOCKET, libc::SCM_TIMESTAMP);
            let len = append(&mut control, len, unknown, &[9; 16]);
            let overflows = (libc::SOL_SOCKET, libc::SO_RXQ_OVFL);
            let len = append(&mut control, len, overflows, &7_u32.to_ne_bytes());
            let notes = Notes {
                destination: Some(source),
                segment: Some(1200),
                overflows: Some(7),
            };
            assert_eq!(read_notes(&control[..len]), notes);
            assert_eq!(read_notes(&control[..start]).segment, None);
        }
    }

    #[test]
    fn what_does_not_fit_is_left_out() {
        let mut control = [0; 40];
        let source = "[2001:db8::1]:0".parse().expect("an address");
        let len = write_source(&mut control, source);
        assert_eq!(len, 40);
        assert_eq!(write_segment_size(&mut control, len, 1200), len);
    }

    proptest! {
        #[test]
        fn any_bytes_can_be_read(bytes in proptest::collection::vec(any::<u8>(), 0..200)) {
            read_notes(&bytes);
        }
    }
}
