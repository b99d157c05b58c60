//! What a million circuits hold through the core: two allocations each, with permission and channel,
//! and the worker's entries both ways. `--quick` makes ten thousand.
#![allow(missing_docs)]

use std::net::{Ipv4Addr, SocketAddr};

use testkit::client::Verdict;
use testkit::{Phone, SEED, code, ticket};
use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::auth::ticket::{CallId, Ticket};
use vizard_proto::contract::Output;
use vizard_proto::stun::{AttributeType, Message, Method, TransactionId, Writer};
use vizard_proto::time::Timestamp;
use vizard_proto::{Relay, Step, Worker};

/// The relay and its one worker.
struct Node {
    relay: Relay,
    worker: Worker,
}

fn main() {
    let quick = std::env::args().any(|argument| argument == "--quick");
    let circuits: u32 = if quick { 10_000 } else { 1_000_000 };
    let mut node = Node::new();
    let before = memory();
    for number in 0..circuits {
        node.circuit(number);
    }
    let used = memory() - before;
    assert_eq!(node.worker.forward_count(), 4 * circuits as usize);
    println!(
        "{circuits} circuits: {} MiB, {} bytes for each allocation with permission and channel",
        used >> 20,
        used / (2 * u64::from(circuits))
    );
}

impl Node {
    fn new() -> Self {
        let mut config = testkit::config();
        config.limits.allocations = usize::MAX;
        config.limits.calls = usize::MAX;
        config.limits.answers_per_second = u32::MAX;
        config.limits.answers_burst = u32::MAX;
        Self {
            relay: Relay::new(config.clone(), SEED),
            worker: Worker::new(&config, 1, SEED),
        }
    }

    /// Two parties of a call of their own, with channels bound to each other.
    fn circuit(&mut self, number: u32) {
        let mut ends = [0, 1].map(|party| {
            let mut call = [0; 16];
            call[..4].copy_from_slice(&number.to_be_bytes());
            let ticket = Ticket {
                call: CallId(call),
                ..ticket(1, party)
            };
            let mut phone = Phone::new(tuple(2 * number + u32::from(party)), &ticket);
            let answer = self.ask(&mut phone, Method::ALLOCATE, |writer| {
                writer.bytes(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0]);
            });
            let message = Message::parse(&answer).expect("an answer");
            let mask = message.xor_relayed_address().expect("well-formed");
            (phone, mask.expect("an allocation"))
        });
        let masks = [ends[1].1, ends[0].1];
        for ((phone, _), peer) in ends.iter_mut().zip(masks) {
            let answer = self.ask(phone, Method::CHANNEL_BIND, |writer| {
                writer.u32(AttributeType::CHANNEL_NUMBER, 0x4000 << 16);
                writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
            });
            assert_eq!(code(&answer), 200);
        }
    }

    /// Asks twice at first: the first answer brings the nonce.
    fn ask(&mut self, phone: &mut Phone, method: Method, put: impl Fn(&mut Writer<'_>)) -> Vec<u8> {
        loop {
            let request = phone.client.request(method, TransactionId([1; 12]), &put);
            let answer = self.packet(phone.tuple, &request);
            if phone.client.hear(&answer) != Verdict::Again {
                return answer;
            }
        }
    }

    fn packet(&mut self, tuple: FiveTuple, packet: &[u8]) -> Vec<u8> {
        let now = Timestamp::from_secs(10);
        let from = Client { tuple, worker: 0 };
        let mut out = [0; 1024];
        let mut step = self.worker.handle(now, from, packet, &mut out);
        if let Step::Ask(admitted) = step {
            let verdict = self.relay.handle(now, admitted, &mut out);
            step = self.worker.settle(now, &from, verdict, &mut out);
        }
        let Step::Answer(len) = step else {
            panic!("no answer");
        };
        while let Some(output) = self.relay.poll_output() {
            if let Output::Change(_, change) = output {
                self.worker.apply(change);
            }
        }
        out[..len].to_vec()
    }
}

fn tuple(client: u32) -> FiveTuple {
    FiveTuple {
        transport: Transport::Udp,
        local: "203.0.113.1:3478".parse().expect("an address"),
        remote: SocketAddr::new(Ipv4Addr::from_bits(0x0B00_0000 + client).into(), 40_000),
    }
}

/// What this process holds, in bytes.
fn memory() -> u64 {
    let text = std::fs::read_to_string("/proc/self/status").expect("Linux");
    let line = text.lines().find(|line| line.starts_with("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().nth(1));
    let kib: u64 = number.and_then(|kib| kib.parse().ok()).expect("a number");
    kib * 1024
}
