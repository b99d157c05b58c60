//! The real binary, asked over its HTTP API and spoken to by real sockets.
//!
//! Nothing here sleeps to see that nothing comes. That a packet did not arrive is shown by another
//! one that was sent behind it on the same path and did, or by the node's own counters.

mod addresses;
mod calls;
mod crowds;
mod devices;
mod endings;
mod expiry;
mod flood;
mod full_disk;
mod kills;
mod logging;
mod store;
mod strangers;
mod turn_client;

use std::net::SocketAddr;

use crate::daemon::{Daemon, Tickets};
use crate::loopback::{Caller, Heard};
use vizard_proto::auth::ticket::Credential;

/// A TURN server as a URL names it.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Server {
    /// Where it is.
    pub address: SocketAddr,
    /// Whether it is spoken to over TCP.
    pub by_tcp: bool,
}

impl Server {
    /// The server of `turn:HOST:PORT?transport=...`.
    pub fn of_url(url: &str) -> Self {
        let rest = url.strip_prefix("turn:").expect("a turn URL");
        let (address, transport) = rest.split_once("?transport=").expect("a transport");
        Self {
            address: address.parse().expect("an address with its port"),
            by_tcp: transport == "tcp",
        }
    }

    /// A client of it.
    pub fn join(self, credential: Credential) -> Caller {
        if self.by_tcp {
            Caller::tcp(self.address, credential)
        } else {
            Caller::udp(self.address, credential)
        }
    }
}

/// All servers that a node's calls name: UDP and TCP, on IPv4 and IPv6.
pub fn servers(tickets: &Tickets) -> Vec<Server> {
    let configuration = &tickets.0["parties"]["alice"]["rtc_configuration"];
    let urls = configuration["iceServers"][0]["urls"].as_array();
    let urls = urls.expect("URLs").iter().filter_map(|url| url.as_str());
    urls.map(Server::of_url).collect()
}

/// Alice and bob with a channel to each other: 0x4001 of hers, 0x4002 of his.
pub fn connect(alice: &mut Caller, bob: &mut Caller) {
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
}

/// A call between two who came by these servers.
pub fn hold_call(daemon: &Daemon, ways: [Server; 2]) -> (Tickets, [Caller; 2]) {
    let tickets = daemon.open();
    let mut alice = ways[0].join(tickets.of("alice"));
    let mut bob = ways[1].join(tickets.of("bob"));
    connect(&mut alice, &mut bob);
    (tickets, [alice, bob])
}

/// Says something on a channel, which is the next that the other hears.
pub fn talk(from: &mut Caller, channel: u16, to: &mut Caller, heard: u16, words: &[u8]) {
    from.say(channel, words);
    assert_eq!(to.hear(), Heard::Channel(heard, words.to_vec()));
}

/// Both say something on their channels.
pub fn converse(alice: &mut Caller, bob: &mut Caller) {
    talk(alice, 0x4001, bob, 0x4002, b"I am alice");
    talk(bob, 0x4002, alice, 0x4001, b"I am bob");
}
