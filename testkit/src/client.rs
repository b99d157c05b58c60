//! A TURN client without I/O: it writes requests and reads answers. How its bytes travel, and when
//! they are sent again, is its holder's business.

use std::net::SocketAddr;

use vizard_proto::auth::LongTermKey;
use vizard_proto::auth::login::PASSWORD_ALGORITHMS;
use vizard_proto::auth::ticket::Credential;
use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};

use crate::defaults::REALM;

/// Who it is, and what servers have told it.
#[derive(Clone)]
pub struct TurnClient {
    pub credential: Credential,
    pub realm: Vec<u8>,
    /// Empty until a challenge brings one; requests are not signed before.
    pub nonce: Vec<u8>,
    /// What it names as PASSWORD-ALGORITHM; `None` as in RFC 5389.
    pub algorithm: Option<PasswordAlgorithm>,
    pub integrity: Integrity,
    transactions: u64,
}

/// What an answer means for the request that it belongs to.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Verdict {
    Done,
    /// There is a new nonce to ask with.
    Again,
    /// The error code.
    Refused(u16),
}

impl TurnClient {
    pub fn new(credential: Credential) -> Self {
        Self {
            credential,
            realm: REALM.into(),
            nonce: Vec::new(),
            algorithm: None,
            integrity: Integrity::Sha1,
            transactions: 0,
        }
    }

    /// As RFC 8489 has it.
    pub fn with_sha256(credential: Credential) -> Self {
        Self {
            algorithm: Some(PasswordAlgorithm::Sha256),
            integrity: Integrity::Sha256,
            ..Self::new(credential)
        }
    }

    pub fn next_id(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut id = [0xA5; 12];
        id[4..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(id)
    }

    pub fn key(&self) -> LongTermKey {
        let Credential { username, password } = &self.credential;
        let algorithm = self.algorithm.unwrap_or(PasswordAlgorithm::Md5);
        LongTermKey::derive(
            algorithm,
            username.as_bytes(),
            &self.realm,
            password.as_bytes(),
        )
    }

    /// A request with what `attributes` puts in, signed if there is a nonce.
    pub fn request(
        &self,
        method: Method,
        id: TransactionId,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        compose(Class::Request, method, id, |writer| {
            attributes(writer);
            if !self.nonce.is_empty() {
                self.sign(writer);
            }
        })
    }

    /// Adds the attributes of an honest signature.
    pub fn sign(&self, writer: &mut Writer<'_>) {
        let key = self.key();
        let signature = Signature {
            user: User::Name(&self.credential.username),
            realm: &self.realm,
            nonce: &self.nonce,
            algorithms: self.algorithm.is_some(),
            algorithm: self.algorithm,
            integrity: self.integrity,
            key: key.as_bytes(),
        };
        signature.put(writer);
    }

    /// Takes up what an answer says: a challenge's realm and nonce. One that is signed must be
    /// signed with the client's key.
    pub fn hear(&mut self, answer: &[u8]) -> Verdict {
        let answer = Message::parse(answer).expect("a well-formed answer");
        if answer.integrity() != Integrity::None {
            let key = self.key();
            let signed = answer.verify_integrity(key.as_bytes());
            assert!(signed, "the answer's signature");
        }
        let Some(code) = answer.error_code().expect("well-formed") else {
            return Verdict::Done;
        };
        let was_signed = !self.nonce.is_empty();
        if let Some(nonce) = answer.nonce().expect("well-formed") {
            self.nonce = nonce.to_vec();
            self.realm = answer.realm().ok().flatten().expect("a realm").to_vec();
        }
        if code == 438 || code == 401 && !was_signed {
            return Verdict::Again;
        }
        Verdict::Refused(code)
    }

    /// A Send indication.
    pub fn send(id: TransactionId, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        compose(Class::Indication, Method::SEND, id, |writer| {
            writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            writer.bytes(AttributeType::DATA, payload);
        })
    }
}

/// How a signed message names its user.
#[derive(Clone, Copy)]
pub enum User<'a> {
    Name(&'a str),
    Hash(&'a [u8]),
}

/// What signs a message, each part as honest as its maker.
#[derive(Clone, Copy)]
pub struct Signature<'a> {
    pub user: User<'a>,
    pub realm: &'a [u8],
    pub nonce: &'a [u8],
    /// Whether PASSWORD-ALGORITHMS is repeated.
    pub algorithms: bool,
    pub algorithm: Option<PasswordAlgorithm>,
    pub integrity: Integrity,
    pub key: &'a [u8],
}

impl Signature<'_> {
    pub fn put(&self, writer: &mut Writer<'_>) {
        match self.user {
            User::Name(name) => writer.bytes(AttributeType::USERNAME, name.as_bytes()),
            User::Hash(hash) => writer.bytes(AttributeType::USERHASH, hash),
        }
        writer.bytes(AttributeType::REALM, self.realm);
        writer.bytes(AttributeType::NONCE, self.nonce);
        if self.algorithms {
            writer.bytes(AttributeType::PASSWORD_ALGORITHMS, &PASSWORD_ALGORITHMS);
        }
        if let Some(algorithm) = self.algorithm {
            writer.bytes(AttributeType::PASSWORD_ALGORITHM, &algorithm.to_bytes());
        }
        writer.integrity(self.integrity, self.key);
    }
}

/// A message with what `attributes` puts in.
pub fn compose(
    class: Class,
    method: Method,
    id: TransactionId,
    attributes: impl FnOnce(&mut Writer<'_>),
) -> Vec<u8> {
    let mut bytes = vec![0; 8192];
    let mut writer = Writer::new(&mut bytes, class, method, id);
    attributes(&mut writer);
    let len = writer.finish().expect("it fits");
    bytes.truncate(len);
    bytes
}

/// The attribute that an Allocate request must have.
pub fn over_udp(writer: &mut Writer<'_>) {
    writer.u8(AttributeType::REQUESTED_TRANSPORT, 17);
}

pub fn lifetime(secs: u32) -> impl Fn(&mut Writer<'_>) {
    move |writer| writer.u32(AttributeType::LIFETIME, secs)
}

pub fn peer(peer: SocketAddr) -> impl Fn(&mut Writer<'_>) {
    move |writer| writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer)
}

pub fn channel(number: u16, peer: SocketAddr) -> impl Fn(&mut Writer<'_>) {
    move |writer| {
        writer.u16(AttributeType::CHANNEL_NUMBER, number);
        writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    }
}

/// `ChannelData` without padding.
pub fn channel_data(channel: u16, payload: &[u8]) -> Vec<u8> {
    let len = u16::try_from(payload.len()).expect("short");
    let mut bytes = channel.to_be_bytes().to_vec();
    bytes.extend_from_slice(&len.to_be_bytes());
    bytes.extend_from_slice(payload);
    bytes
}

/// 200 for a success answer, else its error code.
pub fn code(answer: &[u8]) -> u16 {
    let message = Message::parse(answer).expect("an answer");
    match message.class() {
        Class::Success => 200,
        Class::Error => message.error_code().expect("well-formed").expect("a code"),
        class => panic!("an answer of class {class:?}"),
    }
}
