//! The columns that say which run and which VM a record is of, settled at the start from the configuration, from what IMDS
//! says, and from what an earlier start on this machine has kept. It asks nobody and writes nothing.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};

use crate::azure::imds::property::Property;
use crate::azure::imds::{CHASSIS_ASSET_TAG_PATH, Instance};
use crate::azure::whereabouts::{self, Need, VALUE_MAX_BYTES, Value, Whereabouts};

/// What the configuration wants to know.
#[derive(Clone, Debug)]
pub struct Wanted {
    /// Columns of `[run]` without VMName, in their order.
    pub columns: Vec<(String, Value)>,
    /// `None`: found out.
    pub vm_name: Option<Value>,
    pub azure: whereabouts::Options,
}

/// What is known of the machine; kept so that it is the same for every record of a state folder.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct Identity {
    /// `/etc/machine-id`; empty where there is none.
    pub machine_id: String,
    /// Azure's own id of the VM; empty where IMDS has never said it.
    pub vm_id: String,
    /// The name that was found out; empty where the configuration always gave one.
    pub vm_name: String,
    /// What IMDS said of each property that the configuration asks for.
    pub values: BTreeMap<String, String>,
}

/// The columns of every record of this process.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Settled {
    /// Those of `[run]` that have a value, without VMName, in their order.
    pub columns: Vec<(String, String)>,
    pub vm_name: String,
    /// By which names announced events can mean this VM; empty where IMDS has not said which it is.
    pub event_names: Vec<String>,
    /// The state folder was copied from another machine: its origins are not ours.
    pub cloned: bool,
}

/// What a start comes to.
#[derive(Clone, Debug, Default, PartialEq, Eq)]
pub struct Outcome {
    pub settled: Settled,
    /// To be kept for the next start.
    pub keep: Identity,
    /// What the user has to know: each a sentence.
    pub warnings: Vec<String>,
}

impl Wanted {
    fn properties(&self) -> impl Iterator<Item = (&str, &Property)> {
        let columns = self.columns.iter().map(|(name, value)| (name.as_str(), value));
        let all = columns.chain(self.vm_name.iter().map(|value| ("VMName", value)));
        all.filter_map(|(name, value)| match value {
            Value::Imds(property) => Some((name, property)),
            Value::Text(_) => None,
        })
    }

    /// Columns whose values come from IMDS.
    pub fn from_imds(&self) -> Vec<&str> {
        self.properties().map(|(name, _)| name).collect()
    }

    /// What depends on IMDS at this start.
    pub fn need(&self, kept: Option<&Identity>, machine_id: &str) -> Need {
        if self.properties().next().is_some() {
            return Need::Columns;
        }
        let is_kept = kept.is_some_and(|kept| !kept.vm_name.is_empty() && !differ(&kept.machine_id, machine_id));
        if self.vm_name.is_none() && !is_kept { Need::Name } else { Need::Nothing }
    }
}

/// Whether two ids are those of two machines; an id that is not known tells nothing.
fn differ(kept: &str, now: &str) -> bool {
    !kept.is_empty() && !now.is_empty() && !kept.eq_ignore_ascii_case(now)
}

/// Whether the state folder is a copy. Azure's id of the VM decides where it is known on both sides: a container has
/// another machine id with each image, and a VM that was made of another's disk may have the same.
fn is_copy(kept: &Identity, machine_id: &str, vm_id: &str) -> bool {
    match kept.vm_id.is_empty() || vm_id.is_empty() {
        true => differ(&kept.machine_id, machine_id),
        false => differ(&kept.vm_id, vm_id),
    }
}

/// Settles every column. `kept`: what an earlier start left in the state folder.
///
/// An answer of IMDS comes before what is kept of it, as a tag may have been changed; a name that was found out stays, as
/// the records of a VM are found by it.
pub fn settle(
    wanted: &Wanted,
    kept: Option<&Identity>,
    machine_id: &str,
    found: &Whereabouts,
    host_name: &str,
) -> Outcome {
    let instance = match found {
        Whereabouts::Azure(instance) => Some(&**instance),
        Whereabouts::Silent { .. } | Whereabouts::Elsewhere => None,
    };
    let vm_id = instance.map_or("", |instance| instance.vm_id.as_str());
    let cloned = kept.is_some_and(|kept| is_copy(kept, machine_id, vm_id));
    let mut settling = Settling { found, instance, kept: kept.filter(|_| !cloned), out: Outcome::default() };
    let mut columns = Vec::new();
    for (name, value) in &wanted.columns {
        let value = settling.value(name, value);
        if !value.is_empty() {
            columns.push((name.clone(), value));
        }
    }
    let vm_name = settling.vm_name(wanted.vm_name.as_ref(), host_name);
    let Settling { kept, mut out, .. } = settling;
    out.keep.machine_id = machine_id.to_owned();
    let known_id = kept.map(|kept| kept.vm_id.clone()).unwrap_or_default();
    out.keep.vm_id = if vm_id.is_empty() { known_id } else { vm_id.to_owned() };
    let event_names = instance.map(Instance::event_names).unwrap_or_default();
    out.settled = Settled { columns, vm_name, event_names, cloned };
    out
}

struct Settling<'a> {
    found: &'a Whereabouts,
    instance: Option<&'a Instance>,
    /// Of this machine.
    kept: Option<&'a Identity>,
    out: Outcome,
}

impl Settling<'_> {
    /// The value of a column; empty where there is none, and then that is said.
    fn value(&mut self, column: &str, value: &Value) -> String {
        let property = match value {
            Value::Text(text) => return text.clone(),
            Value::Imds(property) => property,
        };
        let key = property.to_string();
        let value = match self.instance.map(|instance| property.of(instance)) {
            Some(Some(value)) if value.len() <= VALUE_MAX_BYTES => value.to_owned(),
            Some(Some(value)) => {
                let bytes = value.len();
                self.warn(format!("{column} is empty: {key} has {bytes} bytes, at most {VALUE_MAX_BYTES} are taken"));
                return String::new();
            }
            Some(None) => {
                self.warn(format!(
                    "{column} is empty: the VM has no such tag as {key}; a restart reads its tags again"
                ));
                return String::new();
            }
            None => match self.kept.and_then(|kept| kept.values.get(&key)) {
                Some(known) => {
                    let why = self.why_not();
                    self.warn(format!(
                        "{column} is {known:?} as at an earlier start, {key} cannot be asked for: {why}"
                    ));
                    known.clone()
                }
                None => {
                    let why = self.why_not();
                    self.warn(format!("{column} is empty, {key} cannot be asked for: {why}; a restart asks again"));
                    return String::new();
                }
            },
        };
        self.out.keep.values.insert(key, value.clone());
        value
    }

    fn vm_name(&mut self, wanted: Option<&Value>, host_name: &str) -> String {
        let kept = self.kept.map(|kept| kept.vm_name.clone()).unwrap_or_default();
        let given = wanted.map(|wanted| self.value("VMName", wanted)).unwrap_or_default();
        if !given.is_empty() {
            self.out.keep.vm_name = kept;
            return given;
        }
        let of_azure = self.instance.map(|instance| instance.name.as_str()).unwrap_or_default();
        let names = [kept.as_str(), of_azure, host_name];
        let name = names.into_iter().find(|name| !name.is_empty()).unwrap_or_default().to_owned();
        if let (Whereabouts::Silent { reason }, true) = (self.found, kept.is_empty()) {
            let reason = reason.clone();
            self.warn(format!("VMName is the host's name, {name:?}, and stays so for this state.dir: {reason}"));
        }
        self.out.keep.vm_name.clone_from(&name);
        name
    }

    fn why_not(&self) -> String {
        match self.found {
            Whereabouts::Silent { reason } => reason.clone(),
            Whereabouts::Azure(_) | Whereabouts::Elsewhere => format!(
                "this machine is not Azure's by {CHASSIS_ASSET_TAG_PATH} (teardown.scheduled_events = \"on\" asks IMDS all the same)"
            ),
        }
    }

    fn warn(&mut self, warning: String) {
        self.out.warnings.push(warning);
    }
}

#[cfg(test)]
mod tests;
