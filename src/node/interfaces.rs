//! The addresses of this machine that last, as the kernel tells them (rtnetlink).

use std::collections::{HashMap, HashSet};
use std::io;
use std::net::IpAddr;
use std::os::fd::{AsRawFd, OwnedFd};

use netlink_packet_core::{
    NLM_F_DUMP, NLM_F_REQUEST, NetlinkHeader, NetlinkMessage, NetlinkPayload,
};
use netlink_packet_route::address::{AddressAttribute, AddressFlags, AddressMessage};
use netlink_packet_route::link::{InfoKind, LinkAttribute, LinkFlags, LinkInfo, LinkMessage};
use netlink_packet_route::{AddressFamily, RouteNetlinkMessage};
use nix::sys::socket::{
    self, AddressFamily as SocketFamily, MsgFlags, NetlinkAddr, SockFlag, SockProtocol, SockType,
};

/// Groups of rtnetlink that tell of links and of addresses of either family.
const CHANGES: u32 = (1 << 0) | (1 << 4) | (1 << 8);
/// An address that the network takes back within this many seconds is not one to hand out.
const LASTING: u32 = 600;
/// The kernel puts no more than this into one part of an answer.
const PART: usize = 64 * 1024;

/// An address that clients could be given.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) struct Candidate {
    /// The address.
    pub(super) ip: IpAddr,
    /// Whether its interface is a tunnel, whose other end is some network of its own.
    pub(super) tunnel: bool,
    /// Whether it is here to stay.
    pub(super) lasting: bool,
}

/// The addresses of a machine.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub(super) struct Machine {
    /// Those that clients could be given, in the kernel's order.
    pub(super) candidates: Vec<Candidate>,
    /// Whether it has a loopback interface that is up.
    pub(super) loopback: bool,
}

/// The addresses that this machine has.
pub(super) fn look() -> io::Result<Machine> {
    let (mut links, mut addresses) = (Vec::new(), Vec::new());
    dump(
        RouteNetlinkMessage::GetLink(LinkMessage::default()),
        |message| {
            if let RouteNetlinkMessage::NewLink(link) = message {
                links.push(link);
            }
        },
    )?;
    dump(
        RouteNetlinkMessage::GetAddress(AddressMessage::default()),
        |message| {
            if let RouteNetlinkMessage::NewAddress(address) = message {
                addresses.push(address);
            }
        },
    )?;
    let up = LinkFlags::Up | LinkFlags::Loopback;
    Ok(Machine {
        candidates: judge(&links, &addresses),
        loopback: links.iter().any(|link| link.header.flags.contains(up)),
    })
}

/// A socket that becomes readable when links or addresses change.
pub(super) fn changes() -> io::Result<OwnedFd> {
    open(CHANGES, SockFlag::SOCK_NONBLOCK)
}

/// Reads what a socket of [`changes`] has to say, which is no more than that something changed.
pub(super) fn drain(socket: &OwnedFd) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match socket::recv(socket.as_raw_fd(), &mut buffer, MsgFlags::MSG_TRUNC) {
            Ok(_) | Err(nix::Error::EINTR | nix::Error::ENOBUFS) => {}
            Err(nix::Error::EAGAIN) => return Ok(()),
            Err(error) => return Err(error.into()),
        }
    }
}

fn open(groups: u32, flags: SockFlag) -> io::Result<OwnedFd> {
    let socket = socket::socket(
        SocketFamily::Netlink,
        SockType::Raw,
        flags | SockFlag::SOCK_CLOEXEC,
        SockProtocol::NetlinkRoute,
    )?;
    socket::bind(socket.as_raw_fd(), &NetlinkAddr::new(0, groups))?;
    Ok(socket)
}

/// Asks the kernel for all that it has of something.
fn dump(what: RouteNetlinkMessage, mut take: impl FnMut(RouteNetlinkMessage)) -> io::Result<()> {
    let socket = open(0, SockFlag::empty())?;
    let mut request = NetlinkMessage::new(NetlinkHeader::default(), NetlinkPayload::from(what));
    request.header.flags = NLM_F_DUMP | NLM_F_REQUEST;
    request.header.sequence_number = 1;
    request.finalize();
    let mut bytes = vec![0; request.buffer_len()];
    request.serialize(&mut bytes);
    socket::send(socket.as_raw_fd(), &bytes, MsgFlags::empty())?;

    let mut part = vec![0; PART];
    loop {
        let length = match socket::recv(socket.as_raw_fd(), &mut part, MsgFlags::empty()) {
            Ok(length) => length,
            Err(nix::Error::EINTR) => continue,
            Err(error) => return Err(error.into()),
        };
        for message in Messages(part.get(..length).unwrap_or_default()) {
            // What this version can't read is of a kind that it does not look for.
            let Ok(message) = NetlinkMessage::<RouteNetlinkMessage>::deserialize(message) else {
                continue;
            };
            match message.payload {
                NetlinkPayload::InnerMessage(message) => take(message),
                NetlinkPayload::Done(_) => return Ok(()),
                NetlinkPayload::Error(error) => return Err(error.to_io()),
                _ => {}
            }
        }
    }
}

/// The messages in one part of an answer.
struct Messages<'b>(&'b [u8]);

impl<'b> Iterator for Messages<'b> {
    type Item = &'b [u8];

    fn next(&mut self) -> Option<&'b [u8]> {
        let length: [u8; 4] = self.0.get(..4)?.try_into().ok()?;
        let length = u32::from_ne_bytes(length) as usize;
        let message = self.0.get(..length).filter(|_| length >= 16)?;
        self.0 = self.0.get(length.next_multiple_of(4)..).unwrap_or_default();
        Some(message)
    }
}

/// Which addresses are those of this machine, and how good.
fn judge(links: &[LinkMessage], addresses: &[AddressMessage]) -> Vec<Candidate> {
    let kinds = links.iter().map(|link| (link.header.index, kind(link)));
    let kinds: HashMap<u32, Option<&InfoKind>> = kinds.collect();
    // A bridge with a port that leads out of the machine is its network card by another name;
    // any other joins containers or virtual machines.
    let ports = links.iter().filter(|port| leads_out(kind(port)));
    let outward: HashSet<u32> = ports.filter_map(controller).collect();
    let usable = links.iter().filter(|link| {
        let flags = link.header.flags;
        flags.contains(LinkFlags::Up)
            && !flags.contains(LinkFlags::Loopback)
            && controller(link).is_none()
            && (kind(link) != Some(&InfoKind::Bridge) || outward.contains(&link.header.index))
    });
    let usable: HashSet<u32> = usable.map(|link| link.header.index).collect();
    let here = addresses
        .iter()
        .filter(|address| usable.contains(&address.header.index));
    here.filter_map(|address| {
        let tunnel = is_tunnel(kinds.get(&address.header.index).copied().flatten());
        let lasting = stays(address)?;
        let ip = ip(address).filter(|ip| !is_link_local(*ip))?;
        Some(Candidate {
            ip,
            tunnel,
            lasting,
        })
    })
    .collect()
}

fn kind(link: &LinkMessage) -> Option<&InfoKind> {
    let infos = link
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::LinkInfo(infos) => Some(infos),
            _ => None,
        })?;
    infos.iter().find_map(|info| match info {
        LinkInfo::Kind(kind) => Some(kind),
        _ => None,
    })
}

/// The bridge, bond or router that the link is a port of.
fn controller(link: &LinkMessage) -> Option<u32> {
    link.attributes
        .iter()
        .find_map(|attribute| match attribute {
            LinkAttribute::Controller(index) => Some(*index),
            _ => None,
        })
}

/// Whether a link of this kind is a network card, or made of some. A card has no kind.
fn leads_out(kind: Option<&InfoKind>) -> bool {
    matches!(
        kind,
        None | Some(InfoKind::Bond | InfoKind::Team | InfoKind::Vlan)
    )
}

fn is_tunnel(kind: Option<&InfoKind>) -> bool {
    matches!(
        kind,
        Some(
            InfoKind::Tun
                | InfoKind::Wireguard
                | InfoKind::IpIp
                | InfoKind::Ip6Tnl
                | InfoKind::SitTun
                | InfoKind::GreTun
                | InfoKind::GreTun6
                | InfoKind::Vti
                | InfoKind::Vti6
                | InfoKind::Xfrm
        )
    )
}

/// Whether the address stays; `None` for one that is not to be used, or not by others.
fn stays(address: &AddressMessage) -> Option<bool> {
    let short = AddressFlags::from_bits_retain(u32::from(address.header.flags.bits()));
    let flags = address
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::Flags(flags) => Some(*flags),
            _ => None,
        });
    let flags = flags.unwrap_or(short);
    let unusable = AddressFlags::Deprecated
        | AddressFlags::Tentative
        | AddressFlags::Optimistic
        | AddressFlags::Dadfailed;
    if flags.intersects(unusable) {
        return None;
    }
    let preferred = address
        .attributes
        .iter()
        .find_map(|attribute| match attribute {
            AddressAttribute::CacheInfo(info) => Some(info.ifa_preferred),
            _ => None,
        });
    let lasting = preferred.is_none_or(|seconds| seconds >= LASTING);
    if address.header.family == AddressFamily::Inet {
        // A short DHCP lease is renewed in place: better than nothing.
        return Some(lasting);
    }
    // Of IPv6 the same bit means temporary (RFC 8981).
    (lasting && !flags.contains(AddressFlags::Secondary)).then_some(true)
}

/// The address itself; on a link with two ends, `Address` is the other one's.
fn ip(address: &AddressMessage) -> Option<IpAddr> {
    let attributes = || address.attributes.iter();
    let local = attributes().find_map(|attribute| match attribute {
        AddressAttribute::Local(ip) => Some(*ip),
        _ => None,
    });
    let plain = || {
        attributes().find_map(|attribute| match attribute {
            AddressAttribute::Address(ip) => Some(*ip),
            _ => None,
        })
    };
    local.or_else(plain)
}

fn is_link_local(ip: IpAddr) -> bool {
    match ip {
        IpAddr::V4(ip) => ip.is_link_local(),
        IpAddr::V6(ip) => ip.is_unicast_link_local(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use netlink_packet_route::address::{AddressHeaderFlags, CacheInfo};

    fn link(index: u32, kind: Option<InfoKind>, bridge: Option<u32>) -> LinkMessage {
        let mut link = LinkMessage::default();
        link.header.index = index;
        link.header.flags = LinkFlags::Up;
        link.attributes
            .extend(kind.map(|kind| LinkAttribute::LinkInfo(vec![LinkInfo::Kind(kind)])));
        link.attributes
            .extend(bridge.map(LinkAttribute::Controller));
        link
    }

    fn address(index: u32, ip: &str, flags: AddressFlags, preferred: u32) -> AddressMessage {
        let ip: IpAddr = ip.parse().expect("an address");
        let mut address = AddressMessage::default();
        address.header.index = index;
        address.header.family = match ip {
            IpAddr::V4(_) => AddressFamily::Inet,
            IpAddr::V6(_) => AddressFamily::Inet6,
        };
        address.header.flags = AddressHeaderFlags::from_bits_retain(flags.bits().to_le_bytes()[0]);
        let mut info = CacheInfo::default();
        info.ifa_preferred = preferred;
        address.attributes = vec![
            AddressAttribute::Address(ip),
            AddressAttribute::Flags(flags),
            AddressAttribute::CacheInfo(info),
        ];
        address
    }

    fn ips(links: &[LinkMessage], addresses: &[AddressMessage]) -> Vec<String> {
        let judged = judge(links, addresses);
        judged.iter().map(|found| found.ip.to_string()).collect()
    }

    const STAYS: u32 = u32::MAX;

    #[test]
    fn addresses_that_go_are_none() {
        let none = AddressFlags::empty();
        let addresses = [
            address(1, "2001:db8::1", AddressFlags::Permanent, STAYS),
            address(1, "2001:db8::2", AddressFlags::Deprecated, 0),
            address(1, "2001:db8::3", AddressFlags::Tentative, STAYS),
            address(1, "2001:db8::4", AddressFlags::Secondary, 86_400),
            address(1, "2001:db8::5", none, 60),
            address(1, "2001:db8::6", none, 86_400),
            address(1, "2001:db8::7", AddressFlags::Dadfailed, STAYS),
            address(1, "fe80::1", AddressFlags::Permanent, STAYS),
            address(1, "192.0.2.1", AddressFlags::Secondary, STAYS),
            address(1, "169.254.1.1", none, STAYS),
        ];
        assert_eq!(
            ips(&[link(1, None, None)], &addresses),
            ["2001:db8::1", "2001:db8::6", "192.0.2.1"]
        );
    }

    #[test]
    fn a_short_lease_is_better_than_nothing() {
        let leased = address(1, "192.0.2.1", AddressFlags::empty(), 120);
        let judged = judge(&[link(1, None, None)], &[leased]);
        assert!(matches!(judged[..], [Candidate { lasting: false, .. }]));
    }

    #[test]
    fn bridges_of_containers_are_not_this_machine_s_but_its_own_bridge_is() {
        let plain = AddressFlags::Permanent;
        let addresses = [
            address(1, "192.0.2.1", plain, STAYS),
            address(2, "172.17.0.1", plain, STAYS),
            address(3, "192.0.2.3", plain, STAYS),
            address(5, "192.0.2.5", plain, STAYS),
        ];
        let links = [
            // The machine's bridge, with its card.
            link(1, Some(InfoKind::Bridge), None),
            link(4, None, Some(1)),
            // That of containers, and the host's end of one.
            link(2, Some(InfoKind::Bridge), None),
            link(3, Some(InfoKind::Veth), Some(2)),
            // What a container has itself.
            link(5, Some(InfoKind::Veth), None),
        ];
        assert_eq!(ips(&links, &addresses), ["192.0.2.1", "192.0.2.5"]);
    }

    #[test]
    fn links_that_are_down_have_no_address() {
        let mut down = link(1, None, None);
        down.header.flags = LinkFlags::empty();
        let mut loopback = link(2, None, None);
        loopback.header.flags = LinkFlags::Up | LinkFlags::Loopback;
        let plain = AddressFlags::Permanent;
        let addresses = [
            address(1, "192.0.2.1", plain, STAYS),
            address(2, "192.0.2.2", plain, STAYS),
        ];
        assert!(ips(&[down, loopback], &addresses).is_empty());
    }

    #[test]
    fn nonsense_from_the_kernel_is_no_message() {
        for bytes in [&[][..], &[1], &[0; 64], &[255; 64]] {
            assert_eq!(Messages(bytes).count(), 0);
        }
        let mut two = vec![0; 40];
        two[..4].copy_from_slice(&18_u32.to_ne_bytes());
        two[20..24].copy_from_slice(&20_u32.to_ne_bytes());
        assert_eq!(Messages(&two).count(), 2);
    }

    #[test]
    fn the_kernel_answers() {
        look().expect("the kernel's answer");
        drain(&changes().expect("a socket")).expect("nothing to read");
    }
}
