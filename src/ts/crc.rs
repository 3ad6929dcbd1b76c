//! The CRC-32 of sections (ISO/IEC 13818-1, annex A).
//!
//! Owns the polynomial 0x04C11DB7, most significant bit first, all ones at the start and nothing at
//! the end. [`super::section`] checks with it.

/// What each value of a byte does to the register.
const TABLE: [u32; 256] = table();

/// The register after `bytes`: the CRC to send after them, and zero once it is among them.
pub(super) fn crc32(bytes: &[u8]) -> u32 {
    bytes.iter().fold(u32::MAX, |crc, byte| {
        let [high, ..] = crc.to_be_bytes();
        crc << 8 ^ TABLE[usize::from(high ^ byte)]
    })
}

const fn table() -> [u32; 256] {
    let mut table = [0; 256];
    let mut index = 0u8;
    loop {
        let mut bits = 0;
        let mut crc = u32::from_be_bytes([index, 0, 0, 0]);
        while bits < 8 {
            crc = if crc >> 31 == 1 { crc << 1 ^ 0x04C1_1DB7 } else { crc << 1 };
            bits += 1;
        }
        table[index as usize] = crc;
        index = match index.checked_add(1) {
            Some(next) => next,
            None => return table,
        };
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_check_value_of_the_catalogue() {
        // CRC-32/MPEG-2 of "123456789".
        assert_eq!(crc32(b"123456789"), 0x0376_E6E7);
        let mut bytes = b"section".to_vec();
        bytes.extend(crc32(&bytes).to_be_bytes());
        assert_eq!(crc32(&bytes), 0);
    }
}
