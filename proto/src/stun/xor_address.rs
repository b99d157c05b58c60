//! The XOR-*-ADDRESS form (RFC 8489 section 14.2).

use super::{MAGIC_COOKIE, TransactionId};
use crate::address::canonical;
use core::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// Most bytes that [`encode`] writes.
pub(super) const MAX_LEN: usize = 20;

const COOKIE_HIGH: u16 = (MAGIC_COOKIE >> 16) as u16;

/// The address in an attribute's value, in its canonical form.
pub(super) fn decode(value: &[u8], id: TransactionId) -> Option<SocketAddr> {
    let ([_, family, p0, p1], address) = value.split_first_chunk()?;
    let ip = match family {
        1 => IpAddr::V4(Ipv4Addr::from(
            u32::from_be_bytes(address.try_into().ok()?) ^ MAGIC_COOKIE,
        )),
        2 => IpAddr::V6(Ipv6Addr::from(
            u128::from_be_bytes(address.try_into().ok()?) ^ mask(id),
        )),
        _ => return None,
    };
    let port = u16::from_be_bytes([*p0, *p1]) ^ COOKIE_HIGH;
    Some(canonical(SocketAddr::new(ip, port)))
}

/// Writes the value for `address`; returns it with its length, 8 or 20.
pub(super) fn encode(address: SocketAddr, id: TransactionId) -> ([u8; MAX_LEN], usize) {
    let mut value = [0; MAX_LEN];
    value[2..4].copy_from_slice(&(address.port() ^ COOKIE_HIGH).to_be_bytes());
    match address.ip() {
        IpAddr::V4(ip) => {
            value[1] = 1;
            value[4..8].copy_from_slice(&(ip.to_bits() ^ MAGIC_COOKIE).to_be_bytes());
            (value, 8)
        }
        IpAddr::V6(ip) => {
            value[1] = 2;
            value[4..].copy_from_slice(&(ip.to_bits() ^ mask(id)).to_be_bytes());
            (value, MAX_LEN)
        }
    }
}

/// Cookie and transaction id, the mask of an IPv6 address.
fn mask(TransactionId(id): TransactionId) -> u128 {
    let mut low = [0; 16];
    low[4..].copy_from_slice(&id);
    u128::from(MAGIC_COOKIE) << 96 | u128::from_be_bytes(low)
}

#[cfg(test)]
mod tests {
    use super::*;

    const ID: TransactionId = TransactionId([3; 12]);

    #[test]
    fn both_families_survive() {
        for text in [
            "192.0.2.1:32853",
            "0.0.0.0:0",
            "[2001:db8::1]:65535",
            "[::]:1",
        ] {
            let address = text.parse().unwrap();
            let (value, length) = encode(address, ID);
            assert_eq!(decode(&value[..length], ID), Some(address));
        }
    }

    #[test]
    fn a_mapped_address_is_what_it_maps() {
        let (value, length) = encode("[::ffff:127.0.0.1]:80".parse().unwrap(), ID);
        assert_eq!(length, 20);
        assert_eq!(
            decode(&value[..length], ID),
            Some("127.0.0.1:80".parse().unwrap())
        );
    }

    #[test]
    fn length_must_fit_the_family() {
        let (value, _) = encode("[2001:db8::1]:9".parse().unwrap(), ID);
        for length in (0..20).filter(|length| *length != 20) {
            assert_eq!(decode(&value[..length], ID), None);
        }
        let (value, _) = encode("192.0.2.1:9".parse().unwrap(), ID);
        for length in (0..=20).filter(|length| *length != 8) {
            assert_eq!(decode(&value[..length], ID), None);
        }
        assert_eq!(decode(&[0, 3, 0, 0, 0, 0, 0, 0], ID), None);
    }
}
