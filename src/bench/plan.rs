//! What is to be measured.

use std::fmt::Write as _;
use std::net::{IpAddr, SocketAddr};
use std::sync::Arc;
use std::time::Duration;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use ring::hmac;
use vizard_proto::address::Transport;

use super::Fault;
use super::client::Login;
use super::frames::Form;
use super::payload;
use super::sockets::Sources;

/// Largest payload: what still fits an Ethernet frame around an indication over IPv6.
pub(crate) const LARGEST_PAYLOAD: usize = 1400;

/// Who sends to whom.
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Mode {
    /// Two clients of the relay, both ways: a call.
    #[value(alias = "relay-to-relay")]
    Circuit,
    /// A client sends to a peer outside of the relay.
    ClientToPeer,
    /// A peer outside of the relay sends to a client.
    PeerToClient,
    /// A client and a peer outside of the relay, both ways.
    Both,
}

impl Mode {
    /// Its name in a report.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Circuit => "relay to relay",
            Self::ClientToPeer => "client to peer",
            Self::PeerToClient => "peer to client",
            Self::Both => "client and peer",
        }
    }

    /// Whether the second end of a pair is a peer without an allocation.
    pub(crate) fn has_peer(self) -> bool {
        self != Self::Circuit
    }

    /// Whether that direction (0: from the first end) carries packets.
    pub(crate) fn sends(self, direction: usize) -> bool {
        match self {
            Self::Circuit | Self::Both => true,
            Self::ClientToPeer => direction == 0,
            Self::PeerToClient => direction == 1,
        }
    }

    /// How many directions of a pair carry packets.
    pub(crate) fn directions(self) -> usize {
        (0..2).filter(|direction| self.sends(*direction)).count()
    }
}

/// Whether to send and take trains of packets (UDP_SEGMENT, UDP_GRO).
#[derive(Clone, Copy, Debug, PartialEq, Eq, clap::ValueEnum)]
pub(crate) enum Trains {
    /// Bursts leave as trains where the kernel can.
    Auto,
    /// They must.
    On,
    /// Packet by packet.
    Off,
}

/// How much is sent.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(crate) enum Load {
    /// So many packets per second, whatever arrives.
    Rate(f64),
    /// As many as come back: so many packets under way at any time.
    Window(u64),
}

/// Who logs in.
#[derive(Clone)]
pub(crate) enum Logins {
    /// Everybody with the same credential.
    One(Arc<Login>),
    /// Two tickets for each call, and so many pairs in each.
    Calls(Arc<[[Arc<Login>; 2]]>, usize),
}

impl Logins {
    /// The credential of an end of a pair.
    pub(crate) fn of(&self, pair: usize, end: usize) -> Arc<Login> {
        match self {
            Self::One(login) => Arc::clone(login),
            Self::Calls(calls, each) => Arc::clone(&calls[(pair / each) % calls.len()][end]),
        }
    }
}

/// Everything that a run against one server needs to know.
#[derive(Clone)]
pub(crate) struct Plan {
    /// How the server is called in the report.
    pub(crate) label: String,
    pub(crate) server: SocketAddr,
    pub(crate) transport: Transport,
    pub(crate) logins: Logins,
    pub(crate) mode: Mode,
    pub(crate) form: Form,
    pub(crate) pairs: usize,
    pub(crate) size: usize,
    /// Packets of one direction that are sent back to back.
    pub(crate) burst: usize,
    pub(crate) trains: Trains,
    pub(crate) threads: usize,
    pub(crate) pins: Vec<usize>,
    pub(crate) sources: Option<Sources>,
    /// Where relayed addresses may be that peers send to; the server's own address by default.
    pub(crate) relayed: Option<IpAddr>,
}

impl Plan {
    /// Whether the ends' sockets should use trains at all.
    pub(crate) fn uses_trains(&self) -> bool {
        self.transport == Transport::Udp && self.trains != Trains::Off && self.burst > 1
    }

    /// The transport's name in a report.
    pub(crate) fn transport_name(&self) -> &'static str {
        match self.transport {
            Transport::Tcp => "TCP",
            Transport::Udp => "UDP",
        }
    }

    /// What can't be, said before anything is sent.
    pub(crate) fn check(&self) -> Result<(), String> {
        let size = payload::LEN..=LARGEST_PAYLOAD;
        if !size.contains(&self.size) {
            return Err(format!(
                "--size takes {} to {LARGEST_PAYLOAD} bytes",
                payload::LEN
            ));
        }
        if matches!(self.logins, Logins::Calls(..)) && self.mode.has_peer() {
            return Err(
                "a call reaches its parties only: --mode circuit, or an open relay with \
                        --relay, --username and --password-file"
                    .into(),
            );
        }
        if let Some(sources) = self.sources {
            if sources.0.addr().is_ipv4() != self.server.is_ipv4() {
                return Err("--sources is of another address family than the server".into());
            }
            if sources.count() < self.ends() as u128 {
                return Err(format!(
                    "--sources has fewer addresses than the {} that {} pairs need",
                    self.ends(),
                    self.pairs
                ));
            }
        }
        Ok(())
    }

    /// How many ends there are.
    pub(crate) fn ends(&self) -> usize {
        2 * self.pairs
    }

    /// The pairs of each thread.
    pub(crate) fn shares(&self) -> Vec<std::ops::Range<usize>> {
        let threads = self.threads.clamp(1, self.pairs.max(1));
        let bound = |thread: usize| thread * self.pairs / threads;
        (0..threads)
            .map(|thread| bound(thread)..bound(thread + 1))
            .collect()
    }
}

/// One measurement: a load, and for how long.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Step {
    pub(crate) load: Load,
    pub(crate) length: Duration,
    /// How long each entry of the series is.
    pub(crate) slice: Duration,
}

impl Step {
    pub(crate) fn new(load: Load, length: Duration) -> Self {
        Self {
            load,
            length,
            slice: (length / 60).max(Duration::from_millis(100)),
        }
    }
}

/// A credential as TURN's REST draft has it: good until `expiry`, a Unix time.
pub(crate) fn rest_login(secret: &str, expiry: u64) -> Login {
    let mut username = String::new();
    let _ = write!(username, "{expiry}:bench");
    let key = hmac::Key::new(hmac::HMAC_SHA1_FOR_LEGACY_USE_ONLY, secret.as_bytes());
    let password = STANDARD.encode(hmac::sign(&key, username.as_bytes()));
    Login { username, password }
}

/// The address in a TURN URL, with its transport. The host may be a name.
pub(crate) fn read_url(url: &str) -> Result<(SocketAddr, Transport), Fault> {
    use std::net::ToSocketAddrs;
    let wrong = || {
        Fault::Usage(
            "a relay is turn:HOST:PORT?transport=udp or turn:HOST:PORT?transport=tcp".into(),
        )
    };
    if url.starts_with("turns:") {
        return Err(Fault::Usage("turns: URLs can't be measured".into()));
    }
    let rest = url.strip_prefix("turn:").ok_or_else(wrong)?;
    let (place, transport) = match rest.split_once("?transport=") {
        None | Some((_, "udp")) => (rest.split('?').next().unwrap_or(rest), Transport::Udp),
        Some((place, "tcp")) => (place, Transport::Tcp),
        Some(_) => return Err(wrong()),
    };
    let has_port = place.rsplit_once(':').is_some_and(|(host, port)| {
        port.parse::<u16>().is_ok()
            && !host.is_empty()
            && (!host.contains(':') || host.ends_with(']'))
    });
    let place = if has_port {
        place.to_owned()
    } else {
        format!("{place}:3478")
    };
    let found = place.to_socket_addrs().ok().and_then(|mut all| all.next());
    let server = found.ok_or_else(|| {
        Fault::Usage("the relay's host has no address: is it written right?".into())
    })?;
    Ok((server, transport))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_read() {
        let read = |url| read_url(url).map(|(at, transport)| (at.to_string(), transport));
        let udp = |at: &str| Ok((at.to_owned(), Transport::Udp));
        assert_eq!(
            read("turn:127.0.0.1:5000?transport=udp"),
            udp("127.0.0.1:5000")
        );
        assert_eq!(read("turn:127.0.0.1"), udp("127.0.0.1:3478"));
        assert_eq!(read("turn:[::1]"), udp("[::1]:3478"));
        let tcp = Ok(("[::1]:7".to_owned(), Transport::Tcp));
        assert_eq!(read("turn:[::1]:7?transport=tcp"), tcp);
        for wrong in [
            "http://127.0.0.1",
            "turns:127.0.0.1:5349",
            "turn:127.0.0.1?transport=sctp",
        ] {
            assert!(matches!(read(wrong), Err(Fault::Usage(_))), "{wrong}");
        }
    }

    #[test]
    fn a_rest_credential_is_the_draft_s() {
        let login = rest_login("north", 1_790_000_000);
        assert_eq!(login.username, "1790000000:bench");
        // printf 1790000000:bench | openssl dgst -sha1 -hmac north -binary | base64
        assert_eq!(login.password, "JFeeKDQieJiehJVnCw/pyqR1+MA=");
    }

    #[test]
    fn threads_share_the_pairs() {
        let plan = Plan {
            label: String::new(),
            server: ([127, 0, 0, 1], 1).into(),
            transport: Transport::Udp,
            logins: Logins::One(Arc::new(rest_login("s", 1))),
            mode: Mode::Circuit,
            form: Form::Channel,
            pairs: 7,
            size: 172,
            burst: 1,
            trains: Trains::Auto,
            threads: 3,
            pins: Vec::new(),
            sources: None,
            relayed: None,
        };
        assert_eq!(plan.shares(), [0..2, 2..4, 4..7]);
        assert_eq!(plan.check(), Ok(()));
        let wrong = Plan { size: 10, ..plan };
        assert!(wrong.check().is_err());
    }
}
