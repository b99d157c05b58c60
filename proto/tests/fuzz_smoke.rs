//! The fuzz targets without a fuzzer: what they have learned (the corpora in `fuzz/corpus`),
//! and each of it damaged in a few ways. `fuzz/run.sh` looks further.

use std::fs;
use std::path::Path;

use testkit::stage::places::Dice;
use testkit::targets;

#[test]
fn message() {
    smoke("message", 200, targets::message::run);
}

#[test]
fn frames() {
    smoke("frames", 200, targets::frames::run);
}

#[test]
fn relay() {
    smoke("relay", 5, targets::relay::run);
}

#[test]
fn noninterference() {
    smoke("noninterference", 3, targets::noninterference::run);
}

/// Each input of the corpus as it is, and so many damaged copies.
fn smoke(target: &str, copies: usize, run: impl Fn(&[u8])) {
    let corpus = Path::new(env!("CARGO_MANIFEST_DIR")).join("../fuzz/corpus");
    let text = fs::read_to_string(corpus.join(target).with_extension("hex"));
    let text = text.expect("the corpus is committed");
    let inputs: Vec<_> = text.lines().map(bytes_of).collect();
    assert!(!inputs.is_empty());
    let mut dice = Dice(1);
    for mut bytes in inputs {
        run(&bytes);
        for _ in 0..copies {
            damage(&mut dice, &mut bytes);
            run(&bytes);
        }
    }
}

/// The input that a line of a corpus stands for.
fn bytes_of(line: &str) -> Vec<u8> {
    let digit = |at| char::to_digit(char::from(line.as_bytes()[at]), 16).expect("hexadecimal");
    let pairs = (0..line.len()).step_by(2);
    let byte = |at| u8::try_from(digit(at) << 4 | digit(at + 1)).expect("two digits");
    pairs.map(byte).collect()
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
