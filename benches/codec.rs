//! What an authenticated Allocate costs: decode with the check of FINGERPRINT, verification of
//! MESSAGE-INTEGRITY, a success answer with both. The aim for the whole is 600 ns.
#![allow(
    missing_docs,
    reason = "criterion's macros write undocumented functions"
)]

use criterion::{Criterion, criterion_group, criterion_main};
use std::hint::black_box;
use std::net::SocketAddr;
use vizard_proto::channel_data;
use vizard_proto::stun::{AttributeType, Class, Integrity, Message, Method, TransactionId, Writer};

const KEY: &[u8; 16] = b"sixteen byte key";

fn request(buffer: &mut [u8], integrity: Integrity) -> usize {
    let id = TransactionId(*b"transaction!");
    let mut writer = Writer::new(buffer, Class::Request, Method::ALLOCATE, id);
    writer.u8(AttributeType::REQUESTED_TRANSPORT, 17);
    writer.bytes(
        AttributeType::USERNAME,
        b"AbCdEfGhIjKlMnOpQrStUvWxYz0123456789",
    );
    writer.bytes(AttributeType::REALM, b"vizard.test");
    writer.bytes(AttributeType::NONCE, b"obMatJos2AAACf//499k954d6OL3");
    writer.integrity(integrity, KEY);
    writer.fingerprint();
    writer.finish().unwrap()
}

/// The attributes that a server reads from an Allocate.
fn read(message: &Message<'_>) -> Option<u8> {
    let name = message.username().ok()??;
    let realm = message.realm().ok()??;
    let nonce = message.nonce().ok()??;
    black_box((name, realm, nonce, message.lifetime().ok()?));
    message.requested_transport().ok()?
}

fn answer(buffer: &mut [u8], message: &Message<'_>, address: SocketAddr) -> Option<usize> {
    let id = message.transaction_id();
    let mut writer = Writer::new(buffer, Class::Success, message.method(), id);
    writer.xor_address(AttributeType::XOR_RELAYED_ADDRESS, address);
    writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address);
    writer.u32(AttributeType::LIFETIME, 600);
    writer.integrity(message.integrity(), KEY);
    writer.fingerprint();
    writer.finish()
}

fn serve(bytes: &[u8], out: &mut [u8], address: SocketAddr) -> Option<usize> {
    let message = Message::parse(bytes).ok()?;
    read(&message)?;
    if !message.verify_integrity(KEY) {
        return None;
    }
    answer(out, &message, address)
}

fn allocate(criterion: &mut Criterion) {
    let address = "192.0.2.1:3478".parse().unwrap();
    for (name, integrity) in [("sha1", Integrity::Sha1), ("sha256", Integrity::Sha256)] {
        let (mut bytes, mut out) = ([0; 512], [0; 512]);
        let length = request(&mut bytes, integrity);
        let bytes = &bytes[..length];
        let message = Message::parse(bytes).unwrap();
        let mut group = criterion.benchmark_group(format!("allocate/{name}"));
        group.bench_function("parse", |b| {
            b.iter(|| Message::parse(black_box(bytes)).is_ok());
        });
        group.bench_function("read", |b| b.iter(|| read(black_box(&message))));
        group.bench_function("verify", |b| {
            b.iter(|| black_box(&message).verify_integrity(black_box(KEY)));
        });
        group.bench_function("answer", |b| {
            b.iter(|| answer(&mut out, black_box(&message), address));
        });
        assert!(serve(bytes, &mut out, address).is_some());
        group.bench_function("whole", |b| {
            b.iter(|| serve(black_box(bytes), &mut out, address));
        });
        group.finish();
    }
}

fn channel(criterion: &mut Criterion) {
    let mut bytes = [0; 176];
    bytes[..4].copy_from_slice(&[0x40, 1, 0, 172]);
    criterion.bench_function("channel_data/parse", |b| {
        b.iter(|| channel_data::parse_datagram(black_box(&bytes)));
    });
}

criterion_group!(benches, allocate, channel);
criterion_main!(benches);
