//! Messages whose bytes the RFCs give: RFC 5769, and RFC 8489 appendix B.1 as erratum 6268 has it.

use md5::Md5;
use sha2::{Digest, Sha256};
use vizard_proto::stun::{
    AttributeType, Class, Integrity, Message, Method, PasswordAlgorithm, TransactionId, Writer,
};

const USER: &str = "\u{30DE}\u{30C8}\u{30EA}\u{30C3}\u{30AF}\u{30B9}";
const REALM: &str = "example.org";
/// After `SASLprep`.
const PASSWORD: &str = "TheMatrIX";
const SHORT_TERM_KEY: &[u8] = b"VOkJxbRl1RmTxUk/WvJxBt";

/// RFC 5769 section 2.1.
const REQUEST: &str = "
    00010058 2112a442 b7e7a701bc34d686fa87dfae
    80220010 5354554e207465737420636c69656e74
    00240004 6e0001ff
    80290008 932ff9b151263b36
    00060009 6576746a3a68367659202020
    00080014 9aeaa70cbfd8cb56781ef2b5b2d3f249c1b571a2
    80280004 e57a3bcf";

/// RFC 5769 section 2.2.
const RESPONSE_V4: &str = "
    0101003c 2112a442 b7e7a701bc34d686fa87dfae
    8022000b 7465737420766563746f7220
    00200008 0001a147e112a643
    00080014 2b91f599fd9e90c38c7489f92af9ba53f06be7d7
    80280004 c07d4c96";

/// RFC 5769 section 2.3.
const RESPONSE_V6: &str = "
    01010048 2112a442 b7e7a701bc34d686fa87dfae
    8022000b 7465737420766563746f7220
    00200014 0002a1470113a9faa5d3f179bc25f4b5bed2b9d9
    00080014 a382954e4be67bf11784c97c8292c275bfe3ed41
    80280004 c8fb0b4c";

/// RFC 5769 section 2.4.
const LONG_TERM: &str = "
    00010060 2112a442 78ad3433c6ad72c029da412e
    00060012 e3839ee38388e383aae38383e382afe382b90000
    0015001c 662f2f3439396b39353464364f4c33346f4c39465354767936347341
    0014000b 6578616d706c652e6f726700
    00080014 f67024656dd64a3e02b8e0712e85c9a28ca89666";

/// RFC 8489 appendix B.1.
const LONG_TERM_SHA256: &str = "
    00010090 2112a442 78ad3433c6ad72c029da412e
    001e0020 4a3cf38fef6992bda952c6780417da0f24819415569e60b205c46e41407f1704
    00150029 6f624d61744a6f733241414143662f2f3439396b39353464364f4c33346f4c39
             465354767936347341000000
    0014000b 6578616d706c652e6f726700
    001d0004 00020000
    001c0020 b5c7bf005b6c52a21c51c5e892f81924136296cb927c43149309278cc6518e65";

fn bytes(hex: &str) -> Vec<u8> {
    let digits: Vec<_> = hex.chars().filter_map(|digit| digit.to_digit(16)).collect();
    digits
        .chunks(2)
        .map(|pair| u8::try_from(pair[0] << 4 | pair[1]).unwrap())
        .collect()
}

fn credentials() -> String {
    format!("{USER}:{REALM}:{PASSWORD}")
}

/// Every vector with its key.
fn all() -> [(Vec<u8>, Vec<u8>); 5] {
    [
        (bytes(REQUEST), SHORT_TERM_KEY.to_vec()),
        (bytes(RESPONSE_V4), SHORT_TERM_KEY.to_vec()),
        (bytes(RESPONSE_V6), SHORT_TERM_KEY.to_vec()),
        (bytes(LONG_TERM), Md5::digest(credentials()).to_vec()),
        (
            bytes(LONG_TERM_SHA256),
            Sha256::digest(credentials()).to_vec(),
        ),
    ]
}

/// What must not change unnoticed: all but integrity attributes and FINGERPRINT.
fn content<'a>(message: &Message<'a>) -> Vec<(AttributeType, &'a [u8])> {
    let last = [
        AttributeType::MESSAGE_INTEGRITY,
        AttributeType::MESSAGE_INTEGRITY_SHA256,
        AttributeType::FINGERPRINT,
    ];
    message
        .attributes()
        .filter(|(kind, _)| !last.contains(kind))
        .collect()
}

#[test]
fn all_verify_and_have_their_class() {
    for (bytes, key) in all() {
        let message = Message::parse(&bytes).unwrap();
        assert_eq!(message.method(), Method::BINDING);
        assert!(message.verify_integrity(&key), "{message:?}");
        assert!(!message.verify_integrity(b"another key"));
        let answer = message.has(AttributeType::XOR_MAPPED_ADDRESS);
        assert_eq!(
            message.class(),
            if answer {
                Class::Success
            } else {
                Class::Request
            }
        );
    }
}

#[test]
fn request() {
    let bytes = bytes(REQUEST);
    let message = Message::parse(&bytes).unwrap();
    let id = [
        0xB7, 0xE7, 0xA7, 0x01, 0xBC, 0x34, 0xD6, 0x86, 0xFA, 0x87, 0xDF, 0xAE,
    ];
    assert_eq!(message.transaction_id(), TransactionId(id));
    assert_eq!(
        message.find(AttributeType::SOFTWARE),
        Some(&b"STUN test client"[..])
    );
    assert_eq!(
        message.find(AttributeType::PRIORITY),
        Some(&[0x6E, 0, 1, 0xFF][..])
    );
    assert_eq!(message.username(), Ok(Some(&b"evtj:h6vY"[..])));
    assert_eq!(message.integrity(), Integrity::Sha1);
    assert!(message.has(AttributeType::FINGERPRINT));
    assert_eq!(message.unknown_required().next(), None);
}

#[test]
fn responses() {
    let v4 = bytes(RESPONSE_V4);
    let v4 = Message::parse(&v4).unwrap();
    assert_eq!(
        v4.xor_mapped_address(),
        Ok(Some("192.0.2.1:32853".parse().unwrap()))
    );
    assert_eq!(v4.find(AttributeType::SOFTWARE), Some(&b"test vector"[..]));
    let v6 = bytes(RESPONSE_V6);
    let v6 = Message::parse(&v6).unwrap();
    let address = "[2001:db8:1234:5678:11:2233:4455:6677]:32853"
        .parse()
        .unwrap();
    assert_eq!(v6.xor_mapped_address(), Ok(Some(address)));
}

#[test]
fn long_term_request_is_read_and_written() {
    let expected = bytes(LONG_TERM);
    let message = Message::parse(&expected).unwrap();
    let nonce = b"f//499k954d6OL34oL9FSTvy64sA";
    assert_eq!(message.username(), Ok(Some(USER.as_bytes())));
    assert_eq!(message.nonce(), Ok(Some(&nonce[..])));
    assert_eq!(message.realm(), Ok(Some(REALM.as_bytes())));

    let mut buffer = [0xFF; 200];
    let id = message.transaction_id();
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, id);
    writer.bytes(AttributeType::USERNAME, USER.as_bytes());
    writer.bytes(AttributeType::NONCE, nonce);
    writer.bytes(AttributeType::REALM, REALM.as_bytes());
    writer.integrity(Integrity::Sha1, &Md5::digest(credentials()));
    let length = writer.finish().unwrap();
    assert_eq!(buffer[..length], expected);
}

#[test]
fn sha256_request_is_read_and_written() {
    let expected = bytes(LONG_TERM_SHA256);
    let message = Message::parse(&expected).unwrap();
    let nonce = b"obMatJos2AAACf//499k954d6OL34oL9FSTvy64sA";
    let userhash = Sha256::digest(format!("{USER}:{REALM}"));
    assert_eq!(message.userhash(), Ok(Some(&userhash.into())));
    assert_eq!(message.nonce(), Ok(Some(&nonce[..])));
    assert_eq!(
        message.password_algorithm(),
        Ok(Some(PasswordAlgorithm::Sha256))
    );
    assert_eq!(message.integrity(), Integrity::Sha256);

    let mut buffer = [0xFF; 200];
    let id = message.transaction_id();
    let mut writer = Writer::new(&mut buffer, Class::Request, Method::BINDING, id);
    writer.bytes(AttributeType::USERHASH, &userhash);
    writer.bytes(AttributeType::NONCE, nonce);
    writer.bytes(AttributeType::REALM, REALM.as_bytes());
    writer.bytes(
        AttributeType::PASSWORD_ALGORITHM,
        &PasswordAlgorithm::Sha256.to_bytes(),
    );
    writer.integrity(Integrity::Sha256, &Sha256::digest(credentials()));
    let length = writer.finish().unwrap();
    assert_eq!(buffer[..length], expected);
}

/// No byte can be changed without the message being refused. The type of FINGERPRINT is the
/// exception: it stands behind what the integrity covers, and any other type there is ignored.
/// What is read stays the same.
#[test]
fn every_changed_byte_is_noticed() {
    for (bytes, key) in all() {
        let original = Message::parse(&bytes).unwrap();
        for at in 0..bytes.len() {
            for mask in [1, 2, 4, 8, 16, 32, 64, 128, 255] {
                let mut changed = bytes.clone();
                changed[at] ^= mask;
                let accepted = Message::parse(&changed)
                    .ok()
                    .filter(|message| message.verify_integrity(&key));
                if let Some(accepted) = accepted {
                    assert!(original.has(AttributeType::FINGERPRINT));
                    assert!(
                        (bytes.len() - 8..bytes.len() - 6).contains(&at),
                        "byte {at}"
                    );
                    assert_eq!(accepted.header(), original.header());
                    assert_eq!(content(&accepted), content(&original));
                }
            }
        }
    }
}
