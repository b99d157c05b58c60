//! The fuzz targets without a fuzzer: what they have learned (the corpora under `fuzz/corpus`),
//! and each of it damaged in a few ways. `fuzz/run.sh` looks further.
#![allow(missing_docs)]

mod kit;
mod stage;

#[path = "targets/frames.rs"]
mod frames;
#[path = "targets/message.rs"]
mod message;
#[path = "targets/noninterference.rs"]
mod noninterference;
#[path = "targets/relay.rs"]
mod relay;

use std::fs;
use std::path::Path;

use stage::places::Dice;

#[test]
fn message() {
    smoke("message", 200, message::run);
}

#[test]
fn frames() {
    smoke("frames", 200, frames::run);
}

#[test]
fn relay() {
    smoke("relay", 5, relay::run);
}

#[test]
fn noninterference() {
    smoke("noninterference", 3, noninterference::run);
}

/// Each file of the corpus as it is, and so many damaged copies.
fn smoke(target: &str, copies: usize, run: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let mut files: Vec<_> = fs::read_dir(corpus.join(target))
        .expect("the corpus is committed")
        .map(|entry| entry.expect("readable").path())
        .collect();
    files.sort();
    assert!(!files.is_empty());
    let mut dice = Dice(1);
    for file in files {
        let mut bytes = fs::read(file).expect("readable");
        run(&bytes);
        for _ in 0..copies {
            damage(&mut dice, &mut bytes);
            run(&bytes);
        }
    }
}

/// Changes a bit, a byte, or where it ends.
fn damage(dice: &mut Dice, bytes: &mut Vec<u8>) {
    if bytes.is_empty() {
        return bytes.push(1);
    }
    let at = dice.below(bytes.len());
    match dice.below(4) {
        0 => bytes[at] ^= 1 << dice.below(8),
        1 => bytes[at] = u8::try_from(dice.below(256)).expect("a byte"),
        2 => bytes.truncate(at + 1),
        _ => bytes.extend_from_within(at..),
    }
}
