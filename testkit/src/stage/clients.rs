//! Who takes part: A, whose view is compared, B, whose addresses change, and others.

use std::net::{IpAddr, SocketAddr};
use std::sync::OnceLock;

use vizard_proto::address::Transport;
use vizard_proto::auth::ticket::{Credential, Ticket};
use vizard_proto::auth::{LongTermKey, userhash};
use vizard_proto::stun::PasswordAlgorithm;

use super::script::Spot;
use Transport::{Tcp, Udp};
use Who::{A, B, C, D};

pub const ENDPOINTS: usize = 9;
pub const CALLS: u8 = 2;

/// A client socket with a ticket.
pub struct Profile {
    pub who: Who,
    pub transport: Transport,
    /// Where it stands; B's endpoints stand where [`Places`](super::Places) says.
    pub home: &'static str,
    pub ticket: Ticket,
    pub credential: Credential,
    pub keys: [LongTermKey; 2],
    pub userhash: [u8; 32],
}

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Who {
    A,
    B,
    /// A third party of A's and B's call.
    C,
    /// A party of another call, in which B takes part too.
    D,
}

/// Owner, transport, home, [call, party, device], terms.
type Row = (Who, Transport, &'static str, [u8; 3], Terms);

struct Terms {
    kbps: u32,
    secs: u64,
    masked: bool,
}

const USUAL: Terms = Terms {
    kbps: 0,
    secs: 7200,
    masked: true,
};
/// Slow, not masked, and soon over for some.
const SLOW: Terms = Terms {
    kbps: 8,
    secs: 7200,
    masked: false,
};
const SHORT: Terms = Terms { secs: 1200, ..SLOW };

const ROWS: [Row; ENDPOINTS] = [
    (A, Udp, "198.51.100.10:5000", [0, 0, 0], USUAL),
    (B, Udp, "", [0, 1, 0], USUAL),
    (B, Tcp, "", [0, 1, 0], USUAL),
    (A, Tcp, "198.51.100.10:5100", [0, 0, 0], USUAL),
    (B, Udp, "", [0, 1, 1], SHORT),
    (A, Udp, "[2001:db8:a::1]:5200", [0, 0, 1], SLOW),
    (C, Udp, "198.51.103.30:7000", [0, 2, 0], USUAL),
    (D, Udp, "198.51.104.40:8000", [1, 0, 0], USUAL),
    (B, Udp, "", [1, 1, 0], USUAL),
];

/// The endpoints, the same in every run.
pub fn profiles() -> &'static [Profile] {
    static PROFILES: OnceLock<Vec<Profile>> = OnceLock::new();
    PROFILES.get_or_init(|| ROWS.iter().map(Profile::new).collect())
}

/// Where the first socket of each of B's endpoints is.
pub fn first_spot(endpoint: usize) -> Spot {
    Spot {
        network: endpoint / 8,
        host: 0,
        port: endpoint % Spot::PORTS,
    }
}

/// Everybody's addresses but B's.
pub fn fixed_addresses() -> impl Iterator<Item = IpAddr> {
    ROWS.iter()
        .filter(|row| !row.2.is_empty())
        .map(|row| row.2.parse::<SocketAddr>().expect("an address").ip())
}

impl Profile {
    fn new(row: &Row) -> Self {
        let (who, transport, home, [call, party, device], ref terms) = *row;
        let ticket = Ticket {
            device,
            kbps: terms.kbps,
            expires_at: crate::START + terms.secs,
            masked: terms.masked,
            ..crate::ticket(call, party)
        };
        let credential = crate::credential(&ticket);
        let (user, password) = (&credential.username, &credential.password);
        let realm = crate::REALM.as_bytes();
        let keys = [PasswordAlgorithm::Md5, PasswordAlgorithm::Sha256].map(|algorithm| {
            LongTermKey::derive(algorithm, user.as_bytes(), realm, password.as_bytes())
        });
        Self {
            who,
            transport,
            home,
            ticket,
            userhash: userhash(user.as_bytes(), realm),
            keys,
            credential,
        }
    }
}
