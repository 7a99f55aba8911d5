//! Ids of origins and records, and their short text form.

use std::fmt;

use xxhash_rust::xxh3::xxh3_128;

/// Characters of an id as text: 128 bits in base 32, five bits each.
pub const ID_TEXT_LEN: usize = 26;

/// Lower-case base 32 without `l`, `o`, `u`, `i`: safe in URLs, query strings and file names.
const ALPHABET: &[u8; 32] = b"0123456789abcdefghjkmnpqrstvwxyz";

fn to_text(value: u128) -> [u8; ID_TEXT_LEN] {
    let mut text = [0u8; ID_TEXT_LEN];
    let mut rest = value;
    for slot in text.iter_mut().rev() {
        *slot = ALPHABET[(rest & 31) as usize];
        rest >>= 5;
    }
    text
}

fn from_text(text: &str) -> Option<u128> {
    if text.len() != ID_TEXT_LEN {
        return None;
    }
    text.bytes().try_fold(0u128, |value, byte| {
        let digit = ALPHABET.iter().position(|&c| c == byte)? as u128;
        value.checked_mul(32)?.checked_add(digit)
    })
}

macro_rules! id_type {
    ($name:ident) => {
        impl $name {
            /// The id as [`ID_TEXT_LEN`] ASCII bytes.
            pub fn text(&self) -> [u8; ID_TEXT_LEN] {
                to_text(u128::from_le_bytes(self.0))
            }

            /// The id whose [`Self::text`] this is.
            pub fn parse(text: &str) -> Option<Self> {
                from_text(text).map(|value| Self(value.to_le_bytes()))
            }
        }

        impl fmt::Display for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str(std::str::from_utf8(&self.text()).unwrap_or_default())
            }
        }

        impl fmt::Debug for $name {
            fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                write!(f, "{}({self})", stringify!($name))
            }
        }
    };
}

/// A file generation, or one stream of one container: 128 random bits, drawn when it is first seen.
///
/// Never derived from a path, an inode or a VM name, so two VMs of one image cannot collide.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct OriginId(pub [u8; 16]);
id_type!(OriginId);

impl OriginId {
    /// A new id from the operating system's random source.
    ///
    /// # Errors
    /// When that source does not answer.
    pub fn random() -> std::io::Result<Self> {
        let mut bytes = [0u8; 16];
        getrandom::fill(&mut bytes).map_err(|error| std::io::Error::other(error.to_string()))?;
        Ok(Self(bytes))
    }
}

/// Which bytes of which origin a record holds, hashed: the same after any restart, another for an equal line.
#[derive(Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct EventId(pub [u8; 16]);
id_type!(EventId);

impl EventId {
    /// The id of the record that covers the bytes `begin..end` of `origin`; `part` counts from 0.
    pub fn new(origin: OriginId, begin: u64, end: u64, part: u32) -> Self {
        let mut key = [0u8; 36];
        key[..16].copy_from_slice(&origin.0);
        key[16..24].copy_from_slice(&begin.to_le_bytes());
        key[24..32].copy_from_slice(&end.to_le_bytes());
        key[32..].copy_from_slice(&part.to_le_bytes());
        Self(xxh3_128(&key).to_le_bytes())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn an_id_survives_its_text() {
        for value in [0u128, 1, 31, 32, u128::MAX, 0x0123_4567_89ab_cdef_fedc_ba98_7654_3210] {
            let id = EventId(value.to_le_bytes());
            assert_eq!(EventId::parse(&id.to_string()), Some(id));
        }
        assert_eq!(EventId::parse("short"), None);
        assert_eq!(EventId::parse("zzzzzzzzzzzzzzzzzzzzzzzzzz"), None, "over 128 bits");
    }

    #[test]
    fn extent_part_and_origin_each_change_the_event_id() {
        let a = OriginId([1; 16]);
        let b = OriginId([2; 16]);
        let ids = [
            EventId::new(a, 0, 10, 0),
            EventId::new(b, 0, 10, 0),
            EventId::new(a, 1, 10, 0),
            EventId::new(a, 0, 11, 0),
            EventId::new(a, 0, 10, 1),
        ];
        for (i, x) in ids.iter().enumerate() {
            for y in &ids[i + 1..] {
                assert_ne!(x, y);
            }
        }
        assert_eq!(ids[0], EventId::new(a, 0, 10, 0));
    }
}
