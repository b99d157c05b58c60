//! Finds canaries in bytes, in whichever notation.

use std::collections::HashMap;
use std::net::{IpAddr, Ipv6Addr};

use super::notation::{Canary, Forms, Pattern};
use super::views::{self, Token};

/// A canary that was found.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Hit {
    /// The index of the canary.
    pub canary: usize,
    pub notation: &'static str,
    /// Where in the piece, or in what was decoded of it.
    pub at: usize,
    /// Whether random bytes would do that now and then.
    pub by_chance: bool,
}

/// Looks for all canaries at once.
pub struct Finder {
    forms: Vec<Forms>,
    bytes: Index,
    hex: Index,
    /// Sequences (canary and index) by their first unit.
    sequences: HashMap<u128, Vec<(usize, usize)>>,
}

impl Finder {
    pub fn new(canaries: &[Canary]) -> Self {
        let forms: Vec<Forms> = canaries.iter().map(Canary::forms).collect();
        let mut sequences: HashMap<u128, Vec<(usize, usize)>> = HashMap::new();
        for (canary, form) in forms.iter().enumerate() {
            for (index, sequence) in form.sequences.iter().enumerate() {
                let starts = sequences.entry(sequence.units[0]).or_default();
                starts.push((canary, index));
            }
        }
        Self {
            bytes: Index::new(&forms, |forms| &forms.bytes),
            hex: Index::new(&forms, |forms| &forms.hex),
            sequences,
            forms,
        }
    }

    /// Everything that is in `bytes`, each canary and notation once.
    pub fn search(&self, bytes: &[u8]) -> Vec<Hit> {
        let mut hits = Vec::new();
        self.bytes.search(&bytes.to_ascii_lowercase(), &mut hits);
        for view in views::unescaped(bytes)
            .into_iter()
            .chain(views::base64(bytes))
        {
            self.bytes.search(&view.to_ascii_lowercase(), &mut hits);
        }
        self.hex.search(&views::hex_digits(bytes), &mut hits);
        for run in views::numbers(bytes) {
            self.search_numbers(&run, &mut hits);
        }
        self.search_ipv6(bytes, &mut hits);
        let mut seen = Vec::new();
        hits.retain(|hit| {
            let new = !seen.contains(&(hit.canary, hit.notation));
            seen.push((hit.canary, hit.notation));
            new
        });
        hits
    }

    fn search_numbers(&self, run: &[Token], hits: &mut Vec<Hit>) {
        for (start, token) in run.iter().enumerate() {
            let candidates = token
                .readings
                .iter()
                .filter_map(|it| self.sequences.get(it));
            for (canary, index) in candidates.flatten().copied() {
                let sequence = &self.forms[canary].sequences[index];
                let rest = run[start..].iter().zip(&sequence.units);
                let same = |(token, unit): (&Token, &u128)| token.readings.contains(unit);
                if run.len() - start >= sequence.units.len() && rest.into_iter().all(same) {
                    hits.push(Hit {
                        canary,
                        notation: sequence.notation,
                        at: token.at,
                        by_chance: sequence.by_chance,
                    });
                }
            }
        }
    }

    /// Whatever reads as an IPv6 address, in any of its spellings: one of the canaries, one of the
    /// same network, or one with an IPv4 canary in it.
    fn search_ipv6(&self, bytes: &[u8], hits: &mut Vec<Hit>) {
        for (at, ip) in views::ipv6_addresses(bytes) {
            for (canary, forms) in self.forms.iter().enumerate() {
                if forms.address.is_some_and(|canary| tells_of(ip, canary)) {
                    hits.push(Hit {
                        canary,
                        notation: "IPv6 address",
                        at,
                        by_chance: false,
                    });
                }
            }
        }
    }
}

fn tells_of(ip: Ipv6Addr, canary: IpAddr) -> bool {
    match canary {
        IpAddr::V4(canary) => ip.octets().windows(4).any(|part| part == canary.octets()),
        IpAddr::V6(canary) => ip.octets()[..8] == canary.octets()[..8],
    }
}

/// Patterns by their first two bytes.
struct Index {
    patterns: Vec<Wanted>,
    by_start: HashMap<[u8; 2], Vec<usize>>,
    /// Which first two bytes any pattern has: most places are passed by this alone.
    starts: Vec<bool>,
}

struct Wanted {
    bytes: Vec<u8>,
    canary: usize,
    notation: &'static str,
    by_chance: bool,
}

impl Index {
    fn new(forms: &[Forms], part: impl Fn(&Forms) -> &Vec<Pattern>) -> Self {
        let mut index = Self {
            patterns: Vec::new(),
            by_start: HashMap::new(),
            starts: vec![false; 1 << 16],
        };
        for (canary, forms) in forms.iter().enumerate() {
            for pattern in part(forms) {
                index.add(canary, pattern);
            }
        }
        index
    }

    fn add(&mut self, canary: usize, pattern: &Pattern) {
        let start = [pattern.bytes[0], pattern.bytes[1]];
        self.starts[usize::from(u16::from_be_bytes(start))] = true;
        let same = self.by_start.entry(start).or_default();
        same.push(self.patterns.len());
        self.patterns.push(Wanted {
            bytes: pattern.bytes.clone(),
            canary,
            notation: pattern.notation,
            by_chance: pattern.by_chance,
        });
    }

    fn search(&self, text: &[u8], hits: &mut Vec<Hit>) {
        for (at, pair) in text.windows(2).enumerate() {
            let start = [pair[0], pair[1]];
            if !self.starts[usize::from(u16::from_be_bytes(start))] {
                continue;
            }
            for wanted in self.by_start[&start].iter().map(|it| &self.patterns[*it]) {
                if text[at..].starts_with(&wanted.bytes) {
                    hits.push(Hit {
                        canary: wanted.canary,
                        notation: wanted.notation,
                        at,
                        by_chance: wanted.by_chance,
                    });
                }
            }
        }
    }
}
