//! The secrets of a node: read where they exist, made where they do not.

use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use ring::rand::{SecureRandom, SystemRandom};
use sha2::{Digest, Sha256};
use std::fmt;
use std::fmt::Write as _;
use std::path::{Path, PathBuf};
use zeroize::Zeroizing;

use super::error::StateError;
use super::{API_KEY, files};

const TICKET_KEYS: &str = "ticket.keys";
/// Keys that had to go.
const OLD_TICKET_KEYS: &str = "ticket.keys.old";
const NONCE_SECRET: &str = "nonce.secret";
const API_KEYS: &str = "api.keys";

/// 32 random bytes.
pub type Secret = Zeroizing<[u8; 32]>;

/// One line of `ticket.keys`.
#[derive(Clone)]
pub struct StoredKey {
    /// Tells keys apart while they rotate.
    pub id: u8,
    /// The key.
    pub secret: Secret,
}

impl fmt::Debug for StoredKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("StoredKey")
            .field("id", &self.id)
            .finish_non_exhaustive()
    }
}

/// What a node needs to know that nobody else may.
pub struct Secrets {
    /// Keys of the tickets: the first mints, all verify. At least one.
    pub ticket_keys: Vec<StoredKey>,
    /// Key of the nonces.
    pub nonce_secret: Secret,
    /// Start of the relay's random numbers. Never kept: a node that starts again must not give
    /// out the same mask addresses in the same order.
    pub seed: Secret,
}

impl Secrets {
    pub(super) fn load(directory: &Path) -> Result<Self, StateError> {
        Ok(Self {
            ticket_keys: ticket_keys(directory)?,
            nonce_secret: nonce_secret(directory)?,
            seed: random()?,
        })
    }
}

/// What became of the ticket keys when they were bound to a store.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum KeysBound {
    /// They were made for it, or are now.
    Kept,
    /// There were none.
    Fresh,
    /// The store does not know which of their tickets are dead: there is a new key, and the old
    /// ones have been put aside.
    Replaced {
        /// Where they are.
        old: PathBuf,
    },
}

pub(super) fn ticket_keys(directory: &Path) -> Result<Vec<StoredKey>, StateError> {
    let path = directory.join(TICKET_KEYS);
    match files::read(&path)? {
        Some(bytes) => Ok(read_ticket_keys(&path, bytes)?.keys),
        None => Ok(vec![make_ticket_key(&path, 1, None)?]),
    }
}

/// Binds the ticket keys to the store `store`. `whole` says that it knows every call that was
/// ended under the keys made for it, or for no store.
pub(super) fn bind_ticket_keys(
    directory: &Path,
    store: [u8; 16],
    whole: bool,
) -> Result<KeysBound, StateError> {
    let path = directory.join(TICKET_KEYS);
    let Some(bytes) = files::read(&path)? else {
        make_ticket_key(&path, 1, Some(store))?;
        return Ok(KeysBound::Fresh);
    };
    let bytes = Zeroizing::new(bytes);
    let file = read_ticket_keys(&path, bytes.to_vec())?;
    match file.store {
        Some(bound) if bound == store && whole => Ok(KeysBound::Kept),
        None if whole => {
            let line = format!("{}\n", store_line(store));
            files::write(&path, &[&bytes[..], line.as_bytes()].concat())?;
            Ok(KeysBound::Kept)
        }
        _ => {
            let old = directory.join(OLD_TICKET_KEYS);
            // First the copy, after what is there already: whoever finds the right store again
            // needs its keys, too.
            let earlier = Zeroizing::new(files::read(&old)?.unwrap_or_default());
            files::write(&old, &Zeroizing::new([&earlier[..], &bytes[..]].concat()))?;
            let id = file.keys.first().map_or(0, |key| key.id);
            make_ticket_key(&path, id.wrapping_add(1), Some(store))?;
            Ok(KeysBound::Replaced { old })
        }
    }
}

fn make_ticket_key(path: &Path, id: u8, store: Option<[u8; 16]>) -> Result<StoredKey, StateError> {
    let key = StoredKey {
        id,
        secret: random()?,
    };
    let mut text = Zeroizing::new(format!(
        "# Keys of the tickets: a number from 0 to 255 and 64 hex digits. The first line mints,\n\
         # all verify. To rotate, put a new line in front and reload; drop the old line when the\n\
         # last ticket under it has expired. The last line names the store that knows which of\n\
         # their tickets are dead; beside another store, a new key takes their place.\n{} {}\n",
        key.id,
        *hex(&*key.secret)
    ));
    if let Some(store) = store {
        // Writing to a String does not fail.
        let _ = writeln!(text, "{}", store_line(store));
    }
    files::write(path, text.as_bytes())?;
    Ok(key)
}

fn store_line(store: [u8; 16]) -> String {
    format!("store {}", *hex(&store))
}

/// The file of the ticket keys.
struct TicketKeyFile {
    keys: Vec<StoredKey>,
    /// The store that they belong to.
    store: Option<[u8; 16]>,
}

fn read_ticket_keys(path: &Path, bytes: Vec<u8>) -> Result<TicketKeyFile, StateError> {
    let bytes = Zeroizing::new(bytes);
    let text = Zeroizing::new(String::from_utf8_lossy(&bytes).into_owned());
    parse_ticket_keys(&text)
        .ok_or_else(|| StateError::malformed(path, "lines of a key number and 64 hex digits"))
}

fn parse_ticket_keys(text: &str) -> Option<TicketKeyFile> {
    let lines = text
        .lines()
        .map(str::trim)
        .filter(|l| !l.is_empty() && !l.starts_with('#'));
    let (mut keys, mut store) = (Vec::<StoredKey>::new(), None);
    for line in lines {
        let (id, rest) = line.split_once(char::is_whitespace)?;
        let rest = rest.trim();
        if id == "store" {
            let id = u128::from_str_radix(rest, 16).ok()?.to_be_bytes();
            (rest.len() == 32 && store.replace(id).is_none()).then_some(())?;
            continue;
        }
        let id = id.parse().ok()?;
        if keys.iter().any(|other| other.id == id) {
            return None;
        }
        let secret = unhex(rest)?;
        keys.push(StoredKey { id, secret });
    }
    (!keys.is_empty()).then_some(TicketKeyFile { keys, store })
}

fn nonce_secret(directory: &Path) -> Result<Secret, StateError> {
    let path = directory.join(NONCE_SECRET);
    if let Some(bytes) = files::read(&path)? {
        return unhex(String::from_utf8_lossy(&bytes).trim())
            .ok_or_else(|| StateError::malformed(&path, "64 hex digits"));
    }
    let secret = random()?;
    files::write(&path, format!("{}\n", *hex(&*secret)).as_bytes())?;
    Ok(secret)
}

pub(super) fn api_keys(directory: &Path) -> Result<(String, Option<String>), StateError> {
    let path = directory.join(API_KEYS);
    if let Some(bytes) = files::read(&path)? {
        return Ok((String::from_utf8_lossy(&bytes).into_owned(), None));
    }
    let key = format!("vizard_{}", URL_SAFE_NO_PAD.encode(*random()?));
    let line = format!("sha256:{}\n", *hex(&Sha256::digest(key.as_bytes())));
    // The key first: a hash without its key would lock everybody out.
    files::write(&directory.join(API_KEY), format!("{key}\n").as_bytes())?;
    files::write(&path, line.as_bytes())?;
    Ok((line, Some(key)))
}

fn random() -> Result<Secret, StateError> {
    let mut bytes = Zeroizing::new([0; 32]);
    SystemRandom::new()
        .fill(&mut *bytes)
        .map_err(|_| StateError::no_randomness())?;
    Ok(bytes)
}

fn hex(bytes: &[u8]) -> Zeroizing<String> {
    let mut text = Zeroizing::new(String::with_capacity(bytes.len() * 2));
    for byte in bytes {
        // Writing to a String does not fail.
        let _ = write!(text, "{byte:02x}");
    }
    text
}

fn unhex(text: &str) -> Option<Secret> {
    if text.len() != 64 || !text.bytes().all(|b| b.is_ascii_hexdigit()) {
        return None;
    }
    let mut secret = Zeroizing::new([0; 32]);
    for (byte, digits) in secret.iter_mut().zip(text.as_bytes().chunks_exact(2)) {
        *byte = u8::from_str_radix(std::str::from_utf8(digits).ok()?, 16).ok()?;
    }
    Some(secret)
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::fs;

    #[test]
    fn secrets_are_made_once_and_read_back() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let first = Secrets::load(folder.path()).expect("made");
        let second = Secrets::load(folder.path()).expect("read");
        assert_eq!(first.ticket_keys[0].secret, second.ticket_keys[0].secret);
        assert_eq!(first.nonce_secret, second.nonce_secret);
        assert_ne!(first.seed, second.seed);
        assert_ne!(*first.nonce_secret, [0; 32]);
    }

    fn bind(folder: &tempfile::TempDir, store: u8, whole: bool) -> KeysBound {
        bind_ticket_keys(folder.path(), [store; 16], whole).expect("bound")
    }

    fn minting(folder: &tempfile::TempDir) -> (u8, Secret) {
        let keys = ticket_keys(folder.path()).expect("read");
        (keys[0].id, keys[0].secret.clone())
    }

    #[test]
    fn keys_go_with_the_store_that_they_were_made_for() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        assert_eq!(bind(&folder, 1, false), KeysBound::Fresh);
        let first = minting(&folder);
        assert_eq!(bind(&folder, 1, true), KeysBound::Kept);
        assert!(minting(&folder) == first);
        let old = folder.path().join(OLD_TICKET_KEYS);
        let replaced = KeysBound::Replaced { old: old.clone() };
        // Another store, and the same one after it fell back.
        let mut seen = vec![first];
        for (store, whole) in [(2, true), (2, false), (3, false)] {
            assert_eq!(bind(&folder, store, whole), replaced);
            let key = minting(&folder);
            assert_eq!(ticket_keys(folder.path()).expect("read").len(), 1);
            assert!(seen.iter().all(|old| old.0 != key.0 && old.1 != key.1));
            seen.push(key);
        }
        let kept = fs::read_to_string(&old).expect("there");
        for (id, secret) in &seen[..3] {
            assert!(kept.contains(&format!("{id} {}", *hex(&**secret))));
        }
    }

    #[test]
    fn keys_that_belong_to_no_store_are_taken_over_by_one_that_knows() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join(TICKET_KEYS);
        let mine = format!("# mine\n7 {}\n", "ab".repeat(32));
        files::write(&path, mine.as_bytes()).expect("written");
        assert_eq!(bind(&folder, 1, true), KeysBound::Kept);
        assert!(fs::read_to_string(&path).expect("there").starts_with(&mine));
        assert_eq!(minting(&folder).0, 7);
        assert_eq!(bind(&folder, 1, true), KeysBound::Kept);
        files::write(&path, mine.as_bytes()).expect("written");
        assert!(matches!(
            bind(&folder, 1, false),
            KeysBound::Replaced { .. }
        ));
        assert_eq!(minting(&folder).0, 8);
    }

    #[test]
    fn the_api_key_is_left_for_its_owner_and_kept_as_a_hash() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let (lines, key) = api_keys(folder.path()).expect("made");
        let key = key.expect("a fresh one");
        assert!(!lines.contains(&key));
        assert_eq!(
            super::super::read_api_key(folder.path()).expect("there"),
            key
        );
        assert_eq!(api_keys(folder.path()).expect("read"), (lines, None));
        fs::remove_file(folder.path().join(API_KEY)).expect("removed");
        assert!(super::super::read_api_key(folder.path()).is_err());
        assert!(api_keys(folder.path()).expect("read").1.is_none());
    }

    #[test]
    fn a_broken_key_file_is_refused_and_not_overwritten() {
        let folder = tempfile::tempdir().expect("a temporary directory");
        let path = folder.path().join(TICKET_KEYS);
        let good = format!("1 {}", "ab".repeat(32));
        for text in [
            "",
            "1",
            "1 abcd",
            "256 00",
            &format!("{good}\n{good}\n"),
            &good.replace('a', "x"),
        ] {
            files::write(&path, text.as_bytes()).expect("written");
            let error = ticket_keys(folder.path()).expect_err(text).to_string();
            assert!(error.contains("restore it"), "{error}");
            assert!(!error.contains("abab"), "{error}");
            assert_eq!(fs::read(&path).expect("there"), text.as_bytes());
        }
        let two = format!("# mine\n2 {}\n{good}\n", "CD".repeat(32));
        files::write(&path, two.as_bytes()).expect("written");
        let keys = ticket_keys(folder.path()).expect("read");
        assert_eq!(keys.iter().map(|key| key.id).collect::<Vec<_>>(), [2, 1]);
    }
}
