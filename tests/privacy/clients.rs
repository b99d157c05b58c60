//! What happens on the relay's ports during a life: calls, and everybody else.

use std::net::{IpAddr, SocketAddr, UdpSocket};

use vizard_proto::auth::ticket::Credential;
use vizard_proto::stun::{AttributeType, Method};

use super::life::Life;
use crate::daemon::wait_until;
use crate::loopback::{Caller, Heard};

/// How a client comes.
#[derive(Clone, Copy)]
struct Way {
    from: IpAddr,
    by_tcp: bool,
}

/// Datagrams that no client sends: not TURN, cut off, too long inside, a bad fingerprint.
const MALFORMED: [&[u8]; 8] = [
    b"",
    b"\xff\x00",
    b"\x16\x03\x01\x00\x10hello",
    b"\x00\x03\x00\x08\x21\x12\xa4\x42",
    b"\x00\x03\x00\x04\x21\x12\xa4\x42aaaabbbbcccc\x00\x06\x00\x40",
    b"\x00\x01\x00\x08\x21\x12\xa4\x42aaaabbbbcccc\x80\x28\x00\x04\x00\x00\x00\x00",
    b"\x00\x03\x00\x08\x21\x12\xa4\x42aaaabbbbcccc\x00\x19\x00\x04\x06\x00\x00\x00",
    b"\x40\x01\x00\xff\x01",
];

impl Life<'_> {
    /// Calls between all clients, each ended in one of the ways that there are.
    pub fn hold_calls(&mut self) {
        let from = |by_tcp| {
            move |from: &IpAddr| Way {
                from: *from,
                by_tcp,
            }
        };
        let clients = &self.place.clients;
        let ways: Vec<Way> = clients.iter().map(from(false)).collect();
        let streams: Vec<Way> = clients.iter().map(from(true)).collect();
        for (first, second) in ways.iter().zip(ways.iter().rev().chain(&streams)) {
            self.hold_a_call(*first, *second);
        }
        for (first, second) in streams.iter().zip(ways.iter().rev()) {
            self.hold_a_call(*first, *second);
        }
    }

    fn hold_a_call(&mut self, first: Way, second: Way) {
        let (tickets, alice, bob) = self.open_call();
        let mut alice = self.caller(first, alice);
        let mut bob = self.caller(second, bob);
        let (a, b) = (alice.allocate(), bob.allocate());
        alice.binding();
        assert_eq!((alice.permit(b), bob.permit(a)), (Ok(()), Ok(())));
        talk(&mut alice, a, &mut bob, b);
        assert_eq!(
            (alice.bind(0x4001, b), bob.bind(0x4001, a)),
            (Ok(()), Ok(()))
        );
        alice.say(0x4001, b"on a channel");
        assert_eq!(bob.hear(), Heard::Channel(0x4001, b"on a channel".to_vec()));
        self.forbidden(&mut alice);
        assert_eq!(alice.refresh(900), Ok(()));
        let path = format!("/v1/calls/{}", tickets.id());
        assert_eq!(self.ask("GET", &path, &serde_json::Value::Null).status, 200);
        if first.by_tcp {
            assert_eq!(alice.refresh(0), Ok(()));
            return;
        }
        assert_eq!(
            self.ask("DELETE", &path, &serde_json::Value::Null).status,
            200
        );
        assert_eq!(alice.refresh(900), Err(401));
        assert_eq!(alice.try_allocate(), Err(401));
        alice.say(0x4001, b"into the void");
    }

    /// Peers that are none of the call's, and packets that lead nowhere.
    fn forbidden(&self, caller: &mut Caller) {
        let peers = self.place.foreign.iter().chain(&self.place.clients);
        for ip in peers.chain([&self.place.platform]) {
            let peer = SocketAddr::new(*ip, 40_000);
            assert_eq!(caller.permit(peer), Err(403));
            assert_eq!(caller.bind(0x4002, peer), Err(403));
            caller.indicate(peer, peer.to_string().as_bytes());
        }
        caller.say(0x4007, b"no such channel");
        assert_eq!(caller.try_allocate(), Err(437));
        let strange = caller.request(Method::REFRESH, |request| {
            request.bytes(AttributeType(0x7777), b"must be understood");
        });
        assert_eq!(strange, Err(420));
    }

    fn caller(&self, way: Way, credential: Credential) -> Caller {
        let servers = &self.place.servers;
        let same = |server: &IpAddr| server.is_ipv4() == way.from.is_ipv4();
        let index = servers.iter().position(same).expect("a server");
        if way.by_tcp {
            Caller::tcp_from(way.from, self.daemon.tcp(index), credential)
        } else {
            Caller::udp_from(way.from, self.daemon.udp(index), credential)
        }
    }

    /// Those who have no ticket, or no manners.
    pub fn strangers(&mut self) {
        let (_, ticket, _) = self.open_call();
        for from in self.place.clients.clone() {
            for by_tcp in [false, true] {
                let way = Way { from, by_tcp };
                self.without_a_ticket(way, &ticket);
            }
            self.malformed(from);
        }
    }

    fn without_a_ticket(&self, way: Way, ticket: &Credential) {
        let wrong = Credential {
            password: self.names.password.clone(),
            ..ticket.clone()
        };
        let unknown = Credential {
            username: self.names.stranger.clone(),
            password: self.names.password.clone(),
        };
        for credential in [wrong, unknown] {
            let mut caller = self.caller(way, credential);
            assert_eq!(caller.binding(), 0);
            assert_eq!(caller.try_allocate(), Err(401));
            assert_eq!(caller.refresh(600), Err(401));
            caller.indicate(SocketAddr::new(way.from, 1), b"to myself");
            caller.say(0x4001, b"to nobody");
        }
        if way.by_tcp {
            let mut caller = self.caller(way, ticket.clone());
            caller.send(b"GET / HTTP/1.1\r\n\r\n");
            assert!(caller.is_closed_by_node());
        }
    }

    fn malformed(&self, from: IpAddr) {
        let same = |server: &IpAddr| server.is_ipv4() == from.is_ipv4();
        let index = self.place.servers.iter().position(same).expect("a server");
        let socket = UdpSocket::bind((from, 0)).expect("a free port");
        let server = self.daemon.udp(index);
        let name = "vizard_packets_received_total{transport=\"udp\"}";
        let before = self.daemon.metric(name);
        for bytes in MALFORMED {
            socket.send_to(bytes, server).expect("sent");
        }
        socket
            .send_to(from.to_string().as_bytes(), server)
            .expect("sent");
        let all = before + MALFORMED.len() as u64 + 1;
        wait_until("all of it has come", || self.daemon.metric(name) >= all);
    }
}

/// Says something in indications, in both directions.
fn talk(alice: &mut Caller, a: SocketAddr, bob: &mut Caller, b: SocketAddr) {
    alice.indicate(b, b"hello");
    assert_eq!(bob.hear(), Heard::Data(a, b"hello".to_vec()));
    bob.indicate(a, b"you");
    assert_eq!(alice.hear(), Heard::Data(b, b"you".to_vec()));
}
