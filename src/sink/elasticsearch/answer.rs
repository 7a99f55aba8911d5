//! The answer to a `_bulk` call, read item by item without building a tree of it. Says what stands there, decides nothing.

use std::borrow::Cow;
use std::fmt;

use serde::Deserialize;
use serde::de::{DeserializeSeed, Deserializer, Error as _, IgnoredAny, MapAccess, SeqAccess, Visitor};

use crate::sink::{ItemAnswer, SendOutcome, http};

/// What of the answer is asked for: everything that is read here, nothing else.
pub const FILTER: &str = "filter_path=errors,items.*.status,items.*.error.type,items.*.error.reason,\
                          items.*.error.caused_by.reason,items.*._index,items.*.failure_store";

/// Kind of an item that the server calls stored, but in the failure store of the data stream, where no query finds it.
pub const FAILURE_STORE: &str = "failure_store";

/// Items of one answer.
#[derive(Debug, Default)]
pub struct Answer {
    /// One for each record, in order.
    pub items: Vec<ItemAnswer>,
    /// Where the last record that is in the index by now was written.
    pub index: Option<String>,
}

impl Answer {
    /// Whether each record was stored by this call.
    fn all_stored(&self) -> bool {
        self.items.iter().all(|item| (200..300).contains(&item.status))
    }
}

/// Reads the answer to a call of `sent` records.
///
/// # Errors
/// Why it says nothing about what became of the records: no JSON, cut off, more or fewer items than were sent.
pub fn read(body: &[u8], sent: usize) -> Result<Answer, String> {
    let mut json = serde_json::Deserializer::from_slice(body);
    let mut answer = Answer { items: Vec::with_capacity(sent), index: None };
    TopLevel { answer: &mut answer, sent }
        .deserialize(&mut json)
        .and_then(|()| json.end())
        .map_err(|e| format!("the answer cannot be read ({e}): {}", http::excerpt(body)))?;
    if answer.items.len() != sent {
        return Err(format!("{} records were sent and {} answered", sent, answer.items.len()));
    }
    Ok(answer)
}

/// The same for the usual answer, in a fraction of the time: every record was stored, and every item is the same byte for
/// byte. It says as much as an answer with this item once, and that is what is read. `None`: read it item by item.
pub fn read_all_stored(body: &[u8], sent: usize) -> Option<Answer> {
    const ITEMS: &[u8] = b"\"items\":[";
    const HEAD_MAX_BYTES: usize = 256;
    let head = body.get(..body.len().min(HEAD_MAX_BYTES))?;
    let first = memchr::memmem::find(head, ITEMS)? + ITEMS.len();
    // Only plain members may stand before: then these are the items of the top level.
    if head.get(1..first - 1)?.iter().any(|byte| matches!(byte, b'{' | b'[')) {
        return None;
    }
    let mut values = serde_json::Deserializer::from_slice(body.get(first..)?).into_iter::<IgnoredAny>();
    values.next()?.ok()?;
    let (item, mut rest) = body.get(first..)?.split_at_checked(values.byte_offset())?;
    let mut count = 1;
    while let Some(next) = rest.strip_prefix(b",").and_then(|rest| rest.strip_prefix(item)) {
        rest = next;
        count += 1;
    }
    if count != sent {
        return None;
    }
    let once = [&body[..first], item, rest].concat();
    let answer = read(&once, 1).ok()?;
    answer.all_stored().then(|| Answer { items: Vec::new(), ..answer })
}

/// The outcome of the call that got this answer.
pub fn outcome(answer: Answer) -> SendOutcome {
    if answer.all_stored() { SendOutcome::Accepted } else { SendOutcome::Items(answer.items) }
}

/// `{"errors":true,"items":[…]}`.
struct TopLevel<'a> {
    answer: &'a mut Answer,
    sent: usize,
}

impl<'de> DeserializeSeed<'de> for TopLevel<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for TopLevel<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the answer of a bulk call")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let mut seen = false;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == "items" && !seen {
                seen = true;
                map.next_value_seed(Items { answer: &mut *self.answer, sent: self.sent })?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        if seen { Ok(()) } else { Err(A::Error::custom("it has no items")) }
    }
}

struct Items<'a> {
    answer: &'a mut Answer,
    sent: usize,
}

impl<'de> DeserializeSeed<'de> for Items<'_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Items<'_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("a list of items")
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        while let Some(item) = seq.next_element::<Item<'de>>()? {
            if self.answer.items.len() == self.sent {
                return Err(A::Error::custom("it has more items than were sent"));
            }
            if item.diverted {
                self.answer.items.push(ItemAnswer {
                    status: 400,
                    kind: FAILURE_STORE.to_owned(),
                    reason: "it does not fit the mapping; the server keeps it in the failure store".to_owned(),
                });
                continue;
            }
            let written = (200..300).contains(&item.status) || item.status == 409;
            if let Some(index) = item.index.filter(|_| written)
                && self.answer.index.as_deref() != Some(&*index)
            {
                self.answer.index = Some(index.into_owned());
            }
            self.answer.items.push(ItemAnswer {
                status: item.status,
                kind: item.error.kind.into_owned(),
                reason: item.error.reason,
            });
        }
        Ok(())
    }
}

/// `{"create":{"_index":"…","status":201}}`, whatever the operation is called.
#[derive(Default)]
struct Item<'a> {
    index: Option<Cow<'a, str>>,
    status: u16,
    /// Stored, but not where it was sent to.
    diverted: bool,
    error: Fault<'a>,
}

#[derive(Deserialize)]
struct ItemBody<'a> {
    #[serde(borrow, rename = "_index")]
    index: Option<Cow<'a, str>>,
    status: u16,
    #[serde(borrow)]
    failure_store: Option<Cow<'a, str>>,
    #[serde(borrow, default)]
    error: Fault<'a>,
}

impl<'de> Deserialize<'de> for Item<'de> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct OneKey;
        impl<'de> Visitor<'de> for OneKey {
            type Value = Item<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an item with one operation")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Item<'de>, A::Error> {
                let Some((_, body)) = map.next_entry::<IgnoredAny, ItemBody<'de>>()? else {
                    return Err(A::Error::custom("an item has no operation"));
                };
                if map.next_key::<IgnoredAny>()?.is_some() {
                    return Err(A::Error::custom("an item has more than one operation"));
                }
                let diverted = body.failure_store.as_deref() == Some("used");
                Ok(Item { index: body.index, status: body.status, diverted, error: body.error })
            }
        }
        deserializer.deserialize_map(OneKey)
    }
}

/// `{"type":"…","reason":"…","caused_by":{"reason":"…"}}`; very old servers and proxies write a string.
#[derive(Default)]
struct Fault<'a> {
    kind: Cow<'a, str>,
    /// Reason and cause, cut for a message.
    reason: String,
}

#[derive(Deserialize)]
struct FaultBody<'a> {
    #[serde(borrow, rename = "type")]
    kind: Option<Cow<'a, str>>,
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
    #[serde(borrow)]
    caused_by: Option<Cause<'a>>,
}

#[derive(Deserialize)]
struct Cause<'a> {
    #[serde(borrow)]
    reason: Option<Cow<'a, str>>,
}

impl<'de: 'a, 'a> Deserialize<'de> for Fault<'a> {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct StringOrMap;
        impl<'de> Visitor<'de> for StringOrMap {
            type Value = Fault<'de>;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an error")
            }

            fn visit_str<E: serde::de::Error>(self, text: &str) -> Result<Fault<'de>, E> {
                Ok(Fault { kind: Cow::Borrowed(""), reason: http::excerpt(text.as_bytes()) })
            }

            fn visit_unit<E: serde::de::Error>(self) -> Result<Fault<'de>, E> {
                Ok(Fault::default())
            }

            fn visit_map<A: MapAccess<'de>>(self, map: A) -> Result<Fault<'de>, A::Error> {
                let body = FaultBody::deserialize(serde::de::value::MapAccessDeserializer::new(map))?;
                let mut reason = http::excerpt(body.reason.unwrap_or_default().as_bytes());
                if let Some(cause) = body.caused_by.and_then(|cause| cause.reason) {
                    let cause = http::excerpt(cause.as_bytes());
                    if !reason.contains(&cause) {
                        reason.push_str(": ");
                        reason.push_str(&cause);
                    }
                }
                Ok(Fault { kind: body.kind.unwrap_or_default(), reason })
            }
        }
        deserializer.deserialize_any(StringOrMap)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn item(status: u16, kind: &str, reason: &str) -> ItemAnswer {
        ItemAnswer { status, kind: kind.to_owned(), reason: reason.to_owned() }
    }

    #[test]
    fn an_answer_of_equal_items_is_read_as_one_of_them_and_any_other_is_not() {
        let item = |status: u16| format!(r#"{{"create":{{"_index":"i","status":{status}}}}}"#);
        let body = |items: &[String]| format!(r#"{{"errors":false,"took":3,"items":[{}]}}"#, items.join(","));
        let stored = |text: &str, sent: usize| read_all_stored(text.as_bytes(), sent).map(|answer| answer.index);
        let same = body(&vec![item(201); 3]);
        assert_eq!(stored(&same, 3), Some(Some("i".to_owned())));
        for sent in [0, 1, 2, 4] {
            assert_eq!(stored(&same, sent), None, "{sent} sent");
        }
        assert_eq!(stored(&body(&[item(201), item(201), item(409)]), 3), None);
        assert_eq!(stored(&body(&[item(201), item(201), item(409)]), 2), None);
        assert_eq!(stored(&body(&vec![item(429); 3]), 3), None);
        assert_eq!(stored(&body(&[]), 0), None);
        for cut in 0..same.len() {
            assert_eq!(stored(&same[..cut], 3), None, "cut at {cut}");
        }
        assert_eq!(stored(&same.replace("\"took\":3", "\"x\":{\"items\":[]}"), 3), None);
        assert_eq!(stored(&format!("{same}x"), 3), None);
    }

    #[test]
    fn answers_become_outcomes() {
        let check = |body: &str, sent: usize, expected: SendOutcome| {
            assert_eq!(outcome(read(body.as_bytes(), sent).expect(body)), expected, "{body}");
        };
        check(r#"{"errors":false,"items":[{"create":{"_index":"a","status":201}}]}"#, 1, SendOutcome::Accepted);
        check(r#"{"items":[{"create":{"status":200}},{"index":{"status":201}}],"took":3}"#, 2, SendOutcome::Accepted);
        check(
            r#"{"errors":true,"items":[{"create":{"status":201}},{"create":{"status":409,"error":
                {"type":"version_conflict_engine_exception","reason":"exists"}}}]}"#,
            2,
            SendOutcome::Items(vec![item(201, "", ""), item(409, "version_conflict_engine_exception", "exists")]),
        );
        check(
            r#"{"items":[{"create":{"status":400,"error":{"type":"mapper_parsing_exception",
                "reason":"failed to parse","caused_by":{"type":"x","reason":"For \"abc\"","caused_by":{}}}}}]}"#,
            1,
            SendOutcome::Items(vec![item(400, "mapper_parsing_exception", "failed to parse: For \"abc\"")]),
        );
        check(
            r#"{"items":[{"create":{"status":500,"error":"old style"}},{"create":{"status":503,"error":null}}]}"#,
            2,
            SendOutcome::Items(vec![item(500, "", "old style"), item(503, "", "")]),
        );
    }

    #[test]
    fn answers_that_say_nothing_are_errors_and_never_a_guess() {
        let check = |body: &str, sent: usize, expected: &str| {
            let reason = read(body.as_bytes(), sent).expect_err(body);
            assert!(reason.contains(expected), "{body}: {reason}");
        };
        check("", 1, "cannot be read");
        check("<html>all is well</html>", 1, "<html>");
        check("{}", 1, "no items");
        check(r#"{"errors":false}"#, 1, "no items");
        check(r#"{"error":{"type":"x"},"status":200}"#, 1, "no items");
        check(r#"{"items":[{"create":{"status":201}}]}"#, 2, "2 records were sent and 1 answered");
        check(r#"{"items":[{"create":{"status":201}},{"create":{"status":201}}]}"#, 1, "more items");
        check(r#"{"items":[{"create":{"status":201}}"#, 1, "cannot be read");
        check(r#"{"items":[{"create":{"status":201}}]}{"#, 1, "cannot be read");
        check(r#"{"items":[{"create":{}}]}"#, 1, "status");
        check(r#"{"items":[{}]}"#, 1, "no operation");
        check(r#"{"items":[{"create":{"status":201},"index":{"status":201}}]}"#, 1, "more than one");
        check(r#"{"items":[{"create":{"status":99999}}]}"#, 1, "cannot be read");
        check("[]", 0, "cannot be read");
    }

    #[test]
    fn the_write_index_is_learned_from_records_that_are_there() {
        let body = r#"{"items":[{"create":{"_index":"one","status":201}},{"create":{"_index":"two","status":409}},
            {"create":{"_index":"name","status":429}}]}"#;
        assert_eq!(read(body.as_bytes(), 3).expect("an answer").index.as_deref(), Some("two"));
        let refused = r#"{"items":[{"create":{"_index":"name","status":404}}]}"#;
        assert_eq!(read(refused.as_bytes(), 1).expect("an answer").index, None);
    }

    #[test]
    fn a_record_in_the_failure_store_is_not_stored() {
        let body = r#"{"errors":false,"items":[{"create":{"_index":".ds-a-1","status":201,"failure_store":"not_enabled"}},
            {"create":{"_index":".fs-a-2","status":201,"failure_store":"used"}}]}"#;
        let answer = read(body.as_bytes(), 2).expect("an answer");
        assert_eq!(answer.index.as_deref(), Some(".ds-a-1"));
        let SendOutcome::Items(items) = outcome(answer) else { panic!("accepted") };
        assert_eq!((items[0].status, items[1].status, items[1].kind.as_str()), (201, 400, FAILURE_STORE));
    }

    #[test]
    fn no_reason_is_longer_than_an_excerpt_of_it_and_its_cause() {
        let body = format!(
            r#"{{"items":[{{"create":{{"status":400,"error":{{"reason":"{}","caused_by":{{"reason":"{}"}}}}}}}}]}}"#,
            "a".repeat(100_000),
            "b".repeat(100_000)
        );
        let answer = read(body.as_bytes(), 1).expect("an answer");
        assert!(answer.items[0].reason.len() < 1000, "{}", answer.items[0].reason.len());
    }

    #[test]
    fn any_damage_to_an_answer_is_an_error_or_the_same_number_of_items() {
        let body = br#"{"errors":true,"items":[{"create":{"_index":"a","status":201}},{"create":{"status":400,"error":{"type":"t","reason":"r"}}}]}"#;
        for at in 0..body.len() {
            for byte in [0, b'"', b'{', b'}', b']', b'9', 0xff] {
                let mut damaged = body.to_vec();
                damaged[at] = byte;
                if let Ok(answer) = read(&damaged, 2) {
                    assert_eq!(answer.items.len(), 2);
                }
            }
            assert!(read(&body[..at], 2).is_err(), "cut at {at}");
        }
    }
}
