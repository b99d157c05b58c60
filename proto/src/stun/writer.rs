//! Puts messages together.

use super::integrity::{self, Integrity};
use super::{
    AttributeType, Class, HEADER_LEN, Header, Method, TransactionId, fingerprint, padded,
    xor_address,
};
use core::net::SocketAddr;

/// Longest message that the length field, counting in fours, can express.
const MAX_LEN: usize = HEADER_LEN + 0xFFFC;

/// Writes one message into the caller's buffer. What does not fit is not written, nothing behind
/// it is either, and [`finish`](Self::finish) tells.
pub struct Writer<'b> {
    buffer: &'b mut [u8],
    length: usize,
    overflow: bool,
    id: TransactionId,
}

impl<'b> Writer<'b> {
    /// Starts a message.
    pub fn new(buffer: &'b mut [u8], class: Class, method: Method, id: TransactionId) -> Self {
        let header = Header {
            class,
            method,
            transaction_id: id,
        }
        .to_bytes(0);
        let mut writer = Self {
            buffer,
            length: 0,
            overflow: false,
            id,
        };
        match writer.buffer.first_chunk_mut() {
            Some(start) => {
                *start = header;
                writer.length = HEADER_LEN;
            }
            None => writer.overflow = true,
        }
        writer
    }

    /// An attribute with this value; padding is zero.
    pub fn bytes(&mut self, kind: AttributeType, value: &[u8]) {
        if let Some(room) = self.append(kind, value.len()) {
            room.copy_from_slice(value);
        }
    }

    /// An attribute of one byte and three reserved ones: REQUESTED-TRANSPORT,
    /// REQUESTED-ADDRESS-FAMILY, ADDITIONAL-ADDRESS-FAMILY.
    pub fn u8(&mut self, kind: AttributeType, value: u8) {
        self.bytes(kind, &[value, 0, 0, 0]);
    }

    /// An attribute of two bytes and two reserved ones: CHANNEL-NUMBER.
    pub fn u16(&mut self, kind: AttributeType, value: u16) {
        let [high, low] = value.to_be_bytes();
        self.bytes(kind, &[high, low, 0, 0]);
    }

    /// An attribute of four bytes: LIFETIME.
    pub fn u32(&mut self, kind: AttributeType, value: u32) {
        self.bytes(kind, &value.to_be_bytes());
    }

    /// An XOR-*-ADDRESS attribute.
    pub fn xor_address(&mut self, kind: AttributeType, address: SocketAddr) {
        let (value, length) = xor_address::encode(address, self.id);
        self.bytes(kind, &value[..length]);
    }

    /// ERROR-CODE without a reason phrase, which only makes answers longer. `code` is 300 to 699.
    pub fn error_code(&mut self, code: u16) {
        let [class, number] = [code / 100, code % 100].map(|part| u8::try_from(part).unwrap_or(0));
        self.bytes(AttributeType::ERROR_CODE, &[0, 0, class & 7, number]);
    }

    /// UNKNOWN-ATTRIBUTES with the first `most` of `types`.
    pub fn unknown_attributes(&mut self, types: impl Iterator<Item = AttributeType>, most: usize) {
        let value = self.length + 4;
        let mut length = 0;
        for kind in types.take(most) {
            let start = value + length;
            let Some(room) = self.buffer.get_mut(start..start + 2) else {
                self.overflow = true;
                return;
            };
            room.copy_from_slice(&kind.0.to_be_bytes());
            length += 2;
        }
        self.append(AttributeType::UNKNOWN_ATTRIBUTES, length);
    }

    /// The integrity attribute of that kind over everything so far; nothing for
    /// [`Integrity::None`]. Only another integrity attribute and FINGERPRINT may follow.
    pub fn integrity(&mut self, kind: Integrity, key: &[u8]) {
        match kind {
            Integrity::None => {}
            Integrity::Sha1 => {
                self.computed(AttributeType::MESSAGE_INTEGRITY, |before, length| {
                    integrity::hmac_sha1(key, before, length)
                });
            }
            Integrity::Sha256 => {
                self.computed(AttributeType::MESSAGE_INTEGRITY_SHA256, |before, length| {
                    integrity::hmac_sha256(key, before, length)
                });
            }
        }
    }

    /// FINGERPRINT over everything so far. Nothing may follow.
    pub fn fingerprint(&mut self) {
        self.computed(AttributeType::FINGERPRINT, |before, _| {
            fingerprint::fingerprint(before).to_be_bytes()
        });
    }

    /// The message's length in bytes; `None` if it did not fit.
    pub fn finish(mut self) -> Option<usize> {
        if self.overflow {
            return None;
        }
        self.count_length();
        Some(self.length)
    }
}

impl Writer<'_> {
    /// An attribute of `N` bytes that is computed over what stands before it, with a length field
    /// that counts the attribute already.
    fn computed<const N: usize>(
        &mut self,
        kind: AttributeType,
        compute: impl FnOnce(&[u8], u16) -> [u8; N],
    ) {
        let start = self.length;
        if self.append(kind, N).is_none() {
            return;
        }
        let length = self.count_length();
        let (before, attribute) = self.buffer.split_at_mut(start);
        attribute[4..4 + N].copy_from_slice(&compute(before, length));
    }

    /// Appends an attribute's header and padding; returns the room for its value, as it is.
    fn append(&mut self, kind: AttributeType, length: usize) -> Option<&mut [u8]> {
        let end = self.length + 4 + padded(length);
        let fits = !self.overflow && end <= MAX_LEN.min(self.buffer.len());
        let (Ok(value_length), true) = (u16::try_from(length), fits) else {
            self.overflow = true;
            return None;
        };
        let ([t0, t1], [l0, l1]) = (kind.0.to_be_bytes(), value_length.to_be_bytes());
        let (header, value) = self.buffer[self.length..end].split_first_chunk_mut()?;
        *header = [t0, t1, l0, l1];
        self.length = end;
        let (value, padding) = value.split_at_mut(length);
        padding.fill(0);
        Some(value)
    }

    /// Brings the header's length field up to date.
    fn count_length(&mut self) -> u16 {
        let length = u16::try_from(self.length - HEADER_LEN).unwrap_or(u16::MAX);
        self.buffer[2..4].copy_from_slice(&length.to_be_bytes());
        length
    }
}

/// Writes what stands before `data_len` bytes of payload in a Data indication: header,
/// XOR-PEER-ADDRESS and the header of DATA. On the wire follow the payload and zero bytes up to a
/// multiple of four. Returns the length of what was written, `None` if it did not fit.
pub fn data_indication_prefix(
    out: &mut [u8],
    id: TransactionId,
    peer: SocketAddr,
    data_len: usize,
) -> Option<usize> {
    let mut writer = Writer::new(out, Class::Indication, Method::DATA, id);
    writer.xor_address(AttributeType::XOR_PEER_ADDRESS, peer);
    writer.bytes(AttributeType::DATA, &[]);
    let prefix = writer.finish()?;
    let data_len = u16::try_from(data_len).ok()?;
    let length = u16::try_from(prefix - HEADER_LEN + padded(data_len.into())).ok()?;
    out[2..4].copy_from_slice(&length.to_be_bytes());
    out[prefix - 2..prefix].copy_from_slice(&data_len.to_be_bytes());
    Some(prefix)
}

#[cfg(test)]
mod tests {
    use super::super::Message;
    use super::*;

    const ID: TransactionId = TransactionId([5; 12]);

    fn answer(buffer: &mut [u8]) -> Writer<'_> {
        Writer::new(buffer, Class::Success, Method::ALLOCATE, ID)
    }

    #[test]
    fn bytes_on_the_wire() {
        let mut buffer = [0xFF; 64];
        let mut writer = answer(&mut buffer);
        writer.bytes(AttributeType::REALM, b"a.org");
        writer.error_code(438);
        writer.u16(AttributeType::CHANNEL_NUMBER, 0x4001);
        let length = writer.finish().unwrap();
        let mut expected = std::vec![0x01, 0x03, 0, 28, 0x21, 0x12, 0xA4, 0x42];
        expected.extend([5; 12]);
        expected.extend(*b"\x00\x14\x00\x05a.org\0\0\0");
        expected.extend([0, 9, 0, 4, 0, 0, 4, 38]);
        expected.extend([0, 12, 0, 4, 0x40, 1, 0, 0]);
        assert_eq!(buffer[..length], expected);
    }

    #[test]
    fn too_small_a_buffer_of_any_size_is_told_and_never_overrun() {
        let whole = fill(&mut [0; 256]).unwrap();
        for size in 0..256 {
            let finished = fill(&mut std::vec![0; size]);
            assert_eq!(finished, (size >= whole).then_some(whole));
        }
    }

    fn fill(buffer: &mut [u8]) -> Option<usize> {
        let mut writer = answer(buffer);
        writer.bytes(AttributeType::USERNAME, b"some name");
        writer.xor_address(
            AttributeType::XOR_MAPPED_ADDRESS,
            "[2001:db8::9]:1".parse().unwrap(),
        );
        writer.unknown_attributes([7, 8, 9].into_iter().map(AttributeType), 8);
        writer.integrity(Integrity::Sha1, b"key");
        writer.integrity(Integrity::Sha256, b"key");
        writer.fingerprint();
        writer.finish()
    }

    #[test]
    fn nothing_follows_what_did_not_fit() {
        let mut buffer = [0; 28];
        let mut writer = answer(&mut buffer);
        writer.bytes(AttributeType::DATA, &[0; 9]);
        writer.u32(AttributeType::LIFETIME, 1);
        assert_eq!(writer.finish(), None);
        assert_eq!(buffer[20..], [0; 8]);
    }

    #[test]
    fn a_length_beyond_sixteen_bits_does_not_fit() {
        let mut buffer = std::vec![0; 70_000];
        for (size, fits) in [
            (65_528, true),
            (65_529, false),
            (65_536, false),
            (69_000, false),
        ] {
            let mut writer = answer(&mut buffer);
            writer.bytes(AttributeType::DATA, &std::vec![1; size]);
            assert_eq!(writer.finish().is_some(), fits, "{size}");
        }
    }

    #[test]
    fn unknown_attributes_are_capped_and_padded() {
        let mut buffer = [0xFF; 64];
        let mut writer = answer(&mut buffer);
        writer.unknown_attributes((1..100).map(AttributeType), 3);
        writer.unknown_attributes(core::iter::empty(), 3);
        let length = writer.finish().unwrap();
        assert_eq!(
            buffer[20..length],
            [0, 10, 0, 6, 0, 1, 0, 2, 0, 3, 0, 0, 0, 10, 0, 0]
        );
    }

    #[test]
    fn data_indication_is_a_message_once_the_payload_is_there() {
        for (peer, size) in [
            ("192.0.2.1:9", 0),
            ("192.0.2.1:9", 5),
            ("[2001:db8::1]:9", 1200),
        ] {
            let peer = peer.parse().unwrap();
            let mut bytes = std::vec![0; 100];
            let prefix = data_indication_prefix(&mut bytes, ID, peer, size).unwrap();
            bytes.truncate(prefix);
            bytes.resize(prefix + size, 0xAB);
            bytes.resize(prefix + padded(size), 0);
            let message = Message::parse(&bytes).unwrap();
            assert_eq!(
                (message.class(), message.method()),
                (Class::Indication, Method::DATA)
            );
            assert_eq!(message.xor_peer_address(), Ok(Some(peer)));
            assert_eq!(message.data(), Some(prefix..prefix + size));
        }
        let peer = "192.0.2.1:9".parse().unwrap();
        assert_eq!(data_indication_prefix(&mut [0; 35], ID, peer, 1), None);
        for size in [65_516, 65_536, usize::MAX - 3] {
            let fits = data_indication_prefix(&mut [0; 36], ID, peer, size).is_some();
            assert_eq!(fits, size == 65_516);
        }
    }
}
