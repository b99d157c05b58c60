//! MESSAGE-INTEGRITY and MESSAGE-INTEGRITY-SHA256 (RFC 8489 sections 14.5 and 14.6).

use hmac::{Hmac, KeyInit, Mac};
use sha1::Sha1;
use sha2::Sha256;
use subtle::{Choice, ConstantTimeEq};

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

/// Whether an integrity attribute, MESSAGE-INTEGRITY-SHA256 at that, may have a value of `length`
/// bytes.
pub(super) const fn is_length(length: usize) -> bool {
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

/// Whether `value`, perhaps truncated, is `right`; in constant time for each length. Words as wide
/// as can be are compared, since every comparison has its own barrier against the optimiser.
pub(super) fn is_same(right: &[u8], value: &[u8]) -> bool {
    let Some(right) = right
        .get(..value.len())
        .filter(|right| is_length(right.len()))
    else {
        return false;
    };
    let (right_wide, right) = right.as_chunks::<16>();
    let (value_wide, value) = value.as_chunks::<16>();
    let wide = right_wide
        .iter()
        .zip(value_wide)
        .fold(Choice::from(1), |same, (right, value)| {
            same & u128::from_ne_bytes(*right).ct_eq(&u128::from_ne_bytes(*value))
        });
    let ((right, _), (value, _)) = (right.as_chunks(), value.as_chunks());
    let same = right.iter().zip(value).fold(wide, |same, (right, value)| {
        same & u32::from_ne_bytes(*right).ct_eq(&u32::from_ne_bytes(*value))
    });
    same.into()
}

/// The length field counts the integrity attribute but nothing behind it, whatever stands on the
/// wire.
fn mac<M: Mac + KeyInit>(key: &[u8], before: &[u8], length: u16) -> M {
    let mut mac = <M as KeyInit>::new_from_slice(key).expect("HMAC takes keys of every length");
    if let Some(([t0, t1, _, _], rest)) = before.split_first_chunk() {
        let [l0, l1] = length.to_be_bytes();
        mac.update(&[*t0, *t1, l0, l1]);
        mac.update(rest);
    }
    mac
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn same_means_every_byte() {
        let right: [u8; 32] = core::array::from_fn(|at| at.to_le_bytes()[0]);
        for length in 0..=40 {
            let mut value: std::vec::Vec<u8> =
                right.into_iter().chain([0; 8]).take(length).collect();
            let possible = (16..=32).contains(&length) && length % 4 == 0;
            assert_eq!(is_same(&right, &value), possible, "{length}");
            for at in 0..length {
                value[at] ^= 0x10;
                assert!(!is_same(&right, &value), "{length} {at}");
                value[at] ^= 0x10;
            }
        }
    }
}
