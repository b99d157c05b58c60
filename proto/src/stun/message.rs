//! The view of a received message.

use super::integrity::{self, Integrity, SHA1_LEN};
use super::{AttributeType, Class, HEADER_LEN, Header, Method, TransactionId, fingerprint, padded};
use core::fmt;
use core::ops::Range;

/// Most attributes that a message may have, XOR-PEER-ADDRESS not counted, of which a CreatePermission
/// has as many as its sender has peers. Every look-up is linear in their number, and theirs is
/// bounded by the message's length.
pub const MAX_ATTRIBUTES: usize = 64;

/// Why bytes are no message that we read.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
pub enum ParseError {
    /// Fewer than 20 bytes, first two bits not zero, or another magic cookie.
    NotStun,
    /// The length field says more than there is.
    Truncated,
    /// The length field says less than there is.
    TrailingBytes,
    /// The length is no multiple of four.
    Unaligned,
    /// An attribute runs past the end of the message.
    AttributeOverrun,
    /// More than [`MAX_ATTRIBUTES`] attributes.
    TooManyAttributes,
    /// MESSAGE-INTEGRITY or MESSAGE-INTEGRITY-SHA256 has a length that it can't have.
    BadIntegrityLength,
    /// FINGERPRINT is wrong or not four bytes long.
    BadFingerprint,
    /// Attributes stand behind FINGERPRINT.
    FingerprintNotLast,
}

impl ParseError {
    /// All of them.
    pub const ALL: [Self; 9] = [
        Self::NotStun,
        Self::Truncated,
        Self::TrailingBytes,
        Self::Unaligned,
        Self::AttributeOverrun,
        Self::TooManyAttributes,
        Self::BadIntegrityLength,
        Self::BadFingerprint,
        Self::FingerprintNotLast,
    ];

    /// A short name for metrics.
    pub const fn as_str(self) -> &'static str {
        match self {
            Self::NotStun => "not_stun",
            Self::Truncated => "truncated",
            Self::TrailingBytes => "trailing_bytes",
            Self::Unaligned => "unaligned",
            Self::AttributeOverrun => "attribute_overrun",
            Self::TooManyAttributes => "too_many_attributes",
            Self::BadIntegrityLength => "bad_integrity_length",
            Self::BadFingerprint => "bad_fingerprint",
            Self::FingerprintNotLast => "fingerprint_not_last",
        }
    }
}

impl fmt::Display for ParseError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

impl core::error::Error for ParseError {}

/// A message whose structure and fingerprint are right. Integrity is checked on demand by
/// [`verify_integrity`](Self::verify_integrity).
#[derive(Clone, Copy)]
pub struct Message<'a> {
    bytes: &'a [u8],
    header: Header,
    layout: Layout,
}

/// Where the attributes stand that are not read like the others.
#[derive(Clone, Copy, Default)]
struct Layout {
    /// End of the attributes in front of the first integrity attribute and FINGERPRINT.
    plain_end: usize,
    sha1: Option<usize>,
    sha256: Option<usize>,
    fingerprint: Option<usize>,
}

impl<'a> Message<'a> {
    /// Reads `bytes`, which must be one whole message and nothing else.
    pub fn parse(bytes: &'a [u8]) -> Result<Self, ParseError> {
        let header = Header::parse(bytes).ok_or(ParseError::NotStun)?;
        check_length(bytes)?;
        let layout = Layout::of(bytes)?;
        if let Some(at) = layout.fingerprint {
            check_fingerprint(bytes, at)?;
        }
        Ok(Self {
            bytes,
            header,
            layout,
        })
    }

    /// Class, method and transaction id.
    pub fn header(&self) -> Header {
        self.header
    }

    /// The class.
    pub fn class(&self) -> Class {
        self.header.class
    }

    /// The method.
    pub fn method(&self) -> Method {
        self.header.method
    }

    /// The transaction id.
    pub fn transaction_id(&self) -> TransactionId {
        self.header.transaction_id
    }

    /// The whole message.
    pub fn as_bytes(&self) -> &'a [u8] {
        self.bytes
    }

    /// The attributes in their order. Behind MESSAGE-INTEGRITY only MESSAGE-INTEGRITY-SHA256 and
    /// FINGERPRINT are seen, behind MESSAGE-INTEGRITY-SHA256 only FINGERPRINT: what else stands
    /// there is not protected (RFC 8489 sections 14.5 and 14.6).
    pub fn attributes(&self) -> impl Iterator<Item = (AttributeType, &'a [u8])> + use<'a> {
        let Self { bytes, layout, .. } = *self;
        let last = [layout.sha1, layout.sha256, layout.fingerprint];
        let last = last
            .into_iter()
            .flatten()
            .filter_map(move |at| attribute_at(bytes, at));
        self.plain().chain(last)
    }

    /// The value of the first attribute of type `wanted`; later ones don't count
    /// (RFC 8489 section 14).
    pub fn find(&self, wanted: AttributeType) -> Option<&'a [u8]> {
        let Layout {
            sha1,
            sha256,
            fingerprint,
            ..
        } = self.layout;
        let found = match wanted {
            AttributeType::MESSAGE_INTEGRITY => attribute_at(self.bytes, sha1?),
            AttributeType::MESSAGE_INTEGRITY_SHA256 => attribute_at(self.bytes, sha256?),
            AttributeType::FINGERPRINT => attribute_at(self.bytes, fingerprint?),
            _ => self.plain().find(|(kind, _)| *kind == wanted),
        };
        found.map(|(_, value)| value)
    }

    /// Whether there is an attribute of type `wanted`.
    pub fn has(&self, wanted: AttributeType) -> bool {
        self.find(wanted).is_some()
    }

    /// Types that must be understood and are not: what a 420 lists. A type that stands twice in the
    /// message comes twice.
    pub fn unknown_required(&self) -> impl Iterator<Item = AttributeType> + use<'a> {
        self.plain()
            .map(|(kind, _)| kind)
            .filter(|kind| kind.is_comprehension_required() && !kind.is_understood())
    }

    /// Where the value of the first DATA attribute stands within [`as_bytes`](Self::as_bytes).
    pub fn data(&self) -> Option<Range<usize>> {
        let mut attributes = self.plain();
        let (_, value) = attributes.find(|(kind, _)| *kind == AttributeType::DATA)?;
        let start = self.layout.plain_end - attributes.rest.len() - padded(value.len());
        Some(start..start + value.len())
    }

    /// How the message says that it is protected; with both attributes the stronger counts.
    pub fn integrity(&self) -> Integrity {
        match (self.layout.sha256, self.layout.sha1) {
            (Some(_), _) => Integrity::Sha256,
            (None, Some(_)) => Integrity::Sha1,
            (None, None) => Integrity::None,
        }
    }

    /// Whether [`integrity`](Self::integrity) is right under `key`, in constant time.
    /// `false` without such an attribute.
    pub fn verify_integrity(&self, key: &[u8]) -> bool {
        if let Some((before, length, value)) = self.protected_by(self.layout.sha256) {
            integrity::is_same(&integrity::hmac_sha256(key, before, length), value)
        } else if let Some((before, length, value)) = self.protected_by(self.layout.sha1) {
            integrity::is_same(&integrity::hmac_sha1(key, before, length), value)
        } else {
            false
        }
    }

    /// What an integrity attribute covers, the length field that it was computed with, its value.
    fn protected_by(&self, at: Option<usize>) -> Option<(&'a [u8], u16, &'a [u8])> {
        let at = at?;
        let (_, value) = attribute_at(self.bytes, at)?;
        let length = u16::try_from(at + 4 + value.len() - HEADER_LEN).ok()?;
        Some((&self.bytes[..at], length, value))
    }

    /// The attributes in front of the integrity attributes and FINGERPRINT.
    pub(super) fn plain(&self) -> Attributes<'a> {
        Attributes {
            rest: &self.bytes[HEADER_LEN..self.layout.plain_end],
        }
    }
}

impl fmt::Debug for Message<'_> {
    /// Types only: values hold addresses and user names.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?} {:?} ", self.header.class, self.header.method)?;
        f.debug_list()
            .entries(self.attributes().map(|(kind, _)| kind))
            .finish()
    }
}

fn check_length(bytes: &[u8]) -> Result<(), ParseError> {
    let length = usize::from(u16::from_be_bytes([bytes[2], bytes[3]]));
    if !length.is_multiple_of(4) {
        return Err(ParseError::Unaligned);
    }
    match bytes.len() - HEADER_LEN {
        there if there < length => Err(ParseError::Truncated),
        there if there > length => Err(ParseError::TrailingBytes),
        _ => Ok(()),
    }
}

fn check_fingerprint(bytes: &[u8], at: usize) -> Result<(), ParseError> {
    let (before, attribute) = bytes.split_at(at);
    let right = fingerprint::fingerprint(before).to_be_bytes();
    if attribute[4..] == right {
        Ok(())
    } else {
        Err(ParseError::BadFingerprint)
    }
}

impl Layout {
    /// Walks over every attribute, also those that nobody will see.
    fn of(bytes: &[u8]) -> Result<Self, ParseError> {
        let mut layout = Self::default();
        let mut attributes = Attributes {
            rest: &bytes[HEADER_LEN..],
        };
        let mut at = HEADER_LEN;
        let mut count = 0;
        while let Some((kind, value)) = attributes.next() {
            layout.note(kind, value.len(), at)?;
            at = bytes.len() - attributes.rest.len();
            count += usize::from(kind != AttributeType::XOR_PEER_ADDRESS);
            if count > MAX_ATTRIBUTES {
                return Err(ParseError::TooManyAttributes);
            }
        }
        if !attributes.rest.is_empty() {
            return Err(ParseError::AttributeOverrun);
        }
        let first = layout.sha1.or(layout.sha256).or(layout.fingerprint);
        layout.plain_end = first.unwrap_or(bytes.len());
        Ok(layout)
    }

    fn note(&mut self, kind: AttributeType, length: usize, at: usize) -> Result<(), ParseError> {
        if self.fingerprint.is_some() {
            return Err(ParseError::FingerprintNotLast);
        }
        match kind {
            AttributeType::FINGERPRINT if length != 4 => return Err(ParseError::BadFingerprint),
            AttributeType::FINGERPRINT => self.fingerprint = Some(at),
            // Everything else behind MESSAGE-INTEGRITY-SHA256 is ignored, whatever it is.
            _ if self.sha256.is_some() => {}
            AttributeType::MESSAGE_INTEGRITY_SHA256 if !integrity::is_length(length) => {
                return Err(ParseError::BadIntegrityLength);
            }
            AttributeType::MESSAGE_INTEGRITY_SHA256 => self.sha256 = Some(at),
            _ if self.sha1.is_some() => {}
            AttributeType::MESSAGE_INTEGRITY if length != SHA1_LEN => {
                return Err(ParseError::BadIntegrityLength);
            }
            AttributeType::MESSAGE_INTEGRITY => self.sha1 = Some(at),
            _ => {}
        }
        Ok(())
    }
}

/// The attributes at the start of `rest`, until one does not fit in.
pub(super) struct Attributes<'a> {
    rest: &'a [u8],
}

impl<'a> Iterator for Attributes<'a> {
    type Item = (AttributeType, &'a [u8]);

    fn next(&mut self) -> Option<Self::Item> {
        let ([t0, t1, l0, l1], rest) = self.rest.split_first_chunk()?;
        let length = usize::from(u16::from_be_bytes([*l0, *l1]));
        let value = rest.get(..length)?;
        self.rest = rest.get(padded(length)..).unwrap_or_default();
        Some((AttributeType(u16::from_be_bytes([*t0, *t1])), value))
    }
}

/// The attribute whose four-byte header stands at `at`.
fn attribute_at(bytes: &[u8], at: usize) -> Option<(AttributeType, &[u8])> {
    Attributes {
        rest: bytes.get(at..)?,
    }
    .next()
}

#[cfg(test)]
mod tests;
