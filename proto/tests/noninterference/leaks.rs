//! Servers that tell something about B's address, each in its own way. The check must catch every
//! one of them, or it proves nothing about the real server.

use std::collections::BTreeMap;
use std::net::{IpAddr, SocketAddr};

use vizard_proto::address::{Client, Transport};
use vizard_proto::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
use vizard_proto::time::Timestamp;
use vizard_proto::usage::DropReason;

use super::Judge;
use testkit::Phone;
use testkit::client::compose;
use testkit::stage::places::tuple;
use testkit::stage::{Contrast, Reaction, Record, Server, Subject};

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Leak {
    /// A Data indication names the sender's true address.
    DataNamesSender,
    /// The answer to CreatePermission carries the peer's true address.
    AnswerNamesPeer,
    /// Which mask address is next depends on the address of who asked before.
    MaskByAddress,
    /// A deny list is applied to the peer's true address.
    DeniesByAddress,
    /// Large packets from IPv6 clients are lost.
    LosesByFamily,
    /// Prefixes share one budget of unauthenticated answers by their last bits.
    SharedBudget,
    /// Packets from some ports are late.
    LateByPort,
    /// Transaction ids are made of the sender's address.
    TransactionByAddress,
    /// XOR-MAPPED-ADDRESS has the family of the client's own address, which clients pass on.
    MappedByFamily,
    /// What does not fit the path of a receiver on IPv6 is lost.
    LosesByReceiversFamily,
    /// Large packets to streams are lost.
    LosesByTransport,
    /// A permission is had only for the IP address of somebody who is there.
    PermissionByPresence,
    /// A channel is had only to the exact address of somebody who is there.
    ChannelByPresence,
}

impl Leak {
    pub(crate) const ALL: [Self; 13] = [
        Self::DataNamesSender,
        Self::AnswerNamesPeer,
        Self::MaskByAddress,
        Self::DeniesByAddress,
        Self::LosesByFamily,
        Self::SharedBudget,
        Self::LateByPort,
        Self::TransactionByAddress,
        Self::MappedByFamily,
        Self::LosesByReceiversFamily,
        Self::LosesByTransport,
        Self::PermissionByPresence,
        Self::ChannelByPresence,
    ];

    /// What must differ between two runs so that it shows, and who can see it. What B is told of
    /// itself B's own client passes on, and what B is not sent the other party can find out.
    pub(crate) fn shows_in(self) -> (Contrast, Judge) {
        match self {
            Self::MappedByFamily | Self::LosesByReceiversFamily => {
                (Contrast::Places, Record::divergence)
            }
            Self::LosesByTransport => (Contrast::Transports, Record::divergence),
            Self::PermissionByPresence | Self::ChannelByPresence => {
                (Contrast::Presence, Record::difference_of_codes)
            }
            _ => (Contrast::Places, Record::leak),
        }
    }
}

pub(crate) struct Leaky {
    server: Server,
    leak: Leak,
    /// Who is behind a mask address.
    owners: BTreeMap<SocketAddr, Client>,
    late: Vec<(Client, Vec<u8>)>,
    challenges: [u8; 8],
}

impl Leaky {
    pub(crate) fn new(server: Server, leak: Leak) -> Self {
        Self {
            server,
            leak,
            owners: BTreeMap::new(),
            late: Vec::new(),
            challenges: [0; 8],
        }
    }

    fn leak(&mut self, from: &Client, bytes: &[u8], honest: Reaction) -> Reaction {
        match (self.leak, honest) {
            (
                Leak::DataNamesSender | Leak::TransactionByAddress,
                Reaction::Arrives(to, wire, path),
            ) => Reaction::Arrives(to, self.taint(from, wire), path),
            (Leak::LosesByFamily, Reaction::Arrives(_, wire, _))
                if from.tuple.remote.is_ipv6() && wire.len() > 1000 =>
            {
                Reaction::Dropped(DropReason::NoRoom)
            }
            (Leak::LosesByReceiversFamily, Reaction::Arrives(to, wire, _))
                if to.tuple.remote.is_ipv6() && wire.len() > 1300 =>
            {
                Reaction::Dropped(DropReason::NoRoom)
            }
            (Leak::LosesByTransport, Reaction::Arrives(to, wire, _))
                if to.tuple.transport.is_stream() && wire.len() > 2044 =>
            {
                Reaction::Dropped(DropReason::NoRoom)
            }
            (Leak::MappedByFamily, Reaction::Answer(answer)) => {
                Reaction::Answer(map_by_family(from, &answer).unwrap_or(answer))
            }
            (Leak::PermissionByPresence | Leak::ChannelByPresence, Reaction::Answer(answer)) => {
                Reaction::Answer(self.miss(bytes, &answer).unwrap_or(answer))
            }
            (Leak::LateByPort, Reaction::Arrives(to, wire, _))
                if from.tuple.remote.port().is_multiple_of(2) =>
            {
                self.late.push((to, wire));
                Reaction::Dropped(DropReason::NoRoom)
            }
            (Leak::AnswerNamesPeer | Leak::DeniesByAddress, Reaction::Answer(answer)) => {
                Reaction::Answer(self.judge(bytes, &answer).unwrap_or(answer))
            }
            (Leak::SharedBudget, Reaction::Answer(answer)) => self.ration(from, answer),
            (_, honest) => honest,
        }
    }

    /// A Data indication with the sender's address in it.
    fn taint(&self, from: &Client, wire: Vec<u8>) -> Vec<u8> {
        let Ok(message) = Message::parse(&wire) else {
            return wire;
        };
        let (Some(data), Ok(Some(mask))) = (message.data(), message.xor_peer_address()) else {
            return wire;
        };
        let remote = from.tuple.remote;
        let (peer, id) = match self.leak {
            Leak::DataNamesSender => (remote, message.transaction_id()),
            _ => (mask, TransactionId([last_byte(remote.ip()); 12])),
        };
        compose(Class::Indication, Method::DATA, id, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.bytes(AttributeType::DATA, &wire[data]);
        })
    }

    /// Another answer to a CreatePermission for somebody who can be found out.
    fn judge(&mut self, request: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
        let (request, answer) = (Message::parse(request).ok()?, Message::parse(answer).ok()?);
        if answer.class() != Class::Success || request.method() != Method::CREATE_PERMISSION {
            return None;
        }
        let peer = request.xor_peer_address().ok()??;
        let truth = self.owners.get(&peer)?.tuple.remote;
        let id = request.transaction_id();
        match self.leak {
            Leak::AnswerNamesPeer => {
                Some(compose(Class::Success, request.method(), id, |writer| {
                    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, truth);
                }))
            }
            _ if last_byte(truth.ip()) < 128 => {
                Some(compose(Class::Error, request.method(), id, |writer| {
                    writer.error_code(403);
                }))
            }
            _ => None,
        }
    }

    /// 403 where nobody is at the peer's address.
    fn miss(&self, request: &[u8], answer: &[u8]) -> Option<Vec<u8>> {
        let (request, answer) = (Message::parse(request).ok()?, Message::parse(answer).ok()?);
        let peer = request.xor_peer_address().ok()??;
        let by_channel = self.leak == Leak::ChannelByPresence;
        let method = if by_channel {
            Method::CHANNEL_BIND
        } else {
            Method::CREATE_PERMISSION
        };
        let mut there = self.owners.keys();
        let held = there.any(|mask| mask.ip() == peer.ip() && !(by_channel && *mask != peer));
        if held || answer.class() != Class::Success || request.method() != method {
            return None;
        }
        let id = request.transaction_id();
        Some(compose(Class::Error, method, id, |writer| {
            writer.error_code(403);
        }))
    }

    fn ration(&mut self, from: &Client, answer: Vec<u8>) -> Reaction {
        let unsigned =
            Message::parse(&answer).is_ok_and(|message| message.has(AttributeType::NONCE));
        let used = &mut self.challenges[usize::from(last_byte(from.tuple.remote.ip()) % 8)];
        *used += u8::from(unsigned);
        if unsigned && *used > 2 {
            return Reaction::Dropped(DropReason::AnswerBudget);
        }
        Reaction::Answer(answer)
    }

    /// Makes an allocation and deletes it, which uses up a random number.
    fn spend(&mut self, now: Timestamp) {
        let ghost = SocketAddr::from(([203, 0, 113, 99], 1));
        let mut phone = Phone::new(tuple(Transport::Udp, ghost), &testkit::ticket(99, 0));
        let transport = |writer: &mut Writer<'_>| writer.u8(AttributeType::REQUESTED_TRANSPORT, 17);
        let delete = |writer: &mut Writer<'_>| writer.u32(AttributeType::LIFETIME, 0);
        for (method, deletes) in [
            (Method::ALLOCATE, false),
            (Method::ALLOCATE, false),
            (Method::REFRESH, true),
        ] {
            let request = phone.request(method, TransactionId([1; 12]), |writer| {
                if deletes {
                    delete(writer);
                } else {
                    transport(writer);
                }
            });
            let client = Client {
                tuple: phone.tuple,
                worker: 0,
            };
            let Reaction::Answer(answer) = self.server.by_relay(now, client, &request) else {
                return;
            };
            let answer = Message::parse(&answer).expect("an answer");
            if let Ok(Some(nonce)) = answer.nonce() {
                phone.client.nonce = nonce.to_vec();
            }
        }
    }

    fn note_owner(&mut self, from: &Client, reaction: &Reaction) {
        let Reaction::Answer(answer) = reaction else {
            return;
        };
        let message = Message::parse(answer).expect("an answer");
        if let Ok(Some(mask)) = message.xor_relayed_address() {
            self.owners.insert(mask, *from);
        }
    }
}

impl Subject for Leaky {
    fn packet(&mut self, now: Timestamp, from: Client, bytes: &[u8]) -> Reaction {
        let honest = self.server.packet(now, from, bytes);
        self.note_owner(&from, &honest);
        if self.leak == Leak::MaskByAddress
            && matches!(honest, Reaction::Answer(_))
            && last_byte(from.tuple.remote.ip()) < 128
        {
            self.spend(now);
        }
        self.leak(&from, bytes, honest)
    }

    fn server(&mut self) -> &mut Server {
        &mut self.server
    }

    fn late(&mut self) -> Vec<(Client, Vec<u8>)> {
        std::mem::take(&mut self.late)
    }
}

/// The same answer to Allocate, for a masked client on IPv6 with another documentation address.
fn map_by_family(from: &Client, answer: &[u8]) -> Option<Vec<u8>> {
    let answer = Message::parse(answer).ok()?;
    let (mask, told) = (
        answer.xor_relayed_address().ok()??,
        answer.xor_mapped_address().ok()??,
    );
    if told == from.tuple.remote {
        return None;
    }
    let mapped = if from.tuple.remote.is_ipv6() {
        SocketAddr::from(([0x2001, 0xdb8, 0, 0, 0, 0, 0, 1], 9))
    } else {
        SocketAddr::from(([192, 0, 2, 1], 9))
    };
    let (method, id) = (answer.method(), answer.transaction_id());
    Some(compose(Class::Success, method, id, |writer| {
        writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, mask);
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, mapped);
    }))
}

fn last_byte(ip: IpAddr) -> u8 {
    match ip {
        IpAddr::V4(ip) => ip.octets()[3],
        IpAddr::V6(ip) => ip.octets()[15],
    }
}
