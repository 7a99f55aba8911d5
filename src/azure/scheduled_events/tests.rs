//! Tables and stories of announced events; every time is written down, no clock is read.

use jiff::Timestamp;

use super::*;

/// Boot time at which the wall clock of these tests shows [`WALL`].
const BOOT: u64 = 1_000;
const WALL: i64 = 1_800_000_000;

/// A moment so many seconds after the start of a test, with a wall clock that was set by `set` seconds.
fn moment(at: u64, set: i64) -> Moment {
    let wall = WALL + i64::try_from(at).expect("small") + set;
    Moment { wall: Timestamp::from_second(wall).expect("a time"), boot: Duration::from_secs(BOOT + at) }
}

fn at(seconds: u64) -> Moment {
    moment(seconds, 0)
}

fn decider() -> Decider {
    Decider::new(Options {
        names: vec!["vm-7".into(), "set_7".into()],
        kinds: ["Terminate", "preempt", "REDEPLOY", "Reboot"].map(EventKind::of).to_vec(),
        margin: Duration::from_secs(10),
    })
}

/// A scheduled event; `not_before`: seconds after the start of a test.
fn event(id: &str, event_type: &str, resources: &[&str], not_before: Option<i64>) -> Event {
    let not_before = not_before.map(|after| Timestamp::from_second(WALL + after).expect("a time"));
    Event {
        id: id.into(),
        kind: EventKind::of(event_type),
        event_type: event_type.into(),
        resources: resources.iter().map(|&name| name.to_owned()).collect(),
        status: EventStatus::Scheduled,
        not_before,
        not_before_text: not_before.map(|time| time.to_string()).unwrap_or_default(),
        description: String::new(),
        source: "User".into(),
        duration_seconds: None,
    }
}

fn started(event: Event) -> Event {
    Event { status: EventStatus::Started, not_before: None, not_before_text: String::new(), ..event }
}

fn document(incarnation: i64, events: &[Event]) -> ScheduledEvents {
    ScheduledEvents { incarnation, events: events.to_vec(), unreadable: Vec::new() }
}

fn draining(deadline: Option<u64>) -> State {
    State::Draining { deadline: deadline.map(|at| Duration::from_secs(BOOT + at)) }
}

/// What changed, as `(what, id, drains)`.
fn told(changes: &[Change]) -> Vec<(What, &str, bool)> {
    changes.iter().map(|change| (change.what, change.event.id.as_str(), change.drains)).collect()
}

#[test]
fn only_an_event_of_a_chosen_kind_that_names_this_vm_is_drained_for() {
    let check = |event_type: &str, resources: &[&str], expected: State, is_told: bool| {
        let mut decider = decider();
        let changes = decider.polled(&document(1, &[event("A", event_type, resources, Some(300))]), at(0));
        assert_eq!(decider.state(), expected, "{event_type} {resources:?}");
        assert_eq!(!changes.is_empty(), is_told, "{event_type} {resources:?}");
    };
    let drains = draining(Some(290));
    check("Terminate", &["vm-7"], drains, true);
    check("terminate", &["VM-7"], drains, true);
    check("PREEMPT", &["vm-7"], drains, true);
    check("Redeploy", &["set_7"], drains, true);
    check("Reboot", &["vm-6", "vm-7"], drains, true);
    check("Freeze", &["vm-7"], State::Nothing, true);
    check("Evaporate", &["vm-7"], State::Nothing, true);
    check("Terminate", &["vm-6"], State::Nothing, false);
    check("Terminate", &["vm-70", "set_70", "vm"], State::Nothing, false);
    check("Terminate", &[], State::Nothing, false);
    check("Freeze", &["vm-6"], State::Nothing, false);
}

#[test]
fn freeze_and_unknown_kinds_are_not_drained_for_even_if_they_are_configured() {
    let kinds = vec![EventKind::Freeze, EventKind::Unknown];
    let mut decider = Decider::new(Options { names: vec!["vm-7".into()], kinds, margin: Duration::ZERO });
    let events = [event("A", "Freeze", &["vm-7"], None), event("B", "Evaporate", &["vm-7"], None)];
    let changes = decider.polled(&document(1, &events), at(0));
    assert_eq!(told(&changes), [(What::Appeared, "A", false), (What::Appeared, "B", false)]);
    assert_eq!((decider.state(), decider.approvable()), (State::Nothing, Vec::<String>::new()));
}

#[test]
fn a_kind_that_is_not_configured_is_told_and_not_drained_for() {
    let options = Options { kinds: vec![EventKind::Terminate], ..decider().options };
    let mut decider = Decider::new(options);
    let changes = decider.polled(&document(1, &[event("A", "Reboot", &["vm-7"], Some(900))]), at(0));
    assert_eq!(told(&changes), [(What::Appeared, "A", false)]);
    assert_eq!((decider.state(), decider.approvable()), (State::Nothing, Vec::<String>::new()));
}

#[test]
fn the_deadline_is_a_margin_before_the_event_and_never_before_now() {
    let check = |not_before: Option<i64>, now: u64, expected: Option<u64>| {
        let mut decider = decider();
        decider.polled(&document(1, &[event("A", "Preempt", &["vm-7"], not_before)]), at(now));
        assert_eq!(decider.state(), draining(expected), "{not_before:?} at {now}");
    };
    check(Some(300), 0, Some(290));
    check(Some(300), 100, Some(290));
    check(Some(30), 25, Some(25));
    check(Some(30), 60, Some(60));
    check(Some(-5_000_000_000), 5, Some(5));
    check(None, 5, None);
}

#[test]
fn an_event_goes_from_its_notice_over_its_approval_to_its_end() {
    let mut decider = decider();
    assert_eq!(decider.polled(&document(1, &[]), at(0)), []);
    assert_eq!(decider.state(), State::Nothing);

    let scheduled = event("A", "Terminate", &["vm-7"], Some(600));
    let changes = decider.polled(&document(2, std::slice::from_ref(&scheduled)), at(1));
    assert_eq!(told(&changes), [(What::Appeared, "A", true)]);
    assert_eq!((decider.state(), decider.approvable()), (draining(Some(590)), vec!["A".to_owned()]));

    decider.approved(&decider.approvable());
    assert_eq!((decider.state(), decider.approvable()), (State::Approved, Vec::new()));

    let changes = decider.polled(&document(3, &[started(scheduled)]), at(2));
    assert_eq!(told(&changes), [(What::Started, "A", true)]);
    assert_eq!(decider.state(), State::Approved);

    let changes = decider.polled(&document(4, &[]), at(3));
    assert_eq!(told(&changes), [(What::Disappeared, "A", true)]);
    assert_eq!(decider.state(), State::Nothing);
}

#[test]
fn an_event_that_is_called_off_ends_the_state_and_may_come_back() {
    let mut decider = decider();
    let scheduled = [event("A", "Reboot", &["vm-7"], Some(900))];
    decider.polled(&document(1, &scheduled), at(0));
    decider.approved(&["A".into()]);
    let changes = decider.polled(&document(2, &[]), at(1));
    assert_eq!((told(&changes), decider.state()), (vec![(What::Disappeared, "A", true)], State::Nothing));
    let changes = decider.polled(&document(3, &scheduled), at(2));
    assert_eq!((told(&changes), decider.state()), (vec![(What::Appeared, "A", true)], draining(Some(890))));
    assert_eq!(decider.approvable(), ["A"], "the old approval is not its");
}

#[test]
fn an_event_that_names_another_vm_too_is_never_approved() {
    let check = |resources: &[&str], expected: &[&str]| {
        let mut decider = decider();
        decider.polled(&document(1, &[event("A", "Terminate", resources, Some(600))]), at(0));
        assert_eq!(decider.state(), draining(Some(590)), "{resources:?}");
        assert_eq!(decider.approvable(), expected, "{resources:?}");
        assert_eq!((decider.is_alone("A"), decider.is_alone("B")), (!expected.is_empty(), false), "{resources:?}");
    };
    check(&["vm-7"], &["A"]);
    check(&["vm-7", "VM-7", "set_7"], &["A"]);
    check(&["vm-7", "vm-8"], &[]);
    check(&["vm-8", "vm-7"], &[]);
    check(&["vm-7", ""], &[]);
}

#[test]
fn an_event_that_comes_to_name_another_vm_is_not_approved_any_more() {
    let mut decider = decider();
    decider.polled(&document(1, &[event("A", "Terminate", &["vm-7"], Some(600))]), at(0));
    let changes = decider.polled(&document(2, &[event("A", "Terminate", &["vm-7", "vm-8"], Some(600))]), at(1));
    assert_eq!(told(&changes), [(What::Altered, "A", true)]);
    assert_eq!((decider.state(), decider.approvable()), (draining(Some(590)), Vec::new()));
}

#[test]
fn what_was_said_before_is_not_news() {
    let mut decider = decider();
    let scheduled = event("A", "Terminate", &["vm-7"], Some(600));
    assert_eq!(decider.polled(&document(1, std::slice::from_ref(&scheduled)), at(0)).len(), 1);
    assert_eq!(decider.polled(&document(1, std::slice::from_ref(&scheduled)), at(1)), []);
    // Another document, for the sake of a neighbour.
    let neighbour = event("B", "Reboot", &["vm-8"], Some(900));
    assert_eq!(decider.polled(&document(2, &[neighbour, scheduled.clone()]), at(2)), []);
    // The same event twice in one document.
    assert_eq!(decider.polled(&document(3, &[scheduled.clone(), scheduled.clone()]), at(3)), []);
    // A document that counts from the beginning again.
    assert_eq!(decider.polled(&document(1, &[scheduled]), at(4)), []);
    assert_eq!((decider.state(), decider.approvable().len()), (draining(Some(590)), 1));
}

#[test]
fn setting_the_wall_clock_moves_no_deadline_that_is_known() {
    let check = |set: i64| {
        let mut decider = decider();
        let scheduled = event("A", "Terminate", &["vm-7"], Some(600));
        decider.polled(&document(1, std::slice::from_ref(&scheduled)), at(0));
        let neighbour = event("B", "Reboot", &["vm-8"], Some(900));
        decider.polled(&document(2, &[scheduled, neighbour]), moment(60, set));
        assert_eq!(decider.state(), draining(Some(590)), "set by {set} s");
    };
    check(0);
    check(-3_600);
    check(3_600);
}

#[test]
fn another_time_is_reckoned_with_the_clock_of_its_arrival() {
    let mut decider = decider();
    decider.polled(&document(1, &[event("A", "Reboot", &["vm-7"], Some(900))]), at(0));
    let changes = decider.polled(&document(2, &[event("A", "Reboot", &["vm-7"], Some(300))]), at(60));
    assert_eq!((told(&changes), decider.state()), (vec![(What::Altered, "A", true)], draining(Some(290))));
    // A wall clock that is 100 s behind by then: the event is 100 s further away by it.
    decider.polled(&document(3, &[event("A", "Reboot", &["vm-7"], Some(600))]), moment(120, -100));
    assert_eq!(decider.state(), draining(Some(690)));
    // A time that is not given any more while it is still scheduled: the one that is known holds.
    decider.polled(&document(4, &[event("A", "Reboot", &["vm-7"], None)]), at(130));
    assert_eq!(decider.state(), draining(Some(690)));
}

#[test]
fn an_event_that_begins_before_this_vm_is_done_leaves_no_time() {
    let check = |not_before: Option<i64>, begins: u64, expected: u64| {
        let mut decider = decider();
        let scheduled = event("A", "Redeploy", &["vm-7"], not_before);
        decider.polled(&document(1, std::slice::from_ref(&scheduled)), at(0));
        let changes = decider.polled(&document(2, &[started(scheduled)]), at(begins));
        assert_eq!(told(&changes), [(What::Started, "A", true)]);
        assert_eq!(decider.state(), draining(Some(expected)), "{not_before:?} {begins}");
        assert_eq!(decider.approvable(), Vec::<String>::new());
    };
    check(Some(600), 20, 20);
    check(Some(600), 600, 590);
    check(None, 20, 20);
}

#[test]
fn hardware_that_failed_is_an_event_that_has_begun_without_a_time() {
    let mut decider = decider();
    let changes = decider.polled(&document(1, &[started(event("A", "Redeploy", &["vm-7"], None))]), at(0));
    assert_eq!(told(&changes), [(What::Appeared, "A", true)]);
    assert_eq!((decider.state(), decider.approvable()), (draining(None), Vec::new()));
}

#[test]
fn what_is_made_of_each_event_can_be_seen() {
    let mut decider = decider();
    let events = [
        event("A", "Reboot", &["vm-7"], Some(900)),
        event("B", "Freeze", &["vm-7"], Some(20)),
        event("C", "Reboot", &["vm-8"], Some(900)),
        event("D", "Terminate", &["vm-7"], None),
    ];
    decider.polled(&document(1, &events), at(0));
    assert_eq!(decider.approvable(), ["A"], "what gives no time waits for nobody");
    decider.approved(&["A".into()]);
    let seen: Vec<(&str, Stance)> = decider.events().map(|(event, stance)| (event.id.as_str(), stance)).collect();
    assert_eq!(seen, [("A", Stance::Approved), ("B", Stance::Told), ("D", Stance::Drained)]);
}

#[test]
fn of_several_events_the_earliest_deadline_counts_until_each_is_approved() {
    let mut decider = decider();
    let events = [
        event("A", "Reboot", &["vm-7"], Some(900)),
        event("B", "Freeze", &["vm-7"], Some(20)),
        event("C", "Terminate", &["vm-7"], Some(300)),
        event("D", "Terminate", &["vm-7", "vm-8"], Some(600)),
    ];
    decider.polled(&document(1, &events), at(0));
    assert_eq!((decider.state(), decider.approvable()), (draining(Some(290)), vec!["A".into(), "C".into()]));
    decider.approved(&["C".into(), "D?".into()]);
    assert_eq!((decider.state(), decider.approvable()), (draining(Some(590)), vec!["A".into()]));
    decider.approved(&["A".into()]);
    assert_eq!(decider.state(), draining(Some(590)), "D cannot be approved");
    let changes = decider.polled(&document(2, &events[..3]), at(10));
    assert_eq!((told(&changes), decider.state()), (vec![(What::Disappeared, "D", true)], State::Approved));
}
