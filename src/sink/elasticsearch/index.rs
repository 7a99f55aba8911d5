//! The name of an index, which may depend on the record: what Elasticsearch allows, and nothing about its mapping.

use crate::record::{Nanos, time};

/// Longest index name that Elasticsearch takes, in bytes.
pub const INDEX_MAX_BYTES: usize = 255;

/// Stands for a RunID that is empty, or that has no character which an index name could hold.
const NO_RUN_ID: &[u8] = b"none";

/// First words of Elasticsearch's naming scheme for data streams (`type-dataset-namespace`).
const DATA_STREAM_TYPES: [&str; 4] = ["logs-", "metrics-", "traces-", "synthetics-"];

/// Characters that an index name cannot hold. A colon is allowed nowhere since version 7.
const FORBIDDEN: &[char] = &['\\', '/', '*', '?', '"', '<', '>', '|', ' ', ',', '#', ':'];

/// One piece of an index name.
#[derive(Clone, Debug, PartialEq, Eq)]
enum Piece {
    /// Lower case, checked.
    Text(String),
    RunId,
    Time(Directive),
}

/// The strftime directives that make sense in an index name, all of the record's time in UTC.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Directive {
    Year,
    YearOfCentury,
    Month,
    Day,
    Hour,
    DayOfYear,
}

/// Directives as they are written, for messages.
const DIRECTIVES: &str = "%Y %y %m %d %H %j, or %F for %Y-%m-%d";

/// A checked index name: `logs-benchmark-default`, or with `{RunID}` and strftime directives (`runs-{RunID}-%Y.%m.%d`).
///
/// Its text is lower case, as Elasticsearch wants it. What a RunID holds beyond letters, digits, `-`, `_` and `.`
/// becomes `-`, so two RunIDs may share an index; the column RunID still tells them apart.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct IndexName {
    pieces: Vec<Piece>,
    /// The name itself where it is the same for every record.
    fixed: Option<String>,
}

impl IndexName {
    /// Reads a name as it stands in the configuration.
    ///
    /// # Errors
    /// What Elasticsearch would refuse, as the end of a sentence that begins with the name.
    pub fn parse(text: &str) -> Result<Self, String> {
        let pieces = split(text)?;
        let fixed = match pieces.as_slice() {
            [] => return Err("must not be empty".to_owned()),
            [Piece::Text(name)] => Some(name.clone()),
            _ => None,
        };
        if let Some(Piece::Text(first)) = pieces.first() {
            if first.starts_with(['-', '_', '+']) {
                return Err("must not begin with -, _ or +".to_owned());
            }
            if fixed.is_some() && (first == "." || first == "..") {
                return Err("must not be . or ..".to_owned());
            }
        }
        let text_bytes: usize = pieces.iter().map(|p| if let Piece::Text(t) = p { t.len() } else { 0 }).sum();
        if text_bytes > INDEX_MAX_BYTES {
            return Err(format!("must have at most {INDEX_MAX_BYTES} bytes"));
        }
        Ok(IndexName { pieces, fixed })
    }

    /// The name where it is the same for every record.
    pub fn fixed(&self) -> Option<&str> {
        self.fixed.as_deref()
    }

    /// Whether a template for this name makes it a data stream: a fixed name of Elasticsearch's scheme for them.
    /// Any other name is a plain index, which refuses a second record with the same id for ever.
    pub fn names_data_stream(&self) -> bool {
        self.fixed().is_some_and(|name| DATA_STREAM_TYPES.iter().any(|kind| name.starts_with(kind)))
    }

    /// The pattern that matches every name this can become.
    pub fn pattern(&self) -> String {
        let mut pattern = String::new();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => pattern.push_str(text),
                _ if pattern.ends_with('*') => {}
                _ => pattern.push('*'),
            }
        }
        pattern
    }

    /// Appends the name for a record of this time and RunID; at most [`INDEX_MAX_BYTES`], nothing that JSON escapes.
    pub fn write(&self, at: Nanos, run_id: &str, out: &mut Vec<u8>) {
        let start = out.len();
        for piece in &self.pieces {
            match piece {
                Piece::Text(text) => out.extend_from_slice(text.as_bytes()),
                Piece::RunId => write_run_id(run_id, out.len() == start, out),
                Piece::Time(directive) => directive.write(at, out),
            }
        }
        if out.len() - start > INDEX_MAX_BYTES {
            cut(out, start + INDEX_MAX_BYTES);
        }
    }
}

/// Shortens `out` to `len` bytes, or a little less where a character would be cut in two.
fn cut(out: &mut Vec<u8>, len: usize) {
    let mut len = len;
    while len > 0 && out.get(len).is_some_and(|byte| byte & 0xc0 == 0x80) {
        len -= 1;
    }
    out.truncate(len);
}

fn split(text: &str) -> Result<Vec<Piece>, String> {
    let mut pieces = Vec::new();
    let mut literal = String::new();
    let mut rest = text;
    while let Some(c) = rest.chars().next() {
        rest = &rest[c.len_utf8()..];
        match c {
            '{' => {
                let (name, after) = rest.split_once('}').ok_or("has a { without its }")?;
                if name != "RunID" {
                    return Err(format!("holds {{{name}}}; only {{RunID}} can stand there"));
                }
                rest = after;
                flush(&mut literal, &mut pieces);
                pieces.push(Piece::RunId);
            }
            '%' => {
                let letter = rest.chars().next().unwrap_or(' ');
                rest = rest.get(letter.len_utf8()..).unwrap_or_default();
                directive(letter, &mut literal, &mut pieces)?;
            }
            '}' => return Err("has a } without its {".to_owned()),
            c if FORBIDDEN.contains(&c) || c.is_control() || c.is_whitespace() => {
                return Err(format!("must not hold {c:?}"));
            }
            c => literal.extend(c.to_lowercase()),
        }
    }
    flush(&mut literal, &mut pieces);
    Ok(pieces)
}

fn flush(literal: &mut String, pieces: &mut Vec<Piece>) {
    if !literal.is_empty() {
        pieces.push(Piece::Text(std::mem::take(literal)));
    }
}

fn directive(letter: char, literal: &mut String, pieces: &mut Vec<Piece>) -> Result<(), String> {
    let mut time = |directive| {
        flush(literal, pieces);
        pieces.push(Piece::Time(directive));
    };
    match letter {
        'Y' => time(Directive::Year),
        'y' => time(Directive::YearOfCentury),
        'm' => time(Directive::Month),
        'd' => time(Directive::Day),
        'H' => time(Directive::Hour),
        'j' => time(Directive::DayOfYear),
        'F' => {
            time(Directive::Year);
            pieces.push(Piece::Text("-".to_owned()));
            pieces.push(Piece::Time(Directive::Month));
            pieces.push(Piece::Text("-".to_owned()));
            pieces.push(Piece::Time(Directive::Day));
        }
        other => return Err(format!("holds %{other}; the directives are {DIRECTIVES}")),
    }
    Ok(())
}

/// `leading`: the name begins here, where some characters cannot stand.
fn write_run_id(run_id: &str, leading: bool, out: &mut Vec<u8>) {
    let start = out.len();
    for c in run_id.chars() {
        let byte = match c {
            'a'..='z' | '0'..='9' | '.' | '_' | '-' => c as u8,
            'A'..='Z' => c.to_ascii_lowercase() as u8,
            _ => b'-',
        };
        if leading && out.len() == start && !byte.is_ascii_alphanumeric() {
            continue;
        }
        out.push(byte);
        if out.len() - start == INDEX_MAX_BYTES {
            break;
        }
    }
    if out.len() == start {
        out.extend_from_slice(NO_RUN_ID);
    }
}

impl Directive {
    fn write(self, at: Nanos, out: &mut Vec<u8>) {
        let seconds = at.div_euclid(1_000_000_000);
        let days = seconds.div_euclid(86_400);
        let (year, month, day) = time::civil_from_days(days);
        let (value, width) = match self {
            Directive::Year => (year, 4),
            Directive::YearOfCentury => (year % 100, 2),
            Directive::Month => (month, 2),
            Directive::Day => (day, 2),
            Directive::Hour => (seconds.rem_euclid(86_400) / 3600, 2),
            Directive::DayOfYear => (days - time::days_from_civil(year, 1, 1) + 1, 3),
        };
        let mut unit = 10i64.pow(width - 1);
        while unit > 0 {
            out.push(b'0' + (value / unit % 10) as u8);
            unit /= 10;
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// 2023-11-14T22:13:20Z
    const AT: Nanos = 1_700_000_000_000_000_000;

    fn written(name: &str, run_id: &str) -> String {
        let mut out = b"{".to_vec();
        IndexName::parse(name).expect(name).write(AT, run_id, &mut out);
        String::from_utf8(out.split_off(1)).expect("text")
    }

    #[test]
    fn names_are_written_for_the_record() {
        let check = |name: &str, run_id: &str, expected: &str| assert_eq!(written(name, run_id), expected, "{name}");
        check("logs-benchmark-default", "42", "logs-benchmark-default");
        check("Bench-%Y.%m.%d", "", "bench-2023.11.14");
        check("bench-%F-%H-%j-%y", "", "bench-2023-11-14-22-318-23");
        check("runs-{RunID}", "Run 42/a", "runs-run-42-a");
        check("runs-{RunID}-%Y", "größe", "runs-gr--e-2023");
        check("{RunID}", "_-.Hidden_", "hidden_");
        check("{RunID}-x", "///", "none-x");
        check("runs-{RunID}", "", "runs-none");
        check("Straße", "", "straße");
    }

    #[test]
    fn no_name_is_longer_than_elasticsearch_takes() {
        assert_eq!(written("runs-{RunID}-%Y", &"x".repeat(1000)).len(), INDEX_MAX_BYTES);
        let cut_inside_a_character = format!("{{RunID}}{}", "ß".repeat(100));
        assert_eq!(written(&cut_inside_a_character, &"x".repeat(100)).len(), INDEX_MAX_BYTES - 1);
    }

    #[test]
    fn names_that_elasticsearch_refuses_are_refused_with_the_reason() {
        let check = |name: &str, expected: &str| {
            let reason = IndexName::parse(name).expect_err(name);
            assert!(reason.contains(expected), "{name}: {reason}");
        };
        check("", "empty");
        check("_logs", "begin with");
        check("-%Y", "begin with");
        check("..", ". or ..");
        check("a b", "' '");
        check("a/b", "'/'");
        check("<logs-{now/d}>", "'<'");
        check("a*", "'*'");
        check("a:b", "':'");
        check("x-{TaskID}", "only {RunID}");
        check("x-{RunID", "without its }");
        check("x-}", "without its {");
        check("x-%Q", "%Q");
        check("x-%", "directives");
        check(&"x".repeat(256), "255");
    }

    #[test]
    fn only_a_fixed_name_of_the_scheme_is_a_data_stream() {
        let check = |name: &str, fixed: bool, stream: bool, pattern: &str| {
            let index = IndexName::parse(name).expect(name);
            assert_eq!((index.fixed().is_some(), index.names_data_stream()), (fixed, stream), "{name}");
            assert_eq!(index.pattern(), pattern);
        };
        check("logs-benchmark-default", true, true, "logs-benchmark-default");
        check("bench", true, false, "bench");
        check("logs-bench-%Y.%m.%d", false, false, "logs-bench-*.*.*");
        check("b-{RunID}%Y", false, false, "b-*");
    }
}
