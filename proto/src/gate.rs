//! Everything that can be decided about a packet without state of any client.
//!
//! A client that asks for something must show a nonce, which proves that it receives what is sent to
//! its source address, and a ticket with its signature. Any other gets at most one small answer,
//! within its source prefix's budget, and leaves no state behind. Only the gate makes [`Admitted`], and the
//! [`Relay`](crate::Relay) takes nothing else: what a stranger sends cannot reach it.

use ahash::RandomState;
use alloc::string::String;
use alloc::sync::Arc;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;
use core::ops::Range;

use crate::account::check_size;
use crate::address::{Client, FiveTuple};
use crate::auth::login::{Claims, Login, PASSWORD_ALGORITHMS, Refusal};
use crate::auth::nonce::{Judgement, Nonces};
use crate::auth::ticket::TicketKeys;
use crate::channel_data::{self, Kind};
use crate::config::{AnswerBinding, Config, Limits};
use crate::forward::Way;
use crate::hash;
use crate::rate::Bucket;
use crate::stun::{AttributeType, Class, Header, Message, Method, Writer};
use crate::time::{Timestamp, WallClock};
use crate::usage::DropReason;

/// What the gate decided.
pub(crate) enum Admission<'p> {
    /// It comes no further.
    Done(Reply),
    /// Something for another client.
    Media(Media),
    /// A plain Binding: how it is answered depends on who asks.
    Binding(Message<'p>),
    /// The relay must be asked.
    Ask(Admitted<'p>),
    /// The same with a ticket that has expired: it is good only for a client whose call was renewed.
    Expired(Admitted<'p>, Header),
}

/// What comes of a packet that comes no further.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Reply {
    /// Send the first so many bytes of the output buffer back to where the packet came from.
    Answer(usize),
    /// Nothing is to be sent. Count it.
    Drop(DropReason),
}

/// A payload for another client, and what the packet says about where it is to go.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Media {
    /// Where it is to go.
    pub(crate) way: Way,
    /// Which bytes of the packet it is.
    pub(crate) body: Range<usize>,
}

/// A packet that the gate has let through: read, and if it asks for something, with a fresh nonce
/// and a ticket of ours.
pub struct Admitted<'p> {
    from: Client,
    content: Content<'p>,
}

/// What was let through.
pub(crate) enum Content<'p> {
    /// Something for another client, in this packet.
    Media(Media, &'p [u8]),
    /// A request of this sender.
    Request(Message<'p>, Sender<'p>),
}

/// Who sent a request.
pub(crate) enum Sender<'p> {
    /// The holder of a ticket.
    Known(Login),
    /// The holder of the ticket with this USERHASH, which only the relay knows. It has been charged
    /// for the question.
    Hashed(Claims<'p>),
}

impl Admission<'_> {
    fn dropped(reason: DropReason) -> Self {
        Self::Done(Reply::Drop(reason))
    }
}

impl<'p> Admitted<'p> {
    /// Something for another client, which the gate has read.
    pub(crate) fn media(from: &Client, media: Media, packet: &'p [u8]) -> Self {
        Self {
            from: *from,
            content: Content::Media(media, packet),
        }
    }

    fn request(from: &Client, message: Message<'p>, sender: Sender<'p>) -> Self {
        Self {
            from: *from,
            content: Content::Request(message, sender),
        }
    }

    /// Whom it is from.
    pub(crate) fn from(&self) -> Client {
        self.from
    }

    pub(crate) fn into_content(self) -> Content<'p> {
        self.content
    }
}

/// See the module's description.
pub(crate) struct Gate {
    realm: String,
    clock: WallClock,
    nonces: Nonces,
    tickets: Arc<TicketKeys>,
    answer_binding: AnswerBinding,
    payload_cap: usize,
    budget: AnswerBudget,
    /// For requests over TCP that name their ticket by USERHASH.
    questions: Bucket,
}

/// How many requests a second over TCP the relay is asked about because they name their ticket by
/// USERHASH, which only the relay knows. Clients in use name theirs by USERNAME.
const QUESTIONS: u64 = 200;
const SECOND: u64 = 1_000_000_000;

impl Gate {
    /// A gate; the budget starts full. `seed` must be unknown to attackers.
    pub(crate) fn new(config: &Config, seed: [u8; 32]) -> Self {
        let lifetime = config.limits.nonce_lifetime.as_secs();
        Self {
            realm: config.realm.clone(),
            clock: config.clock,
            nonces: Nonces::new(config.nonce_secret, lifetime),
            tickets: Arc::clone(&config.tickets),
            answer_binding: config.masking.answer_binding,
            payload_cap: config.masking.payload_cap,
            budget: AnswerBudget::new(&config.limits, seed),
            questions: Bucket::FULL,
        }
    }

    /// Takes over new settings. Realm and nonces stay as they were.
    pub(crate) fn set_config(&mut self, config: &Config) {
        let Config {
            clock,
            tickets,
            masking,
            limits,
            ..
        } = config;
        self.clock = *clock;
        self.tickets = Arc::clone(tickets);
        self.answer_binding = masking.answer_binding;
        self.payload_cap = masking.payload_cap;
        self.nonces.set_lifetime(limits.nonce_lifetime.as_secs());
        self.budget.set_limits(limits);
    }

    /// The largest payload that passes without an allowance.
    pub(crate) fn payload_cap(&self) -> usize {
        self.payload_cap
    }

    /// Decides about one packet. `out` should hold 1024 bytes.
    pub(crate) fn admit<'p>(
        &mut self,
        now: Timestamp,
        from: &Client,
        packet: &'p [u8],
        out: &mut [u8],
    ) -> Admission<'p> {
        match packet.first().map(|first| channel_data::kind(*first)) {
            Some(Kind::ChannelData) => self.admit_channel_data(packet),
            Some(Kind::Stun) => self.admit_stun(now, from, packet, out),
            Some(Kind::Other) | None => Admission::dropped(DropReason::NotTurn),
        }
    }

    fn admit_channel_data<'p>(&self, packet: &[u8]) -> Admission<'p> {
        let Some(message) = channel_data::parse_datagram(packet) else {
            return Admission::dropped(DropReason::MalformedChannelData);
        };
        self.admit_media(Way::Channel(message.channel), message.payload, packet)
    }

    /// Sizes are looked at before anything else is, so that nothing else can tell them.
    fn admit_media<'p>(&self, way: Way, body: Range<usize>, packet: &[u8]) -> Admission<'p> {
        match check_size(self.payload_cap, &packet[body.clone()]) {
            Ok(()) => Admission::Media(Media { way, body }),
            Err(reason) => Admission::dropped(reason),
        }
    }

    fn admit_stun<'p>(
        &mut self,
        now: Timestamp,
        from: &Client,
        packet: &'p [u8],
        out: &mut [u8],
    ) -> Admission<'p> {
        // What does not hold together and what nobody has defined gets no answer
        // (RFC 8489 section 6.3).
        let Ok(message) = Message::parse(packet) else {
            return Admission::dropped(DropReason::MalformedStun);
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) => self.admit_send(&message),
            (Class::Request, Method::BINDING) => Admission::Binding(message),
            (Class::Request, method) if needs_login(method) => {
                self.admit_request(now, from, message, out)
            }
            _ => Admission::dropped(DropReason::Unexpected),
        }
    }

    /// A Send indication (RFC 8656 section 11.2). One with DONT-FRAGMENT is dropped; a signature is
    /// nothing that it needs, and not looked at.
    fn admit_send<'p>(&self, message: &Message<'_>) -> Admission<'p> {
        if message.unknown_required().next().is_some() {
            return Admission::dropped(DropReason::MalformedStun);
        }
        match (message.xor_peer_address(), message.data()) {
            (Ok(Some(peer)), Some(body)) => {
                self.admit_media(Way::Peer(peer), body, message.as_bytes())
            }
            _ => Admission::dropped(DropReason::MalformedStun),
        }
    }

    /// Who shows a nonce that was issued to its transport address receives what is sent there.
    fn admit_request<'p>(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: Message<'p>,
        out: &mut [u8],
    ) -> Admission<'p> {
        let request = message.header();
        let claims = match Claims::read(&message) {
            Ok(claims) => claims,
            Err(refusal) => {
                return Admission::Done(self.refuse(now, from, request, refusal, out));
            }
        };
        let unix_secs = self.clock.unix_secs(now);
        match self.nonces.judge(claims.nonce(), unix_secs, &from.tuple) {
            Judgement::Fresh => self.identify(now, from, message, claims, out),
            Judgement::Stale => {
                Admission::Done(self.explain(now, from, request, Refusal::StaleNonce, out))
            }
            Judgement::Foreign => {
                Admission::Done(self.refuse(now, from, request, Refusal::StaleNonce, out))
            }
        }
    }

    /// The ticket is opened, and the signature checked with its password.
    fn identify<'p>(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: Message<'p>,
        claims: Claims<'p>,
        out: &mut [u8],
    ) -> Admission<'p> {
        let sender = if claims.userhash().is_some() {
            if !self.may_question(now, from) {
                return Admission::dropped(DropReason::AnswerBudget);
            }
            Sender::Hashed(claims)
        } else {
            let login = claims.verify(&message, self.realm.as_bytes(), &self.tickets, None);
            let unix_secs = self.clock.unix_secs(now);
            match login {
                Ok(login) if login.ticket.is_in_time(unix_secs) => Sender::Known(login),
                Ok(login) if login.ticket.has_expired(unix_secs) => {
                    let (request, sender) = (message.header(), Sender::Known(login));
                    return Admission::Expired(Admitted::request(from, message, sender), request);
                }
                refused => {
                    let refusal = refused.err().unwrap_or(Refusal::Unauthorized);
                    let request = message.header();
                    return Admission::Done(self.explain(now, from, request, refusal, out));
                }
            }
        };
        Admission::Ask(Admitted::request(from, message, sender))
    }

    /// 401 for a client that has shown a nonce, and a ticket that is good no more.
    pub(crate) fn challenge(
        &self,
        now: Timestamp,
        from: &Client,
        request: Header,
        out: &mut [u8],
    ) -> Reply {
        self.explain(now, from, request, Refusal::Unauthorized, out)
    }

    /// Answers a plain STUN Binding (RFC 8489 section 12) by the `answer_binding` rule.
    pub(crate) fn answer_binding(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
        is_masked: bool,
        out: &mut [u8],
    ) -> Reply {
        let is_refused = match self.answer_binding {
            AnswerBinding::Always => false,
            AnswerBinding::Never => return Reply::Drop(DropReason::BindingRefused),
            AnswerBinding::UnlessMasked => is_masked,
        };
        if !self.may_answer(now, from) {
            return Reply::Drop(DropReason::AnswerBudget);
        }
        let (method, id) = (message.method(), message.transaction_id());
        let mut answer;
        if message.unknown_required().next().is_some() {
            answer = Writer::new(out, Class::Error, method, id);
            answer.error_code(420);
            answer.unknown_attributes(message.unknown_required(), 8);
        } else if is_refused {
            answer = Writer::new(out, Class::Error, method, id);
            answer.error_code(403);
        } else {
            answer = Writer::new(out, Class::Success, method, id);
            answer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, from.tuple.remote);
        }
        finish(answer)
    }

    /// Refuses a client that may not be where the packet says it comes from, within the budget.
    fn refuse(
        &mut self,
        now: Timestamp,
        from: &Client,
        request: Header,
        refusal: Refusal,
        out: &mut [u8],
    ) -> Reply {
        if self.may_answer(now, from) {
            self.explain(now, from, request, refusal, out)
        } else {
            Reply::Drop(DropReason::AnswerBudget)
        }
    }

    /// Writes an answer for somebody who is not authenticated. It never exceeds 88 bytes for a
    /// realm of up to 12 characters: no SOFTWARE, no reason phrase, a short nonce.
    fn explain(
        &self,
        now: Timestamp,
        from: &Client,
        request: Header,
        refusal: Refusal,
        out: &mut [u8],
    ) -> Reply {
        let mut answer = Writer::new(out, Class::Error, request.method, request.transaction_id);
        answer.error_code(match refusal {
            Refusal::BadRequest => 400,
            Refusal::Unauthorized => 401,
            Refusal::StaleNonce => 438,
        });
        if refusal != Refusal::BadRequest {
            let unix_secs = self.clock.unix_secs(now);
            let nonce = self.nonces.issue(unix_secs, &from.tuple);
            answer.bytes(AttributeType::REALM, self.realm.as_bytes());
            answer.bytes(AttributeType::NONCE, &nonce);
            answer.bytes(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
        }
        finish(answer)
    }

    /// Takes one question to the relay out of the budget of the source's prefix; for connections,
    /// which have none, out of one that they share.
    fn may_question(&mut self, now: Timestamp, from: &Client) -> bool {
        if from.tuple.transport.is_stream() {
            self.questions.take(now, SECOND / QUESTIONS, SECOND)
        } else {
            self.may_answer(now, from)
        }
    }

    /// Takes one unauthenticated answer out of the budget of the source's prefix. A connection's
    /// source is proven, so nobody can use up its budget for it.
    fn may_answer(&mut self, now: Timestamp, from: &Client) -> bool {
        let FiveTuple {
            transport, remote, ..
        } = from.tuple;
        transport.is_stream() || self.budget.take(now, remote.ip())
    }
}

fn finish(answer: Writer<'_>) -> Reply {
    answer
        .finish()
        .map_or(Reply::Drop(DropReason::NoRoom), Reply::Answer)
}

/// The methods of a client that must authenticate (RFC 8656 section 5).
fn needs_login(method: Method) -> bool {
    [
        Method::ALLOCATE,
        Method::REFRESH,
        Method::CREATE_PERMISSION,
        Method::CHANNEL_BIND,
    ]
    .contains(&method)
}

/// Unauthenticated answers per source prefix, in a table of fixed size: prefixes that fall on the
/// same place share it, and an attacker who cannot see the seed cannot aim.
struct AnswerBudget {
    buckets: Vec<Bucket>,
    hasher: RandomState,
    cost: u64,
    depth: u64,
}

const BUCKETS: usize = 1 << 16;

impl AnswerBudget {
    fn new(limits: &Limits, seed: [u8; 32]) -> Self {
        let mut budget = Self {
            buckets: vec![Bucket::FULL; BUCKETS],
            hasher: hash::state(seed, "answers"),
            cost: 0,
            depth: 0,
        };
        budget.set_limits(limits);
        budget
    }

    fn set_limits(&mut self, limits: &Limits) {
        self.cost = 1_000_000_000 / u64::from(limits.answers_per_second.max(1));
        self.depth = self
            .cost
            .saturating_mul(u64::from(limits.answers_burst.max(1)));
    }

    fn take(&mut self, now: Timestamp, source: IpAddr) -> bool {
        let place = self.hasher.hash_one(prefix(source)) % BUCKETS as u64;
        usize::try_from(place)
            .ok()
            .and_then(|place| self.buckets.get_mut(place))
            .is_some_and(|bucket| bucket.take(now, self.cost, self.depth))
    }
}

/// The /24 or /64 that `source` is in, as a number.
fn prefix(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            u64::from(a) << 48 | u64::from(b) << 32 | u64::from(c) << 16 | u64::from(d)
        }
    }
}
