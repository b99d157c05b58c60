//! Addresses and names that occur nowhere else, other ones in every life.

use std::hash::{BuildHasher, Hasher, RandomState};
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use vizard_proto::auth::ticket::Credential;

use super::evidence::{Outlet, Piece};
use super::notation::{Canary, What};

/// 64 random bits.
fn random() -> u64 {
    RandomState::new().build_hasher().finish()
}

/// An IPv4 address that begins with `first`. Its other octets are too large for a date or a time,
/// and too rare to be a port or a version.
pub fn ipv4(first: u8) -> IpAddr {
    let [a, b, c, ..] = random().to_be_bytes();
    let octet = |byte: u8| 100 + byte % 150;
    Ipv4Addr::new(first, octet(a), octet(b), octet(c)).into()
}

/// An IPv6 address with zeros in the middle, so that it has several spellings.
pub fn ipv6() -> IpAddr {
    let bits = u128::from(random()) << 64 | u128::from(random());
    let rest = bits & 0x0000_0fff_0fff_0000_0000_0fff_0fff_0fff;
    Ipv6Addr::from_bits(0xfd6b_1000_2000_0000_0000_3000_4000_5000 | rest).into()
}

/// What people and programs are called in one life.
pub struct Names {
    pub alice: String,
    pub bob: String,
    pub phone: String,
    pub laptop: String,
    /// An `Idempotency-Key`.
    pub request: String,
    /// TURN user name and password that nobody gave out.
    pub stranger: String,
    pub password: String,
    /// An API key that nobody gave out.
    pub wrong_key: String,
    /// A User-Agent and the like.
    pub agent: String,
}

impl Names {
    pub fn new() -> Self {
        let name = |word: &str| format!("{word}-{:016x}", random());
        Self {
            alice: name("alice"),
            bob: name("bob"),
            phone: name("phone"),
            laptop: name("laptop"),
            request: name("request"),
            stranger: name("stranger"),
            password: name("password"),
            wrong_key: name("wrong-key"),
            agent: name("agent"),
        }
    }

    /// Parties and devices may be where the platform sees them, and in the store; all else nowhere.
    pub fn canaries(&self) -> Vec<Canary> {
        let parties = [&self.alice, &self.bob, &self.phone, &self.laptop];
        let others = [
            &self.request,
            &self.stranger,
            &self.password,
            &self.wrong_key,
            &self.agent,
        ];
        let given = parties.map(|name| Canary::text("party or device", name).but_in(of_platform));
        let secret = others.map(|name| Canary::text("name", name));
        given.into_iter().chain(secret).collect()
    }
}

fn of_platform(piece: &Piece) -> bool {
    match piece.outlet {
        Outlet::Answer | Outlet::CommandLine => true,
        Outlet::State => piece.name == "calls.redb",
        Outlet::Stdout | Outlet::Log | Outlet::Metrics => false,
    }
}

/// A ticket may be in the answer that hands it out, and nowhere else.
pub fn of_ticket(credential: &Credential) -> Vec<Canary> {
    let sealed = URL_SAFE_NO_PAD.decode(&credential.username);
    let sealed = What::Bytes(sealed.expect("base64url"));
    vec![
        Canary::text("ticket", &credential.username).but_in(hands_out),
        Canary::text("ticket's password", &credential.password).but_in(hands_out),
        Canary::new("sealed ticket", sealed).but_in(hands_out),
    ]
}

fn hands_out(piece: &Piece) -> bool {
    let by_command = ["call create", "call answer"];
    match piece.outlet {
        Outlet::Answer => piece.name.starts_with("POST /v1/calls"),
        Outlet::CommandLine => by_command.iter().any(|name| piece.name.starts_with(name)),
        _ => false,
    }
}

/// The API key may be in the file that is there to hold it.
pub fn of_api_key(key: &str) -> Canary {
    let its_file = |piece: &Piece| piece.outlet == Outlet::State && piece.name == "api.key";
    Canary::text("API key", key).but_in(its_file)
}
