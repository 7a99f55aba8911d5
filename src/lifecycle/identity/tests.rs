//! What each answer, and each thing that was kept, makes of the columns.

use super::*;
use crate::azure::imds::Tag;
use crate::azure::imds::property::Compute;

fn tag(name: &str) -> Value {
    Value::Imds(Property::Tag(name.to_owned()))
}

fn text(value: &str) -> Value {
    Value::Text(value.to_owned())
}

fn wanted(columns: &[(&str, Value)], vm_name: Option<Value>) -> Wanted {
    Wanted {
        columns: columns.iter().map(|(name, value)| ((*name).to_owned(), value.clone())).collect(),
        vm_name,
        azure: whereabouts::Options { imds: crate::azure::imds::address(), certain: false },
    }
}

fn azure(name: &str, vm_id: &str, tags: &[(&str, &str)]) -> Whereabouts {
    let tags = tags.iter().map(|(name, value)| Tag { name: (*name).to_owned(), value: (*value).to_owned() });
    Whereabouts::Azure(Box::new(Instance {
        name: name.to_owned(),
        vm_id: vm_id.to_owned(),
        location: "westeurope".to_owned(),
        tags_list: tags.collect(),
        ..Instance::default()
    }))
}

fn silent() -> Whereabouts {
    Whereabouts::Silent { reason: "it sleeps".to_owned() }
}

/// What is settled on a machine with the id `m` and the host name `host`.
fn settled(wanted: &Wanted, kept: Option<&Identity>, found: &Whereabouts) -> Outcome {
    settle(wanted, kept, "m", found, "host")
}

fn column<'a>(outcome: &'a Outcome, name: &str) -> Option<&'a str> {
    outcome.settled.columns.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
}

#[test]
fn the_name_is_the_configured_one_else_the_kept_one_else_azures_else_the_hosts() {
    let kept = Identity { machine_id: "m".into(), vm_name: "kept".into(), ..Identity::default() };
    let check = |name: Option<Value>, kept: Option<&Identity>, found: Whereabouts, expected: &str, warnings: usize| {
        let outcome = settled(&wanted(&[], name.clone()), kept, &found);
        let got = (outcome.settled.vm_name.as_str(), outcome.warnings.len());
        assert_eq!(got, (expected, warnings), "{name:?} {kept:?} {found:?}: {:?}", outcome.warnings);
    };
    let on_azure = || azure("vm-7", "id", &[("Name", "tagged"), ("Empty", "")]);
    check(Some(text("mine")), Some(&kept), on_azure(), "mine", 0);
    check(None, Some(&kept), on_azure(), "kept", 0);
    check(None, Some(&kept), silent(), "kept", 0);
    check(None, None, on_azure(), "vm-7", 0);
    check(None, None, azure("", "id", &[]), "host", 0);
    check(None, None, silent(), "host", 1);
    check(None, None, Whereabouts::Elsewhere, "host", 0);
    check(Some(tag("Name")), Some(&kept), on_azure(), "tagged", 0);
    check(Some(tag("Empty")), None, on_azure(), "vm-7", 0);
    check(Some(tag("None")), None, on_azure(), "vm-7", 1);
    check(Some(tag("Name")), None, Whereabouts::Elsewhere, "host", 1);
}

#[test]
fn a_name_that_was_found_out_stays_and_one_that_was_configured_does_not() {
    let first = settled(&wanted(&[], None), None, &silent()).keep;
    let later = settled(&wanted(&[], None), Some(&first), &azure("vm-7", "id", &[]));
    assert_eq!((later.settled.vm_name.as_str(), later.keep.vm_id.as_str()), ("host", "id"));
    let first = settled(&wanted(&[], Some(text("mine"))), None, &azure("vm-7", "id", &[])).keep;
    assert_eq!(settled(&wanted(&[], None), Some(&first), &silent()).settled.vm_name, "host");
    let found = settled(&wanted(&[], None), None, &azure("vm-7", "id", &[])).keep;
    let configured = settled(&wanted(&[], Some(text("mine"))), Some(&found), &silent()).keep;
    assert_eq!(settled(&wanted(&[], None), Some(&configured), &silent()).settled.vm_name, "vm-7");
}

#[test]
fn columns_are_what_imds_says_in_their_order_and_empty_ones_are_left_out() {
    let zone = Value::Imds(Property::Compute(Compute::Zone));
    let region = Value::Imds(Property::Compute(Compute::Location));
    let columns =
        [("RunID", tag("runid")), ("TaskID", text("")), ("Region", region), ("Zone", zone), ("Team", text("evals"))];
    let outcome = settled(&wanted(&columns, None), None, &azure("vm-7", "id", &[("RunID", "42")]));
    let pairs: Vec<(&str, &str)> = outcome.settled.columns.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
    assert_eq!(pairs, [("RunID", "42"), ("Region", "westeurope"), ("Team", "evals")]);
    assert!(outcome.warnings.is_empty(), "{:?}", outcome.warnings);
}

#[test]
fn what_cannot_be_had_is_empty_and_said_with_what_to_do() {
    let check = |found: &Whereabouts, expected: &[&str]| {
        let outcome = settled(&wanted(&[("RunID", tag("Run"))], Some(text("vm"))), None, found);
        assert_eq!(outcome.settled.columns, [], "{found:?}");
        let [warning] = outcome.warnings.as_slice() else { panic!("{:?}", outcome.warnings) };
        assert!(expected.iter().all(|part| warning.contains(part)), "{warning}");
    };
    check(&azure("vm-7", "id", &[("Other", "x")]), &["RunID is empty", "no such tag as tag/Run", "restart"]);
    check(&azure("vm-7", "id", &[("Run", &"x".repeat(1025))]), &["RunID is empty", "1025 bytes", "1024"]);
    check(&silent(), &["RunID is empty", "tag/Run", "it sleeps", "restart"]);
    check(&Whereabouts::Elsewhere, &["not Azure's by /sys/", "scheduled_events = \"on\""]);
}

#[test]
fn an_imds_that_does_not_answer_leaves_what_it_said_at_an_earlier_start() {
    let wanted = wanted(&[("RunID", tag("Run")), ("TaskID", tag("Task"))], None);
    let first = settled(&wanted, None, &azure("vm-7", "id", &[("Run", "42")])).keep;
    for found in [silent(), Whereabouts::Elsewhere] {
        let again = settled(&wanted, Some(&first), &found);
        assert_eq!((column(&again, "RunID"), column(&again, "TaskID")), (Some("42"), None));
        assert_eq!((again.settled.vm_name.as_str(), again.warnings.len()), ("vm-7", 2), "{:?}", again.warnings);
        assert_eq!(again.keep, first);
    }
    let changed = settled(&wanted, Some(&first), &azure("vm-7", "id", &[("Run", "43"), ("Task", "9")]));
    assert_eq!((column(&changed, "RunID"), column(&changed, "TaskID")), (Some("43"), Some("9")));
    let taken_away = settled(&wanted, Some(&changed.keep), &azure("vm-7", "id", &[("Task", "9")]));
    assert_eq!((column(&taken_away, "RunID"), taken_away.keep.values.len()), (None, 1));
}

#[test]
fn a_copy_is_known_by_azures_id_of_the_vm_and_without_it_by_the_machine_id() {
    let check = |machine_id: &str, vm_id: &str, found: Whereabouts, expected: bool| {
        let kept = Identity {
            machine_id: machine_id.into(),
            vm_id: vm_id.into(),
            vm_name: "old".into(),
            values: [("tag/Run".to_owned(), "42".to_owned())].into(),
        };
        let outcome = settled(&wanted(&[("RunID", tag("Run"))], None), Some(&kept), &found);
        assert_eq!(outcome.settled.cloned, expected, "{machine_id} {vm_id} {found:?}");
        let name = outcome.settled.vm_name.as_str();
        assert_eq!(name == "old", !expected, "{machine_id} {vm_id} {found:?}: {name}");
        // Nothing of another machine is taken over.
        let of_old = column(&outcome, "RunID") == Some("42") || outcome.keep.vm_id == "old-id";
        assert!(!(expected && of_old), "{outcome:?}");
    };
    let here = || azure("vm-7", "new-id", &[]);
    check("m", "old-id", here(), true);
    check("m", "new-id", here(), false);
    check("m", "NEW-ID", here(), false);
    check("m", "", here(), false);
    check("other", "new-id", here(), false);
    check("other", "old-id", here(), true);
    check("other", "", here(), true);
    check("other", "old-id", silent(), true);
    check("m", "old-id", silent(), false);
    check("", "", silent(), false);
}

#[test]
fn an_id_that_is_not_said_at_one_start_is_remembered_for_the_next() {
    let wanted = wanted(&[], None);
    let first = settled(&wanted, None, &azure("vm-7", "id", &[])).keep;
    let between = settled(&wanted, Some(&first), &silent()).keep;
    assert_eq!(between.vm_id, "id");
    assert!(settled(&wanted, Some(&between), &azure("vm-8", "another", &[])).settled.cloned);
}

#[test]
fn what_depends_on_imds_decides_how_long_it_is_waited_for() {
    let kept = Identity { machine_id: "m".into(), vm_name: "vm-7".into(), ..Identity::default() };
    let unnamed = Identity { vm_name: String::new(), ..kept.clone() };
    let check = |wanted: Wanted, kept: Option<&Identity>, machine_id: &str, expected: Need| {
        assert_eq!(wanted.need(kept, machine_id), expected, "{wanted:?} {kept:?}");
    };
    check(wanted(&[("RunID", tag("Run"))], Some(text("vm"))), Some(&kept), "m", Need::Columns);
    check(wanted(&[], Some(tag("Name"))), Some(&kept), "m", Need::Columns);
    check(wanted(&[("RunID", text("42"))], None), None, "m", Need::Name);
    check(wanted(&[], None), Some(&unnamed), "m", Need::Name);
    check(wanted(&[], None), Some(&kept), "other", Need::Name);
    check(wanted(&[], None), Some(&kept), "m", Need::Nothing);
    check(wanted(&[], Some(text("vm"))), None, "m", Need::Nothing);
    assert_eq!(wanted(&[("A", tag("a")), ("B", text("b"))], Some(tag("n"))).from_imds(), ["A", "VMName"]);
}

#[test]
fn what_an_older_version_has_kept_can_be_read() {
    let old: Identity = serde_json::from_str(r#"{"machine_id":"m","vm_name":"vm-7"}"#).expect("an identity");
    assert_eq!(settled(&wanted(&[], None), Some(&old), &silent()).settled.vm_name, "vm-7");
}
