//! Mobility tickets (RFC 8016): what a client shows to take its allocation along to another network.
//!
//! A ticket names the allocation and counts its moves, sealed under a key of the relay, so that
//! nothing need be kept but the count. Each move makes the tickets before it worthless. It is good
//! only together with the credential that the allocation was made with.

use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};

use super::hmac_sha256;
use crate::id::AllocationId;

const NONCE_LEN: usize = 12;
const CONTENT_LEN: usize = 16;
const TAG_LEN: usize = 16;
/// A mobility ticket's length in bytes.
pub const LEN: usize = NONCE_LEN + CONTENT_LEN + TAG_LEN;

/// The key that seals mobility tickets.
pub(crate) struct MobilityKey {
    sealing: LessSafeKey,
    nonce_key: [u8; 32],
}

impl MobilityKey {
    pub(crate) fn new(secret: &[u8; 32]) -> Self {
        let key = hmac_sha256(secret, &[b"vizard mobility seal"]);
        let sealing = UnboundKey::new(&AES_256_GCM, &key).expect("AES-256-GCM takes 32 bytes");
        Self {
            sealing: LessSafeKey::new(sealing),
            nonce_key: hmac_sha256(secret, &[b"vizard mobility nonce"]),
        }
    }

    /// The ticket of the allocation after so many moves.
    pub(crate) fn seal(&self, id: AllocationId, moves: u64) -> [u8; LEN] {
        let mut content = [0; CONTENT_LEN];
        content[..8].copy_from_slice(&id.0.to_be_bytes());
        content[8..].copy_from_slice(&moves.to_be_bytes());
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hmac_sha256(&self.nonce_key, &[&content])[..NONCE_LEN]);
        let tag = self
            .sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::empty(),
                &mut content,
            )
            .expect("sixteen bytes are far below AES-GCM's limit");
        let mut sealed = [0; LEN];
        sealed[..NONCE_LEN].copy_from_slice(&nonce);
        sealed[NONCE_LEN..NONCE_LEN + CONTENT_LEN].copy_from_slice(&content);
        sealed[NONCE_LEN + CONTENT_LEN..].copy_from_slice(tag.as_ref());
        sealed
    }

    /// The allocation and the number of its moves; `None` for anything that was not sealed here.
    pub(crate) fn open(&self, sealed: &[u8]) -> Option<(AllocationId, u64)> {
        let mut sealed: [u8; LEN] = sealed.try_into().ok()?;
        let (nonce, body) = sealed.split_at_mut(NONCE_LEN);
        let nonce = Nonce::try_assume_unique_for_key(nonce).ok()?;
        let content = self.sealing.open_in_place(nonce, Aad::empty(), body).ok()?;
        let (id, moves) = content.split_first_chunk::<8>()?;
        let moves = moves.try_into().ok()?;
        Some((
            AllocationId(u64::from_be_bytes(*id)),
            u64::from_be_bytes(moves),
        ))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn opens_what_it_sealed_and_nothing_else() {
        let key = MobilityKey::new(&[7; 32]);
        let ticket = key.seal(AllocationId(5), 3);
        assert_eq!(key.open(&ticket), Some((AllocationId(5), 3)));
        assert_ne!(key.seal(AllocationId(5), 4)[..], ticket[..]);
        assert_eq!(MobilityKey::new(&[8; 32]).open(&ticket), None);
        assert_eq!(key.open(&ticket[1..]), None);
        for index in 0..LEN {
            let mut changed = ticket;
            changed[index] ^= 1;
            assert_eq!(key.open(&changed), None, "byte {index}");
        }
    }
}
