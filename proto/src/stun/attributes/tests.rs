#![expect(
    clippy::redundant_closure_for_method_calls,
    reason = "the method's path is not general enough in the message's lifetime"
)]

use super::super::{Class, Method, TransactionId, Writer};
use super::*;
use std::vec::Vec;

/// Reads with `get` from a message whose one attribute is `kind` with `value`.
fn with<T>(kind: AttributeType, value: &[u8], get: impl FnOnce(&Message<'_>) -> T) -> T {
    let mut buffer = std::vec![0; 4096];
    let id = TransactionId([1; 12]);
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::ALLOCATE, id);
    writer.bytes(kind, value);
    let length = writer.finish().unwrap();
    get(&Message::parse(&buffer[..length]).unwrap())
}

/// A getter takes values of `right` bytes and no other length.
fn takes_only<T: PartialEq + fmt::Debug>(
    kind: AttributeType,
    right: usize,
    get: impl Fn(&Message<'_>) -> Read<T>,
) {
    for length in 0..48 {
        let found = with(kind, &std::vec![1; length], &get);
        if length == right {
            assert!(matches!(found, Ok(Some(_))), "{kind:?}: {length}");
        } else {
            assert_eq!(found, Err(BadAttribute(kind)), "{length}");
        }
    }
    assert_eq!(with(AttributeType::SOFTWARE, &[], &get), Ok(None));
}

#[test]
fn fixed_lengths_hold() {
    takes_only(AttributeType::LIFETIME, 4, |m| m.lifetime());
    takes_only(AttributeType::REQUESTED_TRANSPORT, 4, |m| {
        m.requested_transport()
    });
    takes_only(AttributeType::REQUESTED_ADDRESS_FAMILY, 4, |m| {
        m.requested_address_family()
    });
    takes_only(AttributeType::ADDITIONAL_ADDRESS_FAMILY, 4, |m| {
        m.additional_address_family()
    });
    takes_only(AttributeType::EVEN_PORT, 1, |m| m.even_port());
    takes_only(AttributeType::RESERVATION_TOKEN, 8, |m| {
        m.reservation_token()
    });
    takes_only(AttributeType::CHANNEL_NUMBER, 4, |m| m.channel_number());
    takes_only(AttributeType::USERHASH, 32, |m| {
        m.userhash().map(Option::<&_>::copied)
    });
    takes_only(AttributeType::XOR_MAPPED_ADDRESS, 8, |m| {
        m.xor_mapped_address()
    });
    takes_only(AttributeType::XOR_RELAYED_ADDRESS, 8, |m| {
        m.xor_relayed_address()
    });
    takes_only(AttributeType::XOR_PEER_ADDRESS, 8, |m| m.xor_peer_address());
}

#[test]
fn values_are_read() {
    let udp = with(AttributeType::REQUESTED_TRANSPORT, &[17, 0, 0, 0], |m| {
        m.requested_transport()
    });
    assert_eq!(udp, Ok(Some(17)));
    let channel = with(AttributeType::CHANNEL_NUMBER, &[0x40, 2, 9, 9], |m| {
        m.channel_number()
    });
    assert_eq!(channel, Ok(Some(0x4002)));
    for (flags, reserve) in [(0x80, true), (0x7F, false)] {
        assert_eq!(
            with(AttributeType::EVEN_PORT, &[flags], |m| m.even_port()),
            Ok(Some(reserve))
        );
    }
}

#[test]
fn names_have_the_rfcs_lengths() {
    for (kind, most) in [
        (AttributeType::USERNAME, 508),
        (AttributeType::REALM, 763),
        (AttributeType::NONCE, 763),
    ] {
        let get = |m: &Message<'_>| match kind {
            AttributeType::USERNAME => m.username().map(|value| value.map(<[u8]>::len)),
            AttributeType::REALM => m.realm().map(|value| value.map(<[u8]>::len)),
            _ => m.nonce().map(|value| value.map(<[u8]>::len)),
        };
        assert_eq!(with(kind, &[], get), Ok(Some(0)));
        assert_eq!(with(kind, &std::vec![b'a'; most], get), Ok(Some(most)));
        assert_eq!(
            with(kind, &std::vec![b'a'; most + 1], get),
            Err(BadAttribute(kind))
        );
    }
}

#[test]
fn families_are_one_and_two() {
    let get = |m: &Message<'_>| m.requested_address_family();
    let kind = AttributeType::REQUESTED_ADDRESS_FAMILY;
    assert_eq!(with(kind, &[1, 0, 0, 0], get), Ok(Some(Family::V4)));
    assert_eq!(with(kind, &[2, 9, 9, 9], get), Ok(Some(Family::V6)));
    assert_eq!(with(kind, &[3, 0, 0, 0], get), Err(BadAttribute(kind)));
}

#[test]
fn coturns_number_of_the_additional_family_is_understood() {
    let kind = AttributeType::ADDITIONAL_ADDRESS_FAMILY_COTURN;
    let get = |m: &Message<'_>| m.additional_address_family();
    assert_eq!(with(kind, &[2, 0, 0, 0], get), Ok(Some(Family::V6)));
    assert_eq!(with(kind, &[2, 0, 0], get), Err(BadAttribute(kind)));
}

#[test]
fn password_algorithms_are_md5_and_sha256_without_parameters() {
    let kind = AttributeType::PASSWORD_ALGORITHM;
    let get = |m: &Message<'_>| m.password_algorithm();
    assert_eq!(
        with(kind, &[0, 1, 0, 0], get),
        Ok(Some(PasswordAlgorithm::Md5))
    );
    assert_eq!(
        with(kind, &[0, 2, 0, 0], get),
        Ok(Some(PasswordAlgorithm::Sha256))
    );
    for value in [&[0, 3, 0, 0][..], &[0, 1, 0, 1, 0, 0, 0, 0], &[0, 1], &[]] {
        assert_eq!(with(kind, value, get), Err(BadAttribute(kind)));
    }
}

#[test]
fn error_codes_are_300_to_699() {
    let kind = AttributeType::ERROR_CODE;
    let get = |m: &Message<'_>| m.error_code();
    assert_eq!(with(kind, &[0, 0, 4, 38], get), Ok(Some(438)));
    assert_eq!(with(kind, b"\0\0\x04\x01Unauthorized", get), Ok(Some(401)));
    for value in [
        &[0, 0, 2, 0][..],
        &[0, 0, 7, 0],
        &[0, 0, 4, 100],
        &[0, 0, 4],
    ] {
        assert_eq!(with(kind, value, get), Err(BadAttribute(kind)));
    }
}

#[test]
fn every_peer_address_comes_in_order() {
    let mut buffer = [0; 256];
    let mut writer = Writer::new(
        &mut buffer,
        Class::Request,
        Method::CREATE_PERMISSION,
        TransactionId([8; 12]),
    );
    let first = "192.0.2.7:1".parse().unwrap();
    let second = "[2001:db8::7]:2".parse().unwrap();
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, first);
    writer.bytes(AttributeType::XOR_PEER_ADDRESS, &[0; 9]);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, second);
    let length = writer.finish().unwrap();
    let message = Message::parse(&buffer[..length]).unwrap();
    let found: Vec<_> = message.xor_peer_addresses().collect();
    let bad = BadAttribute(AttributeType::XOR_PEER_ADDRESS);
    assert_eq!(found, [Ok(first), Err(bad), Ok(second)]);
    assert_eq!(message.xor_peer_address(), Ok(Some(first)));
}
