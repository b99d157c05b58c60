//! The pool of mask addresses: relayed transport addresses that exist only inside the relay.

use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use ipnet::{Ipv4Net, Ipv6Net};

use crate::address::Family;
use crate::config::Masking;
use crate::hash::{self, Map};
use crate::id::AllocationId;
use crate::rng::Rng;

/// Mask addresses start where the registered ports of ordinary services are past.
const FIRST_PORT: u16 = 1024;
/// How often a taken address is drawn again. With a pool half full the chance to fail is 2^-64.
const DRAWS: usize = 64;

pub(crate) struct MaskPool {
    pool_v4: Option<Ipv4Net>,
    pool_v6: Option<Ipv6Net>,
    owners: Map<SocketAddr, AllocationId>,
}

impl MaskPool {
    pub(crate) fn new(masking: &Masking, seed: [u8; 32]) -> Self {
        Self {
            pool_v4: masking.pool_v4,
            pool_v6: masking.pool_v6,
            owners: Map::with_hasher(hash::state(seed, "masks")),
        }
    }

    /// Whether there is a pool of that family.
    pub(crate) fn serves(&self, family: Family) -> bool {
        match family {
            Family::V4 => self.pool_v4.is_some(),
            Family::V6 => self.pool_v6.is_some(),
        }
    }

    /// Whether `ip` lies in one of the pools, taken or not.
    pub(crate) fn contains(&self, ip: IpAddr) -> bool {
        match ip {
            IpAddr::V4(ip) => self.pool_v4.is_some_and(|pool| pool.contains(&ip)),
            IpAddr::V6(ip) => self.pool_v6.is_some_and(|pool| pool.contains(&ip)),
        }
    }

    /// A random free address for `owner`; `None` when the pool is as good as full.
    pub(crate) fn assign(
        &mut self,
        rng: &mut Rng,
        family: Family,
        even_port: bool,
        owner: AllocationId,
    ) -> Option<SocketAddr> {
        for _ in 0..DRAWS {
            let address = self.draw(rng, family, even_port)?;
            if !self.owners.contains_key(&address) {
                self.owners.insert(address, owner);
                return Some(address);
            }
        }
        None
    }

    /// Puts back what a snapshot says is taken.
    pub(crate) fn claim(&mut self, address: SocketAddr, owner: AllocationId) {
        self.owners.insert(address, owner);
    }

    pub(crate) fn release(&mut self, address: SocketAddr) {
        self.owners.remove(&address);
    }

    /// Whose mask address this is.
    pub(crate) fn owner(&self, address: SocketAddr) -> Option<AllocationId> {
        self.owners.get(&address).copied()
    }

    fn draw(&self, rng: &mut Rng, family: Family, even_port: bool) -> Option<SocketAddr> {
        let random = rng.number();
        let ip = match family {
            Family::V4 => IpAddr::V4(host_v4(self.pool_v4?, random >> 16)),
            Family::V6 => IpAddr::V6(host_v6(self.pool_v6?, random >> 16)),
        };
        Some(SocketAddr::new(ip, port(random, even_port)))
    }
}

/// A host of the network other than its first and last address, if it has others.
#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below 2^32"
)]
fn host_v4(net: Ipv4Net, random: u128) -> Ipv4Addr {
    let size = 1_u64 << (32 - net.prefix_len());
    let offset = match size {
        0..=2 => random as u64 % size,
        _ => 1 + random as u64 % (size - 2),
    };
    Ipv4Addr::from_bits(net.network().to_bits() + offset as u32)
}

/// A host of the network other than its first address, which is the routers' anycast address.
fn host_v6(net: Ipv6Net, random: u128) -> Ipv6Addr {
    let bits = 128 - net.prefix_len();
    // 112 random bits are left; a pool larger than that is used in its first part.
    let host = random & ((1_u128 << bits.min(112)) - 1);
    Ipv6Addr::from_bits(net.network().to_bits() | host.max(u128::from(bits > 0)))
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the remainder is below 2^16"
)]
fn port(random: u128, even: bool) -> u16 {
    let span = u32::from(u16::MAX - FIRST_PORT) + 1;
    let port = FIRST_PORT + (random as u32 % span) as u16;
    if even { port & !1 } else { port }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn pool(v4: &str, v6: &str) -> MaskPool {
        let masking = Masking {
            pool_v4: Some(v4.parse().expect("a network")),
            pool_v6: Some(v6.parse().expect("a network")),
            ..Masking::default()
        };
        MaskPool::new(&masking, [3; 32])
    }

    #[test]
    fn addresses_lie_in_the_pool_and_are_unique() {
        let mut rng = Rng::new([5; 32], "test");
        let mut pool = pool("198.18.0.0/15", "2001:2::/48");
        let (v4, v6) = (pool.pool_v4.expect("set"), pool.pool_v6.expect("set"));
        for index in 0..2000 {
            let owner = AllocationId(index);
            let a = pool
                .assign(&mut rng, Family::V4, false, owner)
                .expect("free");
            let b = pool
                .assign(&mut rng, Family::V6, true, owner)
                .expect("free");
            assert!(matches!(a.ip(), IpAddr::V4(ip) if v4.contains(&ip)));
            assert!(matches!(b.ip(), IpAddr::V6(ip) if v6.contains(&ip)));
            assert!(a.port() >= FIRST_PORT && b.port().is_multiple_of(2));
            assert_eq!(pool.owner(a), Some(owner));
        }
        assert_eq!(pool.owners.len(), 4000);
    }

    #[test]
    fn tiny_pools_work_and_run_dry() {
        let mut rng = Rng::new([5; 32], "test");
        let mut pool = pool("198.18.0.1/32", "2001:2::1/128");
        let mut given = 0;
        while pool
            .assign(&mut rng, Family::V4, false, AllocationId(given))
            .is_some()
        {
            given += 1;
        }
        assert!(given > 30_000, "{given} of 64512");
        assert!(
            pool.assign(&mut rng, Family::V6, false, AllocationId(0))
                .is_some()
        );
        let edges = pool_edges("198.18.0.0/30");
        assert_eq!(edges, [1, 2]);
    }

    fn pool_edges(net: &str) -> Vec<u8> {
        let net: Ipv4Net = net.parse().expect("a network");
        let mut seen: Vec<u8> = (0..100)
            .map(|random| host_v4(net, random).octets()[3])
            .collect();
        seen.sort_unstable();
        seen.dedup();
        seen
    }

    use alloc::vec::Vec;
}
