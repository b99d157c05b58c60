//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 sections 14.5 and 14.6).

use super::HEADER_LEN;
use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;

/// How a message is protected.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Integrity {
    /// Not at all.
    None,
    /// MESSAGE-INTEGRITY: HMAC-SHA1, 20 bytes.
    Sha1,
    /// MESSAGE-INTEGRITY-SHA256: HMAC-SHA256, 32 bytes, truncated to no fewer than 16.
    Sha256,
}

/// Length of MESSAGE-INTEGRITY's value.
pub(super) const SHA1_LEN: usize = 20;
/// Length of MESSAGE-INTEGRITY-SHA256's value where nobody truncated it.
pub(super) const SHA256_LEN: usize = 32;

/// Whether MESSAGE-INTEGRITY-SHA256 may have a value of `length` bytes.
pub(super) const fn is_sha256_length(length: usize) -> bool {
    length >= 16 && length <= SHA256_LEN && length.is_multiple_of(4)
}

/// HMAC-SHA1 of `before` with `length` in the header's length field.
pub(super) fn hmac_sha1(key: &[u8], before: &[u8], length: u16) -> [u8; SHA1_LEN] {
    mac::<Hmac<Sha1>>(key, before, length)
        .finalize()
        .into_bytes()
        .into()
}

/// HMAC-SHA256 of `before` with `length` in the header's length field.
pub(super) fn hmac_sha256(key: &[u8], before: &[u8], length: u16) -> [u8; SHA256_LEN] {
    mac::<Hmac<Sha256>>(key, before, length)
        .finalize()
        .into_bytes()
        .into()
}

/// The length field counts the integrity attribute but nothing behind it, whatever stands on the
/// wire.
fn mac<M: Mac + KeyInit>(key: &[u8], before: &[u8], length: u16) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    if let Some((header, attributes)) = before.split_first_chunk::<HEADER_LEN>() {
        let mut header = *header;
        header[2..4].copy_from_slice(&length.to_be_bytes());
        mac.update(&header);
        mac.update(attributes);
    }
    mac
}
