//! A client with a real socket.

use std::collections::VecDeque;
use std::io::{ErrorKind, Read, Write};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr, TcpStream, UdpSocket};
use std::time::{Duration, Instant};

use socket2::{Domain, Socket, Type};
use vizard_proto::auth::ticket::Credential;
use vizard_proto::channel_data::{Kind, kind, parse_datagram};
use vizard_proto::framing::{Frame, next_frame};
use vizard_proto::stun::{Class, Message, Method, TransactionId, Writer};

use crate::client::{
    TurnClient, Verdict, channel, channel_data, compose, lifetime, over_udp, peer,
};

/// How long anything may take before a test gives up.
pub const PATIENCE: Duration = Duration::from_secs(20);

/// How long a UDP request waits for its answer before it is sent again.
const RETRY: Duration = Duration::from_millis(500);

/// What a caller received from the other party.
#[derive(Debug, PartialEq, Eq)]
pub enum Heard {
    /// `ChannelData`.
    Channel(u16, Vec<u8>),
    /// A Data indication.
    Data(SocketAddr, Vec<u8>),
}

pub struct Caller {
    wire: Wire,
    client: TurnClient,
    waiting: VecDeque<Vec<u8>>,
    mask: Option<SocketAddr>,
}

enum Wire {
    Udp(UdpSocket),
    Tcp(TcpStream, Vec<u8>),
}

impl Caller {
    pub fn udp(server: SocketAddr, credential: Credential) -> Self {
        Self::udp_from(any_address(server), server, credential)
    }

    pub fn tcp(server: SocketAddr, credential: Credential) -> Self {
        Self::tcp_from(any_address(server), server, credential)
    }

    /// A caller at an address of this machine.
    pub fn udp_from(source: IpAddr, server: SocketAddr, credential: Credential) -> Self {
        let socket = UdpSocket::bind((source, 0)).expect("a free port");
        // Connected, so that only what comes from the very address that was asked is received.
        socket.connect(server).expect("the server is reachable");
        Self::new(Wire::Udp(socket), credential)
    }

    /// A caller with this connected socket.
    pub fn udp_with(socket: UdpSocket, credential: Credential) -> Self {
        Self::new(Wire::Udp(socket), credential)
    }

    /// A caller at an address of this machine.
    pub fn tcp_from(source: IpAddr, server: SocketAddr, credential: Credential) -> Self {
        let socket = Socket::new(Domain::for_address(server), Type::STREAM, None);
        let socket = socket.expect("a socket");
        let from = SocketAddr::new(source, 0);
        socket.bind(&from.into()).expect("a free port");
        socket
            .connect(&server.into())
            .expect("the listener accepts");
        let stream = TcpStream::from(socket);
        stream.set_nodelay(true).expect("a TCP socket");
        Self::new(Wire::Tcp(stream, Vec::new()), credential)
    }

    fn new(wire: Wire, credential: Credential) -> Self {
        Self {
            wire,
            client: TurnClient::with_sha256(credential),
            waiting: VecDeque::new(),
            mask: None,
        }
    }

    /// Makes an allocation.
    pub fn allocate(&mut self) -> SocketAddr {
        self.try_allocate().expect("an allocation")
    }

    /// Makes an allocation, or says with which code it was refused.
    pub fn try_allocate(&mut self) -> Result<SocketAddr, u16> {
        let answer = self.request(Method::ALLOCATE, over_udp)?;
        let mask = message(&answer)
            .xor_relayed_address()
            .ok()
            .flatten()
            .expect("an address");
        self.mask = Some(mask);
        Ok(mask)
    }

    /// Its mask address.
    pub fn mask(&self) -> SocketAddr {
        self.mask.expect("has allocated")
    }

    /// Refreshes the allocation for so many seconds.
    pub fn refresh(&mut self, secs: u32) -> Result<(), u16> {
        self.request(Method::REFRESH, lifetime(secs)).map(drop)
    }

    pub fn permit(&mut self, mask: SocketAddr) -> Result<(), u16> {
        self.request(Method::CREATE_PERMISSION, peer(mask))
            .map(drop)
    }

    pub fn bind(&mut self, number: u16, mask: SocketAddr) -> Result<(), u16> {
        self.request(Method::CHANNEL_BIND, channel(number, mask))
            .map(drop)
    }

    /// Plain STUN Binding; the answer's error code or 0.
    pub fn binding(&mut self) -> u16 {
        let id = self.client.next_id();
        let request = compose(Class::Request, Method::BINDING, id, |_| {});
        let answer = self.exchange(&request, id);
        message(&answer).error_code().ok().flatten().unwrap_or(0)
    }

    /// Sends media on a channel.
    pub fn say(&mut self, channel: u16, payload: &[u8]) {
        let mut bytes = channel_data(channel, payload);
        if matches!(self.wire, Wire::Tcp(..)) {
            // Not zero: padding must not be passed on.
            bytes.resize(bytes.len().next_multiple_of(4), 0xEE);
        }
        self.send(&bytes);
    }

    /// Sends media in a Send indication.
    pub fn indicate(&mut self, peer: SocketAddr, payload: &[u8]) {
        let bytes = TurnClient::send(self.client.next_id(), peer, payload);
        self.send(&bytes);
    }

    /// The next media from the other party.
    pub fn hear(&mut self) -> Heard {
        let bytes = self
            .waiting
            .pop_front()
            .or_else(|| self.receive(Instant::now() + PATIENCE))
            .expect("media within the time allowed");
        understand(&bytes)
    }

    /// The next media, if any comes before `patience` is over.
    pub fn hear_within(&mut self, patience: Duration) -> Option<Heard> {
        let bytes = self.waiting.pop_front();
        let bytes = bytes.or_else(|| self.receive(Instant::now() + patience))?;
        Some(understand(&bytes))
    }

    /// What has come from the other party and has not been heard.
    pub fn unheard(&mut self) -> Vec<Heard> {
        self.waiting
            .drain(..)
            .map(|bytes| understand(&bytes))
            .collect()
    }

    /// Sends bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) {
        match &mut self.wire {
            Wire::Udp(socket) => socket.send(bytes).map(drop).expect("sent"),
            Wire::Tcp(stream, _) => stream.write_all(bytes).expect("sent"),
        }
    }

    /// Whether the node closes the connection.
    pub fn is_closed_by_node(&mut self) -> bool {
        let Wire::Tcp(stream, _) = &mut self.wire else {
            return false;
        };
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a positive time");
        let mut buffer = [0; 2048];
        loop {
            match stream.read(&mut buffer) {
                Ok(0) => return true,
                Ok(_) => {}
                Err(error) => return error.kind() == ErrorKind::ConnectionReset,
            }
        }
    }

    pub fn udp_socket(&self) -> &UdpSocket {
        match &self.wire {
            Wire::Udp(socket) => socket,
            Wire::Tcp(..) => panic!("this caller speaks TCP"),
        }
    }

    pub fn tcp_stream(&self) -> Option<&TcpStream> {
        match &self.wire {
            Wire::Udp(_) => None,
            Wire::Tcp(stream, _) => Some(stream),
        }
    }

    /// An authenticated request; the answer, or its error code.
    pub fn request(
        &mut self,
        method: Method,
        attributes: impl Fn(&mut Writer<'_>),
    ) -> Result<Vec<u8>, u16> {
        for _ in 0..3 {
            let id = self.client.next_id();
            let request = self.client.request(method, id, &attributes);
            let answer = self.exchange(&request, id);
            match self.client.hear(&answer) {
                Verdict::Done => return Ok(answer),
                Verdict::Again => {}
                Verdict::Refused(code) => return Err(code),
            }
        }
        Err(438)
    }

    /// Sends a request until it is answered. What else comes in waits to be heard.
    fn exchange(&mut self, request: &[u8], id: TransactionId) -> Vec<u8> {
        let start = Instant::now();
        self.send(request);
        while start.elapsed() < PATIENCE {
            let Some(bytes) = self.receive(Instant::now() + RETRY) else {
                if matches!(self.wire, Wire::Udp(_)) {
                    self.send(request);
                }
                continue;
            };
            match Message::parse(&bytes) {
                Ok(answer) if answer.transaction_id() == id => return bytes,
                Ok(other) if other.class() != Class::Indication => {}
                _ => self.waiting.push_back(bytes),
            }
        }
        panic!("no answer");
    }

    /// The next message on the wire, whatever it is.
    pub fn receive(&mut self, deadline: Instant) -> Option<Vec<u8>> {
        match &mut self.wire {
            Wire::Udp(socket) => receive_datagram(socket, deadline),
            Wire::Tcp(stream, pending) => receive_framed(stream, pending, deadline),
        }
    }
}

fn any_address(server: SocketAddr) -> IpAddr {
    match server {
        SocketAddr::V4(_) => Ipv4Addr::UNSPECIFIED.into(),
        SocketAddr::V6(_) => Ipv6Addr::UNSPECIFIED.into(),
    }
}

fn receive_datagram(socket: &UdpSocket, deadline: Instant) -> Option<Vec<u8>> {
    let mut buffer = [0; 8192];
    loop {
        socket
            .set_read_timeout(Some(time_left(deadline)?))
            .expect("a positive time");
        if let Ok(len) = socket.recv(&mut buffer) {
            return Some(buffer[..len].to_vec());
        }
    }
}

fn receive_framed(
    stream: &mut TcpStream,
    pending: &mut Vec<u8>,
    deadline: Instant,
) -> Option<Vec<u8>> {
    loop {
        match next_frame(pending, 1 << 16) {
            Frame::Complete { message, total } => {
                let padding = &pending[message..total];
                assert!(
                    padding.iter().all(|byte| *byte == 0),
                    "padding is ours, and zero"
                );
                let bytes = pending[..message].to_vec();
                pending.drain(..total);
                return Some(bytes);
            }
            Frame::TooLong { .. } | Frame::Invalid => panic!("the stream has lost its rhythm"),
            Frame::Incomplete { .. } => {}
        }
        stream
            .set_read_timeout(Some(time_left(deadline)?))
            .expect("a positive time");
        let mut buffer = [0; 4096];
        match stream.read(&mut buffer) {
            Ok(0) => return None,
            Ok(len) => pending.extend(&buffer[..len]),
            Err(_) => {}
        }
    }
}

fn time_left(deadline: Instant) -> Option<Duration> {
    deadline
        .checked_duration_since(Instant::now())
        .filter(|left| !left.is_zero())
}

fn message(bytes: &[u8]) -> Message<'_> {
    Message::parse(bytes).expect("well-formed STUN")
}

fn understand(bytes: &[u8]) -> Heard {
    if kind(bytes[0]) == Kind::ChannelData {
        let data = parse_datagram(bytes).expect("well-formed ChannelData");
        return Heard::Channel(data.channel.get(), bytes[data.payload].to_vec());
    }
    let data = message(bytes);
    assert_eq!(
        (data.class(), data.method()),
        (Class::Indication, Method::DATA)
    );
    let peer = data.xor_peer_address().ok().flatten().expect("a peer");
    Heard::Data(peer, bytes[data.data().expect("data")].to_vec())
}
