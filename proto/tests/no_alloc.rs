//! The packet path takes no memory from the heap.
#![allow(
    unsafe_code,
    reason = "an allocator that counts is an `unsafe` trait's implementation"
)]

mod kit;

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;
use std::hint::black_box;
use vizard_proto::channel_data::{self, ChannelNumber};
use vizard_proto::framing::next_frame;
use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, TransactionId, Writer, data_indication_prefix,
};

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

/// Both directions of a circuit through a hand's table, and both ways through the relay itself:
/// Send to Data indication, and channels that the hand knows nothing of.
#[test]
fn forwarding_takes_no_memory() {
    let mut world = kit::World::new();
    let [(a, _), (b, mask_b)] = kit::circuit(&mut world);
    let mut out = [0; 1024];
    let mut send = [0; 256];
    let mut writer = Writer::new(&mut send, Class::Indication, Method::SEND, ID);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, mask_b);
    writer.bytes(AttributeType::DATA, &[1; 172]);
    let len = writer.finish().unwrap();
    for (tuple, channel) in [(a.tuple, 0x4001), (b.tuple, 0x4002)] {
        let packet = kit::channel_data(channel, &[9; 172]);
        let mut wire = [0; 176];
        let client = vizard_proto::address::Client { tuple, hand: 0 };
        let (now, table, relay) = (world.now, &mut world.table, &mut world.relay);
        let count = allocations(|| {
            for _ in 0..100 {
                wire.copy_from_slice(&packet);
                table.forward(now, &tuple, &mut wire).expect("an entry");
                let verdict = relay.handle_packet(now, client, &packet, &mut out);
                assert!(matches!(
                    verdict,
                    vizard_proto::contract::Verdict::Forward(_)
                ));
            }
            table.drain_usage(|_, usage| assert_eq!(usage.packets, 100));
        });
        assert_eq!(count, 0);
    }
    let client = vizard_proto::address::Client {
        tuple: a.tuple,
        hand: 0,
    };
    let count = allocations(|| {
        let verdict = world
            .relay
            .handle_packet(world.now, client, &send[..len], &mut out);
        assert!(matches!(
            verdict,
            vizard_proto::contract::Verdict::Forward(_)
        ));
    });
    assert_eq!(count, 0);
}
