//! Who sent a request: RFC 8489 section 9.2.4, in its order.

use subtle::ConstantTimeEq;

use super::LongTermKey;
use super::nonce;
use super::ticket::{Ticket, TicketKeys};
use crate::stun::{BadAttribute, Integrity, Message, PasswordAlgorithm};

/// PASSWORD-ALGORITHMS as we send it: MD5 and SHA-256, neither with parameters.
pub const PASSWORD_ALGORITHMS: [u8; 8] = [0, 1, 0, 0, 0, 2, 0, 0];

/// A request's sender, proven by its MESSAGE-INTEGRITY.
pub struct Login {
    /// What it showed.
    pub ticket: Ticket,
    /// Signs the answer.
    pub key: LongTermKey,
    /// How the answer is to be signed: as the request was.
    pub integrity: Integrity,
}

/// Why a request was not accepted.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Refusal {
    /// 400.
    BadRequest,
    /// 401 with a challenge. An unknown user and a wrong password look the same.
    Unauthorized,
    /// 438 with a new nonce.
    StaleNonce,
}

impl From<BadAttribute> for Refusal {
    fn from(_: BadAttribute) -> Self {
        Self::BadRequest
    }
}

/// The attributes that every authenticated request must have; checked without a secret.
pub struct Claims<'a> {
    realm: &'a [u8],
    nonce: &'a [u8],
    user: User<'a>,
    algorithm: PasswordAlgorithm,
}

#[derive(Clone, Copy)]
enum User<'a> {
    Name(&'a [u8]),
    Hash(&'a [u8; 32]),
}

impl<'a> Claims<'a> {
    /// Reads them.
    pub fn read(message: &Message<'a>) -> Result<Self, Refusal> {
        if message.integrity() == Integrity::None {
            return Err(Refusal::Unauthorized);
        }
        let user = match (message.username()?, message.userhash()?) {
            (Some(name), None) => User::Name(name),
            (None, Some(hash)) => User::Hash(hash),
            _ => return Err(Refusal::BadRequest),
        };
        let realm = message.realm()?.ok_or(Refusal::BadRequest)?;
        let nonce = message.nonce()?.ok_or(Refusal::BadRequest)?;
        let algorithm = chosen_algorithm(message, nonce)?;
        Ok(Self {
            realm,
            nonce,
            user,
            algorithm,
        })
    }

    /// The nonce.
    pub fn nonce(&self) -> &'a [u8] {
        self.nonce
    }

    /// The hash if the sender named itself by USERHASH.
    pub fn userhash(&self) -> Option<&'a [u8; 32]> {
        match self.user {
            User::Hash(hash) => Some(hash),
            User::Name(_) => None,
        }
    }

    /// Opens the ticket and proves the sender's knowledge of its password.
    /// `resolved` is the username behind [`Self::userhash`], where that was sent and is known.
    pub fn verify(
        &self,
        message: &Message<'_>,
        realm: &[u8],
        tickets: &TicketKeys,
        resolved: Option<&[u8]>,
    ) -> Result<Login, Refusal> {
        let username = match self.user {
            User::Name(name) => name,
            User::Hash(_) => resolved.ok_or(Refusal::Unauthorized)?,
        };
        let (ticket, password) = tickets.open(username).ok_or(Refusal::Unauthorized)?;
        let key = LongTermKey::derive(self.algorithm, username, realm, &password);
        let ours = bool::from(self.realm.ct_eq(realm));
        if !ours || !message.verify_integrity(key.as_bytes()) {
            return Err(Refusal::Unauthorized);
        }
        Ok(Login {
            ticket,
            key,
            integrity: message.integrity(),
        })
    }
}

/// The password algorithm, with the protection against bidding down: whoever saw our nonce cookie
/// and knows PASSWORD-ALGORITHMS must return the list as it was sent.
fn chosen_algorithm(message: &Message<'_>, nonce: &[u8]) -> Result<PasswordAlgorithm, Refusal> {
    if !nonce::has_cookie(nonce) {
        return Ok(PasswordAlgorithm::Md5);
    }
    let list = message.password_algorithms()?;
    let choice = message.password_algorithm()?;
    match (list, choice) {
        (None, None) => Ok(PasswordAlgorithm::Md5),
        (Some(list), Some(choice)) if list == PASSWORD_ALGORITHMS => Ok(choice),
        _ => Err(Refusal::BadRequest),
    }
}
