//! API keys: who may use the control API, and for what.
//!
//! Only hashes are kept. A key file has one key per line, `KEY` or `sha256:HEX`, then optionally
//! its scopes; without any it has them all. A word with `#` in front starts a comment.

use std::fmt;

use sha2::{Digest, Sha256};
use subtle::{Choice, ConditionallySelectable, ConstantTimeEq};

/// Shortest key that is taken, in characters.
pub const MIN_KEY_LEN: usize = 16;
const HASH_PREFIX: &str = "sha256:";

/// What a key is good for.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum Scope {
    /// Opening, answering and ending calls, and reading them.
    Calls,
    /// Everything.
    Admin,
    /// Reading calls and asking for decisions.
    Read,
}

impl Scope {
    /// The word in key files and in problems.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::Calls => "calls",
            Self::Admin => "admin",
            Self::Read => "read",
        }
    }

    const ALL: [Self; 3] = [Self::Calls, Self::Admin, Self::Read];

    const fn bit(self) -> u8 {
        match self {
            Self::Calls => 1,
            Self::Admin => 2,
            Self::Read => 4,
        }
    }
}

/// A key's scopes.
#[derive(Clone, Copy, PartialEq, Eq)]
pub struct Scopes(u8);

impl Scopes {
    const NONE: Self = Self(0);
    const ALL: Self = Self(7);

    /// Whether a request that needs `scope` is allowed: `admin` allows everything, `calls` also
    /// what `read` does.
    pub fn allow(self, scope: Scope) -> bool {
        let enough = match scope {
            Scope::Read => Scope::Read.bit() | Scope::Calls.bit() | Scope::Admin.bit(),
            Scope::Calls => Scope::Calls.bit() | Scope::Admin.bit(),
            Scope::Admin => Scope::Admin.bit(),
        };
        self.0 & enough != 0
    }
}

/// Whose key it was.
#[derive(Clone, Copy)]
pub struct Holder {
    /// Tells keys apart; says nothing about the key.
    pub id: [u8; 32],
    /// What the key is good for.
    pub scopes: Scopes,
}

/// The keys of one node.
#[derive(Clone, Default)]
pub struct ApiKeys(Vec<Known>);

#[derive(Clone)]
struct Known {
    hash: [u8; 32],
    scopes: Scopes,
}

impl ApiKeys {
    /// The keys in `text`, the content of `file`.
    pub fn parse(file: &str, text: &str) -> Result<Self, KeyFileError> {
        let mut keys: Vec<Known> = Vec::new();
        for (index, line) in text.lines().enumerate() {
            let wrong = |what| KeyFileError {
                file: file.to_owned(),
                line: index + 1,
                what,
            };
            let words = line.split([' ', '\t', ',']).filter(|word| !word.is_empty());
            let mut words = words.take_while(|word| !word.starts_with('#'));
            let Some(key) = words.next() else { continue };
            let known = Known {
                hash: hash_of(key).map_err(wrong)?,
                scopes: scopes(words).map_err(wrong)?,
            };
            if keys.iter().any(|other| other.hash == known.hash) {
                return Err(wrong(Wrong::Duplicate));
            }
            keys.push(known);
        }
        if keys.is_empty() {
            return Err(KeyFileError {
                file: file.to_owned(),
                line: 1,
                what: Wrong::Empty,
            });
        }
        Ok(Self(keys))
    }

    /// The holder of `key`; the time that this takes says nothing about any key.
    pub fn holder(&self, key: &str) -> Option<Holder> {
        let hash: [u8; 32] = Sha256::digest(key).into();
        let mut found = Choice::from(0);
        let mut scopes = 0;
        for known in &self.0 {
            let same = known.hash.ct_eq(&hash);
            scopes.conditional_assign(&known.scopes.0, same);
            found |= same;
        }
        bool::from(found).then(|| Holder {
            id: Sha256::digest(hash).into(),
            scopes: Scopes(scopes),
        })
    }
}

impl fmt::Debug for ApiKeys {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "ApiKeys({})", self.0.len())
    }
}

/// A key file that can't be used.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{file}:{line}: {what}")]
pub struct KeyFileError {
    /// The file's name.
    pub file: String,
    /// The line, from 1.
    pub line: usize,
    /// What is wrong with it.
    pub what: Wrong,
}

/// What can be wrong with a line of a key file.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
pub enum Wrong {
    /// No key in the file.
    #[error("no API key in the file; write one per line")]
    Empty,
    /// A key that can be guessed.
    #[error(
        "the key is shorter than {MIN_KEY_LEN} characters; take a random one, e.g. `openssl rand -hex 32`"
    )]
    TooShort,
    /// A character that no `Authorization` header can carry.
    #[error("a key has only visible ASCII characters")]
    Character,
    /// Not a SHA-256.
    #[error("`sha256:` must be followed by 64 hexadecimal digits")]
    Hash,
    /// A scope that does not exist.
    #[error("unknown scope `{0}`; the scopes are calls, admin, read")]
    Scope(String),
    /// The key is there twice.
    #[error("the same key was in an earlier line; leave one of them")]
    Duplicate,
}

fn hash_of(key: &str) -> Result<[u8; 32], Wrong> {
    if let Some(hex) = key.strip_prefix(HASH_PREFIX) {
        return unhex(hex).ok_or(Wrong::Hash);
    }
    if !key.bytes().all(|byte| byte.is_ascii_graphic()) {
        return Err(Wrong::Character);
    }
    if key.len() < MIN_KEY_LEN {
        return Err(Wrong::TooShort);
    }
    Ok(Sha256::digest(key).into())
}

fn unhex(hex: &str) -> Option<[u8; 32]> {
    let digits: Option<Vec<u8>> = hex
        .chars()
        .map(|digit| u8::try_from(digit.to_digit(16)?).ok())
        .collect();
    let bytes: Vec<u8> = digits?
        .chunks(2)
        .map(|pair| pair.iter().fold(0, |byte, digit| byte << 4 | digit))
        .collect();
    (hex.len() == 64).then(|| bytes.try_into().ok()).flatten()
}

fn scopes<'a>(words: impl Iterator<Item = &'a str>) -> Result<Scopes, Wrong> {
    let mut scopes = Scopes::NONE;
    for word in words {
        let scope = Scope::ALL.into_iter().find(|scope| scope.as_str() == word);
        scopes.0 |= scope.ok_or_else(|| Wrong::Scope(word.to_owned()))?.bit();
    }
    Ok(if scopes == Scopes::NONE {
        Scopes::ALL
    } else {
        scopes
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const KEY: &str = "0123456789abcdef";

    fn error(text: &str) -> String {
        ApiKeys::parse("keys", text).unwrap_err().to_string()
    }

    fn allowed(keys: &ApiKeys, key: &str) -> Option<[bool; 3]> {
        let scopes = keys.holder(key)?.scopes;
        Some([Scope::Calls, Scope::Admin, Scope::Read].map(|scope| scopes.allow(scope)))
    }

    #[test]
    fn keys_in_clear_and_hashed_have_their_scopes() {
        let text = format!(
            "# the platform\n{KEY}\n\n{KEY}-reader read # dashboards\n\
             sha256:{} calls,read\r\n",
            "2A7531B4BEEA7D1A6D23A4FD36A4E03F8A8DA0D1BE55C07B3F0D7A4DDE4B3E1C",
        );
        let keys = ApiKeys::parse("keys", &text).unwrap();
        assert_eq!(allowed(&keys, KEY), Some([true, true, true]));
        assert_eq!(
            allowed(&keys, "0123456789abcdef-reader"),
            Some([false, false, true])
        );
        assert_eq!(allowed(&keys, "0123456789abcdeg"), None);
        assert_eq!(allowed(&keys, ""), None);
    }

    #[test]
    fn a_hash_admits_its_key() {
        let hash = Sha256::digest(KEY)
            .iter()
            .fold(String::new(), |hex, byte| hex + &format!("{byte:02x}"));
        let keys = ApiKeys::parse("keys", &format!("sha256:{hash} calls")).unwrap();
        assert_eq!(allowed(&keys, KEY), Some([true, false, true]));
        assert_eq!(allowed(&keys, &format!("sha256:{hash}")), None);
    }

    #[test]
    fn a_key_may_have_a_number_sign_within() {
        let keys = ApiKeys::parse("keys", "0123456789#abcdef #read").unwrap();
        assert_eq!(
            allowed(&keys, "0123456789#abcdef"),
            Some([true, true, true])
        );
        assert_eq!(allowed(&keys, "0123456789"), None);
    }

    #[test]
    fn errors_say_file_and_line() {
        assert!(error("").starts_with("keys:1: no API key"));
        assert!(error("# nothing\n").starts_with("keys:1: no API key"));
        assert!(error(&format!("{KEY}\nshort\n")).starts_with("keys:2: the key is shorter"));
        assert!(error(&format!("{KEY} write")).starts_with("keys:1: unknown scope `write`"));
        assert!(error("sha256:abc").starts_with("keys:1: `sha256:` must"));
        assert!(error("schlüssel-0123456789").starts_with("keys:1: a key has only"));
        assert!(error(&format!("{KEY}\n\n{KEY} read")).starts_with("keys:3: the same key"));
    }
}
