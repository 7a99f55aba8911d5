//! Secrets that are known by their shape: headers, JSON web tokens, keys in PEM, passwords in URLs, signatures, cards.

use std::sync::LazyLock;

use memchr::memmem;

use super::kind::{Kind, is_marker};
use super::text::{Edge, Span, at};

fn span(start: usize, end: usize, kind: Kind) -> Option<Span> {
    (end > start).then_some(Span { start, end, kind: kind.index() })
}

fn is_base64(byte: u8) -> bool {
    byte.is_ascii_alphanumeric() || matches!(byte, b'+' | b'/' | b'=' | b'-' | b'_')
}

fn run(text: &[u8], from: usize, holds: impl Fn(u8) -> bool) -> usize {
    text.get(from..).unwrap_or_default().iter().take_while(|byte| holds(**byte)).count()
}

/// Most blanks between a scheme and what follows it.
const BLANKS_MAX: usize = 4;

/// What follows the word of a scheme at `word`: where it begins.
fn behind_scheme(text: &[u8], word: usize, len: usize) -> Option<usize> {
    let before = if word > 0 { at(text, word - 1) } else { b' ' };
    if before.is_ascii_alphanumeric() {
        return None;
    }
    let from = word + len;
    let blanks = run(text, from, |byte| matches!(byte, b' ' | b'\t'));
    if (1..=BLANKS_MAX).contains(&blanks) {
        return Some(from + blanks);
    }
    if at(text, from) == b'+' {
        return Some(from + 1);
    }
    text.get(from..from + 3).filter(|coded| *coded == b"%20").map(|_| from + 3)
}

/// Length from which a word without digits and capitals is a token and no word of a sentence.
const WORD_MAX_BYTES: usize = 20;

/// `Bearer …`.
pub fn bearer(text: &[u8], word: usize, edge: Edge) -> Option<Span> {
    let start = behind_scheme(text, word, b"bearer".len())?;
    let len = run(text, start, |byte| is_base64(byte) || matches!(byte, b'.' | b'~'));
    let mut end = start + len;
    while end > start && at(text, end - 1) == b'.' {
        end -= 1;
    }
    let token = text.get(start..end)?;
    let has = |is: fn(&u8) -> bool| token.iter().any(is);
    // `Bearer authentication` is two words.
    let drawn =
        has(u8::is_ascii_digit) || token.iter().skip(1).any(u8::is_ascii_uppercase) || token.len() >= WORD_MAX_BYTES;
    let cut_off = edge.open_end && start + len == text.len();
    if (token.len() >= 6 && drawn) || cut_off { span(start, end, Kind::Authorization) } else { None }
}

/// `Basic …`: what follows is `user:password` in base 64.
pub fn basic(text: &[u8], word: usize, edge: Edge) -> Option<Span> {
    let start = behind_scheme(text, word, b"basic".len())?;
    let end = start + run(text, start, is_base64);
    let cut_off = edge.open_end && end == text.len();
    let decoded = decode_base64(text.get(start..end)?);
    let is_pair = decoded.is_some_and(|pair| pair.contains(&b':') && pair.iter().all(|byte| *byte >= b' '));
    if is_pair || cut_off { span(start, end, Kind::Authorization) } else { None }
}

fn decode_base64(text: &[u8]) -> Option<Vec<u8>> {
    let text = text.strip_suffix(b"==").or(text.strip_suffix(b"=")).unwrap_or(text);
    let mut out = Vec::with_capacity(text.len() * 3 / 4);
    let (mut bits, mut count) = (0u32, 0);
    for byte in text {
        let digit = match byte {
            b'A'..=b'Z' => byte - b'A',
            b'a'..=b'z' => byte - b'a' + 26,
            b'0'..=b'9' => byte - b'0' + 52,
            b'+' | b'-' => 62,
            b'/' | b'_' => 63,
            _ => return None,
        };
        bits = (bits << 6) | u32::from(digit);
        count += 6;
        if count >= 8 {
            count -= 8;
            out.push((bits >> count) as u8);
        }
    }
    Some(out)
}

/// Least bytes of the first two parts of a JSON web token.
const JWT_PART_MIN_BYTES: usize = 8;
/// Most bytes of its first part.
const JWT_HEAD_MAX_BYTES: usize = 2_048;

/// `eyJ….eyJ….…`, also encrypted (five parts) and without a signature.
pub fn jwt(text: &[u8], start: usize, edge: Edge) -> Option<Span> {
    let before = if start > 0 { at(text, start - 1) } else { b' ' };
    if text.get(start..start + 3)? != b"eyJ" || before.is_ascii_alphanumeric() {
        return None;
    }
    let is_part = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'=');
    let head = text.get(..(start + JWT_HEAD_MAX_BYTES).min(text.len()))?;
    let first = run(head, start, is_part);
    let mut end = start + first;
    let mut parts = 1;
    let mut second = 0;
    while parts < 5 && at(text, end) == b'.' {
        let len = run(text, end + 1, is_part);
        if parts == 1 {
            second = len;
        }
        // Without a signature it ends in a dot, which may as well be that of a sentence.
        if len == 0 && (parts == 1 || !is_part(at(text, end + 2)) && at(text, end + 1) != b'.') {
            break;
        }
        parts += 1;
        end += 1 + len;
    }
    let whole = parts >= 2 && first >= JWT_PART_MIN_BYTES && second >= 2;
    let cut_off = edge.open_end && end + usize::from(at(text, end) == b'.') >= text.len();
    if whole || cut_off { span(start, end, Kind::Jwt) } else { None }
}

/// Most bytes between the lines that begin and end a key.
const PEM_MAX_BYTES: usize = 64 * 1024;

const PEM_END: &[u8] = b"-----END";

/// What every record is searched for: made once.
static PEM_BEGIN: LazyLock<memmem::Finder<'static>> = LazyLock::new(|| memmem::Finder::new(b"-----BEGIN"));

/// A private key in PEM, from the line that begins it to the one that ends it; without that one, as far as it looks like
/// one. Line ends may also be written as `\n`.
pub fn pem(text: &[u8], start: usize) -> Option<Span> {
    let label = start + b"-----BEGIN".len();
    let head = text.get(label..(label + 50).min(text.len()))?;
    let dashes = memmem::find(head, b"-----")?;
    let is_private = memmem::find(head.get(..dashes)?, b"PRIVATE KEY").is_some();
    if !is_private || !text.get(start..label)?.eq(b"-----BEGIN") {
        return None;
    }
    let body = label + dashes + 5;
    let room = text.get(body..(body + PEM_MAX_BYTES).min(text.len()))?;
    let end = match memmem::find(room, PEM_END) {
        Some(found) => pem_end(text, body + found),
        None => {
            body + run(text, body, |byte| {
                is_base64(byte) || matches!(byte, b'\\' | b' ' | b'\t' | b'\r' | b'\n' | b':' | b',')
            })
        }
    };
    span(start, end, Kind::PrivateKey)
}

/// Where the line that ends a key ends, which begins at `from`.
pub fn pem_end(text: &[u8], from: usize) -> usize {
    let label = from + PEM_END.len();
    let rest = text.get(label..(label + 50).min(text.len())).unwrap_or_default();
    match memmem::find(rest, b"-----") {
        Some(dashes) => label + dashes + 5,
        None => text.len(),
    }
}

/// Where the line that ends a key begins.
pub fn find_pem_end(text: &[u8]) -> Option<usize> {
    memmem::find(text, PEM_END)
}

/// Where a line begins something in PEM.
pub fn find_pem_begin(text: &[u8]) -> Option<usize> {
    PEM_BEGIN.find(text)
}

/// A private key in a text.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct FoundKey {
    pub start: usize,
    pub end: usize,
    /// Whether the line that ends it is there.
    pub ended: bool,
}

/// The first private key that begins between two places. A line that only speaks of how one begins is none: in it something
/// follows that no key has.
pub fn find_key(text: &[u8], mut from: usize, to: usize) -> Option<FoundKey> {
    loop {
        let start = from + PEM_BEGIN.find(text.get(from..to)?)?;
        if let Some(Span { end, .. }) = pem(text, start) {
            let key = text.get(start..end).unwrap_or_default();
            let ended = find_pem_end(key).is_some();
            let line_ends = end == text.len() || memchr::memchr2(b'\n', b'\r', key).is_some();
            if ended || line_ends {
                return Some(FoundKey { start, end, ended });
            }
        }
        from = start + PEM_BEGIN.needle().len();
    }
}

/// Most bytes of a URL up to its host.
const AUTHORITY_MAX_BYTES: usize = 1_024;
/// Least bytes of a user without a password that looks like a token.
const USER_TOKEN_MIN_BYTES: usize = 16;

/// The password in `scheme://user:password@host`; `found` is the place of `://`, `len` its length.
pub fn url_password(text: &[u8], found: usize, len: usize, edge: Edge) -> Option<Span> {
    let start = found + len;
    let rest = text.get(start..(start + AUTHORITY_MAX_BYTES).min(text.len()))?;
    let ends = |byte: &u8| byte.is_ascii_whitespace() || matches!(byte, b'"' | b'\'' | b'<' | b'>' | b'`' | 0x1b);
    let word = rest.iter().position(ends).unwrap_or(rest.len());
    let word = rest.get(..word)?;
    let host_end = word.iter().position(|byte| matches!(byte, b'/' | b'?' | b'#')).unwrap_or(word.len());
    let authority = word.get(..host_end)?;
    let last_at = |text: &[u8]| text.iter().rposition(|byte| *byte == b'@');
    let colon = word.iter().position(|byte| *byte == b':');
    let user_end = match (last_at(authority), colon) {
        (Some(end), _) => end,
        // Behind the colon stands no port: a password with a slash in it.
        (None, Some(colon)) if colon < host_end && !is_port(word.get(colon + 1..host_end)?) => {
            last_at(word).or_else(|| {
                let cut_off = edge.open_end && start + word.len() == text.len();
                cut_off.then_some(word.len())
            })?
        }
        _ => return None,
    };
    match colon.filter(|colon| *colon < user_end) {
        Some(colon) => {
            let password = word.get(colon + 1..user_end)?;
            let said = |byte: &u8| byte.is_ascii_alphanumeric() || *byte >= 0x80;
            let is_one = !is_marker(password) && (password.iter().any(said) || password.len() > 3);
            if is_one { span(start + colon + 1, start + user_end, Kind::UrlPassword) } else { None }
        }
        None => {
            let user = word.get(..user_end)?;
            let drawn = user.iter().any(u8::is_ascii_digit) && user.iter().any(u8::is_ascii_alphabetic);
            let plain = user.iter().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'));
            if drawn && plain && user.len() >= USER_TOKEN_MIN_BYTES {
                span(start, start + user_end, Kind::UrlPassword)
            } else {
                None
            }
        }
    }
}

fn is_port(text: &[u8]) -> bool {
    text.len() <= 5 && text.iter().all(u8::is_ascii_digit)
}

/// Least bytes of a signature.
const SIGNATURE_MIN_BYTES: usize = 16;

/// `sig=…` of a shared access signature, `X-Amz-Signature=…`, `Signature=…`; `found` is the place of `sig`.
pub fn signature(text: &[u8], found: usize, edge: Edge) -> Option<Span> {
    let name = if text.get(found..found + 9)?.eq_ignore_ascii_case(b"signature") { 9 } else { 3 };
    let head = text.get(..found)?;
    let before = head.last().copied().unwrap_or(b' ');
    let parted = !before.is_ascii_alphanumeric() || head.ends_with(b"u0026");
    let equals = match (at(text, found + name), at(text, found + name + 1)) {
        (b'=', _) => 1,
        (b'%', b'3') if matches!(at(text, found + name + 2), b'd' | b'D') => 3,
        _ => return None,
    };
    if !parted || (name == 3 && before == b'-') {
        return None;
    }
    let start = found + name + equals;
    let len = run(text, start, |byte| is_base64(byte) || byte == b'%');
    let cut_off = edge.open_end && start + len == text.len();
    if len >= SIGNATURE_MIN_BYTES || cut_off { span(start, start + len, Kind::Sas) } else { None }
}

/// Lengths of the groups that card numbers are printed in, by how many digits they have.
const CARD_GROUPS: &[&[usize]] =
    &[&[4, 4, 4, 4], &[16], &[4, 6, 5], &[15], &[4, 6, 4], &[14], &[4, 4, 4, 4, 3], &[4, 4, 4, 1]];
/// Shortest card number, in digits: whoever looks at every so many bytes passes none.
pub const CARD_MIN_BYTES: usize = 13;
/// More groups than these are a table of numbers.
const GROUPS_MAX: usize = 7;

/// A card number around `place`: its digits in the groups that cards have, its first digits those of a brand, its last
/// digit right. `from`: nothing before it is looked at.
pub fn card(text: &[u8], place: usize, from: usize) -> Option<Span> {
    let is_run = |byte: u8| byte.is_ascii_digit() || matches!(byte, b' ' | b'-');
    if !is_run(at(text, place)) {
        return None;
    }
    const REACH: usize = 48;
    let mut start = place;
    while start > from && place - start < REACH && is_run(at(text, start - 1)) {
        start -= 1;
    }
    let mut end = place + 1;
    while end - start < 2 * REACH && is_run(at(text, end)) {
        end += 1;
    }
    let len = end - start;
    // Most numbers of a log line are shorter: the digits of these are not counted.
    if len < CARD_MIN_BYTES {
        return None;
    }
    if text.get(start..start + len)?.iter().filter(|byte| byte.is_ascii_digit()).count() < CARD_MIN_BYTES {
        return None;
    }
    let mut first = start + run(text, start, |byte| matches!(byte, b' ' | b'-')).min(len);
    let end = start + len;
    let groups = text.get(start..end)?.split(|byte| !byte.is_ascii_digit()).filter(|group| !group.is_empty()).count();
    if groups > GROUPS_MAX {
        return None;
    }
    // What is behind the end is not looked at: a number may be as long as the text.
    let window = text.get(..end)?;
    while first < end {
        if let Some(end) = card_at(text, first) {
            return span(first, end, Kind::Card);
        }
        let digits = run(window, first, |byte| byte.is_ascii_digit());
        first += digits;
        first += run(window, first, |byte| matches!(byte, b' ' | b'-')).max(1);
    }
    None
}

fn card_at(text: &[u8], start: usize) -> Option<usize> {
    let before = if start > 0 { at(text, start - 1) } else { b' ' };
    if before.is_ascii_alphanumeric() || matches!(before, b'.' | b'_') {
        return None;
    }
    for groups in CARD_GROUPS {
        let mut digits = [0u8; 19];
        let mut count = 0;
        let mut place = start;
        let separator = at(text, start + groups.first().copied().unwrap_or(0));
        let fits = groups.iter().enumerate().all(|(index, len)| {
            if index > 0 {
                if !matches!(separator, b' ' | b'-') || at(text, place) != separator {
                    return false;
                }
                place += 1;
            }
            let group = text.get(place..place + len).unwrap_or_default();
            place += len;
            group.len() == *len
                && group.iter().all(|byte| {
                    let slot = digits.get_mut(count);
                    count += 1;
                    slot.is_some_and(|slot| {
                        *slot = byte.wrapping_sub(b'0');
                        *slot < 10
                    })
                })
        });
        let after = at(text, place);
        let ends =
            !after.is_ascii_alphanumeric() && after != b'_' && !(after == b'.' && at(text, place + 1).is_ascii_digit());
        let digits = digits.get(..count).unwrap_or_default();
        if fits && ends && is_brand(digits) && luhn(digits) {
            return Some(place);
        }
    }
    None
}

/// Whether a number of so many digits can begin like this: Visa, Mastercard, American Express, Discover, Diners, JCB,
/// UnionPay.
fn is_brand(digits: &[u8]) -> bool {
    let head = digits.iter().take(4).fold(0u32, |head, digit| head * 10 + u32::from(*digit));
    match digits.len() {
        13 => head / 1000 == 4,
        14 => matches!(head / 100, 36 | 38 | 39) || (3000..=3059).contains(&head),
        15 => matches!(head / 100, 34 | 37),
        16 => {
            head / 1000 == 4
                || (51..=55).contains(&(head / 100))
                || (2221..=2720).contains(&head)
                || head == 6011
                || matches!(head / 100, 62 | 65)
                || (644..=649).contains(&(head / 10))
                || (3528..=3589).contains(&head)
        }
        19 => head / 1000 == 4 || head / 100 == 62,
        _ => false,
    }
}

fn luhn(digits: &[u8]) -> bool {
    let sum: u32 = digits
        .iter()
        .rev()
        .enumerate()
        .map(|(index, digit)| match u32::from(*digit) << (index % 2) {
            double if double > 9 => double - 9,
            digit => digit,
        })
        .sum();
    sum.is_multiple_of(10) && digits.iter().any(|digit| *digit != digits[0])
}
