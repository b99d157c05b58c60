//! STUN messages (RFC 8489 sections 5 and 14) with TURN's attributes (RFC 8656 section 18).
//!
//! [`Message`] is a view of received bytes, [`Writer`] puts a message into the caller's buffer.
//! Neither copies or allocates, and neither panics whatever the bytes are.
//!
//! ```
//! use vizard_proto::stun::{AttributeType, Class, Message, Method, TransactionId, Writer};
//!
//! let mut buffer = [0; 64];
//! let mut writer = Writer::new(&mut buffer, Class::Request, Method::REFRESH, TransactionId([7; 12]));
//! writer.u32(AttributeType::LIFETIME, 600);
//! writer.fingerprint();
//! let length = writer.finish().unwrap();
//!
//! let message = Message::parse(&buffer[..length]).unwrap();
//! assert_eq!(message.method(), Method::REFRESH);
//! assert_eq!(message.lifetime(), Ok(Some(600)));
//! ```

mod attributes;
mod fingerprint;
mod header;
mod integrity;
mod message;
mod types;
mod writer;
mod xor_address;

pub use attributes::{BadAttribute, PasswordAlgorithm};
pub use header::{Class, Header, Method, TransactionId};
pub use integrity::Integrity;
pub use message::{MAX_ATTRIBUTES, Message, ParseError};
pub use types::AttributeType;
pub use writer::{Writer, data_indication_prefix};

/// Bytes 4 to 7 of every message (RFC 8489 section 5).
pub const MAGIC_COOKIE: u32 = 0x2112_A442;
/// Length of the header in bytes.
pub const HEADER_LEN: usize = 20;

/// `length` rounded up to a multiple of four, the alignment of attributes.
const fn padded(length: usize) -> usize {
    length.next_multiple_of(4)
}
