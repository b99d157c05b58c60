//! The TURN URLs that clients are given, and who can use them.

use serde::Serialize;
use std::fmt;
use std::net::IpAddr;
use utoipa::ToSchema;

/// A TURN URL that clients are given.
#[derive(Clone, Debug, PartialEq, Eq, Serialize, ToSchema)]
pub struct Offer {
    /// The URL (RFC 7065): `turn:HOST:PORT?transport=udp` and the like.
    #[schema(example = "turn:relay.example:3478?transport=udp")]
    pub url: String,
    /// Who can reach it, as far as its host tells.
    pub reach: Reach,
}

/// Who can reach an address.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Serialize, ToSchema)]
#[serde(rename_all = "lowercase")]
pub enum Reach {
    /// Nobody: the name has no address.
    Nobody,
    /// Programs on this machine only: a loopback address.
    Machine,
    /// This network only: a private, shared or link-local address.
    Network,
    /// The internet, if what is in between lets packets through.
    Internet,
}

impl Reach {
    /// Who can reach `ip`.
    pub fn of(ip: IpAddr) -> Self {
        match ip {
            ip if ip.is_loopback() => Self::Machine,
            IpAddr::V4(ip) => {
                let [a, b, ..] = ip.octets();
                let shared = a == 100 && b & 0xc0 == 64;
                let benchmark = a == 198 && b & 0xfe == 18;
                let local = ip.is_private() || ip.is_link_local() || shared || benchmark;
                if local || a == 0 || a >= 224 {
                    Self::Network
                } else {
                    Self::Internet
                }
            }
            // Global unicast is all out of 2000::/3.
            IpAddr::V6(ip) if ip.octets()[0] >> 5 == 1 => Self::Internet,
            IpAddr::V6(_) => Self::Network,
        }
    }
}

impl fmt::Display for Reach {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Nobody => "nobody: the name has no address",
            Self::Machine => "from this machine only",
            Self::Network => "from this network only",
            Self::Internet => "from the internet",
        })
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_address_says_who_can_reach_it() {
        for (ip, reach) in [
            ("127.0.0.1", Reach::Machine),
            ("::1", Reach::Machine),
            ("10.0.0.5", Reach::Network),
            ("172.17.0.2", Reach::Network),
            ("100.64.0.1", Reach::Network),
            ("169.254.0.1", Reach::Network),
            ("198.18.0.1", Reach::Network),
            ("fd00::1", Reach::Network),
            ("fe80::1", Reach::Network),
            ("172.32.0.1", Reach::Internet),
            ("100.128.0.1", Reach::Internet),
            ("203.0.113.7", Reach::Internet),
            ("2001:db8::7", Reach::Internet),
        ] {
            assert_eq!(Reach::of(ip.parse().expect(ip)), reach, "{ip}");
        }
    }
}
