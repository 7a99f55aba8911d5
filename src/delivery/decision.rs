//! What an answer means: a pure table from [`SendOutcome`] to what is done next.

use std::time::Duration;

use crate::sink::{ItemAnswer, Kind, SendOutcome};

/// The rules that differ between sinks.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Protocol {
    /// Answers for each record.
    Elasticsearch,
    /// Answers for a whole call only.
    AzureMonitor,
    /// Files and the terminal.
    Stream,
}

impl Protocol {
    pub fn of(kind: &Kind) -> Self {
        match kind {
            Kind::Elasticsearch(_) => Protocol::Elasticsearch,
            Kind::AzureMonitor(_) => Protocol::AzureMonitor,
            Kind::File(_) | Kind::Console(_) | Kind::Tally(_) => Protocol::Stream,
        }
    }
}

/// What is done with the records of one attempt.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Decision {
    Accept,
    /// Nothing was stored: send the same again, not before the server's own wait.
    Retry {
        after: Option<Duration>,
    },
    /// Find out what was stored before sending again.
    Ask,
    /// Two halves, each on its own; a single record cannot be split and is refused.
    Split,
    /// The fault of this one record: to the dead letters.
    Reject,
    /// New credentials, then the same again.
    NewCredentials,
    /// The sink's own fault: everything is kept and sent again slowly, and loudly said.
    SinkFault {
        after: Option<Duration>,
    },
    /// One decision for each record.
    Items(Vec<ItemDecision>),
}

/// What is done with one record of a call.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum ItemDecision {
    Accept,
    Retry,
    Reject,
    SinkFault,
}

/// Decides for an attempt with `records` records, at least one.
pub fn decide(protocol: Protocol, outcome: &SendOutcome, records: usize) -> Decision {
    match outcome {
        SendOutcome::Accepted => Decision::Accept,
        SendOutcome::Items(items) => Decision::Items(items.iter().map(decide_item).collect()),
        SendOutcome::Unknown { .. } => Decision::Ask,
        SendOutcome::NotSent { .. } => Decision::Retry { after: None },
        SendOutcome::Refused { status, retry_after, .. } => decide_status(protocol, *status, *retry_after, records),
    }
}

fn decide_status(protocol: Protocol, status: u16, after: Option<Duration>, records: usize) -> Decision {
    let split_or_reject = if records > 1 { Decision::Split } else { Decision::Reject };
    match status {
        413 => split_or_reject,
        // Azure refuses a call for one record that it cannot read, and does not say which.
        400 if protocol == Protocol::AzureMonitor => split_or_reject,
        401 => Decision::NewCredentials,
        408 | 425 | 429 => Decision::Retry { after },
        // A gateway that lost its server may have passed the call on.
        502 | 504 => Decision::Ask,
        500..=599 => Decision::Retry { after },
        _ => Decision::SinkFault { after },
    }
}

/// Faults of the index, not of the document, that come with status 400. The last one refuses to make an index, for
/// example because the cluster has as many shards as it may.
const INDEX_FAULTS: &[&str] =
    &["index_closed_exception", "invalid_index_name_exception", "cluster_block_exception", "validation_exception"];

/// A kind that says little, and how its reasons begin where the fault is the index's.
const ILLEGAL_ARGUMENT: &str = "illegal_argument_exception";
const ILLEGAL_INDEX_REASONS: &[&str] = &["no write index is defined for alias", "pipeline with id ["];

fn is_of_index(item: &ItemAnswer) -> bool {
    INDEX_FAULTS.contains(&item.kind.as_str())
        || (item.kind == ILLEGAL_ARGUMENT && ILLEGAL_INDEX_REASONS.iter().any(|begin| item.reason.starts_with(begin)))
}

fn decide_item(item: &ItemAnswer) -> ItemDecision {
    match item.status {
        200..=299 => ItemDecision::Accept,
        // The id is there: an earlier attempt stored it.
        409 => ItemDecision::Accept,
        400 if is_of_index(item) => ItemDecision::SinkFault,
        400 | 413 => ItemDecision::Reject,
        408 | 429 | 500..=599 => ItemDecision::Retry,
        _ => ItemDecision::SinkFault,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn refused(status: u16) -> SendOutcome {
        SendOutcome::Refused { status, retry_after: None, reason: String::new() }
    }

    #[test]
    fn statuses_of_whole_calls() {
        use Protocol::{AzureMonitor, Elasticsearch};
        let slow = Decision::SinkFault { after: None };
        let again = Decision::Retry { after: None };
        let check = |protocol, status, records, expected: &Decision| {
            assert_eq!(decide(protocol, &refused(status), records), *expected, "{protocol:?} {status} {records}");
        };
        for protocol in [Elasticsearch, AzureMonitor] {
            check(protocol, 413, 2, &Decision::Split);
            check(protocol, 413, 1, &Decision::Reject);
            check(protocol, 401, 5, &Decision::NewCredentials);
            check(protocol, 403, 5, &slow);
            check(protocol, 404, 1, &slow);
            check(protocol, 429, 5, &again);
            check(protocol, 503, 5, &again);
            check(protocol, 504, 5, &Decision::Ask);
            check(protocol, 301, 5, &slow);
        }
        check(AzureMonitor, 400, 2, &Decision::Split);
        check(AzureMonitor, 400, 1, &Decision::Reject);
        // For Elasticsearch a refused call is our own fault or a proxy's: no record is thrown out for it.
        check(Elasticsearch, 400, 1, &slow);
    }

    #[test]
    fn the_servers_wait_is_kept() {
        let wait = Some(Duration::from_secs(7));
        let outcome = SendOutcome::Refused { status: 429, retry_after: wait, reason: String::new() };
        assert_eq!(decide(Protocol::AzureMonitor, &outcome, 3), Decision::Retry { after: wait });
    }

    #[test]
    fn nothing_sent_is_sent_again_and_an_unknown_outcome_is_asked_for() {
        let reason = String::new();
        let not_sent = SendOutcome::NotSent { reason: reason.clone() };
        assert_eq!(decide(Protocol::Elasticsearch, &not_sent, 1), Decision::Retry { after: None });
        assert_eq!(decide(Protocol::Elasticsearch, &SendOutcome::Unknown { reason }, 1), Decision::Ask);
    }

    #[test]
    fn a_400_is_the_documents_fault_unless_it_names_the_index() {
        use ItemDecision::{Reject, SinkFault};
        let check = |kind: &str, reason: &str, expected: ItemDecision| {
            let item = ItemAnswer { status: 400, kind: kind.to_owned(), reason: reason.to_owned() };
            assert_eq!(decide_item(&item), expected, "{kind} {reason}");
        };
        check("document_parsing_exception", "[1:6] failed to parse field [x] of type [long]", Reject);
        check("mapper_parsing_exception", "failed to parse: pipeline with id [", Reject);
        check("strict_dynamic_mapping_exception", "introduction of [x] is not allowed", Reject);
        check("illegal_argument_exception", "Limit of total fields [1000] has been exceeded", Reject);
        check("illegal_argument_exception", "Document contains at least one immense term in field=\"x\"", Reject);
        check("illegal_argument_exception", "no write index is defined for alias [a]. The write index may", SinkFault);
        check("illegal_argument_exception", "pipeline with id [p] does not exist", SinkFault);
        check("validation_exception", "Validation Failed: 1: this action would add [2] shards, but", SinkFault);
        check("invalid_index_name_exception", "Invalid index name [A], must be lowercase", SinkFault);
        check("", "", Reject);
    }

    #[test]
    fn each_item_is_decided_by_itself() {
        let item = |status: u16, kind: &str| ItemAnswer { status, kind: kind.to_owned(), reason: String::new() };
        let outcome = SendOutcome::Items(vec![
            item(201, ""),
            item(409, "version_conflict_engine_exception"),
            item(400, "document_parsing_exception"),
            item(400, "index_closed_exception"),
            item(429, "es_rejected_execution_exception"),
            item(429, "cluster_block_exception"),
            item(403, "cluster_block_exception"),
            item(404, "index_not_found_exception"),
            item(503, "unavailable_shards_exception"),
        ]);
        use ItemDecision::{Accept, Reject, Retry, SinkFault};
        assert_eq!(
            decide(Protocol::Elasticsearch, &outcome, 9),
            Decision::Items(vec![Accept, Accept, Reject, SinkFault, Retry, Retry, SinkFault, SinkFault, Retry])
        );
    }
}
