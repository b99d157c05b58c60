//! The forwarding decision with 100,000 circuits: every packet of another one, in random order, so
//! that the table's memory and not only its code is measured.
#![allow(missing_docs)]

use std::hint::black_box;
use std::net::{Ipv4Addr, SocketAddr};

use criterion::{Criterion, Throughput, criterion_group, criterion_main};
use vizard_proto::address::{Client, FiveTuple, Transport};
use vizard_proto::channel_data::ChannelNumber;
use vizard_proto::contract::AllocationId;
use vizard_proto::forward::{Forward, ForwardKey, ForwardTable};
use vizard_proto::time::Timestamp;

const CIRCUITS: u32 = 100_000;
/// As many packets as a worker receives at a time.
const BATCH: usize = 32;

fn tuple(index: u32) -> FiveTuple {
    let ip = Ipv4Addr::from_bits(0x0b00_0000 + index * 7);
    FiveTuple {
        transport: Transport::Udp,
        local: "203.0.113.1:3478".parse().expect("an address"),
        remote: SocketAddr::new(ip.into(), 40_000),
    }
}

fn table() -> ForwardTable {
    let channel = ChannelNumber::new(0x4000).expect("in range");
    let mut table = ForwardTable::new([7; 32]);
    for index in 0..CIRCUITS * 2 {
        let forward = Forward {
            to: Client {
                tuple: tuple(index ^ 1),
                hand: 0,
            },
            channel,
            allocation: AllocationId(u64::from(index)),
            kbps: None,
        };
        table.insert(
            ForwardKey {
                tuple: tuple(index),
                channel,
            },
            forward,
        );
    }
    table
}

/// A walk through all clients that no prefetcher follows.
fn senders() -> Vec<FiveTuple> {
    let mut state = 1_u32;
    (0..1 << 16)
        .map(|_| {
            state = state.wrapping_mul(1_664_525).wrapping_add(1_013_904_223);
            tuple((state >> 8) % (CIRCUITS * 2))
        })
        .collect()
}

fn forward(criterion: &mut Criterion) {
    let mut table = table();
    let senders = senders();
    let mut packet = [0_u8; 176];
    packet[..4].copy_from_slice(&[0x40, 0x00, 0, 172]);
    let mut next = 0;
    let mut group = criterion.benchmark_group("forward");
    group.throughput(Throughput::Elements(BATCH as u64));
    group.bench_function("100,000 circuits, a batch of 32", |bencher| {
        bencher.iter(|| {
            next = (next + BATCH) % senders.len();
            let batch = &senders[next..next + BATCH];
            table.look_ahead(batch.iter().map(|tuple| (tuple, &packet[..])));
            for tuple in batch {
                let hop = table.forward(Timestamp::ZERO, tuple, black_box(&mut packet));
                black_box(hop.is_ok());
            }
        });
    });
    group.throughput(Throughput::Elements(1));
    group.bench_function("100,000 circuits, one by one", |bencher| {
        bencher.iter(|| {
            next = (next + 1) % senders.len();
            table.forward(Timestamp::ZERO, &senders[next], black_box(&mut packet))
        });
    });
    group.bench_function("one circuit, warm", |bencher| {
        bencher.iter(|| table.forward(Timestamp::ZERO, &senders[0], black_box(&mut packet)));
    });
    group.finish();
}

criterion_group!(benches, forward);
criterion_main!(benches);
