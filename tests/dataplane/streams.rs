//! TCP: what keeps a connection, what ends it, and what a slow reader does.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use vizard::dataplane::ConnectionLimits;

use crate::loopback::{Heard, Node, PATIENCE, Setup, wait_until};

fn closed(node: &Node, reason: &str) -> u64 {
    node.metric(&format!(
        "vizard_tcp_connections_closed_total{{reason=\"{reason}\"}}"
    ))
}

/// Whether the node closes this connection.
fn is_closed(stream: &mut TcpStream) -> bool {
    stream
        .set_read_timeout(Some(PATIENCE))
        .expect("a positive time");
    match stream.read(&mut [0; 512]) {
        Ok(len) => len == 0,
        Err(error) => error.kind() == std::io::ErrorKind::ConnectionReset,
    }
}

#[test]
fn other_protocols_are_shown_the_door() {
    let node = Node::start(&Setup::default());
    let greetings: [&[u8]; 7] = [
        b"GET / HTTP/1.1\r\n\r\n",
        b"SSH-2.0-OpenSSH_9.9\r\n",
        b"\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03",
        b"\x00\x01\x00\x00NOTACOOKIE__________",
        b"\x00\x01\xff\xfcNOTACOOKIE__________",
        b"\x40\x00\xff\xff",
        b"\xff",
    ];
    for greeting in greetings {
        let mut stream = TcpStream::connect(node.tcp(0)).expect("accepts");
        stream.write_all(greeting).expect("sent");
        assert!(is_closed(&mut stream), "{greeting:?}");
    }
    wait_until("all are counted", || closed(&node, "not_turn") == 7);
    wait_until("none is left", || {
        node.metric("vizard_tcp_connections") == 0
    });
}

#[test]
fn only_an_allocation_keeps_a_connection() {
    let connections = ConnectionLimits {
        without_allocation: Duration::from_millis(100),
        ..ConnectionLimits::default()
    };
    let node = Node::start(&Setup {
        connections,
        ..Setup::default()
    });
    let call = node.call();
    // It allocates at once, before the first look at it.
    let mut alice = call.over_tcp(0, node.tcp(0));
    alice.allocate();
    let mut idle = TcpStream::connect(node.tcp(0)).expect("accepts");
    let mut slow = TcpStream::connect(node.tcp(1)).expect("accepts");
    slow.write_all(&[0, 1, 0]).expect("sent");
    assert!(is_closed(&mut idle));
    assert!(is_closed(&mut slow));
    wait_until("both are counted", || closed(&node, "no_allocation") == 2);
    assert_eq!(alice.refresh(600), Ok(()));
    // Without its allocation it goes the same way.
    assert_eq!(alice.refresh(0), Ok(()));
    assert!(alice.is_closed_by_node());
}

/// Strangers' connections come and go without the relay's lock.
#[test]
fn only_an_allocation_s_connection_is_told_to_the_relay() {
    let node = Node::start(&Setup::default());
    let locks = || node.metric("vizard_relay_locks_total{purpose=\"disconnect\"}");
    for number in 0..50 {
        let mut stranger = TcpStream::connect(node.tcp(number % 2)).expect("accepts");
        stranger.write_all(b"GET / HTTP/1.1\r\n").expect("sent");
    }
    wait_until("all are counted", || {
        closed(&node, "not_turn") + closed(&node, "failed") + closed(&node, "by_client") == 50
    });
    assert_eq!(locks(), 0);
    let call = node.call();
    let mut alice = call.over_tcp(0, node.tcp(0));
    alice.allocate();
    drop(alice);
    wait_until("its end is told", || locks() == 1);
}

#[test]
fn a_message_may_come_in_pieces() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_tcp(0, node.tcp(0));
    let mut bob = call.over_tcp(1, node.tcp(0));
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
    let mut stream = Vec::new();
    for number in 0..40_u8 {
        stream.extend([0x40, 0x01, 0, 5, number, 1, 2, 3, 4, 0xEE, 0xEE, 0xEE]);
    }
    // Cuts that fall into headers, payloads and padding.
    for piece in stream.chunks(7) {
        alice.send(piece);
    }
    for number in 0..40_u8 {
        assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![number, 1, 2, 3, 4]));
    }
}

#[test]
fn what_is_too_long_is_passed_over_and_counted() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_tcp(0, node.tcp(0));
    let mut bob = call.over_tcp(1, node.tcp(0));
    let mut carol = call.over_udp(2, node.udp(0));
    let (a, b, c) = (alice.allocate(), bob.allocate(), carol.allocate());
    for (channel, peer) in [(0x4001, b), (0x4003, c)] {
        assert_eq!(alice.bind(channel, peer), Ok(()));
    }
    assert_eq!(bob.bind(0x4002, a), Ok(()));
    assert_eq!(carol.bind(0x4002, a), Ok(()));
    for (round, len) in (1..).zip([5000, 20_000, 65_535, 65_533]) {
        // What is passed over looks like messages, and must not be taken for any.
        alice.say(0x4001, &b"\x40\x01\x00\x04oops".repeat(len / 8 + 1)[..len]);
        alice.say(0x4001, b"still here");
        assert_eq!(bob.hear(), Heard::Channel(0x4002, b"still here".to_vec()));
        wait_until("it is counted", || node.dropped("oversized") == round);
    }
    // A STUN message of any length is no other matter.
    let mut stun = vec![0, 0x16, 0xFF, 0xFC, 0x21, 0x12, 0xA4, 0x42];
    stun.resize(20 + 0xFFFC, 7);
    alice.send(&stun);
    for (channel, hears) in [(0x4001, &mut bob), (0x4003, &mut carol)] {
        alice.say(channel, &[5; 4096]);
        assert_eq!(hears.hear(), Heard::Channel(0x4002, vec![5; 4096]));
    }
    assert_eq!(node.dropped("oversized"), 5);
    assert_eq!(alice.refresh(600), Ok(()));
    assert_eq!(node.metric("vizard_tcp_connections"), 2);
}

#[test]
fn many_messages_in_one_piece() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_tcp(0, node.tcp(0));
    let mut bob = call.over_tcp(1, node.tcp(1));
    let mut carol = call.over_udp(2, node.udp(0));
    let (a, b, c) = (alice.allocate(), bob.allocate(), carol.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(alice.bind(0x4002, c), Ok(()));
    assert_eq!(bob.bind(0x4001, a), Ok(()));
    assert_eq!(carol.bind(0x4001, a), Ok(()));
    let mut stream = Vec::new();
    for number in 0..100_u8 {
        stream.extend([0x40, 0x01 + number % 2, 0, 4, number, 1, 2, 3]);
    }
    alice.send(&stream);
    for number in 0..100_u8 {
        let listener = if number % 2 == 0 {
            &mut bob
        } else {
            &mut carol
        };
        assert_eq!(
            listener.hear(),
            Heard::Channel(0x4001, vec![number, 1, 2, 3])
        );
    }
}

#[test]
fn what_comes_in_together_goes_out_together() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_tcp(0, node.tcp(0));
    let mut bob = call.over_tcp(1, node.tcp(0));
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
    // More than are gathered at once, in one segment.
    alice.send(&[0x40, 0x01, 0, 4, 1, 2, 3, 4].repeat(150));
    for _ in 0..150 {
        assert_eq!(bob.hear(), Heard::Channel(0x4002, vec![1, 2, 3, 4]));
    }
    let writes = || node.metric("vizard_tcp_writes_total");
    wait_until("they are counted", || writes() > 0);
    assert!(writes() <= 6, "{} writes", writes());
}

#[test]
fn who_does_not_read_loses_media_but_not_the_rhythm() {
    let node = Node::start(&Setup::default());
    let call = node.call();
    let mut alice = call.over_udp(0, node.udp(0));
    let mut bob = call.over_tcp(1, node.tcp(0));
    let (a, b) = (alice.allocate(), bob.allocate());
    assert_eq!(alice.bind(0x4001, b), Ok(()));
    assert_eq!(bob.bind(0x4002, a), Ok(()));
    let mut said = 0_u32;
    wait_until("bob's queue is full", || {
        for _ in 0..100 {
            let mut payload = [0; 1199];
            payload[..4].copy_from_slice(&said.to_be_bytes());
            alice.say(0x4001, &payload);
            said += 1;
        }
        node.dropped("connection_full") > 0
    });
    // What bob hears is whole and in order, and after it he is served as before.
    let mut last = None;
    while let Some(Heard::Channel(0x4002, payload)) = bob.hear_within(Duration::from_millis(500)) {
        assert_eq!(payload.len(), 1199);
        let number = payload
            .first_chunk()
            .map(|bytes| u32::from_be_bytes(*bytes));
        assert!(number > last, "{number:?} after {last:?}");
        last = number;
    }
    assert!(last.is_some());
    assert_eq!(bob.refresh(600), Ok(()));
}

#[test]
fn who_asks_without_reading_is_cut_off() {
    let node = Node::start(&Setup::default());
    let mut stream = TcpStream::connect(node.tcp(0)).expect("accepts");
    stream.set_nonblocking(true).expect("a socket");
    let mut request = vec![0, 1, 0, 0, 0x21, 0x12, 0xA4, 0x42];
    request.resize(20, 7);
    let requests = request.repeat(50);
    let mut rest: &[u8] = &[];
    wait_until("the connection is closed", || {
        if rest.is_empty() {
            rest = &requests;
        }
        rest = &rest[stream.write(rest).unwrap_or(0)..];
        closed(&node, "unread") == 1
    });
}

#[test]
fn connections_have_limits() {
    let connections = ConnectionLimits {
        per_prefix: 2,
        ..ConnectionLimits::default()
    };
    let node = Node::start(&Setup {
        connections,
        ..Setup::default()
    });
    let first = TcpStream::connect(node.tcp(0)).expect("accepts");
    let _second = TcpStream::connect(node.tcp(0)).expect("accepts");
    wait_until("both have a place", || {
        node.metric("vizard_tcp_connections") == 2
    });
    let mut third = TcpStream::connect(node.tcp(0)).expect("accepts");
    assert!(is_closed(&mut third));
    wait_until("it is counted", || closed(&node, "prefix_limit") == 1);
    let _other = TcpStream::connect(node.tcp(1)).expect("accepts");
    wait_until("another prefix has a place", || {
        node.metric("vizard_tcp_connections") == 3
    });
    drop(first);
    wait_until("one has left", || closed(&node, "by_client") == 1);
    let call = node.call();
    call.over_tcp(0, node.tcp(0)).allocate();
}
