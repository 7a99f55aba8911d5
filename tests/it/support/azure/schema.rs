//! The declared stream: which columns there are, which values they take, and what becomes of a row on its way in.

use std::fmt;

use logferry::record::column::{AzureType, COLUMNS};
use serde::de::{Deserialize, Deserializer, Error, MapAccess, Visitor};
use serde_json::Value;

use super::{Ledger, Record};

/// Longest value of a column, in bytes; the rest is cut without a word.
pub const VALUE_MAX_BYTES: usize = 64 * 1024;

/// How old, and how far ahead, `TimeGenerated` may be.
const OLDEST_SECONDS: i64 = 2 * 86_400;
const NEWEST_SECONDS: i64 = 86_400;

/// A JSON object in which no property stands twice.
pub struct Row(pub Record);

impl<'de> Deserialize<'de> for Row {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        struct RowVisitor;
        impl<'de> Visitor<'de> for RowVisitor {
            type Value = Row;

            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("an object")
            }

            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Row, A::Error> {
                let mut row = Record::new();
                while let Some((name, value)) = map.next_entry::<String, Value>()? {
                    if row.insert(name.clone(), value).is_some() {
                        return Err(A::Error::custom(format!("property {name} stands twice")));
                    }
                }
                Ok(Row(row))
            }
        }
        deserializer.deserialize_map(RowVisitor)
    }
}

/// The columns of a stream declaration.
pub struct Schema(Vec<(String, AzureType)>);

impl Schema {
    /// logferry's columns and `extra`.
    pub fn new(extra: &[(String, AzureType)]) -> Self {
        let own = COLUMNS.iter().map(|column| (column.name.to_owned(), column.azure));
        Schema(own.chain(extra.iter().cloned()).collect())
    }

    pub fn column(&self, name: &str) -> Option<AzureType> {
        self.0.iter().find(|(declared, _)| declared == name).map(|(_, column)| *column)
    }

    /// What is wrong with the types of a row, if anything.
    pub fn check(&self, row: &Record) -> Result<(), String> {
        for (name, value) in row {
            if let Some(column) = self.column(name)
                && !fits(column, value)
            {
                let shown: String = value.to_string().chars().take(80).collect();
                return Err(format!("column {name} is {}, not {shown}", column.word()));
            }
        }
        Ok(())
    }

    /// The row as it is stored, received `now`.
    pub fn store(&self, row: Record, now: jiff::Timestamp, ledger: &mut Ledger) {
        let mut stored = Record::new();
        for (name, value) in row {
            if self.column(&name).is_none() {
                *ledger.columns_dropped.entry(name).or_default() += 1;
                continue;
            }
            let value = match cut(&value) {
                Some(short) => {
                    ledger.values_truncated += 1;
                    Value::String(short)
                }
                None => value,
            };
            stored.insert(name, value);
        }
        let time = stored.get("TimeGenerated").and_then(time_of);
        let kept = time.is_some_and(|time| {
            let age = now.as_second() - time.as_second();
            (-NEWEST_SECONDS..=OLDEST_SECONDS).contains(&age)
        });
        if !kept {
            ledger.times_replaced += 1;
            stored.insert("TimeGenerated".to_owned(), Value::String(now.to_string()));
        }
        ledger.store(stored);
    }
}

fn time_of(value: &Value) -> Option<jiff::Timestamp> {
    value.as_str()?.parse().ok()
}

/// `None`: short enough.
fn cut(value: &Value) -> Option<String> {
    let text = match value {
        Value::String(text) if text.len() > VALUE_MAX_BYTES => text.clone(),
        Value::Object(_) | Value::Array(_) => value.to_string(),
        _ => return None,
    };
    let end = (0..=VALUE_MAX_BYTES).rev().find(|at| text.is_char_boundary(*at)).unwrap_or_default();
    (text.len() > VALUE_MAX_BYTES).then(|| text[..end].to_owned())
}

fn fits(column: AzureType, value: &Value) -> bool {
    if value.is_null() {
        return true;
    }
    match column {
        AzureType::String => value.is_string(),
        AzureType::Int => value.as_i64().is_some_and(|number| i32::try_from(number).is_ok()),
        AzureType::Long => value.as_i64().is_some(),
        AzureType::Real => value.is_number(),
        AzureType::Datetime => time_of(value).is_some(),
        AzureType::Dynamic => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn wrong_types_are_named_and_unknown_columns_are_not() {
        let schema = Schema::new(&[("Own".into(), AzureType::Int)]);
        let check = |row: &str, expected: bool| {
            let Row(record) = serde_json::from_str(row).expect(row);
            assert_eq!(schema.check(&record).is_ok(), expected, "{row}");
        };
        check(r#"{"Message":"m","Seq":1,"DurationMs":1.5,"Fields":{"a":[1]},"Own":-1,"Unknown":{}}"#, true);
        check(r#"{"Message":null,"TimeGenerated":"2026-11-20T23:00:33.123456Z"}"#, true);
        check(r#"{"Message":1}"#, false);
        check(r#"{"Message":{"a":1}}"#, false);
        check(r#"{"Seq":"1"}"#, false);
        check(r#"{"Seq":1.5}"#, false);
        check(r#"{"Own":3000000000}"#, false);
        check(r#"{"EventTime":"yesterday"}"#, false);
        check(r#"{"EventTime":1700000000}"#, false);
        assert!(serde_json::from_str::<Row>(r#"{"a":1,"a":2}"#).is_err());
    }

    #[test]
    fn what_azure_changes_in_silence_is_counted() {
        let schema = Schema::new(&[]);
        let now: jiff::Timestamp = "2026-11-20T12:00:00Z".parse().expect("time");
        let mut ledger = Ledger::default();
        let mut store = |row: Value| {
            let Value::Object(row) = row else { unreachable!("an object") };
            schema.store(row, now, &mut ledger);
        };
        let long = "ü".repeat(VALUE_MAX_BYTES);
        store(serde_json::json!({"TimeGenerated": "2026-11-18T12:00:00Z", "Message": long, "Nobody": 1}));
        store(serde_json::json!({"TimeGenerated": "2026-11-18T11:59:59Z", "EventTime": "2026-11-18T11:59:59Z"}));
        store(serde_json::json!({"TimeGenerated": "2026-11-21T12:00:01Z"}));
        store(serde_json::json!({"Fields": {"a": long}}));
        assert_eq!((ledger.values_truncated, ledger.times_replaced, ledger.columns_dropped["Nobody"]), (2, 3, 1));
        assert_eq!(ledger.records[0]["Message"].as_str().map(str::len), Some(VALUE_MAX_BYTES));
        assert_eq!(ledger.records[0]["TimeGenerated"], "2026-11-18T12:00:00Z");
        assert_eq!(ledger.records[1]["TimeGenerated"], "2026-11-20T12:00:00Z");
        assert_eq!(ledger.records[1]["EventTime"], "2026-11-18T11:59:59Z");
        assert!(!ledger.records[0].contains_key("Nobody"));
    }
}
