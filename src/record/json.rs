//! Writing JSON text straight into a byte buffer: the one encoder of the hot path.

/// Which bytes cannot stand in a JSON string as they are (control, quote, backslash) or may not be UTF-8.
const NEEDS_CARE: [bool; 256] = {
    let mut table = [false; 256];
    let mut byte = 0;
    while byte < 256 {
        table[byte] = byte < 0x20 || byte == b'"' as usize || byte == b'\\' as usize || byte >= 0x80;
        byte += 1;
    }
    table
};

const LOW_BITS: u64 = 0x0101_0101_0101_0101;
const HIGH_BITS: u64 = 0x8080_8080_8080_8080;

/// Length of the longest prefix of `bytes` that needs no care.
fn plain_prefix(bytes: &[u8]) -> usize {
    let mut at = 0;
    while let Some(chunk) = bytes.get(at..at + 8) {
        let mut word = [0u8; 8];
        word.copy_from_slice(chunk);
        let word = u64::from_le_bytes(word);
        let control = word.wrapping_sub(LOW_BITS * 0x20);
        let quote = (word ^ (LOW_BITS * u64::from(b'"'))).wrapping_sub(LOW_BITS);
        let backslash = (word ^ (LOW_BITS * u64::from(b'\\'))).wrapping_sub(LOW_BITS);
        if (control | quote | backslash | word) & HIGH_BITS != 0 {
            break;
        }
        at += 8;
    }
    while at < bytes.len() && !NEEDS_CARE[usize::from(bytes[at])] {
        at += 1;
    }
    at
}

/// Appends `bytes` as the inside of a JSON string. What is not UTF-8 becomes U+FFFD, as `String::from_utf8_lossy` does;
/// gives how many bytes those were.
pub fn escape(out: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    let mut rest = bytes;
    let mut invalid = 0;
    loop {
        let plain = plain_prefix(rest);
        out.extend_from_slice(&rest[..plain]);
        rest = &rest[plain..];
        let Some(&byte) = rest.first() else { return invalid };
        if byte < 0x80 {
            escape_ascii(out, byte);
            rest = &rest[1..];
            continue;
        }
        let high = rest.iter().position(|&b| b < 0x80).unwrap_or(rest.len());
        for chunk in rest[..high].utf8_chunks() {
            out.extend_from_slice(chunk.valid().as_bytes());
            if !chunk.invalid().is_empty() {
                out.extend_from_slice("\u{fffd}".as_bytes());
                invalid += chunk.invalid().len() as u64;
            }
        }
        rest = &rest[high..];
    }
}

fn escape_ascii(out: &mut Vec<u8>, byte: u8) {
    match byte {
        b'"' => out.extend_from_slice(b"\\\""),
        b'\\' => out.extend_from_slice(b"\\\\"),
        b'\n' => out.extend_from_slice(b"\\n"),
        b'\r' => out.extend_from_slice(b"\\r"),
        b'\t' => out.extend_from_slice(b"\\t"),
        0x08 => out.extend_from_slice(b"\\b"),
        0x0c => out.extend_from_slice(b"\\f"),
        _ => {
            const HEX: &[u8; 16] = b"0123456789abcdef";
            out.extend_from_slice(b"\\u00");
            out.push(HEX[usize::from(byte >> 4)]);
            out.push(HEX[usize::from(byte & 15)]);
        }
    }
}

/// Appends `"bytes"`; gives how many bytes of them are no UTF-8, see [`escape`].
pub fn string(out: &mut Vec<u8>, bytes: &[u8]) -> u64 {
    out.push(b'"');
    let invalid = escape(out, bytes);
    out.push(b'"');
    invalid
}

/// Appends `,` where `out` already holds a member after `start`, then `"key":`. `key` is plain ASCII.
pub fn key(out: &mut Vec<u8>, start: usize, key: &str) {
    if out.len() > start {
        out.push(b',');
    }
    out.push(b'"');
    out.extend_from_slice(key.as_bytes());
    out.extend_from_slice(b"\":");
}

/// Appends a decimal number.
pub fn number(out: &mut Vec<u8>, value: u64) {
    let mut digits = [0u8; 20];
    let mut at = digits.len();
    let mut rest = value;
    loop {
        at -= 1;
        digits[at] = b'0' + (rest % 10) as u8;
        rest /= 10;
        if rest == 0 {
            break;
        }
    }
    out.extend_from_slice(&digits[at..]);
}

/// Length in bytes of the UTF-8 text that [`escape`] makes of `bytes`, before escaping.
pub fn text_len(bytes: &[u8]) -> usize {
    if bytes.is_ascii() {
        return bytes.len();
    }
    bytes.utf8_chunks().map(|c| c.valid().len() + if c.invalid().is_empty() { 0 } else { 3 }).sum()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn escaped_text_reads_back_as_the_lossy_text() {
        let mut cases: Vec<Vec<u8>> = vec![
            b"".to_vec(),
            b"plain text of more than eight bytes".to_vec(),
            b"quote \" back \\ slash / tab \t nl \n cr \r nul \0 del \x7f".to_vec(),
            "grüße, 漢字, 🚢 and plain again".as_bytes().to_vec(),
            b"bad \xff\xfe utf \xe6\xbc cut".to_vec(),
            b"\xf0\x9f\x9a".to_vec(),
        ];
        cases.extend((0..=255u8).map(|b| vec![b'x', b, b'y', b'z', b'1', b'2', b'3', b'4', b, b]));
        for case in cases {
            let mut out = Vec::new();
            let invalid = string(&mut out, &case);
            let bad: usize = case.utf8_chunks().map(|chunk| chunk.invalid().len()).sum();
            assert_eq!(invalid, bad as u64, "{case:?}");
            let read: String = serde_json::from_slice(&out).expect("valid JSON");
            assert_eq!(read, String::from_utf8_lossy(&case), "{case:?}");
            assert_eq!(read.len(), text_len(&case));
        }
    }

    #[test]
    fn members_are_joined_by_commas() {
        let mut out = b"{".to_vec();
        key(&mut out, 1, "a");
        number(&mut out, 0);
        key(&mut out, 1, "b");
        number(&mut out, u64::MAX);
        assert_eq!(out, b"{\"a\":0,\"b\":18446744073709551615");
    }
}
