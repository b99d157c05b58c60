//! The packet path allocates nothing, whatever the receiver's transport and worker.
#![allow(unsafe_code)] // A global allocator can't be written without.

mod loopback;

use std::alloc::{GlobalAlloc, Layout, System};
use std::io::{Read, Write};
use std::net::{TcpStream, UdpSocket};
use std::sync::atomic::{AtomicU64, Ordering};

use loopback::{Caller, Node, PATIENCE, Setup};

static ALLOCATIONS: AtomicU64 = AtomicU64::new(0);

struct Counting;

// SAFETY: everything is passed on to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        ALLOCATIONS.fetch_add(1, Ordering::Relaxed);
        // SAFETY: the caller keeps the contract of this very function.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // SAFETY: as above.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static COUNTING: Counting = Counting;

const PACKETS: u64 = 5000;

/// A party's socket, without anything that allocates.
enum Wire<'c> {
    Udp(&'c UdpSocket),
    Tcp(&'c TcpStream),
}

impl Wire<'_> {
    fn of(caller: &Caller) -> Wire<'_> {
        let patience = Some(PATIENCE);
        if let Some(stream) = caller.tcp_stream() {
            stream.set_read_timeout(patience).expect("a positive time");
            return Wire::Tcp(stream);
        }
        let socket = caller.udp_socket();
        socket.set_read_timeout(patience).expect("a positive time");
        Wire::Udp(socket)
    }

    fn send(&mut self, bytes: &[u8]) {
        match self {
            Self::Udp(socket) => socket.send(bytes).map(drop).expect("sent"),
            Self::Tcp(stream) => stream.write_all(bytes).expect("sent"),
        }
    }

    fn receive(&mut self, bytes: &mut [u8]) {
        match self {
            Self::Udp(socket) => assert_eq!(socket.recv(bytes).expect("in time"), bytes.len()),
            Self::Tcp(stream) => stream.read_exact(bytes).expect("in time"),
        }
    }
}

/// How many allocations the whole process makes while so many packets go from one to the other.
fn allocations(from: &mut Wire<'_>, to: &mut Wire<'_>) -> u64 {
    let mut packet = [7; 176];
    packet[..4].copy_from_slice(&[0x40, 0x01, 0, 172]);
    let before = ALLOCATIONS.load(Ordering::Relaxed);
    for _ in 0..PACKETS {
        from.send(&packet);
        to.receive(&mut [0; 176]);
    }
    ALLOCATIONS.load(Ordering::Relaxed) - before
}

#[test]
fn no_packet_allocates() {
    let node = Node::start(&Setup {
        workers: 4,
        ..Setup::default()
    });
    for (first, second) in [(false, false), (false, true), (true, false), (true, true)] {
        let call = node.call();
        let join = |party, over_tcp| {
            if over_tcp {
                call.over_tcp(party, node.tcp(0))
            } else {
                call.over_udp(party, node.udp(0))
            }
        };
        let (mut alice, mut bob) = (join(0, first), join(1, second));
        let (a, b) = (alice.allocate(), bob.allocate());
        assert_eq!(alice.bind(0x4001, b), Ok(()));
        assert_eq!(bob.bind(0x4002, a), Ok(()));
        let (mut from, mut to) = (Wire::of(&alice), Wire::of(&bob));
        // Usage is reported once a second, which may allocate a little.
        let count = allocations(&mut from, &mut to);
        assert!(count < 100, "{count} allocations for {PACKETS} packets");
    }
    node.has_forwarded("table", 4 * PACKETS);
}
