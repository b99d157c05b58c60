//! A TURN client without a socket or a clock: one allocation, one peer.
//!
//! One request is under way at a time. The caller sends what [`Client::poll_transmit`] writes,
//! hands in what arrives with [`Client::handle`], and looks at [`Client::state`].

use std::net::SocketAddr;
use std::sync::Arc;

use vizard_proto::auth::LongTermKey;
use vizard_proto::channel_data::ChannelNumber;
use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};

/// Nanoseconds since the run began.
pub(crate) type Nanos = u64;

/// RFC 8489 section 6.2.1: the first retransmission after 500 ms, each wait twice the last.
const FIRST_WAIT: Nanos = 500_000_000;
/// How often a request is sent before it counts as unanswered: within eight seconds.
const MOST_TRIES: u32 = 4;
/// How often a server may say that the nonce is stale before that is taken for a refusal.
const MOST_NONCES: u8 = 3;

/// What a client shows to the server.
#[derive(Clone)]
pub(crate) struct Login {
    pub(crate) username: String,
    pub(crate) password: String,
}

/// What a client asks for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Request {
    /// An allocation of the client's own address family.
    Allocate,
    /// A channel to a peer, and with it the permission.
    Bind(SocketAddr, ChannelNumber),
    /// A permission for a peer.
    Permit(SocketAddr),
    /// So many more seconds; 0 ends the allocation.
    Refresh(u32),
}

/// Why a request did not succeed.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub(crate) enum Trouble {
    /// No answer, however often it was sent.
    Silent,
    /// The server said no, with this code.
    Refused(u16),
    /// An answer that makes no sense.
    Malformed,
}

/// Where a client stands.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum State {
    /// Nothing is under way; the last request, if there was one, succeeded.
    Idle,
    /// A request is under way.
    Busy,
    /// The last request failed.
    Failed(Trouble),
}

/// What the server told a stranger.
struct Challenge {
    realm: Box<[u8]>,
    nonce: Box<[u8]>,
}

/// See the module's description.
pub(crate) struct Client {
    login: Arc<Login>,
    /// Whether requests are repeated: not over a stream.
    repeats: bool,
    transport: u8,
    family: u8,
    /// Distinguishes this client's transactions from all others'.
    seed: [u8; 8],
    transactions: u32,
    challenge: Option<Challenge>,
    key: Option<LongTermKey>,
    relayed: Option<SocketAddr>,
    pending: Option<Pending>,
    trouble: Option<Trouble>,
}

struct Pending {
    request: Request,
    id: TransactionId,
    due: Nanos,
    tries: u32,
    nonces: u8,
}

impl Client {
    /// A client that has not spoken yet. `stream`: whether it reaches the server over TCP.
    pub(crate) fn new(login: Arc<Login>, seed: [u8; 8], stream: bool, ipv6: bool) -> Self {
        Self {
            login,
            repeats: !stream,
            // An allocation is for UDP whatever the client comes over.
            transport: 17,
            family: if ipv6 { 2 } else { 1 },
            seed,
            transactions: 0,
            challenge: None,
            key: None,
            relayed: None,
            pending: None,
            trouble: None,
        }
    }

    fn learn(&mut self, challenge: Challenge) {
        self.key = Some(self.login.key(&challenge.realm));
        self.challenge = Some(challenge);
    }

    /// The relayed transport address, once there is an allocation.
    pub(crate) fn relayed(&self) -> Option<SocketAddr> {
        self.relayed
    }

    pub(crate) fn state(&self) -> State {
        match (self.trouble, &self.pending) {
            (Some(trouble), _) => State::Failed(trouble),
            (None, Some(_)) => State::Busy,
            (None, None) => State::Idle,
        }
    }

    /// Begins a request; what was under way is forgotten.
    pub(crate) fn ask(&mut self, request: Request, now: Nanos) {
        self.trouble = None;
        let id = self.transaction();
        self.pending = Some(Pending {
            request,
            id,
            due: now,
            tries: 0,
            nonces: 0,
        });
    }

    /// Writes what is to be sent now, if anything is, and returns its length.
    pub(crate) fn poll_transmit(&mut self, now: Nanos, out: &mut [u8]) -> Option<usize> {
        let pending = self.pending.as_mut().filter(|pending| pending.due <= now)?;
        let over_stream_again = !self.repeats && pending.tries > 0;
        if pending.tries == MOST_TRIES || over_stream_again {
            self.pending = None;
            self.trouble = Some(Trouble::Silent);
            return None;
        }
        let wait = if self.repeats {
            FIRST_WAIT << pending.tries
        } else {
            FIRST_WAIT << MOST_TRIES
        };
        pending.due = now + wait;
        pending.tries += 1;
        let (request, id) = (pending.request, pending.id);
        self.write(request, id, out)
    }

    /// Takes an answer in; whether it belonged to what is under way.
    pub(crate) fn handle(&mut self, now: Nanos, message: &Message<'_>) -> bool {
        let Some(pending) = self.pending.as_ref() else {
            return false;
        };
        let request = pending.request;
        let mine = pending.id == message.transaction_id() && method(request) == message.method();
        match message.class() {
            Class::Success if mine && self.is_genuine(message) => self.succeed(request, message),
            Class::Error if mine => self.refuse(now, message),
            _ => return false,
        }
        true
    }

    /// A success answer is believed with the right signature, or if no key was ever asked for.
    fn is_genuine(&self, message: &Message<'_>) -> bool {
        let right = |key: &LongTermKey| message.verify_integrity(key.as_bytes());
        self.key.as_ref().is_none_or(right)
    }

    fn succeed(&mut self, request: Request, message: &Message<'_>) {
        self.pending = None;
        match request {
            Request::Allocate => match message.xor_relayed_address() {
                Ok(Some(relayed)) => self.relayed = Some(relayed),
                _ => self.trouble = Some(Trouble::Malformed),
            },
            Request::Refresh(0) => self.relayed = None,
            _ => {}
        }
    }

    fn refuse(&mut self, now: Nanos, message: &Message<'_>) {
        let code = message.error_code().ok().flatten().unwrap_or(0);
        let nonces = self.pending.as_ref().map_or(0, |pending| pending.nonces);
        let first_time = code == 401 && self.key.is_none();
        let stale = code == 438 && nonces < MOST_NONCES;
        if !first_time && !stale {
            self.fail(Trouble::Refused(code));
            return;
        }
        let (Ok(realm), Ok(Some(nonce))) = (message.realm(), message.nonce()) else {
            self.fail(Trouble::Malformed);
            return;
        };
        let known = self.challenge.as_ref().map(|known| &known.realm[..]);
        let Some(realm) = realm.or(known).map(Box::from) else {
            self.fail(Trouble::Malformed);
            return;
        };
        self.learn(Challenge {
            realm,
            nonce: nonce.into(),
        });
        let id = self.transaction();
        if let Some(pending) = &mut self.pending {
            (pending.id, pending.due, pending.tries) = (id, now, 0);
            pending.nonces = nonces + 1;
        }
    }

    fn fail(&mut self, trouble: Trouble) {
        self.pending = None;
        self.trouble = Some(trouble);
    }

    fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0; 12];
        id[..8].copy_from_slice(&self.seed);
        id[8..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }

    fn write(&self, request: Request, id: TransactionId, out: &mut [u8]) -> Option<usize> {
        let mut writer = Writer::new(out, Class::Request, method(request), id);
        match request {
            Request::Allocate => {
                writer.u8(AttributeType::REQUESTED_TRANSPORT, self.transport);
                if self.family != 1 {
                    writer.u8(AttributeType::REQUESTED_ADDRESS_FAMILY, self.family);
                }
            }
            Request::Bind(peer, channel) => {
                writer.u16(AttributeType::CHANNEL_NUMBER, channel.get());
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            }
            Request::Permit(peer) => writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer),
            Request::Refresh(seconds) => writer.u32(AttributeType::LIFETIME, seconds),
        }
        if let (Some(challenge), Some(key)) = (&self.challenge, &self.key) {
            writer.bytes(AttributeType::USERNAME, self.login.username.as_bytes());
            writer.bytes(AttributeType::REALM, &challenge.realm);
            writer.bytes(AttributeType::NONCE, &challenge.nonce);
            writer.integrity(Integrity::Sha1, key.as_bytes());
        }
        writer.finish()
    }
}

impl Login {
    fn key(&self, realm: &[u8]) -> LongTermKey {
        let (username, password) = (self.username.as_bytes(), self.password.as_bytes());
        LongTermKey::derive(PasswordAlgorithm::Md5, username, realm, password)
    }
}

fn method(request: Request) -> Method {
    match request {
        Request::Allocate => Method::ALLOCATE,
        Request::Bind(..) => Method::CHANNEL_BIND,
        Request::Permit(_) => Method::CREATE_PERMISSION,
        Request::Refresh(_) => Method::REFRESH,
    }
}
