//! The CRC-32 of FINGERPRINT (RFC 8489 section 14.7), ITU V.42: polynomial 0x04C11DB7, reflected.

/// Tables for sixteen bytes in one step: `TABLES[n][b]` is the CRC of byte `b` with `n` zero bytes
/// behind it.
static TABLES: [[u32; 256]; 16] = tables();

/// The value of FINGERPRINT behind `bytes`, whose length field must count FINGERPRINT already.
pub(super) fn fingerprint(bytes: &[u8]) -> u32 {
    crc32(bytes) ^ 0x5354_554E
}

fn crc32(bytes: &[u8]) -> u32 {
    let (sixteens, rest) = bytes.as_chunks::<16>();
    let (fours, rest) = rest.as_chunks::<4>();
    let crc = sixteens
        .iter()
        .fold(u32::MAX, |crc, bytes| step_by(crc, *bytes));
    let crc = fours.iter().fold(crc, |crc, bytes| step_by(crc, *bytes));
    !rest.iter().fold(crc, |crc, byte| step(crc, *byte))
}

/// `N` is four or more. The last bytes come first, since only the first four wait for `crc`.
fn step_by<const N: usize>(crc: u32, mut bytes: [u8; N]) -> u32 {
    for (byte, crc) in bytes.iter_mut().zip(crc.to_le_bytes()) {
        *byte ^= crc;
    }
    let looked_up = bytes
        .iter()
        .rev()
        .zip(&TABLES)
        .map(|(byte, table)| table[usize::from(*byte)]);
    looked_up.fold(0, |crc, part| crc ^ part)
}

const fn step(crc: u32, byte: u8) -> u32 {
    (crc >> 8) ^ TABLES_FOR_ONE[((crc & 0xFF) as u8 ^ byte) as usize]
}

const TABLES_FOR_ONE: [u32; 256] = table_for_one();

const fn table_for_one() -> [u32; 256] {
    let mut table = [0; 256];
    let mut byte: u32 = 0;
    while byte < 256 {
        let mut crc = byte;
        let mut bit = 0;
        while bit < 8 {
            crc = (crc >> 1) ^ if crc & 1 == 1 { 0xEDB8_8320 } else { 0 };
            bit += 1;
        }
        table[byte as usize] = crc;
        byte += 1;
    }
    table
}

const fn tables() -> [[u32; 256]; 16] {
    let mut tables = [TABLES_FOR_ONE; 16];
    let mut n = 1;
    while n < 16 {
        let mut byte = 0;
        while byte < 256 {
            tables[n][byte] = step(tables[n - 1][byte], 0);
            byte += 1;
        }
        n += 1;
    }
    tables
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn check_value_of_the_polynomial() {
        assert_eq!(crc32(b"123456789"), 0xCBF4_3926);
        assert_eq!(crc32(b""), 0);
    }

    #[test]
    fn many_at_once_is_one_by_one() {
        let mut bytes = [0; 67];
        for (at, byte) in bytes.iter_mut().enumerate() {
            *byte = u8::try_from(at * 37 % 251).unwrap();
        }
        for length in 0..bytes.len() {
            let slow = !bytes[..length]
                .iter()
                .fold(u32::MAX, |crc, byte| step(crc, *byte));
            assert_eq!(crc32(&bytes[..length]), slow);
        }
    }
}
