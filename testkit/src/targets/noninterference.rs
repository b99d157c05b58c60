//! A schedule out of bytes, played twice with B at different places.

use crate::stage::{Script, twice};

/// More steps would only be slow.
const MOST_STEPS: usize = 48;

pub fn run(bytes: &[u8]) {
    let (words, _) = bytes.as_chunks::<8>();
    let words: Vec<u64> = words
        .iter()
        .take(2 + MOST_STEPS)
        .map(|word| u64::from_le_bytes(*word))
        .collect();
    let [head, places, steps @ ..] = &words[..] else {
        return;
    };
    let script = Script::read(*head, steps);
    let [one, two] = twice(&script, *places, |server| server);
    if let Some(difference) = one.leak(&two).or_else(|| one.divergence(&two)) {
        panic!("B's address showed.\n{difference}\n{script:#?}");
    }
}
