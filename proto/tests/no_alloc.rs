//! The packet path takes no memory from the heap.
#![allow(
    unsafe_code,
    reason = "an allocator that counts is an `unsafe` trait's implementation"
)]

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use std::net::SocketAddr;

use vizard_proto::address::{Client, FiveTuple};
use vizard_proto::auth::ticket::Ticket;
use vizard_proto::channel_data::{self, ChannelNumber};
use vizard_proto::contract::Verdict;
use vizard_proto::framing::next_frame;
use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, TransactionId, Writer, data_indication_prefix,
};
use vizard_proto::{Step, Worker};

thread_local! {
    /// Allocations of this thread. Other tests run on other threads.
    static COUNT: Cell<usize> = const { Cell::new(0) };
}

struct Counting;

#[global_allocator]
static ALLOCATOR: Counting = Counting;

// SAFETY: every call goes to the system's allocator as it came.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `alloc`'s contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn realloc(&self, at: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        count();
        // SAFETY: the caller keeps `realloc`'s contract.
        unsafe { System.realloc(at, layout, size) }
    }

    unsafe fn dealloc(&self, at: *mut u8, layout: Layout) {
        // SAFETY: the caller keeps `dealloc`'s contract.
        unsafe { System.dealloc(at, layout) }
    }
}

fn count() {
    COUNT.with(|count| count.set(count.get() + 1));
}

/// Runs `work` and returns how often it allocated. Run it once before where first use may set
/// something up.
fn allocations<T>(work: impl FnOnce() -> T) -> usize {
    let before = COUNT.get();
    black_box(work());
    COUNT.get() - before
}

const ID: TransactionId = TransactionId([7; 12]);
const KEY: &[u8; 16] = b"sixteen byte key";

fn write_allocate(buffer: &mut [u8], integrity: Integrity) -> usize {
    let mut writer = Writer::new(buffer, Class::Request, Method::ALLOCATE, ID);
    writer.u8(AttributeType::REQUESTED_TRANSPORT, 17);
    writer.bytes(AttributeType::USERNAME, b"a user's name");
    writer.bytes(AttributeType::REALM, b"example.org");
    writer.bytes(
        AttributeType::NONCE,
        b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA",
    );
    writer.integrity(integrity, KEY);
    writer.fingerprint();
    writer.finish().unwrap()
}

fn write_answers(buffer: &mut [u8]) {
    let mut writer = Writer::new(buffer, Class::Error, Method::ALLOCATE, ID);
    writer.error_code(420);
    let unknown = [0x7001, 0x7002].into_iter().map(AttributeType);
    writer.unknown_attributes(unknown, 1);
    writer.finish().unwrap();
    let mut writer = Writer::new(buffer, Class::Success, Method::ALLOCATE, ID);
    let address = "[2001:db8::1]:3478".parse().unwrap();
    writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, address);
    writer.u32(AttributeType::LIFETIME, 600);
    writer.integrity(Integrity::Sha1, KEY);
    writer.finish().unwrap();
    data_indication_prefix(buffer, ID, address, 172).unwrap();
}

fn read(bytes: &[u8]) {
    let message = Message::parse(bytes).unwrap();
    assert!(message.verify_integrity(KEY));
    assert!(message.username().unwrap().is_some() && message.realm().unwrap().is_some());
    assert_eq!(message.requested_transport(), Ok(Some(17)));
    assert_eq!(message.xor_peer_addresses().count(), 0);
    assert_eq!(message.data(), None);
    assert_eq!(message.unknown_required().count(), 0);
    assert!(Message::parse(&bytes[..bytes.len() - 1]).is_err());
}

#[test]
fn the_count_counts() {
    assert_eq!(allocations(|| ()), 0);
    assert_eq!(allocations(|| Box::new(1)), 1);
    assert_eq!(allocations(|| Vec::<u8>::with_capacity(9).reserve(100)), 2);
}

#[test]
fn messages_are_written_and_read_in_place() {
    let mut buffer = [0; 512];
    for integrity in [Integrity::Sha1, Integrity::Sha256] {
        assert_eq!(allocations(|| write_allocate(&mut buffer, integrity)), 0);
        let length = write_allocate(&mut buffer, integrity);
        assert_eq!(allocations(|| read(&buffer[..length])), 0);
    }
    assert_eq!(allocations(|| write_answers(&mut buffer)), 0);
}

#[test]
fn channel_data_and_frames_are_read_in_place() {
    let mut bytes = [0; 176];
    let channel = ChannelNumber::new(0x4001).unwrap();
    let work = || {
        bytes[..4].copy_from_slice(&channel_data::header(channel, 172));
        let read = channel_data::parse_datagram(&bytes).unwrap();
        assert_eq!((read.channel, read.payload), (channel, 4..176));
        next_frame(&bytes, 1500)
    };
    assert_eq!(allocations(work), 0);
}

/// A Send indication of 172 bytes to `peer`.
fn send_to(peer: SocketAddr) -> Vec<u8> {
    let mut packet = vec![0; 256];
    let mut writer = Writer::new(&mut packet, Class::Indication, Method::SEND, ID);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    writer.bytes(AttributeType::DATA, &[9; 172]);
    writer.fingerprint();
    let len = writer.finish().unwrap();
    packet.truncate(len);
    packet
}

/// All four forms (a channel or an indication comes in, a channel or an indication goes out), by
/// the worker's entries and through the relay, over IPv4 and IPv6.
#[test]
fn no_form_of_media_takes_memory() {
    for [from, to] in [
        ["198.51.100.10:5000", "198.51.101.20:6000"],
        ["[2001:db8:5::1]:5000", "198.51.101.20:6000"],
        ["[2001:db8:5::1]:5000", "[2001:db8:6::1]:6000"],
    ] {
        for back in [None, Some(0x4002)] {
            let mut world = testkit::World::new();
            let limited = Ticket {
                kbps: 1_000_000,
                ..testkit::ticket(1, 0)
            };
            let mut a = testkit::Phone::new(testkit::udp(from), &limited);
            let mut b = testkit::Phone::new(testkit::udp(to), &testkit::ticket(1, 1));
            let (mask_a, mask_b) = (a.allocate(&mut world), b.allocate(&mut world));
            assert_eq!(a.bind(&mut world, 0x4001, mask_b), 200);
            let done = match back {
                Some(channel) => b.bind(&mut world, channel, mask_a),
                None => b.permit(&mut world, mask_a),
            };
            assert_eq!(done, 200);
            for packet in [testkit::channel_data(0x4001, &[9; 172]), send_to(mask_b)] {
                assert_eq!(
                    carry(&mut world, a.tuple, &packet),
                    0,
                    "{from} {to} {back:?}"
                );
            }
        }
    }
}

/// How much memory a packet takes on either way.
fn carry(world: &mut testkit::World, tuple: FiveTuple, packet: &[u8]) -> usize {
    let client = Client { tuple, worker: 0 };
    let testkit::Server { relay, workers, .. } = &mut world.server;
    let worker = &mut workers[0];
    let mut blind = Worker::new(&testkit::config(), 1, testkit::SEED);
    let mut out = [0; 1024];
    let now = world.now;
    allocations(|| {
        for _ in 0..10 {
            let step = worker.handle(now, client, packet, &mut out);
            assert!(matches!(step, Step::Transmit(_)));
            let Step::Ask(admitted) = blind.handle(now, client, packet, &mut out) else {
                panic!("it has no entries");
            };
            let verdict = relay.handle(now, admitted, &mut out);
            assert!(matches!(verdict, Verdict::Transmit(..)));
        }
        worker.drain_usage(usize::MAX, |_, usage| assert_eq!(usage.packets, 10));
    })
}
