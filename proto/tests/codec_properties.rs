//! What holds for every message and for every heap of bytes.

use super::messages::{KEY, Recipe, Step, damaged, disordered, sound};
use proptest::collection::vec;
use proptest::prelude::*;
use proptest::sample::Index;
use std::net::{IpAddr, SocketAddr};
use vizard_proto::address::canonical;
use vizard_proto::channel_data::{self, ChannelNumber};
use vizard_proto::framing::{Frame, next_frame};
use vizard_proto::stun::{
    AttributeType, Class, Header, Integrity, Message, Method, TransactionId, Writer,
};

const MAX: usize = 9000;

/// Calls everything that reads.
fn read_all(bytes: &[u8]) {
    let header = Header::parse(bytes);
    let _ = channel_data::parse_datagram(bytes);
    let _ = next_frame(bytes, MAX);
    let Ok(message) = Message::parse(bytes) else {
        return;
    };
    assert_eq!(Some(message.header()), header);
    assert_eq!(message.as_bytes(), bytes);
    let _ = (
        message.username(),
        message.realm(),
        message.nonce(),
        message.userhash(),
    );
    let _ = (
        message.password_algorithm(),
        message.password_algorithms(),
        message.lifetime(),
    );
    let _ = (
        message.requested_transport(),
        message.requested_address_family(),
    );
    let _ = (
        message.additional_address_family(),
        message.even_port(),
        message.error_code(),
    );
    let _ = (message.reservation_token(), message.channel_number());
    let _ = (message.xor_mapped_address(), message.xor_relayed_address());
    let _ = message.verify_integrity(b"key");
    let _ = format!("{message:?}");
    let peers = message.xor_peer_addresses();
    assert_eq!(
        peers.map(Result::ok).next().flatten(),
        message.xor_peer_address().ok().flatten()
    );
    let data = message.data().map(|range| &bytes[range]);
    assert_eq!(data, message.find(AttributeType::DATA));
    for (kind, value) in message.attributes() {
        assert!(message.has(kind));
        assert!(bytes.as_ptr_range().contains(&value.as_ptr()) || value.is_empty());
    }
    for kind in message.unknown_required() {
        assert!(kind.is_comprehension_required() && kind != AttributeType::USERNAME);
    }
}

/// The attributes that a reader sees of a sound message, in the writer's words.
fn written(recipe: &Recipe) -> Vec<(AttributeType, Option<&[u8]>)> {
    let seen = recipe.steps.iter().map(|step| match step {
        Step::Attribute(kind, value) => (AttributeType(*kind), Some(&value[..])),
        Step::Integrity(Integrity::Sha256) => (AttributeType::MESSAGE_INTEGRITY_SHA256, None),
        Step::Integrity(_) => (AttributeType::MESSAGE_INTEGRITY, None),
        Step::Fingerprint => (AttributeType::FINGERPRINT, None),
    });
    seen.collect()
}

/// A stream of messages of both kinds, with the messages' lengths without padding.
fn stream() -> impl Strategy<Value = Vec<Vec<u8>>> {
    let stun = sound().prop_map(|recipe| {
        Recipe {
            method: recipe.method & 0xFF,
            ..recipe
        }
        .bytes()
    });
    let channel = (0x4000..0x8000_u16, vec(any::<u8>(), 0..200)).prop_map(|(number, payload)| {
        let channel = ChannelNumber::new(number).unwrap();
        let header = channel_data::header(channel, u16::try_from(payload.len()).unwrap());
        [&header[..], &payload].concat()
    });
    vec(prop_oneof![stun, channel], 0..8)
}

/// Feeds `stream` in pieces that end at `cuts`; returns the messages.
fn feed(stream: &[u8], cuts: &[usize]) -> Vec<Vec<u8>> {
    let (mut held, mut found, mut wanted) = (Vec::new(), Vec::new(), 0);
    let mut start = 0;
    for end in cuts.iter().copied().chain([stream.len()]) {
        held.extend(&stream[start..end]);
        start = end;
        loop {
            match next_frame(&held, MAX) {
                Frame::Complete { message, total } => {
                    assert!(held.len() >= wanted, "complete before what it asked for");
                    found.push(held[..message].to_vec());
                    held.drain(..total);
                    wanted = 0;
                }
                Frame::Incomplete { at_least } => {
                    assert!(at_least > held.len(), "would ask forever");
                    wanted = at_least;
                    break;
                }
                Frame::TooLong { .. } | Frame::Invalid => panic!("the stream was sound"),
            }
        }
    }
    assert!(held.is_empty());
    found
}

proptest! {
    #![proptest_config(ProptestConfig { failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn nothing_panics_on_any_bytes(bytes in vec(any::<u8>(), 0..200)) {
        read_all(&bytes);
    }

    #[test]
    fn nothing_panics_behind_a_good_header(class in 0..0x40_u8, rest in vec(any::<u8>(), 12..400)) {
        let length = u16::try_from((rest.len() - 12) & !3).unwrap();
        let mut bytes = vec![class, 1];
        bytes.extend(length.to_be_bytes());
        bytes.extend([0x21, 0x12, 0xA4, 0x42]);
        bytes.extend(&rest[..12 + usize::from(length)]);
        read_all(&bytes);
    }

    #[test]
    fn nothing_panics_on_a_damaged_message(bytes in damaged()) {
        read_all(&bytes);
    }

    #[test]
    fn nothing_panics_on_a_disordered_message(recipe in disordered()) {
        read_all(&recipe.bytes());
    }

    #[test]
    fn what_was_written_is_read(recipe in sound()) {
        let bytes = recipe.bytes();
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.class(), recipe.class);
        prop_assert_eq!(message.method().get(), recipe.method);
        prop_assert_eq!(message.transaction_id().0, recipe.id);
        let read: Vec<_> = message.attributes().collect();
        let written = written(&recipe);
        prop_assert_eq!(read.len(), written.len());
        for ((kind, value), (written_kind, written_value)) in read.into_iter().zip(written) {
            prop_assert_eq!(kind, written_kind);
            prop_assert!(written_value.is_none_or(|written| written == value));
        }
        let protected = message.integrity() != Integrity::None;
        prop_assert_eq!(message.verify_integrity(KEY.as_bytes()), protected);
        prop_assert!(!message.verify_integrity(b"another key"));
    }

    #[test]
    fn addresses_come_back(ip: IpAddr, port: u16, id: [u8; 12]) {
        let address = SocketAddr::new(ip, port);
        let mut buffer = [0; 64];
        let mut writer =
            Writer::new(&mut buffer, Class::Success, Method::BINDING, TransactionId(id));
        writer.xor_address(AttributeType::XOR_MAPPED_ADDRESS, address);
        let length = writer.finish().unwrap();
        let message = Message::parse(&buffer[..length]).unwrap();
        let canonical = canonical(address);
        prop_assert_eq!(message.xor_mapped_address(), Ok(Some(canonical)));
    }

    #[test]
    fn cuts_of_a_stream_do_not_matter(sent in stream(), cuts in vec(any::<Index>(), 0..20)) {
        let mut stream = Vec::new();
        for message in &sent {
            stream.extend(message);
            stream.resize(stream.len().next_multiple_of(4), 0);
        }
        let mut cuts: Vec<_> = cuts.iter().map(|cut| cut.index(stream.len() + 1)).collect();
        cuts.sort_unstable();
        prop_assert_eq!(&feed(&stream, &cuts), &sent);
        let every: Vec<_> = (0..stream.len()).collect();
        prop_assert_eq!(&feed(&stream, &every), &sent);
    }

    #[test]
    fn framing_never_hands_out_more_than_there_is(bytes in vec(any::<u8>(), 0..64), max in 0..64_usize) {
        match next_frame(&bytes, max) {
            Frame::Complete { message, total } => {
                prop_assert!(message <= total && total <= bytes.len() && total <= max);
            }
            Frame::Incomplete { at_least } => prop_assert!(at_least > bytes.len()),
            Frame::TooLong { total } => prop_assert!(total > max),
            Frame::Invalid => {}
        }
    }
}
