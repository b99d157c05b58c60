//! The floor: what a packet costs if nothing is done with it but to receive it, to look up where it
//! goes, and to send it there. It speaks just enough TURN for the generator to set it up, and
//! believes everybody.

use std::collections::HashMap;
use std::io;
use std::net::{Ipv4Addr, SocketAddr, SocketAddrV4, UdpSocket};
use std::os::fd::AsFd;

use nix::poll::{PollFd, PollFlags, PollTimeout, poll};
use vizard::bench::sockets::mmsg::{Inbox, Outbox, Route};
use vizard_proto::stun::{AttributeType, Class, Message, Method, Writer};

const LARGEST: usize = 2048;

/// A client, and one of its channels.
type End = (SocketAddr, [u8; 2]);

struct Forwarder {
    /// Where what comes from an end goes.
    table: HashMap<End, End, ahash::RandomState>,
    clients: Vec<SocketAddr>,
    numbers: HashMap<SocketAddr, usize>,
    /// Which channel a client has bound to another.
    bound: HashMap<(usize, usize), [u8; 2]>,
}

/// Runs at `address` until it is killed.
pub(crate) fn run(address: &str) -> io::Result<()> {
    let socket = UdpSocket::bind(address)?;
    socket.set_nonblocking(true)?;
    let buffer = socket2::SockRef::from(&socket);
    buffer.set_recv_buffer_size(4 << 20)?;
    buffer.set_send_buffer_size(4 << 20)?;
    let (mut inbox, mut outbox) = (Inbox::new(LARGEST), Outbox::new(LARGEST));
    let mut forwarder = Forwarder::new();
    loop {
        let count = match inbox.receive(socket.as_fd()) {
            Ok(count) => count,
            Err(error) if error.kind() == io::ErrorKind::WouldBlock => {
                let mut watched = [PollFd::new(socket.as_fd(), PollFlags::POLLIN)];
                poll(&mut watched, PollTimeout::NONE)?;
                continue;
            }
            Err(error) => return Err(error),
        };
        for index in 0..count {
            let datagram = inbox.datagram(index);
            if let Some(from) = datagram.from {
                forwarder.handle(from, datagram.bytes, &mut outbox);
            }
        }
        outbox.send(socket.as_fd());
    }
}

impl Forwarder {
    fn new() -> Self {
        Self {
            // Nobody attacks it: any seeds will do.
            table: HashMap::with_hasher(ahash::RandomState::with_seeds(1, 2, 3, 4)),
            clients: Vec::new(),
            numbers: HashMap::new(),
            bound: HashMap::new(),
        }
    }

    fn handle(&mut self, from: SocketAddr, packet: &mut [u8], outbox: &mut Outbox) {
        let Some(channel) = packet.first_chunk::<2>().copied() else {
            return;
        };
        if channel[0] >> 6 != 1 {
            self.answer(from, packet, outbox);
        } else if let Some((to, channel)) = self.table.get(&(from, channel)) {
            packet[..2].copy_from_slice(channel);
            push(outbox, *to, packet);
        }
    }

    fn answer(&mut self, from: SocketAddr, packet: &[u8], outbox: &mut Outbox) {
        let Ok(message) = Message::parse(packet) else {
            return;
        };
        if message.class() != Class::Request {
            return;
        }
        let client = self.number(from);
        if message.method() == Method::CHANNEL_BIND {
            let channel = message.channel_number().ok().flatten();
            let peer = message
                .xor_peer_address()
                .ok()
                .flatten()
                .and_then(client_of);
            let known = peer.filter(|peer| *peer < self.clients.len());
            if let (Some(channel), Some(peer)) = (channel, known) {
                self.bind(client, peer, channel);
            }
        }
        let mut out = [0; 128];
        let id = message.transaction_id();
        let mut writer = Writer::new(&mut out, Class::Success, message.method(), id);
        writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, mask(client));
        let len = writer.finish().unwrap_or(0);
        push(outbox, from, &out[..len]);
    }

    fn number(&mut self, client: SocketAddr) -> usize {
        *self.numbers.entry(client).or_insert_with(|| {
            self.clients.push(client);
            self.clients.len() - 1
        })
    }

    fn bind(&mut self, one: usize, other: usize, channel: u16) {
        let channel = channel.to_be_bytes();
        self.bound.insert((one, other), channel);
        if let Some(back) = self.bound.get(&(other, one)) {
            let (one, other) = (self.clients[one], self.clients[other]);
            self.table.insert((one, channel), (other, *back));
            self.table.insert((other, *back), (one, channel));
        }
    }
}

/// The relayed address of a client: its number, as an address.
fn mask(client: usize) -> SocketAddr {
    let [a, b, c, d] = u32::try_from(client).unwrap_or(0).to_be_bytes();
    let port = u16::from_be_bytes([c, d]);
    SocketAddrV4::new(Ipv4Addr::new(198, 18, a, b), port).into()
}

/// The client with that relayed address.
fn client_of(mask: SocketAddr) -> Option<usize> {
    let SocketAddr::V4(mask) = mask else {
        return None;
    };
    let ([_, _, a, b], [c, d]) = (mask.ip().octets(), mask.port().to_be_bytes());
    usize::try_from(u32::from_be_bytes([a, b, c, d])).ok()
}

fn push(outbox: &mut Outbox, to: SocketAddr, packet: &[u8]) {
    let route = Route {
        to: Some(to),
        ..Route::default()
    };
    outbox.push(route, packet.len(), |room| room.copy_from_slice(packet));
}
