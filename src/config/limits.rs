//! `[limits]`: bounds on what others can make this node keep, send or do.

use serde::Serialize;

use super::reader::{Document, Section};
use super::value::Period;

/// `[limits]`. "Per prefix" is per /24 of IPv4 and per /64 of IPv6.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub struct Limits {
    /// Open calls on this node.
    pub calls: usize,
    /// Allocations on this node.
    pub allocations: usize,
    /// Allocations per ticket of a call of two devices.
    pub allocations_per_ticket: usize,
    /// Permissions per allocation.
    pub permissions: usize,
    /// Channels per allocation.
    pub channels: usize,
    /// Kilobits per second that one ticket may send, 60 bytes of headers a packet included; 0 is no
    /// limit.
    pub kbps_per_ticket: u32,
    /// Longest allocation lifetime granted.
    pub max_lifetime: Period,
    /// How long a nonce is good for.
    pub nonce_lifetime: Period,
    /// Unauthenticated answers per second and prefix.
    pub answers_per_second: u32,
    /// Unauthenticated answers that one prefix may use up in a burst.
    pub answers_burst: u32,
    /// TCP connections of clients.
    pub tcp_connections: usize,
    /// TCP connections of clients per prefix.
    pub tcp_connections_per_prefix: usize,
    /// How long a TCP connection may be without an allocation; it is closed after at most twice this.
    pub tcp_idle_time: Period,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            calls: 100_000,
            allocations: 1_000_000,
            allocations_per_ticket: 64,
            permissions: 128,
            channels: 128,
            kbps_per_ticket: 0,
            max_lifetime: Period::from_secs(3600),
            nonce_lifetime: Period::from_secs(3600),
            answers_per_second: 50,
            answers_burst: 500,
            tcp_connections: 10_000,
            tcp_connections_per_prefix: 512,
            tcp_idle_time: Period::from_secs(30),
        }
    }
}

impl Limits {
    pub(super) fn read(document: &mut Document<'_>) -> Self {
        let d = Self::default();
        let mut s = document.section("limits");
        let read = Self {
            calls: count(&mut s, "calls", d.calls, 10_000_000),
            allocations: count(&mut s, "allocations", d.allocations, 100_000_000),
            allocations_per_ticket: count(
                &mut s,
                "allocations_per_ticket",
                d.allocations_per_ticket,
                1000,
            ),
            permissions: count(&mut s, "permissions", d.permissions, 1000),
            channels: count(&mut s, "channels", d.channels, 1000),
            kbps_per_ticket: s.key(
                "kbps_per_ticket",
                d.kbps_per_ticket,
                "kilobits per second, 0 for no limit",
                |_| true,
            ),
            max_lifetime: period(&mut s, "max_lifetime", d.max_lifetime, 600, 86_400),
            nonce_lifetime: period(&mut s, "nonce_lifetime", d.nonce_lifetime, 60, 86_400),
            answers_per_second: rate(&mut s, "answers_per_second", d.answers_per_second),
            answers_burst: rate(&mut s, "answers_burst", d.answers_burst),
            tcp_connections: count(&mut s, "tcp_connections", d.tcp_connections, 1_000_000),
            tcp_connections_per_prefix: count(
                &mut s,
                "tcp_connections_per_prefix",
                d.tcp_connections_per_prefix,
                1_000_000,
            ),
            tcp_idle_time: period(&mut s, "tcp_idle_time", d.tcp_idle_time, 5, 3600),
        };
        s.finish();
        read
    }
}

fn count(s: &mut Section<'_, '_>, key: &'static str, default: usize, most: usize) -> usize {
    s.key(key, default, &format!("a number from 1 to {most}"), |n| {
        (1..=most).contains(n)
    })
}

fn rate(s: &mut Section<'_, '_>, key: &'static str, default: u32) -> u32 {
    s.key(key, default, "a number from 1 to 1000000", |n| {
        (1..=1_000_000).contains(n)
    })
}

fn period(
    s: &mut Section<'_, '_>,
    key: &'static str,
    default: Period,
    from: u64,
    to: u64,
) -> Period {
    let (from, to) = (Period::from_secs(from), Period::from_secs(to));
    let takes = format!("a length of time from {from} to {to}, such as \"{default}\"");
    s.key(key, default, &takes, |period| (from..=to).contains(period))
}
