//! A call that was ended is over: at once, on every way, and for good.

use std::io::Write;
use std::net::{TcpStream, UdpSocket};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread::JoinHandle;
use std::time::{Duration, Instant};

use serde_json::json;
use vizard_proto::channel_data::{self, ChannelNumber, Kind};
use vizard_proto::stun::{Class, Message};

use super::{Server, converse, hold_call, servers};
use crate::daemon::{Daemon, LOOPBACK, PATIENCE, Tickets, wait_until};
use crate::loopback::Caller;

/// How many packets are sent after the call's end.
const AFTER: u64 = 300;
/// A plain Binding request.
const BINDING: &[u8] = b"\x00\x01\x00\x00\x21\x12\xa4\x42the last one";

/// One end of a caller's wire, to send from another thread.
enum Mouth {
    Udp(UdpSocket),
    Tcp(TcpStream),
}

impl Mouth {
    fn of(caller: &Caller) -> Self {
        match caller.tcp_stream() {
            Some(stream) => Self::Tcp(stream.try_clone().expect("one more descriptor")),
            None => Self::Udp(
                caller
                    .udp_socket()
                    .try_clone()
                    .expect("one more descriptor"),
            ),
        }
    }

    fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop),
            Self::Tcp(stream) => stream.write_all(bytes),
        }
    }
}

/// Somebody who says number after number until told to stop or cut off.
struct Talker {
    /// The number that is said or about to be said.
    number: Arc<AtomicU64>,
    quiet: Arc<AtomicBool>,
    thread: JoinHandle<()>,
}

impl Talker {
    fn start(caller: &Caller) -> Self {
        let (number, quiet) = (
            Arc::new(AtomicU64::new(0)),
            Arc::new(AtomicBool::new(false)),
        );
        let mut mouth = Mouth::of(caller);
        let (count, stop) = (Arc::clone(&number), Arc::clone(&quiet));
        let thread = std::thread::spawn(move || {
            let channel = ChannelNumber::new(0x4001).expect("a channel");
            while !stop.load(Ordering::SeqCst) {
                let number = count.fetch_add(1, Ordering::SeqCst) + 1;
                let packet = [&channel_data::header(channel, 8)[..], &number.to_be_bytes()];
                if mouth.send(&packet.concat()).is_err() {
                    break;
                }
                std::thread::sleep(Duration::from_micros(100));
            }
        });
        Self {
            number,
            quiet,
            thread,
        }
    }

    fn number(&self) -> u64 {
        self.number.load(Ordering::SeqCst)
    }

    /// Goes on until so much more was said, or the wire is cut.
    fn say_more(self, count: u64) {
        let last = self.number() + count;
        wait_until("enough was said", || {
            self.number() >= last || self.thread.is_finished()
        });
        self.quiet.store(true, Ordering::SeqCst);
        self.thread.join().expect("no panic");
    }
}

/// Somebody who notes the highest number heard, until a Binding is answered or the wire is cut.
fn listen(mut caller: Caller, highest: Arc<AtomicU64>) -> JoinHandle<Caller> {
    std::thread::spawn(move || {
        while let Some(bytes) = caller.receive(Instant::now() + PATIENCE) {
            if channel_data::kind(bytes[0]) == Kind::ChannelData {
                let payload = bytes[4..12].try_into().expect("a number");
                highest.fetch_max(u64::from_be_bytes(payload), Ordering::SeqCst);
            } else if Message::parse(&bytes).is_ok_and(|it| it.class() != Class::Indication) {
                break;
            }
        }
        caller
    })
}

/// Ends a call in which alice is talking all the time; nothing that she says after the answer came
/// back is heard by bob.
fn end_while_talking(daemon: &Daemon, ways: [Server; 2]) -> Tickets {
    let (tickets, [mut alice, bob]) = hold_call(daemon, ways);
    let mut bobs_mouth = Mouth::of(&bob);
    let highest = Arc::new(AtomicU64::new(0));
    let listener = listen(bob, Arc::clone(&highest));
    let talker = Talker::start(&alice);
    wait_until("the call is in full swing", || {
        highest.load(Ordering::SeqCst) >= 50
    });

    daemon.end(tickets.id());
    let said = talker.number();
    talker.say_more(AFTER);
    // Two rounds: by the answer to the second, the node has long sent what it had for anybody
    // before the first.
    if ways[0].by_tcp {
        assert!(alice.is_closed_by_node());
    } else {
        assert_eq!((alice.binding(), alice.binding()), (0, 0));
    }
    // Whatever was on its way to bob is before the answer to this, or before the end of his wire.
    wait_until("bob has heard all", || {
        let _ = bobs_mouth.send(BINDING);
        listener.is_finished()
    });
    listener.join().expect("no panic");
    let heard = highest.load(Ordering::SeqCst);
    assert!(heard <= said, "heard {heard}, said {said} before the end");
    if !ways[0].by_tcp {
        assert_eq!(alice.refresh(600), Err(401));
        assert_eq!(alice.try_allocate(), Err(401));
    }
    tickets
}

/// No way leads back into the call.
fn is_dead(daemon: &Daemon, tickets: &Tickets, servers: &[Server]) {
    for server in servers {
        for party in ["alice", "bob"] {
            let mut caller = server.join(tickets.of(party));
            assert_eq!(caller.try_allocate(), Err(401), "{server:?}");
            assert_eq!(caller.refresh(600), Err(401), "{server:?}");
        }
    }
    assert_eq!(daemon.show(tickets.id())["phase"], "ended");
}

#[test]
fn nothing_sent_after_the_answer_arrives_and_no_ticket_comes_back() {
    let mut daemon = Daemon::start(LOOPBACK);
    let all = servers(&daemon.open());
    let kept = daemon.open();
    let mut ended = Vec::new();
    for (first, second) in all.iter().flat_map(|a| all.iter().map(move |b| (*a, *b))) {
        ended.push(end_while_talking(&daemon, [first, second]));
    }
    let refused = daemon.metric("vizard_packets_dropped_total{reason=\"no_allocation\"}");
    assert!(refused > AFTER, "they came and were refused: {refused}");
    for tickets in &ended {
        is_dead(&daemon, tickets, &all);
    }
    for how in [Daemon::restart, |daemon: &mut Daemon| {
        daemon.kill();
        daemon.launch();
    }] {
        how(&mut daemon);
        let all = servers(&daemon.open());
        for tickets in &ended {
            is_dead(&daemon, tickets, &all[..1]);
        }
        is_dead(&daemon, &ended[0], &all);
        let mut alice = all[0].join(kept.of("alice"));
        let mut bob = all[2].join(kept.of("bob"));
        super::connect(&mut alice, &mut bob);
        converse(&mut alice, &mut bob);
    }
}

#[test]
fn ending_twice_is_ending_once() {
    let daemon = Daemon::start(LOOPBACK);
    let tickets = daemon.open();
    let path = format!("/v1/calls/{}", tickets.id());
    let first = daemon.ask("DELETE", &path, &json!(null), 200);
    let second = daemon.ask("DELETE", &path, &json!(null), 200);
    assert_eq!(first, second);
    let answer = json!({"party": "bob"});
    daemon.ask("POST", &format!("{path}/answer"), &answer, 409);
}
