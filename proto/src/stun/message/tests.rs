use super::super::Writer;
use super::*;
use std::vec::Vec;

const ID: TransactionId = TransactionId([5; 12]);
const KEY: &[u8] = b"a key";

fn message(fill: impl FnOnce(&mut Writer<'_>)) -> Vec<u8> {
    let mut buffer = std::vec![0; 2048];
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::ALLOCATE, ID);
    fill(&mut writer);
    let length = writer.finish().unwrap();
    buffer.truncate(length);
    buffer
}

fn error(bytes: &[u8]) -> ParseError {
    Message::parse(bytes).unwrap_err()
}

fn kinds(bytes: &[u8]) -> Vec<AttributeType> {
    Message::parse(bytes)
        .unwrap()
        .attributes()
        .map(|(kind, _)| kind)
        .collect()
}

#[test]
fn length_field_must_be_what_is_there() {
    let bytes = message(|w| w.u32(AttributeType::LIFETIME, 600));
    assert_eq!(error(&bytes[..27]), ParseError::Truncated);
    assert_eq!(error(&bytes[..20]), ParseError::Truncated);
    assert_eq!(error(&bytes[..19]), ParseError::NotStun);
    let mut longer = bytes.clone();
    longer.push(0);
    assert_eq!(error(&longer), ParseError::TrailingBytes);
    let mut unaligned = bytes;
    unaligned[3] = 7;
    assert_eq!(error(&unaligned[..27]), ParseError::Unaligned);
}

#[test]
fn attributes_that_run_past_the_end_are_refused() {
    let mut bytes = message(|w| w.u32(AttributeType::LIFETIME, 600));
    for length in [5, 8, 0xFFFF_u16] {
        bytes[22..24].copy_from_slice(&length.to_be_bytes());
        assert_eq!(error(&bytes), ParseError::AttributeOverrun);
    }
}

#[test]
fn the_number_of_attributes_is_bounded() {
    let many = |n| message(|w| (0..n).for_each(|_| w.bytes(AttributeType::DATA, &[])));
    assert!(Message::parse(&many(MAX_ATTRIBUTES)).is_ok());
    let peers = message(|w| {
        for _ in 0..500 {
            w.bytes(AttributeType::XOR_PEER_ADDRESS, &[]);
        }
        w.integrity(Integrity::Sha1, KEY);
    });
    assert!(Message::parse(&peers).is_ok());
    assert_eq!(
        error(&many(MAX_ATTRIBUTES + 1)),
        ParseError::TooManyAttributes
    );
}

#[test]
fn first_occurrence_counts() {
    let bytes = message(|w| {
        w.u32(AttributeType::LIFETIME, 1);
        w.u32(AttributeType::LIFETIME, 2);
    });
    assert_eq!(Message::parse(&bytes).unwrap().lifetime(), Ok(Some(1)));
}

#[test]
fn only_stronger_protection_is_seen_behind_integrity() {
    let bytes = message(|w| {
        w.bytes(AttributeType::USERNAME, b"u");
        w.integrity(Integrity::Sha1, KEY);
        w.u32(AttributeType::LIFETIME, 1);
        w.integrity(Integrity::Sha256, KEY);
        w.bytes(AttributeType(0x7000), &[]);
        w.integrity(Integrity::Sha1, b"other");
        w.fingerprint();
    });
    let seen = [
        AttributeType::USERNAME,
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::FINGERPRINT,
    ];
    assert_eq!(kinds(&bytes), seen);
    let message = Message::parse(&bytes).unwrap();
    assert!(!message.has(AttributeType::LIFETIME));
    assert_eq!(message.unknown_required().next(), None);
    assert_eq!(message.integrity(), Integrity::Sha256);
    assert!(message.verify_integrity(KEY));
    assert!(!message.verify_integrity(b"other"));
}

#[test]
fn weaker_integrity_behind_the_stronger_is_ignored() {
    let bytes = message(|w| {
        w.integrity(Integrity::Sha256, KEY);
        w.integrity(Integrity::Sha1, KEY);
    });
    assert_eq!(kinds(&bytes), [AttributeType::MESSAGE_INTEGRITY_SHA256]);
}

#[test]
fn each_integrity_verifies_under_its_key_only() {
    for kind in [Integrity::Sha1, Integrity::Sha256] {
        for with_fingerprint in [false, true] {
            let bytes = message(|w| {
                w.bytes(AttributeType::REALM, b"example.org");
                w.integrity(kind, KEY);
                if with_fingerprint {
                    w.fingerprint();
                }
            });
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(message.integrity(), kind);
            assert!(message.verify_integrity(KEY));
            assert!(!message.verify_integrity(b"A key"));
            assert!(!message.verify_integrity(&[]));
        }
    }
    let bare = message(|_| {});
    assert_eq!(Message::parse(&bare).unwrap().integrity(), Integrity::None);
    assert!(!Message::parse(&bare).unwrap().verify_integrity(KEY));
}

#[test]
fn sha256_may_be_truncated_to_sixteen_bytes_in_steps_of_four() {
    let base = message(|w| w.bytes(AttributeType::REALM, b"org"));
    for length in 0..=36_u16 {
        let mac = integrity::hmac_sha256(KEY, &base, 8 + 4 + length);
        let value: Vec<u8> = mac.into_iter().chain([0; 4]).take(length.into()).collect();
        let bytes = message(|w| {
            w.bytes(AttributeType::REALM, b"org");
            w.bytes(AttributeType::MESSAGE_INTEGRITY_SHA256, &value);
        });
        if [16, 20, 24, 28, 32].contains(&length) {
            assert!(
                Message::parse(&bytes).unwrap().verify_integrity(KEY),
                "{length}"
            );
        } else {
            assert_eq!(error(&bytes), ParseError::BadIntegrityLength, "{length}");
        }
    }
}

#[test]
fn sha1_is_twenty_bytes() {
    for length in (0..40).filter(|length| *length != 20) {
        let bytes = message(|w| w.bytes(AttributeType::MESSAGE_INTEGRITY, &std::vec![0; length]));
        assert_eq!(error(&bytes), ParseError::BadIntegrityLength);
    }
}

#[test]
fn fingerprint_must_be_right_whole_and_last() {
    let bytes = message(|w| {
        w.bytes(AttributeType::REALM, b"org");
        w.fingerprint();
    });
    assert!(Message::parse(&bytes).is_ok());
    for at in 8..bytes.len() {
        let mut wrong = bytes.clone();
        wrong[at] ^= 1;
        if at < 20 || matches!(at, 24..=27 | 32..) {
            assert_eq!(error(&wrong), ParseError::BadFingerprint, "{at}");
        }
    }
    let short = message(|w| w.bytes(AttributeType::FINGERPRINT, &[0; 3]));
    assert_eq!(error(&short), ParseError::BadFingerprint);
    let early = message(|w| {
        w.fingerprint();
        w.bytes(AttributeType::SOFTWARE, &[]);
    });
    assert_eq!(error(&early), ParseError::FingerprintNotLast);
    let twice = message(|w| {
        w.fingerprint();
        w.fingerprint();
    });
    assert_eq!(error(&twice), ParseError::FingerprintNotLast);
}

#[test]
fn unknown_required_leaves_out_known_and_optional() {
    let bytes = message(|w| {
        w.bytes(AttributeType(0x7001), &[]);
        w.bytes(AttributeType::USERNAME, &[]);
        w.bytes(AttributeType::REQUESTED_TRANSPORT, &[]);
        w.bytes(AttributeType::DONT_FRAGMENT, &[]);
        w.bytes(AttributeType(0x9001), &[]);
        w.integrity(Integrity::Sha1, KEY);
    });
    let message = Message::parse(&bytes).unwrap();
    let unknown: Vec<_> = message.unknown_required().collect();
    assert_eq!(
        unknown,
        [AttributeType(0x7001), AttributeType::DONT_FRAGMENT]
    );
}

#[test]
fn debug_shows_no_values() {
    let bytes = message(|w| w.bytes(AttributeType::USERNAME, b"secret"));
    let shown = std::format!("{:?}", Message::parse(&bytes).unwrap());
    assert!(
        shown.contains("USERNAME") && !shown.contains("secret"),
        "{shown}"
    );
}
