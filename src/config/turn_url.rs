//! TURN URLs as an operator writes them.

use std::fmt;
use std::net::{Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

/// Browsers connect to no TURN server there.
const BLOCKED_PORT: u16 = 53;

/// A TURN URL (RFC 7065), with its port and transport.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct TurnUrl {
    secure: bool,
    host: String,
    port: u16,
    tcp: bool,
}

impl TurnUrl {
    /// The host: a name, an IPv4 address, or an IPv6 address in brackets.
    pub fn host(&self) -> &str {
        &self.host
    }
}

impl FromStr for TurnUrl {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let (scheme, rest) = text.split_once(':').ok_or("not a TURN URL")?;
        let secure = match scheme {
            "turn" => false,
            "turns" => true,
            _ => return Err("a TURN URL begins with turn: or turns:"),
        };
        let (place, query) = match rest.split_once('?') {
            Some((place, query)) => (place, Some(query)),
            None => (rest, None),
        };
        let tcp = match query {
            None => secure,
            Some("transport=udp") => false,
            Some("transport=tcp") => true,
            Some(_) => {
                return Err("behind the question mark stands transport=udp or transport=tcp");
            }
        };
        let (host, port) = split(place)?;
        let port = match port {
            None if secure => 5349,
            None => 3478,
            Some(port) => port.parse().map_err(|_| "not a port")?,
        };
        if port == 0 || port == BLOCKED_PORT {
            return Err("browsers connect to no TURN server at this port");
        }
        Ok(Self {
            secure,
            host: host.to_owned(),
            port,
            tcp,
        })
    }
}

/// The host and, if there is one, the port.
fn split(place: &str) -> Result<(&str, Option<&str>), &'static str> {
    let wrong = "not HOST or HOST:PORT (an IPv6 address stands in brackets)";
    let (host, rest) = match place.strip_prefix('[') {
        Some(literal) => {
            let (inside, rest) = literal.split_once(']').ok_or(wrong)?;
            inside.parse::<Ipv6Addr>().map_err(|_| wrong)?;
            place.split_at(place.len() - rest.len())
        }
        None => place.split_at(place.find(':').unwrap_or(place.len())),
    };
    let bracketed = host.starts_with('[');
    if !bracketed && host.parse::<Ipv4Addr>().is_err() && !is_host_name(host) {
        return Err(wrong);
    }
    match rest {
        "" => Ok((host, None)),
        rest => Ok((host, Some(rest.strip_prefix(':').ok_or(wrong)?))),
    }
}

/// Whether `name` can be a DNS name.
pub(super) fn is_host_name(name: &str) -> bool {
    let label = |l: &str| {
        (1..=63).contains(&l.len()) && l.bytes().all(|b| b.is_ascii_alphanumeric() || b == b'-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

impl fmt::Display for TurnUrl {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            secure,
            host,
            port,
            tcp,
        } = self;
        let scheme = if *secure { "turns" } else { "turn" };
        let transport = if *tcp { "tcp" } else { "udp" };
        write!(f, "{scheme}:{host}:{port}?transport={transport}")
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn urls_are_made_complete() {
        for (text, whole) in [
            (
                "turn:relay.example",
                "turn:relay.example:3478?transport=udp",
            ),
            (
                "turns:relay.example",
                "turns:relay.example:5349?transport=tcp",
            ),
            ("turn:192.0.2.7:13478", "turn:192.0.2.7:13478?transport=udp"),
            (
                "turn:[2001:db8::7]",
                "turn:[2001:db8::7]:3478?transport=udp",
            ),
            (
                "turns:relay.example:443?transport=tcp",
                "turns:relay.example:443?transport=tcp",
            ),
        ] {
            let url: TurnUrl = text.parse().expect(text);
            assert_eq!(url.to_string(), whole);
        }
    }

    #[test]
    fn what_no_browser_takes_is_refused() {
        for text in [
            "",
            "relay.example",
            "stun:relay.example",
            "turn:",
            "turn:[2001:db8::7",
            "turn:[relay.example]:3478",
            "turn:2001:db8::7",
            "turn:relay.example:0",
            "turn:relay.example:53",
            "turn:relay.example:99999",
            "turn:relay example",
            "turn://relay.example",
            "turn:relay.example?transport=tls",
            "turn:user@relay.example",
        ] {
            assert!(text.parse::<TurnUrl>().is_err(), "{text}");
        }
    }
}
