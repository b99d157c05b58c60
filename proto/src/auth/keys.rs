//! The long-term key (RFC 8489 section 9.2.2) and USERHASH (section 14.4).

use md5::{Digest, Md5};
use sha2::Sha256;
use zeroize::Zeroize;

use crate::stun::PasswordAlgorithm;

/// The key of MESSAGE-INTEGRITY: a digest of username, realm and password.
pub struct LongTermKey {
    bytes: [u8; 32],
    len: usize,
}

impl LongTermKey {
    /// The key that `algorithm` derives.
    pub fn derive(
        algorithm: PasswordAlgorithm,
        username: &[u8],
        realm: &[u8],
        password: &[u8],
    ) -> Self {
        let mut bytes = [0; 32];
        let len = match algorithm {
            PasswordAlgorithm::Md5 => {
                bytes[..16].copy_from_slice(&digest::<Md5>(&[username, realm, password]));
                16
            }
            PasswordAlgorithm::Sha256 => {
                bytes.copy_from_slice(&digest::<Sha256>(&[username, realm, password]));
                32
            }
        };
        Self { bytes, len }
    }

    /// The key's 16 or 32 bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.bytes[..self.len]
    }
}

impl Drop for LongTermKey {
    fn drop(&mut self) {
        self.bytes.zeroize();
    }
}

/// The USERHASH of `username` in `realm`.
pub fn userhash(username: &[u8], realm: &[u8]) -> [u8; 32] {
    let mut hash = [0; 32];
    hash.copy_from_slice(&digest::<Sha256>(&[username, realm]));
    hash
}

/// A digest over `parts` joined by colons.
fn digest<D: Digest>(parts: &[&[u8]]) -> md5::digest::Output<D> {
    let mut digest = D::new();
    for (index, part) in parts.iter().enumerate() {
        if index > 0 {
            digest.update(b":");
        }
        digest.update(part);
    }
    digest.finalize()
}
