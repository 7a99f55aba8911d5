//! Finds secrets in a text: one pass for all literals at once, and a closer look where one of them stands.

use std::collections::BTreeMap;

use aho_corasick::packed::{Config, MatchKind, Searcher};
use aho_corasick::{AhoCorasick, Span as Range};

use super::kind::Kind;
use super::tokens::{MARKED, Marked, PREFIXES};
use super::{keys, shapes, tokens, value};

/// A secret in a text, and the number of its kind.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Span {
    pub start: usize,
    pub end: usize,
    pub kind: usize,
}

/// Whether the text goes on behind its end: then what reaches it counts though it is short.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub struct Edge {
    pub open_end: bool,
}

/// The byte at a place; 0 behind the end.
pub fn at(text: &[u8], place: usize) -> u8 {
    text.get(place).copied().unwrap_or(0)
}

/// What a literal is a sign of.
#[derive(Clone, Copy, Debug)]
enum Sign {
    /// Part of a name.
    Name,
    Bearer,
    Basic,
    Jwt,
    Pem,
    /// `://`, or `:\/\/` as some write it in JSON.
    Url,
    Signature,
    /// An escape in JSON that may hide any other literal.
    Escape,
    /// Part of the prefix of a vendor's key.
    Prefix,
    Marked(&'static Marked),
}

/// Literals that are no prefixes of vendors, in lower case.
const SIGNS: &[(&str, Sign)] = &[
    ("pass", Sign::Name),
    ("pwd", Sign::Name),
    ("secret", Sign::Name),
    ("token", Sign::Name),
    ("key", Sign::Name),
    ("authori", Sign::Name),
    ("card", Sign::Name),
    ("cvv", Sign::Name),
    ("cvc", Sign::Name),
    ("ssn", Sign::Name),
    ("social", Sign::Name),
    ("conn", Sign::Name),
    ("cookie", Sign::Name),
    ("bearer", Sign::Bearer),
    ("basic", Sign::Basic),
    ("eyj", Sign::Jwt),
    ("-----begin", Sign::Pem),
    ("://", Sign::Url),
    (":\\/\\/", Sign::Url),
    ("sig=", Sign::Signature),
    ("signature", Sign::Signature),
    ("\\u00", Sign::Escape),
];

/// Bytes that are searched at once, so that the copy in lower case stays small.
const CHUNK_BYTES: usize = 16 * 1024;

/// Literals that are searched together, as long as there are no more than this in each of [`GROUPS_MAX`] groups: of more
/// than 32 every fourth place of a text looks like one, which costs five times as much (67 together 240 ns for a line of
/// 168 bytes, in groups 50).
const GROUP_LITERALS: usize = 28;

/// Groups at most.
const GROUPS_MAX: usize = 4;

/// Looks for all literals in one pass over a text that is in lower case, group by group.
#[derive(Debug)]
struct Search {
    groups: Vec<Group>,
}

/// Literals that are searched together.
#[derive(Debug)]
struct Group {
    searcher: Literals,
    /// The number of its first literal.
    first: usize,
}

#[derive(Debug)]
enum Literals {
    /// With vector instructions.
    Packed(Searcher),
    /// Where the processor has none of the right ones.
    Automaton(Box<AhoCorasick>),
}

/// Where a search has come to.
#[derive(Debug, Default)]
struct Places {
    /// For each group: its next literal and where that is; `None`: none is left.
    next: [Option<(usize, usize)>; GROUPS_MAX],
}

impl Search {
    /// `literals`: in order of their length. The shortest ones look like most of a text: they are searched by themselves.
    fn new(literals: &[Vec<u8>]) -> Option<Search> {
        let shortest = literals.first()?.len();
        let (short, long) = literals.split_at(literals.partition_point(|literal| literal.len() <= shortest));
        let parts = long.len().div_ceil(GROUP_LITERALS).clamp(1, GROUPS_MAX - 1);
        let each = long.len().div_ceil(parts).max(1);
        let (mut groups, mut first) = (Vec::new(), 0);
        for group in std::iter::once(short).chain(long.chunks(each)) {
            groups.push(Group { searcher: Literals::new(group)?, first });
            first += group.len();
        }
        Some(Search { groups })
    }

    /// The first literal of each group.
    fn start(&self, text: &[u8]) -> Places {
        let mut places = Places::default();
        for (group, next) in self.groups.iter().zip(&mut places.next) {
            *next = group.find(text, 0);
        }
        places
    }

    /// Goes on at `from`: whatever was found before it is passed.
    fn go_on(&self, text: &[u8], from: usize, places: &mut Places) {
        for (group, next) in self.groups.iter().zip(&mut places.next) {
            if next.is_some_and(|(found, _)| found < from) {
                *next = group.find(text, from);
            }
        }
    }
}

impl Places {
    /// The next literal: where it is, and its number.
    fn first(&self) -> Option<(usize, usize)> {
        self.next.iter().flatten().min().copied()
    }
}

impl Group {
    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let (found, literal) = self.searcher.find(text, from)?;
        Some((found, self.first + literal))
    }
}

impl Literals {
    fn new(literals: &[Vec<u8>]) -> Option<Literals> {
        let mut config = Config::new();
        config.match_kind(MatchKind::LeftmostFirst).heuristic_pattern_limits(false);
        Some(match config.builder().extend(literals).build() {
            Some(searcher) => Literals::Packed(searcher),
            // Literals without special signs, bounded in number: nothing of it can fail.
            None => Literals::Automaton(Box::new(AhoCorasick::new(literals).ok()?)),
        })
    }

    fn find(&self, text: &[u8], from: usize) -> Option<(usize, usize)> {
        let range = Range { start: from.min(text.len()), end: text.len() };
        match self {
            Literals::Packed(searcher) => {
                let found = searcher.find_in(text, range)?;
                Some((found.start(), found.pattern().as_usize()))
            }
            Literals::Automaton(automaton) => {
                let found = automaton.find(aho_corasick::Input::new(text).span(range))?;
                Some((found.start(), found.pattern().as_usize()))
            }
        }
    }
}

/// Finds what is built in.
#[derive(Debug)]
pub struct Finder {
    search: Search,
    signs: Vec<(usize, Sign)>,
    literal_max: usize,
    /// By the number of each kind: whether it is looked for.
    on: Vec<bool>,
}

impl Finder {
    /// `on`: whether a kind is looked for; `None` where none is.
    pub fn new(on: impl Fn(Kind) -> bool) -> Option<Finder> {
        let on: Vec<bool> = Kind::ALL.iter().map(|kind| on(*kind)).collect();
        if !on.contains(&true) {
            return None;
        }
        let literals = SIGNS
            .iter()
            .map(|(literal, sign)| (literal.as_bytes().to_vec(), *sign))
            .chain(PREFIXES.iter().map(|prefix| (prefix.literal(), Sign::Prefix)))
            .chain(MARKED.iter().map(|marked| (marked.literal(), Sign::Marked(marked))));
        // Of equal ones only the first would be found.
        let literals: BTreeMap<(usize, Vec<u8>), Sign> =
            literals.map(|(literal, sign)| ((literal.len(), literal), sign)).collect();
        let (literals, signs): (Vec<Vec<u8>>, Vec<Sign>) =
            literals.into_iter().map(|((_, literal), sign)| (literal, sign)).unzip();
        let literal_max = literals.iter().map(Vec::len).max().unwrap_or(0);
        let search = Search::new(&literals)?;
        let signs = literals.iter().map(Vec::len).zip(signs).collect();
        Some(Finder { search, signs, literal_max, on })
    }

    /// Whether this kind is looked for.
    pub fn is_on(&self, kind: usize) -> bool {
        self.on.get(kind).is_some_and(|on| *on)
    }

    /// Calls `each` with every literal of the text, and goes on where that says, but at least one byte further on.
    fn each(&self, text: &[u8], scratch: &mut Vec<u8>, mut each: impl FnMut(usize, usize, Sign) -> Next) {
        let mut from = 0;
        while from < text.len() {
            let chunk_end = (from + CHUNK_BYTES).min(text.len());
            // A literal may begin in this piece and end in the next.
            let reach = (chunk_end + self.literal_max).min(text.len());
            scratch.clear();
            scratch.extend_from_slice(text.get(from..reach).unwrap_or_default());
            scratch.make_ascii_lowercase();
            let mut places = self.search.start(scratch);
            let mut next_chunk = chunk_end;
            while let Some((found, literal)) = places.first() {
                let start = from + found;
                if start >= chunk_end {
                    break;
                }
                let Some(&(len, sign)) = self.signs.get(literal) else { break };
                let place = match each(start, len, sign) {
                    Next::On => found + 1,
                    Next::From(end) if end >= chunk_end => {
                        next_chunk = end;
                        break;
                    }
                    Next::From(end) => end.saturating_sub(from).max(found + 1),
                    Next::Stop => return,
                };
                self.search.go_on(scratch, place, &mut places);
            }
            from = next_chunk.max(chunk_end);
        }
    }

    /// Every secret of a text, in no order; they may lie within each other.
    pub fn spans(&self, text: &[u8], edge: Edge, scratch: &mut Vec<u8>, spans: &mut Vec<Span>) {
        self.each(text, scratch, |start, len, sign| match look(text, start, len, sign, edge) {
            // What lies within a secret of a kind that is off may be one of another kind.
            Some(span) if self.is_on(span.kind) => {
                spans.push(span);
                Next::From(span.end)
            }
            _ => Next::On,
        });
        if self.is_on(Kind::Card.index()) {
            each_card(text, |span| {
                spans.push(span);
                true
            });
        }
    }

    /// Whether the raw text of JSON may hold a secret; cheaper than [`Finder::spans`], and never wrong with no.
    pub fn may_hold(&self, text: &[u8], scratch: &mut Vec<u8>) -> bool {
        let mut found = false;
        self.each(text, scratch, |start, len, sign| {
            found = match sign {
                Sign::Name => keys::around(text, start).is_some(),
                Sign::Prefix => look(text, start, len, sign, Edge::default()).is_some(),
                Sign::Url => {
                    let rest = text.get(start..(start + 4_096).min(text.len())).unwrap_or_default();
                    memchr::memchr(b'@', rest).is_some()
                }
                Sign::Bearer
                | Sign::Basic
                | Sign::Jwt
                | Sign::Pem
                | Sign::Signature
                | Sign::Escape
                | Sign::Marked(_) => true,
            };
            if found { Next::Stop } else { Next::On }
        });
        if !found && self.is_on(Kind::Card.index()) {
            each_card(text, |_| {
                found = true;
                false
            });
        }
        found
    }
}

/// Where the search goes on.
enum Next {
    On,
    From(usize),
    Stop,
}

fn look(text: &[u8], start: usize, len: usize, sign: Sign, edge: Edge) -> Option<Span> {
    match sign {
        Sign::Name => value::behind(text, &keys::around(text, start)?, edge),
        Sign::Bearer => shapes::bearer(text, start, edge),
        Sign::Basic => shapes::basic(text, start, edge),
        Sign::Jwt => shapes::jwt(text, start, edge),
        Sign::Pem => shapes::pem(text, start),
        Sign::Url => shapes::url_password(text, start, len, edge),
        Sign::Signature => shapes::signature(text, start, edge),
        Sign::Escape => None,
        Sign::Prefix => tokens::by_prefix(text, start, edge),
        Sign::Marked(marked) => marked.span(text, start, edge),
    }
}

/// Calls `each` with every card number until it says that it is enough.
fn each_card(text: &[u8], mut each: impl FnMut(Span) -> bool) {
    // Every card number holds one of these places.
    let mut place = shapes::CARD_MIN_BYTES - 1;
    let mut from = 0;
    while place < text.len() {
        // Most places are passed by this first look: what parts the digits of a card stands alone between them.
        let may_be = match at(text, place) {
            b'0'..=b'9' => true,
            b' ' | b'-' => at(text, place - 1).is_ascii_digit() && at(text, place + 1).is_ascii_digit(),
            _ => false,
        };
        if may_be && let Some(span) = shapes::card(text, place, from) {
            if !each(span) {
                return;
            }
            from = span.end;
            place = span.end - 1;
        }
        place += shapes::CARD_MIN_BYTES;
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_literal_is_found_where_it_stands_in_any_case_and_in_order() {
        let finder = Finder::new(|_| true).expect("every kind is looked for");
        let prefixes = PREFIXES.iter().map(|prefix| prefix.literal()).chain(MARKED.iter().map(Marked::literal));
        let literals: Vec<Vec<u8>> =
            SIGNS.iter().map(|(literal, _)| literal.as_bytes().to_vec()).chain(prefixes).collect();
        let mut text = Vec::new();
        let mut expected = Vec::new();
        for (index, literal) in literals.iter().enumerate() {
            text.extend_from_slice(b"  ");
            expected.push((text.len(), literal.len()));
            let upper = index % 2 == 1;
            text.extend(literal.iter().map(|byte| if upper { byte.to_ascii_uppercase() } else { *byte }));
        }
        for padding in [0, CHUNK_BYTES - text.len() / 2, CHUNK_BYTES - 3] {
            let text = [vec![b'.'; padding], text.clone()].concat();
            let mut found = Vec::new();
            finder.each(&text, &mut Vec::new(), |start, len, _| {
                found.push((start - padding, len));
                Next::On
            });
            assert!(found.is_sorted(), "{found:?}");
            let missing: Vec<_> = expected.iter().filter(|place| !found.contains(place)).collect();
            assert!(missing.is_empty(), "{missing:?}");
        }
    }
}
