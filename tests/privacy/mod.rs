//! A node is run through its whole life at every log level, by clients at addresses that occur
//! nowhere else. No address may come out of it, in any notation: not in its log, metrics, answers,
//! output or state; nor may names where they have no business.
//!
//! Four bytes may be like an address by chance. A life brings forth about 45 KB that can't be
//! guessed (compressed size: tickets, identifiers, hashes), which are read in some 5 ways (raw,
//! base64 at four offsets, hexadecimal), for 4 canaries in 4 byte orders: 45,000 * 5 * 16 / 2^32,
//! one life in about 1,200. So a life in which nothing but such forms was found is lived again with
//! other canaries. What leaks is there again; that chance strikes twice in one of the 18 lives of a
//! run happens in one run of 80,000. Every other form is longer than 32 bits or is text that random
//! bytes do not make, and counts at once.

mod canaries;
mod clients;
mod evidence;
mod life;
mod network;
mod notation;
mod planted;
mod search;
mod views;

use std::net::Ipv4Addr;

use evidence::Finding;
use life::{Life, Place};

/// Every log level that there is.
const LEVELS: [&str; 5] = ["error", "warn", "info", "debug", "trace"];

/// All on one machine: 127.0.0.0/8 is a large place. IPv6 has one loopback address only, which
/// says nothing; the other network has more.
fn loopback() -> Place {
    Place {
        wrapper: Vec::new(),
        servers: vec![Ipv4Addr::LOCALHOST.into()],
        clients: vec![canaries::ipv4(127), canaries::ipv4(127)],
        platform: canaries::ipv4(127),
        foreign: vec![canaries::ipv4(203), canaries::ipv6()],
    }
}

/// Lives a life in a place, and another one if what was found may be chance.
fn nothing_comes_out(place: impl Fn() -> Place, format: &str, level: &str) {
    let once = Life::run(&place(), format, level);
    let is_chance = |finding: &Finding| finding.hit.by_chance;
    if once.is_empty() {
        return;
    }
    assert!(once.iter().all(is_chance), "at {level}: {once:#?}");
    let again = Life::run(&place(), format, level);
    assert!(again.is_empty(), "at {level}, twice: {once:#?} {again:#?}");
}

#[test]
fn nothing_comes_out_in_text() {
    for level in LEVELS {
        nothing_comes_out(loopback, "text", level);
    }
}

#[test]
fn nothing_comes_out_in_json() {
    for level in LEVELS {
        nothing_comes_out(loopback, "json", level);
    }
}
