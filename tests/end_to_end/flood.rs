//! A flood of strangers: 100,000 source addresses, no memory.

use std::net::{Ipv4Addr, SocketAddr, UdpSocket};

use super::{converse, hold_call, servers};
use crate::daemon::{Daemon, LOOPBACK};

const SOURCES: u32 = 100_000;
/// What a stranger sends: a request to be challenged, a Binding, media of no allocation, garbage.
const PACKETS: [&[u8]; 4] = [
    b"\x00\x03\x00\x08\x21\x12\xa4\x42a stranger's\x00\x19\x00\x04\x11\x00\x00\x00",
    b"\x00\x01\x00\x00\x21\x12\xa4\x42a stranger's",
    b"\x40\x01\x00\x04spam",
    b"\xff\xff garbage",
];
/// Half of what one entry of 80 bytes per source would take.
const MAY_GROW_KIB: u64 = 4 << 10;

/// What the process has in memory, in KiB.
fn resident(daemon: &Daemon) -> u64 {
    let path = format!("/proc/{}/status", daemon.pid());
    let text = std::fs::read_to_string(path).expect("the process lives");
    let line = text.lines().find_map(|line| line.strip_prefix("VmRSS:"));
    let number = line.and_then(|line| line.split_whitespace().next());
    number.and_then(|it| it.parse().ok()).expect("a number")
}

/// Strangers of a range, each at an address of its own all over 127.0.0.0/8.
fn strangers(range: std::ops::Range<u32>, server: SocketAddr, mut every_100: impl FnMut()) {
    for index in range {
        // An odd factor: no two of them are alike, and neighbours are far apart.
        let host = index.wrapping_mul(0x9E37_79B1) >> 8 & 0x00ff_ffff;
        let source = Ipv4Addr::from_bits(127 << 24 | host.clamp(1, 0x00ff_fffe));
        let socket = UdpSocket::bind((source, 0)).expect("a free port");
        for packet in PACKETS {
            // An answer to one who is gone comes back as an error to the next.
            let _ = socket.send_to(packet, server);
        }
        if index % 100 == 99 {
            every_100();
        }
    }
}

#[test]
fn a_flood_from_100_000_sources_leaves_memory_flat() {
    // One worker: its answer says that it has seen everything before.
    let daemon = Daemon::start(&LOOPBACK.replace("workers = 2", "workers = 1"));
    let all = servers(&daemon.open());
    let (_, [mut alice, mut bob]) = hold_call(&daemon, [all[0], all[0]]);
    let server = all[0].address;
    strangers(0..2_000, server, || assert_eq!(alice.binding(), 403));
    let received = || daemon.metric("vizard_packets_received_total{transport=\"udp\"}");
    let (memory, before) = (resident(&daemon), received());
    let last = 2_000 + SOURCES;
    strangers(2_000..last, server, || {
        assert_eq!(alice.binding(), 403);
    });
    let seen = received() - before;
    let sent = u64::from(SOURCES) * PACKETS.len() as u64;
    assert!(seen >= sent * 9 / 10, "{seen} of {sent} reached the node");
    let grown = resident(&daemon).saturating_sub(memory);
    assert!(grown < MAY_GROW_KIB, "it grew by {grown} KiB");

    converse(&mut alice, &mut bob);
    let (_, [mut carol, mut dave]) = hold_call(&daemon, [all[0], all[3]]);
    converse(&mut carol, &mut dave);
    assert_eq!(daemon.metric("vizard_worker_panics_total"), 0);
}
