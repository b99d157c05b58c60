//! Hash states seeded from the constructor: attackers choose the keys, so they must not know the
//! hash, and the same seed must give the same run.

use ahash::RandomState;

use crate::auth::hmac_sha256;

/// A map keyed under such a state.
pub(crate) type Map<K, V> = hashbrown::HashMap<K, V, RandomState>;

/// The state for one `purpose`.
pub(crate) fn state(seed: [u8; 32], purpose: &str) -> RandomState {
    let bytes = hmac_sha256(&seed, &[b"hash ", purpose.as_bytes()]);
    let word = |index: usize| {
        let mut word = [0; 8];
        word.copy_from_slice(&bytes[index * 8..index * 8 + 8]);
        u64::from_ne_bytes(word)
    };
    RandomState::with_seeds(word(0), word(1), word(2), word(3))
}
