//! Long-term authentication (RFC 8489 section 9.2) with credentials that need no look-up.

mod keys;
pub mod login;
pub mod mobility;
pub mod nonce;
pub mod ticket;

pub use keys::{LongTermKey, userhash};

use hmac::{Hmac, KeyInit, Mac};
use sha2::Sha256;

/// HMAC-SHA-256 over `parts`, one after the other.
pub(crate) fn hmac_sha256(key: &[u8], parts: &[&[u8]]) -> [u8; 32] {
    // HMAC takes keys of any length, so this cannot fail.
    let Ok(mut mac) = Hmac::<Sha256>::new_from_slice(key) else {
        return [0; 32];
    };
    for part in parts {
        mac.update(part);
    }
    mac.finalize().into_bytes().into()
}
