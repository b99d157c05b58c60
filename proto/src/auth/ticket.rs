//! Tickets: the credential of one party (one device of it) in one call.
//!
//! The TURN username is the ticket itself, encrypted and authenticated (AES-256-GCM), so that a
//! node with the keys needs no look-up and nobody else can tell whose it is, or that two tickets
//! belong to one call. The password is derived from the username. Minting is deterministic: the
//! nonce is a MAC of the content, so the same ticket under the same keys is the same credential
//! and need not be stored.

use alloc::string::String;
use alloc::vec::Vec;
use base64::Engine as _;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use core::fmt;
use ring::aead::{AES_256_GCM, Aad, LessSafeKey, Nonce, UnboundKey};
use serde::{Deserialize, Serialize};
use zeroize::{Zeroize, ZeroizeOnDrop};

use super::hmac_sha256;

const NONCE_LEN: usize = 12;
const TAG_LEN: usize = 16;
const CONTENT_LEN: usize = 32;
const SEALED_LEN: usize = 1 + NONCE_LEN + CONTENT_LEN + TAG_LEN;
const USERNAME_LEN: usize = (SEALED_LEN * 4).div_ceil(3);
const PASSWORD_BYTES: usize = 24;
/// A ticket password's length in characters.
pub const PASSWORD_LEN: usize = PASSWORD_BYTES * 4 / 3;
const FORMAT: u8 = 1;
const FLAG_MASKED: u8 = 1;
/// The longest that a ticket is minted for, in seconds.
pub const LONGEST_SECS: u64 = 86_400;
/// How far ahead a ticket may expire: a day more than it can be minted for, which two clocks that
/// are not in step may differ by.
const FARTHEST_SECS: u64 = LONGEST_SECS + 86_400;

/// Which call: 16 bytes that the control side chose.
#[derive(Clone, Copy, Debug, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
pub struct CallId(pub [u8; 16]);

/// What a ticket says.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub struct Ticket {
    /// The call.
    pub call: CallId,
    /// The party's index in the call.
    pub party: u8,
    /// Serial number of the party's device.
    pub device: u8,
    /// Unix seconds at which every session of this ticket ends.
    pub expires_at: u64,
    /// Limit for what its allocations send together, headers included, in kilobits per second; 0
    /// is none.
    pub kbps: u32,
    /// Whether the server keeps the client's own address from it (XOR-MAPPED-ADDRESS, Binding),
    /// so that nothing can pass it on.
    pub masked: bool,
}

impl Ticket {
    /// Whether its time is at `unix_secs`. One that expires further ahead than any is minted for
    /// was made with a clock that nobody should trust, and would outlive every memory of its call.
    pub fn is_in_time(&self, unix_secs: u64) -> bool {
        let left = self.expires_at.saturating_sub(unix_secs);
        (1..=FARTHEST_SECS).contains(&left)
    }

    /// Whether its time is over at that Unix second.
    pub fn has_expired(&self, unix_secs: u64) -> bool {
        self.expires_at <= unix_secs
    }

    /// Whether both were minted for the same device of the same call, at whatever times.
    pub fn is_of_same_device(&self, other: &Self) -> bool {
        (self.call, self.party, self.device) == (other.call, other.party, other.device)
    }
}

/// What a client authenticates with.
#[derive(Clone, PartialEq, Eq)]
pub struct Credential {
    /// USERNAME: 82 characters of base64url.
    pub username: String,
    /// The password: 32 characters of base64url.
    pub password: String,
}

impl fmt::Debug for Credential {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Credential(hidden)")
    }
}

/// A secret that tickets are made under; nodes that share it accept each other's tickets.
#[derive(Clone, Zeroize, ZeroizeOnDrop)]
pub struct TicketKey {
    /// Tells keys apart while they rotate. It is visible in every username.
    pub id: u8,
    /// 32 random bytes.
    pub secret: [u8; 32],
}

/// The key that mints and those that still verify.
pub struct TicketKeys {
    current: Schedule,
    previous: Vec<Schedule>,
}

impl TicketKeys {
    /// Mints with `current`, verifies with `current` and `previous`; the first key with an id wins.
    pub fn new(current: &TicketKey, previous: &[TicketKey]) -> Self {
        Self {
            current: Schedule::new(current),
            previous: previous.iter().map(Schedule::new).collect(),
        }
    }

    /// The credential for `ticket`.
    pub fn mint(&self, ticket: &Ticket) -> Credential {
        let username = self.current.seal(ticket);
        let password = self.current.password(username.as_bytes());
        Credential {
            username,
            password: String::from_utf8_lossy(&password).into_owned(),
        }
    }

    /// The ticket behind `username`, with its password; `None` for anything that we did not mint.
    /// Expiry and revocation are for the caller to judge.
    pub fn open(&self, username: &[u8]) -> Option<(Ticket, [u8; PASSWORD_LEN])> {
        if username.len() != USERNAME_LEN {
            return None;
        }
        let mut sealed = [0; SEALED_LEN + 2];
        let len = URL_SAFE_NO_PAD.decode_slice(username, &mut sealed).ok()?;
        let sealed = sealed.get_mut(..len)?;
        let id = *sealed.first()?;
        let schedule = core::iter::once(&self.current)
            .chain(&self.previous)
            .find(|schedule| schedule.id == id)?;
        let ticket = schedule.unseal(sealed)?;
        Some((ticket, schedule.password(username)))
    }
}

/// What is derived from one [`TicketKey`].
struct Schedule {
    id: u8,
    sealing: LessSafeKey,
    nonce_key: [u8; 32],
    password_key: [u8; 32],
}

impl Schedule {
    fn new(key: &TicketKey) -> Self {
        let derive = |label: &[u8]| hmac_sha256(&key.secret, &[label, &[key.id]]);
        let sealing = UnboundKey::new(&AES_256_GCM, &derive(b"vizard ticket seal"))
            .expect("AES-256-GCM takes 32 bytes");
        Self {
            id: key.id,
            sealing: LessSafeKey::new(sealing),
            nonce_key: derive(b"vizard ticket nonce"),
            password_key: derive(b"vizard ticket password"),
        }
    }

    fn seal(&self, ticket: &Ticket) -> String {
        let mut content = encode(ticket);
        let mut nonce = [0; NONCE_LEN];
        nonce.copy_from_slice(&hmac_sha256(&self.nonce_key, &[&content])[..NONCE_LEN]);
        let tag = self
            .sealing
            .seal_in_place_separate_tag(
                Nonce::assume_unique_for_key(nonce),
                Aad::from([self.id]),
                &mut content,
            )
            .expect("a ticket is far below AES-GCM's length limit");
        let mut sealed = Vec::with_capacity(SEALED_LEN);
        sealed.push(self.id);
        sealed.extend_from_slice(&nonce);
        sealed.extend_from_slice(&content);
        sealed.extend_from_slice(tag.as_ref());
        URL_SAFE_NO_PAD.encode(sealed)
    }

    fn unseal(&self, sealed: &mut [u8]) -> Option<Ticket> {
        let (head, body) = sealed.split_at_mut_checked(1 + NONCE_LEN)?;
        let nonce = Nonce::try_assume_unique_for_key(&head[1..]).ok()?;
        let content = self
            .sealing
            .open_in_place(nonce, Aad::from([self.id]), body)
            .ok()?;
        decode(content)
    }

    fn password(&self, username: &[u8]) -> [u8; PASSWORD_LEN] {
        let mac = hmac_sha256(&self.password_key, &[username]);
        let mut password = [0; PASSWORD_LEN];
        // 24 bytes are exactly 32 characters: it always fits.
        let _ = URL_SAFE_NO_PAD.encode_slice(&mac[..PASSWORD_BYTES], &mut password);
        password
    }
}

fn encode(ticket: &Ticket) -> [u8; CONTENT_LEN] {
    let mut content = [0; CONTENT_LEN];
    content[0] = FORMAT;
    content[1..17].copy_from_slice(&ticket.call.0);
    content[17] = ticket.party;
    content[18] = ticket.device;
    content[19] = if ticket.masked { FLAG_MASKED } else { 0 };
    content[20..28].copy_from_slice(&ticket.expires_at.to_be_bytes());
    content[28..].copy_from_slice(&ticket.kbps.to_be_bytes());
    content
}

fn decode(content: &[u8]) -> Option<Ticket> {
    let content: &[u8; CONTENT_LEN] = content.try_into().ok()?;
    if content[0] != FORMAT {
        return None;
    }
    Some(Ticket {
        call: CallId(content[1..17].try_into().ok()?),
        party: content[17],
        device: content[18],
        // Anything but a clear "not masked" is masked.
        masked: content[19] != 0,
        expires_at: u64::from_be_bytes(content[20..28].try_into().ok()?),
        kbps: u32::from_be_bytes(content[28..].try_into().ok()?),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn key(id: u8) -> TicketKey {
        TicketKey {
            id,
            secret: [id.wrapping_mul(31); 32],
        }
    }

    fn ticket(party: u8) -> Ticket {
        Ticket {
            call: CallId([9; 16]),
            party,
            device: 1,
            expires_at: 1_790_000_000,
            kbps: 4000,
            masked: true,
        }
    }

    #[test]
    fn opens_to_what_was_minted() {
        let keys = TicketKeys::new(&key(3), &[]);
        let credential = keys.mint(&ticket(1));
        assert_eq!(credential.username.len(), USERNAME_LEN);
        let (opened, password) = keys.open(credential.username.as_bytes()).expect("ours");
        assert_eq!(opened, ticket(1));
        assert_eq!(password, credential.password.as_bytes());
        assert!(keys.mint(&ticket(1)) == credential);
    }

    #[test]
    fn parties_of_a_call_have_nothing_in_common_but_the_key() {
        let keys = TicketKeys::new(&key(3), &[]);
        let (a, b) = (keys.mint(&ticket(0)), keys.mint(&ticket(1)));
        let same = a
            .username
            .bytes()
            .zip(b.username.bytes())
            .filter(|(a, b)| a == b)
            .count();
        assert!(same < 16, "{same} of {USERNAME_LEN} characters alike");
        assert_ne!(a.password, b.password);
    }

    #[test]
    fn no_changed_character_opens() {
        let keys = TicketKeys::new(&key(3), &[]);
        let username = keys.mint(&ticket(0)).username;
        for index in 0..USERNAME_LEN {
            let mut changed = username.clone().into_bytes();
            changed[index] = if changed[index] == b'x' { b'y' } else { b'x' };
            assert!(keys.open(&changed).is_none(), "character {index}");
        }
        assert!(keys.open(b"").is_none());
        assert!(keys.open(&[0xff; USERNAME_LEN]).is_none());
    }

    #[test]
    fn rotation_keeps_old_tickets_and_forgets_dropped_keys() {
        let old = TicketKeys::new(&key(1), &[]).mint(&ticket(0));
        assert!(
            TicketKeys::new(&key(2), &[key(1)])
                .open(old.username.as_bytes())
                .is_some()
        );
        assert!(
            TicketKeys::new(&key(2), &[])
                .open(old.username.as_bytes())
                .is_none()
        );
    }
}
