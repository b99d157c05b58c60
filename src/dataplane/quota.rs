//! How many TCP connections there may be, in all and from one source prefix. Shared by all
//! workers, asked when a connection is accepted and told when it ends, never for a packet.

use std::collections::HashMap;
use std::net::IpAddr;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use super::counters::Closed;

/// Bounds on TCP connections.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct ConnectionLimits {
    /// Connections of all clients. Each takes a file descriptor and about 1 KiB,
    /// and 4 KiB more while a message has come in part.
    pub total: usize,
    /// Connections from one source prefix (/24, /64).
    pub per_prefix: usize,
    /// How long one may be without an allocation; it is closed after at most twice this.
    pub without_allocation: Duration,
}

impl Default for ConnectionLimits {
    fn default() -> Self {
        Self {
            total: 10_000,
            per_prefix: 512,
            without_allocation: Duration::from_secs(30),
        }
    }
}

/// See the module's description.
pub(super) struct Quota {
    limits: ConnectionLimits,
    taken: Mutex<Taken>,
}

#[derive(Default)]
struct Taken {
    total: usize,
    by_prefix: HashMap<u64, usize>,
}

impl Quota {
    pub(super) fn new(limits: ConnectionLimits) -> Self {
        Self {
            limits,
            taken: Mutex::default(),
        }
    }

    /// How long a connection may be without an allocation.
    pub(super) fn patience(&self) -> Duration {
        self.limits.without_allocation
    }

    /// Takes a place for a connection from `source`, or says which limit is reached.
    pub(super) fn take(&self, source: IpAddr) -> Result<(), Closed> {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        if taken.total >= self.limits.total {
            return Err(Closed::Limit);
        }
        let of_prefix = taken.by_prefix.entry(prefix(source)).or_default();
        if *of_prefix >= self.limits.per_prefix {
            return Err(Closed::PrefixLimit);
        }
        *of_prefix += 1;
        taken.total += 1;
        Ok(())
    }

    /// Gives the place back.
    pub(super) fn release(&self, source: IpAddr) {
        let mut taken = self.taken.lock().unwrap_or_else(PoisonError::into_inner);
        let prefix = prefix(source);
        if let Some(of_prefix) = taken.by_prefix.get_mut(&prefix) {
            *of_prefix -= 1;
            if *of_prefix == 0 {
                taken.by_prefix.remove(&prefix);
            }
            taken.total -= 1;
        }
    }
}

/// The /24 or /64 that `source` is in. No IPv6 prefix in use is as small a number as an IPv4 one.
fn prefix(source: IpAddr) -> u64 {
    match source {
        IpAddr::V4(ip) => u64::from(ip.to_bits() >> 8),
        IpAddr::V6(ip) => {
            let [a, b, c, d, ..] = ip.segments();
            [a, b, c, d]
                .into_iter()
                .fold(0, |number, part| number << 16 | u64::from(part))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn limited(total: usize, per_prefix: usize) -> Quota {
        Quota::new(ConnectionLimits {
            total,
            per_prefix,
            ..ConnectionLimits::default()
        })
    }

    fn ip(text: &str) -> IpAddr {
        text.parse().expect("an address")
    }

    #[test]
    fn a_prefix_cannot_take_all_places() {
        let quota = limited(3, 2);
        assert_eq!(quota.take(ip("192.0.2.1")), Ok(()));
        assert_eq!(quota.take(ip("192.0.2.200")), Ok(()));
        assert_eq!(quota.take(ip("192.0.2.7")), Err(Closed::PrefixLimit));
        assert_eq!(quota.take(ip("2001:db8::1")), Ok(()));
        assert_eq!(quota.take(ip("198.51.100.1")), Err(Closed::Limit));
    }

    #[test]
    fn a_place_can_be_taken_again() {
        let quota = limited(1, 1);
        assert_eq!(quota.take(ip("192.0.2.1")), Ok(()));
        quota.release(ip("192.0.2.1"));
        assert_eq!(quota.take(ip("192.0.2.2")), Ok(()));
        quota.release(ip("192.0.2.2"));
        assert!(
            quota
                .taken
                .lock()
                .expect("not poisoned")
                .by_prefix
                .is_empty()
        );
    }
}
