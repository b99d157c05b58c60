//! A client as real ones are: it asks again when no answer comes, keeps its allocation, its
//! permissions and channels alive, and starts anew where it lost them.

use std::collections::VecDeque;
use std::net::SocketAddr;
use std::time::Duration;

use vizard_proto::address::FiveTuple;
use vizard_proto::auth::ticket::Ticket;
use vizard_proto::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
use vizard_proto::time::Timestamp;

use super::model::{Ask, Issued, Request};
use testkit::Phone;
use testkit::client::compose;

/// Longer ones would lose what lives for five minutes.
const UPKEEP: Duration = Duration::from_secs(240);
/// As aioice and werift do it, who renew channels and no permission.
const UPKEEP_OF_CHANNELS: Duration = Duration::from_secs(500);
const FIRST_WAIT: Duration = Duration::from_millis(500);
const MOST_TRIES: u32 = 6;

pub(crate) struct Agent {
    pub(crate) phone: Phone,
    pub(crate) ticket: Ticket,
    pub(crate) state: State,
    /// The mask address of its allocation.
    pub(crate) mask: Option<SocketAddr>,
    pub(crate) peers: Vec<Peer>,
    habits: Habits,
    id: u8,
    nonce: Option<Issued>,
    queue: VecDeque<Ask>,
    waiting: Option<Waiting>,
    next_channel: u16,
    upkeep_at: Timestamp,
    retry_at: Timestamp,
    transactions: u32,
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    Awake,
    /// Sends and hears nothing.
    AsleepUntil(Timestamp),
    Gone,
}

/// What kind of client it is.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Habits {
    pub(crate) binds_channels: bool,
    /// Asks for no permission, since each channel brings one; others renew all of theirs in one
    /// request.
    pub(crate) only_channels: bool,
    /// Asks for a mask address of IPv6.
    pub(crate) v6: bool,
    pub(crate) lifetime: u32,
}

/// Another party's device, as signalling introduced it.
pub(crate) struct Peer {
    id: u8,
    mask: SocketAddr,
    channel: u16,
    permitted: bool,
    bound: bool,
}

struct Waiting {
    request: Request,
    bytes: Vec<u8>,
    tries: u32,
    again_at: Timestamp,
}

/// A packet and what it means.
#[derive(Clone)]
pub(crate) struct Packet {
    pub(crate) bytes: Vec<u8>,
    pub(crate) meaning: Meaning,
}

#[derive(Clone)]
pub(crate) enum Meaning {
    Request(Request),
    Send(SocketAddr, Vec<u8>),
    OnChannel(u16, Vec<u8>),
}

/// What a packet told the agent.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Heard {
    Nothing,
    /// It has a mask address, which the others should know.
    Mask(SocketAddr),
    /// Its 5-tuple is spoilt: it needs another socket.
    NeedsSocket,
    /// The words of the agent with this id.
    Words(u8),
}

impl Agent {
    pub(crate) fn new(id: u8, tuple: FiveTuple, ticket: Ticket, habits: Habits) -> Self {
        Self {
            phone: Phone::new(tuple, &ticket),
            ticket,
            state: State::Awake,
            mask: None,
            peers: Vec::new(),
            habits,
            id,
            nonce: None,
            queue: VecDeque::new(),
            waiting: None,
            next_channel: 0x4000 + u16::from(id) * 0x100,
            upkeep_at: Timestamp::ZERO,
            retry_at: Timestamp::ZERO,
            transactions: 0,
        }
    }

    /// Whether it is in the middle of something.
    pub(crate) fn is_busy(&self) -> bool {
        self.waiting.is_some() || !self.queue.is_empty()
    }

    /// Signalling: that is where the other can be reached from now on.
    pub(crate) fn meet(&mut self, id: u8, mask: SocketAddr) {
        if self.peers.iter().any(|peer| peer.mask == mask) {
            return;
        }
        self.peers.retain(|peer| peer.id != id);
        self.next_channel += 1;
        self.peers.push(Peer {
            id,
            mask,
            channel: self.next_channel,
            permitted: false,
            bound: false,
        });
        if self.mask.is_some() {
            if !self.habits.only_channels {
                self.queue.push_back(Ask::Permit(vec![mask]));
            }
            self.bind(self.peers.len() - 1);
        }
    }

    /// On a new socket everything starts over.
    pub(crate) fn start_over(&mut self, tuple: FiveTuple) {
        self.phone.tuple = tuple;
        self.lose_allocation();
    }

    /// The NAT gave it another address, which it does not notice by itself.
    pub(crate) fn is_moved(&mut self, tuple: FiveTuple) {
        self.phone.tuple = tuple;
    }

    /// The last packet: its allocation is to be deleted.
    pub(crate) fn farewell(&mut self) -> Packet {
        self.state = State::Gone;
        let request = self.request(Ask::Refresh(0));
        self.packet(request)
    }

    /// What it sends when it is given the time. `talks` is whether it has something to say.
    pub(crate) fn tick(&mut self, now: Timestamp, talks: Option<Vec<u8>>) -> Vec<Packet> {
        if let State::AsleepUntil(until) = self.state
            && now >= until
        {
            self.state = State::Awake;
        }
        if self.state != State::Awake {
            return Vec::new();
        }
        let mut packets: Vec<Packet> = self.ask(now).into_iter().collect();
        if let Some(words) = talks.filter(|_| self.mask.is_some()) {
            packets.extend(
                self.peers
                    .iter()
                    .filter_map(|peer| peer.say(&self.phone, &words)),
            );
        }
        packets
    }

    fn ask(&mut self, now: Timestamp) -> Option<Packet> {
        if self.waiting.is_some() {
            return self.ask_again(now);
        }
        if self.queue.is_empty() && now >= self.retry_at {
            if self.mask.is_none() {
                self.queue.push_back(Ask::Allocate(self.habits.lifetime));
            } else if now >= self.upkeep_at {
                self.keep_up(now);
            }
        }
        let ask = self.queue.pop_front()?;
        if self.mask.is_none() && !matches!(ask, Ask::Allocate(_)) {
            return None;
        }
        let request = self.request(ask);
        Some(self.begin(now, request))
    }

    fn ask_again(&mut self, now: Timestamp) -> Option<Packet> {
        let waiting = self.waiting.as_mut()?;
        if now < waiting.again_at {
            return None;
        }
        if waiting.tries < MOST_TRIES {
            waiting.tries += 1;
            waiting.again_at = now + FIRST_WAIT * 2_u32.pow(waiting.tries);
            return Some(Packet {
                bytes: waiting.bytes.clone(),
                meaning: Meaning::Request(waiting.request.clone()),
            });
        }
        let given_up = self.waiting.take()?;
        self.queue.push_back(given_up.request.ask);
        None
    }

    fn keep_up(&mut self, now: Timestamp) {
        let only_channels = self.habits.only_channels;
        self.upkeep_at = now
            + if only_channels {
                UPKEEP_OF_CHANNELS
            } else {
                UPKEEP
            };
        self.queue.push_back(Ask::Refresh(self.habits.lifetime));
        if !self.peers.is_empty() && !only_channels {
            let masks = self.peers.iter().map(|peer| peer.mask).collect();
            self.queue.push_back(Ask::Permit(masks));
        }
        for index in 0..self.peers.len() {
            self.bind(index);
        }
    }

    fn bind(&mut self, index: usize) {
        if self.habits.binds_channels {
            let peer = &self.peers[index];
            self.queue.push_back(Ask::Bind(peer.channel, peer.mask));
        }
    }

    fn begin(&mut self, now: Timestamp, request: Request) -> Packet {
        let packet = self.packet(request.clone());
        self.waiting = Some(Waiting {
            request,
            bytes: packet.bytes.clone(),
            tries: 1,
            again_at: now + FIRST_WAIT,
        });
        packet
    }

    fn request(&mut self, ask: Ask) -> Request {
        self.transactions += 1;
        let mut transaction = [self.id; 12];
        transaction[8..].copy_from_slice(&self.transactions.to_be_bytes());
        Request {
            ticket: self.ticket,
            transaction: TransactionId(transaction),
            nonce: self.nonce,
            ask,
        }
    }

    fn packet(&self, request: Request) -> Packet {
        let method = match request.ask {
            Ask::Allocate(_) => Method::ALLOCATE,
            Ask::Refresh(_) => Method::REFRESH,
            Ask::Permit(_) => Method::CREATE_PERMISSION,
            Ask::Bind(..) => Method::CHANNEL_BIND,
        };
        let put = |writer: &mut Writer<'_>| self.put(writer, &request.ask);
        let bytes = if request.nonce.is_some() {
            self.phone.request(method, request.transaction, put)
        } else {
            compose(Class::Request, method, request.transaction, put)
        };
        Packet {
            bytes,
            meaning: Meaning::Request(request),
        }
    }

    fn put(&self, writer: &mut Writer<'_>, ask: &Ask) {
        match ask {
            Ask::Allocate(lifetime) => {
                writer.u8(AttributeType::REQUESTED_TRANSPORT, 17);
                writer.u32(AttributeType::LIFETIME, *lifetime);
                if self.habits.v6 {
                    writer.u8(AttributeType::REQUESTED_ADDRESS_FAMILY, 2);
                }
            }
            Ask::Refresh(lifetime) => writer.u32(AttributeType::LIFETIME, *lifetime),
            Ask::Permit(peers) => {
                for peer in peers {
                    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
                }
            }
            Ask::Bind(number, peer) => {
                writer.u16(AttributeType::CHANNEL_NUMBER, *number);
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, *peer);
            }
        }
    }

    /// A packet came in that the server sent at `sent`, in Unix seconds by its own clock.
    pub(crate) fn hear(&mut self, now: Timestamp, sent: u64, bytes: &[u8]) -> Heard {
        if self.state != State::Awake {
            return Heard::Nothing;
        }
        if let Some(message) = vizard_proto::channel_data::parse_datagram(bytes) {
            return Heard::words(&bytes[message.payload]);
        }
        let message = Message::parse(bytes).expect("the server sends nothing malformed");
        if let Some(data) = message.data() {
            return Heard::words(&bytes[data]);
        }
        let expected = |waiting: &Waiting| waiting.request.transaction == message.transaction_id();
        match self.waiting.take_if(|waiting| expected(waiting)) {
            Some(waiting) => match message.nonce().expect("well-formed") {
                Some(nonce) => {
                    self.be_challenged(sent, waiting.request, nonce, testkit::code(bytes))
                }
                None => self.be_answered(now, waiting.request, &message),
            },
            None => Heard::Nothing,
        }
    }

    fn be_challenged(&mut self, sent: u64, request: Request, nonce: &[u8], code: u16) -> Heard {
        self.phone.client.nonce = nonce.to_vec();
        self.nonce = Some(Issued {
            to: self.phone.tuple,
            at: sent,
        });
        if request.nonce.is_some() && code == 401 {
            // Its ticket is dead.
            self.state = State::Gone;
        }
        self.queue.push_front(request.ask);
        Heard::Nothing
    }

    fn be_answered(&mut self, now: Timestamp, request: Request, answer: &Message<'_>) -> Heard {
        match (testkit::code(answer.as_bytes()), request.ask) {
            (200, ask) => return self.succeed(now, &ask, answer),
            (437, Ask::Allocate(_)) | (441, _) => return Heard::NeedsSocket,
            (437, _) => self.lose_allocation(),
            (443, Ask::Permit(peers)) if peers.len() > 1 => {
                let single = peers.into_iter().map(|peer| Ask::Permit(vec![peer]));
                self.queue.extend(single);
            }
            (443, Ask::Permit(peers)) => self.peers.retain(|peer| !peers.contains(&peer.mask)),
            (443, Ask::Bind(_, mask)) => self.peers.retain(|peer| peer.mask != mask),
            (400, Ask::Bind(_, mask)) => self.bind_another(mask),
            (486, Ask::Allocate(_)) => self.retry_at = now + Duration::from_secs(30),
            (code, ask) => panic!("{code} to {ask:?}"),
        }
        Heard::Nothing
    }

    fn succeed(&mut self, now: Timestamp, ask: &Ask, answer: &Message<'_>) -> Heard {
        match ask {
            Ask::Allocate(_) => {
                let mask = answer.xor_relayed_address().expect("well-formed");
                self.mask = mask;
                self.keep_up(now);
                return mask.map_or(Heard::Nothing, Heard::Mask);
            }
            Ask::Refresh(_) => {}
            Ask::Permit(masks) => {
                for peer in &mut self.peers {
                    peer.permitted |= masks.contains(&peer.mask);
                }
            }
            Ask::Bind(number, mask) => {
                for peer in &mut self.peers {
                    if peer.mask == *mask && peer.channel == *number {
                        (peer.bound, peer.permitted) = (true, true);
                    }
                }
            }
        }
        Heard::Nothing
    }

    fn bind_another(&mut self, mask: SocketAddr) {
        self.next_channel += 1;
        if let Some(peer) = self.peers.iter_mut().find(|peer| peer.mask == mask) {
            peer.channel = self.next_channel;
            self.queue.push_back(Ask::Bind(peer.channel, mask));
        }
    }

    fn lose_allocation(&mut self) {
        self.mask = None;
        self.waiting = None;
        self.queue.clear();
        for peer in &mut self.peers {
            (peer.permitted, peer.bound) = (false, false);
        }
    }
}

impl Peer {
    fn say(&self, phone: &Phone, words: &[u8]) -> Option<Packet> {
        if self.bound {
            let mut bytes = testkit::channel_data(self.channel, words);
            if phone.tuple.transport.is_stream() {
                bytes.resize(bytes.len().next_multiple_of(4), 0);
            }
            let meaning = Meaning::OnChannel(self.channel, words.to_vec());
            return Some(Packet { bytes, meaning });
        }
        if !self.permitted {
            return None;
        }
        let transaction = TransactionId([9; 12]);
        let bytes = compose(Class::Indication, Method::SEND, transaction, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, self.mask);
            writer.bytes(AttributeType::DATA, words);
        });
        let meaning = Meaning::Send(self.mask, words.to_vec());
        Some(Packet { bytes, meaning })
    }
}

impl Heard {
    fn words(words: &[u8]) -> Self {
        words.first().map_or(Self::Nothing, |id| Self::Words(*id))
    }
}
