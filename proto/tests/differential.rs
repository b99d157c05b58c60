//! The codec beside two others, stun-types (with turn-types) and stun-rs: the same bytes must mean
//! the same. Where they may differ stands in [`stun_types_may_accept`], [`stun_rs_may_accept`] and
//! [`stun_rs_may_refuse`], each case with its reason.

#![expect(
    clippy::match_same_arms,
    reason = "each case of a difference has a reason of its own"
)]

use super::messages::{KEY, Recipe, damaged, disordered, sound};
use proptest::prelude::*;
use std::net::SocketAddr;
use stun_rs::attributes::stun as rs;
use stun_rs::error::{StunDecodeError, StunErrorLevel};
use stun_types::attribute as st;
use stun_types::message::{
    IntegrityAlgorithm, MessageIntegrityCredentials, MessageWriteVec, ShortTermCredentials,
    StunParseError,
};
use stun_types::prelude::{Attribute, MessageWrite, MessageWriteExt};
use turn_types::attribute as tt;
use vizard_proto::address::{Family, canonical};
use vizard_proto::stun::{
    AttributeType, BadAttribute, Class, Integrity, Message, ParseError, PasswordAlgorithm,
};

type StunTypes<'a> = stun_types::message::Message<'a>;

/// What stun-types accepts and we refuse.
fn stun_types_may_accept(error: ParseError, bytes: &[u8]) -> bool {
    match error {
        // It reads on behind the message's end.
        ParseError::TrailingBytes => true,
        ParseError::Unaligned => bytes.len() > 20 + length_field(bytes),
        // It ends at FINGERPRINT.
        ParseError::FingerprintNotLast => true,
        // It looks at integrity attributes only when it validates.
        ParseError::BadIntegrityLength => true,
        // Ours is a bound of our own.
        ParseError::TooManyAttributes => true,
        // It looks at nothing behind the first attribute that has no business behind an integrity
        // attribute; we look whether all of the message is one, and at FINGERPRINT.
        ParseError::AttributeOverrun | ParseError::BadFingerprint => has_ignored(bytes),
        ParseError::NotStun | ParseError::Truncated => false,
    }
}

/// What stun-rs accepts and we refuse.
fn stun_rs_may_accept(error: ParseError) -> bool {
    match error {
        // It tells how many bytes it read.
        ParseError::TrailingBytes => true,
        // It looks at FINGERPRINT's value only on demand and ignores what stands behind it.
        ParseError::BadFingerprint | ParseError::FingerprintNotLast => true,
        // Ours is a bound of our own.
        ParseError::TooManyAttributes => true,
        ParseError::NotStun
        | ParseError::Truncated
        | ParseError::Unaligned
        | ParseError::BadIntegrityLength
        | ParseError::AttributeOverrun => false,
    }
}

/// What stun-rs refuses and we accept: it decodes every attribute that it knows at once, also
/// those that are to be ignored, and one bad value condemns the message. We leave that to the
/// getters. A MESSAGE-INTEGRITY-SHA256 shorter than 32 bytes is a bad value to it.
fn stun_rs_may_refuse(error: &StunDecodeError) -> bool {
    match &error.0 {
        StunErrorLevel::Attribute(error) => error.attr_type.is_some(),
        StunErrorLevel::Message(_) => false,
    }
}

fn compare_with_stun_types(bytes: &[u8]) {
    match (Message::parse(bytes), StunTypes::from_bytes(bytes)) {
        (Ok(ours), Ok(theirs)) => same_as_stun_types(&ours, &theirs),
        (Err(error), Ok(_)) => assert!(stun_types_may_accept(error, bytes), "{error}"),
        (Ok(_), Err(error)) => panic!("stun-types refuses: {error}"),
        (Err(_), Err(_)) => {}
    }
}

fn same_as_stun_types(ours: &Message<'_>, theirs: &StunTypes<'_>) {
    assert_eq!(class_of(theirs.class()), ours.class());
    assert_eq!(theirs.method().value(), ours.method().get());
    assert_eq!(u128::from(theirs.transaction_id()), id_number(ours));
    let seen: Vec<_> = ours
        .attributes()
        .map(|(kind, value)| (kind.0, value.to_vec()))
        .collect();
    let theirs_seen: Vec<_> = theirs
        .iter_attributes()
        .map(|(_, raw)| (raw.get_type().value(), raw.value.to_vec()))
        .collect();
    if has_ignored(ours.as_bytes()) {
        // It stops where an attribute is to be ignored; we find FINGERPRINT behind it.
        assert!(seen.starts_with(&theirs_seen));
    } else {
        assert_eq!(seen, theirs_seen);
        let valid = theirs.validate_integrity(&short_term()).is_ok();
        assert_eq!(ours.verify_integrity(KEY.as_bytes()), valid);
        same_values(ours, theirs);
    }
}

/// The typed getters, on the first attribute of each type.
fn same_values(ours: &Message<'_>, theirs: &StunTypes<'_>) {
    let id = theirs.transaction_id();
    let family = |family| match family {
        stun_types::AddressFamily::IPV4 => Family::V4,
        stun_types::AddressFamily::IPV6 => Family::V6,
    };
    // We keep IPv4-mapped addresses in one form only, the IPv4 one.
    let address = |theirs: Result<SocketAddr, _>| theirs.map(canonical);
    let peer = theirs
        .attribute::<tt::XorPeerAddress>()
        .map(|found| found.addr(id));
    same(ours.xor_peer_address(), address(peer));
    let relayed = theirs
        .attribute::<tt::XorRelayedAddress>()
        .map(|found| found.addr(id));
    same(ours.xor_relayed_address(), address(relayed));
    let mapped = theirs
        .attribute::<st::XorMappedAddress>()
        .map(|found| found.addr(id));
    same(ours.xor_mapped_address(), address(mapped));
    same(
        ours.lifetime(),
        theirs
            .attribute::<tt::Lifetime>()
            .map(|found| found.seconds()),
    );
    same(
        ours.channel_number(),
        theirs
            .attribute::<tt::ChannelNumber>()
            .map(|it| it.channel()),
    );
    let transport = theirs
        .attribute::<tt::RequestedTransport>()
        .map(|found| found.protocol());
    same(ours.requested_transport(), transport);
    let requested = theirs
        .attribute::<tt::RequestedAddressFamily>()
        .map(|it| family(it.family()));
    same(ours.requested_address_family(), requested);
    same(
        ours.even_port(),
        theirs
            .attribute::<tt::EvenPort>()
            .map(|found| found.requested()),
    );
    let token = theirs
        .attribute::<tt::ReservationToken>()
        .map(|it| it.token().to_be_bytes());
    same(ours.reservation_token(), token);
    let data = ours.data().map(|range| ours.as_bytes()[range].to_vec());
    same(
        Ok(data),
        theirs
            .attribute::<tt::Data<'_>>()
            .map(|found| found.data().to_vec()),
    );
    same_texts(ours, theirs);
}

fn same_texts(ours: &Message<'_>, theirs: &StunTypes<'_>) {
    // It wants UTF-8 in text and error reasons; to us they are bytes.
    let is_text = |kind| {
        ours.find(kind)
            .is_none_or(|value| std::str::from_utf8(value).is_ok())
    };
    if is_text(AttributeType::USERNAME) {
        let name = theirs
            .attribute::<st::Username>()
            .map(|it| it.username().as_bytes().to_vec());
        same(ours.username().map(|name| name.map(<[u8]>::to_vec)), name);
    }
    if is_text(AttributeType::REALM) {
        let realm = theirs
            .attribute::<st::Realm>()
            .map(|it| it.realm().as_bytes().to_vec());
        same(ours.realm().map(|realm| realm.map(<[u8]>::to_vec)), realm);
    }
    if is_text(AttributeType::NONCE) {
        let nonce = theirs
            .attribute::<st::Nonce>()
            .map(|it| it.nonce().as_bytes().to_vec());
        same(ours.nonce().map(|nonce| nonce.map(<[u8]>::to_vec)), nonce);
    }
    if ours
        .find(AttributeType::ERROR_CODE)
        .is_none_or(<[u8]>::is_ascii)
    {
        same(
            ours.error_code(),
            theirs
                .attribute::<st::ErrorCode>()
                .map(|found| found.code()),
        );
    }
    // It does not mind bytes behind an algorithm without parameters.
    if ours
        .find(AttributeType::PASSWORD_ALGORITHM)
        .is_none_or(|value| value.len() <= 4)
    {
        let algorithm = theirs.attribute::<st::PasswordAlgorithm>();
        same(
            ours.password_algorithm(),
            algorithm.map(|found| algorithm_of(found.algorithm())),
        );
    }
}

fn same<T: PartialEq + std::fmt::Debug>(
    ours: Result<Option<T>, BadAttribute>,
    theirs: Result<T, StunParseError>,
) {
    let theirs = match theirs {
        Ok(value) => Ok(Some(value)),
        Err(StunParseError::MissingAttribute(_)) => Ok(None),
        Err(_) => Err(()),
    };
    assert_eq!(ours.map_err(|_| ()), theirs);
}

fn compare_with_stun_rs(bytes: &[u8]) {
    let context = stun_rs::DecoderContextBuilder::default()
        .with_unknown_data()
        .build();
    let decoder = stun_rs::MessageDecoderBuilder::default()
        .with_context(context)
        .build();
    match (Message::parse(bytes), decoder.decode(bytes)) {
        (Ok(ours), Ok((theirs, length))) => {
            assert_eq!(length, bytes.len());
            same_as_stun_rs(&ours, &theirs);
        }
        (Err(error), Ok(_)) => assert!(stun_rs_may_accept(error), "{error}"),
        (Ok(_), Err(error)) => assert!(stun_rs_may_refuse(&error), "{error}"),
        (Err(_), Err(_)) => {}
    }
}

fn same_as_stun_rs(ours: &Message<'_>, theirs: &stun_rs::StunMessage) {
    let class = match theirs.class() {
        stun_rs::MessageClass::Request => Class::Request,
        stun_rs::MessageClass::Indication => Class::Indication,
        stun_rs::MessageClass::SuccessResponse => Class::Success,
        stun_rs::MessageClass::ErrorResponse => Class::Error,
    };
    assert_eq!(class, ours.class());
    assert_eq!(theirs.method().as_u16(), ours.method().get());
    assert_eq!(*theirs.transaction_id().as_bytes(), ours.transaction_id().0);
    assert_eq!(theirs.attributes().len(), ours.attributes().count());
    for ((kind, value), attribute) in ours.attributes().zip(theirs.attributes()) {
        assert_eq!(kind.0, attribute.attribute_type().as_u16());
        if let Ok(unknown) = attribute.as_unknown() {
            assert_eq!(unknown.attribute_data(), Some(value));
        }
    }
    // It does not mind bytes behind an address, which is bad to us.
    if let Ok(Some(mapped)) = ours.xor_mapped_address() {
        let theirs = theirs
            .get::<rs::XorMappedAddress>()
            .unwrap()
            .expect_xor_mapped_address();
        assert_eq!(mapped, canonical(*theirs.socket_address()));
    }
    same_integrity_as_stun_rs(ours);
}

fn same_integrity_as_stun_rs(ours: &Message<'_>) {
    let valid = stun_rs_validates(ours.as_bytes());
    let verified = ours.verify_integrity(KEY.as_bytes());
    let both = ours.has(AttributeType::MESSAGE_INTEGRITY)
        && ours.has(AttributeType::MESSAGE_INTEGRITY_SHA256);
    match ours.integrity() {
        // It takes a message without integrity for a valid one.
        Integrity::None => assert!(valid && !verified),
        // It validates both where both are there; to us only the stronger counts.
        _ if both => assert!(verified || !valid),
        _ => assert_eq!(verified, valid),
    }
}

fn stun_rs_validates(bytes: &[u8]) -> bool {
    let context = stun_rs::DecoderContextBuilder::default()
        .with_key(stun_rs::HMACKey::new_short_term(KEY).unwrap())
        .with_validation()
        .build();
    let decoder = stun_rs::MessageDecoderBuilder::default()
        .with_context(context)
        .build();
    decoder.decode(bytes).is_ok()
}

/// Whether an attribute stands in the message that must be ignored for standing behind an
/// integrity attribute, or bytes that are no attribute.
fn has_ignored(bytes: &[u8]) -> bool {
    let (mut rest, mut behind) = (&bytes[20..], 0);
    while let [t0, t1, l0, l1, more @ ..] = rest {
        let kind = AttributeType(u16::from_be_bytes([*t0, *t1]));
        match kind {
            AttributeType::FINGERPRINT => return false,
            AttributeType::MESSAGE_INTEGRITY if behind < 1 => behind = 1,
            AttributeType::MESSAGE_INTEGRITY_SHA256 if behind < 2 => behind = 2,
            _ if behind > 0 => return true,
            _ => {}
        }
        let length = usize::from(u16::from_be_bytes([*l0, *l1])).next_multiple_of(4);
        rest = more.get(length..).unwrap_or_default();
    }
    false
}

fn length_field(bytes: &[u8]) -> usize {
    usize::from(u16::from_be_bytes([bytes[2], bytes[3]]))
}

fn id_number(message: &Message<'_>) -> u128 {
    message
        .transaction_id()
        .0
        .iter()
        .fold(0, |number, byte| number << 8 | u128::from(*byte))
}

fn class_of(class: stun_types::message::MessageClass) -> Class {
    match class {
        stun_types::message::MessageClass::Request => Class::Request,
        stun_types::message::MessageClass::Indication => Class::Indication,
        stun_types::message::MessageClass::Success => Class::Success,
        stun_types::message::MessageClass::Error => Class::Error,
    }
}

fn algorithm_of(algorithm: st::PasswordAlgorithmValue) -> PasswordAlgorithm {
    match algorithm {
        st::PasswordAlgorithmValue::MD5 => PasswordAlgorithm::Md5,
        st::PasswordAlgorithmValue::SHA256 => PasswordAlgorithm::Sha256,
    }
}

fn short_term() -> MessageIntegrityCredentials {
    MessageIntegrityCredentials::ShortTerm(ShortTermCredentials::new(KEY.to_owned()))
}

/// An Allocate success by stun-types.
fn written_by_stun_types(peer: SocketAddr, id: u128, algorithms: &[IntegrityAlgorithm]) -> Vec<u8> {
    let kind = stun_types::message::MessageType::from_class_method(
        stun_types::message::MessageClass::Success,
        stun_types::message::Method::new(3),
    );
    let id = stun_types::message::TransactionId::from(id);
    let mut writer = StunTypes::builder(kind, id, MessageWriteVec::new());
    writer
        .add_attribute(&tt::XorRelayedAddress::new(peer, id))
        .unwrap();
    writer
        .add_attribute(&st::XorMappedAddress::new(peer, id))
        .unwrap();
    writer.add_attribute(&tt::Lifetime::new(600)).unwrap();
    writer
        .add_attribute(&st::Software::new("seven b").unwrap())
        .unwrap();
    for algorithm in algorithms {
        writer
            .add_message_integrity(&short_term(), *algorithm)
            .unwrap();
    }
    writer.add_fingerprint().unwrap();
    writer.finish()
}

/// A Binding success by stun-rs.
fn written_by_stun_rs(mapped: SocketAddr, id: [u8; 12], sha256: bool) -> Vec<u8> {
    let key = stun_rs::HMACKey::new_short_term(KEY).unwrap();
    let class = stun_rs::MessageClass::SuccessResponse;
    let message = stun_rs::StunMessageBuilder::new(stun_rs::methods::BINDING, class)
        .with_transaction_id(id.into())
        .with_attribute(rs::XorMappedAddress::from(mapped))
        .with_attribute(rs::Software::new("seven b").unwrap());
    let message = if sha256 {
        message.with_attribute(rs::MessageIntegritySha256::new(key))
    } else {
        message.with_attribute(rs::MessageIntegrity::new(key))
    };
    let message = message.with_attribute(rs::Fingerprint::default()).build();
    let mut buffer = vec![0; 256];
    let encoder = stun_rs::MessageEncoderBuilder::default().build();
    let length = encoder.encode(&mut buffer, &message).unwrap();
    buffer.truncate(length);
    buffer
}

fn address() -> impl Strategy<Value = SocketAddr> {
    any::<(std::net::IpAddr, u16)>().prop_map(SocketAddr::from)
}

proptest! {
    #![proptest_config(ProptestConfig {
        failure_persistence: None,
        cases: 2000,
        ..ProptestConfig::default()
    })]

    #[test]
    fn sound_messages_mean_the_same(recipe in sound()) {
        compare_with_stun_types(&recipe.bytes());
        compare_with_stun_rs(&recipe.bytes());
    }

    #[test]
    fn disordered_messages_mean_the_same(recipe in disordered()) {
        compare_with_stun_types(&recipe.bytes());
        compare_with_stun_rs(&recipe.bytes());
    }

    #[test]
    fn damaged_messages_mean_the_same(bytes in damaged()) {
        compare_with_stun_types(&bytes);
        compare_with_stun_rs(&bytes);
    }

    #[test]
    fn what_we_write_passes_their_checks(recipe in sound()) {
        let protected = recipe.steps.iter().any(|step| matches!(step, super::messages::Step::Integrity(_)));
        let bytes = recipe.bytes();
        let theirs = StunTypes::from_bytes(&bytes).unwrap();
        prop_assert_eq!(theirs.validate_integrity(&short_term()).is_ok(), protected);
        let only_last = |step: &super::messages::Step| !matches!(step, super::messages::Step::Attribute(..));
        let steps = recipe.steps.into_iter().filter(only_last).collect();
        let last = Recipe { steps, ..recipe }.bytes();
        prop_assert!(stun_rs_validates(&last));
    }

    #[test]
    fn what_stun_types_writes_passes_ours(address in address(), id: [u8; 12], which in 0..3_usize) {
        let both = [IntegrityAlgorithm::Sha1, IntegrityAlgorithm::Sha256];
        let id = id.iter().fold(0, |number, byte| number << 8 | u128::from(*byte));
        let bytes = written_by_stun_types(address, id, [&both[..1], &both[1..], &both][which]);
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.xor_relayed_address(), Ok(Some(canonical(address))));
        prop_assert_eq!(message.xor_mapped_address(), Ok(Some(canonical(address))));
        prop_assert_eq!(message.lifetime(), Ok(Some(600)));
        prop_assert_eq!(message.find(AttributeType::SOFTWARE), Some(&b"seven b"[..]));
        prop_assert!(message.has(AttributeType::FINGERPRINT));
        prop_assert!(message.verify_integrity(KEY.as_bytes()));
        prop_assert!(!message.verify_integrity(b"another key"));
        compare_with_stun_types(&bytes);
    }

    #[test]
    fn what_stun_rs_writes_passes_ours(address in address(), id: [u8; 12], sha256: bool) {
        let bytes = written_by_stun_rs(address, id, sha256);
        let message = Message::parse(&bytes).unwrap();
        prop_assert_eq!(message.xor_mapped_address(), Ok(Some(canonical(address))));
        prop_assert!(message.has(AttributeType::FINGERPRINT));
        prop_assert!(message.verify_integrity(KEY.as_bytes()));
        prop_assert!(!message.verify_integrity(b"another key"));
        compare_with_stun_rs(&bytes);
    }
}
