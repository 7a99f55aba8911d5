//! Which records are left out before they are stored: rules that drop, rules that sample, and the rate limit of a source.
//! Decisions and their counts; what becomes of a line that is left out is for [`super::gate`].

use std::borrow::Cow;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use xxhash_rust::xxh3::xxh3_64;

use super::encode::Columns;
use super::lookup;
use super::parse::level;
use crate::record::{Constants, EventId, Rule};

/// Leaves out every record that it is about.
#[derive(Debug)]
pub struct Drop {
    pub when: Rule,
    pub count: Arc<Count>,
}

/// Keeps a share of the records that it is about.
#[derive(Debug)]
pub struct Sample {
    /// `None`: it is about every record.
    pub when: Option<Rule>,
    pub share: Share,
    /// Columns, or members of `Fields`, of which the first that a record has decides: records with the same text in it are
    /// kept or left out together, here and on any other machine. A record that has none of them is decided by its EventID.
    pub by: Vec<String>,
    pub count: Arc<Count>,
}

/// Share of all that is kept.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Share {
    All,
    /// What hashes to less than this.
    Below(u64),
}

impl Share {
    /// `share` from 0.0 to 1.0.
    pub fn new(share: f64) -> Self {
        // Two to the 64th is one more than a hash can be.
        const HASHES: f64 = 18_446_744_073_709_551_616.0;
        match share {
            share if share >= 1.0 => Share::All,
            share => Share::Below((share.max(0.0) * HASHES) as u64),
        }
    }

    /// Whether what is known by `key` is kept: always the same answer, and a larger share keeps all that a smaller one does.
    pub fn keeps(self, key: &[u8]) -> bool {
        match self {
            Share::All => true,
            Share::Below(limit) => xxh3_64(key) < limit,
        }
    }
}

/// Rate limit of one source: each of its files, and each stream of its containers, has it for itself.
#[derive(Debug)]
pub struct Limit {
    /// Records that may come at once.
    pub burst: u64,
    /// Records a second that go on being kept; 1 or more.
    pub per_second: u64,
    /// Of those beyond it, one in so many; 0: none.
    pub then_keep_one_in: u64,
    pub count: Arc<Count>,
}

/// The rules that hold for every source, in the order of the configuration.
#[derive(Debug, Default)]
pub struct Rules {
    pub drop: Vec<Drop>,
    pub sample: Vec<Sample>,
}

/// What leaves out records of one source. None of it: [`Filter::default`].
#[derive(Clone, Debug, Default)]
pub struct Filter {
    rules: Option<Arc<Rules>>,
    limit: Option<Arc<Limit>>,
}

/// What kind of rule left records out.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Kind {
    Drop,
    Sample,
    RateLimit,
}

impl Kind {
    /// Its word in `status` and metrics.
    pub fn word(self) -> &'static str {
        match self {
            Kind::Drop => "drop",
            Kind::Sample => "sample",
            Kind::RateLimit => "rate_limit",
        }
    }
}

/// How much one rule, or the rate limit of one source, has left out since the start of the process.
#[derive(Debug)]
pub struct Count {
    pub kind: Kind,
    /// Of the rule, or of the source.
    pub name: String,
    lines: AtomicU64,
    records: AtomicU64,
}

impl Count {
    pub fn new(kind: Kind, name: impl Into<String>) -> Arc<Self> {
        let (lines, records) = (AtomicU64::new(0), AtomicU64::new(0));
        Arc::new(Count { kind, name: name.into(), lines, records })
    }

    /// Lines of the records that it left out.
    pub fn lines(&self) -> u64 {
        self.lines.load(Ordering::Relaxed)
    }

    /// Records that it left out, each whole one before it would have been split.
    pub fn records(&self) -> u64 {
        self.records.load(Ordering::Relaxed)
    }

    pub(super) fn add(&self, lines: u64) {
        self.lines.fetch_add(lines, Ordering::Relaxed);
        self.records.fetch_add(1, Ordering::Relaxed);
    }
}

/// The counts of all rules and limits of a configuration: drop rules, sample rules, rate limits.
pub type Counts = Arc<[Arc<Count>]>;

/// Records of these levels are neither sampled nor limited.
const PROTECTED: [&str; 2] = ["ERROR", "CRITICAL"];

/// Whether records of a level are kept by sampling and rate limits whatever they say.
pub fn is_protected(level: &[u8]) -> bool {
    level::known(level).is_some_and(|level| PROTECTED.contains(&level))
}

/// One record that is decided about.
#[derive(Clone, Copy)]
pub(super) struct Candidate<'a> {
    pub(super) columns: &'a Columns<'a>,
    pub(super) constants: &'a Constants,
    /// Of its first part.
    pub(super) event_id: EventId,
}

impl<'a> Candidate<'a> {
    fn value(&self, name: &str) -> Option<Cow<'a, [u8]>> {
        lookup::value(self.columns, self.constants, name)
    }

    /// What is never sampled and never limited: errors, and pieces of a line over `max_line`, whose level nobody has read.
    pub(super) fn is_protected(&self) -> bool {
        self.columns.piece.is_some() || self.value("Level").is_some_and(|level| is_protected(&level))
    }
}

impl Filter {
    /// `rules`: the same for all sources; `limit`: of this source.
    pub fn new(rules: &Arc<Rules>, limit: Option<Arc<Limit>>) -> Self {
        let is_empty = rules.drop.is_empty() && rules.sample.is_empty();
        Filter { rules: (!is_empty).then(|| Arc::clone(rules)), limit }
    }

    /// Whether every record is kept.
    pub fn is_empty(&self) -> bool {
        self.rules.is_none() && self.limit.is_none()
    }

    pub fn limit(&self) -> Option<&Limit> {
        self.limit.as_deref()
    }

    /// The drop rule that leaves a record out, the first in their order: its index and its count.
    pub(super) fn drops(&self, record: &Candidate<'_>) -> Option<(usize, &Count)> {
        let rules = self.rules.as_ref()?;
        let (index, rule) =
            rules.drop.iter().enumerate().find(|(_, rule)| rule.when.matches(|name| record.value(name)))?;
        Some((index, &*rule.count))
    }

    /// The sample rule that leaves out a record which is not protected: its index and its count. The first rule that is
    /// about it decides.
    pub(super) fn samples(&self, record: &Candidate<'_>) -> Option<(usize, &Count)> {
        let rules = self.rules.as_ref()?;
        let is_about = |(_, rule): &(usize, &Sample)| {
            rule.when.as_ref().is_none_or(|when| when.matches(|name| record.value(name)))
        };
        let (index, rule) = rules.sample.iter().enumerate().find(is_about)?;
        let key = rule.by.iter().find_map(|name| record.value(name));
        let is_kept = match &key {
            Some(text) => rule.share.keeps(text),
            None => rule.share.keeps(&record.event_id.0),
        };
        (!is_kept).then_some((index, &*rule.count))
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::record::OriginId;

    #[test]
    fn a_share_keeps_that_share_of_ids_and_of_words() {
        const KEYS: u32 = 20_000;
        let id = |n: u32| EventId::new(OriginId([3; 16]), u64::from(n) * 100, u64::from(n) * 100 + 100, 0).0.to_vec();
        let word = |n: u32| format!("trace-{n:06}").into_bytes();
        for share in [0.0, 0.01, 0.1, 0.5, 0.9, 1.0] {
            for key in [&id as &dyn Fn(u32) -> Vec<u8>, &word] {
                let kept = (0..KEYS).filter(|n| Share::new(share).keeps(&key(*n))).count() as f64;
                let (expected, deviation) = (f64::from(KEYS) * share, (f64::from(KEYS) * share * (1.0 - share)).sqrt());
                assert!((kept - expected).abs() <= 5.0 * deviation, "{share}: {kept} of {KEYS}");
            }
        }
    }

    #[test]
    fn a_larger_share_keeps_what_a_smaller_one_keeps() {
        let shares = [0.05, 0.3, 0.7, 1.0].map(Share::new);
        for n in 0..5_000u32 {
            let kept = shares.map(|share| share.keeps(&n.to_le_bytes()));
            assert!(kept.is_sorted(), "{n}: {kept:?}");
        }
    }

    #[test]
    fn what_is_kept_is_the_same_on_every_machine_and_in_every_version() {
        let kept: Vec<u32> = (0..40).filter(|n| Share::new(0.2).keeps(format!("trace-{n}").as_bytes())).collect();
        assert_eq!(kept, [0, 1, 3, 6, 9, 11, 24, 28, 34]);
    }

    #[test]
    fn errors_and_what_is_worse_are_protected_and_unknown_words_are_not() {
        let check = |level: &str, expected: bool| assert_eq!(is_protected(level.as_bytes()), expected, "{level}");
        check("ERROR", true);
        check("CRITICAL", true);
        check("FATAL", true);
        check("WARNING", false);
        check("DEBUG", false);
        check("AUDIT", false);
        check("", false);
    }
}
