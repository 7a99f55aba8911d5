//! Everything that is wrong with a configuration, in words that say where it is and what to write instead.

use std::cell::RefCell;
use std::fmt;

use super::node::Origin;

/// One mistake. No field ever holds the value of a secret.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Mistake {
    pub place: Place,
    /// Path of the key, e.g. `sinks.archive.path`; empty where it is about the file as a whole.
    pub key: String,
    /// What is wrong, as the rest of a sentence.
    pub what: String,
    /// The nearest valid name or value.
    pub nearest: Option<String>,
    /// What would be right; empty where `what` says it all.
    pub expected: String,
}

/// Where a mistake is.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Place {
    /// The file as a whole: what is missing has no line.
    File,
    /// This line of the file, counted from 1.
    Line(usize),
    /// An environment variable.
    Variable(String),
}

/// All mistakes of one configuration, in the order of the file, those of the environment after them.
#[derive(Clone, Debug)]
pub struct Mistakes {
    file: String,
    mistakes: Vec<Mistake>,
}

impl Mistakes {
    pub fn iter(&self) -> impl Iterator<Item = &Mistake> {
        self.mistakes.iter()
    }

    pub fn len(&self) -> usize {
        self.mistakes.len()
    }

    pub fn is_empty(&self) -> bool {
        self.mistakes.is_empty()
    }

    /// `3 mistakes in /etc/logferry/logferry.toml`: a command that would have started something adds that it did not.
    pub fn count(&self) -> String {
        let variables = self.mistakes.iter().filter(|m| matches!(m.place, Place::Variable(_))).count();
        let place = match variables {
            0 => self.file.clone(),
            n if n == self.len() => "the environment".to_owned(),
            _ => format!("{} and the environment", self.file),
        };
        format!("{} {} in {place}", self.len(), if self.len() == 1 { "mistake" } else { "mistakes" })
    }

    /// One block for each mistake, a blank line after each.
    pub fn blocks(&self) -> String {
        self.mistakes.iter().map(|mistake| mistake.block(&self.file) + "\n").collect()
    }
}

impl fmt::Display for Mistakes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}{}", self.blocks(), self.count())
    }
}

impl std::error::Error for Mistakes {}

impl Mistake {
    fn block(&self, file: &str) -> String {
        let place = match &self.place {
            Place::File => file.to_owned(),
            Place::Line(line) => format!("{file}:{line}"),
            Place::Variable(name) => format!("environment variable {name}"),
        };
        let key = if self.key.is_empty() { String::new() } else { format!("{}: ", self.key) };
        let mut block = format!("{place}: {key}{}\n", self.what);
        if let Some(nearest) = &self.nearest {
            block.push_str(&format!("    did you mean: {nearest}\n"));
        }
        if !self.expected.is_empty() {
            block.push_str(&format!("    expected: {}\n", self.expected));
        }
        block
    }
}

/// Collects mistakes while the configuration is read; reading goes on after each.
#[derive(Debug, Default)]
pub struct Report(RefCell<Vec<(Option<usize>, Mistake)>>);

impl Report {
    /// Notes a mistake about the key `path`.
    pub fn add(&self, origin: &Origin, path: &str, what: impl Into<String>, expected: impl Into<String>) {
        self.add_near(origin, path, what, None, expected);
    }

    /// The same with the nearest valid name or value.
    pub fn add_near(
        &self,
        origin: &Origin,
        path: &str,
        what: impl Into<String>,
        nearest: Option<String>,
        expected: impl Into<String>,
    ) {
        let (offset, place) = match origin {
            Origin::Default => (None, Place::File),
            Origin::File { offset, line } => (Some(*offset), Place::Line(*line)),
            Origin::Variable(name) => (None, Place::Variable(name.clone())),
        };
        let mistake = Mistake { place, key: path.to_owned(), what: what.into(), nearest, expected: expected.into() };
        self.0.borrow_mut().push((offset, mistake));
    }

    pub fn is_empty(&self) -> bool {
        self.0.borrow().is_empty()
    }

    /// The mistakes in order; those of the file first, by place.
    pub fn finish(self, file: &str) -> Mistakes {
        let mut found = self.0.into_inner();
        let rank = |(offset, mistake): &(Option<usize>, Mistake)| match &mistake.place {
            Place::Line(_) => (0, offset.unwrap_or_default(), String::new()),
            Place::File => (1, 0, String::new()),
            Place::Variable(name) => (2, 0, name.clone()),
        };
        found.sort_by_cached_key(rank);
        Mistakes { file: file.to_owned(), mistakes: found.into_iter().map(|(_, mistake)| mistake).collect() }
    }
}

/// Similarity from which on one name is taken for a misspelling of another (Jaro-Winkler, 0 to 1).
const SIMILAR_MIN: f64 = 0.86;

/// The name that was most likely meant, if one is near enough: up to a third of its letters differ, or it begins alike.
pub fn nearest<'a>(name: &str, names: impl IntoIterator<Item = &'a str>) -> Option<&'a str> {
    let wanted = name.to_ascii_lowercase();
    names
        .into_iter()
        .filter(|candidate| *candidate != name)
        .filter_map(|candidate| {
            let lower = candidate.to_ascii_lowercase();
            let distance = strsim::osa_distance(&wanted, &lower);
            let allowed = (wanted.chars().count().min(lower.chars().count()) / 3).max(1);
            let near = distance <= allowed || strsim::jaro_winkler(&wanted, &lower) >= SIMILAR_MIN;
            (near && !wanted.is_empty()).then_some((distance, candidate))
        })
        .min_by_key(|(distance, _)| *distance)
        .map(|(_, candidate)| candidate)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_nearest_name_is_one_that_a_hand_would_have_missed() {
        let names = ["max_bytes", "sync", "when_full"];
        let check = |name: &str, expected: Option<&str>| assert_eq!(nearest(name, names), expected, "{name}");
        check("max_byte", Some("max_bytes"));
        check("maxbytes", Some("max_bytes"));
        check("Sync", Some("sync"));
        check("snyc", Some("sync"));
        check("compression", None);
        check("", None);
    }

    #[test]
    fn mistakes_come_in_the_order_of_the_file_and_the_environment_last() {
        let report = Report::default();
        report.add(&Origin::Variable("LOGFERRY__A".into()), "a", "is wrong", "");
        report.add(&Origin::Default, "", "there is no sink", "one");
        report.add(&Origin::File { offset: 90, line: 9 }, "c", "is wrong", "");
        report.add(&Origin::File { offset: 20, line: 2 }, "b", "is wrong", "");
        let text = report.finish("f.toml").to_string();
        let order: Vec<&str> = text.lines().filter(|line| line.contains(": ")).collect();
        assert_eq!(
            order,
            [
                "f.toml:2: b: is wrong",
                "f.toml:9: c: is wrong",
                "f.toml: there is no sink",
                "    expected: one",
                "environment variable LOGFERRY__A: a: is wrong",
            ]
        );
        assert!(text.ends_with("\n4 mistakes in f.toml and the environment"), "{text}");
    }
}
