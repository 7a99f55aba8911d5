//! A verdict as text: a line for each VM, then one for each finding.

use std::fmt::Write as _;

use super::compare::{Finding, Reason, Verdict};
use crate::sink::stored::Spans;

/// The whole report, lines with their ends.
pub fn text(verdict: &Verdict) -> String {
    let mut out = String::new();
    let run = if verdict.run_id.is_empty() { "no RunID".to_owned() } else { format!("run {}", verdict.run_id) };
    let word = if verdict.equal { "equal" } else { "short" };
    // Writing into a string does not fail.
    let _ = writeln!(out, "{word}: {run} in {}", verdict.sink);
    for vm in &verdict.vms {
        let name = if vm.vm_name.is_empty() { "no VMName" } else { &vm.vm_name };
        let word = if vm.equal { "equal" } else { "short" };
        let _ = write!(out, "  {name}: {word}: ");
        match (vm.manifests, vm.unlisted) {
            (0, _) => {
                let _ = write!(out, "no manifest, {} records of {}", grouped(vm.found), origins(vm.unlisted));
            }
            (_, unlisted) => {
                let (found, expected) = (grouped(vm.found), grouped(vm.expected));
                let _ = write!(out, "{found} records for {expected} of {}", origins(vm.origins));
                if unlisted > 0 {
                    let _ = write!(out, "; {} in no manifest", origins(unlisted));
                }
            }
        }
        out.push('\n');
    }
    for finding in &verdict.findings {
        let _ = writeln!(out, "short: {}", line(finding));
    }
    if verdict.more_findings > 0 {
        let _ = writeln!(out, "short: and {} more", grouped(verdict.more_findings));
    }
    for note in &verdict.notes {
        let _ = writeln!(out, "note: {note}");
    }
    out
}

fn origins(count: u64) -> String {
    format!("{} origin{}", grouped(count), if count == 1 { "" } else { "s" })
}

/// `VMName, FilePath, TaskID, Origin: 3 of 1,424 missing: Seq 17, 40-41`.
fn line(finding: &Finding) -> String {
    let mut who: Vec<String> = Vec::new();
    let named = |name: &str| finding.columns.get(name).filter(|value| !value.is_empty());
    who.extend((!finding.vm_name.is_empty()).then(|| finding.vm_name.clone()));
    match (named("FilePath"), named("Container"), named("Source")) {
        (Some(path), ..) => who.push(path.clone()),
        (None, Some(container), _) => {
            who.push(named("Stream").map_or_else(|| container.clone(), |stream| format!("{container}/{stream}")));
        }
        (None, None, Some(source)) => who.push(source.clone()),
        (None, None, None) => {}
    }
    who.extend(named("TaskID").cloned());
    who.extend((!finding.origin.is_empty()).then(|| finding.origin.clone()));
    let what = what(finding).join("; ");
    if who.is_empty() { what } else { format!("{}: {what}", who.join(", ")) }
}

fn what(finding: &Finding) -> Vec<String> {
    let mut what = Vec::new();
    let holes = if finding.holes.is_empty() { String::new() } else { format!(": Seq {}", spans(&finding.holes)) };
    if finding.missing > 0 {
        let unseen = if finding.not_looked_through { " (too many origins are short to look for the Seq)" } else { "" };
        let (missing, expected) = (grouped(finding.missing), grouped(finding.expected));
        what.push(format!("{missing} of {expected} missing{holes}{unseen}"));
    } else if finding.not_looked_through && finding.reasons.contains(&Reason::Missing) {
        let (found, expected) = (grouped(finding.found), grouped(finding.expected));
        what.push(format!("{found} documents for {expected}, not looked through"));
    } else if !finding.holes.is_empty() {
        what.push(format!("not there{holes}"));
    }
    if !finding.doubled.is_empty() {
        what.push(format!("there more than once: Seq {}", spans(&finding.doubled)));
    }
    if !finding.past.is_empty() {
        what.push(format!("written after the manifest: Seq {}", spans(&finding.past)));
    }
    // What it is comes before what is missing of it.
    let own = finding.why.iter().cloned();
    if finding.reasons.contains(&Reason::Unlisted) {
        own.chain(what).collect()
    } else {
        what.into_iter().chain(own).collect()
    }
}

/// `17, 40-41 and 12 more`.
pub fn spans(spans: &Spans) -> String {
    let one = |&(first, last): &(u64, u64)| if first == last { first.to_string() } else { format!("{first}-{last}") };
    let mut text = spans.spans.iter().map(one).collect::<Vec<_>>().join(", ");
    let listed: u64 = spans.spans.iter().map(|(first, last)| last - first + 1).sum();
    if spans.numbers > listed {
        let more = grouped(spans.numbers - listed);
        text.push_str(&if text.is_empty() { format!("{more} of them") } else { format!(" and {more} more") });
    }
    text
}

/// `1,424`.
fn grouped(number: u64) -> String {
    let digits = number.to_string();
    let mut text = String::new();
    for (at, digit) in digits.chars().enumerate() {
        if at > 0 && (digits.len() - at).is_multiple_of(3) {
            text.push(',');
        }
        text.push(digit);
    }
    text
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn spans_are_written_as_people_write_them() {
        let check = |ranges: &[(u64, u64)], max: usize, expected: &str| {
            let mut list = Spans::default();
            ranges.iter().for_each(|&(first, last)| list.push(first, last));
            list.shorten(max);
            assert_eq!(spans(&list), expected);
        };
        check(&[(17, 17), (40, 41)], 9, "17, 40-41");
        check(&[(1, 2000)], 9, "1-2000");
        check(&[(1, 1), (3, 3), (5, 1005)], 1, "1 and 1,002 more");
        check(&[(1, 1), (3, 3)], 0, "2 of them");
    }

    #[test]
    fn numbers_are_grouped() {
        for (number, expected) in [(0, "0"), (999, "999"), (1_424, "1,424"), (1_000_000, "1,000,000")] {
            assert_eq!(grouped(number), expected);
        }
    }
}
