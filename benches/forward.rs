//! What becomes of a packet with 100,000 circuits: every packet of another one, in random order, so
//! that the table's memory and not only its code is measured. All four forms, and with growth.
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use criterion::{BatchSize, Criterion, Throughput, criterion_group, criterion_main};
use vizard_proto::account::Account;
use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::auth::ticket::{TicketKey, TicketKeys};
use vizard_proto::channel_data::ChannelNumber;
use vizard_proto::config::{Config, Limits, Masking};
use vizard_proto::forward::{Change, Form, Forward, ForwardKey, Way};
use vizard_proto::id::AllocationId;
use vizard_proto::rate::Meter;
use vizard_proto::stun::{AttributeType, Class, Method, TransactionId, Writer};
use vizard_proto::time::{Timestamp, WallClock};
use vizard_proto::{Step, Worker};

const CIRCUITS: u32 = 100_000;
/// As many packets as a worker receives at a time.
const BATCH: usize = 32;
const CHANNEL: ChannelNumber = ChannelNumber::new(0x4000).expect("in range");

fn tuple(index: u32) -> FiveTuple {
    let ip = Ipv4Addr::from_bits(0x0b00_0000 + index * 7);
    FiveTuple {
        transport: Transport::Udp,
        local: "203.0.113.1:3478".parse().expect("an address"),
        remote: SocketAddr::new(ip.into(), 40_000),
    }
}

fn mask(index: u32) -> SocketAddr {
    let ip = Ipv4Addr::from_bits(0xc612_0000 + index % 0x1_ffff);
    SocketAddr::new(ip.into(), 50_000)
}

fn worker() -> Worker {
    let key = TicketKey {
        id: 1,
        secret: [7; 32],
    };
    let config = Config {
        realm: "vizard".into(),
        clock: WallClock::new(1_790_000_000),
        tickets: Arc::new(TicketKeys::new(&key, &[])),
        nonce_secret: [1; 32],
        masking: Masking::default(),
        limits: Limits::default(),
    };
    Worker::new(&config, 1, [7; 32])
}

fn account(index: u32) -> Account {
    Account::new(AllocationId(u64::from(index)), None, Meter::default())
}

/// Both ways from the client of this index to its peer.
fn join(worker: &mut Worker, index: u32, accounts: &[Account], indications: bool) {
    let other = index ^ 1;
    worker.apply(Change::Join {
        tuple: tuple(index),
        account: accounts[index as usize].clone(),
        masked: true,
    });
    let form = if indications {
        Form::DataIndication(mask(index), accounts[other as usize].clone())
    } else {
        Form::ChannelData(CHANNEL)
    };
    let to = Client {
        tuple: tuple(other),
        worker: 0,
    };
    for way in [Way::Channel(CHANNEL), Way::Peer(mask(other))] {
        let key = ForwardKey {
            tuple: tuple(index),
            way,
        };
        let form = form.clone();
        worker.apply(Change::Install(key, Forward { to, form }));
    }
}

fn filled(indications: bool) -> Worker {
    let mut worker = worker();
    let accounts: Vec<_> = (0..CIRCUITS * 2).map(account).collect();
    for index in 0..CIRCUITS * 2 {
        join(&mut worker, index, &accounts, indications);
    }
    worker
}

/// A walk through all clients that no prefetcher follows, with what each sends.
fn senders(indications: bool) -> Vec<(FiveTuple, Vec<u8>)> {
    let mut state = 1_u32;
    (0..1 << 15)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            let index = (state >> 8) % (CIRCUITS * 2);
            (tuple(index), packet(mask(index ^ 1), indications))
        })
        .collect()
}

fn packet(peer: SocketAddr, indication: bool) -> Vec<u8> {
    let mut packet = vec![0; 256];
    if !indication {
        packet[..4].copy_from_slice(&[0x40, 0x00, 0, 172]);
        packet.truncate(176);
        return packet;
    }
    let id = TransactionId([3; 12]);
    let mut writer = Writer::new(&mut packet, Class::Indication, Method::SEND, id);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    writer.bytes(AttributeType::DATA, &[0; 172]);
    let len = writer.finish().expect("it fits");
    packet.truncate(len);
    packet
}

fn handle(worker: &mut Worker, tuple: FiveTuple, packet: &[u8]) {
    let client = Client { tuple, worker: 0 };
    let step = worker.handle(Timestamp::ZERO, client, black_box(packet), &mut []);
    assert!(matches!(black_box(step), Step::Transmit(_)));
}

fn forward(criterion: &mut Criterion) {
    let mut group = criterion.benchmark_group("forward");
    for out in [false, true] {
        let mut worker = filled(out);
        for into in [false, true] {
            let name = |indication| if indication { "indication" } else { "channel" };
            let name = format!("{} in, {} out", name(into), name(out));
            let senders = senders(into);
            let mut next = 0;
            group.throughput(Throughput::Elements(BATCH as u64));
            group.bench_function(
                format!("{name}, 100,000 circuits, a batch of 32"),
                |bencher| {
                    bencher.iter(|| {
                        next = (next + BATCH) % senders.len();
                        let batch = &senders[next..next + BATCH];
                        worker.look_ahead(batch.iter().map(|(tuple, packet)| (tuple, &packet[..])));
                        for (tuple, packet) in batch {
                            handle(&mut worker, *tuple, packet);
                        }
                    });
                },
            );
            group.throughput(Throughput::Elements(1));
            group.bench_function(format!("{name}, one circuit, warm"), |bencher| {
                let (tuple, packet) = &senders[0];
                bencher.iter(|| handle(&mut worker, *tuple, packet));
            });
        }
    }
    group.throughput(Throughput::Elements(u64::from(CIRCUITS * 2)));
    group.sample_size(10);
    group.bench_function("100,000 circuits are installed", |bencher| {
        bencher.iter_batched(|| (), |()| filled(false), BatchSize::PerIteration);
    });
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
