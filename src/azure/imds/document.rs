//! The two documents of IMDS, read from bytes. It sends nothing and decides nothing.
//!
//! Names of fields and their forms: Microsoft's "Azure Instance Metadata Service" (api-version 2021-02-01) and "Scheduled
//! Events for Linux VMs" (2020-07-01). Every value of the instance document is a string; what there is none of is `""`.

use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use serde::{Deserialize, Deserializer};
use serde_json::Value;

/// The one kind of resource that events name.
const VIRTUAL_MACHINE: &str = "VirtualMachine";

/// `NotBefore` is an RFC 1123 date; a wrong day of the week does not make the rest of it useless.
const DATES: DateTimeParser = DateTimeParser::new().relaxed_weekday(true);

/// What IMDS says of the VM it is asked from (`compute`). Empty where there is none of it.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct Instance {
    /// Name of the VM; in a scale set with uniform orchestration `{scale set}_{instance id}`. Not its host name.
    #[serde(deserialize_with = "text")]
    pub name: String,
    /// Stays the same for the life of the VM, and is another one in a copy of its disk. Never empty.
    #[serde(deserialize_with = "text")]
    pub vm_id: String,
    /// `/subscriptions/…/resourceGroups/…/providers/Microsoft.Compute/virtualMachines/…`
    #[serde(deserialize_with = "text")]
    pub resource_id: String,
    /// Region: `westeurope`.
    #[serde(deserialize_with = "text")]
    pub location: String,
    #[serde(deserialize_with = "text")]
    pub resource_group_name: String,
    #[serde(deserialize_with = "text")]
    pub subscription_id: String,
    /// Empty outside of a scale set.
    #[serde(deserialize_with = "text")]
    pub vm_scale_set_name: String,
    /// Availability zone: `1`.
    #[serde(deserialize_with = "text")]
    pub zone: String,
    /// `Standard_D2s_v5`
    #[serde(deserialize_with = "text")]
    pub vm_size: String,
    /// `AzurePublicCloud`, `AzureChinaCloud`, `AzureUSGovernmentCloud`.
    #[serde(deserialize_with = "text")]
    pub az_environment: String,
    /// `Spot`, `Regular`, `Low`.
    #[serde(deserialize_with = "text")]
    pub priority: String,
    /// In IMDS's order.
    #[serde(deserialize_with = "tags")]
    pub tags_list: Vec<Tag>,
}

/// A tag of the VM.
#[derive(Clone, Debug, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
pub struct Tag {
    #[serde(deserialize_with = "text")]
    pub name: String,
    #[serde(deserialize_with = "text")]
    pub value: String,
}

impl Instance {
    /// Reads the answer to `/metadata/instance`.
    ///
    /// # Errors
    /// Why it is not Azure's: the end of a sentence about the answer.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        struct Document {
            compute: Instance,
        }
        let document: Document = serde_json::from_slice(body).map_err(|error| format!("cannot be read: {error}"))?;
        let instance = document.compute;
        if instance.vm_id.is_empty() {
            return Err("has no compute.vmId".to_owned());
        }
        if instance.az_environment.is_empty() {
            return Err("has no compute.azEnvironment".to_owned());
        }
        Ok(instance)
    }

    /// The value of a tag. Azure does not tell upper from lower case in the names of tags.
    pub fn tag(&self, name: &str) -> Option<&str> {
        self.tags_list.iter().find(|tag| tag.name.eq_ignore_ascii_case(name)).map(|tag| tag.value.as_str())
    }

    /// The names by which a scheduled event can mean this VM: its own, and in a scale set `{scale set}_{instance id}`,
    /// the id being the end of a resource id below the scale set.
    pub fn event_names(&self) -> Vec<String> {
        let mut names: Vec<String> = Vec::new();
        if !self.name.is_empty() {
            names.push(self.name.clone());
        }
        let mut parts = self.resource_id.rsplit('/');
        let (id, kind, set, kind_of_set) = (parts.next(), parts.next(), parts.next(), parts.next());
        let is = |part: Option<&str>, word: &str| part.is_some_and(|part| part.eq_ignore_ascii_case(word));
        if is(kind, "virtualMachines")
            && is(kind_of_set, "virtualMachineScaleSets")
            && let (Some(id), Some(set)) = (id, set)
        {
            let name = format!("{set}_{id}");
            if !names.iter().any(|known| known.eq_ignore_ascii_case(&name)) {
                names.push(name);
            }
        }
        names
    }
}

/// `null` is as good as nothing.
fn text<'de, D: Deserializer<'de>>(deserializer: D) -> Result<String, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

fn tags<'de, D: Deserializer<'de>>(deserializer: D) -> Result<Vec<Tag>, D::Error> {
    Ok(Option::deserialize(deserializer)?.unwrap_or_default())
}

/// What is announced, to this VM and to others of its availability set or placement group.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct ScheduledEvents {
    /// Another number means that something has changed.
    pub incarnation: i64,
    pub events: Vec<Event>,
    /// Why each of the other events could not be read; to be logged.
    pub unreadable: Vec<String>,
}

/// One announced event.
#[derive(Clone, Debug, PartialEq, Eq)]
pub struct Event {
    /// Stays the same as long as the event is there.
    pub id: String,
    pub kind: EventKind,
    /// The kind as it was sent.
    pub event_type: String,
    /// Names of the VMs that it hits.
    pub resources: Vec<String>,
    pub status: EventStatus,
    /// The event does not begin before, unless it is approved. `None`: it has begun, or IMDS gave no time that can be read.
    pub not_before: Option<Timestamp>,
    /// `NotBefore` as it was sent: an RFC 1123 date, or empty.
    pub not_before_text: String,
    pub description: String,
    /// `Platform` or `User`; empty where it was not said.
    pub source: String,
    /// How long the interruption is expected to take, in seconds; `None`: not known (-1).
    pub duration_seconds: Option<u64>,
}

impl Event {
    /// The event under the names that Azure gives to its parts, for a record of it.
    pub fn fields(&self) -> serde_json::Map<String, Value> {
        let status = match self.status {
            EventStatus::Scheduled => "Scheduled",
            EventStatus::Started => "Started",
        };
        let fields = [
            ("EventId", self.id.as_str().into()),
            ("EventType", self.event_type.as_str().into()),
            ("ResourceType", VIRTUAL_MACHINE.into()),
            ("Resources", self.resources.clone().into()),
            ("EventStatus", status.into()),
            ("NotBefore", self.not_before_text.as_str().into()),
            ("Description", self.description.as_str().into()),
            ("EventSource", self.source.as_str().into()),
            ("DurationInSeconds", self.duration_seconds.map_or_else(|| Value::from(-1), Value::from)),
        ];
        fields.into_iter().map(|(name, value)| (name.to_owned(), value)).collect()
    }
}

/// What happens to the VM. Least notice, as documented: Freeze and Reboot 15 minutes, Redeploy 10, Preempt 30 seconds,
/// Terminate 5 to 15 minutes as configured; none where hardware has failed.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventKind {
    /// It stands still for some seconds; memory, open files and connections stay.
    Freeze,
    Reboot,
    /// It moves to another host; its temporary disk is lost.
    Redeploy,
    /// A spot VM is taken away.
    Preempt,
    /// It is deleted.
    Terminate,
    /// None of those that are documented.
    Unknown,
}

impl EventKind {
    /// Each documented kind by its name in Azure's spelling.
    pub const NAMES: [(&'static str, EventKind); 5] = [
        ("Freeze", EventKind::Freeze),
        ("Reboot", EventKind::Reboot),
        ("Redeploy", EventKind::Redeploy),
        ("Preempt", EventKind::Preempt),
        ("Terminate", EventKind::Terminate),
    ];

    /// The kind of this name, in any case.
    pub fn of(name: &str) -> Self {
        let found = Self::NAMES.iter().find(|(known, _)| known.eq_ignore_ascii_case(name));
        found.map_or(EventKind::Unknown, |(_, kind)| *kind)
    }
}

/// How far an event is. There is no third: an event that is over is not announced any more.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum EventStatus {
    /// It waits for approvals or its time.
    Scheduled,
    /// It has begun: nothing can be approved any more.
    Started,
}

impl ScheduledEvents {
    /// Reads the answer to `GET /metadata/scheduledevents`. One event that cannot be read does not hide the others.
    ///
    /// # Errors
    /// Why it is no such document: the end of a sentence about the answer.
    pub fn parse(body: &[u8]) -> Result<Self, String> {
        #[derive(Deserialize)]
        #[serde(rename_all = "PascalCase")]
        struct Document {
            document_incarnation: i64,
            events: Vec<Value>,
        }
        let document: Document = serde_json::from_slice(body).map_err(|error| format!("cannot be read: {error}"))?;
        let mut parsed = ScheduledEvents { incarnation: document.document_incarnation, ..Default::default() };
        for value in document.events {
            match Wire::deserialize(&value) {
                Ok(wire) => match wire.event() {
                    Ok(event) => parsed.events.push(event),
                    Err(reason) => parsed.unreadable.push(reason),
                },
                Err(error) => parsed.unreadable.push(error.to_string()),
            }
        }
        Ok(parsed)
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Wire {
    event_id: String,
    event_type: String,
    resource_type: String,
    resources: Vec<String>,
    event_status: String,
    #[serde(default, deserialize_with = "text")]
    not_before: String,
    #[serde(default, deserialize_with = "text")]
    description: String,
    #[serde(default, deserialize_with = "text")]
    event_source: String,
    duration_in_seconds: Option<i64>,
}

impl Wire {
    fn event(self) -> Result<Event, String> {
        let id = self.event_id;
        if id.is_empty() {
            return Err("an event without an EventId".to_owned());
        }
        if !self.resource_type.eq_ignore_ascii_case(VIRTUAL_MACHINE) {
            return Err(format!("event {id} is about a {:?}, not a {VIRTUAL_MACHINE}", self.resource_type));
        }
        let status = if self.event_status.eq_ignore_ascii_case("Scheduled") {
            EventStatus::Scheduled
        } else if self.event_status.eq_ignore_ascii_case("Started") {
            EventStatus::Started
        } else {
            return Err(format!("event {id} has the unknown EventStatus {:?}", self.event_status));
        };
        Ok(Event {
            id,
            kind: EventKind::of(&self.event_type),
            event_type: self.event_type,
            resources: self.resources,
            status,
            not_before: time(&self.not_before),
            not_before_text: self.not_before,
            description: self.description,
            source: self.event_source,
            duration_seconds: self.duration_in_seconds.and_then(|seconds| u64::try_from(seconds).ok()),
        })
    }
}

/// `Mon, 19 Sep 2016 18:29:47 GMT`, and the RFC 3339 form of older versions of the document.
fn time(text: &str) -> Option<Timestamp> {
    let text = text.trim();
    DATES.parse_timestamp(text).ok().or_else(|| text.parse().ok())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn only_a_document_of_azure_is_an_instance() {
        let check = |body: &str, expected: Result<&str, &str>| match (Instance::parse(body.as_bytes()), expected) {
            (Ok(instance), Ok(id)) => assert_eq!(instance.vm_id, id, "{body}"),
            (Err(reason), Err(start)) => assert!(reason.starts_with(start), "{body}: {reason}"),
            (other, _) => panic!("{body}: {other:?}"),
        };
        check(r#"{"compute":{"vmId":"7","azEnvironment":"AzurePublicCloud"}}"#, Ok("7"));
        check(r#"{"compute":{"vmId":"7","azEnvironment":"AzurePublicCloud","tagsList":null,"zone":null}}"#, Ok("7"));
        check(r#"{"compute":{"vmId":"7","azEnvironment":""}}"#, Err("has no compute.azEnvironment"));
        check(r#"{"compute":{"vmId":"","azEnvironment":"x"}}"#, Err("has no compute.vmId"));
        check(r#"{"compute":{}}"#, Err("has no compute.vmId"));
        check(r#"{"compute":{"vmId":7}}"#, Err("cannot be read: invalid type"));
        check(r#"{"instanceId":"i-0123","region":"eu-west-1"}"#, Err("cannot be read: missing field `compute`"));
        check("[]", Err("cannot be read"));
        check("<html>sign in</html>", Err("cannot be read"));
        check("", Err("cannot be read"));
    }

    #[test]
    fn all_that_is_asked_of_an_instance_is_read() {
        let body = json!({"compute": {
            "azEnvironment": "AzurePublicCloud", "location": "westeurope", "name": "vm-7", "priority": "Spot",
            "resourceGroupName": "runs", "resourceId": "/subscriptions/s/resourceGroups/runs/providers/P/virtualMachines/vm-7",
            "subscriptionId": "s", "tags": "RunID:a;b", "vmId": "id", "vmScaleSetName": "", "vmSize": "Standard_D2s_v5",
            "zone": "1", "tagsList": [{"name": "RunID", "value": "a;b:c"}, {"name": "empty", "value": ""}],
        }, "network": {"interface": []}});
        let instance = Instance::parse(body.to_string().as_bytes()).expect("an instance");
        let expected = Instance {
            name: "vm-7".into(),
            vm_id: "id".into(),
            resource_id: "/subscriptions/s/resourceGroups/runs/providers/P/virtualMachines/vm-7".into(),
            location: "westeurope".into(),
            resource_group_name: "runs".into(),
            subscription_id: "s".into(),
            vm_scale_set_name: String::new(),
            zone: "1".into(),
            vm_size: "Standard_D2s_v5".into(),
            az_environment: "AzurePublicCloud".into(),
            priority: "Spot".into(),
            tags_list: vec![
                Tag { name: "RunID".into(), value: "a;b:c".into() },
                Tag { name: "empty".into(), value: String::new() },
            ],
        };
        assert_eq!(instance, expected);
        assert_eq!(instance.tag("runid"), Some("a;b:c"));
        assert_eq!(instance.tag("empty"), Some(""));
        assert_eq!(instance.tag("RunID2"), None);
    }

    #[test]
    fn a_vm_is_meant_by_its_name_and_by_its_place_in_a_scale_set() {
        let check = |name: &str, resource_id: &str, expected: &[&str]| {
            let instance = Instance { name: name.into(), resource_id: resource_id.into(), ..Instance::default() };
            assert_eq!(instance.event_names(), expected, "{name} {resource_id}");
        };
        let set =
            "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachineScaleSets/Set/virtualMachines";
        check("vm-7", "/subscriptions/s/resourceGroups/g/providers/Microsoft.Compute/virtualMachines/vm-7", &["vm-7"]);
        check("set_3", &format!("{set}/3"), &["set_3"]);
        check("other", &format!("{set}/3"), &["other", "Set_3"]);
        check("", &format!("{set}/3"), &["Set_3"]);
        check("vm-7", "", &["vm-7"]);
        check("", "", &[]);
    }

    #[test]
    fn the_time_of_an_event_is_read_as_documented() {
        let check = |text: &str, expected: Option<i64>| {
            assert_eq!(time(text).map(Timestamp::as_second), expected, "{text:?}");
        };
        check("Mon, 19 Sep 2016 18:29:47 GMT", Some(1_474_309_787));
        check("Tue, 19 Sep 2016 18:29:47 GMT", Some(1_474_309_787));
        check("2016-09-19T18:29:47Z", Some(1_474_309_787));
        check(" Mon, 19 Sep 2016 18:29:47 GMT ", Some(1_474_309_787));
        check("Mon, 32 Sep 2016 18:29:47 GMT", None);
        check("soon", None);
        check("", None);
    }

    fn event(change: impl FnOnce(&mut Value)) -> Value {
        let mut event = json!({
            "EventId": "A", "EventType": "Terminate", "ResourceType": "VirtualMachine", "Resources": ["vm-7"],
            "EventStatus": "Scheduled", "NotBefore": "Mon, 19 Sep 2016 18:29:47 GMT", "Description": "deleted",
            "EventSource": "User", "DurationInSeconds": -1,
        });
        change(&mut event);
        event
    }

    fn parsed(events: &[Value]) -> ScheduledEvents {
        let body = json!({"DocumentIncarnation": 3, "Events": events}).to_string();
        ScheduledEvents::parse(body.as_bytes()).expect("a document")
    }

    #[test]
    fn an_event_is_read_whole() {
        let expected = Event {
            id: "A".into(),
            kind: EventKind::Terminate,
            event_type: "Terminate".into(),
            resources: vec!["vm-7".into()],
            status: EventStatus::Scheduled,
            not_before: Some(Timestamp::constant(1_474_309_787, 0)),
            not_before_text: "Mon, 19 Sep 2016 18:29:47 GMT".into(),
            description: "deleted".into(),
            source: "User".into(),
            duration_seconds: None,
        };
        let document = parsed(&[event(|_| {})]);
        assert_eq!((document.incarnation, document.events), (3, vec![expected]));
        let check = |change: fn(&mut Value), look: fn(&Event) -> bool| {
            let document = parsed(&[event(change)]);
            assert!(document.events.first().is_some_and(look), "{document:?}");
        };
        check(|e| e["DurationInSeconds"] = 9.into(), |e| e.duration_seconds == Some(9));
        check(|e| e["EventType"] = "preempt".into(), |e| e.kind == EventKind::Preempt && e.event_type == "preempt");
        check(|e| e["EventType"] = "Evaporate".into(), |e| e.kind == EventKind::Unknown);
        check(|e| e["NotBefore"] = "".into(), |e| e.not_before.is_none());
        check(|e| e["NotBefore"] = Value::Null, |e| e.not_before.is_none() && e.not_before_text.is_empty());
        check(|e| e["NotBefore"] = "soon".into(), |e| e.not_before.is_none() && e.not_before_text == "soon");
        check(|e| e["EventStatus"] = "started".into(), |e| e.status == EventStatus::Started);
    }

    #[test]
    fn the_fields_of_an_event_are_those_that_azure_sent() {
        let check = |change: fn(&mut Value)| {
            let sent = event(change);
            let document = parsed(std::slice::from_ref(&sent));
            assert_eq!(document.events.first().map(|event| Value::Object(event.fields())), Some(sent));
        };
        check(|_| {});
        check(|e| e["DurationInSeconds"] = 9.into());
        check(|e| (e["EventStatus"], e["NotBefore"]) = ("Started".into(), "".into()));
        check(|e| e["EventType"] = "Evaporate".into());
    }

    #[test]
    fn what_older_documents_leave_out_is_not_missed() {
        let document = parsed(&[event(|e| {
            for name in ["NotBefore", "Description", "EventSource", "DurationInSeconds"] {
                e.as_object_mut().expect("an object").remove(name);
            }
        })]);
        assert_eq!((document.events.len(), document.unreadable.len()), (1, 0), "{document:?}");
    }

    #[test]
    fn one_event_that_cannot_be_read_hides_no_other_and_is_said() {
        let check = |bad: Value, expected: &str| {
            let document = parsed(&[bad, event(|_| {})]);
            assert_eq!((document.events.len(), document.unreadable.len()), (1, 1), "{document:?}");
            assert!(document.unreadable[0].contains(expected), "{document:?}");
        };
        check(json!("text"), "invalid type");
        check(event(|e| e["EventId"] = "".into()), "without an EventId");
        check(event(|e| e["EventId"] = 7.into()), "expected a string");
        check(event(|e| e["Resources"] = "vm-7".into()), "expected a sequence");
        check(event(|e| e["ResourceType"] = "Disk".into()), "event A is about a \"Disk\"");
        check(event(|e| e["EventStatus"] = "Completed".into()), "unknown EventStatus \"Completed\"");
    }

    #[test]
    fn what_is_no_document_of_events_is_refused() {
        let check = |body: &str| {
            let reason = ScheduledEvents::parse(body.as_bytes()).expect_err(body);
            assert!(reason.starts_with("cannot be read: "), "{reason}");
        };
        check("{}");
        check(r#"{"DocumentIncarnation":1}"#);
        check(r#"{"DocumentIncarnation":"x","Events":[]}"#);
        check("<html>");
        check("");
        let none = ScheduledEvents::parse(br#"{"DocumentIncarnation":1,"Events":[]}"#).expect("a document");
        assert_eq!(none, ScheduledEvents { incarnation: 1, ..ScheduledEvents::default() });
    }
}
