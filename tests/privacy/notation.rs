//! What must not come out, and every form in which it could.
//!
//! Text forms that are numbers in a row (dotted in any base, arrays, reverse-DNS names) are held as
//! [`Sequence`]s of values and compared by value, so that `127.83.47.211`, `0x7f.0123.47.00211` and
//! `[127, 83, 47, 211]` are one form. All others are bytes.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};

use super::evidence::Piece;

/// The magic cookie of RFC 8489, with which addresses on the wire are `XORed`.
const COOKIE: u32 = 0x2112_A442;
/// How the transaction ids of the test client begin; IPv6 addresses are `XORed` with these, too.
const TRANSACTION: u32 = 0xA5A5_A5A5;

/// Something that must not come out.
pub struct Canary {
    /// What it is, for who reads that it was found.
    pub name: String,
    pub what: What,
    /// Where it may be all the same.
    pub allowed: fn(&Piece) -> bool,
}

pub enum What {
    Address(IpAddr),
    Text(String),
    Bytes(Vec<u8>),
}

/// Bytes to look for.
pub struct Pattern {
    pub notation: &'static str,
    pub bytes: Vec<u8>,
    /// Whether random bytes are like it now and then: it has 32 bits only.
    pub by_chance: bool,
}

/// Numbers in a row to look for.
pub struct Sequence {
    pub notation: &'static str,
    pub units: Vec<u128>,
    pub by_chance: bool,
}

/// All forms of one canary.
#[derive(Default)]
pub struct Forms {
    /// In the bytes themselves, also where they were unescaped or base64; case does not matter.
    pub bytes: Vec<Pattern>,
    /// In hexadecimal digits with separators left out: lower case.
    pub hex: Vec<Pattern>,
    pub sequences: Vec<Sequence>,
    pub address: Option<IpAddr>,
}

impl Canary {
    /// One that may be nowhere.
    pub fn new(name: impl Into<String>, what: What) -> Self {
        Self {
            name: name.into(),
            what,
            allowed: |_| false,
        }
    }

    pub fn address(name: impl Into<String>, ip: IpAddr) -> Self {
        Self::new(name, What::Address(ip))
    }

    pub fn text(name: impl Into<String>, text: &str) -> Self {
        Self::new(name, What::Text(text.to_owned()))
    }

    /// The same, but allowed where `place` says.
    pub fn but_in(self, place: fn(&Piece) -> bool) -> Self {
        Self {
            allowed: place,
            ..self
        }
    }

    /// Every form of it.
    pub fn forms(&self) -> Forms {
        match &self.what {
            What::Address(IpAddr::V4(ip)) => of_ipv4(*ip),
            What::Address(IpAddr::V6(ip)) => of_ipv6(*ip),
            What::Text(text) => of_bytes(text.as_bytes()),
            What::Bytes(bytes) => of_bytes(bytes),
        }
    }
}

impl Forms {
    fn bytes(&mut self, notation: &'static str, bytes: &[u8]) {
        self.bytes.push(Pattern {
            notation,
            bytes: bytes.to_ascii_lowercase(),
            by_chance: bytes.len() <= 4,
        });
    }

    fn hex(&mut self, notation: &'static str, digits: &str) {
        self.hex.push(Pattern {
            notation,
            bytes: digits.as_bytes().to_vec(),
            by_chance: digits.len() <= 8,
        });
    }

    /// One unit is a plain integer, and of 32 bits one may be there by chance.
    fn sequence(&mut self, notation: &'static str, units: Vec<u128>) {
        let by_chance = units.len() == 1 && units[0] < 1 << 32;
        self.sequences.push(Sequence {
            notation,
            units,
            by_chance,
        });
    }
}

fn of_ipv4(ip: Ipv4Addr) -> Forms {
    let mut forms = Forms {
        address: Some(ip.into()),
        ..Forms::default()
    };
    let [a, b, c, _] = ip.octets();
    // With the dot behind it: a whole address in the same notation is found as well.
    let prefix = format!("{a}.{b}.{c}.");
    forms.bytes("its /24 prefix in text", prefix.as_bytes());
    forms.hex("text in hexadecimal", &in_hex(prefix.as_bytes()));
    let plain = ip.to_bits();
    for (notation, bits) in [
        ("network order", plain),
        ("host order", plain.swap_bytes()),
        ("XORed with the cookie", plain ^ COOKIE),
        ("XORed, host order", (plain ^ COOKIE).swap_bytes()),
    ] {
        forms.bytes(notation, &bits.to_be_bytes());
        forms.hex(notation, &format!("{bits:08x}"));
        in_numbers(&mut forms, notation, bits);
    }
    forms
}

/// As `inet_aton` reads it: one to four numbers, of which the last is all that is left.
fn in_numbers(forms: &mut Forms, notation: &'static str, bits: u32) {
    let octets = bits.to_be_bytes().map(u128::from);
    let bits = u128::from(bits);
    forms.sequence(notation, octets.to_vec());
    forms.sequence(notation, vec![octets[0], octets[1], bits & 0xffff]);
    forms.sequence(notation, vec![octets[0], bits & 0x00ff_ffff]);
    forms.sequence(notation, vec![bits]);
    // As a signed integer; the sign is no part of a number here.
    forms.sequence(notation, vec![(1 << 32) - bits]);
}

fn of_ipv6(ip: Ipv6Addr) -> Forms {
    let mut forms = Forms {
        address: Some(ip.into()),
        ..Forms::default()
    };
    forms.bytes("text", ip.to_string().as_bytes());
    forms.hex("text in hexadecimal", &in_hex(ip.to_string().as_bytes()));
    let octets = ip.octets();
    let swapped = |width: usize| -> Vec<u8> {
        let words = octets.chunks(width);
        words.flat_map(|word| word.iter().rev().copied()).collect()
    };
    for (notation, bytes) in [
        ("network order", octets.to_vec()),
        ("16-bit host order", swapped(2)),
        ("32-bit host order", swapped(4)),
        ("64-bit host order", swapped(8)),
        ("128-bit host order", swapped(16)),
    ] {
        // Half of it is the network, the other half the host: each says who it is.
        for half in bytes.chunks(8) {
            forms.bytes(notation, half);
            forms.hex(notation, &in_hex(half));
            let number = half.iter().fold(0, |n, byte| n << 8 | u128::from(*byte));
            forms.sequence(notation, vec![number]);
        }
        forms.sequence(notation, bytes.iter().copied().map(u128::from).collect());
    }
    in_units(&mut forms, ip);
    forms.bytes("XORed with the cookie", &xored(octets));
    forms.hex("XORed with the cookie", &in_hex(&xored(octets)));
    forms
}

fn in_units(forms: &mut Forms, ip: Ipv6Addr) {
    forms.sequence("segments", ip.segments().map(u128::from).to_vec());
    forms.sequence("one integer", vec![ip.to_bits()]);
    let nibbles: String = in_hex(&ip.octets()).chars().rev().collect();
    forms.hex("reverse DNS", &nibbles);
}

/// The first half as it is in an XOR-MAPPED-ADDRESS that answers the test client.
fn xored(octets: [u8; 16]) -> [u8; 8] {
    let key = u64::from(COOKIE) << 32 | u64::from(TRANSACTION);
    let mut half = [0; 8];
    half.copy_from_slice(&octets[..8]);
    (u64::from_be_bytes(half) ^ key).to_be_bytes()
}

fn of_bytes(bytes: &[u8]) -> Forms {
    let mut forms = Forms::default();
    forms.bytes("as it is", bytes);
    forms.hex("hexadecimal", &in_hex(bytes));
    forms
}

fn in_hex(bytes: &[u8]) -> String {
    let nibbles = bytes.iter().flat_map(|byte| [byte >> 4, byte & 15]);
    let digits = nibbles.filter_map(|nibble| char::from_digit(nibble.into(), 16));
    digits.collect()
}
