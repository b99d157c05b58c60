//! What is written down of a message, and under which name.

use std::net::SocketAddr;

use vizard_proto::address::canonical;
use vizard_proto::channel_data;
use vizard_proto::contract::EndReason;
use vizard_proto::stun::{AttributeType, Message, Method};

/// What an endpoint says. It does not know where it is, so it cannot say so.
pub fn payload(endpoint: usize, len: usize) -> Vec<u8> {
    (0..len)
        .map(|index| u8::try_from((index + endpoint) % 251).expect("below 256"))
        .collect()
}

/// A stream pads what a datagram does not.
pub fn without_padding(mut wire: Vec<u8>) -> Vec<u8> {
    if let Some(message) = channel_data::parse_datagram(&wire) {
        wire.truncate(message.payload.end);
    }
    wire
}

/// What an answer to B says apart from B's own address, which is `here`, and nonce.
pub fn gist(answer: &[u8], here: SocketAddr) -> Vec<u8> {
    let message = Message::parse(answer).expect("a well-formed answer");
    let mut gist = crate::code(answer).to_be_bytes().to_vec();
    let own_address = message.xor_mapped_address() == Ok(Some(canonical(here)));
    let own = [
        AttributeType::NONCE,
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
    ];
    for (kind, value) in message.attributes() {
        gist.extend(kind.0.to_be_bytes());
        let is_here = own_address && kind == AttributeType::XOR_MAPPED_ADDRESS;
        if !is_here && !own.contains(&kind) {
            gist.extend(value);
        }
    }
    gist
}

pub fn method_name(method: Method) -> &'static str {
    match method {
        Method::BINDING => "binding",
        Method::ALLOCATE => "allocate",
        Method::REFRESH => "refresh",
        Method::CREATE_PERMISSION => "permission",
        Method::CHANNEL_BIND => "channel",
        _ => "another method",
    }
}

pub fn ended(reason: EndReason) -> &'static str {
    match reason {
        EndReason::Deleted => "deleted",
        EndReason::Expired => "expired",
        EndReason::TicketExpired => "ticket expired",
        EndReason::Revoked => "revoked",
        EndReason::Evicted => "evicted",
        EndReason::Disconnected => "disconnected",
    }
}
