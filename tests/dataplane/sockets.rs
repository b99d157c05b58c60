//! What is ours in an IP header, and what no packet or socket error may do.

use std::io::IoSliceMut;
use std::net::{SocketAddr, UdpSocket};
use std::os::fd::AsRawFd;
use std::sync::{Arc, Mutex};
use std::thread;
use std::time::{Duration, SystemTime};

use nix::sys::socket::{
    ControlMessageOwned, MsgFlags, SockaddrStorage, recvmsg, setsockopt, sockopt,
};
use socket2::SockRef;
use vizard::dataplane::{
    self, ConnectionLimits, FastPath, Reporter, Settings, StartError, UsageBatch,
};
use vizard::telemetry::Metrics;
use vizard_proto::auth::ticket::{CallId, TicketKey, TicketKeys};
use vizard_proto::config::{Config, Limits, Masking};
use vizard_proto::contract::{Command, Event};
use vizard_proto::time::WallClock;

use crate::loopback::{Caller, Heard, Node, PATIENCE, Reports, Setup, wait_until};

/// TTL or hop limit and DSCP/ECN of the next packet.
fn marks(socket: &UdpSocket) -> (Option<i32>, Option<i32>) {
    socket
        .set_read_timeout(Some(PATIENCE))
        .expect("a positive time");
    let (mut buffer, mut ancillary) = ([0; 2048], vec![0; 256]);
    let mut buffers = [IoSliceMut::new(&mut buffer)];
    let message = recvmsg::<SockaddrStorage>(
        socket.as_raw_fd(),
        &mut buffers,
        Some(&mut ancillary),
        MsgFlags::empty(),
    )
    .expect("a packet");
    let (mut ttl, mut tos) = (None, None);
    for cmsg in message.cmsgs().expect("room for all") {
        match cmsg {
            ControlMessageOwned::Ipv4Ttl(value) | ControlMessageOwned::Ipv6HopLimit(value) => {
                ttl = Some(value);
            }
            ControlMessageOwned::Ipv4Tos(value) => tos = Some(i32::from(value)),
            ControlMessageOwned::Ipv6TClass(value) => tos = Some(value),
            _ => {}
        }
    }
    (ttl, tos)
}

fn connect(alice: &mut Caller, bob: &mut Caller) {
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
}

#[test]
fn ttl_and_dscp_are_ours_on_ipv4() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = call.over_udp(1, node.udp(0));
    connect(&mut alice, &mut bob);
    let sender = SockRef::from(alice.udp_socket());
    sender.set_ttl_v4(17).expect("set");
    sender.set_tos_v4(0xB8 | 1).expect("set");
    let receiver = bob.udp_socket();
    setsockopt(receiver, sockopt::Ipv4RecvTtl, &true).expect("set");
    setsockopt(receiver, sockopt::IpRecvTos, &true).expect("set");
    let to = bob.mask();
    alice.say(0x4001, b"by the table");
    assert_eq!(marks(bob.udp_socket()), (Some(64), Some(0)));
    alice.indicate(to, b"by the relay");
    assert_eq!(marks(bob.udp_socket()), (Some(64), Some(0)));
}

#[test]
fn hop_limit_and_traffic_class_are_ours_on_ipv6() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(1));
    let mut bob = call.over_udp(1, node.udp(1));
    connect(&mut alice, &mut bob);
    let sender = SockRef::from(alice.udp_socket());
    sender.set_unicast_hops_v6(17).expect("set");
    sender.set_tclass_v6(0xB8 | 1).expect("set");
    let receiver = bob.udp_socket();
    setsockopt(receiver, sockopt::Ipv6RecvHopLimit, &true).expect("set");
    setsockopt(receiver, sockopt::Ipv6RecvTClass, &true).expect("set");
    let to = bob.mask();
    alice.say(0x4001, b"by the table");
    assert_eq!(marks(bob.udp_socket()), (Some(64), Some(0)));
    alice.indicate(to, b"by the relay");
    assert_eq!(marks(bob.udp_socket()), (Some(64), Some(0)));
}

#[test]
fn oversized_datagrams_are_dropped_whole() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = call.over_udp(1, node.udp(0));
    connect(&mut alice, &mut bob);
    for len in [5000, 9000, 65_000] {
        alice.say(0x4001, &vec![1; len]);
    }
    wait_until("all are counted", || node.dropped("oversized") == 3);
    alice.say(0x4001, &[1; 4096]);
    assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![1; 4096]));
}

#[test]
fn a_receiver_that_is_gone_stops_nobody() {
    let node = Node::start(&Setup {
        workers: 1,
        ..Setup::default()
    });
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = call.over_udp(1, node.udp(0));
    connect(&mut alice, &mut bob);
    drop(bob);
    // Every packet to the closed port brings an ICMP error back to the node's socket.
    for _ in 0..100 {
        alice.say(0x4001, b"anybody?");
    }
    wait_until("all are sent", || node.forwarded("table") == 100);
    assert_eq!(alice.refresh(600), Ok(()));
}

#[test]
fn garbage_is_counted_and_nothing_else() {
    let node = Node::start(&Setup::default());
    let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
    socket.connect(node.udp(0)).expect("loopback is reachable");
    for bytes in [&b""[..], b"\xff", b"\x80garbage", b"\x17\x03\x03"] {
        socket.send(bytes).expect("sent");
    }
    wait_until("it is counted", || node.dropped("not_turn") == 4);
    for bytes in [&b"\x40"[..], b"\x40\x00\x00", b"\x40\x00\x00\x05abc"] {
        socket.send(bytes).expect("sent");
    }
    wait_until("it is counted", || {
        node.dropped("malformed_channel_data") == 3
    });
    socket.send(b"\x40\x00\x00\x03abc").expect("sent");
    wait_until("it is counted", || node.dropped("no_allocation") == 1);
    socket.send(b"\x00\x01\x00\x04").expect("sent");
    wait_until("it is counted", || node.dropped("malformed_stun") == 1);
    socket.set_nonblocking(true).expect("a socket");
    assert!(
        socket.recv(&mut [0; 100]).is_err(),
        "none of it is answered"
    );
}

#[test]
fn a_worker_looks_once_per_interval_while_packets_keep_coming() {
    let node = Node::start(&Setup {
        workers: 1,
        coalesce: Duration::from_millis(2),
        ..Setup::default()
    });
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = call.over_udp(1, node.udp(0));
    connect(&mut alice, &mut bob);
    let sleeps = || node.metric("vizard_worker_rounds_total{began=\"sleep\"}");
    assert_eq!(sleeps(), 0, "who asks now and then is answered at once");
    let mut talk = || {
        for _ in 0..50 {
            for _ in 0..20 {
                alice.say(0x4001, b"and so on");
            }
            for _ in 0..20 {
                assert_eq!(bob.hear(), Heard::Channel(0x4002, b"and so on".to_vec()));
            }
        }
    };
    wait_until("packets are left to gather", || {
        talk();
        sleeps() > 10
    });
    node.handle.set_coalesce(Duration::ZERO);
    wait_until("they no longer are", || {
        let before = sleeps();
        talk();
        sleeps() == before
    });
}

#[test]
fn new_limits_reach_every_worker() {
    let node = Node::start(&Setup {
        workers: 3,
        ..Setup::default()
    });
    let limits = Limits {
        answers_per_second: 1,
        answers_burst: 1,
        ..Limits::default()
    };
    let command = Command::SetPolicy {
        masking: Masking::default(),
        limits,
    };
    node.handle.command(command).expect("it is always taken");
    let strangers: Vec<_> = (0..16)
        .map(|_| {
            let socket = UdpSocket::bind("127.0.0.1:0").expect("a free port");
            socket.connect(node.udp(0)).expect("loopback is reachable");
            socket
        })
        .collect();
    // An Allocate without credentials is answered by the worker's own gate.
    let mut request = vec![0, 3, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    request.resize(20, 9);
    for stranger in &strangers {
        let refused = node.dropped("answer_budget");
        wait_until("its worker is silent", || {
            stranger.send(&request).expect("sent");
            node.dropped("answer_budget") > refused
        });
    }
}

fn settings(udp: &[SocketAddr], tcp: &[SocketAddr]) -> Settings {
    Settings {
        udp: udp.to_vec(),
        tcp: tcp.to_vec(),
        workers: 2,
        relay: Config {
            realm: "vizard".into(),
            clock: WallClock::new(0),
            tickets: Arc::new(TicketKeys::new(
                &TicketKey {
                    id: 1,
                    secret: [1; 32],
                },
                &[],
            )),
            nonce_secret: [1; 32],
            masking: Masking::default(),
            limits: Limits::default(),
        },
        seed: [1; 32],
        connections: ConnectionLimits::default(),
        changes: 16,
        fast_path: FastPath::Auto,
        coalesce: Duration::ZERO,
    }
}

fn refusal(udp: &[SocketAddr], tcp: &[SocketAddr]) -> String {
    let started = dataplane::start(
        settings(udp, tcp),
        Arc::new(Reports::default()),
        Arc::new(Metrics::new()),
    );
    started
        .err()
        .map(|error: StartError| error.to_string())
        .expect("it must not start")
}

#[test]
fn a_port_in_use_is_named_with_what_to_do() {
    let node = Node::start(&Setup::default());
    let (udp, tcp) = (node.udp(0), node.tcp(0));
    let said = refusal(&[udp], &[]);
    assert!(
        said.contains(&format!("UDP {udp}")) && said.contains("choose another port"),
        "{said}"
    );
    let said = refusal(&[], &[tcp]);
    assert!(
        said.contains(&format!("TCP {tcp}")) && said.contains("choose another port"),
        "{said}"
    );
}

#[test]
fn an_address_of_another_machine_is_named() {
    let elsewhere = "192.0.2.1:3478".parse().expect("an address");
    let said = refusal(&[elsewhere], &[]);
    assert!(
        said.contains("UDP 192.0.2.1:3478") && said.contains("no interface"),
        "{said}"
    );
    assert!(refusal(&[], &[]).contains("no listener"));
}

#[test]
fn a_wildcard_and_one_of_its_addresses_together() {
    let port = UdpSocket::bind("127.0.0.1:0")
        .and_then(|it| it.local_addr())
        .expect("free")
        .port();
    let all = SocketAddr::from(([0, 0, 0, 0], port));
    let one = SocketAddr::from(([127, 0, 0, 1], port));
    let started = dataplane::start(
        settings(&[all, one], &[]),
        Arc::new(Reports::default()),
        Arc::new(Metrics::new()),
    );
    let (handle, running) = started.expect("starts");
    assert_eq!(running.udp(), [all, one]);
    handle.shutdown();
    running.join();
}

/// Holds up the first worker, outside of the relay's lock, until it is let go.
struct Holder(Mutex<bool>);

impl Reporter for Holder {
    fn event(&self, _: Event) {}

    fn usage(&self, batch: &mut dyn FnMut() -> UsageBatch) -> bool {
        let is_first = thread::current().name() == Some("worker-0");
        while is_first && *self.0.lock().expect("no panic") {
            thread::sleep(Duration::from_millis(20));
        }
        drop(batch());
        true
    }
}

/// Timers of calls and allocations are everyone's: one stuck thread must not stop them.
#[test]
fn a_stuck_worker_is_seen_and_another_tells_the_relay_the_time() {
    let settings = settings(&[SocketAddr::from(([127, 0, 0, 1], 0))], &[]);
    let holder = Arc::new(Holder(Mutex::new(true)));
    let reporter = Arc::clone(&holder) as Arc<dyn Reporter>;
    let started = dataplane::start(settings, reporter, Arc::new(Metrics::new()));
    let (handle, running) = started.expect("starts");
    handle.start_serving();
    assert!(handle.is_alive());
    wait_until("the first is known to be stuck", || !handle.is_alive());
    let now = SystemTime::UNIX_EPOCH.elapsed().expect("after 1970");
    let open = Command::OpenCall {
        call: CallId([1; 16]),
        until: now.as_secs() + 2,
        usernames: Vec::new(),
    };
    handle.command(open).expect("there is room");
    wait_until("the call is over", || handle.load().calls == 0);
    *holder.0.lock().expect("no panic") = false;
    wait_until("all move again", || handle.is_alive());
    handle.shutdown();
    running.join();
}
