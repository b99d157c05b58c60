//! Every getter on everything that can be read.

use vizard_proto::channel_data;
use vizard_proto::stun::{AttributeType, Message};

pub fn run(bytes: &[u8]) {
    if let Some(message) = channel_data::parse_datagram(bytes) {
        assert!(message.payload.end <= bytes.len());
    }
    if let Ok(message) = Message::parse(bytes) {
        get_everything(&message);
        check_attributes(&message);
    }
}

fn get_everything(message: &Message<'_>) {
    let _ = (message.username(), message.userhash());
    let _ = (message.realm(), message.nonce());
    let _ = (message.password_algorithm(), message.password_algorithms());
    let _ = (message.lifetime(), message.requested_transport());
    let _ = message.requested_address_family();
    let _ = message.additional_address_family();
    let _ = (message.even_port(), message.reservation_token());
    let _ = (message.channel_number(), message.error_code());
    let _ = (message.xor_mapped_address(), message.xor_relayed_address());
    let _ = (
        message.xor_peer_address(),
        message.xor_peer_addresses().count(),
    );
    let _ = (message.integrity(), message.verify_integrity(b"key"));
    let _ = format!("{message:?}");
}

fn check_attributes(message: &Message<'_>) {
    for (kind, value) in message.attributes() {
        assert!(value.len() < message.as_bytes().len());
        assert!(message.has(kind));
    }
    for kind in message.unknown_required() {
        assert!(message.has(kind) && kind.is_comprehension_required());
    }
    let data = message.data().map(|range| &message.as_bytes()[range]);
    assert_eq!(message.find(AttributeType::DATA), data);
}
