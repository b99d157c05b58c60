//! One client socket: what it knows, and the messages that it puts together.

use std::net::SocketAddr;

use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};

use super::clients::{Profile, Who, first_spot, profiles};
use super::script::{Manner, Spot};
use crate::client::{Signature, TurnClient, User, compose};
use crate::defaults::REALM;

/// A type of attribute that nobody has defined and everybody must understand.
const UNHEARD_OF: AttributeType = AttributeType(0x7abc);

pub struct Endpoint {
    pub profile: &'static Profile,
    /// Which of its owner's sockets it uses.
    pub spot: Spot,
    pub nonce: Vec<u8>,
    /// The mask addresses of its allocation, as the server answered.
    pub masks: [Option<SocketAddr>; 2],
    /// Whom it has asked for a permission for.
    pub permitted: Vec<SocketAddr>,
    pub channels: Vec<u16>,
    /// What it was given to move its allocation with.
    pub mobility: Vec<u8>,
    pub last: Vec<u8>,
    pub last_allocate: Vec<u8>,
    index: u8,
    transactions: u64,
}

impl Endpoint {
    pub fn new(index: usize) -> Self {
        Self {
            profile: &profiles()[index],
            spot: first_spot(index),
            nonce: Vec::new(),
            masks: [None; 2],
            permitted: Vec::new(),
            channels: Vec::new(),
            mobility: Vec::new(),
            last: Vec::new(),
            last_allocate: Vec::new(),
            index: u8::try_from(index).expect("few endpoints"),
            transactions: 0,
        }
    }

    pub fn is_b(&self) -> bool {
        self.profile.who == Who::B
    }

    /// Where an endpoint that is not B's stands: hosts and ports next to its home.
    pub fn fixed_address(&self) -> SocketAddr {
        let mut home: SocketAddr = self.profile.home.parse().expect("an address");
        home.set_port(home.port() + u16::try_from(self.spot.port).expect("small"));
        home
    }

    pub fn has_allocation(&self) -> bool {
        self.masks.iter().any(Option::is_some)
    }

    pub fn forget_allocation(&mut self) {
        self.masks = [None; 2];
        self.mobility.clear();
        self.channels.clear();
        self.permitted.clear();
    }

    /// Its own count, so that what one endpoint does never shows in another's messages.
    fn transaction(&mut self) -> TransactionId {
        self.transactions += 1;
        let mut bytes = [self.index; 12];
        bytes[4..].copy_from_slice(&self.transactions.to_be_bytes());
        TransactionId(bytes)
    }

    /// A request in the given manner; `other` is whose credential a borrower shows.
    pub fn request(
        &mut self,
        method: Method,
        manner: Manner,
        other: &Profile,
        attributes: impl FnOnce(&mut Writer<'_>),
    ) -> Vec<u8> {
        let transaction = self.transaction();
        compose(Class::Request, method, transaction, |writer| {
            attributes(writer);
            if manner == Manner::Unknown {
                writer.u32(UNHEARD_OF, 1);
            }
            if manner != Manner::Unsigned {
                self.sign(writer, manner, other);
            }
        })
    }

    fn sign(&self, writer: &mut Writer<'_>, manner: Manner, other: &Profile) {
        let profile = match manner {
            Manner::Borrowed(_) => other,
            _ => self.profile,
        };
        let [md5, sha256] = &profile.keys;
        let mut signature = Signature {
            user: User::Name(&profile.credential.username),
            realm: REALM.as_bytes(),
            nonce: &self.nonce,
            algorithms: false,
            algorithm: None,
            integrity: Integrity::Sha1,
            key: md5.as_bytes(),
        };
        if matches!(manner, Manner::Sha256 | Manner::Hidden) {
            signature.algorithms = true;
            signature.algorithm = Some(PasswordAlgorithm::Sha256);
            signature.integrity = Integrity::Sha256;
            signature.key = sha256.as_bytes();
        }
        match manner {
            Manner::Hidden => signature.user = User::Hash(&profile.userhash),
            Manner::WrongRealm => signature.realm = b"elsewhere",
            Manner::OldNonce => signature.nonce = b"obMatJos2wAAAAAAAAAAAAAAAAAA",
            Manner::BidDown => signature.algorithm = Some(PasswordAlgorithm::Md5),
            Manner::WrongPassword => signature.key = b"a wrong password",
            _ => {}
        }
        signature.put(writer);
    }

    /// A plain Binding request.
    pub fn binding(&mut self) -> Vec<u8> {
        let transaction = self.transaction();
        compose(Class::Request, Method::BINDING, transaction, |_| {})
    }

    /// A Send indication.
    pub fn send(&mut self, peer: SocketAddr, payload: &[u8]) -> Vec<u8> {
        TurnClient::send(self.transaction(), peer, payload)
    }

    /// Something that no proper client sends. `dirt` varies it.
    pub fn garbage(&mut self, kind: u8, dirt: u8) -> Vec<u8> {
        let transaction = self.transaction();
        let here = self.masks[0].unwrap_or(SocketAddr::from(([198, 18, 0, 1], 5)));
        let message = |class, method, attribute: AttributeType| {
            compose(class, method, transaction, |writer| {
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, here);
                writer.bytes(AttributeType::DATA, b"dirt");
                writer.u32(attribute, u32::from(dirt));
            })
        };
        let lifetime = AttributeType::LIFETIME;
        let mut request = message(Class::Request, Method::ALLOCATE, lifetime);
        match kind {
            0 => Vec::new(),
            1 => vec![dirt; usize::from(dirt)],
            // Shorter than it says, longer than it says, with an attribute that overruns.
            2 => request[..request.len() - 4].to_vec(),
            3 => [&request[..], &[dirt; 4]].concat(),
            4 => {
                request[23] = 0xff;
                request
            }
            5 => message(Class::Success, Method::ALLOCATE, lifetime),
            6 => message(Class::Request, Method::SEND, lifetime),
            7 => message(Class::Indication, Method::DATA, lifetime),
            8 => message(
                Class::Indication,
                Method::SEND,
                AttributeType::DONT_FRAGMENT,
            ),
            9 => message(Class::Indication, Method::SEND, AttributeType::FINGERPRINT),
            10 => vec![0x40, dirt, 0, 9, 1, 2],
            _ => vec![0x80 | dirt, dirt, 0, 0],
        }
    }

    /// Takes up what an answer to the endpoint's own request says.
    pub fn learn(&mut self, answer: &Message<'_>) {
        if answer.class() == Class::Error {
            if let Ok(Some(nonce)) = answer.nonce() {
                self.nonce = nonce.to_vec();
            }
            return;
        }
        if answer.method() == Method::ALLOCATE {
            self.forget_allocation();
        }
        if let Some(ticket) = answer.find(AttributeType::MOBILITY_TICKET) {
            self.mobility = ticket.to_vec();
        }
        if answer.method() == Method::ALLOCATE {
            let id = answer.transaction_id();
            let relayed = answer
                .attributes()
                .filter(|(kind, _)| *kind == AttributeType::XOR_RELAYED_ADDRESS);
            for (_, value) in relayed {
                let address = unxor(value, id);
                self.masks[usize::from(address.is_ipv6())] = Some(address);
            }
        }
    }
}

/// One address out of an answer that may hold two.
fn unxor(value: &[u8], id: TransactionId) -> SocketAddr {
    let bytes = compose(Class::Success, Method::ALLOCATE, id, |writer| {
        writer.bytes(AttributeType::XOR_RELAYED_ADDRESS, value);
    });
    let message = Message::parse(&bytes).expect("just written");
    message
        .xor_relayed_address()
        .expect("well-formed")
        .expect("there")
}
