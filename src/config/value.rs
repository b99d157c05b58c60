//! Types of values that TOML does not have.

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use std::fmt;
use std::net::SocketAddr;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use super::turn_url::TurnUrl;

/// A length of time in whole seconds, written like `90s`, `10m`, `1h30m`, `7d`; a number alone is
/// seconds.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Period(pub Duration);

const UNITS: [(char, u64); 4] = [('d', 86_400), ('h', 3600), ('m', 60), ('s', 1)];

impl Period {
    /// `secs` seconds.
    pub const fn from_secs(secs: u64) -> Self {
        Self(Duration::from_secs(secs))
    }
}

impl FromStr for Period {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "not a length of time";
        if let Ok(secs) = text.parse() {
            return Ok(Self::from_secs(secs));
        }
        let mut rest = text;
        let mut total = 0_u64;
        while !rest.is_empty() {
            let unit_at = rest.find(|c: char| !c.is_ascii_digit()).ok_or(wrong)?;
            let count: u64 = rest[..unit_at].parse().map_err(|_| wrong)?;
            let unit = rest[unit_at..].chars().next().ok_or(wrong)?;
            let (_, secs) = UNITS.iter().find(|(name, _)| *name == unit).ok_or(wrong)?;
            total = count
                .checked_mul(*secs)
                .and_then(|s| total.checked_add(s))
                .ok_or(wrong)?;
            rest = &rest[unit_at + unit.len_utf8()..];
        }
        if text.is_empty() {
            Err(wrong)
        } else {
            Ok(Self::from_secs(total))
        }
    }
}

impl fmt::Display for Period {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let mut left = self.0.as_secs();
        if left == 0 {
            return f.write_str("0s");
        }
        for (unit, secs) in UNITS {
            if left >= secs {
                write!(f, "{}{unit}", left / secs)?;
                left %= secs;
            }
        }
        Ok(())
    }
}

/// A short length of time in whole microseconds, written like `100us`, `1ms` or `0`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord)]
pub struct Moment(pub Duration);

impl FromStr for Moment {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let wrong = "not a number of microseconds";
        let (count, unit) = match (text.strip_suffix("us"), text.strip_suffix("ms")) {
            (Some(count), _) => (count, 1),
            (_, Some(count)) => (count, 1000),
            _ if text == "0" => (text, 1),
            _ => return Err(wrong),
        };
        let count: u32 = count.parse().map_err(|_| wrong)?;
        Ok(Self(Duration::from_micros(u64::from(count) * unit)))
    }
}

impl fmt::Display for Moment {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.0.as_micros() {
            0 => f.write_str("0"),
            micros if micros.is_multiple_of(1000) => write!(f, "{}ms", micros / 1000),
            micros => write!(f, "{micros}us"),
        }
    }
}

/// Where the control API listens.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Listen {
    /// A TCP address and port.
    Tcp(SocketAddr),
    /// A unix socket, written `unix:/path`.
    Unix(PathBuf),
}

impl FromStr for Listen {
    type Err = &'static str;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.strip_prefix("unix:") {
            Some(path) if path.starts_with('/') => Ok(Self::Unix(path.into())),
            Some(_) => Err("the path of a unix socket must be absolute"),
            None => text.parse().map(Self::Tcp).map_err(|_| "not ADDRESS:PORT"),
        }
    }
}

impl fmt::Display for Listen {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Tcp(address) => write!(f, "{address}"),
            Self::Unix(path) => write!(f, "unix:{}", path.display()),
        }
    }
}

macro_rules! serde_as_text {
    ($($name:ty),*) => {$(
        impl Serialize for $name {
            fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
                serializer.collect_str(self)
            }
        }

        impl<'de> Deserialize<'de> for $name {
            fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
                let text = String::deserialize(deserializer)?;
                text.parse().map_err(serde::de::Error::custom)
            }
        }
    )*};
}

serde_as_text!(Period, Moment, Listen, TurnUrl);

/// Something that may be absent, written as an empty string.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Maybe<T>(pub Option<T>);

impl<T: Serialize> Serialize for Maybe<T> {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match &self.0 {
            Some(value) => value.serialize(serializer),
            None => serializer.serialize_str(""),
        }
    }
}

impl<'de, T: FromStr<Err: fmt::Display>> Deserialize<'de> for Maybe<T> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        if text.is_empty() {
            return Ok(Self(None));
        }
        text.parse()
            .map(|value| Self(Some(value)))
            .map_err(serde::de::Error::custom)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn moments_read_back_as_written() {
        for text in ["0", "100us", "1500us", "2ms"] {
            assert_eq!(text.parse::<Moment>().expect(text).to_string(), text);
        }
        assert_eq!(
            "1000us".parse::<Moment>().expect("valid").to_string(),
            "1ms"
        );
        for text in ["", "us", "100", "1s", "-1us", "1.5ms", "1 us"] {
            assert!(text.parse::<Moment>().is_err(), "{text}");
        }
    }

    #[test]
    fn periods_read_back_as_written() {
        for text in ["0s", "45s", "10m", "2h", "1h30m", "7d", "1d1h1m1s"] {
            assert_eq!(text.parse::<Period>().expect(text).to_string(), text);
        }
        assert_eq!("90s".parse::<Period>().expect("valid").to_string(), "1m30s");
        assert_eq!("90".parse(), Ok(Period::from_secs(90)));
        for text in [
            "",
            "h",
            "-1s",
            "2 h",
            "1.5h",
            "2w",
            "99999999999999999999s",
            "9999999999999999d",
            "1ü",
        ] {
            assert!(text.parse::<Period>().is_err(), "{text}");
        }
    }

    #[test]
    fn listeners_are_addresses_or_absolute_paths() {
        for text in [
            "127.0.0.1:8080",
            "[::1]:8080",
            "unix:/run/vizard/control.sock",
        ] {
            assert_eq!(text.parse::<Listen>().expect(text).to_string(), text);
        }
        for text in ["", "8080", "localhost:8080", "unix:", "unix:control.sock"] {
            assert!(text.parse::<Listen>().is_err(), "{text}");
        }
    }
}
