//! The comparison as tables.

use std::collections::{BTreeMap, HashMap};

use serde_json::{Value, json};

use super::compare::{FINDINGS_MAX, Reason, SPANS_IN_ALL_MAX, Seen, Verdict, compare, plan};
use super::manifest::Manifests;
use crate::manifest::{EVENT_ORIGIN, EVENT_SUMMARY};
use crate::sink::stored::{ManifestDocument, Sequence, Slice, StoredOrigin};

fn document(event_type: &str, fields: Value) -> ManifestDocument {
    let (origin, vm_name) = ("m".to_owned(), "vm-7".to_owned());
    ManifestDocument { event_type: event_type.to_owned(), origin, vm_name, fields }
}

fn origin(incarnation: u64, last_seq: u64, complete: bool, sinks: Value) -> ManifestDocument {
    let fields = json!({"incarnation": incarnation, "origin": "o", "complete": complete, "last_seq": last_seq,
        "columns": {"FilePath": "/a.log"}, "lines": last_seq, "sinks": sinks});
    document(EVENT_ORIGIN, fields)
}

fn summary(incarnation: u64, origins: u64, records: u64, complete: bool, rest: Value) -> ManifestDocument {
    let mut fields = json!({"incarnation": incarnation, "origins": origins, "records": records, "lines": records,
        "complete": complete, "sinks": {}});
    fields.as_object_mut().expect("an object").extend(rest.as_object().expect("an object").clone());
    document(EVENT_SUMMARY, fields)
}

/// What an index holds of origin `o`, and the sequence that looking through it gives.
fn held(seqs: &[u64], until: u64) -> (StoredOrigin, Sequence) {
    let slice = Slice {
        records: seqs.len() as u64,
        first_seq: seqs.iter().copied().min().unwrap_or(0),
        last_seq: seqs.iter().copied().max().unwrap_or(0),
        seq_sum: seqs.iter().sum::<u64>() as f64,
    };
    let mut sequence = Sequence::new(until);
    seqs.iter().for_each(|seq| sequence.take(*seq, 1));
    let stored = StoredOrigin { origin: "o".into(), vm_name: "vm-7".into(), slices: vec![slice], doubles: 0 };
    (stored, sequence.finish())
}

fn verdict(documents: Vec<ManifestDocument>, seqs: &[u64]) -> Verdict {
    let manifests = Manifests::read(documents);
    let until = manifests.origins().next().map_or(0, |record| record.last_seq);
    let (stored, sequence) = held(seqs, until);
    let stored: BTreeMap<String, StoredOrigin> =
        (!seqs.is_empty()).then(|| ("o".to_owned(), stored)).into_iter().collect();
    let wanted = plan(&manifests, &stored, "es");
    let seen =
        wanted.into_iter().map(|scan| (scan.origin, Seen { sequence: sequence.clone(), columns: BTreeMap::new() }));
    compare("42", "es", &manifests, &stored, &seen.collect())
}

/// Of the figures `[routed, dead_lettered, evicted, abandoned, buffered]` of this sink.
fn of_figures(last_seq: u64, figures: [u64; 5], seqs: &[u64]) -> Verdict {
    let [routed, dead_lettered, evicted, abandoned, buffered] = figures;
    let sink = json!({"routed": routed, "dead_lettered": dead_lettered, "evicted": evicted,
        "abandoned": abandoned, "buffered": buffered});
    let complete = figures[1..] == [0; 4];
    let sinks = json!({"es": sink});
    let sum = summary(1, 1, last_seq, complete, json!({"sinks": sinks}));
    verdict(vec![origin(1, last_seq, complete, sinks), sum], seqs)
}

fn reasons(verdict: &Verdict) -> Vec<Reason> {
    assert_eq!(verdict.equal, verdict.findings.is_empty());
    assert_eq!(verdict.vms.iter().all(|vm| vm.equal), verdict.equal, "{verdict:?}");
    verdict.findings.iter().flat_map(|finding| finding.reasons.iter().copied()).collect()
}

#[test]
fn what_an_origin_promises_is_held_against_what_is_there() {
    use Reason::{Incomplete, Missing, More, Past};
    let check =
        |last: u64, figures: [u64; 5], seqs: &[u64], expected: &[Reason], missing: u64, holes: &[(u64, u64)]| {
            let verdict = of_figures(last, figures, seqs);
            assert_eq!(reasons(&verdict), expected, "{figures:?} {seqs:?}: {verdict:?}");
            if let Some(finding) = verdict.findings.first() {
                assert_eq!((finding.missing, finding.holes.spans.as_slice()), (missing, holes), "{figures:?} {seqs:?}");
            }
        };
    check(3, [3, 0, 0, 0, 0], &[1, 2, 3], &[], 0, &[]);
    check(0, [0, 0, 0, 0, 0], &[], &[], 0, &[]);
    check(3, [3, 0, 0, 0, 0], &[], &[Missing], 3, &[(1, 3)]);
    check(3, [3, 0, 0, 0, 0], &[1, 3], &[Missing], 1, &[(2, 2)]);
    check(3, [3, 0, 0, 0, 0], &[1, 2, 3, 4], &[Past], 0, &[]);
    // One is missing and one came later: the count alone would be right.
    check(3, [3, 0, 0, 0, 0], &[1, 3, 4], &[Missing, Past], 1, &[(2, 2)]);
    // A dead letter is missing with a reason, until a replay brings it.
    check(3, [3, 1, 0, 0, 0], &[1, 3], &[Incomplete], 0, &[(2, 2)]);
    check(3, [3, 1, 0, 0, 0], &[1], &[Incomplete, Missing], 1, &[(2, 3)]);
    check(3, [3, 1, 0, 0, 0], &[1, 2, 3], &[], 0, &[]);
    check(4, [4, 0, 1, 1, 0], &[3, 4], &[Incomplete], 0, &[(1, 2)]);
    // What was still in the buffer is not there yet, partly there, there.
    check(3, [3, 0, 0, 0, 2], &[1], &[Incomplete], 0, &[]);
    check(3, [3, 0, 0, 0, 2], &[1, 2], &[Incomplete], 0, &[]);
    check(3, [3, 0, 0, 0, 2], &[1, 2, 3], &[], 0, &[]);
    check(3, [3, 0, 0, 0, 1], &[1], &[Incomplete, Missing], 1, &[(2, 3)]);
    // A sink with `when`: holes in Seq mean nothing, counts are compared.
    check(9, [3, 0, 0, 0, 0], &[2, 5, 9], &[], 0, &[]);
    check(9, [3, 0, 0, 0, 0], &[2, 9], &[Missing], 1, &[]);
    check(9, [3, 0, 0, 0, 0], &[2, 5, 12], &[Missing, Past], 1, &[]);
    check(9, [3, 0, 0, 0, 0], &[2, 5, 6, 9], &[More], 0, &[]);
    check(9, [0, 0, 0, 0, 0], &[], &[], 0, &[]);
}

#[test]
fn a_manifest_that_is_not_whole_proves_nothing() {
    use Reason::{Incomplete, ManifestShort, NoManifest, SinkUnknown, Unlisted};
    let all = || json!({"es": {"routed": 2}});
    let sums = || json!({"sinks": all()});
    let check = |documents: Vec<ManifestDocument>, expected: &[Reason], why: &str| {
        let verdict = verdict(documents, &[1, 2]);
        let said: Vec<&String> = verdict.findings.iter().flat_map(|finding| &finding.why).collect();
        assert_eq!(reasons(&verdict), expected, "{said:?}");
        assert!(why.is_empty() || said.iter().any(|said| said.contains(why)), "{said:?}");
    };
    check(vec![origin(1, 2, true, all()), summary(1, 1, 2, true, sums())], &[], "");
    check(vec![origin(1, 2, true, all())], &[ManifestShort], "no summary");
    check(vec![], &[NoManifest, Unlisted], "no manifest of this run");
    check(vec![summary(1, 1, 2, true, sums())], &[ManifestShort, Unlisted], "0 of 1 origin records");
    check(vec![origin(1, 2, true, all()), summary(1, 2, 3, true, sums())], &[ManifestShort], "1 of 2 origin records");
    check(vec![origin(1, 2, true, all()), summary(1, 1, 3, true, sums())], &[ManifestShort], "sums");
    let routed = json!({"sinks": {"es": {"routed": 3}}});
    check(vec![origin(1, 2, true, all()), summary(1, 1, 2, true, routed)], &[ManifestShort], "sums");
    check(vec![origin(1, 2, true, all()), document(EVENT_SUMMARY, json!({}))], &[ManifestShort], "cannot be read");
    let other = || json!({"az": {"routed": 2}});
    let knows_other = summary(1, 1, 2, true, json!({"sinks": other()}));
    check(vec![origin(1, 2, true, other()), knows_other], &[SinkUnknown], "it knows az");
    // A fault of the drain as a whole, and a note that is none.
    let noted = |note: &str| json!({"sinks": all(), "notes": [note]});
    let fault = summary(1, 1, 2, false, noted("2 damaged parts of the buffer"));
    check(vec![origin(1, 2, true, all()), fault], &[Incomplete], "damaged");
    let running = summary(1, 1, 2, true, noted("still running: task-1"));
    check(vec![origin(1, 2, true, all()), running], &[], "");
    // Another sink is behind.
    let both = json!({"es": {"routed": 2}, "az": {"routed": 2, "buffered": 1}});
    let sum = summary(1, 1, 2, false, json!({"sinks": both}));
    check(vec![origin(1, 2, false, both.clone()), sum], &[Incomplete], "1 still buffered for az");
}

#[test]
fn of_repeats_the_highest_incarnation_holds_in_any_order() {
    let sinks = |routed: u64| json!({"es": {"routed": routed}});
    let documents = [
        origin(1, 1, true, sinks(1)),
        summary(1, 1, 1, true, json!({"sinks": sinks(1)})),
        origin(2, 2, true, sinks(2)),
        summary(2, 1, 2, true, json!({"sinks": sinks(2)})),
    ];
    let mut reversed = documents.to_vec();
    reversed.reverse();
    for order in [documents.to_vec(), reversed] {
        assert_eq!(reasons(&verdict(order.clone(), &[1, 2])), []);
        assert_eq!(reasons(&verdict(order, &[1])), [Reason::Missing]);
    }
    // An origin that retired after the last summary is held to its own record, the summary to that of its time.
    let later = vec![
        origin(1, 1, true, sinks(1)),
        summary(1, 1, 1, true, json!({"sinks": sinks(1)})),
        origin(2, 2, true, sinks(2)),
    ];
    assert_eq!(reasons(&verdict(later.clone(), &[1, 2])), []);
    assert_eq!(reasons(&verdict(later, &[1])), [Reason::Missing]);
}

#[test]
fn a_long_list_is_cut_and_counted() {
    let mut stored = BTreeMap::new();
    for n in 0..FINDINGS_MAX + 7 {
        let (mut one, _) = held(&[1, 3], 3);
        one.origin = format!("o{n:05}");
        stored.insert(one.origin.clone(), one);
    }
    let (_, sequence) = held(&[1, 3], 3);
    let seen: HashMap<String, Seen> = stored
        .keys()
        .map(|origin| (origin.clone(), Seen { sequence: sequence.clone(), columns: BTreeMap::new() }))
        .collect();
    let verdict = compare("42", "es", &Manifests::default(), &stored, &seen);
    assert_eq!((verdict.findings.len(), verdict.more_findings), (FINDINGS_MAX, 8));
    let spans: usize = verdict.findings.iter().map(|finding| finding.holes.spans.len()).sum();
    assert!(spans <= SPANS_IN_ALL_MAX, "{spans}");
}
