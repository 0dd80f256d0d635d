//! The Ids of records.

/// Makes an Id of 18 characters of one of 15. The three new characters say which of the others are capitals.
pub(crate) fn lengthen(id: &str) -> String {
    const ALPHABET: &[u8; 32] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZ012345";
    let suffix = id.as_bytes().chunks(5).map(|chunk| {
        let bits =
            chunk.iter().rev().fold(0, |bits, byte| bits << 1 | usize::from(byte.is_ascii_uppercase()));
        char::from(ALPHABET[bits])
    });
    id.chars().chain(suffix).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_suffix_tells_capitals_apart() {
        assert_eq!(lengthen("0035e0000000001"), "0035e0000000001AAA");
        assert_eq!(lengthen("00D5e000000SIMu"), "00D5e000000SIMuEAO");
    }
}
