//! The nonce: 28 characters that say when and for whom they were made, so that none need be kept.
//!
//! Layout: the RFC 8489 cookie `obMatJos2`, four characters of security features (section 9.2),
//! and fifteen of base64url: the low 16 bits of the time in units of 16 seconds and 72 bits of a
//! MAC over the whole time and where the request came from: transport, IP address and port, so that
//! a request that somebody has captured is of no use on another socket.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::net::IpAddr;
use subtle::ConstantTimeEq;

use super::hmac_sha256;
use crate::address::{FiveTuple, Transport};

/// A nonce's length in bytes.
pub const LEN: usize = 28;

/// Cookie and the two security features that we offer: password algorithms (bit 0, the leftmost)
/// and username anonymity (bit 1).
const COOKIE: &[u8; 13] = b"obMatJos2wAAA";
const UNIT_SECS: u64 = 16;
const MAC_LEN: usize = 9;
const SEALED_LEN: usize = 2 + MAC_LEN;

/// What a nonce turned out to be.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Judgement {
    /// Issued to that source, and still good.
    Fresh,
    /// Issued to that source, too long ago.
    Stale,
    /// Never issued, or to somebody else.
    Foreign,
}

/// The key of the nonces' MAC, with how long they are good for.
#[derive(Clone)]
pub struct Nonces {
    secret: [u8; 32],
    lifetime_units: u64,
}

impl Nonces {
    /// Nonces under `secret`, good for `lifetime_secs` (16 seconds to 100 hours) at least, and for up
    /// to half a minute more.
    pub fn new(secret: [u8; 32], lifetime_secs: u64) -> Self {
        let mut nonces = Self {
            secret,
            lifetime_units: 1,
        };
        nonces.set_lifetime(lifetime_secs);
        nonces
    }

    /// From here on they are good for `lifetime_secs`.
    pub fn set_lifetime(&mut self, lifetime_secs: u64) {
        self.lifetime_units = lifetime_secs.div_ceil(UNIT_SECS).clamp(1, 22_500);
    }

    /// A nonce for `source` at `unix_secs`.
    pub fn issue(&self, unix_secs: u64, source: &FiveTuple) -> [u8; LEN] {
        let time = unix_secs / UNIT_SECS;
        let mut sealed = [0; SEALED_LEN];
        sealed[..2].copy_from_slice(&low_bits(time).to_be_bytes());
        sealed[2..].copy_from_slice(&self.mac(time, source));
        let mut nonce = [0; LEN];
        nonce[..COOKIE.len()].copy_from_slice(COOKIE);
        // Eleven bytes are fifteen characters, which is what is left: it always fits.
        let _ = URL_SAFE_NO_PAD.encode_slice(sealed, &mut nonce[COOKIE.len()..]);
        nonce
    }

    /// What `nonce`, shown by `source`, is.
    pub fn judge(&self, nonce: &[u8], unix_secs: u64, source: &FiveTuple) -> Judgement {
        match self.age(nonce, unix_secs / UNIT_SECS, source) {
            Some(age) if age <= self.lifetime_units => Judgement::Fresh,
            Some(_) => Judgement::Stale,
            None => Judgement::Foreign,
        }
    }

    /// How many units ago the nonce was issued to `source`, if it was.
    fn age(&self, nonce: &[u8], current: u64, source: &FiveTuple) -> Option<u64> {
        let encoded = nonce.strip_prefix(COOKIE)?;
        let mut sealed = [0; SEALED_LEN + 1];
        let len = URL_SAFE_NO_PAD.decode_slice(encoded, &mut sealed).ok()?;
        if len != SEALED_LEN {
            return None;
        }
        let issued = u16::from_be_bytes([sealed[0], sealed[1]]);
        let age = u64::from(low_bits(current).wrapping_sub(issued));
        let mac = self.mac(current.checked_sub(age)?, source);
        bool::from(mac.ct_eq(&sealed[2..SEALED_LEN])).then_some(age)
    }

    fn mac(&self, time: u64, source: &FiveTuple) -> [u8; MAC_LEN] {
        let time = time.to_be_bytes();
        let (ip, port) = (source.remote.ip(), source.remote.port().to_be_bytes());
        let transport = [match source.transport {
            Transport::Udp => 0,
            Transport::Tcp => 1,
        }];
        let mac = |ip: &[u8]| hmac_sha256(&self.secret, &[&time, &transport, &port, ip]);
        let mac = match ip {
            IpAddr::V4(ip) => mac(&ip.octets()),
            IpAddr::V6(ip) => mac(&ip.octets()),
        };
        let mut short = [0; MAC_LEN];
        short.copy_from_slice(&mac[..MAC_LEN]);
        short
    }
}

/// Whether `nonce` carries our cookie: the client saw which security features we have, so that a
/// request without PASSWORD-ALGORITHMS comes from a client that does not know them.
pub fn has_cookie(nonce: &[u8]) -> bool {
    nonce.starts_with(COOKIE)
}

#[expect(
    clippy::cast_possible_truncation,
    reason = "the low bits are what is wanted"
)]
fn low_bits(time: u64) -> u16 {
    time as u16
}

#[cfg(test)]
mod tests {
    use super::*;
    use core::net::SocketAddr;

    fn here() -> FiveTuple {
        FiveTuple {
            transport: Transport::Udp,
            local: SocketAddr::from(([203, 0, 113, 1], 3478)),
            remote: SocketAddr::from(([203, 0, 113, 5], 5000)),
        }
    }

    const NOW: u64 = 1_790_000_000;

    #[test]
    fn good_for_its_source_and_lifetime_only() {
        let nonces = Nonces::new([7; 32], 3600);
        let nonce = nonces.issue(NOW, &here());
        let judge = |secs| nonces.judge(&nonce, secs, &here());
        assert_eq!(judge(NOW), Judgement::Fresh);
        assert_eq!(judge(NOW + 3600), Judgement::Fresh);
        assert_eq!(judge(NOW + 3600 + 32), Judgement::Stale);
        assert_eq!(judge(NOW - 32), Judgement::Foreign);
        let [mut ip, mut port, mut transport] = [here(); 3];
        ip.remote.set_ip([203, 0, 113, 6].into());
        port.remote.set_port(5001);
        transport.transport = Transport::Tcp;
        for there in [ip, port, transport] {
            assert_eq!(nonces.judge(&nonce, NOW, &there), Judgement::Foreign);
        }
        let other = Nonces::new([8; 32], 3600);
        assert_eq!(other.judge(&nonce, NOW, &here()), Judgement::Foreign);
        // The 16 bits of time come round after twelve days; the MAC covers all of it.
        assert_eq!(judge(NOW + 65_536 * 16), Judgement::Foreign);
    }

    /// Wherever within sixteen seconds it was issued.
    #[test]
    fn a_lifetime_is_kept_to_the_second() {
        for lifetime in [16, 17, 60, 3600] {
            let nonces = Nonces::new([7; 32], lifetime);
            for issued in NOW..NOW + 16 {
                let nonce = nonces.issue(issued, &here());
                let judge = |age| nonces.judge(&nonce, issued + age, &here());
                assert_eq!(judge(lifetime), Judgement::Fresh, "{lifetime} s");
                assert_eq!(judge(lifetime + 32), Judgement::Stale, "{lifetime} s");
            }
        }
    }

    #[test]
    fn any_changed_character_spoils_it() {
        let nonces = Nonces::new([7; 32], 3600);
        let nonce = nonces.issue(NOW, &here());
        for index in 0..LEN {
            let mut changed = nonce;
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                nonces.judge(&changed, NOW, &here()),
                Judgement::Foreign,
                "character {index}"
            );
        }
        assert_eq!(
            nonces.judge(&nonce[..LEN - 1], NOW, &here()),
            Judgement::Foreign
        );
        assert_eq!(nonces.judge(b"", NOW, &here()), Judgement::Foreign);
    }
}
