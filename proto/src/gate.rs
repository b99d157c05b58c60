//! The doorman: everything that can be decided about a packet without the relay's state.
//!
//! A worker asks its own gate first, so that requests of strangers never touch the relay. Whose
//! request is let through has shown a nonce, so it receives what is sent to its source address; who
//! has none gets at most one small answer, within its source prefix's budget, and leaves no state
//! behind. What the relay must be asked even for a stranger is one look-up by its 5-tuple: whether
//! `ChannelData` or a Send indication comes from an allocation, and a Binding from a masked one.

use ahash::RandomState;
use alloc::string::String;
use alloc::vec;
use alloc::vec::Vec;
use core::net::IpAddr;

use crate::address::{Client, FiveTuple};
use crate::auth::login::{Claims, PASSWORD_ALGORITHMS, Refusal};
use crate::auth::nonce::{Judgement, Nonces};
use crate::channel_data::{self, Kind};
use crate::config::{Config, Limits};
use crate::contract::DropReason;
use crate::hash;
use crate::rate::Bucket;
use crate::stun::{AttributeType, Class, Header, Message, Method, Writer};
use crate::time::{Timestamp, WallClock};

/// What the gate decided.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Admission {
    /// Send the first so many bytes of the output buffer back to where the packet came from.
    Answer(usize),
    /// Nothing is to be sent. Count it.
    Drop(DropReason),
    /// The [`Relay`](crate::Relay) has to see it.
    Relay,
}

/// See the module's description.
pub struct Gate {
    realm: String,
    clock: WallClock,
    nonces: Nonces,
    budget: AnswerBudget,
}

impl Gate {
    /// A gate; the budget starts full. `seed` must be unknown to attackers.
    pub fn new(config: &Config, seed: [u8; 32]) -> Self {
        let lifetime = config.limits.nonce_lifetime.as_secs();
        Self {
            realm: config.realm.clone(),
            clock: config.clock,
            nonces: Nonces::new(config.nonce_secret, lifetime),
            budget: AnswerBudget::new(&config.limits, seed),
        }
    }

    /// Takes over new limits.
    pub fn set_limits(&mut self, limits: &Limits) {
        self.nonces.set_lifetime(limits.nonce_lifetime.as_secs());
        self.budget.set_limits(limits);
    }

    /// Decides about one packet. `out` should hold 1024 bytes.
    pub fn admit(
        &mut self,
        now: Timestamp,
        from: &Client,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Admission {
        match bytes.first().map(|first| channel_data::kind(*first)) {
            Some(Kind::Stun) => self.admit_stun(now, from, bytes, out),
            Some(Kind::ChannelData) => Admission::Relay,
            Some(Kind::Other) | None => Admission::Drop(DropReason::NotTurn),
        }
    }

    fn admit_stun(
        &mut self,
        now: Timestamp,
        from: &Client,
        bytes: &[u8],
        out: &mut [u8],
    ) -> Admission {
        // What does not hold together and what nobody has defined gets no answer
        // (RFC 8489 section 6.3).
        let Ok(message) = Message::parse(bytes) else {
            return Admission::Drop(DropReason::MalformedStun);
        };
        match (message.class(), message.method()) {
            (Class::Indication, Method::SEND) | (Class::Request, Method::BINDING) => {
                Admission::Relay
            }
            (Class::Request, method) if needs_login(method) => {
                self.admit_request(now, from, &message, out)
            }
            _ => Admission::Drop(DropReason::Unexpected),
        }
    }

    /// Who shows a nonce that was issued to its transport address receives what is sent there.
    fn admit_request(
        &mut self,
        now: Timestamp,
        from: &Client,
        message: &Message<'_>,
        out: &mut [u8],
    ) -> Admission {
        let request = message.header();
        let claims = match Claims::read(message) {
            Ok(claims) => claims,
            Err(refusal) => return self.refuse(now, from, request, refusal, out),
        };
        let unix_secs = self.clock.unix_secs(now);
        match self.nonces.judge(claims.nonce(), unix_secs, &from.tuple) {
            Judgement::Fresh => Admission::Relay,
            Judgement::Stale => self.explain(now, from, request, Refusal::StaleNonce, out),
            Judgement::Foreign => self.refuse(now, from, request, Refusal::StaleNonce, out),
        }
    }

    /// Refuses somebody who may not be where the packet says it comes from, within the budget.
    fn refuse(
        &mut self,
        now: Timestamp,
        from: &Client,
        request: Header,
        refusal: Refusal,
        out: &mut [u8],
    ) -> Admission {
        if self.may_answer(now, from) {
            self.explain(now, from, request, refusal, out)
        } else {
            Admission::Drop(DropReason::AnswerBudget)
        }
    }

    /// Writes an answer for somebody who is not authenticated. It never exceeds 88 bytes for a
    /// realm of up to 12 characters: no SOFTWARE, no reason phrase, a short nonce.
    pub(crate) fn explain(
        &self,
        now: Timestamp,
        from: &Client,
        request: Header,
        refusal: Refusal,
        out: &mut [u8],
    ) -> Admission {
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
        answer
            .finish()
            .map_or(Admission::Drop(DropReason::NoRoom), Admission::Answer)
    }

    /// Takes one unauthenticated answer out of the budget of the source's prefix. A connection's
    /// source is proven, so nobody can use up its budget for it.
    pub(crate) fn may_answer(&mut self, now: Timestamp, from: &Client) -> bool {
        let FiveTuple {
            transport, remote, ..
        } = from.tuple;
        transport.is_stream() || self.budget.take(now, remote.ip())
    }

    /// Takes over what time it is.
    pub fn set_clock(&mut self, clock: WallClock) {
        self.clock = clock;
    }

    pub(crate) fn realm(&self) -> &[u8] {
        self.realm.as_bytes()
    }
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
