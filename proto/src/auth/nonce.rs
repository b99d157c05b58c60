//! The nonce: 28 characters that say when and for whom they were made, so that none need be kept.
//!
//! Layout: the RFC 8489 cookie `obMatJos2`, four characters of security features (section 9.2),
//! and fifteen of base64url: the low 16 bits of the time in units of 16 seconds and 72 bits of a
//! MAC over the whole time and the source's IP address. The port is left out, so that one
//! challenge serves all sockets of a client.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::net::IpAddr;
use subtle::ConstantTimeEq;

use super::hmac_sha256;

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
    /// Nonces under `secret`, good for `lifetime_secs` (16 seconds to 100 hours, rounded to 16 seconds).
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
        self.lifetime_units = (lifetime_secs / UNIT_SECS).clamp(1, 22_500);
    }

    /// A nonce for `source` at `unix_secs`.
    pub fn issue(&self, unix_secs: u64, source: IpAddr) -> [u8; LEN] {
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
    pub fn judge(&self, nonce: &[u8], unix_secs: u64, source: IpAddr) -> Judgement {
        match self.age(nonce, unix_secs / UNIT_SECS, source) {
            Some(age) if age <= self.lifetime_units => Judgement::Fresh,
            Some(_) => Judgement::Stale,
            None => Judgement::Foreign,
        }
    }

    /// How many units ago the nonce was issued to `source`, if it was.
    fn age(&self, nonce: &[u8], current: u64, source: IpAddr) -> Option<u64> {
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

    fn mac(&self, time: u64, source: IpAddr) -> [u8; MAC_LEN] {
        let time = time.to_be_bytes();
        let mac = match source {
            IpAddr::V4(ip) => hmac_sha256(&self.secret, &[&time, &ip.octets()]),
            IpAddr::V6(ip) => hmac_sha256(&self.secret, &[&time, &ip.octets()]),
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
    use core::net::Ipv4Addr;

    const HERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 5));
    const THERE: IpAddr = IpAddr::V4(Ipv4Addr::new(203, 0, 113, 6));
    const NOW: u64 = 1_790_000_000;

    #[test]
    fn good_for_its_source_and_lifetime_only() {
        let nonces = Nonces::new([7; 32], 3600);
        let nonce = nonces.issue(NOW, HERE);
        let judge = |secs, source| nonces.judge(&nonce, secs, source);
        assert_eq!(judge(NOW, HERE), Judgement::Fresh);
        assert_eq!(judge(NOW + 3600, HERE), Judgement::Fresh);
        assert_eq!(judge(NOW + 3600 + 32, HERE), Judgement::Stale);
        assert_eq!(judge(NOW - 32, HERE), Judgement::Foreign);
        assert_eq!(judge(NOW, THERE), Judgement::Foreign);
        let other = Nonces::new([8; 32], 3600);
        assert_eq!(other.judge(&nonce, NOW, HERE), Judgement::Foreign);
        // The 16 bits of time come round after twelve days; the MAC covers all of it.
        assert_eq!(judge(NOW + 65_536 * 16, HERE), Judgement::Foreign);
    }

    #[test]
    fn any_changed_character_spoils_it() {
        let nonces = Nonces::new([7; 32], 3600);
        let nonce = nonces.issue(NOW, HERE);
        for index in 0..LEN {
            let mut changed = nonce;
            changed[index] = if changed[index] == b'A' { b'B' } else { b'A' };
            assert_eq!(
                nonces.judge(&changed, NOW, HERE),
                Judgement::Foreign,
                "character {index}"
            );
        }
        assert_eq!(
            nonces.judge(&nonce[..LEN - 1], NOW, HERE),
            Judgement::Foreign
        );
        assert_eq!(nonces.judge(b"", NOW, HERE), Judgement::Foreign);
    }
}
