//! What the generator puts into each packet, so that whoever receives it can tell what it is.
//!
//! The first twelve bytes look like RTP, since a relay of calls may carry nothing else: version 2,
//! a payload type that says the direction, the low bits of the sequence number, the run in the
//! place of the timestamp and the pair as SSRC. The whole sequence number, the time of sending and
//! a check over all of it follow, then a pattern that must come back unchanged.

/// Length of the stamp, and so the least payload.
pub(crate) const LEN: usize = 32;

const VERSION: u8 = 0x80;
const PAYLOAD_TYPE: u8 = 96;

/// The first bytes of a payload.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct Stamp {
    /// A number of this run, to tell its packets from an earlier run's.
    pub(crate) run: u32,
    /// The pair.
    pub(crate) pair: u32,
    /// 0 from the pair's first end, 1 from its second.
    pub(crate) direction: u8,
    /// Counts the packets of this pair and direction.
    pub(crate) sequence: u64,
    /// When it was sent, in nanoseconds since the run began.
    pub(crate) sent: u64,
}

impl Stamp {
    pub(crate) fn to_bytes(self) -> [u8; LEN] {
        let mut bytes = [0; LEN];
        let sequence = self.sequence.to_be_bytes();
        bytes[0] = VERSION;
        bytes[1] = PAYLOAD_TYPE | (self.direction & 1);
        bytes[2..4].copy_from_slice(&sequence[6..]);
        bytes[4..8].copy_from_slice(&self.run.to_be_bytes());
        bytes[8..12].copy_from_slice(&self.pair.to_be_bytes());
        bytes[12..20].copy_from_slice(&sequence);
        bytes[20..28].copy_from_slice(&self.sent.to_be_bytes());
        bytes[28..].copy_from_slice(&self.check().to_be_bytes());
        bytes
    }

    /// The stamp of `payload`; `None` if it has none or one that was changed on the way.
    pub(crate) fn read(payload: &[u8]) -> Option<Self> {
        let (bytes, _) = payload.split_first_chunk::<LEN>()?;
        let stamp = Self {
            run: u32::from_be_bytes(*bytes[4..].first_chunk()?),
            pair: u32::from_be_bytes(*bytes[8..].first_chunk()?),
            direction: bytes[1] & 1,
            sequence: u64::from_be_bytes(*bytes[12..].first_chunk()?),
            sent: u64::from_be_bytes(*bytes[20..].first_chunk()?),
        };
        (stamp.to_bytes() == *bytes).then_some(stamp)
    }

    /// Not a secret: it finds what was damaged, not who damages.
    fn check(&self) -> u32 {
        let numbers = [
            u64::from(self.run) << 32 | u64::from(self.pair),
            self.sequence << 1 | u64::from(self.direction),
            self.sent,
        ];
        let mixed = numbers
            .iter()
            .fold(0x9E37_79B9_7F4A_7C15, |sum: u64, number| {
                (sum ^ number)
                    .wrapping_mul(0xD6E8_FEB8_6659_FD93)
                    .rotate_left(29)
            });
        u32::try_from(mixed >> 32).unwrap_or(0)
    }
}

/// What follows the stamp: the same in every packet, so that a changed byte shows.
pub(crate) struct Body(Vec<u8>);

impl Body {
    /// The body of payloads of `size` bytes.
    pub(crate) fn new(size: usize) -> Self {
        let pattern = (0..=250_u8).cycle().map(|byte| byte.wrapping_mul(31));
        Self(pattern.take(size.saturating_sub(LEN)).collect())
    }

    /// Writes a payload; `room` has the size given to [`Self::new`].
    pub(crate) fn write(&self, stamp: Stamp, room: &mut [u8]) {
        room[..LEN].copy_from_slice(&stamp.to_bytes());
        room[LEN..].copy_from_slice(&self.0);
    }

    /// Whether `payload` is as long as it was sent, and unchanged behind the stamp.
    pub(crate) fn is_whole(&self, payload: &[u8]) -> bool {
        payload.get(LEN..) == Some(&self.0[..])
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    const STAMP: Stamp = Stamp {
        run: 0xDEAD_BEEF,
        pair: 77,
        direction: 1,
        sequence: 0x1_0000_0002,
        sent: 123_456_789,
    };

    #[test]
    fn a_stamp_comes_back_and_looks_like_rtp() {
        let body = Body::new(172);
        let mut payload = [0; 172];
        body.write(STAMP, &mut payload);
        assert_eq!(payload[0] >> 6, 2);
        assert_eq!(Stamp::read(&payload), Some(STAMP));
        assert!(body.is_whole(&payload));
    }

    #[test]
    fn any_changed_bit_is_found() {
        let body = Body::new(48);
        let mut payload = [0; 48];
        body.write(STAMP, &mut payload);
        for at in 0..payload.len() {
            for bit in 0..8 {
                let mut changed = payload;
                changed[at] ^= 1 << bit;
                let whole = Stamp::read(&changed) == Some(STAMP) && body.is_whole(&changed);
                assert!(!whole, "byte {at} bit {bit}");
            }
        }
        assert!(!body.is_whole(&payload[..47]));
        assert_eq!(Stamp::read(&payload[..31]), None);
    }
}
