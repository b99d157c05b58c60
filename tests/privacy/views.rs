//! The same bytes read in other ways: without escapes, out of base64, as digits, as numbers.

use std::net::Ipv6Addr;

/// Shortest run of base64 characters that can hold four bytes.
const BASE64_RUN: usize = 6;
/// Most characters between two numbers that belong together; line breaks and indents count.
const GAP: usize = 24;

/// A number in text, with all that it can mean.
pub struct Token {
    pub at: usize,
    pub readings: Vec<u128>,
}

/// With `\xNN`, `\uNNNN`, `\u{N}`, `%NN` and the short escapes resolved; `None` if there are none.
pub fn unescaped(bytes: &[u8]) -> Option<Vec<u8>> {
    if !bytes.iter().any(|byte| matches!(byte, b'\\' | b'%')) {
        return None;
    }
    let mut plain = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let Some(first) = rest.first() {
        let (byte, len) = escape(rest).unwrap_or((*first, 1));
        plain.push(byte);
        rest = &rest[len..];
    }
    Some(plain)
}

/// The byte that an escape stands for, and its length.
fn escape(text: &[u8]) -> Option<(u8, usize)> {
    let (skip, digits) = match text {
        [b'%', ..] => (1, 2),
        [b'\\', b'x', ..] => (2, 2),
        [b'\\', b'u', b'{', rest @ ..] => {
            let end = rest.iter().take(6).position(|byte| *byte == b'}')?;
            return Some((hex(&rest[..end])?, end + 4));
        }
        [b'\\', b'u', ..] => (2, 4),
        [b'\\', short, ..] => {
            let byte = match short {
                b'n' => b'\n',
                b'r' => b'\r',
                b't' => b'\t',
                b'0' => 0,
                b'b' => 8,
                b'f' => 12,
                other => *other,
            };
            return Some((byte, 2));
        }
        _ => return None,
    };
    Some((hex(text.get(skip..skip + digits)?)?, skip + digits))
}

fn hex(digits: &[u8]) -> Option<u8> {
    let number = u32::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    u8::try_from(number).ok()
}

/// What every run of base64 characters (of either alphabet) decodes to, beginning with each of its
/// first four characters: a run may begin anywhere in what was encoded.
pub fn base64(bytes: &[u8]) -> Vec<Vec<u8>> {
    let runs = bytes.split(|byte| sextet(*byte).is_none());
    let long = runs.filter(|run| run.len() >= BASE64_RUN);
    long.flat_map(|run| (0..4).map(|skip| decoded(&run[skip..])))
        .collect()
}

fn decoded(run: &[u8]) -> Vec<u8> {
    let (mut bytes, mut bits, mut held) = (Vec::new(), 0_u32, 0);
    for value in run.iter().filter_map(|byte| sextet(*byte)) {
        bits = bits << 6 | u32::from(value);
        held += 6;
        if held >= 8 {
            held -= 8;
            bytes.push((bits >> held & 0xff) as u8);
        }
    }
    bytes
}

fn sextet(byte: u8) -> Option<u8> {
    Some(match byte {
        b'A'..=b'Z' => byte - b'A',
        b'a'..=b'z' => byte - b'a' + 26,
        b'0'..=b'9' => byte - b'0' + 52,
        b'+' | b'-' => 62,
        b'/' | b'_' => 63,
        _ => return None,
    })
}

/// Hexadecimal digits in lower case, with the usual separators and prefixes left out; any other
/// character is a space.
pub fn hex_digits(bytes: &[u8]) -> Vec<u8> {
    let mut digits = Vec::with_capacity(bytes.len());
    let mut rest = bytes;
    while let [first, tail @ ..] = rest {
        rest = tail;
        match first {
            b'0' if tail.first().is_some_and(|x| matches!(x, b'x' | b'X')) => rest = &tail[1..],
            b'\\' if tail.first() == Some(&b'x') => rest = &tail[1..],
            b':' | b'-' | b'.' | b',' | b'_' | b' ' | b'%' => {}
            digit if digit.is_ascii_hexdigit() => digits.push(digit.to_ascii_lowercase()),
            _ => digits.push(b' '),
        }
    }
    digits
}

/// Runs of numbers with nothing but a few separators between them.
pub fn numbers(bytes: &[u8]) -> Vec<Vec<Token>> {
    let (mut runs, mut run) = (Vec::new(), Vec::new());
    let (mut at, mut end) = (0, 0);
    while at < bytes.len() {
        let len = word(&bytes[at..]);
        if len == 0 {
            // Text alone separates; in binary data nothing is a separator.
            if !bytes[at].is_ascii() || at - end >= GAP {
                finish(&mut run, &mut runs);
            }
            at += 1;
            continue;
        }
        let readings = readings(&bytes[at..at + len]);
        if readings.is_empty() {
            finish(&mut run, &mut runs);
        } else {
            run.push(Token { at, readings });
        }
        at += len;
        end = at;
    }
    finish(&mut run, &mut runs);
    runs
}

fn finish(run: &mut Vec<Token>, runs: &mut Vec<Vec<Token>>) {
    if !run.is_empty() {
        runs.push(std::mem::take(run));
    }
}

fn word(bytes: &[u8]) -> usize {
    let end = bytes.iter().position(|byte| !byte.is_ascii_alphanumeric());
    end.unwrap_or(bytes.len())
}

/// What a word means as a number: decimal, octal, hexadecimal.
fn readings(word: &[u8]) -> Vec<u128> {
    let word = std::str::from_utf8(word)
        .unwrap_or_default()
        .to_ascii_lowercase();
    let prefixed = word.strip_prefix("0x").or_else(|| word.strip_prefix('x'));
    let octal = word.strip_prefix("0o").unwrap_or(&word);
    let zero = word.starts_with('0');
    let attempts = [
        prefixed.map(|digits| u128::from_str_radix(digits, 16)),
        (prefixed.is_none()).then(|| word.parse()),
        (prefixed.is_none()).then(|| u128::from_str_radix(&word, 16)),
        zero.then(|| u128::from_str_radix(octal, 8)),
    ];
    let read = attempts.into_iter().flatten().filter_map(Result::ok);
    read.collect()
}

/// Everything that reads as an IPv6 address, with or without a port behind it.
pub fn ipv6_addresses(bytes: &[u8]) -> Vec<(usize, Ipv6Addr)> {
    let part = |byte: &u8| byte.is_ascii_hexdigit() || matches!(byte, b':' | b'.');
    let mut found = Vec::new();
    let mut at = 0;
    while at < bytes.len() {
        let len = bytes[at..].iter().take_while(|byte| part(byte)).count();
        let text = std::str::from_utf8(&bytes[at..at + len]).unwrap_or_default();
        if text.matches(':').count() >= 2 {
            found.extend(spellings(text).map(|ip| (at, ip)));
        }
        at += len.max(1);
    }
    found
}

/// The address alone, with punctuation around it, with a port behind or a word before it.
fn spellings(text: &str) -> impl Iterator<Item = Ipv6Addr> {
    let bare = text.trim_end_matches('.');
    let without_port = bare.rsplit_once(':').map(|(ip, _)| ip);
    let without_word = bare.split_once(':').map(|(_, ip)| ip);
    let single = bare.strip_suffix(':');
    [Some(bare), without_port, without_word, single]
        .into_iter()
        .flatten()
        .filter_map(|text| text.parse().ok())
}
