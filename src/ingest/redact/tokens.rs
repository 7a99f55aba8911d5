//! Keys that say themselves what they are: the prefixes and marks that vendors put into them.

use super::kind::Kind;
use super::text::{Edge, Span, at};

/// Bytes that the rest of a key is made of.
#[derive(Clone, Copy, Debug)]
enum Body {
    /// Letters and digits.
    Plain,
    /// Those, `_` and `-`.
    Dashed,
    /// Those and `.`, `/`, `+`, `=`.
    Wide,
}

impl Body {
    fn holds(self, byte: u8) -> bool {
        match self {
            Body::Plain => byte.is_ascii_alphanumeric(),
            Body::Dashed => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-'),
            Body::Wide => byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'-' | b'.' | b'/' | b'+' | b'='),
        }
    }
}

/// A key that begins with a known prefix.
#[derive(Clone, Copy, Debug)]
pub struct Prefix {
    /// As the key has it; the finder looks for it in lower case.
    pub text: &'static str,
    /// Bytes of `text` before those that the finder looks for, and how many these are: prefixes share them.
    skip: usize,
    literal_len: usize,
    body: Body,
    /// Least bytes of the rest.
    min: usize,
    /// Most bytes of the rest, where it has a fixed length.
    max: usize,
    kind: Kind,
}

const fn prefix(text: &'static str, body: Body, min: usize, kind: Kind) -> Prefix {
    within(text, 0, body, min, kind)
}

const fn within(text: &'static str, skip: usize, body: Body, min: usize, kind: Kind) -> Prefix {
    Prefix { text, skip, literal_len: text.len() - skip, body, min, max: usize::MAX, kind }
}

const fn exactly(text: &'static str, body: Body, len: usize, kind: Kind) -> Prefix {
    Prefix { max: len, ..within(text, 0, body, len, kind) }
}

use Body::{Dashed, Plain, Wide};

/// Every known prefix. Where one begins like another the longer one stands first.
pub const PREFIXES: &[Prefix] = &[
    exactly("AKIA", Plain, 16, Kind::Aws),
    exactly("ASIA", Plain, 16, Kind::Aws),
    prefix("ABSK", Wide, 40, Kind::Aws),
    prefix("AIza", Dashed, 30, Kind::Gcp),
    prefix("ya29.", Dashed, 20, Kind::Gcp),
    prefix("GOCSPX-", Dashed, 20, Kind::Gcp),
    prefix("ghp_", Plain, 20, Kind::Github),
    prefix("gho_", Plain, 20, Kind::Github),
    prefix("ghu_", Plain, 20, Kind::Github),
    prefix("ghs_", Wide, 20, Kind::Github),
    prefix("ghr_", Plain, 20, Kind::Github),
    within("github_pat_", 6, Dashed, 20, Kind::Github),
    prefix("glpat-", Wide, 16, Kind::Gitlab),
    prefix("gldt-", Dashed, 16, Kind::Gitlab),
    prefix("glrt-", Wide, 16, Kind::Gitlab),
    prefix("xox", Wide, 15, Kind::Slack),
    prefix("xapp-", Dashed, 15, Kind::Slack),
    prefix("hooks.slack.com/", Wide, 20, Kind::Slack),
    within("sk_live_", 1, Plain, 10, Kind::Stripe),
    within("rk_live_", 1, Plain, 10, Kind::Stripe),
    within("sk_test_", 1, Plain, 10, Kind::Stripe),
    within("rk_test_", 1, Plain, 10, Kind::Stripe),
    prefix("whsec_", Wide, 20, Kind::Stripe),
    Prefix { literal_len: 3, ..prefix("sk-ant-", Dashed, 16, Kind::Anthropic) },
    prefix("sk-", Dashed, 20, Kind::Openai),
    prefix("hf_", Plain, 25, Kind::Huggingface),
    prefix("npm_", Plain, 30, Kind::Vendor),
    prefix("pypi-AgE", Dashed, 30, Kind::Vendor),
    within("dckr_pat_", 4, Dashed, 20, Kind::Vendor),
    prefix("dop_v1_", Plain, 30, Kind::Vendor),
    prefix("SG.", Wide, 40, Kind::Vendor),
    prefix("hvs.", Dashed, 20, Kind::Vendor),
    prefix("hvb.", Dashed, 20, Kind::Vendor),
    prefix("dapi", Dashed, 32, Kind::Vendor),
    prefix("shpat_", Plain, 30, Kind::Vendor),
    prefix("lin_api_", Plain, 20, Kind::Vendor),
    prefix("nvapi-", Dashed, 30, Kind::Vendor),
    prefix("gsk_", Plain, 30, Kind::Vendor),
    prefix("r8_", Plain, 30, Kind::Vendor),
    prefix("xai-", Plain, 30, Kind::Vendor),
    prefix("pplx-", Plain, 30, Kind::Vendor),
    prefix("lsv2_", Dashed, 30, Kind::Vendor),
    prefix("tvly-", Dashed, 20, Kind::Vendor),
    prefix("pcsk_", Dashed, 30, Kind::Vendor),
];

impl Prefix {
    /// What the finder looks for, in lower case.
    pub fn literal(&self) -> Vec<u8> {
        self.text.as_bytes().iter().skip(self.skip).take(self.literal_len).map(u8::to_ascii_lowercase).collect()
    }

    /// The key whose literal was found at `found`.
    fn span(&self, text: &[u8], found: usize, edge: Edge) -> Option<Span> {
        let start = found.checked_sub(self.skip)?;
        let body = start + self.text.len();
        if text.get(start..body)? != self.text.as_bytes() {
            return None;
        }
        let before = if start > 0 { at(text, start - 1) } else { b' ' };
        if before.is_ascii_alphanumeric() || before == b'_' || (before == b'-' && matches!(self.body, Dashed)) {
            return None;
        }
        let len = text.get(body..)?.iter().take(BODY_MAX_BYTES).take_while(|byte| self.body.holds(**byte)).count();
        let mut end = body + len;
        // What a sentence ends with.
        while end > body && matches!(at(text, end - 1), b'.' | b'-') {
            end -= 1;
        }
        let rest = text.get(body..end)?;
        let cut_off = edge.open_end && body + len == text.len() && rest.len() <= self.max;
        let long = (self.min..=self.max).contains(&rest.len()) && looks_drawn(rest);
        (long || cut_off).then_some(Span { start, end, kind: self.kind.index() })
    }
}

/// The key of which this literal is a part, found at `found`; several prefixes have the same.
pub fn by_prefix(text: &[u8], found: usize, edge: Edge) -> Option<Span> {
    PREFIXES.iter().find_map(|prefix| prefix.span(text, found, edge))
}

/// Most bytes of a key behind its prefix.
const BODY_MAX_BYTES: usize = 1_024;

/// Least bytes that stand together without a joiner in a key.
const RUN_MIN_BYTES: usize = 8;

/// Whether it looks drawn by lot, not written: `sk-learn-pipeline-with-two-steps` is a name.
fn looks_drawn(body: &[u8]) -> bool {
    let longest = body.split(|byte| !byte.is_ascii_alphanumeric()).max_by_key(|run| run.len()).unwrap_or_default();
    let has = |is: fn(&u8) -> bool| body.iter().any(is);
    let mixed = has(u8::is_ascii_digit) || (has(u8::is_ascii_uppercase) && has(u8::is_ascii_lowercase));
    longest.len() >= RUN_MIN_BYTES && mixed
}

/// A key of fixed length with a mark somewhere in it.
#[derive(Clone, Copy, Debug)]
pub struct Marked {
    pub text: &'static str,
    body: Body,
    lengths: (usize, usize),
}

/// Keys of Azure: of storage accounts, of other services, of AI services, client secrets of Entra.
pub const MARKED: &[Marked] = &[
    Marked { text: "+ASt", body: Wide, lengths: (80, 92) },
    Marked { text: "ACDb", body: Wide, lengths: (80, 92) },
    Marked { text: "JQQJ99", body: Plain, lengths: (80, 92) },
    Marked { text: "8Q~", body: Wide, lengths: (36, 44) },
    Marked { text: "7Q~", body: Wide, lengths: (36, 44) },
];

impl Marked {
    /// What the finder looks for, in lower case.
    pub fn literal(&self) -> Vec<u8> {
        self.text.to_ascii_lowercase().into_bytes()
    }

    /// The key whose mark was found at `found`.
    pub fn span(&self, text: &[u8], found: usize, edge: Edge) -> Option<Span> {
        if text.get(found..found + self.text.len())? != self.text.as_bytes() {
            return None;
        }
        let holds = |byte: &u8| self.body.holds(*byte) || *byte == b'~';
        let before = text.get(..found)?.iter().rev().take(self.lengths.1 + 1).take_while(|byte| holds(byte)).count();
        let after = text.get(found..)?.iter().take(self.lengths.1 + 1).take_while(|byte| holds(byte)).count();
        let (mut start, mut end) = (found - before, found + after);
        let cut_off = edge.open_end && end == text.len();
        // What a sentence ends with.
        while end > found && matches!(at(text, end - 1), b'.' | b'-') {
            end -= 1;
        }
        // `AccountKey=` is made of the same bytes.
        let name = text.get(start..found)?.iter().rposition(|byte| *byte == b'=');
        start = name.map_or(start, |at| start + at + 1);
        let fits = (self.lengths.0..=self.lengths.1).contains(&(end - start));
        (fits || cut_off).then_some(Span { start, end, kind: Kind::Azure.index() })
    }
}
