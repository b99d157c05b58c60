//! Random numbers out of the constructor's seed: HMAC-SHA-256 in counter mode.

use serde::{Deserialize, Serialize};

use crate::auth::hmac_sha256;

#[derive(Clone, Serialize, Deserialize)]
pub(crate) struct Rng {
    key: [u8; 32],
    counter: u64,
}

impl Rng {
    pub(crate) fn new(seed: [u8; 32], purpose: &str) -> Self {
        Self {
            key: hmac_sha256(&seed, &[b"rng ", purpose.as_bytes()]),
            counter: 0,
        }
    }

    /// 32 bytes that nobody without the seed can foretell.
    pub(crate) fn bytes(&mut self) -> [u8; 32] {
        self.counter += 1;
        hmac_sha256(&self.key, &[&self.counter.to_be_bytes()])
    }

    /// 128 random bits.
    pub(crate) fn number(&mut self) -> u128 {
        let [low, _] = halves(self.bytes());
        low
    }
}

fn halves(bytes: [u8; 32]) -> [u128; 2] {
    let half = |start: usize| {
        let mut half = [0; 16];
        half.copy_from_slice(&bytes[start..start + 16]);
        u128::from_be_bytes(half)
    };
    [half(0), half(16)]
}
